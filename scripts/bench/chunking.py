"""Measures how well chunks of long documents are found. scripts/bench/chunking runs it.

The documents are files in Markdown or HTML. The questions come from the documents: headings that no other document has, and
sentences that are taken out of the document before it is indexed. A document is found by its best chunk.

Cut by `paragraphs` is `--chunk-by structure` with documents that have only paragraphs, as if they were text files with blank lines.
"""

import io
import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

from chunking_models import export

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = ROOT / "target/release/qwen3-index"
WORK = ROOT / "target/bench/chunking"
BOTH = ["--context", "title,headings"]
PLAIN = ["--context", "none"]
# The first variant is the one that the others are compared with.
SETS = {
    "english": {
        "model": "minilm", "documents": 100, "per_kind": 2, "characters": (6_000, 40_000),
        "heading": r"(?:\S+\s+){2,}\S+", "sentence": r"(?:\S+\s+){8,29}\S+", "ends": r"(?<=[.!?])\s+", "start": "[A-Z]",
        "variants": [
            (256, "structure", *BOTH),
            (256, "length", *PLAIN), (256, "length", *BOTH), (256, "paragraphs", *PLAIN),
            (256, "paragraphs", *PLAIN, "--overlap", "32"),
            (256, "structure", *PLAIN), (256, "structure", "--context", "headings"),
            (256, "structure", *PLAIN, "--overlap", "32"), (256, "structure", *BOTH, "--overlap", "32"),
            (128, "length", *PLAIN), (128, "length", *BOTH), (128, "paragraphs", *PLAIN),
            (128, "structure", *PLAIN), (128, "structure", "--context", "headings"), (128, "structure", *BOTH),
            (128, "structure", *PLAIN, "--overlap", "32"),
        ],
    },
    "chinese": {
        "model": "e5", "documents": 30, "per_kind": 4, "characters": (3_000, 9_000),
        "heading": r".*[\u4e00-\u9fff]{4}.*", "sentence": r".*[\u4e00-\u9fff]{15}.*", "ends": r"(?<=[。！？])\s*", "start": r"[\u4e00-\u9fff]",
        "variants": [
            (256, "structure", *BOTH),
            (256, "length", *PLAIN), (256, "paragraphs", *PLAIN), (256, "structure", *PLAIN),
            (512, "structure", *BOTH), (512, "length", *PLAIN), (128, "structure", *BOTH), (128, "length", *PLAIN),
            (256, "structure", *BOTH, "--overlap", "32"), (256, "length", *BOTH),
            (512, "paragraphs", *PLAIN), (512, "structure", *PLAIN),
        ],
    },
}


def read(path):
    """Returns a document as Markdown; an empty text if it is not UTF-8. HTML loses its table of contents and its links."""
    if path.suffix == ".html":
        html = path.read_text(encoding="utf-8")
        html = re.sub(r'<div class="(nav(header|footer)|toc)">.*?</(dl|table)>.*?</div>', "", html, flags=re.S)
        command = ["pandoc", "-f", "html-native_divs-native_spans", "-t", "gfm-raw_html", "--wrap=none"]
        return subprocess.run(command, input=html, capture_output=True, text=True, check=True).stdout
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return ""


def documents(folders, settings):
    """Returns the texts of the documents, in an order that depends only on the files."""
    kinds = ("*.md", "*.zh-cn.html")
    paths = sorted(path for folder in folders for kind in kinds for path in Path(folder).rglob(kind))
    paths = [path for path in paths if not re.search("CHANGE|LICENSE|^index\\.", path.name, re.I)]
    random.Random(1).shuffle(paths)
    shortest, longest = settings["characters"]
    texts, starts = [], set()
    for path in paths:
        text = read(path)
        if path.suffix == ".html":
            text = text[:longest].rpartition("\n\n")[0]
        is_long = shortest <= len(text) <= longest and text.count("\n#") >= 5
        # Several versions of a package have the same text.
        if is_long and text[:200] not in starts:
            starts.add(text[:200])
            texts.append(text)
        if len(texts) == settings["documents"]:
            break
    return texts


def questions(texts, settings):
    """Returns questions as (kind, text, document), and the documents without the sentences that have become questions."""
    without_code = [re.sub(r"```.*?```", "", text, flags=re.S) for text in texts]
    headings = [re.findall(r"^#{2,4} +(?:[\d.]+\s)?(.+?) *#*$", text, re.M) for text in without_code]
    plain = [{re.sub(r"[`*\[\]]", "", heading) for heading in own} for own in headings]
    asked, changed = [], []
    for at, text in enumerate(texts):
        chance = random.Random(at)
        others = set().union(*(own for other, own in enumerate(plain) if other != at))
        own = [heading for heading in plain[at] - others if "http" not in heading]
        own = sorted(heading for heading in own if re.fullmatch(settings["heading"], heading))
        asked += [("headings", heading, at) for heading in chance.sample(own, min(settings["per_kind"], len(own)))]
        line = r"[^\n#`|<>\[\]]+"
        paragraphs = re.findall(rf"(?:^|\n\n)({settings['start']}{line}(?:\n{line})*)(?=\n\n)", text)
        sentences = [sentence for paragraph in paragraphs for sentence in re.split(settings["ends"], paragraph)]
        sentences = sorted({sentence for sentence in sentences if re.fullmatch(settings["sentence"], sentence, re.S)})
        for sentence in chance.sample(sentences, min(settings["per_kind"], len(sentences))):
            asked.append(("sentences", " ".join(sentence.split()), at))
            text = text.replace(sentence, "")
        changed.append(text)
    return asked, changed


