#!/usr/bin/env python3
"""Embeds documents on a Ray cluster, or on this machine, into a folder of Parquet files that together are one index.

    scripts/packages ray
    PYTHONPATH=target/python/ray scripts/integrations/ray_build.py ./docs -o vectors --model ./Qwen3-Embedding-0.6B-ONNX
    qwen3-index search vectors "a question"

docs/engines.md has the details. Ray Data moves the batches, and restarts tasks and actors that die. `qwen3-index` does the
work: `read` in each task of a Datasource, `embed --arrow` in each actor of a pool, `pack` in each task of a Datasink.
"""

import argparse
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

HAS_CLUSTER = "RAY_ADDRESS" in os.environ
# Ray reads these variables at import.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Seconds without progress after which Ray Data gives up. A CPU can take longer than the default of half an hour for a book.
os.environ.setdefault("RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S", "21600")
if not HAS_CLUSTER:
    # Makes Ray listen at 127.0.0.1 only, on Linux too: whoever reaches its ports can run any code.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray import cloudpickle
from ray.data import ActorPoolStrategy, DataContext, Datasink, Datasource
from ray.data.block import BlockMetadata
from ray.data.datasource import ReadTask
from ray.data.exceptions import ExecutionTimeoutError

import arrow_worker
from arrow_worker import ATTEMPTS, METADATA, ArrowWorker, Died, Failed, last_words

# Bytes of text per batch, some seconds of work. If a worker dies, its whole batch is embedded again.
BATCH_TEXT_BYTES = {"cpu": 512 << 10, "gpu": 2 << 20}
# Rows per batch, at most.
BATCH_ROWS = 4096
# How long to wait for a free worker before saying so.
WAIT_SECONDS = 60
# How long the cluster may take to answer.
REACH_SECONDS = 30
# Exit codes of the tool: success, and success except for some documents.
DONE = (0, 3)
# The only part if there are no documents.
EMPTY_PART = "part-00000.parquet"

# The options that the tool gets unchanged, and whether they take a value.
READING = {
    "endpoint": True,
    "id-field": True,
    "text-field": True,
    "keep": True,
    "include": True,
    "exclude": True,
    "hidden": False,
    "follow": False,
    "encoding": True,
    "max-document-mib": True,
    "max-document-seconds": True,
    "max-expansion": True,
}
EMBEDDING = {
    "model": True,
    "model-file": True,
    "offline": False,
    "dim": True,
    "instruction": True,
    "max-tokens": True,
    "device": True,
    "gpu-memory": True,
    "batch-tokens": True,
}


# --- What the tasks do.


def start(command, **options):
    """Starts a process of the tool. Returns it and the file with its stderr."""
    errors = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        return subprocess.Popen(command, stderr=errors, **options), errors
    except OSError as error:
        raise Failed(f"{error.filename}: {error.strerror}; put it on the PATH of every machine") from error


def failure(process, errors):
    """Returns an error: `Died` if a signal killed the process, so that another attempt may succeed, else `Failed`."""
    words = last_words(process, errors)
    return (Died if process.returncode < 0 else Failed)(words)


class Watched:
    """A file that notes whether a read went past its end. An Arrow stream in it then lacks its end marker."""

    closed = False

    def __init__(self, file):
        self.file, self.is_short = file, False

    def read(self, size):
        read = self.file.read(size)
        self.is_short |= len(read) < size
        return read


def read(command, folder, said):
    """Yields an empty batch, then the batches that `qwen3-index read` writes in a folder. Adds its warnings to `said`."""
    process, errors = start(command, cwd=folder, stdout=subprocess.PIPE)
    output = Watched(process.stdout)
    try:
        batches = pa.ipc.open_stream(output)
        yield pa.RecordBatch.from_pylist([], schema=batches.schema)
        yield from batches
        is_whole = not output.is_short and process.wait() in DONE
    except (OSError, pa.ArrowInvalid):
        is_whole = False
    finally:
        # Needed if the caller did not take all batches.
        process.kill()
    if not is_whole:
        raise failure(process, errors)
    errors.seek(0)
    lines = errors.read().decode(errors="replace").splitlines()
    said.extend(line.partition("warning: ")[2] for line in lines if line.startswith("qwen3-index: warning: "))


