#!/usr/bin/env python3
"""Measures the tool on an NVIDIA GPU, beside sentence-transformers and beside the rate of the chip.

Run it by `scripts/gpu_check`, which installs what it needs.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import numpy as np
import tokenizers

import speed
from page import DOCS, GPU_PAGE, machine, table, versions
from passages import make_passages

VARIANTS = {"f16": "model_f16.onnx", "bf16": "model_bf16.onnx"}
# The lowest cosine to the vectors of fp32 on the CPU that passes.
BOUND = 0.9995
ROUNDS = 3
# Settings of sentence-transformers. All are tried with `TRIED` passages, and the fastest is measured.
ATTENTIONS = ("flash_attention_2", "sdpa")
BATCHES = (32, 128, 256)
TRIED = 2000
# How many vectors are compared with those of the CPU.
SAMPLES = 200


class Watch(threading.Thread):
    """Asks the driver about the first GPU ten times per second, while something runs."""

    QUERY = "nvidia-smi -i 0 --query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits -lms 100".split()

    def __enter__(self):
        self.process = subprocess.Popen(self.QUERY, stdout=subprocess.PIPE, text=True)
        self.seen = []
        self.start()
        return self

    def run(self):
        for line in self.process.stdout:
            numbers = line.replace(",", " ").split()
            # The last line may be cut off, and some drivers do not know every figure.
            if len(numbers) == 2 and all(map(str.isdigit, numbers)):
                self.seen.append(tuple(map(int, numbers)))

    def __exit__(self, *_):
        self.process.terminate()
        self.join()

    @property
    def busy(self):
        """Returns the mean utilization in percent between the first and the last work: without loading, with pauses."""
        at_work = [at for at, (busy, _) in enumerate(self.seen) if busy > 50]
        return statistics.mean(busy for busy, _ in self.seen[at_work[0] : at_work[-1] + 1]) if at_work else 0

    @property
    def peak_gb(self):
        return max((memory for _, memory in self.seen), default=0) * 2**20 / 1e9


class Found:
    """The results so far. Each new row rewrites the page, since the next measurement may fail."""

    def __init__(self, arguments):
        self.arguments, self.rows, self.problems, self.notes = arguments, [], [], []

    def add(self, row, worst):
        self.rows.append([*row, f"{worst:.6f}"])
        if not worst > BOUND:
            self.problems.append(f"{row[0]}, {row[1]}: the worst cosine {worst:.6f} is not above {BOUND}")
        self.write()

    def write(self):
        page = PAGE.format(
            date=datetime.date.today(),
            gpu=output("nvidia-smi", "-L"),
            machine=machine(),
            versions=versions(speed.TOOL),
            passages=f"{self.arguments.passages:,}",
            layers=self.arguments.layers,
            rounds=ROUNDS,
            table=table(HEAD, self.rows),
            notes="".join(f"- {note}\n" for note in self.notes),
        )
        self.arguments.out.write_text(page, encoding="utf-8")
        print(page, flush=True)

    def attempt(self, what, function, *arguments):
        """Returns the result of a measurement, or `None` if it fails, so that the others can follow."""
        try:
            return function(*arguments)
        except Exception:
            traceback.print_exc()
            self.problems.append(f"{what}: failed, see above")
            return None


def output(*command, **options):
    return subprocess.run(
        [str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE, **options
    ).stdout.strip()


def build(run, variant, *arguments):
    """Runs the tool under a `Watch`. Returns tokens per second of the whole run without loading, and of the model."""
    with Watch() as watch:
        result = run.run_tool(["--device", "cuda", "--model-file", VARIANTS[variant], *arguments])
    rate = result["tokens"] / (result["whole_seconds"] - result["model_seconds"])
    return {"rate": rate, "model_rate": result["tokens"] / result["seconds"], "watch": watch}


def operations(model, rows):
    """Returns the operations of matrix products and attention. After the last attention, only end tokens remain."""
    config = json.loads((model / "source/config.json").read_text())
    width, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
    heads, kv = (config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    tokens = sum(row["tokens"] for row in rows)
    before, behind = width * (heads + 2 * kv), width * heads + 3 * width * inner
    weights = layers * before * tokens + behind * ((layers - 1) * tokens + len(rows))
    pairs = layers * sum(row["tokens"] * (row["tokens"] + 1) / 2 for row in rows)
    return 2 * weights + 2 * 2 * heads * pairs


def rival(model, passages, *settings):
    """Measures sentence-transformers in another process. Returns seconds by setting, and the rate of the chip."""
    texts = json.dumps([row["text"] for row in passages])
    command = [sys.executable, __file__, "--rival", model / "source", *settings]
    told = output(*command, input=texts, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    return json.loads(told.splitlines()[-1])


def be_rival(model, settings):
    import time

    import torch
    from sentence_transformers import SentenceTransformer

    texts = json.load(sys.stdin)
    seconds = {}
    for setting in settings:
        attention, size = setting.split(":")
        try:
            options = {"dtype": "bfloat16", "attn_implementation": attention}
            loaded = SentenceTransformer(str(model), device="cuda", model_kwargs=options)
            loaded.encode(texts[:1024], batch_size=int(size))
            begun = time.perf_counter()
            loaded.encode(texts, batch_size=int(size))
            seconds[setting] = time.perf_counter() - begun
        except Exception as error:
            print(f"{setting}: {type(error).__name__}: {error}", file=sys.stderr)
        loaded = None
        torch.cuda.empty_cache()
    side = 8192
    some = torch.randn(side, side, dtype=torch.bfloat16, device="cuda")
    for _ in range(3):
        some @ some
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(50):
        some @ some
    torch.cuda.synchronize()
    product = 50 * 2 * side**3 / (time.perf_counter() - begun)
    print(json.dumps({"seconds": seconds, "product": product}))


def compare(found, name, model, passages, threads):
    """Measures both variants and the best setting of sentence-transformers in turns."""
    few = speed.Bench("gpu-few", model, passages[:SAMPLES], threads)
    few.run_tool(["--device", "cpu"])
    expected = np.load(few.work / "vectors.npy")
    tried = found.attempt("sentence-transformers", rival, model, passages[:TRIED], *SETTINGS)
    seconds = (tried or {}).get("seconds")
    best = min(seconds, key=seconds.get) if seconds else None
    run = speed.Bench("gpu", model, passages, threads)
    made, others, products, worst = {variant: [] for variant in VARIANTS}, [], [], dict.fromkeys(VARIANTS, 1.0)
    for _ in range(ROUNDS):
        for variant, rounds in made.items():
            if built := found.attempt(f"{variant}, {name}", build, run, variant):
                rounds.append(built)
                vectors = np.load(run.work / "vectors.npy")
                worst[variant] = min(worst[variant], speed.cosine(vectors[:SAMPLES], expected).min())
        other = found.attempt("sentence-transformers", rival, model, passages, best) if best else None
        if other and best in other["seconds"]:
            others.append(run.tokens / other["seconds"][best])
            products.append(other["product"])
    if others:
        attention, size = best.split(":")
        found.notes.append(f"{name}: sentence-transformers is fastest with {attention} and batches of {size}.")
    for variant, rounds in made.items():
        if not rounds:
            continue
        middle = sorted(rounds, key=lambda result: result["rate"])[len(rounds) // 2]
        share = ratio = "not known"
        if others:
            used = middle["model_rate"] * operations(model, passages) / run.tokens
            share = f"{used / statistics.median(products):.0%}"
            ratio = f"{middle['rate'] / statistics.median(others):.2f}"
        watch = middle["watch"]
        row = [variant, name, f"{middle['rate']:,.0f}", share, ratio, f"{watch.busy:.0f} %", f"{watch.peak_gb:.1f}"]
        found.add(row, worst[variant])


def with_little_memory(found, model, passages, threads):
    """Measures with 2 GiB. The weights take 1.2 of them, and the rest is too little for the batches it is given."""
    run = speed.Bench("gpu-small", model, passages, threads)
    build(run, "f16")
    expected = np.load(run.work / "vectors.npy")
    limited = build(run, "f16", "--gpu-memory", "2", "--batch-tokens", "65536")
    worst = speed.cosine(np.load(run.work / "vectors.npy"), expected).min()
    rate, peak = f"{limited['rate']:,.0f}", f"{limited['watch'].peak_gb:.1f}"
    found.add(["f16, 2 GiB", f"512 tokens, {len(passages):,}", rate, "", "", "", peak], worst)


HEAD = ["", "documents of", "tokens/s, files to Parquet", "of the chip's bf16 rate", "ratio to sentence-transformers bf16"]
HEAD += ["GPU busy", "peak, GB", "worst cosine"]
SETTINGS = [f"{attention}:{size}" for attention in ATTENTIONS for size in BATCHES]

PAGE = """# On a GPU

