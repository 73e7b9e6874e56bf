"""Checks scripts/integrations/to_qdrant.py for tests/suite/qdrant.rs, in the client's local mode and in Qdrant's engine.

tests/python/qdrant.py CHECK ARGUMENT...
"""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from unittest import mock

import duckdb
import numpy as np
import pyarrow
import pyarrow.parquet
from qdrant_client import QdrantClient, models
from qdrant_server import ENGINE, MEMORY, Server

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts/integrations/to_qdrant.py"
sys.path.insert(0, str(SCRIPT.parent))
import to_qdrant

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "qwen3-index")
KEY = "a key that nobody may see"
# Scores closer than this count as equal, since engines add numbers in different orders.
TIE = 1e-5


# --- The two places of collections.


class Local:
    """The client's local mode, in a folder."""

    def __init__(self, folder):
        self.where = ["--path", str(folder)]

    @contextlib.contextmanager
    def client(self):
        with contextlib.closing(QdrantClient(path=self.where[1])) as client:
            yield client


class Engine:
    """Qdrant's engine behind a URL."""

    def __init__(self, server):
        self.server, self.where = server, ["--url", server.url]

    @contextlib.contextmanager
    def client(self):
        yield QdrantClient(url=self.where[1], api_key=self.server.key, check_compatibility=False)


@contextlib.contextmanager
def served(key=None):
    server = Server(key)
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def places():
    with served() as server, tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield [Local(folder), Engine(server)]


# --- Running the script and reading collections.


def run(place, *arguments, code=0, collection="docs"):
    """Runs the script, asserts its exit code and that it does not print the key. Returns its messages."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            to_qdrant.main([*map(str, arguments), *place.where, "--collection", collection])
            ended = 0
        except SystemExit as ends:
            ended = ends.code
    said = said.getvalue()
    assert ended == code, (arguments, ended, said)
    assert KEY not in said, said
    return said


def refused(place, part, *arguments, **options):
    """Asserts that the script fails with exit code 1 and one line that contains `part`."""
    said = run(place, *arguments, code=1, **options)
    assert part in said and said.count("\n") == 1 and said.startswith("to_qdrant: "), (part, said)


def points(place, collection="docs"):
    with place.client() as client:
        records, more = client.scroll(collection, limit=1_000_000, with_payload=True, with_vectors=True)
        assert more is None
        return {record.id: (record.payload, record.vector) for record in records}


def rows(path):
    """Reads the rows of a file, with the fields that the script adds to chunks."""
    found = pyarrow.parquet.read_table(path).to_pylist()
    metadata = pyarrow.parquet.read_metadata(path).metadata[b"qwen3-index"]
    if b'"rows":"chunks"' in metadata:
        for row in found:
            row["document"], number = row["id"].rsplit("#", 1)
            row["chunk"] = int(number)
    return found


def expect_equal(place, wanted, collection="docs"):
    """Asserts that the points of a collection are these rows and no others."""
    there = points(place, collection)
    for row in wanted:
        payload, vector = there.pop(str(uuid.uuid5(NAMESPACE, row["id"])))
        expected = np.array(row["vector"], dtype=np.float64)
        assert np.abs(np.array(vector) - expected / np.linalg.norm(expected)).max() < 1e-6, row["id"]
        assert len(payload.pop("_digest")) == 32
        assert payload == {name: value for name, value in row.items() if name != "vector"}
    assert not there, list(there)


def change(place, call, *arguments, **options):
    with place.client() as client:
        return getattr(client, call)("docs", *arguments, **options)


def mark(place, state):
    """Sets the state of a collection, as a run does that got this far."""
    metadata = change(place, "get_collection").config.metadata["qwen3-index"]
    change(place, "update_collection", metadata={"qwen3-index": metadata | {"state": state}})


# --- The checks.


def loads(folder):
    """A file is loaded, loaded again without changes, and replaced by the next file."""
    old, new = rows(folder / "old.parquet"), rows(folder / "new.parquet")
    with places() as both:
        for place in both:
            assert f"{len(old):,} written, 0 deleted" in run(place, folder / "old.parquet")
            expect_equal(place, old)
            before = points(place)
            assert " 0 written, 0 deleted" in run(place, folder / "old.parquet")
            assert points(place) == before
            run(place, folder / "old.parquet", "--verify")
            assert run(place, folder / "new.parquet", "-q") == ""
            expect_equal(place, new)


def nights(folder):
    """A delta applied to Qdrant and one applied to DuckDB both give the new file."""
    old, delta, new = folder / "old.parquet", folder / "delta.parquet", folder / "new.parquet"
    duckdb.sql(f"CREATE TABLE documents AS SELECT * FROM '{old}'")
    # The statements of docs/nightly.md.
    duckdb.sql(f"DELETE FROM documents WHERE id IN (SELECT id FROM '{delta}')")
    duckdb.sql(f"INSERT INTO documents SELECT * EXCLUDE (op) FROM '{delta}' WHERE op <> 'removed'")
    in_duckdb = duckdb.sql("SELECT * FROM documents ORDER BY id").fetchall()
    assert in_duckdb == duckdb.sql(f"SELECT * FROM '{new}' ORDER BY id").fetchall()
    removed = sum(row["op"] == "removed" for row in rows(delta))
    counts = f"{len(rows(delta)) - removed:,} points written, {removed:,} deleted"
    start, end = to_qdrant.VectorFile(delta).start, to_qdrant.VectorFile(delta).end
    with places() as both:
        for place in both:
            run(place, old)
            assert counts in run(place, "--delta", delta)
            expect_equal(place, rows(new))
            assert "up to date" in run(place, "--delta", delta)
            # The state of a run that was killed just before its end.
            mark(place, f"{start}..{end}")
            assert " 0 points written" in run(place, "--delta", delta)
            run(place, new, collection="scratch")
            assert points(place) == points(place, "scratch")
            run(place, new, "--verify")

            # A night was missed, so the delta is refused. If the file is given too, the script compares it instead.
            run(place, old)
            mark(place, "of the night before")
            refused(place, "load the whole index", "--delta", delta)
            assert "points: " in run(place, new, "--delta", delta)
            expect_equal(place, rows(new))


def killed(folder):
    """A killed load resumes and writes only the missing points."""
    dies = f"""
