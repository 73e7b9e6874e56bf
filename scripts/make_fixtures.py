"""Make the models, tokenizers and golden vectors under `fixtures/`.

You do not need this to build, run or test qwen3-index: what it makes is checked
in. Run it only to change a fixture:

    pip install -r scripts/requirements-fixtures.txt && python scripts/make_fixtures.py

It reads `fixtures/corpus` (written by hand) and rewrites

    fixtures/qwen3-tiny   a Qwen3 of the real architecture with random weights, and
                          one ONNX file for each kind of export found in the wild
    fixtures/bert-tiny    a BERT, the other architecture
    fixtures/golden       texts, token ids and vectors, computed by transformers

The reference is always transformers in fp32, one text at a time. Every ONNX file
is compared with it, and every trap that a file stands for is checked to be one;
the script fails where that does not hold. All randomness is seeded.
"""

import json
import logging
import os
import shutil
import tempfile
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from optimum.exporters.onnx import main_export
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, Qwen3Config, Qwen3ForCausalLM

ROOT = Path(__file__).resolve().parent.parent / "fixtures"
CORPUS = ROOT / "corpus"
QWEN3 = ROOT / "qwen3-tiny"
BERT = ROOT / "bert-tiny"
GOLDEN = ROOT / "golden"
SHARED_WEIGHTS = "weights.onnx_data"

SEED = 20260314
SIZE_LIMIT = 9_000_000
MAX_OPSET, MAX_IR_VERSION = 21, 10  # what ONNX Runtime 1.23 is sure to load

END, IM_START, IM_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RETRIEVAL = "Given a web search query, retrieve relevant passages that answer the query"

# --- Golden texts, in the form that cleaning leaves: no control or zero-width characters, single spaces.

TEXTS = [
    "a",
    "7",
    "é",
    "雨",
    "hello world",
    "The capital of China is Beijing.",
    (
        "Gravity is a force that attracts two bodies towards each other. It gives weight to physical objects and is"
        " responsible for the movement of planets around the sun."
    ),
    "You may send any weather station back within 30 days of delivery, for any reason.",
    "What does error 34 mean, and who can release the serial number?",
    'fn main() { println!("{}", std::env::args().count()); }',
    "for (let i = 0; i < 10; i++) { total += readings[i].rain_mm ?? 0; }",
    "SELECT id, text FROM vectors WHERE list_cosine_distance(vector, ?) < 0.3 ORDER BY id LIMIT 5;",
    "3.14159 26535 89793 23846 26433 83279",
    "+31 10 555 01 99 / NL91 ABNA 0417 1643 00",
    "Great work! 👍🏽 See you on Monday ☕ 🎉",
    "🌧 ⛅ 🌞 🇪🇸 🇯🇵",
    # Letters with combining accents: NFC composes them, so the ids are those of the composed text.
    "Cafe\u0301 con leche, por favor; man\u0303ana volvere\u0301.",
    "か\u3099くせいは き\u3099んこうへ いく",
    "Die Straße von Zürich nach Genève ist 278 km lang – ungefähr.",
    "请在出差结束后十五天内提交申请。",
    "梅雨期间空气湿度很大，衣物和粮食容易发霉。",
    "高铁请购买二等座，飞机请购买经济舱；发票抬头必须写公司全称。",
    "如何给显示屏更换电池？",
    "台風が近づくと、気圧が急に下がります。",
    "急須に茶葉を小さじ2杯入れ、湯を静かに注ぎます。1分ほど待ってから、最後の一滴まで注ぎ切ります。",
    "保証期間は何年ですか。",
    "¿Puedo pagar a plazos?",
    "Limpie el pluviómetro cada tres meses y enjuague la cubeta con agua limpia, sin jabón.",
    (
        "En pocas horas puede caer la lluvia de medio año, y los barrancos secos se convierten en ríos. Los"
        " meteorólogos prefieren hablar de depresión aislada en niveles altos."
    ),
    # About 300 tokens.
    (
        "A modern sensor is smaller than a grain of rice. A thin membrane of silicon seals a tiny chamber without"
        " air. When the pressure outside rises, the membrane bends inwards, and resistors on its surface change"
        " their value. A circuit reads that change a few times a second. Pressure falls with height, by roughly one"
        " hectopascal for every eight metres near the ground. This is why a station has to know how high it stands"
        " before it can compare its value with that of another town. Falling pressure often means that wind and"
        " rain are on their way. It is the speed of the fall that counts: three hectopascals in three hours is a"
        " warning, ten is a storm."
    ),
]

INSTRUCTED_TEXTS = [
    ("What is the capital of China?", RETRIEVAL),
    ("Explain gravity", RETRIEVAL),
    ("雨量一直显示为零是什么原因？", RETRIEVAL),
    ("¿Cuánto tarda el envío urgente?", RETRIEVAL),
    ("返品はいつまでできますか。", "Given a customer's question, retrieve the rule that answers it"),
    ("The capital of China is Beijing.", "Find the sentence with the same meaning"),
]