def as_paragraphs(folder):
    """Returns the clean text of each document in a folder, with a blank line between paragraphs, lists, tables and code."""
    import pyarrow.ipc

    stream = subprocess.run([TOOL, "read", folder], check=True, stdout=subprocess.PIPE).stdout
    texts = {}
    for row in pyarrow.ipc.open_stream(io.BytesIO(stream)).read_all().to_pylist():
        text = row["text"].encode()
        blocks = [(start, kind) for start, kind in json.loads(row["blocks"] or "[]")] or [(0, "Paragraph")]
        ends = [start for start, _ in blocks[1:]] + [len(text)]
        parts, before = [], None
        for (start, kind), end in zip(blocks, ends):
            kind = str(kind).replace("TableHeader", "TableRow")
            parts.append("\n" if kind == before and kind in ("Item", "TableRow", "Code") else "\n\n")
            parts.append(text[start:end].decode().strip())
            before = kind
        texts[row["id"]] = "".join(parts).strip()
    return texts


def write_test(folder, texts, asked):
    shutil.rmtree(folder, ignore_errors=True)
    for name in ["docs", "paragraphs", "qrels"]:
        (folder / name).mkdir(parents=True)
    for at, text in enumerate(texts):
        (folder / "docs" / f"{at}.md").write_text(text, encoding="utf-8")
    for name, text in as_paragraphs(folder / "docs").items():
        (folder / "paragraphs" / name).with_suffix(".txt").write_text(text, encoding="utf-8")
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as file:
        for number, (kind, text, _) in enumerate(asked):
            file.write(json.dumps({"_id": str(number), "text": text, "language": kind}) + "\n")


def measure(test, model, tokens, by, more):
    """Returns the figures of each question, and the number of rows."""
    docs, ending = ("paragraphs", "txt") if by == "paragraphs" else ("docs", "md")
    asked = [json.loads(line) for line in open(test / "queries.jsonl", encoding="utf-8")]
    answers = json.loads((test / "answers.json").read_text())
    judged = "".join(f"{one['_id']}\t{answers[one['_id']]}.{ending}\t1\n" for one in asked)
    (test / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    index = test / f"{docs}.parquet"
    rule = "length" if by == "length" else "structure"
    # Chunks with the same text and context keep their vectors from the variant before. All settings are named, because a run that leaves
    # out a setting of the run before stops.
    build = [TOOL, "build", test / docs, "-o", index, "--chunks", "--chunk-tokens", str(tokens), "--chunk-by", rule]
    build += [] if "--overlap" in more else ["--overlap", "0"]
    subprocess.run([*build, *more, "--model", model, "-q"], check=True)
    command = [TOOL, "eval", "retrieval", test, "--index", index, "--model", model, "--json"]
    each = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["setups"][0]["each"]
    rows = json.loads(subprocess.run([TOOL, "inspect", index, "--json"], check=True, capture_output=True).stdout)["rows"]
    return {one["id"]: one for one in each}, rows


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def spread(values):
    """Returns half of the 95 % interval of a mean."""
    middle = mean(values)
    return 1.96 * (sum((value - middle) ** 2 for value in values) / len(values)) ** 0.5 / len(values) ** 0.5


def main():
    name, *folders = sys.argv[1:]
    settings = SETS[name]
    model, test = WORK / settings["model"], WORK / name
    export(settings["model"], model)
    asked, texts = questions(documents(folders, settings), settings)
    write_test(test, texts, asked)
    (test / "answers.json").write_text(json.dumps({str(number): at for number, (_, _, at) in enumerate(asked)}))
    kinds = [sum(1 for one in asked if one[0] == kind) for kind in ("headings", "sentences")]
    print(f"{len(texts)} documents, {sum(map(len, texts)):,} characters, {kinds[0]} headings, {kinds[1]} sentences\n")
    print("| tokens | cut by | more | rows | recall@10 | nDCG@10 | difference | headings | sentences |")
    print("| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    first = None
    for tokens, by, *more in settings["variants"]:
        each, rows = measure(test, model, tokens, by, more)
        first = first or each
        ndcg = {number: one["ndcg_10"] for number, one in each.items()}
        apart = [value - first[number]["ndcg_10"] for number, value in ndcg.items()]
        recall = mean(one["recall_10"] for one in each.values())
        by_kind = [mean(value for number, value in ndcg.items() if asked[int(number)][0] == kind) for kind in ("headings", "sentences")]
        options = " ".join(more).replace("--", "")
        print(f"| {tokens} | {by} | {options} | {rows:,} | {recall:.3f} | {mean(ndcg.values()):.3f} ± {spread(ndcg.values()):.3f} "
              f"| {mean(apart):+.3f} ± {spread(apart):.3f} | {by_kind[0]:.3f} | {by_kind[1]:.3f} |", flush=True)


main()
