"""Passages of exact lengths, for scripts/bench/speed: sentences of the fixtures' corpus, in orders of their own."""

import json
import math
import random
import re
from pathlib import Path

EXPECTED = Path(__file__).resolve().parent.parent.parent / "fixtures/expected.jsonl"
# Each with what stands between its sentences.
LANGUAGES = {"en": " ", "zh": "", "ja": ""}
SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[.!?]) ")
# More than a token of this text has.
CHARACTERS_A_TOKEN = 12


def sentences(language):
    documents = map(json.loads, EXPECTED.read_text(encoding="utf-8").splitlines())
    texts = [document["text"] for document in documents if document["id"].startswith(f"{language}/")]
    return [part.strip() for text in texts for part in SENTENCE_END.split(text) if part.strip()]


def lengths(count, shortest, longest):
    """As many lengths between one and two tokens as between two and four: log-uniform."""
    ratio = longest / shortest
    return [round(shortest * math.pow(ratio, (at + 0.5) / count)) for at in range(count)]


def passage(tokenizer, parts, between, tokens, dice):
    """A text of so many tokens, its end token among them."""
    while True:
        text = between.join(dice.sample(parts, len(parts)))[: tokens * CHARACTERS_A_TOKEN]
        found = tokenizer.decode(tokenizer.encode(text).ids[: tokens - 1]).strip()
        # A cut can go through a character, and a word that is cut can be other tokens.
        if "\ufffd" not in found and len(tokenizer.encode(found).ids) == tokens:
            return found


def make_passages(tokenizer, count, shortest, longest):
    """Rows with `id`, `text` and `tokens`, no text twice, lengths and languages in a seeded order."""
    dice = random.Random(f"{count} {shortest} {longest}")
    parts = {language: sentences(language) for language in LANGUAGES}
    rows, seen = [], set()
    for number, tokens in enumerate(dice.sample(lengths(count, shortest, longest), count)):
        language = list(LANGUAGES)[number % len(LANGUAGES)]
        text = passage(tokenizer, parts[language], LANGUAGES[language], tokens, dice)
        while text in seen:
            text = passage(tokenizer, parts[language], LANGUAGES[language], tokens, dice)
        seen.add(text)
        rows.append({"id": f"{language}-{number}", "text": text, "tokens": tokens})
    return rows


def write_passages(rows, path):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
