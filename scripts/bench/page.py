"""What scripts/bench/speed tells: tables in Markdown, and the page around them."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
GPU_PAGE = "benchmarks-gpu.md"
OPENVINO = Path(__file__).resolve().parent.parent / "pins/openvino.txt"
PACKAGES = """sentence-transformers torch transformers optimum optimum-onnx optimum-intel openvino fastembed onnxruntime
onnx tokenizers numpy""".split()
CPU_FLAGS = "avx2 avx512f avx_vnni avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8".split()

PAGE = """# Benchmarks

`scripts/bench/speed` has written this page, on {date}. All figures are of one run on one machine, and only
their ratios should be taken elsewhere.

{machine} {threads} threads for everybody.

{versions}

## Ratios

{ratios}
## {passages} passages of 5 to 1,000 tokens

{tokens} tokens in all, {layers} layers. Ratios are to this tool in fp32, cosines to the first line.

{mixed}
## {many_passages} passages of 5 to 1,000 tokens, {many_layers} layers

{many_tokens} tokens in all.

{many}
## {short_passages} short texts with an instruction

5 to 30 tokens without it, 30 more with it; seconds in the model.

{instruction}
## What is measured

- The model has the shape of Qwen3-Embedding-0.6B and its number of tokens, with random weights, which do not
  change speed. Ours are exports by `scripts/export_onnx.py`.
- The passages are sentences of `fixtures/corpus` in random orders, a third each in English, Chinese and Japanese; there
  are as many between 5 and 10 tokens as between 500 and 1,000. Everybody gets the same ones in the same order.
- tokens/s are those of the texts with their end tokens, by the clock while texts are embedded: this tool's
  `seconds.embedding` in its report, and for others the call that embeds, after it has embedded four texts to warm up.
  That call tokenizes too; this tool does so beside the model, and it shows in the whole run. A whole run is the process
  of this tool from start to end, reading and writing included, and for others loading and embedding.
- This tool, and what is fast, is measured three times, in turns with the others, and the median taken; the others once.
- sentence-transformers is set up as the model's page says, with its default of 32 texts a batch, sorted by length.
  For OpenVINO it has exported the model itself, and what precision it then computes in is OpenVINO's choice.
- ONNX is the plain export by optimum. It asks for positions, which sentence-transformers and fastembed do not give, so
  three nodes that find them from the mask are added in front of it.
- fastembed knows the model by name. It has 32 texts a batch, in the order they come in: its default of 256 would take
  16 GB and more for the attention of one layer.
- "Torch bf16, the model alone" is the model called with token ids, without padding or mask: the best of some shapes.
- "Matrix products alone" are those of our exports with the same weights in the same batches, in the same ONNX Runtime:
  nothing in between, no attention. The last two lines add the two products of causal attention, by their arithmetic at
  the rate of the fp32 products.
- Instructions: `--instruction` with one of 30 tokens, or the same words in each text, which the tool then knows nothing
  about; both are the same number of tokens, but for a line break.

## GPUs

{gpus}

## How to run it

`scripts/bench/speed` on Linux, with 24 GB of memory, 25 GB of disk and two hours. `scripts/bench/speed --quick` checks in less
than a minute that it runs, with a tiny model and without the others.
"""


def gpus():
    if (DOCS / GPU_PAGE).exists():
        return f"[{GPU_PAGE}]({GPU_PAGE}), made by `scripts/gpu_check`."
    return "Not measured yet: `scripts/gpu_check` does it, on a machine that has one."


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