`scripts/gpu_check` wrote this page on {date}.

- {gpu}
- {machine}
- {versions}

The model has the shape of Qwen3-Embedding-0.6B with {layers} layers and random weights. There are {passages} documents of
each length, and each figure is the median of {rounds} rounds in which all take turns.

- Tokens per second: from files to Parquet, without loading the model.
- The chip's bf16 rate: a product of two 8192 × 8192 matrices in torch, in the same run. The column is the rate of the
  model alone as a share of it; the target is 45 %.
- sentence-transformers: the fastest of its attentions and batch sizes (flash_attention_2 if flash-attn is installed),
  timed while it embeds. The target is 1.5 times its rate for mixed lengths.
- GPU busy: mean utilization between the first and the last work; the target is 95 %.
- Peak: memory of all processes on the GPU.
- Worst cosine: to the vectors of this tool in fp32 on the CPU. With limited memory, to those of the same run without
  the limit.

{table}
{notes}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=28, help="layers of the model; default: 28")
    parser.add_argument("--passages", type=int, default=20000, help="passages of each length; default: 20000")
    parser.add_argument("--out", type=Path, default=DOCS / GPU_PAGE)
    parser.add_argument("--rival", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rival:
        return be_rival(arguments.rival[0], arguments.rival[1:])
    path = speed.CACHE / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    model, threads = speed.CACHE / f"layers-{arguments.layers}-gpu", speed.cores()
    speed.make_model(model, path, arguments.layers, ["fp32", *VARIANTS], [])
    lengths = {"20 to 1,000 tokens": (20, 1000), "512 tokens": (511, 512)}
    sets = {name: make_passages(tokenizer, arguments.passages, *between) for name, between in lengths.items()}
    found = Found(arguments)
    for name, passages in sets.items():
        found.attempt(name, compare, found, name, model, passages, threads)
    found.attempt("little memory", with_little_memory, found, model, sets["512 tokens"][:2000], threads)
    return sys.exit("\n".join(found.problems) if found.problems else 0)


if __name__ == "__main__":
    main()
