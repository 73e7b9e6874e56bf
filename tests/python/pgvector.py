"""Runs the blocks of docs/pgvector.md against PostgreSQL with pgvector, for tests/suite/pgvector.rs.

tests/python/pgvector.py CHECK VERSION TYPE-OF-VECTORS FOLDER ARGUMENT...
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path

import duckdb
from pages import blocks
from postgres import DUCKDB, served

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/pgvector.md"
KINDS = ["sh", "sql", "sql", "sql", "sh", "sql", "cron", "sql", "sql", "sql", "sql", "sql", "sql"]
# Scores closer than this count as equal, since engines add numbers in different orders.
TIE = 1e-5
# The same for a column of the type halfvec, to which PostgreSQL rounds the question too.
HALF_TIE = 1e-4


class Database:
    """A server, and the files of the page in a folder that stands for /srv."""

    def __init__(self, server, vector, folder):
        self.server, self.folder = server, folder
        self.tie = HALF_TIE if vector == "halfvec" else TIE

        def adapted(code):
            code = code.replace("/srv", str(folder)).replace("vector(1024)", f"{vector}(64)")
            return code.replace("vector_cosine_ops", f"{vector}_cosine_ops")

        page = [(kind, adapted(code)) for _, kind, code in blocks(PAGE)]
        assert [kind for kind, _ in page] == KINDS, page
        codes = [code for _, code in page]
        self.build, setup, rows, load, self.create_and_load, night, self.cron, *others = codes
        self.search, self.filtered, self.index, self.looks_further, chunks, self.best_chunks = others
        self.of_chunks = (setup.splitlines()[2], chunks)
        for name, code in {"setup": setup, "rows": rows, "load": load, "night": night}.items():
            assert code.startswith(f"-- {folder}/{name}.sql: "), code
            (folder / f"{name}.sql").write_text(code)

    def put(self, **files):
        for name, source in files.items():
            shutil.copyfile(self.folder / f"{source}.parquet", self.folder / f"{name}.parquet")

    def run(self, name, **options):
        return self.server.psql("-d", "search", "-f", self.folder / f"{name}.sql", **options)

    def sql(self, code):
        """Runs SQL and returns the lines of its answers."""
        (self.folder / "some.sql").write_text(code)
        ran = self.server.psql("-d", "search", "-qAt", "-v", "ON_ERROR_STOP=1", "-f", self.folder / "some.sql")
        return ran.stdout.split("\n")[:-1]

    def shell(self, code):
        ran = subprocess.run(
            ["bash", "-ec", code], env=self.server.environment, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, (code, ran)
        return ran

    def create(self):
        """Creates the table anew, with the columns of vectors.parquet."""
        self.sql("DROP TABLE IF EXISTS documents, documents_state")
        if "chunk" in columns(self.folder / "vectors.parquet"):
            setup = self.folder / "setup.sql"
            setup.write_text(setup.read_text().replace(*self.of_chunks))
        self.run("setup")

    def rows(self):
        found = [json.loads(line) for line in self.sql("SELECT to_json(documents) FROM documents")]
        return {row["id"]: row | {"vector": array("f", json.loads(row["vector"]))} for row in found}

    def expect(self, name):
        """Asserts that the table has the rows of a file, to the last bit, and that its state says so."""
        path = self.folder / f"{name}.parquet"
        assert self.rows() == rows(path)
        assert self.sql("SELECT content FROM documents_state") == [metadata(path)["qwen3-index.content"]]


def columns(path):
    return duckdb.sql(f"FROM '{path}'").columns


def rows(path):
    found = duckdb.sql(f"FROM '{path}'")
    named = (dict(zip(found.columns, row)) for row in found.fetchall())
    return {row["id"]: row | {"vector": array("f", row["vector"])} for row in named}


def metadata(path):
    return dict(duckdb.sql(f"SELECT decode(key), decode(value) FROM parquet_kv_metadata('{path}')").fetchall())


def counts(ran):
    """Returns how many rows of the table a run has deleted and inserted."""
    *_, deleted, inserted = [line for line in ran.stdout.splitlines() if line.startswith(("DELETE", "INSERT"))]
    return int(deleted.split()[-1]), int(inserted.split()[-1])


# --- The checks.


def follows(database):
    """The table equals the file after a load and after each night, and only what differs is written."""
    database.put(vectors="old")
    database.create()
    loaded = len(rows(database.folder / "old.parquet"))
    assert counts(database.run("load")) == (0, loaded)
    database.expect("old")
    assert counts(database.run("load")) == (0, 0)

    database.put(vectors="new", delta="changes")
    ops = [op for (op,) in duckdb.sql(f"SELECT op FROM '{database.folder}/changes.parquet'").fetchall()]
    wanted = len(ops) - ops.count("added"), len(ops) - ops.count("removed")
    assert min(ops.count(op) for op in ("added", "changed", "removed")) > 0, ops
    night = database.run("night")
    assert counts(night) == wanted and night.stderr == "", night
    database.expect("new")
    # The same delta again.
    assert database.run("night").stderr == ""
    database.expect("new")

    # A night was missed, and in another one there is no delta.
    for missing in (False, True):
        database.put(vectors="old")
        database.run("load")
        database.put(vectors="new")
        if missing:
            (database.folder / "delta.parquet").unlink()
        else:
            database.sql("UPDATE documents_state SET content = 'of the night before'")
        night = database.run("night")
        assert counts(night) == wanted and "the whole file is loaded" in night.stderr, night
        database.expect("new")


def survives(database):
    """A run that is killed, or whose DuckDB is killed, leaves the old rows. A second run waits for the first."""
    folder = database.folder
    database.put(vectors="old", delta="changes")
    database.create()
    database.run("load")
    database.put(vectors="new")
    # A `duckdb` that writes whole rows, but not all of them, and is killed. Or else it waits in between.
    stand_in = folder / "bin/duckdb"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f"""#!/bin/sh
