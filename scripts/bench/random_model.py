#!/usr/bin/env python3
"""Makes a model repository like that of Qwen3-Embedding-0.6B with random weights, for measurements.

    scripts/bench/random_model.py TOKENIZER.json FOLDER --layers 28

Shapes, names and settings are those of the model on the hub. The weights are seeded and in bf16. With `--tiny` and the
tokenizer of `fixtures/qwen3-tiny`, shapes and settings are those of that model.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import tokenizers

TINY = Path(__file__).resolve().parent.parent.parent / "fixtures/qwen3-tiny"
REAL = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151669,
}


def shapes(config):
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    of_a_layer = {
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key, hidden),
        "self_attn.v_proj": (key, hidden),
        "self_attn.o_proj": (hidden, query),
        "self_attn.q_norm": (head,),
        "self_attn.k_norm": (head,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    found = {"embed_tokens.weight": (config["vocab_size"], hidden), "norm.weight": (hidden,)}
    for layer in range(config["num_hidden_layers"]):
        found |= {f"layers.{layer}.{name}.weight": shape for name, shape in of_a_layer.items()}
    return found


def write_weights(shapes, path):
    """Writes a safetensors file: the length of the header, the header in JSON, and the numbers. Memory holds one tensor."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    written = json.dumps(header).encode()
    random = np.random.default_rng(7)
    with path.open("wb") as file:
        file.write(len(written).to_bytes(8, "little") + written)
        for shape in shapes.values():
            values = random.standard_normal(shape, dtype=np.float32)
            values = 1 + values / 5 if len(shape) == 1 else values / math.sqrt(shape[-1])
            values.astype(ml_dtypes.bfloat16).tofile(file)


def write_json(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    end = tokenizers.Tokenizer.from_file(str(arguments.tokenizer)).token_to_id("<|endoftext|>")

    def read(name):
        return json.loads((TINY / name).read_text())

    config = read("config.json")
    special = read("tokenizer_config.json")
    # The three special tokens keep their order, after all other tokens.
    shift = end - config["eos_token_id"]
    decoder = {int(id) + shift: token for id, token in special["added_tokens_decoder"].items()}
    pooling = read("1_Pooling/config.json")
    layers = arguments.layers
    config |= {} if arguments.tiny else REAL
    config |= {"num_hidden_layers": layers, "layer_types": ["full_attention"] * layers, "max_window_layers": layers}
    config |= {"bos_token_id": end, "eos_token_id": end, "torch_dtype": "bfloat16"}
    pooling["word_embedding_dimension"] = config["hidden_size"]

    arguments.folder.mkdir(parents=True, exist_ok=True)
    write_json(arguments.folder / "config.json", config)
    write_json(arguments.folder / "tokenizer_config.json", special | {"added_tokens_decoder": decoder})
    write_json(arguments.folder / "1_Pooling/config.json", pooling)
    for name in ("modules.json", "config_sentence_transformers.json"):
        shutil.copy(TINY / name, arguments.folder)
    shutil.copy(arguments.tokenizer, arguments.folder / "tokenizer.json")
    write_weights(shapes(config), arguments.folder / "model.safetensors")


if __name__ == "__main__":
    main()
