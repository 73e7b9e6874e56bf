"""Checks that README.md and README.zh-CN.md have the same commands, and runs those that can run, in the working folder.

tests/suite/recipes.rs prepares the folder and calls this.
"""

import itertools
import subprocess
import sys
from pathlib import Path

import duckdb
from pages import blocks

# Starts of lines that are not run here, with the reason.
LEFT_OUT = {
    "scripts/demo": "builds the program that is under test",
    "pip ": "tests/suite/install.rs installs the wheel",
    "qwen3-index model pull": "needs a hub; tests/suite/hub.rs has one",
    "MAILTO=": "belongs to cron",
    "QWEN3_INDEX_MODEL=": "belongs to cron",
    "0 2 * * *": "belongs to cron; tests/suite/nights.rs tests nights",
    "cp -rL": "needs a download from the hub",
    "qwen3-index push": "needs a server; tests/suite/qdrant.rs has one",
}
# Options that are replaced, since the tiny model has fewer dimensions.
STANDS_FOR = {"--dim 256": "--dim 32"}


def lines(code):
    """Returns the lines of a block without prompts, and without comments, which the translation translates."""
    return [line.removeprefix("$ ") for line in code.splitlines() if line and not line.startswith("--")]


def commands(page):
    return [(language, lines(code)) for _, language, code in blocks(page)]


def run_shell(block):
    code = "\n".join(line for line in block if not line.startswith(tuple(LEFT_OUT)))
    for text, other in STANDS_FOR.items():
        code = code.replace(text, other)
    print(code)
    subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)


def run_sql(block):
    [best, *others] = duckdb.sql("\n".join(block)).fetchall()
    assert best[0] == "handbook.md" and abs(best[1] - 1) < 1e-5 and len(others) == 9, (best, others)


def run_python(block):
    found = {}
    exec("\n".join(block), found)
    assert len(set(found["nearest"])) == 10, found["nearest"]


def run(page, translation):
    page, translation = commands(page), commands(translation)
    for block, translated in itertools.zip_longest(page, translation):
        assert block == translated, f"not the same commands: {block} {translated}"
    runners = {"": run_shell, "sql": run_sql, "python": run_python}
    for language, block in page:
        # A block of the language `console` shows output and is not run.
        if language != "console":
            runners[language](block)
    everything = [line for _, block in page for line in block]
    gone = [start for start in LEFT_OUT if not any(line.startswith(start) for line in everything)]
    assert not gone, f"left out, but not on the page: {gone}"


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
