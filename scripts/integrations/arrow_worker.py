"""Runs `qwen3-index embed --arrow` as a child process, for engines that call a Python function once per batch.

    worker = ArrowWorker(["--model", "./Qwen3-Embedding-0.6B-ONNX"])
    rows_with_vectors = worker.embed(rows)

scripts/integrations/ray_build.py uses it for Ray, docs/engines.md for Daft. It needs pyarrow, and `qwen3-index` on the PATH.

If the process dies, the worker starts another one and sends the batch again. If a batch kills the process twice, the
worker halves the batch, down to a single row. That row gets an error in place of its vector, like any row that cannot be
embedded. A worker may be used by one thread at a time.
"""

import json
import signal
import subprocess
import tempfile

import pyarrow as pa

# The key in the schema's metadata for what the vectors depend on, the fingerprint.
METADATA = b"qwen3-index"
# How often to send a batch, or to load the model, before giving up.
ATTEMPTS = 2
# How many rows in succession may kill the process. With more of them the run fails, since the rows are not to blame.
FATAL_ROWS_MAX = 8
# How long to wait for a process to end after it has closed its output.
END_SECONDS = 10


class Failed(Exception):
    """A failure that another attempt would not mend. Its text is one line."""


class Died(Exception):
    """The process ended before it answered."""


def last_words(process, errors):
    """Returns in one line why a process of the tool ended: its error in the file `errors`, or the signal."""
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
        return f"{process.args[0]} {process.args[1]}: killed by {signal.Signals(-code).name}"
    if lines:
        return lines[-1].removeprefix("qwen3-index: ")
    return f"{process.args[0]} {process.args[1]}: exit code {code}"


class ArrowWorker:
    """Embeds record batches with a column `text`."""

    def __init__(self, options=(), fingerprint=None):
        """Takes options of `qwen3-index embed`, and the fingerprint that its vectors must have, if it is known."""
        self.command = ["qwen3-index", "embed", "--arrow", *options]
        self.fingerprint = fingerprint
        self.process = self.errors = self.answers = self.schema = None
        self.fatal_rows = 0

    def embed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Returns the rows, each with a `vector`, an `error`, or neither if its `text` is empty."""
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
            raise Failed(f"{reason}, for each of {FATAL_ROWS_MAX} rows sent alone")
        return self.without_vector(batch, f"{reason}, each time this text was sent alone")

    def open(self, schema: pa.Schema) -> pa.Schema:
        """Loads the model for batches of a schema. Returns the schema of the answers."""
        for _ in range(ATTEMPTS):
            try:
                self.start(schema)
                return self.answers.schema
            except Died as died:
                reason = str(died)
        raise Failed(f"{reason}, while loading the model")

    def close(self):
        """Ends the process. A later batch starts another one."""
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
            raise Failed(f"qwen3-index embed: got {batch.num_rows} rows and returned {answer.num_rows}")
        return answer

    def start(self, schema):
        self.close()
        self.errors, self.schema = tempfile.TemporaryFile(), schema  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors}
        try:
            self.process = subprocess.Popen(self.command, **pipes)
        except OSError as error:
            raise Failed(f"{error.filename}: {error.strerror}; put it on the PATH of every machine") from error
        try:
            self.send(schema)
            self.answers = pa.ipc.open_stream(self.process.stdout)
        except (OSError, pa.ArrowInvalid) as error:
            process, words = self.process, self.last_words()
            # A signal comes from elsewhere, so another attempt may succeed. An exit code is the program's own decision.
            raise (Died if process.returncode < 0 else Failed)(words) from error
        self.check(json.loads(self.answers.schema.metadata[METADATA])["fingerprint"])

    def check(self, fingerprint):
        if self.fingerprint is None:
            self.fingerprint = fingerprint
        if fingerprint != self.fingerprint:
            parts = sorted({*fingerprint, *self.fingerprint})
            others = [part for part in parts if fingerprint.get(part) != self.fingerprint.get(part)]
            raise Failed(
                f"qwen3-index embed: its vectors do not match those of the other workers ({', '.join(others)} differ); "
                "use the same version and model on every machine"
            )

    def send(self, message):
        self.process.stdin.write(message.serialize())
        self.process.stdin.flush()

    def last_words(self):
        process, self.process = self.process, None
        return last_words(process, self.errors)

    def without_vector(self, row, reason):
        """Returns the answer for a row that no process answers."""
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
