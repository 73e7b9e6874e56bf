#!/usr/bin/env python3
"""Makes a model repository like that of Qwen3-Embedding-0.6B with random weights, for measurements.

    scripts/bench/random_model.py TOKENIZER.json FOLDER --layers 28 --gain 1000

Shapes, names and settings are those of the model on the hub. The weights are seeded and in bf16. With `--tiny` and the
tokenizer of `fixtures/qwen3-tiny`, shapes and settings are those of that model.

Random weights lack what makes a trained decoder hard to quantize. `--gain` plants it:

- The weights have heavy tails (Student's t with 5 degrees of freedom).
- One token in 32 is massive: two dimensions of its hidden states are hundreds of times larger than the rest, in all layers.
  (In a trained model these are the first token and some separators. Weights made at random cannot tell the first token.)
- Each layer has outlier channels: four that query, key and value read, four that gate and up read, four of the values, and
  four between the two products of the MLP. Their activations are 8 to `--gain` times larger than the rest, log-uniformly, and
  the weights that read them are smaller by the same factor. Factors are powers of two, so the model computes what it computes
  without them, bit for bit in the weights. The script checks this: it compares a vector of both models.
"""

import argparse
import json
import math
import shutil
import zlib
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


CHANNELS, TAILS, MASSIVE, MASSIVE_TOKENS, CHECKED_LAYERS = 4, 5, 300, 32, 4