import os, signal, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import to_qdrant
upsert, calls = to_qdrant.QdrantClient.upsert, []
def dying(*arguments, **options):
    calls.append(0)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return upsert(*arguments, **options)
to_qdrant.QdrantClient.upsert = dying
to_qdrant.main(sys.argv[1:])
"""
    old, delta, new = folder / "old.parquet", folder / "delta.parquet", folder / "new.parquet"

    def kill(place, *arguments):
        command = [sys.executable, "-c", dies, *arguments, *place.where, "--collection", "docs"]
        assert subprocess.run(command, check=False).returncode == -9

    with places() as both:
        for place in both:
            kill(place, old)
            there = len(points(place))
            assert 0 < there < len(rows(old)), there
            # --verify and --delta refuse the incomplete collection.
            refused(place, "missing", old, "--verify")
            refused(place, "load the whole index", "--delta", delta)
            assert f" {len(rows(old)) - there:,} written" in run(place, old)
            expect_equal(place, rows(old))
            if place is both[1]:
                assert place.server.points_written == len(rows(old))

            # A half-loaded new file is not the state that the delta starts from.
            kill(place, new)
            refused(place, "load the whole index", "--delta", delta)
            run(place, old)

            kill(place, "--delta", delta)
            refused(place, "outdated", new, "--verify")
            run(place, "--delta", delta)
            expect_equal(place, rows(new))


def verifies(folder):
    """--verify reports each difference between collection and file, and its advice works."""
    file = folder / "old.parquet"
    first = rows(file)[0]["id"]
    id = str(uuid.uuid5(NAMESPACE, first))
    nowhere = Local(folder / "nowhere")
    refused(nowhere, "there is no such folder", file, "--verify")
    assert not (folder / "nowhere").exists()
    with places() as both:
        for place in both:
            run(place, file)
            payload, vector = points(place)[id]

            def put(id=id, payload=payload, vector=vector, place=place):
                change(place, "upsert", [models.PointStruct(id=id, vector=vector, payload=payload)])

            change(place, "delete", [id])
            refused(place, f"1 missing ({first}); load the index", file, "--verify")
            run(place, file)
            put(id=str(uuid.uuid4()))
            refused(place, "1 too many; load the index", file, "--verify")
            assert "1 deleted" in run(place, file)
            put(payload=payload | {"_digest": "another"})
            refused(place, f"1 outdated ({first}); load the index", file, "--verify")
            run(place, file)
            assert "equal to" in run(place, file, "--verify")

            advice = f"1 altered ({first}); delete the collection"
            put(vector=[-number for number in vector])
            refused(place, advice, file, "--verify")
            put(payload=payload | {"text": "another"})
            refused(place, advice, file, "--verify")


def refuses(folder):
    """Wrong files, collections and options are refused in one line, and nothing is changed."""
    file, delta = folder / "old.parquet", folder / "delta.parquet"
    whole = file.read_bytes()
    (folder / "short.parquet").write_bytes(whole[: len(whole) // 2])
    # The footer is whole; some rows are zeros.
    (folder / "damaged.parquet").write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
    foreign = pyarrow.table({"id": ["a"]}).replace_schema_metadata({b"others": b"\xff"})
    pyarrow.parquet.write_table(foreign, folder / "foreign.parquet")
    bad = {
        "missing.parquet": "No such file",
        "short.parquet": "cannot read it",
        "damaged.parquet": "cannot read it",
        "foreign.parquet": "not an index of qwen3-index",
        "clash.parquet": "build without --keep _digest",
        "delta.parquet": "give it as --delta",
    }
    with places() as both:
        for place in both:
            for name, part in bad.items():
                refused(place, part, folder / name, collection="bad")
            refused(place, "no delta", "--delta", file)
            refused(place, "no such collection", file, "--verify")
            refused(place, "no such collection", "--delta", delta)
            run(place, file)
            before = points(place)
            refused(place, "another dimension", folder / "narrow.parquet")
            refused(place, "another instruction", folder / "instructed.parquet")
            refused(place, "another kind of rows", folder / "chunks.parquet")
            refused(place, "--on-disk", file, "--on-disk")
            refused(place, "--quantize", file, "--quantize")
            assert points(place) == before

            vectors = models.VectorParams(size=64, distance=models.Distance.COSINE)
            point = models.PointStruct(id=7, vector=[1.0] * 64, payload={})
            with place.client() as client:
                client.create_collection("others", vectors_config=vectors)
                client.upsert("others", [point])
            refused(place, "not made by to_qdrant.py", file, collection="others")
            assert list(points(place, "others")) == [7]

            for usage in ([], [file, "--verify", "--delta", delta], [file, "--batch", "7"]):
                run(place, *usage, code=2)
        local, engine = both
        with local.client():
            refused(local, "already accessed", file)
        run(engine, file, "--on-disk", "--quantize", collection="small")
        asked = engine.server.collections["small"].asked
        assert asked["vectors"]["on_disk"] and asked["quantization_config"]["scalar"]["type"] == "int8", asked
    refused(engine, "Connection refused", file)


def retries(folder):
    """Temporary faults are retried; other faults are not."""
    file = folder / "old.parquet"
    busy, dropped = (503, {}), None
    # The calls of a first load before it writes: exists, create, get, update, retrieve.
    until_upsert = [ENGINE] * 5
    passing = {
        "busy": ([busy, busy], [1, 2]),
        "limited": ([(429, {}), (429, {"Retry-After": "7"})], [1, 7]),
        "dropped": ([*until_upsert, dropped], [1]),
        "busy in the middle": ([*until_upsert, busy, busy, dropped], [1, 2, 4]),
    }
    lasting = {
        "another server": [(200, {})],
        "no right": [(403, {})],
        "bad request": [(400, {})],
        "bad request in the middle": [*until_upsert, (400, {})],
        "no date": [(429, {"Retry-After": "tomorrow"})] * 7,
        "busy for too long": [busy] * 7,
    }
    pauses = []
    with served(KEY) as server, mock.patch("time.sleep", pauses.append):
        engine = Engine(server)
        os.environ["QDRANT_API_KEY"] = KEY
        for name, (answers, wanted) in passing.items():
            pauses.clear()
            server.answers = list(answers)
            said = run(engine, file, collection=name)
            assert pauses == wanted and said.count("trying again") == len(wanted), (name, said)
            expect_equal(engine, rows(file), name)
        for name, answers in lasting.items():
            pauses.clear()
            server.answers = list(answers)
            run(engine, file, code=1, collection=name)
            # The script made exactly these calls.
            assert server.answers == [] and pauses == [1, 2, 4, 8, 16, 32] * (len(answers) == 7), (name, pauses)
        for key in ("another key", ""):
            pauses.clear()
            server.calls, os.environ["QDRANT_API_KEY"] = 0, key
            assert "QDRANT_API_KEY" in run(engine, file, code=1)
            assert server.calls == 1 and pauses == []


def agrees(file, questions, tool):
    """Qdrant's engine, its local mode, DuckDB and `search` find the same ten nearest rows for each question, except for ties."""
    with places() as (local, engine):
        run(local, file)
        run(engine, file)
        vectors = [line["vector"] for line in asked(tool, questions, "embed", "--query")]
        nearest = {
            "Qdrant's engine": in_qdrant(engine, vectors),
            "its local mode": in_qdrant(local, vectors),
            "DuckDB": in_duckdb(file, vectors),
            "search": in_search(tool, file, questions),
        }
    name, first = nearest.popitem()
    for other, lists in nearest.items():
        assert len(lists) == len(first) == len(vectors)
        alike = sum(expect_agreement(a, b) for a, b in zip(first, lists))
        print(f"{name} and {other}: {len(first)} questions, {alike} with the same ids in the same order")


