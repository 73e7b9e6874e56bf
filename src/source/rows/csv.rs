//! Reads CSV files, one document per row after the header. Commas, semicolons, tabs or `|` separate the values. No other
//! module uses the crate `csv`.

use std::io::{self, Read};
use std::mem;

use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::Value;

use super::source::Source;
use crate::error::{ContentError, DocumentError};
use crate::source::decode::{self, Charset};
use crate::source::fields::Record;
use crate::source::format::Decompressed;
use crate::source::found::Found;
use crate::source::raw::{Reading, RowContent};

/// Separators that are detected in `.csv` files. Spreadsheets write semicolons in countries where the comma is the decimal
/// sign.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Some programs write this before a quote inside a value, instead of a second quote.
const BACKSLASH: u8 = b'\\';

/// The rows of one file. Empty lines are skipped.
pub struct CsvRows {
    reader: Option<Reader<Bounded>>,
    source: Source,
    columns: Vec<Column>,
    /// The row number of the row that was read most recently. The header is row 1. Empty lines have no row numbers.
    number: u64,
    bytes_max: u64,
}

/// A requested column. If several columns have the same name, only the first of these columns is read.
struct Column {
    index: usize,
    name: String,
    /// Whether the column is a text field. In a text field, an empty value is an empty text. In any other column, an empty
    /// value is a missing value.
    is_text: bool,
}

impl CsvRows {
    pub fn open(
        content: Decompressed,
        separator: Option<u8>,
        mut source: Source,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        let (reader, encoding) = decode::stream(Box::new(content), reading.encoding)?;
        source.encoding = encoding;
        let (start, mut reader) = decode::peek(reader)?;
        let declared = declared_separator(&start);
        let head = declared.map_or(0, |(_, bytes)| bytes);
        decode::skip(&mut reader, head)?;
        let start = &start[head..];
        let known = declared.map(|(separator, _)| separator).or(separator);
        let separator = known.unwrap_or_else(|| find_separator(start));
        let quoting = find_quoting(start, separator);
        let bytes_max = reading.limits.document_bytes;
        let bounded = Bounded {
            inner: reader,
            quotes: (quoting != Quoting::None).then(|| Quotes::new(separator, quoting)),
            is_wrong: false,
            max: bytes_max,
            left: bytes_max,
        };
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .quoting(quoting != Quoting::None)
            .escape((quoting == Quoting::Backslash).then_some(BACKSLASH))
            .from_reader(bounded);
        let header = header(reader.byte_headers().map_err(error)?)?;
        // If the header is empty, the file has no lines and therefore no rows.
        if header.is_empty() {
            return Ok(CsvRows { reader: None, source, columns: Vec::new(), number: 1, bytes_max });
        }
        reading.seen.columns(&header);
        let columns =
            reading.fields.columns(&header)?.into_iter().filter(|&at| !header[..at].contains(&header[at]));
        let columns = columns.map(|index| {
            let name = header[index].clone();
            Column { index, is_text: reading.fields.text.contains(&name), name }
        });
        Ok(CsvRows { columns: columns.collect(), reader: Some(reader), source, number: 1, bytes_max })
    }

    fn record(&self, row: &ByteRecord) -> Result<Record, DocumentError> {
        let mut record = Record::new();
        for Column { index, name, is_text } in &self.columns {
            let value = text(row.get(*index).unwrap_or_default())?;
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
                // If a row has the wrong number of values, only that row fails. After any other error, the position in the
                // file is unknown, so reading stops.
                Some(match cause {
                    DocumentError::ColumnCount { .. } => self.source.failed(self.number, cause),
                    _ => {
                        self.reader = None;
                        self.source.failed_from(Some(self.number), cause)
                    }
                })
            }
        }
    }
}

fn header(record: &ByteRecord) -> Result<Vec<String>, DocumentError> {
    record.iter().map(|name| Ok(text(name)?.trim().to_owned())).collect()
}

/// Converts a value to a string. The value may be invalid UTF-8, because the decoder returns the bytes of a UTF-8 file
/// unchanged.
fn text(value: &[u8]) -> Result<String, DocumentError> {
    match std::str::from_utf8(value) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(DocumentError::Undecodable { encoding: Charset::UTF_8.name() }),
    }
}

fn error(e: csv::Error) -> DocumentError {
    let said = e.to_string();
    match e.into_kind() {
        csv::ErrorKind::Io(e) => e.into(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            DocumentError::ColumnCount { columns: expected_len, values: len }
        }
        _ => {
            let reason = format!("its rows cannot be parsed (csv: {said})");
            ContentError::Damaged { kind: "CSV".to_owned(), reason }.into()
        }
    }
}

/// Returns the separator that a spreadsheet declares in a line before the header (`sep=;`), and the length of that line in
/// bytes.
fn declared_separator(start: &[u8]) -> Option<(u8, usize)> {
    let is_quoted = start.starts_with(b"\"");
    let (&separator, behind) = start[usize::from(is_quoted)..].strip_prefix(b"sep=")?.split_first()?;
    let behind = if is_quoted { behind.strip_prefix(b"\"")? } else { behind };
    let ends = behind.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    Some((separator, start.len() - behind.len() + ends))
}

