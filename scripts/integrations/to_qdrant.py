#!/usr/bin/env python3
"""Brings a Qdrant collection to the state of an index of `qwen3-index build`, or applies a delta of it to the collection.

    scripts/packages qdrant
    export PYTHONPATH=target/python/qdrant
    scripts/integrations/to_qdrant.py vectors.parquet --url http://localhost:6333 --collection docs

docs/qdrant.md has the details. The id of a point is derived from the id of its row, so writing a row twice makes one point.
Each point holds a digest of its row, and the script does not send a row again if the digest matches; so an interrupted
load continues where it stopped. The metadata of the collection says what its vectors are and which index it is equal to.
The script does not touch a collection without this metadata, since something else has made it.
"""

import argparse
import hashlib
import json
import os
import random
import sys
import time
import uuid
import warnings

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

# The key of the tool's metadata, in the file and in the collection.
OURS = "qwen3-index"
# A point's id is uuid5(NAMESPACE, id of the row).
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, OURS)
# The key of the row's digest in the payload.
DIGEST = "_digest"
# Settings that all rows of a collection must share.
KIND = {"model": "model", "dim": "dimension", "instruction": "instruction", "rows": "kind of rows"}

# Limits of a request, in rows and in bytes of Arrow. Numbers take five times as many bytes in JSON, and Qdrant accepts 32 MiB.
BATCH_ROWS, BATCH_BYTES = 256, 4 << 20
# Seconds to wait before each new attempt.
PAUSES = (1, 2, 4, 8, 16, 32)
TIMEOUT_SECONDS = 60
# How far a component may be off: Qdrant normalizes vectors again, which changes their last bits.
ROUNDING = 1e-5
# About how many vectors `--verify` compares.
SPOT_CHECKS = 1024
# How often to report progress where stderr is no terminal.
PROGRESS_SECONDS = 30

# What the client raises, in turn for a busy server, other errors of the server, no answer, and in its local mode.
TROUBLE = (QdrantException, UnexpectedResponse, ResponseHandlingException, OSError, ValueError)


class Failed(Exception):
    """An error that ends the run with exit code 1. Its text is one line."""


# --- Reading an index.


class VectorFile:
    """An index or a delta, read in batches."""

    def __init__(self, path):
        self.path = path
        try:
            self.file = pq.ParquetFile(path, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            raise self.unreadable(error) from error
        # The metadata of other programs may not be UTF-8.
        entries = (self.file.metadata.metadata or {}).items()
        metadata = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in entries}
        if OURS not in metadata:
            raise Failed(f"{path}: not an index of qwen3-index: its metadata has no key {OURS}")
        try:
            self.fingerprint = json.loads(metadata[OURS])["fingerprint"]
            self.has_chunks = self.fingerprint["rows"] == "chunks"
        except (ValueError, KeyError, TypeError) as error:
            raise Failed(f"{path}: made by another version of qwen3-index; build it again") from error
        self.rows = self.file.metadata.num_rows
        # An index has the digest of its rows; a delta has the digests before and after it.
        self.content = metadata.get(f"{OURS}.content")
        self.start, self.end = metadata.get(f"{OURS}.from"), metadata.get(f"{OURS}.to")
        self.kept = [name for name in self.file.schema_arrow.names if name not in ("id", "text", "vector")]
        if self.end is not None:
            self.kept.remove("op")
        if DIGEST in self.kept:
            raise Failed(f"{path}: the column {DIGEST} clashes with a payload key of this script; build without --keep {DIGEST}")
        # Versions before 0.2 wrote no such columns.
        self.adds_place = self.has_chunks and "document" not in self.kept

    def unreadable(self, error):
        return Failed(f"{self.path}: cannot read it: {getattr(error, 'strerror', None) or one_line(error)}")

    def batches(self, columns=None):
        try:
            for batch in self.file.iter_batches(BATCH_ROWS, columns=columns):
                yield from pieces(batch)
        except (OSError, pa.ArrowException) as error:
            raise self.unreadable(error) from error

    def ids(self):
        for batch in self.batches(["id"]):
            yield from map(point_id, batch["id"].to_pylist())

    def points(self, batch):
        # One array with a row per vector.
        numbers = batch["vector"].flatten().to_numpy().reshape(batch.num_rows, self.fingerprint["dim"])
        if numbers.dtype != np.float32:
            # Half floats and integers are rounded. The scale of the integers makes no difference to the direction.
            numbers = numbers.astype(np.float32)
            numbers /= np.linalg.norm(numbers, axis=1, keepdims=True)
        rows = batch.select(["id", "text", *self.kept]).to_pylist()
        return [self.point(row, vector) for row, vector in zip(rows, numbers)]

    def point(self, payload, vector):
        if self.adds_place:
            document, chunk = payload["id"].rsplit("#", 1)
            payload |= {"document": document, "chunk": int(chunk)}
        written = json.dumps(payload, sort_keys=True).encode() + vector.tobytes()
        payload[DIGEST] = hashlib.blake2b(written, digest_size=16).hexdigest()
        return models.PointStruct(id=point_id(payload["id"]), vector=vector.tolist(), payload=payload)


