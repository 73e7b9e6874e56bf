"""Keeps a process of `qwen3-index embed --arrow`, for engines that call a Python function with one batch after another.

    worker = ArrowWorker(["--model", "./Qwen3-Embedding-0.6B-ONNX"])
    rows_with_vectors = worker.embed(rows)

scripts/integrations/ray_build.py uses it for Ray, docs/engines.md for Daft. It needs pyarrow, and `qwen3-index` on the PATH.

A process that dies is started again, and its batch sent again. A batch that has ended it twice is halved, down to a row,
which then has an error in place of its vector, as any row that cannot be embedded. One thread at a time may use a worker.
"""

import json
import signal
import subprocess
import tempfile

import pyarrow as pa

# The key of the schema's metadata that says what the vectors depend on.
METADATA = b"qwen3-index"
# How often a batch is sent, or the model loaded, before it is given up.
ATTEMPTS = 2
# Rows with which the process ended, one after the other: more of them are not the rows' fault.
FATAL_ROWS_MAX = 8
# For a process that has closed its output to be gone.
END_SECONDS = 10


class Failed(Exception):
    """What another attempt does not mend, in one line."""


class Died(Exception):
    """The process ended before it had answered."""


def last_words(process, errors):
    """Why a process of the tool has ended, in a line: what it wrote into a file, or the signal."""
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    errors.seek(0)
    lines = [line for line in errors.read().decode(errors="replace").splitlines() if "error: " in line]
    errors.close()
    code = process.returncode
    if code < 0:
        return f"{process.args[0]} {process.args[1]}: was ended by {signal.Signals(-code).name}"
    return lines[-1].removeprefix("qwen3-index: ") if lines else f"{process.args[0]} {process.args[1]}: ended with exit code {code}"


class ArrowWorker:
    """Embeds record batches with a column `text`."""

    def __init__(self, options=(), fingerprint=None):
        """Options of `qwen3-index embed`, and what its vectors must depend on, where others have made some already."""
        self.command = ["qwen3-index", "embed", "--arrow", *options]
        self.fingerprint = fingerprint
        self.process = self.errors = self.answers = self.schema = None
        self.fatal_rows = 0

    def embed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows, each with a `vector`, or an `error`, or an empty `text`."""
        for _ in range(ATTEMPTS):
            try:
                answer = self.exchange(batch)
            except Died as died:
                reason = str(died)
            else:
                self.fatal_rows = 0
                return answer
        if batch.num_rows > 1:
            middle = batch.num_rows // 2
            return pa.concat_batches([self.embed(batch.slice(0, middle)), self.embed(batch.slice(middle))])
        self.fatal_rows += 1
        if self.fatal_rows == FATAL_ROWS_MAX:
            raise Failed(f"{reason}, by each of {FATAL_ROWS_MAX} rows that were sent alone")
        return self.without_vector(batch, f"{reason}, whenever this text was sent alone")

    def open(self, schema: pa.Schema) -> pa.Schema:
        """Loads the model for batches of a schema; gives that of the answers."""
        for _ in range(ATTEMPTS):
            try:
                self.start(schema)
                return self.answers.schema
            except Died as died:
                reason = str(died)
        raise Failed(f"{reason}, while it loaded the model")

    def close(self):
        """Ends the process. A batch that comes later starts another."""
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.errors.close()
        self.process = None

    def exchange(self, batch):
        if self.process is None or self.schema != batch.schema:
            self.open(batch.schema)
        try:
            self.send(batch)
            answer = self.answers.read_next_batch()
        except (OSError, StopIteration, pa.ArrowInvalid) as error:
            raise Died(self.last_words()) from error
        if answer.num_rows != batch.num_rows:
            raise Failed(f"qwen3-index embed: answered {batch.num_rows} rows with {answer.num_rows}")
        return answer

    def start(self, schema):
        self.close()
        self.errors, self.schema = tempfile.TemporaryFile(), schema  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        try:
            self.process = subprocess.Popen(self.command, **pipes)
        except OSError as error:
            raise Failed(f"{error.filename}: {error.strerror}; every machine must have it on the PATH") from error
        try:
            self.send(schema)
            self.answers = pa.ipc.open_stream(self.process.stdout)
        except (OSError, pa.ArrowInvalid) as error:
            process, words = self.process, self.last_words()
            # A signal came from elsewhere; an exit code is the program's own, and it would end so again.
            raise (Died if process.returncode < 0 else Failed)(words) from error
        self.check(json.loads(self.answers.schema.metadata[METADATA])["fingerprint"])

    def check(self, fingerprint):
        if self.fingerprint is None:
            self.fingerprint = fingerprint
        if fingerprint != self.fingerprint:
            parts = sorted({*fingerprint, *self.fingerprint})
            others = [part for part in parts if fingerprint.get(part) != self.fingerprint.get(part)]
            raise Failed(
                f"qwen3-index embed: makes other vectors than the other workers do ({', '.join(others)} differ); "
                "every machine must have the same version and model"
            )

    def send(self, message):
        self.process.stdin.write(message.serialize())
        self.process.stdin.flush()

    def last_words(self):
        process, self.process = self.process, None
        return last_words(process, self.errors)

    def without_vector(self, row, reason):
        """The answer for a row that no process answers."""
        names = row.schema.names
        columns = [
            pa.array([reason], field.type)
            if field.name == "error"
            else row[field.name].cast(field.type)
            if field.name in names
            else pa.nulls(1, field.type)
            for field in self.answers.schema
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.answers.schema)
