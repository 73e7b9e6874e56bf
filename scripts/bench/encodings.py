#!/usr/bin/env python3
"""Counts how many texts of known encodings are right, silently wrong and refused. scripts/bench/encodings runs it.

    scripts/bench/encodings.py QWEN3-INDEX [--list] FOLDER...
"""

import codecs
import re
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import charset_normalizer
import chardet
import pyarrow.ipc

# What Python calls an encoding that others call by this name.
ALIASES = {"x-mac-ce": "mac_latin2", "x-mac-cyrillic": "mac_cyrillic", "maccyrillic": "mac_cyrillic", "macroman": "mac_roman"}
# Encodings that Python reads by the letter, and everybody else as the larger one that replaced it.
LARGER = {"shift_jis": "cp932", "euc_kr": "cp949", "gb2312": "gb18030", "gbk": "gb18030", "big5": "cp950", "tis-620": "cp874"}
LARGER |= {"iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "ascii": "cp1252", "iso8859-8": "cp1255"}
PAGES = {".htm", ".html", ".xhtml", ".xml"}
OUTCOMES = ("right", "silently wrong", "refused")


def codec(name: str) -> str | None:
    """Returns the codec that a folder or a file is named after. The name may end in a language."""
    name = re.sub(r" .*|\.(le|be)$", r"\1", name.lower())
    while name:
        try:
            return codecs.lookup(ALIASES.get(name, name)).name
        except LookupError:
            name = name.rpartition("-")[0]
    return None


def decoded(data: bytes, encoding: str | None) -> str | None:
    try:
        return data.decode(encoding) if encoding else None
    except (UnicodeError, LookupError):
        return None


def letters(text: str) -> str:
    """Returns the letters and digits. What remains of a text does not depend on white space, cleaning or kinds of dashes."""
    return "".join(c for c in unicodedata.normalize("NFKC", text) if c.isalnum())


def labelled(folders: list[str]) -> list[tuple[Path, bytes, list[str]]]:
    """Returns each file once, with the texts that it may stand for."""
    files = {}
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*") if path.is_file()):
        name = codec(path.parent.name) or codec(path.name.removesuffix(".txt")) or codec(path.stem)
        data = path.read_bytes()
        texts = [text for encoding in (name, LARGER.get(name)) if (text := decoded(data, encoding)) is not None]
        if texts and any(map(letters, texts)):
            files[path] = data, texts
    return [(path, data, texts) for path, (data, texts) in files.items()]


def read(tool: str, files: dict[str, bytes]) -> dict[str, str | None]:
    """Returns the text of each file as the tool reads it; None if the tool refuses the file."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        stream = subprocess.run([tool, "read", folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    rows = pyarrow.ipc.open_stream(stream).read_all().to_pylist()
    return {row["id"]: row["text"] if row["error"] is None else None for row in rows}


def outcome(found: str | None, expected: list[str]) -> str:
    if found is None:
        return "refused"
    return "right" if letters(found) in map(letters, expected) else "silently wrong"


def of_tool(tool: str, files: list[tuple[Path, bytes, list[str]]], keep_pages: bool) -> list[str]:
    """Returns the outcome of each file. What is right is what the tool reads from the same file in UTF-8."""
    names, given = [], {}
    for at, (path, data, texts) in enumerate(files):
        suffix = ".html" if keep_pages and path.suffix.lower() in PAGES else ".txt"
        names.append(f"{at}{suffix}")
        given[f"{at}{suffix}"] = data
        given |= {f"{at}-{n}{suffix}": text.encode() for n, text in enumerate(texts)}
    found = read(tool, given)
    return [
        outcome(found[name], [found[f"{at}-{n}{name[-len(Path(name).suffix):]}"] or "" for n in range(len(texts))])
        for at, (name, (_, _, texts)) in enumerate(zip(names, files))
    ]


def of_charset_normalizer(data: bytes) -> str | None:
    best = charset_normalizer.from_bytes(data).best()
    return best and str(best)


def of_chardet(data: bytes) -> str | None:
    return decoded(data, chardet.detect(data)["encoding"])


def main(tool: str, *arguments: str) -> None:
    files = labelled([argument for argument in arguments if argument != "--list"])
    ours = of_tool(tool, files, keep_pages=True)
    columns = {
        "qwen3-index": ours,
        "qwen3-index, every file as .txt": of_tool(tool, files, keep_pages=False),
        f"charset-normalizer {charset_normalizer.__version__}": [
            outcome(of_charset_normalizer(data), texts) for _, data, texts in files
        ],
        f"chardet {chardet.__version__}": [outcome(of_chardet(data), texts) for _, data, texts in files],
    }
    if "--list" in arguments:
        for (path, _, _), how in zip(files, ours):
            if how != "right":
                print(f"{how}: {path}")
    print(f"{len(files)} files\n\n| | {' | '.join(OUTCOMES)} |\n| --- | --- | --- | --- |")
    for name, outcomes in columns.items():
        counts = Counter(outcomes)
        print(f"| {name} | {' | '.join(str(counts[one]) for one in OUTCOMES)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
