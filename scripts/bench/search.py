#!/usr/bin/env python3
"""Measures `qwen3-index search` over many rows beside DuckDB and NumPy, on the same file.

    scripts/packages readers bench && cargo build --release --locked
    PYTHONPATH=target/python/readers:target/python/bench scripts/bench/search.py [ROWS] [WIDTH] [ROUNDS]

The rows are random L2-normalized vectors, with the metadata of an index that the tool has built with a model that takes
next to no time (`scripts/bench/cheap_model.py`). All contenders take turns, and the file is in the page cache. A search over
one row, which has to load the model too, is measured and subtracted for the line "without loading the model".
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "target/release/qwen3-index"
WORK = ROOT / "target/bench/search"
# Rows per row group, as the tool writes them.
GROUP_ROWS = 4096
QUESTION = "How do I return a station?"
TOP = 10


def run(command, **more):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **more).stdout


def one_row(width):
    """Builds an index of one row. Returns its model and its path."""
    model, index = WORK.parent / f"model-{width}", WORK / f"one-{width}.parquet"
    if not model.is_dir():
        run([sys.executable, ROOT / "scripts/bench/cheap_model.py", width, model])
    run([TOOL, "build", "-", "-o", index, "--model", model, "--device", "cpu"], input='{"id": "0", "text": "a text"}\n')
    return model, index


def many_rows(index, rows, width):
    path = WORK / f"rows-{rows}-{width}.parquet"
    if path.is_file():
        return path
    random = np.random.default_rng(20260314)
    schema, metadata = pq.read_schema(index), pq.read_metadata(index).metadata
    kept = {key: value for key, value in metadata.items() if key != b"ARROW:schema"}
    unfinished = path.with_suffix(".unfinished")
    options = {"compression": {"id": "ZSTD", "text": "ZSTD"}, "use_dictionary": False, "write_page_index": True}
    with pq.ParquetWriter(unfinished, schema.with_metadata(kept), **options) as writer:
        for start in range(0, rows, GROUP_ROWS):
            numbers = range(start, min(rows, start + GROUP_ROWS))
            vectors = random.normal(size=(len(numbers), width)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            columns = [
                pa.array([str(number) for number in numbers]),
                pa.array([f"the text of row {number}" for number in numbers]),
                pa.FixedSizeListArray.from_arrays(vectors.ravel(), type=schema.field("vector").type),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    unfinished.rename(path)
    return path


def search(model, index, questions, more=()):
    """Returns the ids of the nearest rows for each question."""
    command = [
        TOOL,
        "search",
        index,
        "--model",
        model,
        "--device",
        "cpu",
        "--json",
        "-k",
        TOP,
        "--questions",
        "-",
        *more,
    ]
    answers = run(command, input="\n".join(questions))
    return [[hit["id"] for hit in json.loads(line)["hits"]] for line in answers.splitlines()]


def embedded(model, questions):
    lines = run([TOOL, "embed", "--query", "--model", model, "--device", "cpu", *questions]).splitlines()
    return [json.loads(line)["vector"] for line in lines]


def duckdb_read(path, width):
    # Only the last dimension, but that takes reading the whole column.
    return duckdb.sql(f"SELECT max(vector[{width}]) FROM '{path}'").fetchall()


def duckdb_top(path, width, vectors):
    """Searches exactly, by the query of docs/duckdb.md."""
    query = f"""
        SELECT id FROM '{path}'
        ORDER BY array_cosine_similarity(vector::FLOAT[{width}], $vector::FLOAT[{width}]) DESC LIMIT {TOP}"""
    return [[id for (id,) in duckdb.execute(query, {"vector": vector}).fetchall()] for vector in vectors]


def numpy_top(path, width, vectors):
    """Searches one row group at a time, as a short script would."""
    questions, scores, ids = np.array(vectors, dtype=np.float32), [], []
    for batch in pq.ParquetFile(path).iter_batches(GROUP_ROWS, columns=["id", "vector"]):
        rows = batch["vector"].flatten().to_numpy().reshape(-1, width)
        scores.append(questions @ rows.T)
        ids.append(batch["id"])
    scores, ids = np.concatenate(scores, axis=1), pa.chunked_array(ids)
    return [[ids[int(row)].as_py() for row in np.argsort(-of_one, kind="stable")[:TOP]] for of_one in scores]


def peak_memory(command):
    """Returns the peak memory of a process in MB."""
    finished = subprocess.run(["/usr/bin/time", "-v", *map(str, command)], capture_output=True, text=True, check=True)
    return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", finished.stderr)[1]) / 1000


def main():
    rows, width, rounds = (
        int(sys.argv[at]) if len(sys.argv) > at else default for at, default in [(1, 1_000_000), (2, 1024), (3, 5)]
    )
    WORK.mkdir(parents=True, exist_ok=True)
    model, one = one_row(width)
    path = many_rows(one, rows, width)
    many = [f"question number {number}" for number in range(100)]
    vector = embedded(model, [QUESTION])
    contenders = {
        "search, one row": lambda: search(model, one, [QUESTION]),
        "search": lambda: search(model, path, [QUESTION]),
        "search, 100 questions": lambda: search(model, path, many),
        "DuckDB, reading the column": lambda: duckdb_read(path, width),
        "DuckDB, top 10": lambda: duckdb_top(path, width, vector),
        "NumPy, top 10": lambda: numpy_top(path, width, vector),
    }
    seconds = {name: [] for name in contenders}
    found = {}
    for _ in range(rounds + 1):
        for name, work in contenders.items():
            started = time.perf_counter()
            found[name] = work()
            seconds[name].append(time.perf_counter() - started)
    assert found["search"] == found["DuckDB, top 10"] == found["NumPy, top 10"], found
    # The first round only fills the page cache.
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    column = median["DuckDB, reading the column"]
    print(
        f"{rows:,} rows of {width} dimensions, {path.stat().st_size / 1e9:.2f} GB; {os.cpu_count()} cores; medians of {rounds}\n"
    )
    print("| | seconds | ratio to DuckDB reading the column |\n| --- | --- | --- |")
    for name, time_taken in median.items():
        print(f"| {name} | {time_taken:.2f} | {time_taken / column:.2f} |")
    alone = median["search"] - median["search, one row"]
    print(f"| search, without loading the model | {alone:.2f} | {alone / column:.2f} |")
    if Path("/usr/bin/time").is_file():
        command = [TOOL, "search", path, QUESTION, "--model", model, "--device", "cpu"]
        print(f"\nsearch takes {peak_memory(command):.0f} MB of memory at its peak.")


if __name__ == "__main__":
    main()
