//! An Arrow IPC stream in, batch by batch; and columns of strings, in whichever form they come.

use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{anyhow, ensure};
use arrow::array::{Array, AsArray, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;

/// What every message of a stream begins with, since version 0.15 of the format.
const MARKER: [u8; 4] = [0xFF; 4];

/// The first bytes of Arrow's other format.
const FILE: &[u8] = b"ARRO";

/// A stream that is read.
pub struct IpcReader<R: Read> {
    reader: StreamReader<Watched<R>>,
    is_cut_off: Arc<AtomicBool>,
}

/// Finds out whether more is asked for than there is.
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
    /// Waits for the schema.
    ///
    /// # Errors
    /// It is no such stream.
    pub fn open(input: R) -> anyhow::Result<Self> {
        let mut input = BufReader::new(input);
        let mut start = Vec::new();
        // Of something else, the first bytes could be taken for the length of what is to come.
        input.by_ref().take(MARKER.len() as u64).read_to_end(&mut start)?;
        ensure!(!start.is_empty(), "is empty; an Arrow IPC stream has at least a schema");
        ensure!(
            start != FILE,
            "is an Arrow file, not a stream; write it as a stream, as pyarrow.ipc.new_stream does"
        );
        ensure!(start == MARKER, "is no Arrow IPC stream; write one, as pyarrow.ipc.new_stream does");
        let is_cut_off = Arc::new(AtomicBool::new(false));
        let inner = Cursor::new(start).chain(input);
        let reader = StreamReader::try_new(Watched { inner, is_cut_off: is_cut_off.clone() }, None);
        Ok(IpcReader { reader: come(&is_cut_off, reader)?, is_cut_off })
    }

    /// Its columns, and what it says of itself.
    pub fn schema(&self) -> Arc<Schema> {
        self.reader.schema()
    }

    /// Waits for the next batch; `None` behind the end marker.
    ///
    /// # Errors
    /// It ends without one, or is damaged.
    pub fn read(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let next = self.reader.next().transpose();
        come(&self.is_cut_off, next)
    }
}

fn come<T>(is_cut_off: &AtomicBool, what: Result<T, ArrowError>) -> anyhow::Result<T> {
    // Whoever wrote it died, though to the reader it may look as if all had come.
    ensure!(
        !is_cut_off.load(Relaxed),
        "ends without its end marker, so more was to come; see what became of the program that writes it"
    );
    what.map_err(|e| match e {
        ArrowError::IoError(_, e) => anyhow!("cannot be read: {e}"),
        e => anyhow!("cannot be read as an Arrow IPC stream: {e}"),
    })
}

/// A column of strings.
pub enum Strings<'a> {
    Utf8(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
    /// Nothing but nulls, as pandas has it.
    Null,
}

impl<'a> Strings<'a> {
    /// `None` where it is something else.
    pub fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => Some(Strings::Utf8(array.as_string())),
            DataType::LargeUtf8 => Some(Strings::Large(array.as_string())),
            DataType::Utf8View => Some(Strings::View(array.as_string_view())),
            DataType::Null => Some(Strings::Null),
            _ => None,
        }
    }

    /// Whether a column has one of these types, but for nulls alone.
    pub fn has(kind: &DataType) -> bool {
        matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    /// `None` for a null.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Strings::Utf8(array) => array.is_valid(row).then(|| array.value(row)),
            Strings::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Strings::View(array) => array.is_valid(row).then(|| array.value(row)),
            Strings::Null => None,
        }
    }
}