/// How values that contain separators, quotes or line breaks are written.
#[derive(Clone, Copy, PartialEq)]
enum Quoting {
    /// A quote is an ordinary character.
    None,
    /// In quotes, and each quote inside is written twice (RFC 4180).
    Doubled,
    /// In quotes, and a backslash stands before each quote and backslash inside.
    Backslash,
}

/// Returns the first way of quoting whose rules the start of a file follows. Some programs never quote values in tab-separated
/// files, so there a quote may be an ordinary character.
fn find_quoting(start: &[u8], separator: u8) -> Quoting {
    let is_whole = (start.len() as u64) < decode::START_BYTES;
    let fits = |quoting: &Quoting| {
        let mut quotes = Quotes::new(separator, *quoting);
        let is_wrong = quotes.first_wrong(&mut start.to_vec()).is_some();
        !(is_wrong || is_whole && quotes.is_open())
    };
    let other = if separator == b'\t' { Quoting::None } else { Quoting::Doubled };
    [Quoting::Doubled, Quoting::Backslash].into_iter().find(fits).unwrap_or(other)
}

/// Returns the separator that occurs most often in the header. Returns a comma if the header contains no separator.
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

/// Checks quotes by the rules of a [`Quoting`]. The crate `csv` also accepts quotes that break these rules, and may then merge
/// many rows into one value.
struct Quotes {
    separator: u8,
    has_backslashes: bool,
    state: QuoteState,
    /// Number of separators in the current line so far.
    separators: usize,
    /// Number of separators in the header; `None` until the header has been read.
    of_header: Option<usize>,
    /// Whether the current line began within quotes.
    began_in_quotes: bool,
}

/// The state of the quote check: the part of a value that the next byte belongs to.
#[derive(Clone, Copy)]
enum QuoteState {
    ValueStart,
    InValue,
    InQuotes,
    AfterBackslash,
    AfterQuotes,
    AfterSpace,
}

impl Quotes {
    fn new(separator: u8, quoting: Quoting) -> Self {
        let has_backslashes = quoting == Quoting::Backslash;
        let state = QuoteState::ValueStart;
        Quotes { separator, has_backslashes, state, separators: 0, of_header: None, began_in_quotes: false }
    }

    /// Returns the index of the first byte that breaks the rules. Writes the control character that a backslash and a letter
    /// stand for in place of the letter, because the crate `csv` only removes the backslash.
    fn first_wrong(&mut self, bytes: &mut [u8]) -> Option<usize> {
        bytes.iter_mut().position(|written| {
            use QuoteState::{AfterBackslash, AfterQuotes, AfterSpace, InQuotes, InValue, ValueStart};
            let byte = *written;
            let is_end = byte == self.separator || matches!(byte, b'\n' | b'\r');
            self.state = match (self.state, byte) {
                (AfterBackslash, _) => {
                    *written = match byte {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        _ => byte,
                    };
                    InQuotes
                }
                (InQuotes, BACKSLASH) if self.has_backslashes => AfterBackslash,
                (InQuotes, b'"') => AfterQuotes,
                (InQuotes, _) => InQuotes,
                (ValueStart | AfterQuotes, b'"') => InQuotes,
                (_, _) if is_end => ValueStart,
                (AfterQuotes | AfterSpace, b' ') => AfterSpace,
                (AfterQuotes | AfterSpace, _) => return true,
                (ValueStart | InValue, _) => InValue,
            };
            self.separators += usize::from(byte == self.separator);
            byte == b'\n' && self.is_row_in_quotes()
        })
    }

    /// Returns whether the line that has just ended began within quotes and has as many separators as the header. Such a
    /// line is most likely a whole row, so an earlier quote was not closed. Only tab-separated files are checked: a line of
    /// quoted text often has as many commas as the header, but hardly ever as many tabs.
    fn is_row_in_quotes(&mut self) -> bool {
        let separators = mem::take(&mut self.separators);
        let of_header = *self.of_header.get_or_insert(separators);
        let is_open = self.is_open();
        let began_in_quotes = mem::replace(&mut self.began_in_quotes, is_open);
        self.separator == b'\t' && began_in_quotes && of_header > 0 && separators == of_header
    }

    fn is_open(&self) -> bool {
        matches!(self.state, QuoteState::InQuotes | QuoteState::AfterBackslash)
    }
}

/// A reader that fails if quotes break the rules, or if a record is larger than the limit. Without this reader, the crate
/// `csv` would read everything after an unclosed quote as one value.
struct Bounded {
    inner: Box<dyn Read + Send>,
    /// `None` for a file without quoting.
    quotes: Option<Quotes>,
    is_wrong: bool,
    /// Maximum size of a record, in bytes.
    max: u64,
    /// How many bytes may still be read for the current record.
    left: u64,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_wrong {
            return Err(io::Error::other(ContentError::Quotes));
        }
        let mut read = self.inner.read(buffer)?;
        if let Some(quotes) = &mut self.quotes {
            // First only the bytes before the wrong byte are returned, so that the rows in these bytes are read. The next
            // read fails.
            if let Some(wrong) = quotes.first_wrong(&mut buffer[..read]) {
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