class Weights:
    """The tensors of a model, made one by one from the seed."""

    def __init__(self, config, seed, gain, end):
        self.config, self.seed, self.gain, self.end = config, seed, gain, end
        self.shapes = shapes(config)

    def tensor(self, name, planted=True):
        random = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        shape = self.shapes[name]
        if len(shape) == 1:
            values = 1 + random.standard_normal(shape, dtype=np.float32) / 5
        elif self.gain and name.startswith("layers."):
            values = random.standard_t(TAILS, shape).astype(np.float32) / math.sqrt(shape[-1] * TAILS / (TAILS - 2))
        else:
            values = random.standard_normal(shape, dtype=np.float32) / math.sqrt(shape[-1])
        if self.gain and name == "embed_tokens.weight":
            massive = random.integers(MASSIVE_TOKENS, size=shape[0]) == 0
            massive[self.end] = False
            for channel in random.choice(shape[1], 2, replace=False):
                values[massive, channel] = MASSIVE
        if self.gain and planted and name.startswith("layers."):
            self.plant(values, *name.split(".", 2)[1:])
        return values.astype(ml_dtypes.bfloat16)

    def plant(self, values, layer, name):
        """Multiplies what writes the outlier channels of a layer, and divides what reads them."""
        name = name.removesuffix(".weight")
        if name == "input_layernorm":
            values[self.channels(layer, "attention")] *= self.factors(layer, "attention")
        elif name in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            values[:, self.channels(layer, "attention")] /= self.factors(layer, "attention")
        elif name == "post_attention_layernorm":
            values[self.channels(layer, "mlp")] *= self.factors(layer, "mlp")
        elif name in ("mlp.gate_proj", "mlp.up_proj"):
            values[:, self.channels(layer, "mlp")] /= self.factors(layer, "mlp")
        if name == "self_attn.v_proj":
            values[self.channels(layer, "value")] *= self.factors(layer, "value")[:, None]
        elif name == "self_attn.o_proj":
            head, in_head = np.divmod(self.channels(layer, "value"), self.config["head_dim"])
            group = self.config["num_attention_heads"] // self.config["num_key_value_heads"]
            for query in range(group):
                values[:, (head * group + query) * self.config["head_dim"] + in_head] /= self.factors(layer, "value")
        elif name == "mlp.up_proj":
            values[self.channels(layer, "inner")] *= self.factors(layer, "inner")[:, None]
        elif name == "mlp.down_proj":
            values[:, self.channels(layer, "inner")] /= self.factors(layer, "inner")

    def channels(self, layer, place):
        config = self.config
        widths = {"value": config["num_key_value_heads"] * config["head_dim"], "inner": config["intermediate_size"]}
        random = np.random.default_rng([self.seed, int(layer), zlib.crc32(place.encode())])
        return random.choice(widths.get(place, config["hidden_size"]), CHANNELS, replace=False)

    def factors(self, layer, place):
        random = np.random.default_rng([self.seed, int(layer), zlib.crc32(place.encode()), 1])
        return np.exp2(random.integers(3, max(3, round(math.log2(self.gain))), CHANNELS, endpoint=True)).astype(np.float32)

    def write(self, path):
        """Writes a safetensors file: the length of the header, the header in JSON, and the numbers. Memory holds one tensor."""
        header, end = {}, 0
        for name, shape in self.shapes.items():
            begin, end = end, end + 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        written = json.dumps(header).encode()
        with path.open("wb") as file:
            file.write(len(written).to_bytes(8, "little") + written)
            for name in self.shapes:
                self.tensor(name).tofile(file)

    def vector(self, ids, planted):
        """Returns the vector of a text in fp32, after the first layers."""
        config = self.config
        head_dim, epsilon = config["head_dim"], config["rms_norm_eps"]

        def tensor(name):
            return self.tensor(f"{name}.weight", planted).astype(np.float32)

        def norm(rows, name):
            return rows / np.sqrt(np.mean(np.square(rows), -1, keepdims=True) + epsilon) * tensor(name)

        positions = np.arange(len(ids))[:, None] / config["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
        cosines, sines = (table.astype(np.float32)[:, None] for table in (np.cos(positions), np.sin(positions)))
        hidden = tensor("embed_tokens")[ids]
        for layer in range(min(CHECKED_LAYERS, config["num_hidden_layers"])):
            start = f"layers.{layer}"
            rows = norm(hidden, f"{start}.input_layernorm")
            heads = {}
            for name in "qkv":
                heads[name] = (rows @ tensor(f"{start}.self_attn.{name}_proj").T).reshape(len(ids), -1, head_dim)
                if name != "v":
                    low, high = np.split(norm(heads[name], f"{start}.self_attn.{name}_norm"), 2, -1)
                    heads[name] = np.concatenate([low * cosines - high * sines, high * cosines + low * sines], -1)
            group = heads["q"].shape[1] // heads["k"].shape[1]
            key, value = (np.repeat(heads[name], group, axis=1) for name in "kv")
            scores = np.einsum("qhd,khd->hqk", heads["q"], key) / math.sqrt(head_dim)
            scores[:, np.triu(np.ones((len(ids), len(ids)), bool), 1)] = -np.inf
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            attended = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), value).reshape(len(ids), -1)
            hidden = hidden + attended @ tensor(f"{start}.self_attn.o_proj").T
            rows = norm(hidden, f"{start}.post_attention_layernorm")
            gate = rows @ tensor(f"{start}.mlp.gate_proj").T
            inner = gate / (1 + np.exp(-gate)) * (rows @ tensor(f"{start}.mlp.up_proj").T)
            hidden = hidden + inner @ tensor(f"{start}.mlp.down_proj").T
        vector = norm(hidden, "norm")[-1]
        return vector / np.linalg.norm(vector)

    def check(self):
        """Compares a vector with and without the planted channels."""
        ids = np.random.default_rng(self.seed).integers(self.end, size=16)
        cosine = float(self.vector(ids, True) @ self.vector(ids, False))
        if not cosine > 0.99999:
            raise SystemExit(f"random_model: the planted channels change the model: cosine {cosine}")


def write_json(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--gain", type=float, default=0, help="the largest gain of an outlier channel; 0 for none")
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
    weights = Weights(config, arguments.seed, arguments.gain, end)
    if arguments.gain:
        weights.check()
    weights.write(arguments.folder / "model.safetensors")


if __name__ == "__main__":
    main()
