//! Reads one document: reads its bytes, decodes the bytes and extracts the text.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use serde_json::Value;

use super::decode::{self, Charset, decode};
use super::document::{Document, Limits, Origin};
use super::extract::Extracted;
use super::fields::{self, Fields, Parsed, Record};
use super::format::{DocumentFormat, FileFormat, FormatKind};
use super::json;
use super::location::Location;
use super::ocr::Ocr;
use super::picture::Take;
use super::worker::Workers;
use crate::error::{ContentError, DocumentError, Failure, Lost};
use crate::storage::object::Reader;
use crate::text::blocks::Structured;

/// Assumed ratio of the decompressed size of a text to the compressed size. The ratio of most texts is lower.
const LIKELY_EXPANSION: u64 = 20;

/// A document that has been found but has not been read yet.
#[derive(Debug)]
pub enum Raw {
    /// A file that is one document.
    File(RawFile),
    /// A row of a file.
    Row(RawRow),
}

/// A file that has been found.
#[derive(Debug)]
pub struct RawFile {
    /// The id of the document. If the file contains one document per row, this id is the `file` in `file:line`, the id of a
    /// row that has no id of its own.
    pub id: String,
    /// The folder that the id is relative to.
    pub base: Arc<Path>,
    /// The place of the file.
    pub location: Location,
    /// The running download of an object; `None` before the download begins, and for a file on this machine.
    pub download: Option<Box<Reader>>,
    pub(super) format: FileFormat,
    /// Size of the file, in bytes, at the time when the file was found.
    pub size: u64,
}

/// A row of a file. Its values have not been interpreted yet.
#[derive(Debug)]
pub struct RawRow {
    /// The id of the file. If the row has no id of its own, this id is the `file` in `file:line`, the id of the document.
    pub file_id: Arc<str>,
    /// The file that contains the row.
    pub file: Arc<Path>,
    /// The line number or row number, counted from 1.
    pub number: u64,
    /// The content of the row, as JSON or as a map from column names to values.
    pub content: RowContent,
    /// The encoding that the row was decoded from; `None` for UTF-8.
    pub encoding: Option<&'static str>,
    /// How many bytes of the file were read for this row, counted before decompression.
    pub progress: u64,
}

/// The content of a row.
#[derive(Debug)]
pub enum RowContent {
    /// The bytes of a JSON object.
    Json(Vec<u8>),
    /// The values of the requested columns.
    Record(Record),
}

impl Raw {
    /// Returns the approximate size of the document in memory, in bytes. The pipeline uses this size to limit its memory.
    pub fn size(&self) -> u64 {
        match self {
            Raw::File(file) if file.format.compression.is_some() => file.size * LIKELY_EXPANSION,
            Raw::File(file) => file.size,
            Raw::Row(row) => match &row.content {
                RowContent::Json(bytes) => bytes.len() as u64,
                RowContent::Record(record) => fields::bytes(record) as u64,
            },
        }
    }

    /// Returns how many bytes of a file are read for this document, counted before decompression. The progress bar shows
    /// the sum over all documents.
    pub fn progress(&self) -> u64 {
        match self {
            Raw::File(file) => file.size,
            Raw::Row(row) => row.progress,
        }
    }

    /// Returns the id of a file. Returns `None` for a row, because the id of a row is not known before the row is read.
    pub fn id(&self) -> Option<&str> {
        match self {
            Raw::File(file) => Some(&file.id),
            Raw::Row(_) => None,
        }
    }

    /// Begins the download of an object. Does nothing for a file on this machine or a row. The caller begins many downloads
    /// before it reads the documents, so that the downloads run at the same time.
    pub fn begin(&mut self) {
        if let Raw::File(RawFile { location: Location::Object(object), download, .. }) = self {
            *download = Some(Box::new(object.open()));
        }
    }

    /// Reads, decodes and extracts the document.
    ///
    /// # Errors
    /// The document cannot be read, is damaged or exceeds a limit.
    pub fn read(self, reading: &Reading) -> Result<Document, Failure> {
        match self {
            Raw::File(file) => file.read(reading),
            Raw::Row(row) => row.read(reading),
        }
    }
}

impl RawFile {
    fn read(self, reading: &Reading) -> Result<Document, Failure> {
        let RawFile { id, base, location, download, format, size } = self;
        let bytes = download.map_or_else(|| location.open(), |reader| Ok(reader));
        match bytes.and_then(|bytes| reading.file(bytes, format, size)) {
            Ok(Text { content, encoding, kept }) => {
                Ok(Document { id, content, origin: Origin { file: base, line: None }, encoding, kept })
            }
            Err(cause) => {
                Err(Failure { place: location.to_string(), cause, lost: Lost::Document(id.into()) })
            }
        }
    }
}

impl RawRow {
    fn read(self, reading: &Reading) -> Result<Document, Failure> {
        let RawRow { file_id, file, number, content, encoding, .. } = self;
        let origin = Origin { file, line: Some(number) };
        let id = |own: Option<String>| own.unwrap_or_else(|| format!("{file_id}:{number}"));
        match reading.row(&content, encoding) {
            Ok((own, Text { content, encoding, kept })) => {
                Ok(Document { id: id(own), content, origin, encoding, kept })
            }
            Err(cause) => {
                let own = reading.row_id(&content);
                let lost = own.map_or(Lost::Unknown, |own| Lost::Document(id(own).into()));
                Err(Failure { place: origin.place(""), cause, lost })
            }
        }
    }
}

