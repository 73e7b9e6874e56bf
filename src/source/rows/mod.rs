//! Files with a document a row: each row becomes a [`Raw`].

mod csv;
mod jsonl;
pub mod parquet;
pub mod source;

use source::{RowIter, Source};
use std::io;
use std::path::Path;

use crate::error::{DocumentError, Failure, Lost};
use crate::source::form::{Form, RowFormat};
use crate::source::found::Found;
use crate::source::location::Location;
use crate::source::raw::Reading;

/// Opens a file of rows. An index that this tool made is one only where it is named as a root: in a folder of
/// documents it is what came of them last night.
pub fn open(
    location: &Location,
    id: String,
    form: Form,
    rows: RowFormat,
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
            RowFormat::Jsonl => Box::new(jsonl::JsonLines::open(unpacked(&mut source)?, source, reading)?),
            RowFormat::Csv => Box::new(csv::CsvRows::open(unpacked(&mut source)?, None, source, reading)?),
            RowFormat::Tsv => {
                Box::new(csv::CsvRows::open(unpacked(&mut source)?, Some(b'\t'), source, reading)?)
            }
            RowFormat::Parquet => Box::new(parquet::ParquetRows::open(location, source, is_root, reading)?),
        })
    };
    opened().map_err(|cause| Failure { place: location.to_string(), cause, lost: Lost::Unknown })
}

/// JSON Lines on standard input.
pub fn stdin(reading: &Reading) -> RowIter {
    const NAME: &str = "stdin";
    let source = Source::new(Path::new(NAME), NAME.to_owned());
    match jsonl::JsonLines::open(io::stdin(), source, reading) {
        Ok(lines) => Box::new(lines),
        Err(cause) => {
            let failure = Failure { place: NAME.to_owned(), cause, lost: Lost::Unknown };
            Box::new(std::iter::once(Found::Failed(failure)))
        }
    }
}
