"""Checks `qwen3-index push qdrant` for tests/suite/qdrant.rs, against Qdrant's engine behind a URL.

tests/python/qdrant.py PROGRAM CHECK ARGUMENT...
"""

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import duckdb
import numpy as np
import pyarrow
import pyarrow.parquet
from qdrant_client import QdrantClient, models
from qdrant_server import ANSWER_LOST, ENGINE, Server

ROOT = Path(__file__).resolve().parent.parent.parent
TOOL = Path(sys.argv[1])

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "qwen3-index")
KEY = "a key that nobody may see"
# Scores closer than this count as equal, since engines add numbers in different orders.
TIE = 1e-5


class Place:
    """A server of the engine, and a client for it."""

    def __init__(self, key=None):
        self.server = Server(key)
        self.url = self.server.url

    @contextlib.contextmanager
    def client(self):
        yield QdrantClient(url=self.url, api_key=self.server.key, check_compatibility=False)


@contextlib.contextmanager
def served(key=None):
    place = Place(key)
    try:
        yield place
    finally:
        place.server.stop()


# --- Running the program and reading collections.


def command(place, *arguments, collection="docs"):
    return [str(TOOL), "push", "qdrant", place.url, *map(str, arguments), "--collection", collection]


def run(place, *arguments, code=0, collection="docs", key=None):
    """Runs the program, asserts its exit code and that it does not print the key. Returns its messages."""
    environment = os.environ | {"QDRANT_API_KEY": place.server.key or "" if key is None else key}
    whole = command(place, *arguments, collection=collection)
    ran = subprocess.run(whole, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == code, (arguments, ran.returncode, ran.stderr)
    assert KEY not in ran.stderr and ran.stdout == "", ran
    return ran.stderr


def refused(place, part, *arguments, **options):
    """Asserts that the program fails with exit code 1 and a last line that contains `part`."""
    said = run(place, *arguments, "-q", code=1, **options)
    assert part in said and said.count("\n") == 1 and said.startswith("qwen3-index: error: "), (part, said)


def points(place, collection="docs"):
    with place.client() as client:
        records, more = client.scroll(collection, limit=1_000_000, with_payload=True, with_vectors=True)
        assert more is None
        return {record.id: (record.payload, record.vector) for record in records}


def rows(path):
    return pyarrow.parquet.read_table(path).to_pylist()


def expect_equal(place, wanted, collection="docs"):
    """Asserts that the points of a collection are these rows and no others."""
    there = points(place, collection)
    for row in wanted:
        payload, vector = there.pop(str(uuid.uuid5(NAMESPACE, row["id"])))
        expected = np.array(row["vector"], dtype=np.float64)
        assert np.abs(np.array(vector) - expected / np.linalg.norm(expected)).max() < 1e-6, row["id"]
        assert len(payload.pop("_digest")) == 32
        grade = row.get("grade")
        # The engine reads some floats with another last digit.
        assert grade is None or math.isclose(payload.pop("grade"), row.pop("grade"), rel_tol=1e-15)
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
    with served() as place:
        assert f"{len(old):,} points written, 0 deleted" in run(place, folder / "old.parquet")
        expect_equal(place, old)
        before = points(place)
        assert " 0 points written, 0 deleted" in run(place, folder / "old.parquet")
        assert points(place) == before
        assert f"{len(old):,} points equal to" in run(place, folder / "old.parquet", "--verify")
        assert run(place, folder / "new.parquet", "-q") == ""
        expect_equal(place, new)


def old_chunks(file):
    """Rows of version 0.1.0, which knew no columns for the place of a chunk, get them in their payload."""
    with served() as place:
        run(place, file)
        for payload, _ in points(place).values():
            assert payload["id"] == f"{payload['document']}#{payload['chunk']}", payload


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
    metadata = pyarrow.parquet.read_metadata(delta).metadata
    start, end = (metadata[f"qwen3-index.{key}".encode()].decode() for key in ("from", "to"))
    with served() as place:
        run(place, old)
        assert counts in run(place, "--delta", delta)
        expect_equal(place, rows(new))
        before = place.server.points_written
        assert " 0 points written, 0 deleted" in run(place, "--delta", delta)
        # The state of a run that was killed just before its end.
        mark(place, f"{start}..{end}")
        assert " 0 points written" in run(place, "--delta", delta)
        assert place.server.points_written == before
        run(place, new, collection="scratch")
        assert points(place) == points(place, "scratch")
        run(place, new, "--verify")

        # A night was missed, so the delta is refused. If the index is named too, it is compared instead.
        run(place, old)
        mark(place, "of the night before")
        refused(place, "name the index too", "--delta", delta)
        assert " points written" in run(place, new, "--delta", delta)
        expect_equal(place, rows(new))
        # A delta of another night.
        run(place, old)
        assert " 0 points written" in run(place, old, "--delta", delta)
        expect_equal(place, rows(old))


def killed(folder):
    """A killed load resumes and writes only the missing points."""
    old, delta, new = folder / "old.parquet", folder / "delta.parquet", folder / "new.parquet"

    def kill(place, *arguments):
        place.server.hang_at_upsert(2)
        process = subprocess.Popen(command(place, *arguments), stderr=subprocess.DEVNULL)
        place.server.wait_until_hanging()
        process.kill()
        process.wait()
        place.server.go_on()

    with served() as place:
        kill(place, old)
        there = len(points(place))
        assert 0 < there < len(rows(old)), there
        # --verify and --delta refuse the incomplete collection.
        refused(place, "missing", old, "--verify")
        refused(place, "name the index too", "--delta", delta)
        assert f" {len(rows(old)) - there:,} points written" in run(place, old)
        expect_equal(place, rows(old))
        assert place.server.points_written == len(rows(old))

        # A half-loaded new file is not the state that the delta starts from.
        kill(place, new)
        refused(place, "name the index too", "--delta", delta)
        run(place, old)

        kill(place, "--delta", delta)
        refused(place, "outdated", new, "--verify")
        run(place, "--delta", delta)
        expect_equal(place, rows(new))


def other_columns(folder):
    """A column with another name reaches the collection, although the digest of the content does not cover names."""
    with served() as place:
        run(place, folder / "old.parquet")
        delta = folder / "delta.parquet"
        metadata = pyarrow.parquet.read_metadata(delta).metadata
        assert metadata[b"qwen3-index.from"] == metadata[b"qwen3-index.to"]
        assert " 0 points" not in run(place, folder / "new.parquet", "--delta", delta)
        expect_equal(place, rows(folder / "new.parquet"))


def overlaps(folder):
    """Of two loads at once, at least one fails, and the next run repairs the collection."""
    old, new = folder / "old.parquet", folder / "new.parquet"
    with served() as place:
        run(place, old)
        place.server.hang_at_upsert(1)
        slow = subprocess.Popen(command(place, new), stderr=subprocess.PIPE, text=True)
        place.server.wait_until_hanging()
        # What another run writes while the slow one waits.
        place.server.collections["docs"].metadata["qwen3-index"]["state"] = "?..another"
        place.server.go_on()
        _, said = slow.communicate()
        assert slow.returncode == 1 and "another run is changing it" in said, said
        assert change(place, "get_collection").config.metadata["qwen3-index"]["state"].startswith("?..")
        refused(place, "name the index too", "--delta", folder / "delta.parquet")
        run(place, new)
        expect_equal(place, rows(new))


def verifies(folder):
    """--verify reports each difference between collection and file, and its advice works."""
    file = folder / "old.parquet"
    first = rows(file)[0]["id"]
    id = str(uuid.uuid5(NAMESPACE, first))
    with served() as place:
        run(place, file)
        payload, vector = points(place)[id]

        def put(id=id, payload=payload, vector=vector):
            change(place, "upsert", [models.PointStruct(id=id, vector=vector, payload=payload)])

        change(place, "delete", [id])
        refused(place, f"1 missing ({first}); push the index again", file, "--verify")
        run(place, file)
        put(id=str(uuid.uuid4()))
        put(id=7)
        refused(place, "2 too many; push the index again", file, "--verify")
        assert "2 deleted" in run(place, file)
        put(payload=payload | {"_digest": "another"})
        refused(place, f"1 outdated ({first}); push the index again", file, "--verify")
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

    def damage(path, name):
        # The footer is whole; some rows are zeros.
        whole = path.read_bytes()
        (folder / name).write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])

    whole = file.read_bytes()
    (folder / "short.parquet").write_bytes(whole[: len(whole) // 2])
    damage(file, "damaged.parquet")
    damage(delta, "damaged delta.parquet")
    foreign = pyarrow.table({"id": ["a"]}).replace_schema_metadata({b"others": b"1"})
    pyarrow.parquet.write_table(foreign, folder / "foreign.parquet")
    bad = {
        "missing.parquet": "cannot be opened",
        "short.parquet": "cannot be read as an index",
        "damaged.parquet": "build it again",
        "foreign.parquet": "was not made by this tool",
        "clash.parquet": "build it without --keep _digest",
        "delta.parquet": "is a delta, not an index",
        ".": "is a folder",
    }
    with served() as place:
        for name, part in bad.items():
            refused(place, part, folder / name, collection="bad")
        refused(place, "is an index, not a delta", "--delta", file)
        refused(place, "there is no such collection; push an index", file, "--verify")
        refused(place, "there is no such collection; push an index", "--delta", delta)
        run(place, file)
        refused(place, "use the whole index instead", "--delta", folder / "damaged delta.parquet")
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
        refused(place, "not made by this program", file, collection="others")
        assert list(points(place, "others")) == [7]

        run(place, file, collection="two words, and ümlauts")
        place.server.keeps_metadata = False
        refused(place, "older than Qdrant 1.16; update the server", file, collection="old")
        assert "old" not in place.server.collections
        place.server.keeps_metadata = True
        # The server made the collection, but its answer was lost.
        place.server.answers = [ENGINE, ANSWER_LOST]
        run(place, file, collection="lost")
        expect_equal(place, rows(file), "lost")
        for usage in ([], [file, "--verify", "--delta", delta], ["--verify", "--delta", delta], [file, "--batch", "7"]):
            run(place, *usage, code=2)
        run(place, file, "--on-disk", "--quantize", collection="small")
        asked = place.server.collections["small"].asked
        assert asked["vectors"]["on_disk"] and asked["quantization_config"]["scalar"]["type"] == "int8", asked
    refused(place, "Connection refused", file)
    place.url = "localhost:6333"
    refused(place, "is not a URL; write it as http://", file)


def retries(folder):
    """Temporary faults are retried; other faults are not."""
    file = folder / "old.parquet"
    busy, dropped = (503, {"Retry-After": "0"}), None
    # The calls of a first load before it writes: exists, create, get, get, update, get, retrieve.
    until_upsert = [ENGINE] * 7
    passing = {
        "busy": ([busy, busy], ["0", "0"]),
        "limited": ([(429, {}), (429, {"Retry-After": "3"})], ["1", "3"]),
        "dropped": ([*until_upsert, dropped], ["1"]),
        "busy in the middle": ([*until_upsert, busy, busy, dropped], ["0", "0", "4"]),
    }
    lasting = {
        "no right": [(403, {})],
        "another server": [(200, {})],
        "moved": [(301, {"Location": "http://localhost:1/"})],
        "bad request": [(400, {})],
        "bad request in the middle": [*until_upsert, (400, {})],
        "busy for too long": [busy] * 6,
    }
    with served(KEY) as place:
        for name, (answers, wanted) in passing.items():
            place.server.answers = list(answers)
            said = run(place, file, collection=name)
            assert re.findall(r"trying again in (\d+) s", said) == wanted, (name, said)
            expect_equal(place, rows(file), name)
        for name, answers in lasting.items():
            place.server.answers = list(answers)
            said = run(place, file, code=1, collection=name)
            # The program made exactly these calls.
            assert place.server.answers == [] and said.count("trying again") == answers.count(busy) // 6 * 5, (name, said)
        for key in ("another key", ""):
            place.server.calls = 0
            assert "check QDRANT_API_KEY" in run(place, file, code=1, key=key)
            assert place.server.calls == 1


def agrees(file, questions):
    """Qdrant's engine, DuckDB and `search` find the same ten nearest rows for each question, except for ties."""
    with served() as place:
        run(place, file)
        vectors = [line["vector"] for line in asked(questions, "embed", "--query")]
        nearest = {
            "Qdrant's engine": in_qdrant(place, vectors),
            "DuckDB": in_duckdb(file, vectors),
            "search": in_search(file, questions),
        }
    name, first = nearest.popitem()
    for other, lists in nearest.items():
        assert len(lists) == len(first) == len(vectors)
        alike = sum(expect_agreement(a, b) for a, b in zip(first, lists))
        print(f"{name} and {other}: {len(first)} questions, {alike} with the same ids in the same order")


def asked(questions, *arguments):
    """Returns what the tool prints for a file of questions, one JSON object per question."""
    said = subprocess.run([TOOL, *arguments], stdin=questions.open(), stdout=subprocess.PIPE, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def in_search(file, questions):
    answers = asked(questions, "search", file, "--questions", "-", "-k", "10", "--json")
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


def page(folder):
    """Runs the blocks of docs/qdrant.md and checks their results."""
    text = (ROOT / "docs/qdrant.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    kinds = [kind for kind, _ in blocks]
    assert kinds == ["sh", "cron", "python", "python", "python"] and text.count("```") == 2 * len(kinds), kinds
    environment = os.environ | {"PATH": f"{TOOL.parent}:{os.environ['PATH']}"}

    def execute(command, text):
        text = text.replace("http://localhost:6333", place.url).replace("/srv", str(folder))
        ran = subprocess.run([*command, text], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, (text, ran.stderr)
        return ran.stdout

    with served() as place:
        execute(["bash", "-ec"], blocks[0][1])
        expect_equal(place, rows(folder / "vectors.parquet"))
        said = execute([sys.executable, "-c"], "\n".join(code for kind, code in blocks if kind == "python"))
        assert " handbook.md: All that" in said and "Ada handbook.md" in said and "Bob" not in said, said
        (folder / "docs/more.md").write_text("a night later")
        (folder / "docs/handbook.md").unlink()
        execute(["bash", "-ec"], blocks[1][1].replace("0 2 * * * ", ""))
        there = rows(folder / "vectors.parquet")
        assert {row["id"] for row in there} == {"other.md", "more.md"}
        expect_equal(place, there)


if __name__ == "__main__":
    globals()[sys.argv[2]](*map(Path, sys.argv[3:]))
