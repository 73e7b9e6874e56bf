"""Checks scripts/integrations/ray_build.py and docs/engines.md. tests/suite/ray.rs prepares a folder and calls one of the checks."""

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
COUNTS = re.compile(r"([\d,]+) documents: ([\d,]+) embedded, ([\d,]+) empty, ([\d,]+) failed")
STORE_BYTES = 100 << 20
# Ray notices a dead machine of the cluster after two seconds instead of ten.
ALERT = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
# A script that Ray runs in place of the tool. The file `mood` says what it does with `embed`.
STAND_IN = """#!{python}
import os, subprocess, sys, time
command = ["{tool}", *sys.argv[1:]]
mood = open("{folder}/mood").read() if command[1] == "embed" else ""
if mood == "other":
    # The first process describes the vectors to be made; later ones are workers.
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
            time.sleep(0.15)
        tool.stdin.write(read)
        tool.stdin.flush()
    tool.stdin.close()
    sys.exit(tool.wait())
os.execv(command[0], command)
"""


# Enough documents for several parts.
ARTICLES = 6000


def rows(path):
    """Returns the rows of a file by id."""
    found = pq.read_table(path).to_pylist()
    by_id = {row.pop("id"): row for row in found}
    assert len(by_id) == len(found), f"{path}: an id occurs twice"
    return by_id


def run(*command, code=0):
    """Runs a command and returns its messages."""
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran
    return ran.stderr


def ray_build(*arguments):
    return [sys.executable, ROOT / "scripts/integrations/ray_build.py", *arguments, "--model", MODEL]


def counts(said):
    """Returns the numbers of documents: all, embedded, empty, failed."""
    return [int(number.replace(",", "")) for number in COUNTS.search(said).groups()]


# --- The script, on a cluster of two simulated machines.


def cluster():
    from ray.cluster_utils import Cluster

    tool = shutil.which("qwen3-index")
    stand_in = Path("bin/qwen3-index").absolute()
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN.format(python=sys.executable, tool=tool, folder=Path.cwd()))
    stand_in.chmod(0o755)
    # Every process that Ray starts finds the script instead of the tool.
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
    """The cluster writes the rows of one machine. Some documents cannot be read, and one kills each process that embeds it."""
    articles = [{"id": f"article {number}", "text": f"About {number}. " * 8, "kept": "é"} for number in range(ARTICLES)]
    articles[3]["text"] = " "
    articles[5]["text"] = "About 5. " * 9 + "Poison: poison."
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
    assert len(list(Path("many").iterdir())) > 1, "only one part was written"
    run(tool, "inspect", "many", "--verify")


def refusals():
    """Each error is one line, and nothing is written."""
    before = sorted(os.listdir())
    there = run(*ray_build("docs", "-o", "many"), code=1)
    mood("other")
    other = run(*ray_build("docs", "-o", "refused", "--cpus", 1), code=1)
    nowhere = run(*ray_build("nowhere", "-o", "refused", "--cpus", 1), code=1)
    for said, part in (
        (there, "many: already exists"),
        (other, "(dim differ)"),
        (nowhere, "nowhere"),
    ):
        assert part in said and said.count("\n") == 1 and said.startswith("ray_build: "), said
    assert sorted(os.listdir()) == before, os.listdir()


def deaths(tool, end_second_machine):
    """A process that embeds, an actor and a machine die in one run, which still writes all rows."""
    run(tool, "build", "docs", "-o", "alone.parquet", "--model", MODEL)
    mood("slow")
    command = [str(part) for part in ray_build("docs", "-o", "survived", "--cpus", 1, "--readers", 16)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as building:
        wait_for(lambda: len(embedding()) == 3, building)
        one, other = list(embedding())[:2]
        for death in (
            lambda: os.kill(one, signal.SIGKILL),
            lambda: os.kill(embedding()[other], signal.SIGKILL),
            end_second_machine,
        ):
            death()
            time.sleep(1)
            assert building.poll() is None, "the run ended too early for the next death"
        _, said = building.communicate()
    assert building.returncode == 0, said
    assert rows("survived") == rows("alone.parquet")


def embedding():
    """Returns the process ids of the scripts that run `embed`, each with the id of its parent, the actor."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        # The tool that the script starts has another path.
        if str(Path("bin/qwen3-index").absolute()).encode() in command and b"embed" in command:
            found[int(process.name)] = parent
    return found


def wait_for(condition, building):
    while not condition():
        assert building.poll() is None, building.stderr.read()
        time.sleep(0.1)


# --- The page.


def page():
    """Runs the blocks of the page in order. A few lines here stand in for Slurm and Kubernetes."""
    sbatch = Path("bin/sbatch")
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/sh\nfor SLURM_ARRAY_TASK_ID in 0 1 2 3; do export SLURM_ARRAY_TASK_ID; bash "$2"; done\n')
    sbatch.chmod(0o755)
    os.environ["PATH"] = f"{sbatch.parent.absolute()}:{os.environ['PATH']}"
    os.environ["PYTHONPATH"] += f":{ROOT / 'scripts/integrations'}"
    run("qwen3-index", "build", "docs", "-o", "one.parquet")
    run("qwen3-index", "build", "articles.jsonl", "-o", "one-articles.parquet")
    for heading, language, code in blocks(ROOT / "docs/engines.md"):
        print(f"{heading}: {language}", flush=True)
        if language == "sh":
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], check=True)
        elif language == "yaml":
            indexed_job(yaml.safe_load(code))
        elif language == "python":
            Path("page.py").write_text(code, encoding="utf-8")
            subprocess.run([sys.executable, "page.py"], check=True)
        if "merge" in code:
            assert rows("vectors.parquet") == rows("one.parquet"), heading
            Path("vectors.parquet").unlink()
            shutil.rmtree("parts")
            Path("parts").mkdir()
    assert rows("articles.parquet") == rows("one-articles.parquet")


def indexed_job(job):
    [container] = job["spec"]["template"]["spec"]["containers"]
    Path("data").mkdir()
    Path("data/docs").symlink_to(Path("docs").absolute())
    command = [part.replace("/data/", "data/") for part in container["command"] + container["args"]]
    for index in range(job["spec"]["completions"]):
        subprocess.run(command, check=True, env=os.environ | {"JOB_COMPLETION_INDEX": str(index)})
    run("qwen3-index", "merge", "data/parts", "-o", "vectors.parquet")
    assert rows("vectors.parquet") == rows("one.parquet")
    Path("vectors.parquet").unlink()


if __name__ == "__main__":
    {"cluster": cluster, "page": page}[sys.argv[1]]()
