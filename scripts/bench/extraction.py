#!/usr/bin/env python3
"""Measures which words of a document the tool extracts, beside other programs, and prints a Markdown table for each folder.

    scripts/bench/extraction FOLDER...    installs the Python packages and runs this file

A folder has one of three kinds:

- pages: subfolders with `source.html` and the main content as `expected.html` or `expected.txt`. The test pages of
  mozilla/readability have this layout.
- snippets: pages and `snippets.json`, an object of `{"with": [...], "without": [...]}` by file name. The main content has the
  strings of `with`, and the rest of the page has those of `without`.
- documents: PDF and DOCX files. The reference of `NAME.pdf` is the text file `NAME.pdf.txt`. Without such a file, the texts of
  pdftotext, docx2txt and pandoc are references, as far as these programs are installed.

Words are compared as multisets, without case. Recall is the part of the reference that was found, and precision the part of
what was found that is in the reference. All figures of pages and documents are means over the files.
"""

import collections
import html.parser
import importlib.util
import json
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pyarrow.ipc

TOOL = Path(__file__).resolve().parent.parent.parent / "target/release/qwen3-index"
OURS = {"qwen3-index": [], "qwen3-index, whole": ["--html=whole"]}
# A word, or a character of a script without spaces between words.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
INLINE = set("a abbr b bdi bdo cite code data dfn em font i kbd mark q s samp small span strong sub sup time tt u var wbr".split())


# --- What is measured.


class Reference(html.parser.HTMLParser):
    """Collects the visible text of a clean fragment of HTML."""

    def __init__(self):
        super().__init__()
        self.text, self.skipped = [], 0

    def handle_starttag(self, tag, attributes):
        self.skipped += tag in ("script", "style")
        self.text.append("" if tag in INLINE else " ")

    def handle_endtag(self, tag):
        self.skipped -= tag in ("script", "style")
        self.text.append("" if tag in INLINE else " ")

    def handle_data(self, data):
        self.text.append("" if self.skipped else data)


def text_of_html(source):
    parser = Reference()
    parser.feed(source)
    parser.close()
    return "".join(parser.text)


def count_words(text):
    return collections.Counter(WORD.findall(text.lower()))


def compare(text, reference):
    """Returns recall, precision and F1 of the words of a text."""
    found, wanted = count_words(text), count_words(reference)
    common = (found & wanted).total()
    recall, precision = common / max(wanted.total(), 1), common / max(found.total(), 1)
    return recall, precision, 2 * recall * precision / ((recall + precision) or 1)


# --- The contenders. Each is a function from the path of a file to its text.


def read_ours(folder, options):
    """Returns the text of each file of a folder by its path, and the errors by path."""
    command = [TOOL, "read", *options, folder]
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if process.returncode not in (0, 3):
        sys.exit(f"extraction: {' '.join(map(str, command))} failed with exit code {process.returncode}")
    rows = pyarrow.ipc.open_stream(process.stdout).read_all().to_pylist()
    texts = {folder / row["id"]: row["text"] for row in rows if row["error"] is None}
    return texts, {folder / row["id"]: row["error"] for row in rows if row["error"] is not None}


def read_by_readability(path):
    import readability

    return text_of_html(readability.Document(path.read_bytes()).summary())


def read_by_trafilatura(path):
    import trafilatura

    return trafilatura.extract(path.read_bytes()) or ""


def read_by_resiliparse(path):
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    content = path.read_bytes()
    tree = HTMLTree.parse_from_bytes(content, detect_encoding(content))
    return extract_plain_text(tree, main_content=True)


def read_by_command(*command):
    def read(path):
        line = [str(path) if part == "FILE" else part for part in command]
        process = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return process.stdout.decode(errors="replace") if process.returncode == 0 else None

    return read


def read_by_docx2txt(path):
    import docx2txt

    return docx2txt.process(path)


HTML_PEERS = {
    "readability": ("readability-lxml", read_by_readability),
    "trafilatura": ("trafilatura", read_by_trafilatura),
    "resiliparse": ("resiliparse", read_by_resiliparse),
}


def html_peers():
    return {name: read for module, (name, read) in HTML_PEERS.items() if importlib.util.find_spec(module)}