# From these come groups of texts that are exactly equally long; which ones depends on the tokenizer.
EQUAL_LENGTH_CANDIDATES = [
    "The gull sat on the vane.",
    "Refunds take five days.",
    "Send the sensor back.",
    "Where is the duty phone?",
    "Cold air flows downhill.",
    "The router lost its clock.",
    "Open the battery lid first.",
    "A spider lives in the gauge.",
    "The mast must stand upright.",
    "Call me before you climb.",
    "Nobody answered the letter.",
    "Two screws are missing here.",
    "Is this seat still free?",
    "It snowed in northern Spain.",
    "We close at noon on Friday.",
    "Please water the roses.",
    "Whose laptop is this one?",
    "The harbour smells of fish.",
    "Keep the receipt for later.",
    "Mercury is a heavy metal.",
    "The invoice was never paid.",
    "He sold his old telescope.",
    "Bread costs three euros now.",
    "Our server refused the key.",
    "La puerta está cerrada.",
    "El viento viene del norte.",
    "Mañana lloverá otra vez.",
    "No queda café en la mesa.",
    "Los trenes salen tarde.",
    "Quiero dos entradas, gracias.",
    "今天下午没有会议。",
    "请把窗户关上。",
    "电池已经用完了。",
    "他住在长江边上。",
    "明日は晴れるでしょう。",
    "駅まで歩いて行く。",
    "湯が冷めてしまった。",
    "猫が屋根の上にいる。",
]
GROUPS, GROUP_SIZE = 3, 4

BERT_TEXTS = [
    "The capital of the island is small.",
    "Send the device back within thirty days.",
    "Refunds go to the card that you paid with.",
    "Why is the rain gauge empty?",
    "The display needs a new battery every year.",
    "Cold air flows into the valley at night.",
    "Call the duty phone at once!",
    "La estación mide el viento y la lluvia.",
    "El paquete llega mañana a las diez.",
    "气象站安装说明",
    "台風が近づくと気圧が下がります",
    "We store every reading for five years, and we delete all copies within a week when a customer asks for it.",
]


def require(condition, message):
    if not condition:
        raise SystemExit(f"make_fixtures: {message}")


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


# What the tokenizers are trained on: these only, so that documents can be added and nothing else changes.
TRAINING = (
    "en/api-quickstart.md",
    "en/handbook/support-handbook.md",
    "en/how-a-barometer-works.md",
    "en/office-hours.txt",
    "en/onboarding.md",
    "en/placeholder.txt",
    "en/returns-policy.md",
    "en/security-incident.md",
    "en/warranty.txt",
    "es/acta-reunión.txt",
    "es/la-gota-fría.md",
    "es/mantenimiento.md",
    "es/política-de-envíos.md",
    "es/vacaciones.txt",
    "faq.jsonl",
    "ja/お茶の入れ方.md",
    "ja/勤務時間.txt",
    "ja/台風の備え.md",
    "ja/返品について.md",
    "ja/開発メモ.txt",
    "zh/会议纪要.txt",
    "zh/安装说明.md",
    "zh/差旅报销.md",
    "zh/数据安全.md",
    "zh/梅雨.md",
    "zh/请假制度.txt",
)


def corpus_texts():
    for path in sorted(CORPUS / name for name in TRAINING):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            yield from (json.loads(line)["text"] for line in text.splitlines())
        else:
            yield text


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def normalized(vector):
    return vector / np.linalg.norm(vector)


def shortest_floats(vector):
    """The shortest decimals that read back as exactly these float32 values."""
    return [float(str(value)) for value in np.asarray(vector, np.float32)]


# --- qwen3-tiny: tokenizer, weights, configuration


def qwen3_tokenizer(texts, vocabulary):
    """Byte-level BPE built like the real one: special tokens after the vocabulary, the end token appended."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([END, IM_START, IM_END])
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
            processors.TemplateProcessing(
                single=f"$A {END}",
                pair=f"$A {END} $B:1 {END}:1",
                special_tokens=[(END, tokenizer.token_to_id(END))],
            ),
        ]
    )
    return tokenizer


def qwen3_tokenizer_config(tokenizer):
    added = {
        str(tokenizer.token_to_id(token)): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": True,
        }
        for token in (END, IM_START, IM_END)
    }
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": [IM_START, IM_END],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": IM_END,
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": END,
        "padding_side": "left",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def qwen3_config(tokenizer):
    return Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,  # not hidden_size / num_attention_heads, as in the real model
        hidden_act="silu",
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
        rope_theta=1_000_000,
        tie_word_embeddings=True,
        attention_bias=False,
        attention_dropout=0.0,
        use_sliding_window=False,
        bos_token_id=tokenizer.token_to_id(END),
        eos_token_id=tokenizer.token_to_id(END),
    )


def randomize(model, scales):
    """Fill all parameters from one seeded stream: norm weights around 1, the rest scaled by width and kind."""
    stream = np.random.default_rng(SEED)
    for name, parameter in sorted(model.state_dict().items()):
        shape = tuple(parameter.shape)
        if len(shape) == 1:
            value = stream.uniform(-0.5, 0.5, shape) + (0 if name.endswith("bias") else 1)
        else:
            value = stream.standard_normal(shape) / np.sqrt(shape[-1])
        for part, scale in scales.items():
            if part in name:
                value = value * scale
        parameter.copy_(torch.from_numpy(value.astype(np.float32)))


def qwen3_model(config):
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        # Small embeddings let attention outweigh the end token, which all texts have in common;
        # large query and key norms make attention sharp, so that order and neighbours count.
        randomize(model.model, {"embed_tokens": 3.0, "q_norm": 2.0, "k_norm": 1.5, "v_proj": 2.0, "o_proj": 2.0})
    return model.eval()


def write_qwen3_folder(folder, tokenizer, config):
    """The repository without its ONNX files."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", qwen3_tokenizer_config(tokenizer))
    write_json(folder / "config.json", json.loads(config.to_json_string()))
    write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
            {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
        ],
    )
    write_json(folder / "1_Pooling" / "config.json", pooling_config(config.hidden_size, "lasttoken"))
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "prompts": {"query": f"Instruct: {RETRIEVAL}\nQuery:", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "cosine",
        },
    )


