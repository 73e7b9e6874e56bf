#!/usr/bin/env python3
"""Exports Qwen3-Embedding (0.6B, 4B, 8B) to ONNX, made for qwen3-index and ONNX Runtime.

    scripts/packages export
    PYTHONPATH=target/python/export scripts/export_onnx.py Qwen3-Embedding-0.6B out --variant fp32 int8
    qwen3-index build docs -o vectors.parquet --model out --model-file model_int8.onnx

The first folder is the model's own repository: `*.safetensors`, `config.json`, `tokenizer.json`. The second becomes a
model folder: `onnx/model.onnx` (fp32) and `onnx/model_VARIANT.onnx`, each with its weights beside it in `….onnx_data`,
and the tokenizer and configuration files.

    fp32    the weights as they are
    int8    8-bit weights with a scale a column, 8-bit activations with a scale a token, so that a vector does not
            depend on its batch mates; the fastest on a CPU with 8-bit dot products (VNNI)
    plain   the weights as they are, in operators that every ONNX engine knows: for `--device openvino`
    q8, q4  8-bit and 4-bit weights with a scale for 32 of them, 8-bit activations likewise: the smallest in memory
    f16     for CUDA
    bf16    for CUDA

Each is checked: sample texts are embedded with it and, in fp32 and in plain numpy, with the weights they came from. The
cosines are printed; with one that is too low, the variant is not put in place, and the exit code is 1. bf16 runs on CUDA
only, and is not checked without.

Weights are read, converted and written one matrix after the other, so memory stays far below one copy of them.

The graph. Inputs: `input_ids` and `attention_mask` [batch, tokens], padded on the right; `past_key_values`
[2 * layers, past, heads * head_dim], keys and values that stand before every text of the batch, such as those of an
instruction, or none; `kept`, how many tokens' keys and values to give back. Outputs: `sentence_embedding`
[batch, width], of Euclidean length 1, and `present_key_values` [2 * layers, kept, heads * head_dim], of one text. The
plain one and those for CUDA have no past, and give nothing back.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import tokenizers
from onnx import TensorProto, helper

FORMAT = 1
OPSET, IR_VERSION = 23, 10
CUDA = "CUDAExecutionProvider"
MICROSOFT = "com.microsoft"

# The lowest cosine to the fp32 vector that a sample may have. Random weights suffer more from being quantised than those
# of a trained model, and pass.
BOUNDS = {"fp32": 0.99999, "plain": 0.99999, "int8": 0.99, "q8": 0.998, "q4": 0.85, "f16": 0.9995, "bf16": 0.999}
FILES = {variant: f"model_{variant}.onnx" for variant in BOUNDS} | {"fp32": "model.onnx"}
COPIED = ["config.json", "tokenizer.json", "tokenizer_config.json", "config_sentence_transformers.json", "modules.json"]

# Weights that share a scale in q8 and q4. With 32 the products of ONNX Runtime give the same bits for any batch.
BLOCK = 32

# From this many tokens on, attention is computed for so many blocks of queries, each with the keys up to its end: what
# comes after a token is then hardly computed at all. For fewer tokens one call is faster.
BLOCKED_FROM, BLOCKS = 192, 4

# Tensors from this many bytes on lie in the data file.
EXTERNAL_FROM = 1024

SAMPLES = [
    "The capital of China is Beijing.",
    "冷たい空気は重く、谷へ流れ下ります。朝には霧が出ることがあります。",
    "请在出差结束后十五天内提交申请，发票抬头必须写公司全称。",
    "¿Cuánto tarda el envío urgente a las islas?",
    'fn main() { println!("{}", std::env::args().count()); }',
]
PROVIDERS = [name for name in (CUDA, "CPUExecutionProvider") if name in onnxruntime.get_available_providers()]

# A text of more than BLOCKED_FROM tokens.
LONG_SAMPLE = " ".join(SAMPLES * 5)


# --- What is exported.


class Source:
    """The model's own repository."""

    def __init__(self, folder):
        self.folder = folder
        if not (folder / "config.json").is_file():
            sys.exit(f"{folder}: no config.json in it; give the folder of the model's own repository")
        config = json.loads((folder / "config.json").read_text())
        if config.get("model_type") != "qwen3":
            sys.exit(f"{folder}: model_type is {config.get('model_type')}, not qwen3; give a folder of Qwen3-Embedding")
        if config.get("rope_scaling") or config.get("use_sliding_window") or config.get("attention_bias"):
            sys.exit(f"{folder}: rope_scaling, sliding windows and attention biases are not exported here")
        self.layers = config["num_hidden_layers"]
        self.width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.kv_heads = config["num_key_value_heads"]
        self.head_dim = config.get("head_dim") or self.width // self.heads
        self.epsilon = config["rms_norm_eps"]
        self.rope_theta = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
        self.positions = config["max_position_embeddings"]
        self.tensors = {}
        for path in sorted(folder.glob("*.safetensors")):
            self.tensors |= read_safetensors(path)
        if not self.tensors:
            sys.exit(f"{folder}: no *.safetensors in it; give the folder of the model's own repository")

    def tensor(self, name):
        """In fp32, with the shape that torch gives it: [out, in] for a projection."""
        # Saved as a model for embedding, names have no prefix; saved as one for generating text, they have.
        stored = self.tensors.get(name, self.tensors.get(f"model.{name}"))
        if stored is None:
            sys.exit(f"{self.folder}: no tensor {name}; give the folder of a Qwen3-Embedding")
        return stored.astype(np.float32)

    def projection(self, layer, name):
        """[in, out]"""
        return self.tensor(f"layers.{layer}.{name}.weight").T

    def rotary(self):
        """Cosines and sines [positions, head_dim / 2] (RoFormer, arXiv:2104.09864), in fp32 as transformers has them."""
        frequencies = 1 / self.rope_theta ** (np.arange(0, self.head_dim, 2, dtype=np.float32) / self.head_dim)
        angles = np.arange(self.positions, dtype=np.float32)[:, None] * frequencies.astype(np.float32)
        return np.cos(angles), np.sin(angles)