def document_peers(extension):
    peers = {}
    if extension == ".pdf" and shutil.which("pdftotext"):
        peers["pdftotext"] = read_by_command("pdftotext", "-enc", "UTF-8", "FILE", "-")
    if extension == ".docx" and importlib.util.find_spec("docx2txt"):
        peers["docx2txt"] = read_by_docx2txt
    if extension == ".docx" and shutil.which("pandoc"):
        peers["pandoc"] = read_by_command("pandoc", "--to=plain", "--wrap=none", "FILE")
    return peers


def attempt(read, path):
    """Returns the text of a file, or `None` if the library fails on it."""
    try:
        return read(path)
    except Exception as error:  # Other people's code on other people's files: any error may come.
        print(f"extraction: {path}: {error!r}", file=sys.stderr)
        return None


# --- The tables.


def print_table(title, header, rows):
    print(f"\n## {title}\n")
    for line in [header, ["---"] * len(header), *rows]:
        print("| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in line) + " |")


def texts_by_contender(folder, paths):
    """Yields the name of each contender for HTML and its text for each path. A file that could not be read has the text ''."""
    for name, options in OURS.items():
        texts, _ = read_ours(folder, options)
        yield name, {path: texts.get(path, "") for path in paths}
    for name, read in html_peers().items():
        yield name, {path: attempt(read, path) or "" for path in paths}


def measure_pages(folder):
    references = {}
    for path in sorted(folder.glob("*/source.html")):
        expected = path.with_name("expected.html")
        plain = path.with_name("expected.txt")
        if plain.exists():
            references[path] = plain.read_text(encoding="utf-8")
        elif expected.exists():
            references[path] = text_of_html(expected.read_text(encoding="utf-8"))
    rows = []
    for name, texts in texts_by_contender(folder, references):
        scores = {path: compare(texts[path], reference) for path, reference in references.items()}
        rows.append([name, *map(statistics.fmean, zip(*scores.values()))])
    print_table(f"{folder}: {len(references)} pages", ["", "recall", "precision", "F1"], rows)


def measure_snippets(folder):
    wanted = json.loads((folder / "snippets.json").read_text(encoding="utf-8"))
    wanted = {folder / name: snippets for name, snippets in wanted.items()}
    rows = []
    for name, texts in texts_by_contender(folder, wanted):
        counts = collections.Counter()
        for path, snippets in wanted.items():
            text = " ".join(texts[path].split())
            for kind in ("with", "without"):
                is_in = [" ".join(snippet.split()) in text for snippet in snippets[kind]]
                counts.update({(kind, True): sum(is_in), (kind, False): len(is_in) - sum(is_in)})
        right, missed, wrong = counts["with", True], counts["with", False], counts["without", True]
        recall, precision = right / max(right + missed, 1), right / max(right + wrong, 1)
        rows.append([name, recall, precision, 2 * recall * precision / ((recall + precision) or 1)])
    print_table(f"{folder}: snippets of {len(wanted)} pages", ["", "recall", "precision", "F1"], rows)


def measure_documents(folder):
    texts, errors = read_ours(folder, [])
    rows = []
    for extension in (".pdf", ".docx"):
        paths = sorted(path for path in folder.rglob(f"*{extension}"))
        peers = document_peers(extension)
        by_peer = {name: {path: attempt(read, path) for path in paths} for name, read in peers.items()}
        written = {path: path.with_name(f"{path.name}.txt") for path in paths}
        written = {path: text.read_text(encoding="utf-8") for path, text in written.items() if text.exists()}
        contenders = {"qwen3-index": texts, **by_peer}
        references = {"reference": written} if written else by_peer
        for reference_name, by_path in references.items():
            for name, found in contenders.items():
                both = [path for path in paths if by_path.get(path) and found.get(path) is not None]
                if name == reference_name or not both:
                    continue
                scores = [compare(found[path], by_path[path]) for path in both]
                means = map(statistics.fmean, zip(*scores))
                rows.append([f"{name} against {reference_name}", extension, len(both), *means])
    header = ["", "kind", "files", "recall", "precision", "F1"]
    print_table(f"{folder}: documents, {len(errors)} refused by qwen3-index", header, rows)


def main():
    folders = [Path(argument) for argument in sys.argv[1:]]
    if not folders or not all(folder.is_dir() for folder in folders):
        sys.exit(__doc__.strip())
    for folder in folders:
        if (folder / "snippets.json").exists():
            measure_snippets(folder)
        elif next(folder.glob("*/source.html"), None):
            measure_pages(folder)
        else:
            measure_documents(folder)


if __name__ == "__main__":
    main()
