#!/usr/bin/env python3
"""Measures what a start costs with a model of the real shape: a night without changes, a search, and the embedding of a question.

    scripts/setup && scripts/packages bench && cargo build --release --locked
    PYTHONPATH=target/python/bench scripts/bench/start.py TOKENIZER.json [FOLDER] [ROUNDS] [DOCUMENTS]

TOKENIZER.json is the tokenizer of Qwen3 (`scripts/bench/tokenizer` makes one). The models are kept in FOLDER, and take 3.6 GB: one
with 28 layers, a width of 1,024 and 151,669 tokens, exported in fp32, and one with the same width that takes next to no time
(`scripts/bench/cheap_model.py`), whose nights show all costs that do not depend on the model.

Each document is one of twenty texts, so a first build takes seconds. All contenders take turns, and all files are in the page
cache. Figures are medians: seconds by the clock, and CPU seconds (user and system) of all threads and processes. Other programs on
the machine disturb CPU seconds less. "The session alone" is ONNX Runtime in Python: it loads the graph with the settings of this
tool for one text, and in the next line also embeds one text of as many tokens.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "target/release/qwen3-index"
FEW, TEXTS = 3, 20
QUESTION = "How do I return a station?"
SESSION = """
import sys, time, os
import numpy as np, onnxruntime as ort
path, tokens = sys.argv[1], int(sys.argv[2])
options = ort.SessionOptions()
options.intra_op_num_threads = os.cpu_count()
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
options.enable_mem_pattern = False
options.add_session_config_entry("session.disable_prepacking", "1")
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
clock, cpu = time.perf_counter(), time.process_time()
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
if tokens:
    past = next(given.shape for given in session.get_inputs() if given.name == "past_key_values")
    ids = np.arange(tokens, dtype=np.int64)[None]
    session.run(["sentence_embedding"], {
        "input_ids": ids, "attention_mask": np.ones_like(ids), "kept": np.zeros(1, np.int64),
        "past_key_values": np.zeros((past[0], 0, past[2]), np.float32),
    })
print(time.perf_counter() - clock, time.process_time() - cpu)
"""


def run(*command):
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def timed(*command):
    """Returns seconds by the clock and CPU seconds of a process and its children."""
    started, before = time.perf_counter(), os.times()
    run(*command)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - started, cpu


def session(graph, tokens):
    """Returns seconds by the clock and CPU seconds of loading a graph, without starting Python."""
    command = [sys.executable, "-c", SESSION, graph, tokens]
    printed = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout
    return tuple(float(number) for number in printed.split())


def models(tokenizer, folder):
    """Makes the two models, unless the folder has them."""
    real, cheap = folder / "real", folder / "cheap"
    if not (real / "onnx/model.onnx").is_file():
        weights = folder / "weights"
        run(sys.executable, ROOT / "scripts/bench/random_model.py", tokenizer, weights, "--layers", 28)
        run(TOOL, "model", "export", weights, real, "--precision", "fp32")
    if not cheap.is_dir():
        run(sys.executable, ROOT / "scripts/bench/cheap_model.py", 1024, cheap)
    return {"the real shape": real, "the cheap model": cheap}


def write_documents(path, count, turn=0):
    """Writes the documents, of which the first has another text in each turn."""
    with open(path, "w") as file:
        for number in range(count):
            of = f"{number % TEXTS}" if number else f"of turn {turn}"
            text = f"Text {of} is about returning a station to its shelf, which takes a while and a key."
            print(json.dumps({"id": str(number), "text": text}), file=file)


def changed_night(docs, turn, command):
    write_documents(docs, FEW, turn)
    return timed(*command)


def show(what, figures):
    clock, cpu = (statistics.median(numbers) for numbers in zip(*figures, strict=True))
    print(f"| {what} | {clock:.2f} | {cpu:.2f} |")


def main():
    tokenizer, *more = sys.argv[1:]
    folder, rounds, many = [*more, *("target/bench/start", 5, 10_000)[len(more) :]]
    folder, rounds, many = Path(folder), int(rounds), int(many)
    folder.mkdir(parents=True, exist_ok=True)
    named = models(tokenizer, folder)
    nights, changed = {}, {}

    def build(docs, out, model):
        out = folder / f"{out}.parquet"
        return [TOOL, "build", docs, "-o", out, "--model", model, "--device", "cpu", "-q"]

    for count in (FEW, many):
        docs = folder / f"{count}.jsonl"
        write_documents(docs, count)
        for name, model in named.items():
            nights[f"night without changes, {count:,} documents, {name}"] = build(docs, f"{model.name}-{count}", model)
    docs = folder / "changed.jsonl"
    for name, model in named.items():
        changed[f"night with one text changed, {FEW} documents, {name}"] = build(docs, f"{model.name}-changed", model)
    real = named["the real shape"]
    starts = {
        "search, one question": [TOOL, "search", folder / f"{real.name}-{FEW}.parquet", QUESTION],
        "embed --query, one text": [TOOL, "embed", "--query", QUESTION, "--model", real, "--device", "cpu"],
    }
    graph = real / "onnx/model.onnx"
    contenders = {what: lambda _, command=command: timed(*command) for what, command in nights.items()}
    contenders |= {what: lambda turn, command=command: changed_night(docs, turn, command) for what, command in changed.items()}
    contenders["the session alone"] = lambda _: session(graph, 0)
    contenders["the session alone, and one text"] = lambda _: session(graph, 32)
    contenders |= {what: lambda _, command=command: timed(*command) for what, command in starts.items()}
    # The first round builds the indexes and fills caches.
    figures = {what: [] for what in contenders}
    for turn in range(1 + rounds):
        for what, measure in contenders.items():
            figure = measure(turn)
            if turn > 0:
                figures[what].append(figure)
    print(f"Machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {rounds} rounds\n")
    print("| | seconds | CPU seconds |\n| --- | --- | --- |")
    for what in contenders:
        show(what, figures[what])


main()