def read_safetensors(path):
    """Tensors by name, mapped into memory: a length, a header in JSON, and the numbers."""
    kinds = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in kinds:
            sys.exit(f"{path}: tensor {name} is {entry['dtype']}; give the unquantised model")
        offset = 8 + length + entry["data_offsets"][0]
        tensors[name] = np.memmap(path, kinds[entry["dtype"]], "r", offset, tuple(entry["shape"]))
    return tensors


# --- The graph.


class Graph:
    """Nodes as they are added; what is in a branch shares the constants of the whole."""

    def __init__(self, whole=None):
        self.nodes = []
        self.whole = whole or self
        if whole is None:
            self.initializers, self.names, self.data = {}, 0, None

    def add(self, kind, *inputs, outputs=1, domain="", **attributes):
        self.whole.names += 1
        stem = f"{kind}_{self.whole.names}"
        names = [stem] if outputs == 1 else [f"{stem}_{number}" for number in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, stem, domain=domain, **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def contrib(self, kind, *inputs, **attributes):
        return self.add(kind, *inputs, domain=MICROSOFT, **attributes)

    def choose(self, condition, then, otherwise, outputs=1):
        """The outputs of one of two functions from a graph to names."""
        branches = []
        for name, build in (("then", then), ("else", otherwise)):
            branch = Graph(self.whole)
            names = build(branch)
            names = [names] if outputs == 1 else names
            infos = [helper.make_empty_tensor_value_info(output) for output in names]
            branches.append(helper.make_graph(branch.nodes, f"{name}_{self.whole.names}", [], infos))
        return self.add("If", condition, outputs=outputs, then_branch=branches[0], else_branch=branches[1])

    def constant(self, name, values):
        """An initializer. Large ones go to the data file at once and are not kept in memory."""
        whole = self.whole
        if name in whole.initializers:
            return name
        values = np.ascontiguousarray(values)
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        tensor = TensorProto(name=name, data_type=kind, dims=values.shape)
        if values.nbytes < EXTERNAL_FROM:
            tensor.raw_data = values.tobytes()
        else:
            # Aligned to a page, so that it can be mapped.
            whole.data.seek(-whole.data.tell() % 4096, 1)
            location = {"location": Path(whole.data.name).name, "offset": whole.data.tell(), "length": values.nbytes}
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in location.items():
                tensor.external_data.add(key=key, value=str(value))
            values.tofile(whole.data)
        whole.initializers[name] = tensor
        return name

    def integers(self, *values):
        return self.constant("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value):
        return self.constant(f"number_{value}", np.array(value, np.float32))


class Floats:
    """Products in fp32."""

    kind = np.float32
    embeddings = np.float32

    def rows(self, graph, rows):
        """Rows [tokens, in], made ready for products."""
        return rows

    def product(self, graph, rows, name, weight):
        """[tokens, out], up to [`scaled`]."""
        return graph.add("MatMul", rows, graph.constant(name, weight.astype(self.kind)))

    def scaled(self, graph, rows, product):
        """A product by its own scale. What goes on to a norm does not need it."""
        return product

    def joined(self, graph, rows, inner):
        """The scale of a product of rows that have a scale themselves."""
        return rows


class HalfFloats(Floats):
    def __init__(self, kind):
        self.kind = self.embeddings = kind


class BlockQuantized(Floats):
    """Weights of so many bits with a scale for `BLOCK` of them, symmetric; activations are rounded to 8 bits, in blocks
    of their own row (`accuracy_level` 4): twice as fast as products in fp32 with weights unpacked, and independent of
    the other rows."""

    embeddings = np.float16

    def __init__(self, bits):
        self.bits = bits

    def product(self, graph, rows, name, weight):
        inner, outer = weight.shape
        blocks = weight.T.reshape(outer, inner // BLOCK, BLOCK)
        middle = 2 ** (self.bits - 1)
        scales = np.maximum(np.abs(blocks).max(-1), np.finfo(np.float32).tiny) / (middle - 1)
        quantized = (np.rint(blocks / scales[..., None]) + middle).astype(np.uint8)
        if self.bits == 4:
            quantized = quantized[..., ::2] | quantized[..., 1::2] << 4
        return graph.contrib(
            "MatMulNBits",
            rows,
            graph.constant(name, quantized),
            graph.constant(f"{name}_scales", scales.reshape(-1)),
            K=inner,
            N=outer,
            bits=self.bits,
            block_size=BLOCK,
            accuracy_level=4,
        )


class TokenQuantized(Floats):
    """8-bit weights with a scale a column and 8-bit activations with a scale a row (LLM.int8(), arXiv:2208.07339, its
    vector-wise quantisation). Activations are unsigned with 128 for zero and weights signed, which is what 8-bit dot
    products of x86 take."""

    embeddings = np.float16
    zero = 128
    largest = 127

    def rows(self, graph, rows):
        axis = graph.integers(-1)
        highest = graph.add("ReduceMax", rows, axis, keepdims=0)
        lowest = graph.add("Neg", graph.add("ReduceMin", rows, axis, keepdims=0))
        # A row of zeros has a scale too.
        magnitude = graph.add("Max", highest, lowest, graph.number(1e-30))
        scale = graph.add("Mul", magnitude, graph.number(1 / self.largest))
        zeros = graph.add("Expand", graph.constant("zero", np.array([self.zero], np.uint8)), graph.add("Shape", scale))
        quantized = graph.add("QuantizeLinear", rows, scale, zeros, axis=0)
        return quantized, graph.add("Unsqueeze", scale, axis)

    def product(self, graph, rows, name, weight):
        scales = np.maximum(np.abs(weight).max(0), np.finfo(np.float32).tiny) / self.largest
        return graph.contrib(
            "MatMulIntegerToFloat",
            rows[0],
            graph.constant(name, np.rint(weight / scales).astype(np.int8)),
            graph.number(1.0),
            graph.constant(f"{name}_scales", scales),
            graph.constant("zero_point", np.array(self.zero, np.uint8)),
        )

    def scaled(self, graph, rows, product):
        return graph.add("Mul", product, rows[1])

    def joined(self, graph, rows, inner):
        return rows[0], graph.add("Mul", rows[1], inner[1])


class Qwen3:
    """Builds the graph. Rows are [batch * tokens, …], or less where padding is taken out, from the embeddings to the last
    attention."""

    output = "sentence_embedding"
    unpads = False

    def __init__(self, source, linear, data):
        self.source = source
        self.linear = linear
        self.graph = Graph()
        self.graph.data = data

    def build(self):
        graph, source, linear = self.graph, self.source, self.linear
        self.shapes()
        embeddings = graph.constant("embed_tokens", source.tensor("embed_tokens.weight").astype(linear.embeddings))
        hidden = graph.add("Gather", embeddings, self.tokens_of_texts("input_ids"))
        if linear.embeddings != linear.kind:
            hidden = graph.add("Cast", hidden, to=TensorProto.FLOAT)
        normed = self.norm(hidden, "layers.0.input_layernorm.weight")
        for layer in range(source.layers):
            is_last = layer == source.layers - 1
            attended = self.attention(normed, layer, is_last)
            if is_last:
                hidden = graph.add("Gather", hidden, "ends")
            normed, hidden = self.add_and_norm(hidden, attended, f"layers.{layer}.post_attention_layernorm.weight")
            following = "norm" if is_last else f"layers.{layer + 1}.input_layernorm"
            normed, hidden = self.add_and_norm(hidden, self.mlp(normed, layer), f"{following}.weight")
        normed = graph.add("Cast", normed, to=TensorProto.FLOAT)
        self.name(self.output, normed, kind="LpNormalization", axis=-1, p=2)
        return self.model()

    def name(self, name, *inputs, kind="Identity", **attributes):
        """A node whose output has a name, since branches and layers refer to it."""
        self.graph.nodes.append(helper.make_node(kind, list(inputs), [name], name, **attributes))

    def shapes(self):
        """What does not change from layer to layer."""
        graph, source = self.graph, self.source
        self.name("batch", "input_ids", kind="Shape", start=0, end=1)
        self.name("tokens", "input_ids", kind="Shape", start=1, end=2)
        # Where the end token of each text is, in the text, and among the rows.
        lengths = graph.add("ReduceSum", "attention_mask", graph.integers(1), keepdims=0)
        self.name("last", lengths, graph.integers(1), kind="Sub")
        self.name("ends", self.rows_at(graph.add("Add", graph.add("Mul", self.numbers("batch"), "tokens"), "last")))
        for heads in (source.heads, source.kv_heads):
            self.name(f"split_{heads}", "batch", "tokens", graph.integers(heads, source.head_dim), kind="Concat", axis=0)
            width = graph.integers(heads * source.head_dim)
            self.name(f"flat_{heads}", "batch", "tokens", width, kind="Concat", axis=0)

    def tokens_of_texts(self, values):
        """Values [batch, tokens] of the rows."""
        return self.graph.add("Reshape", values, self.graph.integers(-1))

    def rows_at(self, places):
        """The rows of places in [batch * tokens]."""
        return places

    def numbers(self, count):
        """0, 1, 2, …"""
        zero, one = (self.graph.constant(f"scalar_{n}", np.array(n, np.int64)) for n in (0, 1))
        return self.graph.add("Range", zero, self.graph.add("Squeeze", count), one)

    def mask(self, graph, keys, queries):
        """0 where a query sees a key, its own and those before, and the lowest number where it does not."""
        lowest = graph.constant("lowest", np.array(np.finfo(np.float32).min))
        return graph.add("Where", graph.add("LessOrEqual", keys, queries), graph.number(0.0), lowest)

    def weight(self, name):
        return self.graph.constant(name, self.source.tensor(name).astype(self.linear.kind))

    def norm(self, rows, name):
        """RMSNorm over the last axis."""
        # ONNX Runtime has had it under this name, in the domain of ONNX, for longer than ONNX has RMSNormalization.
        return self.graph.add(
            "SimplifiedLayerNormalization", rows, self.weight(name), axis=-1, epsilon=self.source.epsilon
        )

    def add_and_norm(self, hidden, delta, name):
        """The norm of a sum, and the sum."""
        kind, epsilon = "SkipSimplifiedLayerNormalization", self.source.epsilon
        outputs = self.graph.contrib(kind, hidden, delta, self.weight(name), outputs=4, epsilon=epsilon)
        return outputs[0], outputs[3]

    def silu(self, rows):
        return self.graph.contrib("QuickGelu", rows, alpha=1.0)

    def product(self, rows, layer, name):
        return self.linear.product(self.graph, rows, f"layers.{layer}.{name}", self.source.projection(layer, name))

    def mlp(self, normed, layer):
        graph, linear = self.graph, self.linear
        rows = linear.rows(graph, normed)
        gate = self.silu(linear.scaled(graph, rows, self.product(rows, layer, "mlp.gate_proj")))
        up = self.product(rows, layer, "mlp.up_proj")
        inner = linear.rows(graph, graph.add("Mul", gate, up))
        # `up` has not been scaled.
        return linear.scaled(graph, linear.joined(graph, inner, rows), self.product(inner, layer, "mlp.down_proj"))

    def attention(self, normed, layer, is_last):
        """What attention adds to the hidden states: of all rows, in the last layer of the end tokens."""
        graph, source, linear = self.graph, self.source, self.linear
        rows = linear.rows(graph, normed)
        key = self.heads(self.product(rows, layer, "self_attn.k_proj"), layer, "k")
        value = linear.scaled(graph, rows, self.product(rows, layer, "self_attn.v_proj"))
        if is_last:
            attended = self.attend_ends(normed, rows, key, value, layer)
        else:
            attended = self.attend(self.query(rows, layer), key, value, layer)
        attended = graph.add("Reshape", attended, graph.integers(-1, source.heads * source.head_dim))
        rows = linear.rows(graph, attended)
        return linear.scaled(graph, rows, self.product(rows, layer, "self_attn.o_proj"))

    def query(self, rows, layer):
        return self.heads(self.product(rows, layer, "self_attn.q_proj"), layer, "q")

    def normed_heads(self, rows, layer, name, shape):
        split = self.graph.add("Reshape", rows, shape)
        return self.norm(split, f"layers.{layer}.self_attn.{name}_norm.weight")

    def heads(self, rows, layer, name):
        """Queries or keys, with a norm a head."""
        count = self.head_count(name)
        return self.graph.add("Reshape", self.normed_heads(rows, layer, name, f"split_{count}"), f"flat_{count}")

    def head_count(self, name):
        return self.source.heads if name == "q" else self.source.kv_heads

    def attend_ends(self, normed, rows, key, value, layer):
        """The end tokens' part, out of all."""
        attended = self.attend(self.query(rows, layer), key, value, layer)
        width = self.source.heads * self.source.head_dim
        return self.graph.add("Gather", self.graph.add("Reshape", attended, self.graph.integers(-1, width)), "ends")

    def rotary(self):
        cosines, sines = (table.astype(self.linear.kind) for table in self.source.rotary())
        return self.graph.constant("cosines", cosines), self.graph.constant("sines", sines)

    def infos(self):
        """What goes in beside the inputs that all have, and what comes out beside the vectors."""
        return [], []

    def model(self):
        info = helper.make_tensor_value_info
        more_inputs, more_outputs = self.infos()
        inputs = [info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("input_ids", "attention_mask")]
        outputs = [info(self.output, TensorProto.FLOAT, ["batch", self.source.width])]
        constants = list(self.graph.initializers.values())
        graph = helper.make_graph(self.graph.nodes, "qwen3", inputs + more_inputs, outputs + more_outputs, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="qwen3-index")


class ForCpu(Qwen3):
    """Attention in the operator that is fastest for the length; keys and values may stand before the texts. Padding goes
    through nothing but attention."""

    unpads = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.kept = []

    def shapes(self):
        graph = self.graph
        mask = graph.add("Reshape", "attention_mask", graph.integers(-1))
        self.name("places", graph.add("Squeeze", graph.add("NonZero", mask), graph.integers(0)))
        # Of each place the row; behind a text, its last row again, which no token of it sees.
        row_numbers = graph.add("CumSum", mask, graph.constant("scalar_0", np.array(0, np.int64)))
        self.name("rows", row_numbers, graph.integers(1), kind="Sub")
        has_padding = graph.add("Less", graph.add("Shape", "places"), graph.add("Shape", "rows"))
        self.name("is_padded", graph.add("Squeeze", has_padding))
        super().shapes()
        self.name("flat_end", "batch", graph.integers(1, self.source.heads * self.source.head_dim), kind="Concat", axis=0)
        self.name("past", "past_key_values", kind="Shape", start=1, end=2)
        self.name("has_past", graph.add("Squeeze", graph.add("Greater", "past", graph.integers(0))))
        self.name("is_long", graph.add("Squeeze", graph.add("GreaterOrEqual", "tokens", graph.integers(BLOCKED_FROM))))
        self.name("keys", self.numbers(graph.add("Add", "past", "tokens")))
        positions = graph.add("Add", self.numbers("tokens"), "past")
        self.name("queries", graph.add("Unsqueeze", positions, graph.integers(1)))
        positions = graph.add("Expand", positions, graph.add("Concat", "batch", "tokens", axis=0))
        self.name("positions", graph.add("Unsqueeze", self.tokens_of_texts(positions), graph.integers(0)))
        self.name("end_positions", graph.add("Unsqueeze", graph.add("Add", "last", "past"), graph.integers(1)))
        for number in range(BLOCKS + 1):
            edge = graph.add("Div", graph.add("Mul", "tokens", graph.integers(number)), graph.integers(BLOCKS))
            self.name(f"edge_{number}", edge)
            self.name(f"key_edge_{number}", edge, "past", kind="Add")
        self.masks()

    def masks(self):
        graph = self.graph
        nothing = graph.constant("nothing", np.zeros((0, 0), np.float32))
        # Of the end tokens, [batch, 1, 1, keys]: what is behind them is padding.
        self.name("end_mask", self.mask(graph, "keys", graph.add("Unsqueeze", "end_positions", graph.integers(2, 3))))
        whole = graph.choose(
            "has_past",
            lambda branch: self.mask(branch, "keys", "queries"),
            lambda branch: branch.add("Identity", nothing),
        )
        self.name("whole_mask", whole)
        blocks = graph.choose(
            "is_long",
            lambda branch: [self.block_mask(branch, number) for number in range(BLOCKS)],
            lambda branch: [branch.add("Identity", nothing) for _ in range(BLOCKS)],
            outputs=BLOCKS,
        )
        for number, mask in enumerate(blocks):
            self.name(f"mask_{number}", mask)

    def block_mask(self, graph, number):
        keys = graph.add("Slice", "keys", graph.integers(0), f"key_edge_{number + 1}", graph.integers(0))
        queries = graph.add("Slice", "queries", f"edge_{number}", f"edge_{number + 1}", graph.integers(0))
        return self.mask(graph, keys, queries)

    def tokens_of_texts(self, values):
        return self.graph.add("Gather", super().tokens_of_texts(values), "places")

    def rows_at(self, places):
        return self.graph.add("Gather", "rows", places)

    def heads(self, rows, layer, name):
        """[1, rows, heads * head_dim]"""
        count, head_dim = self.head_count(name), self.source.head_dim
        heads = self.normed_heads(rows, layer, name, self.graph.integers(-1, count, head_dim))
        heads = self.graph.add("Reshape", heads, self.graph.integers(1, -1, count * head_dim))
        return self.rotated(heads, name, "positions")

    def rotated(self, heads, name, positions):
        return self.graph.add("RotaryEmbedding", heads, *self.rotary(), positions, num_heads=self.head_count(name))

    def attend(self, query, key, value, layer):
        value = self.keep(key, value)

        def padded(branch):
            tensors = [self.padded(branch, tensor, heads) for tensor, heads in self.tensors(query, key, value)]
            return branch.add("Gather", self.one_row(branch, self.attend_texts(branch, *tensors, layer)), "places", axis=1)

        def unpadded(branch):
            tensors = [self.texts(branch, tensor, heads) for tensor, heads in self.tensors(query, key, value)]
            return self.one_row(branch, self.attend_texts(branch, *tensors, layer))

        return self.graph.choose("is_padded", padded, unpadded)

    def tensors(self, query, key, value):
        """With their numbers of heads."""
        return [(query, self.source.heads), (key, self.source.kv_heads), (value, self.source.kv_heads)]

    def texts(self, graph, tensor, heads):
        """[1, batch * tokens, …] to [batch, tokens, …]"""
        return graph.add("Reshape", tensor, f"flat_{heads}")

    def padded(self, graph, tensor, heads):
        """[1, rows, …] to [batch, tokens, …]"""
        return self.texts(graph, graph.add("Gather", tensor, "rows", axis=1), heads)

    def one_row(self, graph, attended):
        """[batch, tokens, …] to [1, batch * tokens, …]"""
        return graph.add("Reshape", attended, graph.integers(1, -1, self.source.heads * self.source.head_dim))

    def attend_texts(self, graph, query, key, value, layer):
        def with_past(branch):
            keys, values = self.with_past(branch, key, value, layer)
            return branch.choose(
                "is_long",
                lambda branch: self.attend_blocks(branch, query, keys, values),
                lambda branch: self.attend_all(branch, query, keys, values, "whole_mask"),
            )

        def without_past(branch):
            return branch.choose(
                "is_long",
                lambda branch: self.attend_blocks(branch, query, key, value),
                lambda branch: self.attend_all(branch, query, key, value, is_causal=1),
            )

        return graph.choose("has_past", with_past, without_past)

    def keep(self, key, value):
        """Gives back as many keys and values, of one text, as are asked for."""
        width = self.source.kv_heads * self.source.head_dim
        value = self.graph.add("Reshape", value, self.graph.integers(1, -1, width))
        for tensor in (key, value):
            self.kept.append(self.graph.add("Slice", tensor, self.graph.integers(0), "kept", self.graph.integers(1)))
        return value

    def attend_all(self, graph, query, key, value, *mask, **attributes):
        # The width has been lost to shape inference, and that of Attention takes an unknown one for 0.
        value = graph.add("Reshape", value, graph.integers(0, 0, self.source.kv_heads * self.source.head_dim))
        heads = {"q_num_heads": self.source.heads, "kv_num_heads": self.source.kv_heads}
        return graph.add("Attention", query, key, value, *mask, **heads, **attributes)

    def attend_blocks(self, graph, query, key, value):
        axis = graph.integers(1)
        blocks = []
        for number in range(BLOCKS):
            queries = graph.add("Slice", query, f"edge_{number}", f"edge_{number + 1}", axis)
            seen = [key, value]
            if number < BLOCKS - 1:
                end = f"key_edge_{number + 1}"
                seen = [graph.add("Slice", tensor, graph.integers(0), end, axis) for tensor in seen]
            blocks.append(self.attend_all(graph, queries, *seen, f"mask_{number}"))
        return graph.add("Concat", *blocks, axis=1)

    def attend_ends(self, normed, rows, key, value, layer):
        """Queries of the end tokens only."""
        graph, source = self.graph, self.source
        value = self.keep(key, value)
        rows = self.linear.rows(graph, graph.add("Gather", normed, "ends"))
        shape = graph.integers(-1, 1, source.heads, source.head_dim)
        query = self.normed_heads(self.product(rows, layer, "self_attn.q_proj"), layer, "q", shape)
        query = self.rotated(graph.add("Reshape", query, "flat_end"), "q", "end_positions")
        key, value = graph.choose(
            "is_padded",
            lambda branch: [self.padded(branch, tensor, source.kv_heads) for tensor in (key, value)],
            lambda branch: [self.texts(branch, tensor, source.kv_heads) for tensor in (key, value)],
            outputs=2,
        )
        keys, values = graph.choose(
            "has_past",
            lambda branch: self.with_past(branch, key, value, layer),
            lambda branch: [branch.add("Identity", tensor) for tensor in (key, value)],
            outputs=2,
        )
        self.name("present_key_values", *self.kept, kind="Concat", axis=0)
        return self.attend_all(graph, query, keys, values, "end_mask")

    def with_past(self, graph, key, value, layer):
        """Keys and values with those in front that all texts share."""
        shape = graph.add("Concat", "batch", graph.integers(1, self.source.kv_heads * self.source.head_dim), axis=0)
        whole = []
        for number, tensor in enumerate((key, value)):
            past = graph.add("Gather", "past_key_values", graph.integers(2 * layer + number))
            whole.append(graph.add("Concat", graph.add("Expand", past, shape), tensor, axis=1))
        return whole

    def infos(self):
        tensors, width = 2 * self.source.layers, self.source.kv_heads * self.source.head_dim
        info = helper.make_tensor_value_info
        past = info("past_key_values", TensorProto.FLOAT, [tensors, "past", width])
        present = info("present_key_values", TensorProto.FLOAT, ["present", "kept", width])
        return [past, info("kept", TensorProto.INT64, [1])], [present]


class ForCuda(Qwen3):
    """Attention in one operator, which turns queries and keys itself, and has a flash kernel."""

    def shapes(self):
        super().shapes()
        self.name("seqlens_k", "last", kind="Cast", to=TensorProto.INT32)
        tokens = self.graph.add("Squeeze", "tokens")
        self.name("total", tokens, kind="Cast", to=TensorProto.INT32)

    def attend(self, query, key, value, layer):
        value = self.graph.add("Reshape", value, f"flat_{self.source.kv_heads}")
        inputs = [query, key, value, "", "", "seqlens_k", "total", *self.rotary()]
        heads = {"num_heads": self.source.heads, "kv_num_heads": self.source.kv_heads}
        return self.graph.contrib("GroupQueryAttention", *inputs, outputs=3, do_rotary=1, **heads)[0]


class Plain(Qwen3):
    """Operators that ONNX has had for long, in the patterns that engines look for."""

    def shapes(self):
        super().shapes()
        graph, source = self.graph, self.source
        zero, axis = graph.integers(0), graph.integers(0)
        for name, table in zip(("cosines", "sines"), source.rotary()):
            table = graph.constant(name, np.concatenate([table, table], axis=1))
            self.name(f"{name}_here", table, zero, "tokens", axis, kind="Slice")
        keys = self.numbers("tokens")
        self.name("causal_mask", self.mask(graph, keys, graph.add("Unsqueeze", keys, graph.integers(1))))
        heads = graph.integers(source.heads)
        self.name("repeated", "batch", heads, "tokens", graph.integers(source.head_dim), kind="Concat", axis=0)
        groups = graph.integers(source.kv_heads, source.heads // source.kv_heads)
        self.name("grouped", "batch", groups, "tokens", graph.integers(source.head_dim), kind="Concat", axis=0)

    def norm(self, rows, name):
        graph = self.graph
        mean = graph.add("ReduceMean", graph.add("Pow", rows, graph.number(2.0)), graph.integers(-1))
        root = graph.add("Sqrt", graph.add("Add", mean, graph.number(self.source.epsilon)))
        return graph.add("Mul", self.weight(name), graph.add("Mul", rows, graph.add("Div", graph.number(1.0), root)))

    def add_and_norm(self, hidden, delta, name):
        hidden = self.graph.add("Add", hidden, delta)
        return self.norm(hidden, name), hidden

    def silu(self, rows):
        return self.graph.add("Mul", rows, self.graph.add("Sigmoid", rows))

    def heads(self, rows, layer, name):
        """[batch, heads, tokens, head_dim], turned by position."""
        graph, half = self.graph, self.source.head_dim // 2
        normed = self.normed_heads(rows, layer, name, f"split_{self.head_count(name)}")
        heads = graph.add("Transpose", normed, perm=[0, 2, 1, 3])
        low, high = graph.add("Split", heads, graph.integers(half, half), outputs=2, axis=-1)
        turned = graph.add("Concat", graph.add("Neg", high), low, axis=-1)
        return graph.add("Add", graph.add("Mul", heads, "cosines_here"), graph.add("Mul", turned, "sines_here"))

    def attend(self, query, key, value, layer):
        graph, source = self.graph, self.source
        value = graph.add("Transpose", graph.add("Reshape", value, f"split_{source.kv_heads}"), perm=[0, 2, 1, 3])
        key, value = self.repeated(key), self.repeated(value)
        scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 1, 3, 2]))
        scores = graph.add("Mul", scores, graph.number(1 / math.sqrt(source.head_dim)))
        weights = graph.add("Softmax", graph.add("Add", scores, "causal_mask"), axis=-1)
        return graph.add("Transpose", graph.add("MatMul", weights, value), perm=[0, 2, 1, 3])

    def repeated(self, heads):
        """Each head of keys and values for the heads of queries that share it."""
        graph = self.graph
        grouped = graph.add("Expand", graph.add("Unsqueeze", heads, graph.integers(2)), "grouped")
        return graph.add("Reshape", grouped, "repeated")


VARIANTS = {
    "fp32": (ForCpu, Floats()),
    "plain": (Plain, Floats()),
    "int8": (ForCpu, TokenQuantized()),
    "q8": (ForCpu, BlockQuantized(8)),
    "q4": (ForCpu, BlockQuantized(4)),
    "f16": (ForCuda, HalfFloats(np.float16)),
    "bf16": (ForCuda, HalfFloats(ml_dtypes.bfloat16)),
}


def export(source, variant, path):
    """Writes the graph and its weights, and gives back how many bytes they have."""
    data = path.with_name(f"{path.name}_data")
    build, linear = VARIANTS[variant]
    with data.open("wb") as file:
        model = build(source, linear, file).build()
    helper.set_model_props(
        model,
        {
            "qwen3-index.export": json.dumps({"format": FORMAT, "variant": variant, "unpads": build.unpads}),
            "qwen3-index.made-with": f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}",
        },
    )
    onnx.save(model, path)
    return path.stat().st_size + data.stat().st_size


