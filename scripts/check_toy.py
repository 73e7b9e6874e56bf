#!/usr/bin/env python3
"""Shows what `fixtures/qwen3-toy` finds: searches the corpus for the answers to the 40 questions with qwen3-index, and counts
for how many their document comes first, and among the first three. Exit code 1 where the latter are fewer than nine of ten.

    cargo build --release
    scripts/check_toy.py [PROGRAM]
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PROGRAM = sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "target/release/qwen3-index"
FIXTURES = REPOSITORY / "fixtures"
NEEDED = 0.9


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run(*arguments, **options):
    """What qwen3-index prints; a warning is a failure here too."""
    command = [PROGRAM, *arguments, "--model", FIXTURES / "qwen3-toy", "--device", "cpu"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if ran.returncode or ran.stderr:
        sys.exit(f"{ran.stderr}check_toy: {' '.join(map(str, command))}: exit code {ran.returncode}")
    return ran.stdout


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
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "documents.parquet"
        run("build", FIXTURES / "corpus", "-o", index, "-q")
        asked = "\n".join(row["question"] for row in questions)
        answers = run("search", index, "--questions", "-", "-k", "1000", "--json", input=asked).splitlines()
    found = [[hit["id"] for hit in json.loads(answer)["hits"]] for answer in answers]
    places = [ids.index(row["id"]) for row, ids in zip(questions, found, strict=True)]
    for row, at in zip(questions, places, strict=True):
        if at >= 3:
            print(f"{row['id']} is number {at + 1} for: {row['question']}")
    if print_table(questions, places) < NEEDED:
        sys.exit(f"check_toy: fewer than {NEEDED:.0%} find their document among the first three")


if __name__ == "__main__":
    main()
