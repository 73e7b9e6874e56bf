#!/usr/bin/env python3
"""Makes a model folder for measurements. The model takes next to no time for a vector, and each text gets another one.

    scripts/bench/cheap_model.py DIMENSIONS FOLDER

The model has the tokenizer of the tiny model, and pools by itself. It adds up a few random numbers per token, weighted by
the token's position. The sum goes through a random matrix and a sine, so that the vectors are as hard to compress as those
of a real model.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TINY = Path(__file__).resolve().parent.parent.parent / "fixtures/qwen3-tiny"
SUMS = 16
OPSET, IR_VERSION = 17, 8


def graph(vocabulary: int, width: int) -> onnx.ModelProto:
    random = np.random.default_rng(20260314)
    constants = {
        "numbers": random.normal(0, 0.1, (vocabulary, SUMS)).astype(np.float32),
        "matrix": random.normal(0, 1, (SUMS, width)).astype(np.float32),
        "tokens_axis": np.array([1], np.int64),
        "last_axis": np.array([2], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["numbers", "input_ids"], ["of_tokens"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("CumSum", ["mask", "tokens_axis"], ["places"]),
        helper.make_node("Sin", ["places"], ["waves"]),
        helper.make_node("Mul", ["waves", "mask"], ["masked_waves"]),
        helper.make_node("Unsqueeze", ["masked_waves", "last_axis"], ["weights"]),
        helper.make_node("Mul", ["of_tokens", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "tokens_axis"], ["sums"], keepdims=0),
        helper.make_node("MatMul", ["sums", "matrix"], ["angles"]),
        helper.make_node("Sin", ["angles"], ["sentence_embedding"]),
    ]
    ids = ["batch", "tokens"]
    made = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ids) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model


def main() -> None:
    width, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads((TINY / "config.json").read_text())
    config["hidden_size"] = width
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(TINY / "tokenizer.json", folder)
    onnx.save(graph(config["vocab_size"], width), folder / "model.onnx")


if __name__ == "__main__":
    main()
