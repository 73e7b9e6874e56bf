//! Writes Arrow batches as an IPC stream.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

/// The column with the error of each row that could not be read or embedded.
pub const ERROR: &str = "error";

/// The column with the blocks of a text as JSON, from `read` to `embed`. It is null for a text of one paragraph.
pub const BLOCKS: &str = "blocks";

/// Writes an Arrow IPC stream. Flushes the schema and each batch immediately, so that the reader of the stream need not wait.
pub struct IpcWriter<W: Write>(StreamWriter<BufWriter<W>>);

impl<W: Write> IpcWriter<W> {
    pub fn new(out: W, schema: &Arc<Schema>) -> io::Result<Self> {
        let mut writer = StreamWriter::try_new_buffered(out, schema).map_err(io_error)?;
        writer.flush().map_err(io_error)?;
        Ok(IpcWriter(writer))
    }

    pub fn write(&mut self, batch: Result<RecordBatch, ArrowError>) -> io::Result<()> {
        batch.and_then(|batch| self.0.write(&batch)).and_then(|()| self.0.flush()).map_err(io_error)
    }

    /// Writes the end marker. The end marker shows the reader that the stream is complete.
    pub fn finish(&mut self) -> io::Result<()> {
        self.0.finish().and_then(|()| self.0.flush()).map_err(io_error)
    }
}

fn io_error(error: ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => error,
        error => io::Error::other(error),
    }
}
