"""Makes passages of exact lengths for scripts/bench/speed, from sentences of `fixtures/corpus` in random order."""

import json
import math
import random
import re
from pathlib import Path

EXPECTED = Path(__file__).resolve().parent.parent.parent / "fixtures/expected.jsonl"
# The languages, each with what separates its sentences.
LANGUAGES = {"en": " ", "zh": "", "ja": ""}
SENTENCE_END = re.compile(r"(?<=[。！？])|(?<=[.!?]) ")
# More characters than any token of this text has.
CHARACTERS_A_TOKEN = 12


def sentences(language):
    documents = map(json.loads, EXPECTED.read_text(encoding="utf-8").splitlines())
    texts = [document["text"] for document in documents if document["id"].startswith(f"{language}/")]
    return [part.strip() for text in texts for part in SENTENCE_END.split(text) if part.strip()]


def lengths(count, shortest, longest):
    """Returns log-uniform lengths: as many between one and two tokens as between two and four."""
    ratio = longest / shortest
    return [round(shortest * math.pow(ratio, (at + 0.5) / count)) for at in range(count)]


def passage(tokenizer, parts, between, tokens, dice):
    """Returns a text of exactly `tokens` tokens, including the end token."""
    while True:
        text = between.join(dice.sample(parts, len(parts)))[: tokens * CHARACTERS_A_TOKEN]
        found = tokenizer.decode(tokenizer.encode(text).ids[: tokens - 1]).strip()
        # The cut can split a character, and the tokens of a cut word can differ.
        if "\ufffd" not in found and len(tokenizer.encode(found).ids) == tokens:
            return found


def make_passages(tokenizer, count, shortest, longest):
    """Returns rows of `id`, `text` and `tokens`, with unique texts, in a seeded order of lengths and languages."""
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