def pieces(batch):
    """Yields a batch in pieces that each fit a request."""
    if batch.num_rows < 2 or batch.nbytes <= BATCH_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from pieces(batch.slice(0, half))
    yield from pieces(batch.slice(half))


def point_id(row):
    return str(uuid.uuid5(NAMESPACE, row))


# --- Writing a collection.


class Collection:
    """A collection, behind a client that tries again."""

    def __init__(self, client, name, where):
        self.client, self.name, self.where = client, name, where
        self.is_reached = False

    def call(self, method, **arguments):
        for pause in (*PAUSES, None):
            try:
                result = getattr(self.client, method)(collection_name=self.name, **arguments)
            except TROUBLE as error:
                cause, may_pass = self.judge(error)
                if not may_pass or pause is None:
                    raise self.refused(cause) from error
                # A busy server says how long to wait.
                pause = max(pause, getattr(error, "retry_after_s", 0))
                say(f"{self.where}: {cause}; trying again in {pause} s")
                time.sleep(pause)
            else:
                self.is_reached = True
                return result

    def judge(self, error):
        """Returns what went wrong, and whether another attempt may succeed."""
        if isinstance(error, QdrantException):
            return f"the server is busy: {one_line(error)}", True
        if isinstance(error, UnexpectedResponse):
            if error.status_code in (401, 403):
                return "the API key is missing or not accepted; set QDRANT_API_KEY", False
            try:
                cause = error.structured()["status"]["error"]
            except (ValueError, KeyError, TypeError):
                cause = error.reason_phrase
            may_pass = error.status_code in (408, 429) or error.status_code >= 500
            return f"the server answers {error.status_code}: {one_line(cause)}", may_pass
        source = getattr(error, "source", error)
        if isinstance(source, httpx.TransportError):
            # If nothing has ever answered, the server is not running.
            may_pass = self.is_reached or not isinstance(source, httpx.ConnectError)
            return f"no answer: {one_line(source) or type(source).__name__}", may_pass
        if isinstance(source, json.JSONDecodeError) or source is not error:
            return f"the answer is not from Qdrant's REST API: {one_line(source)}", False
        return one_line(source), False

    def open(self, file, options, may_create):
        """Creates the collection if needed. Fails if something else made it, or if its vectors are of another kind."""
        if not self.call("collection_exists"):
            if not may_create:
                raise self.refused("there is no such collection; load an index first")
            self.create(file, options)
        metadata = (self.call("get_collection").config.metadata or {}).get(OURS)
        if metadata is None:
            raise self.refused("not made by to_qdrant.py, or the server is older than Qdrant 1.16; give another --collection")
        self.state, self.options = metadata["state"], metadata["options"]
        for name, title in KIND.items():
            if metadata["fingerprint"].get(name) != file.fingerprint.get(name):
                raise self.refused(f"has another {title} than {file.path}; give another --collection")
        for name, value in options.items():
            if value and not self.options[name]:
                raise self.refused(f"was made without --{name.replace('_', '-')}; give another --collection")

    def refused(self, why):
        return Failed(f"{self.where}: {why}")

    def create(self, file, options):
        dim, cosine = file.fingerprint["dim"], models.Distance.COSINE
        # Qdrant keeps the original vectors beside these.
        int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        metadata = {"fingerprint": file.fingerprint, "state": "", "options": options}
        self.call(
            "create_collection",
            vectors_config=models.VectorParams(size=dim, distance=cosine, on_disk=options["on_disk"]),
            quantization_config=models.ScalarQuantization(scalar=int8) if options["quantize"] else None,
            metadata={OURS: metadata},
        )

    def mark(self, state, file):
        """Records the index that the collection is equal to, as `content`, or the two that it is between, as `before..after`."""
        metadata = {"fingerprint": file.fingerprint, "state": state, "options": self.options}
        self.call("update_collection", metadata={OURS: metadata})

    def records(self, points, **parts):
        """Returns the records that the collection has under the ids of some points, by id."""
        ids = [point.id for point in points]
        return {record.id: record for record in self.call("retrieve", ids=ids, **parts)} if ids else {}

    def put(self, points):
        """Writes the points that the collection lacks or has with another digest. Returns how many."""
        there = self.records(points, with_payload=[DIGEST], with_vectors=False)
        digests = {id: record.payload.get(DIGEST) for id, record in there.items()}
        points = [point for point in points if digests.get(point.id) != point.payload[DIGEST]]
        if points:
            self.call("upsert", points=points, wait=True)
        return len(points)

    def delete(self, ids):
        if ids:
            self.call("delete", points_selector=ids, wait=True)
        return len(ids)

    def delete_all_but(self, ids):
        deleted, offset = 0, None
        while True:
            records, offset = self.call(
                "scroll", limit=BATCH_ROWS, offset=offset, with_payload=False, with_vectors=False
            )
            deleted += self.delete([record.id for record in records if record.id not in ids])
            if offset is None:
                return deleted

    def count(self):
        return self.call("count", exact=True).count