def pooling_config(width, mode):
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    return {
        "word_embedding_dimension": width,
        **{f"pooling_mode_{name}": name == mode for name in modes},
        "include_prompt": True,
    }


# --- Golden vectors


def model_input(row):
    return f"Instruct: {row['instruction']}\nQuery:{row['text']}" if row["instruction"] else row["text"]


def require_clean(text):
    require(text == " ".join(text.split()), f"white space is not clean: {text!r}")
    require(not any(unicodedata.category(c) in ("Cc", "Cf") for c in text), f"control or format character: {text!r}")


def equally_long_texts(tokenizer):
    by_length = {}
    for text in EQUAL_LENGTH_CANDIDATES:
        by_length.setdefault(len(tokenizer.encode(text).ids), []).append(text)
    largest = sorted(by_length.values(), key=len, reverse=True)[:GROUPS]
    require(len(largest[-1]) >= GROUP_SIZE, f"no {GROUPS} groups of {GROUP_SIZE} equally long texts: {by_length}")
    return [text for group in largest for text in group[:GROUP_SIZE]]


def qwen3_golden(tokenizer, model):
    rows = [{"text": text, "instruction": None} for text in TEXTS[:-1] + equally_long_texts(tokenizer)]
    rows += [{"text": text, "instruction": instruction} for text, instruction in INSTRUCTED_TEXTS]
    rows += [{"text": TEXTS[-1], "instruction": None}]
    for row in rows:
        require_clean(row["text"])
        row["ids"] = tokenizer.encode(model_input(row)).ids
        row["vector"] = shortest_floats(last_token_vector(model, row["ids"]))
    return rows


def hidden_states(model, ids, **inputs):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), **inputs).last_hidden_state[0].numpy()


def last_token_vector(model, ids, **inputs):
    return normalized(hidden_states(model, ids, **inputs)[-1])


def check_golden(rows, model, end_id):
    """The vectors must show every mistake that a caller can make."""
    vectors = np.array([row["vector"] for row in rows])
    require(np.isfinite(vectors).all(), "a golden vector is not finite")
    similarity = vectors @ vectors.T - 2 * np.eye(len(rows))
    require(similarity.max() < 0.95, f"two texts are too similar: {similarity.max():.4f}")
    require(max(len(row["ids"]) for row in rows) in range(251, 320), "no text of 250 to 300 tokens")

    mistakes = {
        "no end token": lambda ids: last_token_vector(model, ids[:-1]),
        "mean pooling": lambda ids: hidden_states(model, ids).mean(axis=0),
        "reversed positions": lambda ids: last_token_vector(
            model, ids, position_ids=torch.arange(len(ids) - 1, -1, -1)[None]
        ),
        "left padding, mask ignored": lambda ids: last_token_vector(model, [end_id] * 5 + ids),
    }
    print(f"{len(rows)} texts, highest cosine of two texts {similarity.max():.4f}")
    for mistake, encode in mistakes.items():
        cosines = [cosine(encode(row["ids"]), row["vector"]) for row in rows]
        print(f"  {mistake}: median cosine {np.median(cosines):.4f}, highest {max(cosines):.4f}")
        require(np.mean(np.array(cosines) < 0.99) >= 0.9, f"{mistake} would go unnoticed")


# --- ONNX graphs


class Graph:
    """Nodes and initializers in the order in which they are added; values are named by number."""

    def __init__(self):
        self.nodes, self.initializers, self.inputs, self.outputs = [], [], [], []

    def op(self, kind, *inputs, outputs=1, domain="", **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, [*inputs], names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, name, value):
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def const(self, value, dtype=np.int64):
        return self.weight(f"c{len(self.initializers)}", np.array(value, dtype))

    def input(self, name, kind, shape):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, value, kind, shape):
        self.nodes.append(helper.make_node("Identity", [value], [name]))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def cast(self, value, kind):
        return self.op("Cast", value, to=kind)

    def unsqueeze(self, value, *axes):
        return self.op("Unsqueeze", value, self.const(axes))

    def dim(self, value, axis):
        """The size of one axis as a scalar."""
        return self.op("Gather", self.op("Shape", value), self.const(axis))

    def count_to(self, size):
        return self.op("Range", self.const(0), size, self.const(1))

    def model(self):
        graph = helper.make_graph(self.nodes, "qwen3-tiny", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="qwen3-index fixtures")
        onnx.checker.check_model(model)
        return model


