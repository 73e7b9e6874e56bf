"""Exports the model for the other libraries of scripts/bench/speed: KIND SOURCE FOLDER."""

import shutil
import sys
from pathlib import Path

import onnx
from onnx import helper
from optimum.exporters.onnx import main_export
from sentence_transformers import SentenceTransformer


def openvino(source, folder):
    """Exports as the documentation of sentence-transformers says: loads with a backend, and saves the export."""
    SentenceTransformer(str(source), backend="openvino").save_pretrained(str(folder))


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
    {"openvino": openvino, "optimum": optimum}[kind](Path(source), Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