def connect(arguments):
    try:
        if arguments.path:
            # The client would create the folder.
            if arguments.verify and not os.path.isdir(arguments.path):
                raise Failed(f"{arguments.path}: there is no such folder")
            return QdrantClient(path=arguments.path)
        key = os.environ.get("QDRANT_API_KEY") or None
        return QdrantClient(url=arguments.url, api_key=key, timeout=TIMEOUT_SECONDS, check_compatibility=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise Failed(f"{arguments.path or arguments.url}: {one_line(error)}") from error


# --- The commands.


def bring(collection, file, delta, progress):
    """Brings the collection to the state of the index, by the delta if that starts from the collection's state."""
    if delta and (file is None or delta.end == file.content):
        if collection.state == delta.end:
            return "up to date"
        if collection.state in (delta.start, f"{delta.start}..{delta.end}"):
            return apply(collection, delta, progress)
    if file is None:
        raise Failed(f"{delta.path}: does not start from the state of {collection.where}; load the whole index")
    return load(collection, file, progress)


def load(collection, file, progress):
    written = deleted = 0
    # `?`: no delta can start from a load that is not complete.
    collection.mark(f"?..{file.content}", file)
    for batch in file.batches():
        written += collection.put(file.points(batch))
        progress(batch.num_rows)
    count = collection.count()
    # Every row of the index has its point by now, so any further points have no row.
    if count > file.rows:
        deleted = collection.delete_all_but(set(file.ids()))
    if count - deleted != file.rows:
        raise collection.refused(f"{count - deleted} points for {file.rows} rows; stop what else writes to it and run again")
    collection.mark(file.content, file)
    return f"{file.rows:,} points: {written:,} written, {deleted:,} deleted"


def apply(collection, delta, progress):
    written = deleted = 0
    collection.mark(f"{delta.start}..{delta.end}", delta)
    for batch in delta.batches():
        is_removed = pc.equal(batch["op"], "removed")
        deleted += collection.delete([point_id(row) for row in batch.filter(is_removed)["id"].to_pylist()])
        written += collection.put(delta.points(batch.filter(pc.invert(is_removed))))
        progress(batch.num_rows)
    collection.mark(delta.end, delta)
    return f"{written:,} points written, {deleted:,} deleted"


def verify(collection, file, progress):
    """Compares the number of points, the digest of each point, and payload and vector of some."""
    missing, outdated, altered = [], [], []
    stride = max(1, file.rows // SPOT_CHECKS)
    first = random.randrange(stride)
    for number, batch in enumerate(file.batches()):
        is_spot = number % stride == first
        points = file.points(batch)
        there = collection.records(points, with_payload=is_spot or [DIGEST], with_vectors=is_spot)
        for point in points:
            row, record = point.payload["id"], there.get(point.id)
            if record is None:
                missing.append(row)
            elif record.payload.get(DIGEST) != point.payload[DIGEST]:
                outdated.append(row)
            elif is_spot and not is_alike(point, record):
                altered.append(row)
        progress(batch.num_rows)
    surplus = collection.count() - (file.rows - len(missing))
    named = {"missing": missing, "outdated": outdated, "altered": altered}
    found = [f"{len(rows):,} {what} ({rows[0]})" for what, rows in named.items() if rows]
    found += [f"{surplus:,} too many"] if surplus else []
    if found:
        # A point with the right digest would not be written again.
        advice = "delete the collection and load the index" if altered else "load the index"
        raise collection.refused(f"differs from {file.path}: {', '.join(found)}; {advice}")
    return f"{file.rows:,} points, equal to {file.path}"


def is_alike(point, record):
    differences = (abs(a - b) for a, b in zip(record.vector, point.vector))
    return record.payload == point.payload and max(differences) <= ROUNDING


# --- Messages and arguments.


class Progress:
    """Reports how many rows are done: in one changing line on a terminal, else in a line now and then."""

    def __init__(self, total, is_quiet):
        self.total, self.is_quiet = total, is_quiet
        self.done, self.told = 0, time.monotonic()

    def __call__(self, rows):
        self.done += rows
        is_terminal = sys.stderr.isatty()
        if self.is_quiet or time.monotonic() - self.told < (0.1 if is_terminal else PROGRESS_SECONDS):
            return
        self.told = time.monotonic()
        say(f"{self.done:,} of {self.total:,} rows", end="\r" if is_terminal else "\n")


def say(line, end="\n"):
    erase = "\x1b[K" if sys.stderr.isatty() else ""
    print(f"{erase}to_qdrant: {line}", end=end, file=sys.stderr, flush=True)


def one_line(error):
    return " ".join(str(error).split())


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="QDRANT_API_KEY has the API key.")
    parser.add_argument("file", nargs="?", help="the index that the collection is to equal")
    parser.add_argument("--delta", help="applied if it starts from the state of the collection; else FILE is loaded")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--url", help="the server, such as http://localhost:6333")
    place.add_argument("--path", help="a folder for the client's local mode, without a server")
    parser.add_argument("--collection", required=True, help="its name; created if it does not exist")
    parser.add_argument("--on-disk", action="store_true", help="create it with vectors on disk instead of in memory")
    parser.add_argument("--quantize", action="store_true", help="create it with 8-bit vectors in memory to search first")
    parser.add_argument("--verify", action="store_true", help="write nothing, compare the collection with FILE")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but warnings and failures")
    parsed = parser.parse_args(arguments)
    if parsed.file is None and parsed.delta is None:
        parser.error("give FILE, --delta or both")
    if parsed.verify and (parsed.file is None or parsed.delta):
        parser.error("--verify needs FILE and no --delta")
    return parsed


def read(path, is_delta):
    file = path and VectorFile(path)
    if file and (file.end is not None) != is_delta:
        raise Failed(f"{path}: is {'no delta' if is_delta else 'a delta; give it as --delta'}")
    return file


def run(arguments):
    file, delta = read(arguments.file, is_delta=False), read(arguments.delta, is_delta=True)
    options = {"on_disk": arguments.on_disk, "quantize": arguments.quantize}
    client = connect(arguments)
    try:
        where = f"collection {arguments.collection} at {arguments.path or arguments.url}"
        collection = Collection(client, arguments.collection, where)
        # A delta that starts from an index needs the points of that index.
        may_create = not (arguments.verify or file is None and delta.start)
        collection.open(file or delta, options, may_create)
        progress = Progress((file or delta).rows, arguments.quiet)
        if arguments.verify:
            done = verify(collection, file, progress)
        else:
            done = bring(collection, file, delta, progress)
    finally:
        client.close()
    if not arguments.quiet:
        say(f"{where}: {done}")


def main(arguments=None):
    warnings.showwarning = lambda message, *_: say(f"warning: {one_line(message)}")
    try:
        run(parse(arguments))
    except Failed as failed:
        say(failed)
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted; run it again to continue")
        sys.exit(130)


if __name__ == "__main__":
    main()