@dataclass
class Form:
    """How one export differs from ids and mask in, hidden states out."""

    output: str = "hidden"  # or "last_column", "by_mask": a pooled and normalised sentence_embedding
    output_type: int = TensorProto.FLOAT
    id_type: int = TensorProto.INT64
    cache_type: int | None = None  # with key/value caches, by GroupQueryAttention
    token_types: bool = False
    batch_of_one: bool = False
    nan_token: int | None = None  # a text with this token becomes NaN


class Qwen3Graph:
    """Qwen3 written out in ONNX operators, in one of its forms."""

    def __init__(self, config, weights, form):
        self.config, self.weights, self.form = config, weights, form
        self.graph = Graph()
        self.dim = config.head_dim
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads

    def build(self):
        g, form = self.graph, self.form
        length = "total_sequence_length" if form.cache_type else "sequence_length"
        ids = g.input("input_ids", form.id_type, ["batch_size", "sequence_length"])
        mask = g.input("attention_mask", form.id_type, ["batch_size", length])
        if form.id_type != TensorProto.INT64:
            ids, mask = g.cast(ids, TensorProto.INT64), g.cast(mask, TensorProto.INT64)

        hidden = g.op("Gather", self.matrix("embed_tokens.weight"), ids)
        if form.token_types:
            hidden = self.add_token_types(hidden)
        if form.nan_token is not None:
            hidden = self.spoil(hidden, ids)

        attention = self.cached_attention(mask) if form.cache_type else self.plain_attention(ids, mask)
        for layer in range(self.config.num_hidden_layers):
            hidden = self.layer(hidden, f"layers.{layer}.", attention, layer)
        self.add_output(self.rms_norm(hidden, "norm.weight"), mask)
        return g.model()

    def matrix(self, name):
        return self.graph.weight(name, self.weights[name])

    def linear(self, value, name):
        return self.graph.op("MatMul", value, self.graph.weight(name, self.weights[name].T))

    def rms_norm(self, value, name):
        g = self.graph
        mean = g.op("ReduceMean", g.op("Mul", value, value), g.const([-1]))
        root = g.op("Sqrt", g.op("Add", mean, g.const(self.config.rms_norm_eps, np.float32)))
        return g.op("Mul", g.op("Div", value, root), self.matrix(name))

    def layer(self, hidden, prefix, attention, layer):
        g = self.graph
        x = self.rms_norm(hidden, prefix + "input_layernorm.weight")
        q = self.split_heads(self.linear(x, prefix + "self_attn.q_proj.weight"), self.heads)
        k = self.split_heads(self.linear(x, prefix + "self_attn.k_proj.weight"), self.kv_heads)
        v = self.split_heads(self.linear(x, prefix + "self_attn.v_proj.weight"), self.kv_heads)
        q = self.rms_norm(q, prefix + "self_attn.q_norm.weight")
        k = self.rms_norm(k, prefix + "self_attn.k_norm.weight")
        mixed = attention(q, k, v, layer)
        hidden = g.op("Add", hidden, self.linear(mixed, prefix + "self_attn.o_proj.weight"))

        x = self.rms_norm(hidden, prefix + "post_attention_layernorm.weight")
        gate = self.linear(x, prefix + "mlp.gate_proj.weight")
        gate = g.op("Mul", gate, g.op("Sigmoid", gate))
        up = g.op("Mul", gate, self.linear(x, prefix + "mlp.up_proj.weight"))
        return g.op("Add", hidden, self.linear(up, prefix + "mlp.down_proj.weight"))

    def split_heads(self, value, heads):
        """[batch, length, heads * dim] -> [batch, length, heads, dim]"""
        g = self.graph
        if not self.form.batch_of_one:
            return g.op("Reshape", value, g.const([0, 0, heads, self.dim]))
        length = g.unsqueeze(g.dim(value, 1), 0)
        return g.op("Reshape", value, g.op("Concat", g.const([1]), length, g.const([heads, self.dim]), axis=0))

    def join_heads(self, value):
        return self.graph.op("Reshape", value, self.graph.const([0, 0, self.heads * self.dim]))

    def angles(self, positions):
        """[…, length] positions -> […, length, dim / 2] RoPE angles"""
        exponents = np.arange(0, self.dim, 2, dtype=np.float32) / self.dim
        frequencies = self.graph.const(1.0 / self.config.rope_theta**exponents, np.float32)
        positions = self.graph.cast(positions, TensorProto.FLOAT)
        return self.graph.op("Mul", self.graph.unsqueeze(positions, -1), frequencies)

    def plain_attention(self, ids, mask):
        g = self.graph
        positions = g.count_to(g.dim(ids, 1))
        angles = self.angles(positions)
        angles = g.op("Concat", angles, angles, axis=-1)
        cos, sin = g.op("Cos", angles), g.op("Sin", angles)

        causal = g.op("LessOrEqual", g.unsqueeze(positions, 0), g.unsqueeze(positions, 1))
        allowed = g.op("And", causal, g.unsqueeze(g.cast(mask, TensorProto.BOOL), 1, 2))
        # The lowest finite value, not -inf: a row of left padding sees nothing, and must not become NaN.
        lowest = g.const(np.finfo(np.float32).min, np.float32)
        bias = g.op("Where", allowed, g.const(0, np.float32), lowest)
        scale = g.const(self.dim**-0.5, np.float32)

        def rotate(x):
            first, second = g.op("Split", x, outputs=2, axis=-1, num_outputs=2)
            turned = g.op("Concat", g.op("Neg", second), first, axis=-1)
            return g.op("Add", g.op("Mul", x, cos), g.op("Mul", turned, sin))

        def for_each_query_head(x):
            groups = self.heads // self.kv_heads
            x = g.op("Concat", *[g.unsqueeze(x, 2)] * groups, axis=2)
            return g.op("Reshape", x, g.const([0, self.heads, -1, self.dim]))

        def attend(q, k, v, _layer):
            q, k, v = (g.op("Transpose", x, perm=[0, 2, 1, 3]) for x in (q, k, v))
            q, k = rotate(q), for_each_query_head(rotate(k))
            scores = g.op("Mul", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2])), scale)
            probabilities = g.op("Softmax", g.op("Add", scores, bias), axis=-1)
            mixed = g.op("MatMul", probabilities, for_each_query_head(v))
            return self.join_heads(g.op("Transpose", mixed, perm=[0, 2, 1, 3]))

        return attend

    def cached_attention(self, mask):
        g, kind = self.graph, self.form.cache_type
        positions = g.input("position_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
        total = g.dim(mask, 1)
        angles = self.angles(g.count_to(total))
        cos, sin = (g.cast(g.op(function, angles), kind) for function in ("Cos", "Sin"))
        last_key = g.op("Sub", g.op("ReduceSum", mask, g.const([1]), keepdims=0), g.const(1))
        last_key, total = g.cast(last_key, TensorProto.INT32), g.cast(total, TensorProto.INT32)
        cache = ["batch_size", self.kv_heads, "past_sequence_length", self.dim]
        grown = ["batch_size", self.kv_heads, "total_sequence_length", self.dim]

        def attend(q, k, v, layer):
            past = [g.input(f"past_key_values.{layer}.{part}", kind, cache) for part in ("key", "value")]
            flat = [
                g.cast(g.op("Reshape", x, g.const([0, 0, heads * self.dim])), kind)
                for x, heads in ((q, self.heads), (k, self.kv_heads), (v, self.kv_heads))
            ]
            mixed, *present = g.op(
                "GroupQueryAttention", *flat, *past, last_key, total, cos, sin, positions,
                outputs=3, domain="com.microsoft",
                num_heads=self.heads, kv_num_heads=self.kv_heads, do_rotary=1,
            )  # fmt: skip
            for part, value in zip(("key", "value"), present, strict=True):
                g.output(f"present.{layer}.{part}", value, kind, grown)
            return g.cast(mixed, TensorProto.FLOAT)

        return attend

    def add_token_types(self, hidden):
        """Require token types and let them count for nothing."""
        g = self.graph
        types = g.input("token_type_ids", TensorProto.INT64, ["batch_size", "sequence_length"])
        nothing = g.op("Mul", g.cast(types, TensorProto.FLOAT), g.const(0, np.float32))
        return g.op("Add", hidden, g.unsqueeze(nothing, -1))

    def spoil(self, hidden, ids):
        g = self.graph
        found = g.cast(g.op("Equal", ids, g.const(self.form.nan_token)), TensorProto.INT64)
        found = g.cast(g.op("ReduceMax", found, g.const([1])), TensorProto.BOOL)
        return g.op("Where", g.unsqueeze(found, -1), g.const(np.nan, np.float32), hidden)

    def add_output(self, hidden, mask):
        g, kind = self.graph, self.form.output_type
        width = self.config.hidden_size
        if self.form.output == "hidden":
            if kind != TensorProto.FLOAT:
                hidden = g.cast(hidden, kind)
            g.output("last_hidden_state", hidden, kind, ["batch_size", "sequence_length", width])
            return
        vector = g.op("LpNormalization", self.pool(hidden, mask), axis=-1, p=2)
        if kind == TensorProto.UINT8:
            vector = self.quantize(vector)
        g.output("sentence_embedding", vector, kind, ["batch_size", width])

    def pool(self, hidden, mask):
        g = self.graph
        if self.form.output == "last_column":
            return g.op("Gather", hidden, g.const(-1), axis=1)
        reached = g.op("Mul", mask, g.count_to(g.dim(mask, 1)))
        last = g.op("ArgMax", reached, axis=1, keepdims=1)
        return g.op("GatherND", hidden, last, batch_dims=1)

    def quantize(self, vector):
        """The uint8 code of a known export: (code - 109) * 0.002745 gives the value back."""
        g = self.graph
        code = g.op("Add", g.op("Mul", vector, g.const(364.3, np.float32)), g.const(109, np.float32))
        code = g.op("Clip", g.op("Round", code), g.const(0, np.float32), g.const(255, np.float32))
        return g.cast(code, TensorProto.UINT8)


# --- ONNX files


class SharedWeights:
    """One external data file for many models; equal bytes are stored once."""

    ALIGNMENT = 4096
    THRESHOLD = 1024

    def __init__(self, path):
        self.path, self.offsets, self.content = path, {}, bytearray()

    def save(self, model, path):
        for tensor in model.graph.initializer:
            content = numpy_helper.to_array(tensor).tobytes()
            if len(content) >= self.THRESHOLD:
                tensor.raw_data = content
                onnx.external_data_helper.set_external_data(
                    tensor, self.path.name, offset=self.offset(content), length=len(content)
                )
                tensor.ClearField("raw_data")
        onnx.save(model, path)

    def offset(self, content):
        if content not in self.offsets:
            self.content += bytes(-len(self.content) % self.ALIGNMENT)
            self.offsets[content] = len(self.content)
            self.content += content
        return self.offsets[content]

    def write(self):
        self.path.write_bytes(self.content)


def without_traces(model):
    """Drop what exporters say about the machine and the source lines that they ran on."""
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.graph.ClearField("doc_string")
    for item in [*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output]:
        item.ClearField("doc_string")
        item.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    return model


def exported(folder, library):
    """What `optimum-cli export onnx --task feature-extraction --library-name …` makes of a model folder."""
    with tempfile.TemporaryDirectory() as scratch:
        main_export(str(folder), scratch, task="feature-extraction", library_name=library, do_validation=False)
        return without_traces(onnx.load(Path(scratch) / "model.onnx"))


def dynamically_quantized(path):
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "model.onnx"
        quantize_dynamic(path, target, weight_type=QuantType.QInt8)
        return without_traces(onnx.load(target))


def weight_only_quantized(path):
    quantizer = MatMulNBitsQuantizer(onnx.load(path), bits=8, block_size=32, is_symmetric=True)
    quantizer.process()
    return quantizer.model.model


def qwen3_forms(im_start):
    kinds = TensorProto
    return {
        "model_kv_f32": Form(cache_type=kinds.FLOAT),
        "model_kv_f16": Form(cache_type=kinds.FLOAT16),
        "model_pooled": Form(output="last_column"),
        "model_pooled_mask": Form(output="by_mask"),
        "model_f16": Form(output_type=kinds.FLOAT16),
        "model_bf16": Form(output_type=kinds.BFLOAT16),
        "model_uint8": Form(output="by_mask", output_type=kinds.UINT8),
        "model_token_types": Form(token_types=True),
        "model_int32": Form(id_type=kinds.INT32),
        "model_batch1": Form(batch_of_one=True),
        "model_nan": Form(nan_token=im_start),
    }


def write_qwen3_onnx(config, model, tokenizer):
    folder = QWEN3 / "onnx"
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.numpy() for name, value in model.model.state_dict().items()}
    shared = SharedWeights(folder / SHARED_WEIGHTS)

    plain = folder / "model.onnx"
    onnx.save(Qwen3Graph(config, weights, Form()).build(), plain)
    (folder / "model_external.onnx_data").unlink(missing_ok=True)  # onnx.save would append to it
    onnx.save(
        onnx.load(plain), folder / "model_external.onnx",
        save_as_external_data=True, all_tensors_to_one_file=True, location="model_external.onnx_data",
    )  # fmt: skip
    (folder / "model_external.onnx_data").chmod(0o644)
    onnx.save(dynamically_quantized(plain), folder / "model_quantized.onnx")
    onnx.save(weight_only_quantized(plain), folder / "model_nbits.onnx")
    for name, form in qwen3_forms(tokenizer.token_to_id(IM_START)).items():
        shared.save(Qwen3Graph(config, weights, form).build(), folder / f"{name}.onnx")

    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        shutil.copytree(QWEN3, source, ignore=shutil.ignore_patterns("onnx"))
        model.save_pretrained(source)
        shutil.copy(source / "model.safetensors", QWEN3)
        shared.save(exported(source, "transformers"), folder / "model_position_ids.onnx")
        shared.save(exported(source, "sentence_transformers"), folder / "model_st.onnx")
    shared.write()


