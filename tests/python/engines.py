"""What the tests of scripts/ray_build.py and of docs/engines.md do. tests/suite/ray.rs prepares a folder and calls one here."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import yaml
from pages import blocks

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = Path("model").absolute()
COUNTS = re.compile(r"[\d,]+ documents: [\d,]+ embedded, [\d,]+ empty, [\d,]+ failed")
# What Ray finds in place of the tool. It treats `embed` as the file `mood` says.
STAND_IN = """#!{python}
import os, subprocess, sys, time
command = ["{tool}", *sys.argv[1:]]
mood = open("{folder}/mood").read() if command[1] == "embed" else ""
if mood == "other":
    # The first one is to say what is made; those after it are workers.
    open("{folder}/mood", "w").write("another")
elif mood == "another":
    command += ["--dim=32"]
elif mood:
    tool = subprocess.Popen(command, stdin=subprocess.PIPE)
    seen = b""
    while read := os.read(0, 1024):
        seen = seen[-10:] + read
        if mood == "poison" and b"poison" in seen:
            os.kill(os.getpid(), 9)
        if mood == "slow":
            time.sleep(0.2)
        tool.stdin.write(read)
        tool.stdin.flush()
    tool.stdin.close()
    sys.exit(tool.wait())
os.execv(command[0], command)
"""


# Enough for several parts.
ARTICLES = 6000


def rows(path):
    """All columns but `id`, by that."""
    found = pq.read_table(path).to_pylist()
    by_id = {row.pop("id"): row for row in found}
    assert len(by_id) == len(found), f"{path}: ids are doubled"
    return by_id


def run(*command, code=0):
    """What a command says."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran
    assert not ran.stdout, ran.stdout
    return ran.stderr


def ray_build(*arguments):
    return [sys.executable, ROOT / "scripts/ray_build.py", *arguments, "--model", MODEL]


def counts(said):
    """Documents, and how many of them were embedded, empty, failed."""
    return [int(number.replace(",", "")) for number in COUNTS.search(said).groups()]


# --- The script, on a cluster of two machines, which are both this one.


def cluster():
    from ray.cluster_utils import Cluster

    tool = shutil.which("qwen3-index")
    stand_in = Path("bin/qwen3-index").absolute()
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN.format(python=sys.executable, tool=tool, folder=Path.cwd()))
    stand_in.chmod(0o755)
    # For all that Ray starts.
    os.environ["PATH"] = f"{stand_in.parent}:{os.environ['PATH']}"
    machines = Cluster()
    try:
        machines.add_node(num_cpus=2, include_dashboard=False, object_store_memory=STORE_BYTES, _system_config=ALERT)
        second = machines.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
        machines.wait_for_nodes()
        os.environ["RAY_ADDRESS"] = machines.address
        same_rows(tool)
        refusals()
        deaths(tool, lambda: machines.remove_node(second, allow_graceful=False))
    finally:
        machines.shutdown()


def mood(text):
    Path("mood").write_text(text, encoding="utf-8")


def same_rows(tool):
    """Of documents, some of which cannot be read, and one of which ends whoever embeds it."""
    articles = [{"id": f"article {number}", "text": f"About {number}. " * 8, "kept": "é"} for number in range(ARTICLES)]
    articles[3]["text"] = " "
    articles[5]["text"] = "Some poison. " * 9
    del articles[7]["text"]
    lines = [json.dumps(article) for article in [*articles, articles[0]]] + ["no JSON"]
    Path("articles.jsonl").write_text("\n".join(lines), encoding="utf-8")
    options = ["--dim", 32, "--max-tokens", 64, "--instruction", "Find it", "--keep", "kept"]
    alone = run(tool, "build", "docs", "articles.jsonl", "-o", "one.parquet", "--model", MODEL, *options, code=3)
    mood("poison")
    command = ray_build("docs", "articles.jsonl", "-o", "many", "--cpus", 1, "--readers", 3, "--part-mib", 1, *options)
    said = run(*command, code=3)
    one, many = rows("one.parquet"), rows("many")
    assert one.pop("article 5") and many == one, set(many) ^ set(one)
    documents, embedded, empty, failed = counts(alone)
    assert counts(said) == [documents, embedded - 1, empty, failed + 1], (alone, said)
    reasons = [line.split(": ", 2)[2] for line in said.splitlines() if "failed: " in line]
    assert len(reasons) == failed + 1 and sum("failed: article 5: " in line for line in said.splitlines()) == 1, said
    assert "SIGKILL" in said and "no JSON" not in said, said
    assert len(list(Path("many").iterdir())) > 1, "the parts were to be several"
    run(tool, "inspect", "many", "--verify", "--json")
