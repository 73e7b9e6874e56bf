#!/usr/bin/env python3
"""Shows what `fixtures/qwen3-toy` finds: embeds the corpus and the 40 questions with qwen3-index, and counts for how many
their document comes first, and among the first three. Exit code 1 where the latter are fewer than nine of ten.

    cargo build --release && scripts/packages readers
    PYTHONPATH=target/python/readers scripts/check_toy.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = REPOSITORY / "target/release/qwen3-index"
FIXTURES = REPOSITORY / "fixtures"
RETRIEVAL = "Given a web search query, retrieve relevant passages that answer the query"
NEEDED = 0.9


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def vectors(source, out, *options):
    """Vectors by id, as qwen3-index makes them."""
    import pyarrow.parquet

    # Its output is shown only when it fails: a warning is a failure here too.
    command = [PROGRAM, "build", source, "-o", out, "--model", FIXTURES / "qwen3-toy", "-q", *options]
    ran = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if ran.returncode or ran.stderr:
        sys.exit(f"{ran.stderr}check_toy: {' '.join(map(str, command))}: exit code {ran.returncode}")
    columns = pyarrow.parquet.read_table(out).to_pydict()
    return dict(zip(columns["id"], columns["vector"], strict=True))


def place(question, document, documents):
    """How many documents are nearer to a question than the one that answers it."""

    def similarity(vector):
        return sum(a * b for a, b in zip(question, vector, strict=True))

    own = similarity(documents[document])
    return sum(similarity(vector) > own for vector in documents.values())


def print_table(questions, places):
    """How many questions find their document, by language. Gives back the share among the first three."""
    print(f"{'language':10} {'questions':>9} {'first':>6} {'top 3':>6}")
    for language in [*dict.fromkeys(row["language"] for row in questions), "all"]:
        own = [at for row, at in zip(questions, places, strict=True) if language in (row["language"], "all")]
        first, top3 = sum(at < 1 for at in own), sum(at < 3 for at in own)
        print(f"{language:10} {len(own):9} {first:6} {top3:6}", flush=True)
    return top3 / len(own)


def main():
    questions = read_jsonl(FIXTURES / "questions.jsonl")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        asked = [json.dumps({"id": number, "text": row["question"]}) for number, row in enumerate(questions)]
        (folder / "questions.jsonl").write_text("\n".join(asked) + "\n", encoding="utf-8")
        documents = vectors(FIXTURES / "corpus", folder / "documents.parquet")
        of_questions = vectors(folder / "questions.jsonl", folder / "asked.parquet", "--instruction", RETRIEVAL)
    places = [place(of_questions[str(number)], row["id"], documents) for number, row in enumerate(questions)]
    for row, at in zip(questions, places, strict=True):
        if at >= 3:
            print(f"{row['id']} is number {at + 1} for: {row['question']}")
    if print_table(questions, places) < NEEDED:
        sys.exit(f"check_toy: fewer than {NEEDED:.0%} find their document among the first three")


if __name__ == "__main__":
    main()