# --- Checks of the ONNX files


class Runner:
    """Runs one ONNX file on batches of token ids, as a careful caller would."""

    TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
    CACHES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}

    def __init__(self, path, pad_id):
        options = ort.SessionOptions()
        options.log_severity_level = 4  # model_batch1 is meant to fail
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.pad_id = pad_id
        self.input_names = [i.name for i in self.session.get_inputs()]
        self.output_names = [o.name for o in self.session.get_outputs()]

    def feed(self, batch):
        """Padded on the right, caches empty."""
        length = max(len(ids) for ids in batch)
        columns = np.arange(length)
        values = {
            "input_ids": np.array([ids + [self.pad_id] * (length - len(ids)) for ids in batch]),
            "attention_mask": np.array([columns < len(ids) for ids in batch]),
            "position_ids": np.array([columns for _ in batch]),
            "token_type_ids": np.zeros((len(batch), length)),
        }
        feed = {}
        for node in self.session.get_inputs():
            if node.name in values:
                feed[node.name] = values[node.name].astype(self.TYPES[node.type])
            else:
                _, heads, _, dim = node.shape
                feed[node.name] = np.zeros((len(batch), heads, 0, dim), self.CACHES[node.type])
        return feed

    def raw(self, feed):
        """All outputs by name, as float32 where they are floats."""
        values = self.session.run_with_ort_values(
            self.output_names, {name: ort.OrtValue.ortvalue_from_numpy(value) for name, value in feed.items()}
        )
        return {
            name: torch.from_dlpack(value).float().numpy()
            for name, value in zip(self.output_names, values, strict=True)
        }

    def vectors(self, batch):
        outputs = self.raw(self.feed(batch))
        if "sentence_embedding" in outputs:
            vectors = outputs["sentence_embedding"]
            if self.session.get_outputs()[0].type == "tensor(uint8)":
                vectors = (vectors - 109) * 0.002745
        else:
            hidden = outputs["last_hidden_state"]
            vectors = np.array([hidden[row, len(ids) - 1] for row, ids in enumerate(batch)])
        return [normalized(vector) for vector in vectors]

    def fails(self, batch):
        try:
            self.vectors(batch)
        except Exception as error:  # ONNX Runtime's own exception types are not public
            return "Reshape" in str(error)
        return False


