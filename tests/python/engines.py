"""Runs scripts/ray_build.py on a Ray cluster of two machines, which are both this one, and kills what can be killed.

tests/suite/ray.rs prepares the folder and calls this in it.
"""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ.pop("RAY_ADDRESS", None)

import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts/ray_build.py"
TOOL = Path(sys.argv[1])
# What stands before the tool on the PATH of all workers, and does as the files in `moods` say.
STAND_IN = f"""#!/usr/bin/env python3
import os, sys, time
tool, moods = {str(TOOL)!r}, {os.path.abspath("moods")!r}
is_embed = sys.argv[1] == "embed"
if is_embed and os.path.exists(moods + "/slow"):
    time.sleep(3)
if is_embed and os.path.exists(moods + "/other"):
    sys.argv += ["--max-tokens=99"]
os.execv(tool, [tool, *sys.argv[1:]])
"""


def rows(path):
    """Of a file, or of all in a folder: by id, text, vector and kept values."""
    found = pq.read_table(path).to_pylist()
    by_id = {row.pop("id"): row for row in found}
    assert len(by_id) == len(found), f"{path}: ids are doubled"
    return by_id


def tool(*arguments, code=0):
    ran = subprocess.run([TOOL, *arguments], capture_output=True, text=True)
    assert ran.returncode == code, (arguments, ran)
    return ran