/// The settings for reading documents.
#[derive(Debug)]
pub struct Reading {
    /// The fields to read from rows.
    pub fields: Fields,
    /// The encoding of texts; `None` to detect the encoding of each file.
    pub encoding: Option<&'static Charset>,
    /// Limits on each document.
    pub limits: Limits,
    /// The processes that run the parsers for PDF, DOCX and other formats.
    pub workers: Workers,
    /// Reads pictures and scanned pages; `None` if these are not read.
    pub ocr: Option<Ocr>,
}

/// The text of a document, its encoding and its kept values.
struct Text {
    content: Structured,
    encoding: Option<&'static str>,
    kept: Arc<[Value]>,
}

impl Reading {
    fn file(
        &self,
        bytes: Box<dyn Read + Send>,
        format: FileFormat,
        size: u64,
    ) -> Result<Text, DocumentError> {
        let bytes = self.bytes(bytes, format, size)?;
        let FormatKind::Document(format) = format.kind else {
            let (content, encoding) = match &self.ocr {
                Some(ocr) if format.kind == FormatKind::Picture => (ocr.picture(bytes)?, None),
                _ => {
                    let (text, encoding) = decode(bytes, self.encoding, None)?;
                    (Structured::plain(text), encoding)
                }
            };
            let kept = self.fields.kept(&Record::new());
            return Ok(Text { content, encoding, kept });
        };
        let (bytes, encoding) = if format.is_text() {
            let declared = if format == DocumentFormat::Markdown { None } else { decode::declared(&bytes) };
            let (text, encoding) = decode(bytes, self.encoding, declared)?;
            (text.into_bytes(), encoding)
        } else {
            (bytes, None)
        };
        let extracted = self.extracted(format, &bytes)?;
        let kept = self.fields.kept(&extracted.fields);
        Ok(Text { content: extracted.content, encoding, kept })
    }

    fn extracted(&self, format: DocumentFormat, bytes: &[u8]) -> Result<Extracted, DocumentError> {
        let wants_fields = !self.fields.keep.is_empty();
        let Some(ocr) = &self.ocr else {
            return self.workers.extract(format, bytes, wants_fields, None);
        };
        let extract = |take: &mut Take| self.workers.extract(format, bytes, wants_fields, Some(take));
        let (mut extracted, texts) = ocr.pages(extract)?;
        if !texts.is_empty() {
            extracted.content = extracted.content.with_pages(&texts);
        }
        match self.limits.document_bytes {
            max if extracted.content.text().len() as u64 > max => Err(ContentError::TooLarge { max }.into()),
            _ => Ok(extracted),
        }
    }

    fn bytes(
        &self,
        compressed: Box<dyn Read + Send>,
        format: FileFormat,
        size: u64,
    ) -> Result<Vec<u8>, DocumentError> {
        let max = self.limits.document_bytes;
        // The capacity is one byte more than the size of the file, so that reading the whole file needs no second
        // allocation. The capacity is only a guess, because the file may have grown or may be compressed.
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(max) + 1).unwrap_or_default());
        format.decompress(compressed, &self.limits)?.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(ContentError::TooLarge { max }.into());
        }
        Ok(bytes)
    }

    /// Returns the id and the text of a row. The id is `None` if the row has no id.
    fn row(
        &self,
        content: &RowContent,
        encoding: Option<&'static str>,
    ) -> Result<(Option<String>, Text), DocumentError> {
        // The decoder of a stream replaces invalid bytes by U+FFFD and continues. Therefore only the row with the invalid
        // bytes fails here, and not the whole file.
        let is_damaged = match content {
            RowContent::Json(line) => memmem::find(line, "\u{FFFD}".as_bytes()).is_some(),
            RowContent::Record(record) => record.values().filter_map(Value::as_str).any(is_damaged),
        };
        if let Some(encoding) = encoding.filter(|_| is_damaged) {
            return Err(DocumentError::Undecodable { encoding });
        }
        let Parsed { id, text, kept } = match content {
            RowContent::Json(line) => self.fields.of(&json::parse(line)?)?,
            RowContent::Record(record) => self.fields.of(record)?,
        };
        Ok((id, Text { content: Structured::plain(text), encoding, kept }))
    }

    /// Returns the id of a failed row. Returns `None` if the id cannot be read, and `Some(None)` if the row has no id.
    fn row_id(&self, content: &RowContent) -> Option<Option<String>> {
        let id = match content {
            RowContent::Json(line) => self.fields.id(&json::parse(line).ok()?),
            RowContent::Record(record) => self.fields.id(record),
        };
        id.ok()
    }
}

/// Returns whether a text contains characters that occur only if invalid bytes were replaced or if the encoding is wrong.
fn is_damaged(text: &str) -> bool {
    text.contains(char::REPLACEMENT_CHARACTER) || decode::has_c1_control(text)
}

#[cfg(test)]
impl Reading {
    /// Returns the default settings of the command line. No worker is running.
    pub fn for_test() -> Self {
        let limits = Limits { document_bytes: 256 << 20, seconds: 60, expansion: 100 };
        Reading {
            fields: Fields { id: "id".into(), text: vec!["text".into()], keep: Vec::new() },
            encoding: None,
            limits,
            workers: Workers::new(Default::default(), limits),
            ocr: None,
        }
    }
}