# Below these cosines to the reference a file is wrong, not merely imprecise.
TOLERANCE = {
    "model_f16": 0.99999,
    "model_kv_f16": 0.99999,
    "model_bf16": 0.9999,
    "model_nbits": 0.998,
    "model_uint8": 0.98,  # 64 components are larger than 1024, and some leave its range
    "model_quantized": 0.98,
}
EXACT = 0.999999


def check_qwen3_onnx(rows, tokenizer):
    folder = QWEN3 / "onnx"
    end = tokenizer.token_to_id(END)
    runners = {path.stem: Runner(path, end) for path in sorted(folder.glob("*.onnx"))}
    for path in folder.glob("*.onnx"):
        check_versions(path)

    print(f"\n{'file':22} {'bytes':>8} {'worst cosine':>12}  inputs -> outputs")
    for name, runner in runners.items():
        worst = min(cosine(runner.vectors([row["ids"]])[0], row["vector"]) for row in rows)
        size = (folder / f"{name}.onnx").stat().st_size
        print(f"{name:22} {size:8} {worst:12.7f}  {signature(runner)}")
        require(worst > TOLERANCE.get(name, EXACT), f"{name} differs from transformers")
    check_traps(runners, rows, tokenizer)


def check_versions(path):
    model = onnx.load(path, load_external_data=False)
    opset = max(entry.version for entry in model.opset_import if entry.domain == "")
    require(opset <= MAX_OPSET and model.ir_version <= MAX_IR_VERSION, f"{path.name}: opset {opset} is too new")


