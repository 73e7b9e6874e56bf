//! Comma-, semicolon- or tab-separated values with a header in, a row a record out (the only user of the crate
//! csv).

use std::io::{self, BufRead, BufReader, Read};

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::Value;

use super::super::decode;
use super::super::form::Unpacked;
use super::super::raw::Content;
use super::{Found, Reading, Record, Source};
use crate::error::{ContentError, DocumentError};

/// What may stand between two values where the ending of the file's name doesn't say it: spreadsheets write a
/// semicolon where the comma is the decimal sign.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How much of a file is looked at to find its separator.
const START_BYTES: usize = 64 << 10;

/// The records of one file. Empty lines are no documents.
pub struct Rows {
    reader: Option<Reader<Bounded>>,
    source: Source,
    columns: Vec<Column>,
    /// Of the last row, as a spreadsheet counts: the header is row 1.
    number: u64,
    bytes_max: u64,
}

struct Column {
    at: usize,
    name: String,
    /// An empty value of it is an empty text; of any other, none at all.
    is_text: bool,
}

impl Rows {
    pub fn open(
        unpacked: Unpacked,
        separator: Option<u8>,
        mut source: Source,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        let (reader, encoding) = decode::stream(Box::new(unpacked), reading.encoding)?;
        source.encoding = encoding;
        let mut start = BufReader::with_capacity(START_BYTES, reader);
        let separator = separator.map_or_else(|| find_separator(&mut start), Ok)?;
        let bytes_max = reading.limits.document_bytes;
        let bounded = Bounded { inner: Box::new(start), max: bytes_max, left: bytes_max };
        let mut reader = ReaderBuilder::new().delimiter(separator).from_reader(bounded);
        let header = header(reader.byte_headers().map_err(error)?)?;
        // A file without a single line.
        if header.is_empty() {
            return Ok(Rows { reader: None, source, columns: Vec::new(), number: 1, bytes_max });
        }
        let columns = reading.fields.columns(&header)?.into_iter().map(|at| {
            let name = header[at].clone();
            Column { at, is_text: reading.fields.text.contains(&name), name }
        });
        Ok(Rows { columns: columns.collect(), reader: Some(reader), source, number: 1, bytes_max })
    }

    fn record(&self, row: &ByteRecord) -> Result<Record, DocumentError> {
        let mut record = Record::new();
        for Column { at, name, is_text } in &self.columns {
            let value = text(row.get(*at).unwrap_or_default())?;
            // Of two columns with the same name the first counts, as in a lookup by name.
            if (*is_text || !value.is_empty()) && !record.contains_key(name) {
                record.insert(name.clone(), Value::String(value));
            }
        }
        Ok(record)
    }
}

impl Iterator for Rows {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let reader = self.reader.as_mut()?;
        reader.get_mut().left = self.bytes_max;
        let mut row = ByteRecord::new();
        let read = reader.read_byte_record(&mut row);
        self.number += 1;
        match read.map_err(error) {
            Ok(false) => None,
            Ok(true) => Some(match self.record(&row) {
                Ok(record) => self.source.row(self.number, Content::Record(record)),
                Err(cause) => self.source.failed(self.number, cause),
            }),
            Err(cause) => {
                // A row of another length is one bad row; after a failed read nothing more is known.
                if !matches!(cause, DocumentError::ColumnCount { .. }) {
                    self.reader = None;
                }
                Some(self.source.failed(self.number, cause))
            }
        }
    }
}

fn header(record: &ByteRecord) -> Result<Vec<String>, DocumentError> {
    record.iter().map(|name| Ok(text(name)?.trim().to_owned())).collect()
}

fn text(value: &[u8]) -> Result<String, DocumentError> {
    match std::str::from_utf8(value) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(DocumentError::Undecodable { encoding: decode::UTF_8.name() }),
    }
}

fn error(e: csv::Error) -> DocumentError {
    match e.into_kind() {
        csv::ErrorKind::Io(e) => e.into(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            DocumentError::ColumnCount { columns: expected_len, values: len }
        }
        other => DocumentError::Unreadable(io::Error::other(format!("{other:?}"))),
    }
}

/// The separator that stands most often in the header; a comma where none does.
fn find_separator(start: &mut impl BufRead) -> Result<u8, DocumentError> {
    let start = start.fill_buf()?.trim_ascii_start();
    let mut counts = [0usize; SEPARATORS.len()];
    let mut is_quoted = false;
    for byte in start {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\n' | b'\r' if !is_quoted => break,
            _ if is_quoted => {}
            _ => counts
                .iter_mut()
                .zip(SEPARATORS)
                .for_each(|(n, separator)| *n += usize::from(*byte == separator)),
        }
    }
    let most = counts.iter().max().copied().unwrap_or_default();
    let at = counts.iter().position(|&count| count == most).unwrap_or_default();
    Ok(SEPARATORS[at])
}

/// A reader that fails where one record takes too much: a quote that is never closed would take all the rest.
struct Bounded {
    inner: Box<dyn Read + Send>,
    max: u64,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(ContentError::TooLarge { max: self.max })),
        }
        Ok(read)
    }
}