# --- The check.


class Reference:
    """The model in numpy, fp32, straight from the weights: one text after the other, one layer after the other."""

    def __init__(self, source):
        self.source = source
        self.cosines, self.sines = source.rotary()

    def vectors(self, texts):
        """Of texts as token ids."""
        source = self.source
        embeddings = source.tensor("embed_tokens.weight")
        hidden = [embeddings[ids] for ids in texts]
        del embeddings
        for layer in range(source.layers):
            names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
            names += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
            weights = {name: source.projection(layer, name) for name in names}
            for rows in hidden:
                rows += self.attention(self.norm(rows, f"layers.{layer}.input_layernorm"), layer, weights)
                normed = self.norm(rows, f"layers.{layer}.post_attention_layernorm")
                gate = normed @ weights["mlp.gate_proj"]
                silu = gate / (1 + np.exp(-gate))
                rows += (silu * (normed @ weights["mlp.up_proj"])) @ weights["mlp.down_proj"]
        last = np.stack([self.norm(rows[-1], "norm") for rows in hidden])
        return last / np.linalg.norm(last, axis=1, keepdims=True)

    def norm(self, rows, name):
        mean = np.mean(rows.astype(np.float64) ** 2, -1, keepdims=True)
        return (rows / np.sqrt(mean + self.source.epsilon)).astype(np.float32) * self.source.tensor(f"{name}.weight")

    def attention(self, rows, layer, weights):
        source, tokens = self.source, len(rows)
        shape = (tokens, -1, source.head_dim)
        query, key, value = ((rows @ weights[f"self_attn.{name}_proj"]).reshape(shape) for name in "qkv")
        query, key = (
            self.rotated(self.norm(tensor, f"layers.{layer}.self_attn.{name}_norm"))
            for name, tensor in (("q", query), ("k", key))
        )
        group = source.heads // source.kv_heads
        key, value = (np.repeat(tensor, group, axis=1) for tensor in (key, value))
        scores = np.einsum("qhd,khd->hqk", query, key) / math.sqrt(source.head_dim)
        scores[:, np.triu(np.ones((tokens, tokens), bool), 1)] = -np.inf
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        return np.einsum("hqk,khd->qhd", scores, value).reshape(tokens, -1) @ weights["self_attn.o_proj"]

    def rotated(self, heads):
        cosines, sines = (table[: len(heads), None] for table in (self.cosines, self.sines))
        low, high = np.split(heads, 2, axis=-1)
        return np.concatenate([low * cosines - high * sines, high * cosines + low * sines], -1)