def signature(runner):
    def brief(names):
        shown = [name for name in names if not name.startswith(("past_key_values.", "present."))]
        caches = len(names) - len(shown)
        return ", ".join(shown + [f"{caches} caches"] * bool(caches))

    return f"{brief(runner.input_names)} -> {brief(runner.output_names)}"


def check_traps(runners, rows, tokenizer):
    """Each file must behave, and misbehave, as the one in the wild that it stands for."""
    ids = [row["ids"] for row in rows]
    expected = [row["vector"] for row in rows]
    short, long = min(ids, key=len), ids[-1]
    padded = [short, long]

    def worst_when_batched(name, batch):
        batched = runners[name].vectors(batch)
        return min(cosine(vector, runners[name].vectors([one])[0]) for vector, one in zip(batched, batch, strict=True))

    for name in runners.keys() - {"model_pooled", "model_quantized", "model_batch1"}:
        worst = worst_when_batched(name, padded)
        require(worst > 0.99999, f"{name}: a padded batch changes a vector ({worst:.6f})")
    require(worst_when_batched("model_pooled", padded) < 0.99, "model_pooled should need equal lengths")
    drift = worst_when_batched("model_quantized", equally_long(ids))
    print(f"model_quantized: cosine {drift:.6f} of a vector alone and beside equally long texts")
    require(drift < 0.99999, "model_quantized should depend on its batch")

    require(runners["model_batch1"].fails([short, short]), "model_batch1 should fail at batch 2")
    check_caches(runners, ids, expected)
    check_nan(runners["model_nan"], rows[4], tokenizer)
    left = worst_left_padded(runners["model"], ids, expected)
    require(left > EXACT, f"model: left padding changes a vector ({left:.6f})")


def equally_long(ids):
    by_length = {}
    for one in ids:
        by_length.setdefault(len(one), []).append(one)
    return max(by_length.values(), key=len)


def worst_left_padded(runner, ids, expected):
    cosines = []
    for one, vector in zip(ids, expected, strict=True):
        feed = runner.feed([[runner.pad_id] * 3 + one])
        feed["attention_mask"][0, :3] = 0
        cosines.append(cosine(runner.raw(feed)["last_hidden_state"][0, -1], vector))
    return min(cosines)


def check_caches(runners, ids, expected):
    """A text fed in two steps, the second with the caches of the first, gives the same vector."""
    for name in ("model_kv_f32", "model_kv_f16"):
        runner = runners[name]
        for one, vector in zip(ids, expected, strict=True):
            if len(one) < 4:
                continue
            cut = len(one) // 2
            first = runner.raw(runner.feed([one[:cut]]))
            feed = runner.feed([one[cut:]])
            feed["attention_mask"] = np.ones((1, len(one)), np.int64)
            feed["position_ids"] += cut
            for key in feed:
                if key.startswith("past_key_values."):
                    feed[key] = first[key.replace("past_key_values", "present")].astype(feed[key].dtype)
            hidden = runner.raw(feed)["last_hidden_state"]
            require(cosine(hidden[0, -1], vector) > 0.99999, f"{name} does not continue from its caches")


