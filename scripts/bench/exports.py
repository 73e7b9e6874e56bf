"""Exports the model for the other libraries of scripts/bench/speed: KIND SOURCE FOLDER."""

import shutil
import subprocess
import sys
from pathlib import Path

import nncf
import onnx
import openvino as ov
from onnx import helper
from optimum.exporters.onnx import main_export
from sentence_transformers import SentenceTransformer


# `scripts/bench/llama_cpp` unpacks it.
LLAMA_CPP = Path(__file__).resolve().parent.parent.parent / "target/llama-cpp/source/vendor/llama.cpp"


def openvino(source, folder):
    """Exports as the documentation of sentence-transformers says: loads with a backend, and saves the export.

    Adds a copy with 8-bit weights, by the defaults of NNCF.
    """
    SentenceTransformer(str(source), backend="openvino").save_pretrained(str(folder))
    path = folder / "openvino/openvino_model.xml"
    ov.save_model(nncf.compress_weights(ov.Core().read_model(path)), path.with_stem("openvino_model_int8"))


def llama_cpp(source, folder):
    """Converts with the script of llama.cpp, which writes 8-bit weights by itself."""
    folder.mkdir(parents=True)
    command = [sys.executable, LLAMA_CPP / "convert_hf_to_gguf.py", source, "--outtype", "q8_0"]
    subprocess.run([*command, "--outfile", folder / "q8_0.gguf"], check=True)


def optimum(source, folder):
    """Makes a plain export, in the place where sentence-transformers and fastembed look for it."""
    main_export(str(source), str(folder), task="feature-extraction", library_name="transformers", do_validation=False)
    for name in ("modules.json", "config_sentence_transformers.json"):
        shutil.copy(source / name, folder)
    shutil.copytree(source / "1_Pooling", folder / "1_Pooling")
    (folder / "onnx").mkdir()
    for path in folder.glob("model.onnx*"):
        path.rename(folder / "onnx" / path.name)
    find_positions(folder / "onnx/model.onnx")


def find_positions(path):
    """Makes the graph compute the positions from the mask. It takes them as an input that neither library passes."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    graph.input.remove(next(entry for entry in graph.input if entry.name == "position_ids"))
    for name, value in (("one", 1), ("zero", 0)):
        graph.initializer.append(helper.make_tensor(f"positions_{name}", onnx.TensorProto.INT64, [], [value]))
    nodes = [
        helper.make_node("CumSum", ["attention_mask", "positions_one"], ["positions_counted"]),
        helper.make_node("Sub", ["positions_counted", "positions_one"], ["positions_from_zero"]),
        # Left padding would get negative positions.
        helper.make_node("Max", ["positions_from_zero", "positions_zero"], ["position_ids"]),
    ]
    for at, node in enumerate(nodes):
        graph.node.insert(at, node)
    onnx.save(model, path)


def main(kind, source, folder):
    {"openvino": openvino, "optimum": optimum, "llama_cpp": llama_cpp}[kind](Path(source), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