def sample_ids(source):
    tokenizer = tokenizers.Tokenizer.from_file(str(source.folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    end = tokenizer.token_to_id("<|endoftext|>")
    texts = [tokenizer.encode(text).ids for text in [*SAMPLES, LONG_SAMPLE]]
    return [ids if ids[-1] == end else [*ids, end] for ids in texts]


def vectors(path, source, texts):
    """Of texts as token ids: the short ones together, padded, and the long one alone."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=PROVIDERS)
    inputs = {input.name for input in session.get_inputs()}
    found = []
    for batch in (texts[:-1], texts[-1:]):
        longest = max(map(len, batch))
        feed = {
            "input_ids": np.array([[*ids, *[0] * (longest - len(ids))] for ids in batch]),
            "attention_mask": np.array([[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch]),
            "past_key_values": np.zeros((2 * source.layers, 0, source.kv_heads * source.head_dim), np.float32),
            "kept": np.array([0]),
        }
        feed = {name: value for name, value in feed.items() if name in inputs}
        found.extend(session.run(["sentence_embedding"], feed)[0])
    return np.array(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of Qwen3-Embedding: *.safetensors, config.json, tokenizer.json")
    parser.add_argument("out", type=Path, help="the model folder to make")
    parser.add_argument("--variant", nargs="+", choices=FILES, default=["fp32"], help="default: fp32")
    arguments = parser.parse_args()
    source = Source(arguments.source)
    onnx_folder = arguments.out / "onnx"
    onnx_folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source.folder / name).exists():
            shutil.copy(source.folder / name, arguments.out)
    texts = sample_ids(source)
    expected = Reference(source).vectors(texts)
    print(f"{'variant':8} {'MB':>8} {'min cosine':>12} {'mean cosine':>12}")
    failed = [variant for variant in arguments.variant if not made(variant, onnx_folder, source, texts, expected)]
    sys.exit(f"too far from fp32, and not put in place: {', '.join(failed)}" if failed else 0)


def made(variant, folder, source, texts, expected):
    """Exports a variant, checks it, and puts it into the folder if it is good."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / FILES[variant]
        size = export(source, variant, path)
        print(f"{variant:8} {size / 1e6:8.1f}", end=" ", flush=True)
        if variant == "bf16" and CUDA not in PROVIDERS:
            print("not checked: ONNX Runtime computes in bf16 on CUDA only")
        else:
            cosines = np.sum(vectors(path, source, texts) * expected, axis=1)
            print(f"{cosines.min():12.6f} {cosines.mean():12.6f}", flush=True)
            if not cosines.min() >= BOUNDS[variant]:
                return False
        # The graph last: it names the other.
        for file in (path.with_name(f"{path.name}_data"), path):
            file.replace(folder / file.name)
        return True


if __name__ == "__main__":
    main()
