//! Reads one document: reads its bytes, decodes the bytes and extracts the text.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use serde_json::Value;

use super::decode::{self, Charset, Decoded, decode};
use super::document::{Document, LeftOut, Limits, Origin, PagePart};
use super::extract::Extracted;
use super::extract::attachment::Attachment;
use super::fields::{self, Fields, Parsed, Record};
use super::format::{DocumentFormat, FileFormat, FormatKind, damaged};
use super::json;
use super::location::{Inside, Location};
use super::ocr::Ocr;
use super::picture::{Scans, Take};
use super::raw_file::RawFile;
use super::seen_fields::SeenFields;
use super::worker::Workers;
use crate::error::{ContentError, DocumentError, Failure, Lost};
use crate::text::blocks::Structured;
use crate::text::clean::clean;

/// Assumed ratio of the decompressed size of a text to the compressed size. The ratio of most texts is lower.
const LIKELY_EXPANSION: u64 = 20;

/// Maximum number of messages inside of each other. Each of them is sent to a worker with all that is in it.
const DEPTH_MAX: usize = 8;

/// A document that has been found but has not been read yet.
#[derive(Debug)]
pub enum Raw {
    /// A file that is one document.
    File(RawFile),
    /// A row of a file.
    Row(RawRow),
    /// A document that a worker has found in a file.
    Section(RawSection),
}

/// A row of a file. Its values have not been interpreted yet.
#[derive(Debug)]
pub struct RawRow {
    /// The id of the file, or of the section of the file. If the row has no id of its own, this id is the `file` in
    /// `file:line`, the id of the document.
    pub file_id: Arc<str>,
    /// The file that contains the row, or the section.
    pub file: Arc<Path>,
    /// The line number or row number, counted from 1.
    pub number: u64,
    /// The content of the row, as JSON or as a map from column names to values.
    pub content: RowContent,
    /// The format of the file.
    pub format: FormatKind,
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

/// A section of a file that is one document, such as a sheet of a workbook. A worker has extracted its text.
#[derive(Debug)]
pub struct RawSection {
    /// The id of the document.
    pub id: String,
    /// The folder that the id is relative to.
    pub base: Arc<Path>,
    /// The format of the file.
    pub format: FormatKind,
    pub(super) extracted: Extracted,
    /// How many bytes of the file were read for this section, counted before decompression.
    pub progress: u64,
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
            Raw::Section(section) => section.extracted.content.text().len() as u64,
        }
    }

    /// Returns how many bytes of a file are read for this document, counted before decompression. The progress bar shows
    /// the sum over all documents.
    pub fn progress(&self) -> u64 {
        match self {
            Raw::File(RawFile { location: Location::Inside(inside), .. }) => inside.progress,
            Raw::File(file) => file.size,
            Raw::Row(row) => row.progress,
            Raw::Section(section) => section.progress,
        }
    }

    /// Returns the id of the only document in this. Returns `None` for a row, because the id of a row is not known before the row
    /// is read, and for a message, because it may have attachments.
    pub fn id(&self) -> Option<&str> {
        match self {
            Raw::File(file) if file.has_attachments() => None,
            Raw::File(file) => Some(&file.id),
            Raw::Row(_) => None,
            Raw::Section(section) => Some(&section.id),
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
            Raw::Section(section) => Ok(section.read(reading)),
        }
    }
}

impl RawFile {
    /// Returns whether the file may hold attachments, which are documents of their own.
    fn has_attachments(&self) -> bool {
        self.format.kind == FormatKind::Document(DocumentFormat::Eml)
    }

    fn read(mut self, reading: &Reading) -> Result<Document, Failure> {
        let download = self.download.take();
        let bytes = download.map_or_else(|| self.location.open(), |reader| Ok(reader));
        let read = bytes.and_then(|bytes| reading.file(bytes, self.format, self.size));
        match read.and_then(|(text, attachments, unread)| Ok((text, self.attached(attachments)?, unread))) {
            Ok((text, attached, unread)) => {
                let origin = Origin { file: self.base, line: None };
                Ok(Document { attached, unread, ..text.document(self.id, origin) })
            }
            Err(cause) => {
                let place = self.location.to_string();
                let id = self.id.as_str().into();
                let lost = if self.has_attachments() { Lost::Below(id) } else { Lost::Document(id) };
                Err(Failure { place, cause, lost })
            }
        }
    }

    /// Returns the attachments of this file as files.
    fn attached(&self, attachments: Vec<Attachment>) -> Result<Vec<RawFile>, ContentError> {
        let depth = self.location.depth() + 1;
        if depth > DEPTH_MAX && !attachments.is_empty() {
            let reason = format!("more than {DEPTH_MAX} messages are inside of each other");
            return Err(damaged(DocumentFormat::Eml, reason));
        }
        let file = |Attachment { name, content }| {
            let path = self.location.name().join(&name);
            let inside = Inside { name: path, content, progress: 0, depth };
            Some(RawFile {
                id: format!("{}/{name}", self.id),
                base: self.base.clone(),
                format: FileFormat::of(&inside.name).or_else(|| FileFormat::picture(&inside.name))?,
                size: inside.content.len() as u64,
                location: Location::Inside(Arc::new(inside)),
                download: None,
            })
        };
        Ok(attachments.into_iter().filter_map(file).collect())
    }
}

impl RawRow {
    fn read(self, reading: &Reading) -> Result<Document, Failure> {
        let RawRow { file_id, file, number, content, format, encoding, .. } = self;
        let origin = Origin { file, line: Some(number) };
        let id = |own: Option<String>| own.unwrap_or_else(|| format!("{file_id}:{number}"));
        match reading.row(&content, format, encoding) {
            Ok((own, text)) => Ok(text.document(id(own), origin)),
            Err(cause) => {
                let own = reading.row_id(&content);
                let lost = own.map_or(Lost::Unknown, |own| Lost::Document(id(own).into()));
                Err(Failure { place: origin.place(""), cause, lost })
            }
        }
    }
}