def asked(tool, questions, *arguments):
    """Returns what the tool prints for a file of questions, one JSON object per question."""
    said = subprocess.run([tool, *arguments], stdin=questions.open(), stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def in_search(tool, file, questions):
    answers = asked(tool, questions, "search", file, "--questions", "-", "-k", "10", "--json")
    return [[(hit["id"], hit["score"]) for hit in answer["hits"]] for answer in answers]


def in_qdrant(place, vectors):
    """Returns ten ids with scores for each vector, the nearest first."""
    exact = models.SearchParams(exact=True)
    with place.client() as client:
        found = [client.query_points("docs", vector, limit=10, search_params=exact).points for vector in vectors]
    return [[(hit.payload["id"], hit.score) for hit in hits] for hits in found]


def in_duckdb(path, vectors):
    connection = duckdb.connect()
    connection.execute(f"CREATE TABLE rows AS SELECT id, vector::FLOAT[64] AS vector FROM '{path}'")
    nearest = "SELECT id, array_cosine_similarity(vector, ?::FLOAT[64]) AS score FROM rows ORDER BY score DESC LIMIT 10"
    return [connection.execute(nearest, [vector]).fetchall() for vector in vectors]


def expect_agreement(some, others):
    """Asserts equal scores at each place, and equal ids except for ties. Returns whether all ids are equal."""
    scores, last = dict(some), some[-1][1]
    assert len(some) == len(others) == 10
    for (id, score), (other, its_score) in zip(some, others):
        assert abs(score - its_score) <= TIE, (some, others)
        assert id == other or abs(scores.get(other, last) - score) <= 2 * TIE, (some, others)
    return [id for id, _ in some] == [id for id, _ in others]


def page(folder, tool):
    """Runs the blocks of docs/qdrant.md and checks their results."""
    text = (ROOT / "docs/qdrant.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    kinds = [kind for kind, _ in blocks]
    assert kinds == ["sh", "cron", "python", "python", "python"] and text.count("```") == 2 * len(kinds), kinds
    environment = os.environ | {"PATH": f"{tool.parent}:{os.environ['PATH']}"}

    def execute(command, text):
        text = text.replace("http://localhost:6333", engine.server.url).replace("/srv", str(folder))
        ran = subprocess.run([*command, text], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (text, ran.stderr)
        return ran.stdout

    with places() as (_, engine):
        execute(["bash", "-ec"], blocks[0][1])
        expect_equal(engine, rows(folder / "vectors.parquet"))
        said = execute([sys.executable, "-c"], "\n".join(code for kind, code in blocks if kind == "python"))
        assert " handbook.md: All that" in said and "Ada handbook.md" in said and "Bob" not in said, said
        (folder / "docs/more.md").write_text("a night later")
        (folder / "docs/handbook.md").unlink()
        execute(["bash", "-ec"], blocks[1][1].replace("0 2 * * * ", ""))
        there = rows(folder / "vectors.parquet")
        assert {row["id"] for row in there} == {"other.md", "more.md"}
        expect_equal(engine, there)


if __name__ == "__main__":
    globals()[sys.argv[1]](*map(Path, sys.argv[2:]))
