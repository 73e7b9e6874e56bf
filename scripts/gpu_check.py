#!/usr/bin/env python3
"""Measures this tool on an NVIDIA GPU, beside sentence-transformers and beside what the chip can do.

    scripts/gpu_check

installs what this needs, and says more.
"""

import argparse
import datetime
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import tokenizers

import bench
import bench_passages
from bench_page import machine, table, versions

DEVICE = ["--device", "cuda"]
VARIANTS = {"f16": "model_f16.onnx", "bf16": "model_bf16.onnx"}
# The lowest cosine to fp32 on the CPU.
BOUND = 0.9995
BATCHES = (32, 128, 256)
SAMPLES = 200


class Watch(threading.Thread):
    """What the driver says of the GPU, ten times a second, while something runs."""

    QUERY = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "100"]

    def __enter__(self):
        self.process = subprocess.Popen(self.QUERY, stdout=subprocess.PIPE, text=True)
        self.start()
        return self

    def run(self):
        lines = (line.split(",") for line in self.process.stdout)
        self.seen = [(int(busy), int(memory)) for busy, memory in lines]

    def __exit__(self, *_):
        self.process.terminate()
        self.join()

    @property
    def busy(self):
        """The median per cent from the first to the last moment at work."""
        at_work = [number for number, (busy, _) in enumerate(self.seen) if busy > 50]
        return np.median([busy for busy, _ in self.seen[at_work[0] : at_work[-1] + 1]]) if at_work else 0

    @property
    def peak_gb(self):
        return max(memory for _, memory in self.seen) * 2**20 / 1e9


def build(bench_run, variant, *arguments):
    """A run of this tool, with what the driver saw of it."""
    with Watch() as watch:
        result = bench_run.run_tool([*DEVICE, "--model-file", VARIANTS[variant], *arguments])
    vectors = np.load(bench_run.work / "vectors.npy")
    rate = result["tokens"] / (result["whole_seconds"] - result["model_seconds"])
    return {"rate": rate, "embedding_rate": result["tokens"] / result["seconds"], "vectors": vectors, "watch": watch}


def operations(model, rows):
    """Of the matrix products and of attention."""
    config = json.loads((model / "source/config.json").read_text())
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads, kv = (config[name] * config["head_dim"] for name in ("num_attention_heads", "num_key_value_heads"))
    weights = config["num_hidden_layers"] * (width * (2 * heads + 2 * kv) + 3 * width * inner)
    return 2 * weights * sum(row["tokens"] for row in rows) + bench.attention_operations(model, rows)


def sentence_transformers(model, rows):
    """Tokens a second with the best of its attentions and batches, in a process of its own."""
    texts = [row["text"] for row in rows]
    command = [sys.executable, __file__, "--rival", model / "source"]
    return json.loads(subprocess.run(command, input=json.dumps(texts), text=True, check=True, stdout=-1).stdout)


def rival(model):
    import time

    import torch
    from sentence_transformers import SentenceTransformer

    texts = json.load(sys.stdin)
    found = {}
    for attention in ("flash_attention_2", "sdpa"):
        try:
            options = {"dtype": "bfloat16", "attn_implementation": attention}
            loaded = SentenceTransformer(str(model), device="cuda", model_kwargs=options)
        except (ImportError, ValueError) as error:
            print(f"{attention}: {error}", file=sys.stderr)
            continue
        for size in BATCHES:
            loaded.encode(texts[:size], batch_size=size)
            begun = time.perf_counter()
            loaded.encode(texts, batch_size=size)
            found[f"{attention}, batches of {size}"] = time.perf_counter() - begun
        del loaded
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
    print(json.dumps({"seconds": found, "product": product}))


def check(arguments):
    path = bench.CACHE / "tokenizer.json"
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    model = bench.CACHE / f"layers-{arguments.layers}-gpu"
    bench.make_model(model, path, arguments.layers, ["fp32", *VARIANTS], [])
    threads = bench.cores()
    sets = {
        "512 tokens": bench_passages.passages(tokenizer, arguments.passages, 511, 512),
        "20 to 1,000 tokens": bench_passages.passages(tokenizer, arguments.passages, 20, 1000),
    }
    problems, rows = [], []
    for name, passages in sets.items():
        few = bench.Bench("gpu-few", model, passages[:SAMPLES], threads)
        few.run_tool(["--device", "cpu"])
        expected = np.load(few.work / "vectors.npy")
        whole = bench.Bench("gpu", model, passages, threads)
        other = sentence_transformers(model, passages)
        best = min(other["seconds"], key=other["seconds"].get)
        other_rate = whole.tokens / other["seconds"][best]
        for variant in VARIANTS:
            made = build(whole, variant)
            worst = bench.cosine(made["vectors"][:SAMPLES], expected).min()
            if not worst > BOUND:
                problems.append(f"{variant}, {name}: a cosine of {worst:.6f} to fp32 is not over {BOUND}")
            share = made["embedding_rate"] * operations(model, passages) / whole.tokens / other["product"]
            watch = made["watch"]
            rows.append(
                [variant, name, f"{made['rate']:,.0f}", f"{share:.0%}", f"{made['rate'] / other_rate:.2f} ({best})"]
                + [f"{watch.busy:.0f} %", f"{watch.peak_gb:.1f}", f"{worst:.6f}"]
            )
    # Weights take 1.2 GB; what is left is too small for the batches that it is told to make.
    small = bench.Bench("gpu-small", model, sets["20 to 1,000 tokens"][:2000], threads)
    limited = build(small, "f16", "--gpu-memory", "2", "--batch-tokens", "65536")
    free = build(small, "f16")
    worst = bench.cosine(limited["vectors"], free["vectors"]).min()
    if not worst > BOUND:
        problems.append(f"with 2 GiB: a cosine of {worst:.6f} to vectors made with all memory")
    rows.append(["f16, 2 GiB", "2,000 of those", f"{limited['rate']:,.0f}", "", "", ""])
    rows[-1] += [f"{limited['watch'].peak_gb:.1f}", f"{worst:.6f}"]
    head = ["", "documents of", "tokens/s, files to Parquet", "of the chip's bf16 rate", "to sentence-transformers bf16"]
    page = PAGE.format(
        date=datetime.date.today(),
        gpu=subprocess.check_output(["nvidia-smi", "-L"], text=True).strip(),
        machine=machine(),
        versions=versions(bench.TOOL),
        passages=f"{arguments.passages:,}",
        layers=arguments.layers,
        table=table([*head, "GPU busy", "peak, GB", "worst cosine"], rows),
    )
    arguments.out.write_text(page, encoding="utf-8")
    print(page)
    return problems


PAGE = """# On a GPU

Made by `scripts/gpu_check` on {date}.

- {gpu}
- {machine}
- {versions}

The shape of Qwen3-Embedding-0.6B with {layers} layers and random weights; {passages} documents of each kind. Tokens a
second are from files to Parquet, without loading the model. The chip's rate is that of a product of two 8192 × 8192
matrices in torch, in the same run. sentence-transformers has its best attention and batch size. The last column is to
this tool in fp32 on the CPU, and in the last row to the run with all memory.

{table}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=28, help="of the model; default: 28")
    parser.add_argument("--passages", type=int, default=20000, help="of each kind; default: 20000")
    parser.add_argument("--out", type=Path, default=bench.ROOT / "docs/benchmarks-gpu.md")
    parser.add_argument("--rival", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rival:
        return rival(arguments.rival)
    problems = check(arguments)
    return sys.exit("\n".join(problems) if problems else 0)


if __name__ == "__main__":
    main()