def regrouped(batches, text_bytes):
    """Yields the same rows in batches of another size, each with whether it is the last.

    The new batches depend on the rows alone. If Ray runs a task again, it takes single batches of the second run, so
    both runs must make the same batches.
    """
    group, rows, size = [], 0, 0
    for batch in batches:
        begin = 0
        for end, length in enumerate(pc.binary_length(batch["text"]).to_pylist(), start=1):
            rows, size = rows + 1, size + length
            if rows == BATCH_ROWS or size >= text_bytes:
                yield pa.concat_batches([*group, batch.slice(begin, end - begin)]), False
                group, rows, size, begin = [], 0, 0, end
        group.append(batch.slice(begin))
    yield pa.concat_batches(group), True


def read_share(command, folder, share, text_bytes):
    """Yields the batches of a share, each as a row of the dataset.

    A row has a digest of everything read before its batch, and another that includes the batch. If Ray runs a task again
    after the documents have changed, these digests do not match, and `check` notices.
    """
    done = 0
    for _ in range(ATTEMPTS):
        said, after = [], ""
        try:
            for number, (batch, is_last) in enumerate(regrouped(read(command, folder, said), text_bytes)):
                before, after = after, digest(after, batch)
                if number == done:
                    place = {"share": share, "number": number, "is_last": is_last, "documents": batch.num_rows}
                    yield row(place | {"before": before, "after": after, "said": "\n".join(said)}, batch)
                    done += 1
            return
        except Died as died:
            reason = died
    raise Failed(str(reason))


def digest(before, batch):
    return blake2b(f"{before} {batch.to_pydict()}".encode(errors="surrogatepass"), digest_size=16).hexdigest()


def row(place, batch):
    """Returns a row of the dataset. It holds a batch as an Arrow stream, so that Ray keeps its limits and its types."""
    written = pa.BufferOutputStream()
    with pa.ipc.new_stream(written, batch.schema) as out:
        out.write_batch(batch)
    cells = {name: [value] for name, value in place.items()}
    return pa.table({**cells, "batch": pa.array([written.getvalue().to_pybytes()], pa.large_binary())})


def places_and_batches(block):
    batches = (pa.ipc.open_stream(cell.as_buffer()).read_next_batch() for cell in block["batch"])
    return zip(block.drop_columns(["batch"]).to_pylist(), batches)


class Documents(Datasource):
    """The documents, in shares. A task reads a share."""

    def __init__(self, arguments, folder, shares, text_bytes):
        super().__init__()
        self.arguments, self.folder, self.shares, self.text_bytes = arguments, folder, shares, text_bytes

    def estimate_inmemory_data_size(self):
        return None

    def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
        return [self.task(share) for share in range(self.shares)]

    def task(self, share):
        command = ["qwen3-index", "read", f"--shard={share}/{self.shares}", *self.arguments]
        arguments = command, self.folder, share, self.text_bytes
        unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
        return ReadTask(lambda: read_share(*arguments), unknown)


class Embedder:
    """An actor. It keeps a process that has loaded the model."""

    def __init__(self, options, fingerprint):
        self.worker = ArrowWorker(options, fingerprint)

    def __call__(self, block):
        made = [row(place, self.embedded(batch)) for place, batch in places_and_batches(block)]
        return pa.concat_tables(made)

    def embedded(self, batch):
        return self.worker.embed(batch) if batch.num_rows else batch