def check_nan(runner, row, tokenizer):
    spoiled = tokenizer.encode(f"{IM_START}{row['text']}").ids
    first, second = runner.raw(runner.feed([spoiled, row["ids"]]))["last_hidden_state"]
    require(np.isnan(first).all(), "model_nan: no NaN")
    require(not np.isnan(second).any(), "model_nan: NaN in the other text")


# --- bert-tiny


def bert_tokenizer():
    """WordPiece of the most frequent characters and words, counted here: the trainer's ids differ from run to run."""
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    texts = (normalizer.normalize_str(text) for text in corpus_texts())
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
    characters = Counter(character for word in words.elements() for character in word)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for character in most_frequent(characters, 120):
        tokens += [character, f"##{character}"]
    tokens += [word for word in most_frequent(words, 400) if word not in tokens]
    vocabulary = {token: number for number, token in enumerate(tokens[:400])}

    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(tokens[:5])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def most_frequent(counts, number):
    return sorted(counts, key=lambda key: (-counts[key], key))[:number]


def bert_model(tokenizer):
    config = BertConfig(
        architectures=["BertModel"],
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=64,
    )
    model = BertModel(config)
    with torch.no_grad():
        randomize(model, {"bias": 0.3, "word_embeddings": 4.0, "query": 3.0, "key": 3.0, "value": 3.0})
    return model.eval()


def write_bert_folder(tokenizer, model):
    config = model.config
    BERT.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(BERT / "tokenizer.json"))
    write_json(
        BERT / "tokenizer_config.json",
        {
            "cls_token": "[CLS]",
            "do_lower_case": True,
            "mask_token": "[MASK]",
            "model_max_length": config.max_position_embeddings,
            "pad_token": "[PAD]",
            "sep_token": "[SEP]",
            "tokenizer_class": "BertTokenizer",
            "unk_token": "[UNK]",
        },
    )
    write_json(BERT / "config.json", json.loads(config.to_json_string()))
    write_json(
        BERT / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
    )
    write_json(BERT / "1_Pooling" / "config.json", pooling_config(config.hidden_size, "mean_tokens"))
    write_json(
        BERT / "sentence_bert_config.json",
        {"max_seq_length": config.max_position_embeddings, "do_lower_case": False},
    )
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        shutil.copytree(BERT, source, ignore=shutil.ignore_patterns("onnx"))
        model.save_pretrained(source)
        (BERT / "onnx").mkdir(exist_ok=True)
        onnx.save(exported(source, "transformers"), BERT / "onnx" / "model.onnx")


def bert_golden(tokenizer, model):
    rows = []
    for text in BERT_TEXTS:
        require_clean(text)
        ids = tokenizer.encode(text).ids
        require(len(ids) <= model.config.max_position_embeddings, f"too long for bert-tiny: {text!r}")
        hidden = hidden_states(model, ids)
        mean, cls = normalized(hidden.mean(axis=0)), normalized(hidden[0])
        rows.append({"text": text, "ids": ids, "mean": shortest_floats(mean), "cls": shortest_floats(cls)})
    for pooling in ("mean", "cls"):
        vectors = np.array([row[pooling] for row in rows])
        similarity = vectors @ vectors.T - 2 * np.eye(len(rows))
        require(similarity.max() < 0.95, f"bert-tiny, {pooling}: two texts are too similar ({similarity.max():.4f})")
    return rows


def check_bert_onnx(rows, pad_id):
    path = BERT / "onnx" / "model.onnx"
    check_versions(path)
    runner = Runner(path, pad_id)
    worst = 1.0
    for row in rows:
        hidden = runner.raw(runner.feed([row["ids"]]))["last_hidden_state"][0]
        worst = min(worst, cosine(hidden.mean(axis=0), row["mean"]), cosine(hidden[0], row["cls"]))
    print(f"\nbert-tiny: {path.stat().st_size} bytes, worst cosine {worst:.7f}, {signature(runner)}")
    require(worst > EXACT, "bert-tiny differs from transformers")


# --- All of it


def make_qwen3():
    tokenizer = qwen3_tokenizer(corpus_texts(), 557)
    config = qwen3_config(tokenizer)
    model = qwen3_model(config)
    write_qwen3_folder(QWEN3, tokenizer, config)
    rows = qwen3_golden(tokenizer, model.model)
    check_golden(rows, model.model, tokenizer.token_to_id(END))
    write_jsonl(GOLDEN / "qwen3-tiny.jsonl", rows)
    write_qwen3_onnx(config, model, tokenizer)
    check_qwen3_onnx(rows, tokenizer)


def make_bert():
    tokenizer = bert_tokenizer()
    model = bert_model(tokenizer)
    write_bert_folder(tokenizer, model)
    rows = bert_golden(tokenizer, model)
    write_jsonl(GOLDEN / "bert-tiny.jsonl", rows)
    check_bert_onnx(rows, tokenizer.token_to_id("[PAD]"))


def main():
    logging.disable(logging.WARNING)  # quantizers and exporters talk about every node
    warnings.filterwarnings("ignore")
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    make_qwen3()
    make_bert()
    total = sum(path.stat().st_size for path in ROOT.rglob("*") if path.is_file())
    print(f"fixtures: {total} bytes")
    require(total < SIZE_LIMIT, "fixtures are too large for the repository")


if __name__ == "__main__":
    main()