impl RawSection {
    fn read(self, reading: &Reading) -> Document {
        let RawSection { id, base, format, extracted: Extracted { content, fields, .. }, .. } = self;
        let origin = Origin { file: base, line: None };
        let (title, kept) = (title(&fields), reading.kept(&fields));
        Text { content, title, format, part: None, encoding: None, repaired: 0, kept }.document(id, origin)
    }
}

/// The settings for reading documents.
#[derive(Debug)]
pub struct Reading {
    /// The fields to read from rows.
    pub fields: Fields,
    /// The encoding of texts; `None` to detect the encoding of each file.
    pub encoding: Option<Charset>,
    /// The fields that documents were found to have.
    pub seen: Arc<SeenFields>,
    /// Whether the titles of documents are read.
    pub wants_title: bool,
    /// Limits on each document.
    pub limits: Limits,
    /// The processes that run the parsers for PDF, Office documents and other formats.
    pub workers: Workers,
    /// Reads pictures and scanned pages; `None` if these are not read.
    pub ocr: Option<Ocr>,
}

/// The text of a document, its encoding and its kept values.
struct Text {
    content: Structured,
    title: Option<String>,
    format: FormatKind,
    part: Option<PagePart>,
    encoding: Option<&'static str>,
    repaired: usize,
    kept: Arc<[Value]>,
}

impl Text {
    /// Returns a document with this text, without files inside of it.
    fn document(self, id: String, origin: Origin) -> Document {
        let Text { content, title, format, part, encoding, repaired, kept } = self;
        let (attached, unread) = (Vec::new(), Vec::new());
        Document { id, content, title, origin, format, part, encoding, repaired, kept, attached, unread }
    }
}

impl Reading {
    /// Returns the text of a file, the files inside of it, and why other parts of it are not read.
    fn file(
        &self,
        bytes: Box<dyn Read + Send>,
        format: FileFormat,
        size: u64,
    ) -> Result<(Text, Vec<Attachment>, Vec<LeftOut>), DocumentError> {
        let bytes = self.bytes(bytes, format, size)?;
        let FormatKind::Document(format) = format.kind else {
            let kept = self.fields.kept(&Record::new());
            let (content, encoding, repaired) = match &self.ocr {
                Some(ocr) if format.kind == FormatKind::Picture => (ocr.picture(bytes)?, None, 0),
                _ => {
                    let Decoded { text, encoding, repaired } = decode(bytes, self.encoding, None)?;
                    (Structured::plain(text), encoding, repaired)
                }
            };
            let (format, title, part) = (format.kind, None, None);
            let text = Text { content, title, format, part, encoding, repaired, kept };
            return Ok((text, Vec::new(), Vec::new()));
        };
        let (bytes, encoding, repaired) = if format.is_text() {
            let declared = if format.declares_encoding() { decode::declared(&bytes) } else { None };
            let Decoded { text, encoding, repaired } = decode(bytes, self.encoding, declared)?;
            (text.into_bytes(), encoding, repaired)
        } else {
            (bytes, None, 0)
        };
        let Extracted { content, fields, part, repaired: in_parts, attachments, unread } =
            self.extracted(format, &bytes)?;
        let (title, kept) = (title(&fields), self.kept(&fields));
        let (format, repaired) = (FormatKind::Document(format), repaired + in_parts);
        let text = Text { content, title, format, part, encoding, repaired, kept };
        Ok((text, attachments, unread))
    }

    fn extracted(&self, format: DocumentFormat, bytes: &[u8]) -> Result<Extracted, DocumentError> {
        let wants_fields = self.wants_title || !self.fields.keep.is_empty();
        let extract = |scans, take: &mut Take| self.workers.extract(format, bytes, wants_fields, scans, take);
        let Some(ocr) = self.ocr.as_ref().filter(|_| format.may_hold_pictures()) else {
            return extract(Scans::Refused, &mut |_| Ok(()));
        };
        let (mut extracted, texts) = ocr.pages(bytes, extract)?;
        if !texts.is_empty() {
            extracted.content = extracted.content.with_pages(&texts);
        }
        Ok(extracted.within(self.limits)?)
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
        format.decompress(compressed, self.limits.expansion)?.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(ContentError::TooLarge { max }.into());
        }
        Ok(bytes)
    }

    /// Returns the id and the text of a row. The id is `None` if the row has no id.
    fn row(
        &self,
        content: &RowContent,
        format: FormatKind,
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
        let parsed;
        let record = match content {
            RowContent::Json(line) => {
                parsed = json::parse(line)?;
                &parsed
            }
            RowContent::Record(record) => record,
        };
        let Parsed { id, text, kept } = self.fields.of(record)?;
        self.seen.row(id.is_some());
        if id.is_none() || kept.iter().any(Value::is_null) {
            self.seen.lacking(record);
        }
        let content = Structured::plain(text);
        Ok((id, Text { content, title: None, format, part: None, encoding, repaired: 0, kept }))
    }

    /// Returns the kept values of a document that is no row.
    fn kept(&self, fields: &Record) -> Arc<[Value]> {
        let kept = self.fields.kept(fields);
        if kept.iter().any(Value::is_null) {
            self.seen.lacking(fields);
        }
        kept
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

/// Returns the title that a document says it has.
fn title(fields: &Record) -> Option<String> {
    fields.get("title").and_then(Value::as_str).map(clean)
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
            seen: Arc::default(),
            encoding: None,
            wants_title: false,
            limits,
            workers: Workers::new(Default::default(), limits),
            ocr: None,
        }
    }
}