@dataclass
class Written:
    """The result of a task that writes."""

    # The file name; `None` if there was no document.
    part: str | None
    # A row of the dataset for each batch in the file, without the batch itself.
    places: list[dict]
    embedded: int
    # Ids and reasons.
    failed: list[tuple[str, str]]


class Parts(Datasink):
    """The output files. A task writes one file; if Ray runs the task again, it replaces the file."""

    def __init__(self, folder, part_bytes):
        self.folder, self.part_bytes, self.written = folder, part_bytes, []

    @property
    def min_bytes_per_write(self):
        return self.part_bytes

    def write(self, blocks, ctx):
        found = [pair for block in blocks for pair in places_and_batches(block)]
        batches = [batch for _, batch in found if batch.num_rows]
        part = f"part-{ctx.task_idx:05}.parquet" if batches else None
        if batches:
            pack(batches[0].schema, batches, self.folder / part)
        failures = [batch.filter(batch["error"].is_valid()) for batch in batches]
        return Written(
            part,
            [place for place, _ in found],
            sum(batch.num_rows - batch["vector"].null_count for batch in batches),
            [pair for rows in failures for pair in zip(rows["id"].to_pylist(), rows["error"].to_pylist())],
        )

    def on_write_complete(self, write_result):
        # One result per task, however often it ran.
        self.written = write_result.write_returns


def pack(schema, batches, path):
    """Writes a part, first under a unique name: a task that Ray believes dead may be writing it too."""
    own = path.with_name(f"{secrets.token_hex(8)}.parquet")
    for _ in range(ATTEMPTS):
        process, errors = start(["qwen3-index", "pack", "-q", "--allow-empty", "-o", own], stdin=subprocess.PIPE)
        try:
            with process.stdin, pa.ipc.new_stream(process.stdin, schema) as out:
                for batch in batches:
                    out.write_batch(batch)
        except OSError:
            # Its exit code and its stderr say more.
            pass
        if process.wait() in DONE:
            own.replace(path)
            return
        reason = last_words(process, errors)
    raise Failed(reason)


# --- What the driver does.


def start_ray():
    # Ray Data logs into files as well. This script reports errors itself, in one line.
    logging.getLogger("ray.data").handlers = [
        handler for handler in logging.getLogger("ray.data").handlers if handler.name != "console"
    ]
    # Sends the module along, because other machines have no copy of it.
    cloudpickle.register_pickle_by_value(arrow_worker)
    quiet = {"logging_level": "error", "log_to_driver": False}
    if HAS_CLUSTER:
        reach(os.environ["RAY_ADDRESS"])
        ray.init(**quiet)
    else:
        ray.init("local", include_dashboard=False, **quiet)
    context = DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    # Raises the error itself instead of a wrapper that hides it.
    context.raise_original_map_exception = True
    # Replaces Ray's own handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Makes one block per batch.
    context.target_max_block_size = 1


