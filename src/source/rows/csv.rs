//! Comma-, semicolon- or tab-separated values with a header in, a row a record out (the only user of the crate
//! csv).

use std::io::{self, Read};
use std::mem;

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::Value;

use super::source::Source;
use crate::error::{ContentError, DocumentError};
use crate::source::decode;
use crate::source::fields::Record;
use crate::source::form::Unpacked;
use crate::source::found::Found;
use crate::source::raw::{Reading, RowContent};

/// What may stand between two values where the ending of the file's name doesn't say it: spreadsheets write a
/// semicolon where the comma is the decimal sign.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The records of one file. Empty lines are no documents.
pub struct CsvRows {
    reader: Option<Reader<Bounded>>,
    source: Source,
    columns: Vec<Column>,
    /// Of the last row, empty lines not counted: the header is row 1.
    number: u64,
    bytes_max: u64,
}

/// One that is asked for; of several with the same name the first.
struct Column {
    at: usize,
    name: String,
    /// An empty value of it is an empty text; of any other, none at all.
    is_text: bool,
}

impl CsvRows {
    pub fn open(
        unpacked: Unpacked,
        separator: Option<u8>,
        mut source: Source,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        let (reader, encoding) = decode::stream(Box::new(unpacked), reading.encoding)?;
        source.encoding = encoding;
        let (start, mut reader) = decode::peek(reader)?;
        let said = said_separator(&start);
        let head = said.map_or(0, |(_, line)| line);
        decode::skip(&mut reader, head)?;
        let start = &start[head..];
        let said = said.map(|(separator, _)| separator).or(separator);
        let separator = said.unwrap_or_else(|| find_separator(start));
        let is_quoted = separator != b'\t' || is_quoted(start, separator);
        let bytes_max = reading.limits.document_bytes;
        let bounded = Bounded {
            inner: reader,
            quotes: is_quoted.then(|| Quotes::new(separator)),
            is_wrong: false,
            max: bytes_max,
            left: bytes_max,
        };
        let mut reader = ReaderBuilder::new().delimiter(separator).quoting(is_quoted).from_reader(bounded);
        let header = header(reader.byte_headers().map_err(error)?)?;
        // A file without a single line.
        if header.is_empty() {
            return Ok(CsvRows { reader: None, source, columns: Vec::new(), number: 1, bytes_max });
        }
        let columns =
            reading.fields.columns(&header)?.into_iter().filter(|&at| !header[..at].contains(&header[at]));
        let columns = columns.map(|at| {
            let name = header[at].clone();
            Column { at, is_text: reading.fields.text.contains(&name), name }
        });
        Ok(CsvRows { columns: columns.collect(), reader: Some(reader), source, number: 1, bytes_max })
    }

    fn record(&self, row: &ByteRecord) -> Result<Record, DocumentError> {
        let mut record = Record::new();
        for Column { at, name, is_text } in &self.columns {
            let value = text(row.get(*at).unwrap_or_default())?;
            if *is_text || !value.is_empty() {
                record.insert(name.clone(), Value::String(value));
            }
        }
        Ok(record)
    }
}

