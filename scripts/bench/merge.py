#!/usr/bin/env python3
"""Measures shards and `qwen3-index merge` beside a single build, a plain copy, DuckDB and pyarrow, on the same rows.

    scripts/packages readers bench && cargo build --release --locked
    PYTHONPATH=target/python/readers:target/python/bench scripts/bench/merge.py [ROWS] [WIDTH] [SHARDS] [ROUNDS]

The documents are short rows of JSON Lines, and the model takes next to no time (`scripts/bench/cheap_model.py`), so the figures
show all of a build except the model. The contenders that join files take turns, and flush their output to disk.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "target/release/qwen3-index"
WORK = ROOT / "target/bench/merge"


def run(*command):
    """Returns seconds by the clock, CPU seconds and peak MB of a process and its children."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = ["/usr/bin/time", "-f", "%M", *map(str, command)]
    finished = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - started, cpu, int(finished.stderr.split()[-1]) / 1000


def flush(path):
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def copy(parts, out):
    with open(out, "wb") as joined:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, joined, 1 << 20)


def by_duckdb(parts, out):
    duckdb.sql(f"COPY (SELECT * FROM read_parquet({[str(part) for part in parts]})) TO '{out}' (COMPRESSION zstd)")


def by_pyarrow(parts, out):
    options = {"compression": {"id": "ZSTD", "text": "ZSTD"}, "use_dictionary": False}
    with pq.ParquetWriter(out, pq.read_schema(parts[0]), **options) as writer:
        for part in map(pq.ParquetFile, parts):
            for group in range(part.num_row_groups):
                writer.write_table(part.read_row_group(group))


def main():
    defaults = [400_000, 1024, 4, 5]
    rows, width, count, rounds = [int(given) for given in sys.argv[1:]] + defaults[len(sys.argv) - 1 :]
    WORK.mkdir(parents=True, exist_ok=True)
    model = WORK.parent / f"model-{width}"
    if not model.is_dir():
        subprocess.run([sys.executable, ROOT / "scripts/bench/cheap_model.py", str(width), model], check=True)
    documents = WORK / "documents.jsonl"
    with open(documents, "w") as lines:
        for number in range(rows):
            text = f"Document {number} has a few words, {number * 7919 % 1000} and {number % 13}, of no meaning."
            lines.write(json.dumps({"id": f"document/{number}", "text": text}) + "\n")
    build = [TOOL, "build", documents, "-q", "--rebuild", "--model", model, "--device", "cpu", "-o"]
    parts = [WORK / f"part-{shard}.parquet" for shard in range(count)]
    one = run(*build, WORK / "one.parquet")
    shards = [run(*build, part, "--shard", f"{shard}/{count}") for shard, part in enumerate(parts)]
    out = WORK / "all.parquet"
    contenders = {
        "`cat`": lambda: copy(parts, out),
        "`merge`": lambda: run(TOOL, "merge", "-q", *parts, "-o", out),
        "DuckDB, `COPY`": lambda: by_duckdb(parts, out),
        "pyarrow, one row group at a time": lambda: by_pyarrow(parts, out),
    }
    seconds, merged = {name: [] for name in contenders}, []
    for _ in range(rounds + 1):
        for name, work in contenders.items():
            out.unlink(missing_ok=True)
            started = time.perf_counter()
            figures = work()
            flush(out)
            seconds[name].append(time.perf_counter() - started)
            if name == "`merge`":
                merged.append(figures)
                assert pq.read_metadata(out).num_rows == rows
    # The first round only fills the page cache.
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    total = sum(part.stat().st_size for part in parts)
    print(f"{rows:,} documents, {width} dimensions, {total / 1e9:.2f} GB; {os.cpu_count()} cores\n")
    print("| | seconds | CPU seconds | peak MB |\n| --- | --- | --- | --- |")
    print("| a single build | {:.1f} | {:.1f} | {:.0f} |".format(*one))
    wall, cpu, peak = (figure(shard[at] for shard in shards) for at, figure in enumerate([max, sum, max]))
    print(f"| {count} shards in turn: longest time, total CPU time, largest peak | {wall:.1f} | {cpu:.1f} | {peak:.0f} |")
    print(f"\nMedians of {rounds}:\n\n| | seconds | ratio to `cat` |\n| --- | --- | --- |")
    for name, taken in median.items():
        print(f"| {name} | {taken:.2f} | {taken / median['`cat`']:.2f} |")
    _, cpu, peak = map(statistics.median, zip(*merged[1:]))
    print(f"\n`merge` takes {cpu:.1f} CPU seconds and {peak:.0f} MB of memory at its peak.")


if __name__ == "__main__":
    main()
