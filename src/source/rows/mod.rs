//! Files with a document a row: each row becomes a [`Raw`].

mod csv;
mod jsonl;
mod parquet;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Found;
use super::form::{Form, Rows};
use super::location::Location;
use super::raw::{Content, Raw, Reading};
use crate::error::{DocumentError, Failure, Lost};

pub use jsonl::parse as parse_json;
pub use parquet::{KIND as PARQUET, Table};

/// The rows of one file.
pub type RowIter = Box<dyn Iterator<Item = Found> + Send>;

/// Opens a file of rows. An index that this tool made is one only where it is named as a root: in a folder of
/// documents it is what came of them last night.
pub fn open(
    location: &Location,
    id: String,
    form: Form,
    rows: Rows,
    is_root: bool,
    reading: &Reading,
) -> Result<RowIter, Failure> {
    let opened = || -> Result<RowIter, DocumentError> {
        let mut source = Source::new(&location.name(), id);
        let unpacked = |source: &mut Source| {
            let unpacked = form.unpack(location.open()?, &reading.limits)?;
            source.taken = unpacked.taken();
            io::Result::Ok(unpacked)
        };
        Ok(match rows {
            Rows::Jsonl => Box::new(jsonl::Lines::open(unpacked(&mut source)?, source, reading)?),
            Rows::Csv => Box::new(csv::Rows::open(unpacked(&mut source)?, None, source, reading)?),
            Rows::Tsv => Box::new(csv::Rows::open(unpacked(&mut source)?, Some(b'\t'), source, reading)?),
            Rows::Parquet => Box::new(parquet::Rows::open(location, source, is_root, reading)?),
        })
    };
    opened().map_err(|cause| Failure { place: location.to_string(), cause, lost: Lost::Unknown })
}

/// JSON Lines on standard input.
pub fn stdin(reading: &Reading) -> RowIter {
    const NAME: &str = "stdin";
    let source = Source::new(Path::new(NAME), NAME.to_owned());
    match jsonl::Lines::open(io::stdin(), source, reading) {
        Ok(lines) => Box::new(lines),
        Err(cause) => {
            let failure = Failure { place: NAME.to_owned(), cause, lost: Lost::Unknown };
            Box::new(std::iter::once(Found::Failed(failure)))
        }
    }
}

/// What all rows of one file have in common.
pub struct Source {
    file: Arc<Path>,
    file_id: Arc<str>,
    /// What it was decoded from, where that was not UTF-8.
    encoding: Option<&'static str>,
    /// How many of the file's bytes have been read, and how many of them a row has answered for.
    taken: Arc<AtomicU64>,
    told: u64,
}

impl Source {
    fn new(file: &Path, id: String) -> Self {
        Source { file: file.into(), file_id: id.into(), encoding: None, taken: Arc::default(), told: 0 }
    }

    fn row(&mut self, number: u64, content: Content) -> Found {
        let taken = self.taken.load(Relaxed);
        let progress = taken - std::mem::replace(&mut self.told, taken);
        Found::Raw(Raw::Row {
            file_id: self.file_id.clone(),
            file: self.file.clone(),
            number,
            content,
            encoding: self.encoding,
            progress,
        })
    }

    /// What is behind it cannot be read either.
    fn failed_from(&self, number: u64, cause: DocumentError) -> Found {
        self.failed(number, DocumentError::RestNotRead(Box::new(cause)))
    }

    fn failed(&self, number: u64, cause: DocumentError) -> Found {
        let place = format!("{}:{number}", self.file.display());
        Found::Failed(Failure { place, cause, lost: Lost::Unknown })
    }
}
