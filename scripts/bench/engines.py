#!/usr/bin/env python3
"""Measures the cost of Ray and of the Arrow streams: `build` beside `read | embed --arrow | pack` and ray_build.py.

    scripts/bench/tokenizer && scripts/packages bench ray && cargo build --release --locked
    PYTHONPATH=target/python/ray:target/python/bench scripts/bench/engines.py

The model has the real shape, 28 layers in 8 bits, and random weights. All three embed the same passages in turns, with one
process that embeds on all cores. Prints a Markdown table. Takes half an hour on two cores. Run nothing else meanwhile,
because the CPU seconds are those of the whole machine. `--quick` tries it with a tiny model.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import tokenizers

import speed
from page import machine, table
from passages import make_passages, write_passages

ROUNDS = 3
WORK = speed.CACHE / "work/engines"
NAMES = {
    "build": "`build`",
    "streams": "`read \\| embed --arrow \\| pack`",
    "ray": "`ray_build.py`, one worker",
}
LOWEST_COSINE = 0.99


def commands(passages, output, model):
    """Returns commands by name. Each embeds the passages into `output`."""
    tool, embedding = f"{speed.TOOL}", f"--model {model} --model-file model_int8.onnx --device cpu"
    streams = f"{tool} read {passages} | {tool} embed --arrow {embedding} | {tool} pack -q -o {output}"
    return {
        "build": f"{tool} build {passages} -o {output} --rebuild -q {embedding}",
        "streams": f"set -o pipefail; {streams}",
        "ray": f"{sys.executable} {speed.SCRIPTS}/integrations/ray_build.py {passages} -o {output} --workers 1 {embedding}",
    }


def busy_seconds():
    """Returns the CPU seconds of all cores since the machine started, from /proc/stat (`man 5 proc`)."""
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(name, passages, model):
    """Returns seconds by the clock and CPU seconds, and the rows."""
    output = WORK / f"{name}.parquet"
    remove(output)
    environment = os.environ | {"PATH": f"{speed.TOOL.parent}:{os.environ['PATH']}"}
    environment.pop("RAY_ADDRESS", None)
    begun, busy = time.perf_counter(), busy_seconds()
    command = commands(passages, output, model)[name]
    subprocess.run(["bash", "-c", command], check=True, env=environment)
    seconds = time.perf_counter() - begun, busy_seconds() - busy
    print(f"{name}: {passages.name}: {seconds[0]:.1f} s, {seconds[1]:.1f} s of CPU", file=sys.stderr, flush=True)
    return seconds, pq.read_table(output).sort_by("id")


def remove(output):
    if output.is_dir():
        shutil.rmtree(output)
    output.unlink(missing_ok=True)


def vectors(rows):
    column = rows["vector"].combine_chunks()
    return column.flatten().to_numpy().reshape(len(column), -1)


def take_turns(passages, model):
    """Returns medians by name. Each round begins with another contender."""
    seconds, rows = {name: [] for name in NAMES}, {}
    for number in range(ROUNDS):
        names = list(NAMES)
        for name in names[number:] + names[:number]:
            taken, rows[name] = measure(name, passages, model)
            seconds[name].append(taken)
    for name in NAMES:
        assert rows[name]["id"] == rows["build"]["id"], f"{name}: its rows differ from those of build"
        lowest = speed.cosine(vectors(rows[name]), vectors(rows["build"])).min()
        assert lowest >= LOWEST_COSINE, f"{name}: the lowest cosine to the vectors of build is {lowest}"
    return {name: [statistics.median(column) for column in zip(*taken)] for name, taken in seconds.items()}


def lines(whole, start):
    """Yields one line per contender. `start` has the figures for one passage."""
    for name, title in NAMES.items():
        (seconds, cpu), (start_seconds, _) = whole[name], start[name]
        alone, alone_of_build = seconds - start_seconds, whole["build"][0] - start["build"][0]
        figures = [seconds, seconds / whole["build"][0], start_seconds, alone, alone / alone_of_build, cpu]
        yield [title, *(f"{figure:.3f}" if at in (1, 4) else f"{figure:.1f}" for at, figure in enumerate(figures))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="use a tiny model")
    parser.add_argument("--passages", type=int, default=560, help="default: 560, some 90 seconds on two cores")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    layers, path, model = 28, speed.CACHE / "tokenizer.json", speed.CACHE / "engines-28"
    if arguments.quick:
        layers, path, model = 2, speed.TINY_TOKENIZER, speed.CACHE / "engines-tiny"
    speed.make_model(model, path, layers, ["int8"], [])
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    rows = make_passages(tokenizer, arguments.passages, 5, 1000)
    some, one = WORK / "passages.jsonl", WORK / "one.jsonl"
    write_passages(rows, some)
    write_passages(rows[:1], one)
    start, whole = take_turns(one, model / "ours"), take_turns(some, model / "ours")
    tokens = sum(row["tokens"] for row in rows)
    print(f"{len(rows):,} passages, {tokens:,} tokens, {layers} layers, int8; medians of {ROUNDS}. {machine()}\n")
    header = ["", "seconds", "ratio", "one passage, s", "seconds without that", "ratio", "CPU s"]
    print(table(header, lines(whole, start)))


if __name__ == "__main__":
    main()