[ "$1" = -f ] || exec {DUCKDB}/duckdb "$@"
if [ -z "$WAITS" ]; then
    {DUCKDB}/duckdb "$@" | head -n 50
    kill -9 $$
fi
touch {folder}/started
while [ ! -e {folder}/go ]; do sleep 0.02; done
exec {DUCKDB}/duckdb "$@"
"""
    )
    stand_in.chmod(0o755)
    with_stand_in = {"PATH": f"{stand_in.parent}:{database.server.environment['PATH']}"}

    def start(name, **environment):
        return subprocess.Popen(
            ["psql", "-X", "-q", "-d", "search", "-f", folder / f"{name}.sql"],
            env=database.server.environment | environment,
            start_new_session=True,
        )

    def start_and_wait(name):
        run = start(name, **with_stand_in, WAITS="1")
        wait_until(lambda: (folder / "started").exists() or run.poll() is not None)
        (folder / "started").unlink()
        return run

    for name in ("load", "night"):
        ran = database.run(name, code=3, environment=with_stand_in)
        assert "duckdb" in ran.stderr, ran
        database.expect("old")
        run = start_and_wait(name)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        database.expect("old")

    both = [start_and_wait("load"), start("load")]
    wait_until(lambda: database.sql("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted") == ["t"])
    (folder / "go").touch()
    assert [run.wait() for run in both] == [0, 0]
    database.expect("new")


def wait_until(ready):
    for _ in range(3000):
        if ready():
            return
        time.sleep(0.02)
    raise TimeoutError(ready)


def refuses(database):
    """Files that do not fit the table are refused, and the table stays."""
    database.put(vectors="old")
    database.create()
    database.run("load")

    def refused(part, name="load"):
        ran = database.run(name, code=3)
        assert part in ran.stderr, (part, ran)
        database.expect("old")

    database.put(vectors="swapped")
    refused("column name mismatch")
    database.put(vectors="narrow")
    refused("expected 64 dimensions, not 32")
    (database.folder / "vectors.parquet").unlink()
    refused("documents_state_content_check")
    refused("documents_state_content_check", "night")
    # The footer is whole; some rows are zeros.
    whole = (database.folder / "new.parquet").read_bytes()
    damaged = whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :]
    (database.folder / "vectors.parquet").write_bytes(damaged)
    refused("duckdb")


def agrees(database, questions, tool):
    """PostgreSQL, DuckDB and `search` find the same ten nearest rows for each question, except for ties."""
    file = database.folder / "vectors.parquet"
    database.create()
    database.run("load")
    vectors = [line["vector"] for line in asked(tool, questions, "embed", "--query")]
    answers = asked(tool, questions, "search", file, "--questions", "-", "-k", "10", "--json")
    in_search = [[(hit["id"], hit["score"]) for hit in answer["hits"]] for answer in answers]
    nearest = [
        ("PostgreSQL", in_postgres(database, vectors), database.tie),
        ("DuckDB", in_duckdb(file, vectors), TIE),
    ]
    for other, lists, tie in nearest:
        assert len(lists) == len(in_search) == len(vectors)
        alike = sum(expect_agreement(a, b, tie) for a, b in zip(in_search, lists))
        print(f"search and {other}: {len(vectors)} questions, {alike} with the same ids in the same order")


def asked(tool, questions, *arguments):
    """Returns what the tool prints for a file of questions, one JSON object per question."""
    said = subprocess.run([tool, *arguments], stdin=questions.open(), stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def in_postgres(database, vectors):
    """Returns ten ids with scores for each vector, the nearest first, by the search of the page."""
    _, _, search = database.search.split("\n", 2)
    lines = database.sql("".join(f"\\set question '{vector}'\n{search}" for vector in vectors))
    assert len(lines) == 10 * len(vectors)
    hits = [(id, float(score)) for id, score, _ in (line.split("|") for line in lines)]
    return [hits[start : start + 10] for start in range(0, len(hits), 10)]


def in_duckdb(path, vectors):
    nearest = f"SELECT id, list_cosine_similarity(vector::FLOAT[], ?::FLOAT[]) AS score FROM '{path}' ORDER BY score DESC LIMIT 10"
    return [duckdb.execute(nearest, [vector]).fetchall() for vector in vectors]


def expect_agreement(some, others, tie):
    """Asserts equal scores at each place, and equal ids except for ties. Returns whether all ids are equal."""
    scores, last = dict(some), some[-1][1]
    assert len(some) == len(others) == 10
    for (id, score), (other, its_score) in zip(some, others):
        assert abs(score - its_score) <= tie, (some, others)
        assert id == other or abs(scores.get(other, last) - score) <= 2 * tie, (some, others)
    return [id for id, _ in some] == [id for id, _ in others]


def page(database):
    """The commands of the page work from the first build to the search of the second night, with and without an index."""
    (database.folder / "docs/handbook.md").write_text("---\nauthor: Ada\nyear: 2020\n---\nAll that there is to know.")
    database.shell(database.build)
    database.shell(database.create_and_load)
    database.expect("vectors")
    assert database.sql(database.search)[0].split("|")[0] in ("handbook.md", "other.md")
    found = database.sql(database.search.replace("LIMIT 10", "LIMIT 0") + database.filtered)
    assert [line.split("|")[:2] for line in found] == [["handbook.md", "Ada"]], found

    (database.folder / "docs/more.md").write_text("A night later.")
    (database.folder / "docs/handbook.md").unlink()
    said = database.shell(database.cron.replace("0 2 * * * ", ""))
    assert said.stdout == said.stderr == "", said
    assert set(database.rows()) == {"other.md", "more.md"}
    database.expect("vectors")

    exact = database.sql(database.search)
    database.sql(database.index)
    # PostgreSQL would not use an index for so few rows.
    by_index = "SET enable_seqscan = off;\n" + database.looks_further + database.search
    assert database.sql(by_index) == exact
    plan = database.sql(by_index.replace("SELECT id", "EXPLAIN SELECT id"))
    assert "Index Scan using documents_vector_idx" in plan[1], plan


def chunks(database):
    """A table of chunks follows too, and the query for the best chunks returns each document once."""
    follows(database)
    there = list(database.rows().values())
    assert any(row["headings"] for row in there) and len({row["document"] for row in there}) < len(there)
    question = there[0]["vector"]
    best = {}
    for row in there:
        score = sum(a * b for a, b in zip(question, row["vector"]))
        best[row["document"]] = max(best.get(row["document"], -1), score)
    query = f"SELECT to_json(found) FROM ({database.best_chunks.rstrip().rstrip(';')}) AS found"
    found = [json.loads(line) for line in database.sql(f"\\set question '{list(question)}'\n{query}")]
    assert len({row["document"] for row in found}) == len(found) == 10, found
    for row, score in zip(found, sorted(best.values(), reverse=True)):
        assert abs(row["score"] - score) <= TIE and abs(best[row["document"]] - score) <= TIE, (row, score)
    heading = next(row["headings"][-1] for row in there if row["headings"])
    below = database.sql(f"SELECT count(*) FROM documents WHERE headings @> '{json.dumps([heading])}'")
    assert below == [str(sum(heading in row["headings"] for row in there))]


if __name__ == "__main__":
    check, version, vector, folder, *more = sys.argv[1:]
    with served(version) as server:
        globals()[check](Database(server, vector, Path(folder)), *map(Path, more))
