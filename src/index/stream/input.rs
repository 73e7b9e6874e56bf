//! Reads an Arrow IPC stream batch by batch. Also reads columns of strings, in any of Arrow's types for strings.

use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{anyhow, ensure};
use arrow::array::{Array, AsArray, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;

/// The first bytes of every message of an Arrow IPC stream since version 0.15 of the format.
const MARKER: [u8; 4] = [0xFF; 4];

/// The first bytes of an Arrow IPC file. The format of a file differs from the format of a stream.
const FILE: &[u8] = b"ARRO";

/// Reads the batches of an Arrow IPC stream.
pub struct IpcReader<R: Read> {
    reader: StreamReader<Watched<R>>,
    is_cut_off: Arc<AtomicBool>,
}

/// The input of an [`IpcReader`]. Sets `is_cut_off` when a read finds the end of the input.
struct Watched<R> {
    inner: Chain<Cursor<Vec<u8>>, BufReader<R>>,
    is_cut_off: Arc<AtomicBool>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.is_cut_off.fetch_or(read == 0 && !buffer.is_empty(), Relaxed);
        Ok(read)
    }
}

impl<R: Read> IpcReader<R> {
    /// Starts to read a stream, and waits for the schema.
    ///
    /// # Errors
    /// The input is not an Arrow IPC stream.
    pub fn open(input: R) -> anyhow::Result<Self> {
        let mut input = BufReader::new(input);
        let mut start = Vec::new();
        // If the input has another format, the Arrow reader would read the first bytes as a length, and wait for that many bytes.
        input.by_ref().take(MARKER.len() as u64).read_to_end(&mut start)?;
        ensure!(
            !start.is_empty(),
            "is empty, but an Arrow IPC stream has at least a schema; see why the program that writes it stopped"
        );
        ensure!(
            start != FILE,
            "is an Arrow file, not a stream; write a stream, as pyarrow.ipc.new_stream does"
        );
        ensure!(start == MARKER, "is not an Arrow IPC stream; write one, as pyarrow.ipc.new_stream does");
        let is_cut_off = Arc::new(AtomicBool::new(false));
        let inner = Cursor::new(start).chain(input);
        let reader = StreamReader::try_new(Watched { inner, is_cut_off: is_cut_off.clone() }, None);
        Ok(IpcReader { reader: received(&is_cut_off, reader)?, is_cut_off })
    }

    /// Returns the schema with its metadata.
    pub fn schema(&self) -> Arc<Schema> {
        self.reader.schema()
    }

    /// Waits for the next batch. Returns `None` at the end marker.
    ///
    /// # Errors
    /// The stream ends without an end marker, or is damaged.
    pub fn read(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let next = self.reader.next().transpose();
        received(&self.is_cut_off, next)
    }
}

/// Returns the result of the Arrow reader, or an error if the input ended too early.
fn received<T>(is_cut_off: &AtomicBool, result: Result<T, ArrowError>) -> anyhow::Result<T> {
    // If the end marker is missing, the program that writes the stream has died. The Arrow reader would report a normal end.
    ensure!(
        !is_cut_off.load(Relaxed),
        "ends without its end marker, so rows may be missing; see why the program that writes it stopped"
    );
    result.map_err(|e| match e {
        ArrowError::IoError(_, e) => anyhow!("cannot be read: {e}"),
        e => anyhow!("is a damaged Arrow IPC stream: {e}; write it again"),
    })
}

/// A column of strings in one of Arrow's types for strings.
pub enum Strings<'a> {
    Utf8(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
    /// A column that contains only nulls. pandas gives this type to an empty column.
    Null,
}

impl<'a> Strings<'a> {
    /// Wraps a column of strings or a column of nulls. Returns `None` if the column has another type.
    pub fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => Some(Strings::Utf8(array.as_string())),
            DataType::LargeUtf8 => Some(Strings::Large(array.as_string())),
            DataType::Utf8View => Some(Strings::View(array.as_string_view())),
            DataType::Null => Some(Strings::Null),
            _ => None,
        }
    }

    /// Returns whether a type is one of Arrow's types for strings. Arrow's null type is not a type for strings.
    pub fn has(kind: &DataType) -> bool {
        matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    /// Returns the string of a row, or `None` for a null.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Strings::Utf8(array) => array.is_valid(row).then(|| array.value(row)),
            Strings::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Strings::View(array) => array.is_valid(row).then(|| array.value(row)),
            Strings::Null => None,
        }
    }
}
