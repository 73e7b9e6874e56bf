"""The page that scripts/bench/speed writes, and the tables in it."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
GPU_PAGE = "benchmarks-gpu.md"
OPENVINO = Path(__file__).resolve().parent.parent / "pins/openvino.txt"
PACKAGES = """sentence-transformers torch transformers optimum optimum-onnx optimum-intel openvino nncf fastembed onnxruntime
onnx llama_cpp_python tokenizers numpy""".split()
CPU_FLAGS = "avx2 avx512f avx_vnni avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8".split()

PAGE = """# Benchmarks

`scripts/bench/speed` wrote this page on {date}. All figures are from one run on one machine. On another
machine, expect similar ratios, not similar figures.

{machine} {threads} threads for each contender.{no_int8}

{versions}

## Ratios

{ratios}
## {passages} passages of 5 to 1,000 tokens

{tokens} tokens in all, {layers} layers. Ratios are to this tool in fp32, cosines to the vectors of the first line.

{mixed}
## {many_passages} passages of 5 to 1,000 tokens, {many_layers} layers

{many_tokens} tokens in all.

{many}
## {short_passages} short texts with an instruction

The texts have 5 to 30 tokens, and the instruction 30 more. The columns are seconds in the model.

{instruction}
## What is measured

- The model has the shape and the vocabulary size of Qwen3-Embedding-0.6B, with random weights, which do not change
  speed. This tool reads exports by `qwen3-index model export`.
- The passages are sentences of `fixtures/corpus` in random order, a third each in English, Chinese and Japanese. Their
  lengths are log-uniform: as many have 5 to 10 tokens as 500 to 1,000. All contenders get the same passages in the same
  order.
- tokens/s counts the tokens of the texts with their end tokens, and the time of embedding by the clock. For this tool
  that is `seconds.embedding` in its report, for the others the call that embeds, after a first call with four texts to
  warm up. That call also tokenizes; this tool tokenizes beside the model, and the whole run includes it.
- A whole run of this tool is its process from start to end, with reading and writing. For the others it is loading and
  embedding.
- This tool and the matrix products run three times, in turns with the others, and the median counts. The others run once.
- sentence-transformers is set up as the page of the model says, with its default batches of 32 texts, sorted by length.
  For OpenVINO it exports the model itself, and OpenVINO chooses the precision.
- ONNX is the plain export by optimum. It takes positions as an input, which sentence-transformers and fastembed do not
  pass, so three more nodes compute them from the mask.
- fastembed knows the model by name. Its batches are 32 texts in the order of the input; the default of 256 would need
  more than 16 GB for the attention of one layer.
- OpenVINO with 8-bit weights runs the same export after `compress_weights` of NNCF, with the defaults of both: dynamic
  quantization rounds the activations on processors for which OpenVINO has 8-bit products.
- llama.cpp is built from the source package of llama-cpp-python with the default options, for the processor of this machine.
  Its own script converts the weights to Q8_0. It also multiplies each token with the vocabulary, which no vector needs: a
  quarter of its operations.
- Both get texts of about the same length together, as this tool batches them, so that they compute next to no padding:
  OpenVINO up to 1,536 tokens at a time, llama.cpp up to 512, because its attention is over all tokens of a call.
- "Torch bf16, the model alone" calls the model with token ids, without padding and mask, and takes the best of four
  shapes.
- "Matrix products alone" are the matrix products of this tool's exports, with the same weights, batches and ONNX
  Runtime, without anything in between and without attention. The last two lines add the time of the two products of
  causal attention, calculated from their number of operations and the rate of the fp32 products.
- Instructions: either `--instruction` with 30 tokens, or the same words in each text, where the tool cannot recognize
  them. Both have the same number of tokens, except for a line break.

## GPUs

{gpus}

## How to run it

Run `scripts/bench/speed` on Linux, with a C++ compiler, 24 GB of memory and 25 GB of disk; it takes two hours.
`scripts/bench/speed --quick` checks in less than a minute that it works, with a tiny model and without the other libraries.
"""


def gpus():
    if (DOCS / GPU_PAGE).exists():
        return f"[{GPU_PAGE}]({GPU_PAGE}), written by `scripts/gpu_check`."
    return "Not measured yet; `scripts/gpu_check` measures it on a machine with a GPU."


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def speed_table(measured, unit):
    """Returns a table of measurements by name. Ratios are to the one named `unit`."""
    rows = []
    for name, one in measured.items():
        cosines = ["", ""] if one.cosines is None else [f"{one.cosines.min():.5f}", f"{one.cosines.mean():.5f}"]
        whole = "" if one.whole_seconds is None else f"{one.whole_seconds:.1f}"
        ratio = one.tokens_per_second / measured[unit].tokens_per_second
        speed = [f"{one.tokens_per_second:.0f}", f"{ratio:.2f}", whole, f"{one.peak_bytes / 1e9:.2f}"]
        rows.append([f"{name} ({one.note})" if one.note else name, *speed, *cosines])
    return table(["", "tokens/s", "ratio", "whole run, s", "peak GB", "lowest cosine", "mean cosine"], rows)


def cores():
    """Returns the number of physical cores. More threads than that do not make matrix products faster."""
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
    # `scripts/setup openvino` installs it for the tool, not for Python.
    lines = OPENVINO.read_text().splitlines()
    packages += [line.split()[0].replace("==", " ") for line in lines if line.startswith("onnxruntime")]
    return f"{tool}; Python {platform.python_version()}; {', '.join(packages)}."
