//! The written end of a stream.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

/// The column with the reason why a row has no vector.
pub const ERROR: &str = "error";

/// A stream that is written: the schema at once, each batch as far as to the reader.
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

    /// The end marker. A stream without one has been cut off.
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
