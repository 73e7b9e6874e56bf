"""Checks that README.md and README.zh-CN.md have the same commands, and runs those that can be run, in the working folder.

tests/suite/recipes.rs prepares the folder and calls this.
"""

import itertools
import subprocess
import sys
from pathlib import Path

import duckdb
from pages import blocks

# How lines begin that are not run here, and why.
LEFT_OUT = {
    "scripts/demo": "builds the program that is under test",
    "pip ": "tests/suite/install.rs installs the wheel",
    "qwen3-index model pull": "there is no hub but that of tests/suite/hub.rs",
    "MAILTO=": "belongs to cron",
    "QWEN3_INDEX_MODEL=": "belongs to cron",
    "0 2 * * *": "belongs to cron; tests/suite/nights.rs has the nights",
    "cp -rL": "needs a download from the hub",
    "scripts/packages qdrant": "scripts/test has done it",
    "PYTHONPATH=target/python/qdrant": "there is no server but that of tests/suite/qdrant.rs",
}
# What has another place or size here.
STANDS_FOR = {"--dim 256": "--dim 32"}


def lines(code):
    """Without prompts, and comments, which are in the language of the page."""
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
    assert best[0] == "docs/handbook.md" and abs(best[1] - 1) < 1e-5 and len(others) == 9, (best, others)


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
        # Blocks of the language `console` show what commands print.
        if language != "console":
            runners[language](block)
    everything = [line for _, block in page for line in block]
    gone = [start for start in LEFT_OUT if not any(line.startswith(start) for line in everything)]
    assert not gone, f"left out, but not on the page: {gone}"


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]))
