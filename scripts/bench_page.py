"""What scripts/bench/speed tells: tables in Markdown, and the page around them."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
GPU_PAGE = "benchmarks-gpu.md"
OPENVINO = Path(__file__).resolve().parent / "requirements-openvino.txt"
PACKAGES = """sentence-transformers torch transformers optimum optimum-onnx optimum-intel openvino fastembed onnxruntime
onnx tokenizers numpy""".split()
CPU_FLAGS = "avx2 avx512f avx_vnni avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8".split()

PAGE = """# Benchmarks

`scripts/bench/speed` wrote this page on {date}. All figures come from one run on one machine, and only their ratios carry over to
other machines.

{machine} Every contender has {threads} threads.

{versions}

## Ratios

{ratios}
## {passages} passages of 5 to 1,000 tokens

There are {tokens} tokens in all, and the model has {layers} layers. Ratios compare with this tool in fp32, cosines with the first
line.

{mixed}
## {many_passages} passages of 5 to 1,000 tokens, {many_layers} layers

There are {many_tokens} tokens in all.

{many}
## {short_passages} short texts with an instruction

The texts have 5 to 30 tokens without the instruction and 30 more with it. Figures are seconds in the model.

{instruction}
## What is measured

- The model has the shape of Qwen3-Embedding-0.6B and its number of tokens, with random weights, which do not change the speed. This
  tool uses exports of `scripts/export_onnx.py`.
- The passages are sentences of `fixtures/corpus` in random orders, a third each in English, Chinese and Japanese. There are as many
  between 5 and 10 tokens as between 500 and 1,000. Every contender gets the same passages in the same order.
- tokens/s counts the texts with their end tokens, by wall time while texts are embedded. For this tool that is `seconds.embedding` in
  its report. For the others it is the call that embeds, after it has embedded four texts to warm up.
- That call also tokenizes. This tool tokenizes beside the model, and the cost shows in the whole run. A whole run of this tool is the
  process from start to end, including reading and writing. For the others it is loading and embedding.
- This tool and the fast contenders run three times, in turns with the others, and the median counts. The others run once.
- sentence-transformers is set up as the model's page says, with its default of 32 texts per batch, sorted by length. For OpenVINO it
  exported the model itself, and OpenVINO chose the precision.
- ONNX is the plain export by optimum. It asks for positions, which sentence-transformers and fastembed do not give. So three nodes that
  compute them from the mask are added in front of it.
- fastembed knows the model by name. It has 32 texts per batch, in the order in which they come: its default of 256 would take
  16 GB and more for the attention of one layer.
- "Torch bf16, the model alone" calls the model with token ids, without padding or mask, at the best of several shapes.
- "Matrix products alone" are those of this tool's exports with the same weights in the same batches, in the same ONNX Runtime, without
  attention or anything else between them. The last two lines add the two products of causal attention: their arithmetic at the
  rate of the fp32 products.
- For instructions, `--instruction` gets one of 30 tokens, or each text begins with the same words and the tool does not know about
  them. Both have the same number of tokens, except for a line break.

## GPUs

{gpus}

## How to run it

Run `scripts/bench/speed` on Linux with 24 GB of memory, 25 GB of disk and two hours. `scripts/bench/speed --quick` checks in less than
a minute that it works, with a tiny model and without the others.
"""


def gpus():
    if (DOCS / GPU_PAGE).exists():
        return f"[{GPU_PAGE}]({GPU_PAGE}), made by `scripts/gpu_check`."
    return "Not measured yet. `scripts/gpu_check` measures them on a machine that has one."


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def speed_table(measured, unit):
    """Of what was measured, by name; `unit` is what ratios are to."""
    rows = []
    for name, one in measured.items():
        cosines = ["", ""] if one.cosines is None else [f"{one.cosines.min():.5f}", f"{one.cosines.mean():.5f}"]
        whole = "" if one.whole_seconds is None else f"{one.whole_seconds:.1f}"
        ratio = one.tokens_per_second / measured[unit].tokens_per_second
        speed = [f"{one.tokens_per_second:.0f}", f"{ratio:.2f}", whole, f"{one.peak_bytes / 1e9:.2f}"]
        rows.append([f"{name} ({one.note})" if one.note else name, *speed, *cosines])
    return table(["", "tokens/s", "ratio", "whole run, s", "peak GB", "lowest cosine", "mean cosine"], rows)


def cores():
    """Physical ones, which are as many threads as products of matrices can make use of."""
    return len(
        {path.read_text() for path in Path("/sys/devices/system/cpu").glob("cpu*/topology/thread_siblings_list")}
    )


def machine():
    cpu = Path("/proc/cpuinfo").read_text()
    entries = dict(line.split(":", 1) for line in cpu.splitlines() if ":" in line)
    entries = {name.strip(): value.strip() for name, value in entries.items()}
    flags = [flag for flag in CPU_FLAGS if flag in entries.get("flags", "").split()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    name = entries.get("model name", platform.machine())
    return f"{name}, {cores()} cores, {memory:.0f} GB; {', '.join(flags)}."


def versions(tool):
    tool = subprocess.run([tool, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    packages = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    # Installed for the tool, not for Python.
    lines = OPENVINO.read_text().splitlines()
    packages += [line.split()[0].replace("==", " ") for line in lines if line.startswith("onnxruntime")]
    return f"{tool}; Python {platform.python_version()}; {', '.join(packages)}."