impl Iterator for CsvRows {
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
                Ok(record) => self.source.row(self.number, RowContent::Record(record)),
                Err(cause) => self.source.failed(self.number, cause),
            }),
            Err(cause) => {
                // A row of another length is one bad row; after a failed read nothing more is known.
                Some(match cause {
                    DocumentError::ColumnCount { .. } => self.source.failed(self.number, cause),
                    _ => {
                        self.reader = None;
                        self.source.failed_from(self.number, cause)
                    }
                })
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

/// The separator that a spreadsheet names in a line of its own before the header (`sep=;`), and the bytes of that
/// line.
fn said_separator(start: &[u8]) -> Option<(u8, usize)> {
    let is_quoted = start.starts_with(b"\"");
    let (&separator, behind) = start[usize::from(is_quoted)..].strip_prefix(b"sep=")?.split_first()?;
    let behind = if is_quoted { behind.strip_prefix(b"\"")? } else { behind };
    let ends = behind.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    Some((separator, start.len() - behind.len() + ends))
}

/// Tables of tabs are written with quotes or without: then what stands there is a character like others.
fn is_quoted(start: &[u8], separator: u8) -> bool {
    let mut quotes = Quotes::new(separator);
    let is_wrong = quotes.first_wrong(start).is_some();
    let is_whole = (start.len() as u64) < decode::START_BYTES;
    !(is_wrong || is_whole && quotes.is_open())
}

/// The separator that stands most often in the header; a comma where none does.
fn find_separator(start: &[u8]) -> u8 {
    let mut counts = [0usize; SEPARATORS.len()];
    let mut is_quoted = false;
    for byte in start.trim_ascii_start() {
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
    SEPARATORS[counts.iter().position(|&count| count == most).unwrap_or_default()]
}

/// Follows the quotes of RFC 4180. The parser takes what is wrong about them as it can, which may make one value of
/// many rows.
struct Quotes {
    separator: u8,
    place: QuotePlace,
    /// Separators in this line, in the header, and whether this line began within quotes.
    separators: usize,
    of_header: Option<usize>,
    began_in_quotes: bool,
}

#[derive(Clone, Copy)]
enum QuotePlace {
    ValueStart,
    InValue,
    InQuotes,
    BehindQuotes,
    BehindSpace,
}

impl Quotes {
    fn new(separator: u8) -> Self {
        let place = QuotePlace::ValueStart;
        Quotes { separator, place, separators: 0, of_header: None, began_in_quotes: false }
    }

    /// Where the first byte stands that may not be there.
    fn first_wrong(&mut self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|&byte| {
            use QuotePlace::{BehindQuotes, BehindSpace, InQuotes, InValue, ValueStart};
            let is_end = byte == self.separator || matches!(byte, b'\n' | b'\r');
            self.place = match (self.place, byte) {
                (InQuotes, b'"') => BehindQuotes,
                (InQuotes, _) => InQuotes,
                (ValueStart | BehindQuotes, b'"') => InQuotes,
                (_, _) if is_end => ValueStart,
                (BehindQuotes | BehindSpace, b' ') => BehindSpace,
                (BehindQuotes | BehindSpace, _) => return true,
                (ValueStart | InValue, _) => InValue,
            };
            self.separators += usize::from(byte == self.separator);
            byte == b'\n' && self.is_row_in_quotes()
        })
    }

    /// Whether the line that ends here is a row within quotes. Of tabs there are none in a text, as there are commas.
    fn is_row_in_quotes(&mut self) -> bool {
        let separators = mem::take(&mut self.separators);
        let of_header = *self.of_header.get_or_insert(separators);
        let is_open = self.is_open();
        let began_in_quotes = mem::replace(&mut self.began_in_quotes, is_open);
        self.separator == b'\t' && began_in_quotes && of_header > 0 && separators == of_header
    }

    fn is_open(&self) -> bool {
        matches!(self.place, QuotePlace::InQuotes)
    }
}

/// A reader that fails where quotes are wrong, and where one record takes too much: a quote that is never closed
/// would take all the rest.
struct Bounded {
    inner: Box<dyn Read + Send>,
    quotes: Option<Quotes>,
    is_wrong: bool,
    max: u64,
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_wrong {
            return Err(io::Error::other(ContentError::Quotes));
        }
        let mut read = self.inner.read(buffer)?;
        if let Some(quotes) = &mut self.quotes {
            // What is before it is good.
            if let Some(wrong) = quotes.first_wrong(&buffer[..read]) {
                (read, self.is_wrong) = (wrong, true);
            }
            if read == 0 && (self.is_wrong || quotes.is_open()) {
                return Err(io::Error::other(ContentError::Quotes));
            }
        }
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(ContentError::TooLarge { max: self.max })),
        }
        Ok(read)
    }
}
