//! Opens files and returns each document of a file as a [`Raw`].

mod collection;
mod csv;
mod json_array;
mod jsonl;
mod mbox;
pub mod source;

use std::path::Path;
use std::{io, iter};

use source::{RowIter, Source};

use crate::error::{ContentError, DocumentError, Failure, Lost};
use crate::source::document::LeftOut;
use crate::source::format::{FormatKind, RowFormat};
use crate::source::found::Found;
use crate::source::raw::{Raw, Reading};
use crate::source::raw_file::RawFile;

/// Returns the documents of a file. A file of rows is opened now. A file that is one document is opened later, when the document
/// is read.
///
/// `is_root` says whether the user named the file as a root. An index of this tool, and a JSON file that is no list of documents,
/// are read only if `is_root` is true. In a folder of documents, the former is most likely the output of an earlier run, and the
/// latter a configuration.
pub fn documents(file: RawFile, is_root: bool, reading: &Reading) -> RowIter {
    let FormatKind::Rows(rows) = file.format.kind else {
        return Box::new(iter::once(Found::Raw(Raw::File(file))));
    };
    let place = file.location.to_string();
    let found = match rows_of(file, rows, is_root, reading) {
        Ok(rows) => return rows,
        Err(DocumentError::Content(ContentError::OwnIndex)) => left_out(place, LeftOut::Index),
        Err(DocumentError::Content(ContentError::NoArray)) if !is_root => left_out(place, LeftOut::OtherKind),
        Err(cause) => Found::Failed(Failure { place, cause, lost: Lost::Unknown }),
    };
    Box::new(iter::once(found))
}

fn left_out(place: String, why: LeftOut) -> Found {
    why.tell(|| (place, why.reason().to_owned()));
    Found::LeftOut(why)
}

/// Opens a file of rows.
///
/// # Errors
/// The file cannot be opened, is damaged, has another format, or is a table without a text column.
fn rows_of(
    file: RawFile,
    rows: RowFormat,
    is_root: bool,
    reading: &Reading,
) -> Result<RowIter, DocumentError> {
    let mut source = Source::new(file.location.name(), file.base.clone(), file.id.clone(), file.format.kind);
    let content = |source: &mut Source| {
        let content = file.format.decompress(file.location.open()?, reading.limits.expansion)?;
        source.consumed = content.consumed();
        Ok::<_, DocumentError>(content)
    };
    Ok(match rows {
        RowFormat::Jsonl => Box::new(jsonl::JsonLines::open(content(&mut source)?, source, reading)?),
        RowFormat::Json => {
            Box::new(json_array::JsonArray::open(content(&mut source)?, source, is_root, reading)?)
        }
        RowFormat::Csv => Box::new(csv::CsvRows::open(content(&mut source)?, None, source, reading)?),
        RowFormat::Tsv => Box::new(csv::CsvRows::open(content(&mut source)?, Some(b'\t'), source, reading)?),
        RowFormat::Mbox => {
            let content = content(&mut source)?;
            Box::new(mbox::Mailbox::open(file, content, reading)?)
        }
        RowFormat::Collection(format) => {
            Box::new(collection::Members::open(&file.location, format, source, is_root, reading)?)
        }
    })
}

/// Reads JSON Lines from standard input.
pub fn stdin(reading: &Reading) -> RowIter {
    const NAME: &str = "stdin";
    let format = FormatKind::Rows(RowFormat::Jsonl);
    let source = Source::new(NAME.into(), Path::new("").into(), NAME.to_owned(), format);
    match jsonl::JsonLines::open(io::stdin(), source, reading) {
        Ok(lines) => Box::new(lines),
        Err(cause) => {
            let failure = Failure { place: NAME.to_owned(), cause, lost: Lost::Unknown };
            Box::new(iter::once(Found::Failed(failure)))
        }
    }
}
