//! Opens files with one document per row and returns each row as a [`Raw`](super::raw::Raw).

mod collection;
mod csv;
mod json_array;
mod jsonl;
pub mod source;

use std::io;
use std::path::Path;

use source::{RowIter, Source};

use crate::error::{DocumentError, Failure, Lost};
use crate::source::format::RowFormat;
use crate::source::found::Found;
use crate::source::raw::{RawFile, Reading};

/// Opens a file of rows.
///
/// `is_root` says whether the user named the file as a root. If the file is an index of this tool, the file is read only if
/// `is_root` is true. An index in a folder of documents is most likely the output of an earlier run and not an input.
///
/// # Errors
/// The file cannot be opened, is damaged, has another format, or is a table without a text column.
pub fn open(file: RawFile, rows: RowFormat, is_root: bool, reading: &Reading) -> Result<RowIter, Failure> {
    let RawFile { id, base, location, format, .. } = file;
    let opened = || -> Result<RowIter, DocumentError> {
        let mut source = Source::new(location.name(), base, id);
        let decompressed = |source: &mut Source| {
            let content = format.decompress(location.open()?, &reading.limits)?;
            source.consumed = content.consumed();
            Ok::<_, DocumentError>(content)
        };
        Ok(match rows {
            RowFormat::Jsonl => {
                Box::new(jsonl::JsonLines::open(decompressed(&mut source)?, source, reading)?)
            }
            RowFormat::Json => {
                Box::new(json_array::JsonArray::open(decompressed(&mut source)?, source, is_root, reading)?)
            }
            RowFormat::Csv => {
                Box::new(csv::CsvRows::open(decompressed(&mut source)?, None, source, reading)?)
            }
            RowFormat::Tsv => {
                Box::new(csv::CsvRows::open(decompressed(&mut source)?, Some(b'\t'), source, reading)?)
            }
            RowFormat::Collection(format) => {
                Box::new(collection::Members::open(&location, format, source, is_root, reading)?)
            }
        })
    };
    opened().map_err(|cause| Failure { place: location.to_string(), cause, lost: Lost::Unknown })
}

/// Reads JSON Lines from standard input.
pub fn stdin(reading: &Reading) -> RowIter {
    const NAME: &str = "stdin";
    let source = Source::new(NAME.into(), Path::new("").into(), NAME.to_owned());
    match jsonl::JsonLines::open(io::stdin(), source, reading) {
        Ok(lines) => Box::new(lines),
        Err(cause) => {
            let failure = Failure { place: NAME.to_owned(), cause, lost: Lost::Unknown };
            Box::new(std::iter::once(Found::Failed(failure)))
        }
    }
}