def reach(address):
    """Fails if nothing answers at the address. Ray itself would keep trying for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as error:
        raise Failed(f"RAY_ADDRESS {address}: cannot be reached ({error}); check that the cluster is up") from error


def pool(arguments):
    """Returns the number of workers, and the CPUs and GPUs of each.

    By default there is one worker per GPU, or one per machine with all of its CPUs.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    if not machines:
        raise Failed("no machine of the cluster has a CPU; start a node with CPUs first")
    gpus = arguments.gpus
    if gpus is None:
        gpus = int(any(machine.get("GPU") for machine in machines))
    sizes = sorted({int(machine["CPU"]) for machine in machines})
    if len(sizes) > 1 and not gpus and not arguments.cpus:
        raise Failed(f"the machines have different numbers of CPUs ({sizes}); set those of a worker with --cpus")
    cpus = arguments.cpus or (1 if gpus else sizes[0])
    fit = [machine["CPU"] // cpus for machine in machines]
    if gpus:
        fit = [min(workers, machine.get("GPU", 0) // gpus) for workers, machine in zip(fit, machines)]
    return arguments.workers or max(1, int(sum(fit))), cpus, gpus


def what_is_made(options, cpus, gpus):
    """Returns the schema of the rows that `embed` makes. It asks a process on a machine that can run a worker."""

    def schema():
        worker = ArrowWorker(options)
        try:
            return worker.open(pa.schema([(name, pa.string()) for name in ("id", "text", "error")]))
        finally:
            worker.close()

    made = ray.remote(num_cpus=cpus, num_gpus=gpus)(schema).remote()
    if not ray.wait([made], timeout=WAIT_SECONDS)[0]:
        say(f"still waiting for a machine with {cpus} free CPUs and {gpus} free GPUs, or for the model to load")
    return ray.get(made)


def run(arguments, folder):
    """Writes the parts into a folder. Returns the results of the tasks."""
    start_ray()
    workers, cpus, gpus = pool(arguments)
    embedding = given(arguments, EMBEDDING)
    if arguments.cpus:
        embedding += ["--threads", str(cpus)]
    schema = what_is_made(embedding, cpus, gpus)
    fingerprint = json.loads(schema.metadata[METADATA])["fingerprint"]
    shares = arguments.readers or workers
    reading = [*given(arguments, READING), "--", *arguments.inputs]
    # Paths stay as given, because they can be part of ids.
    has_places = all(os.path.isabs(path) or "://" in path for path in arguments.inputs)
    folder_of_inputs = None if has_places else os.getcwd()
    text_bytes = BATCH_TEXT_BYTES["gpu" if gpus else "cpu"]
    documents = ray.data.read_datasource(
        Documents(reading, folder_of_inputs, shares, text_bytes),
        override_num_blocks=shares,
        concurrency=shares,
        num_cpus=0,
    )
    embedded = documents.map_batches(
        Embedder,
        fn_constructor_args=(embedding, fingerprint),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ActorPoolStrategy(size=workers),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    parts = Parts(folder, arguments.part_mib << 20)
    # `num_cpus: 0`: reading and writing use little CPU time, and must not wait for the CPUs that the workers hold.
    embedded.write_datasink(parts, concurrency=workers, ray_remote_args={"num_cpus": 0})
    check(parts.written, shares)
    if not any(task.part for task in parts.written):
        pack(schema, [], folder / EMPTY_PART)
    return parts.written


def check(written, shares):
    """Fails unless every batch that was read is in exactly one part."""
    places = [place for task in written for place in task.places]
    found = sorted((place["share"], place["number"], place["is_last"]) for place in places)
    count = Counter(place["share"] for place in places)
    whole = [(share, number, number + 1 == count[share]) for share in range(shares) for number in range(count[share])]
    if found != whole or len(count) != shares:
        raise Failed("Ray lost or duplicated batches; nothing is written; run it again")
    after = {(place["share"], place["number"]): place["after"] for place in places}
    if any(place["before"] != after.get((place["share"], place["number"] - 1), "") for place in places):
        raise Failed("documents changed while they were read; nothing is written; run it again")


def build(arguments):
    """Builds the index. Returns the results of the tasks, and the number of parts."""
    if "://" in arguments.output:
        raise Failed(f"{arguments.output}: -o takes a local folder; name one, and copy it afterwards")
    folder = Path(os.path.abspath(arguments.output))
    if os.path.lexists(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise Failed(f"{arguments.output}: already exists; remove it or name another folder with -o")
    for left in folder.parent.glob(f".{folder.name}.*.unfinished"):
        say(f"warning: {left}: left by a run that was killed, or in use by another run; remove it if there is none")
    # The folder gets its final name once it is complete.
    unfinished = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.unfinished")
    unfinished.mkdir()
    try:
        written = run(arguments, unfinished)
        parts = {task.part for task in written if task.part} or {EMPTY_PART}
        # A task that was killed can leave a file behind.
        for path in unfinished.iterdir():
            if path.name not in parts:
                path.unlink()
        unfinished.rename(folder)
    finally:
        ray.shutdown()
        shutil.rmtree(unfinished, ignore_errors=True)
    return written, len(parts)


def tell(written, parts, output):
    """Reports on the documents. Returns the exit code."""
    # Several shares can give the same warning.
    for line in sorted({line for task in written for place in task.places for line in place["said"].splitlines()}):
        say(f"warning: {line}")
    rows_failed = [failure for task in written for failure in task.failed]
    # A document without an id fails in every share.
    failed = list(dict.fromkeys(rows_failed))
    for id, why in failed:
        say(f"failed: {id}: {why}")
    rows = sum(place["documents"] for task in written for place in task.places)
    embedded = sum(task.embedded for task in written)
    empty, documents = rows - embedded - len(rows_failed), rows - len(rows_failed) + len(failed)
    say(f"{documents:,} documents: {embedded:,} embedded, {empty:,} empty, {len(failed):,} failed")
    say(f"{embedded:,} rows in {parts:,} parts in {output}")
    return 3 if failed else 0


def say(line):
    print(f"ray_build: {line}", file=sys.stderr, flush=True)


def reason(error):
    """Returns in one line why a task, or Ray itself, failed."""
    # Ray wraps the error of a task, and adds its stack to the text.
    cause = getattr(error, "cause", error)
    line = str(cause).split("\n")[0]
    return line if isinstance(cause, Failed) else f"{type(cause).__name__}: {line}"


def given(arguments, options):
    """Returns the given ones among some options, as the tool takes them."""
    values = [(name, vars(arguments)[name.replace("-", "_")]) for name in options]
    pairs = [
        (name, value) for name, value in values for value in (value if isinstance(value, list) else [value]) if value
    ]
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in pairs]


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="folders and files, as `qwen3-index build` takes them"
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to make; it must not exist")
    parser.add_argument("--workers", type=count, metavar="N", help="processes that embed; default: as many as fit")
    parser.add_argument("--readers", type=count, metavar="N", help="processes that read; default: one per worker")
    parser.add_argument(
        "--cpus", type=count, metavar="N", help="CPUs per worker; default: all of a machine, or 1 for a worker with a GPU"
    )
    parser.add_argument(
        "--gpus", type=int, choices=(0, 1), help="GPUs per worker; default: 1 if the cluster has any"
    )
    parser.add_argument("--part-mib", type=count, default=128, metavar="N", help="MiB of rows per file; default: 128")
    for title, options in (("as in qwen3-index read", READING), ("as in qwen3-index embed", EMBEDDING)):
        group = parser.add_argument_group(title)
        for name, has_value in options.items():
            group.add_argument(
                f"--{name}", **{"action": "append", "metavar": "…"} if has_value else {"action": "store_true"}
            )
    parsed = parser.parse_args(arguments)
    if "-" in parsed.inputs:
        parser.error("-: tasks have no standard input; name files or folders")
    parsed.model = parsed.model or [model for model in [os.environ.get("QWEN3_INDEX_MODEL")] if model]
    parsed.model = [os.path.abspath(model) if os.path.exists(model) else model for model in parsed.model]
    return parsed


def count(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def hush():
    """Silences Ray, which also logs into files. It would report every process that died and was replaced."""
    nowhere, told = os.open(os.devnull, os.O_WRONLY), os.dup(2)
    sys.stderr = os.fdopen(told, "w", buffering=1)
    os.dup2(nowhere, 2)
    # On a terminal, Ray shows its progress on stdout.
    if not os.isatty(told):
        os.dup2(nowhere, 1)


def main():
    arguments = parse(sys.argv[1:])
    hush()
    try:
        sys.exit(tell(*build(arguments), arguments.output))
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except (Failed, OSError, RuntimeError, ray.exceptions.RayError, ExecutionTimeoutError) as error:
        say(reason(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
