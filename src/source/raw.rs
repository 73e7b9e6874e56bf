//! A document that has been found in, the document out: what is worth a thread of its own.

use super::json;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use serde_json::Value;

use super::decode::{self, Charset, decode};
use super::document::{Document, Limits, Origin};
use super::fields::{self, Fields, Parsed, Record};
use super::form::{Form, Kind, Markup};
use super::location::Location;
use super::worker::Workers;
use crate::error::{ContentError, DocumentError, Failure, Lost};
use crate::storage::object::Reader;

/// How much larger a packed text is likely to be, at most.
const PACKED: u64 = 20;

/// A document that has been found but not read.
#[derive(Debug)]
pub enum Raw {
    /// A file.
    File {
        /// The document's id.
        id: String,
        /// The folder that the id is relative to.
        base: Arc<Path>,
        /// The file.
        location: Location,
        /// Its bytes, where they are on their way already.
        begun: Option<Box<Reader>>,
        /// What it holds, and how that is packed.
        form: Form,
        /// Its size when it was found, in bytes.
        size: u64,
    },
    /// A row of a file.
    Row {
        /// The file's id, for rows without one.
        file_id: Arc<str>,
        /// The file.
        file: Arc<Path>,
        /// The line or row, counted from 1.
        number: u64,
        /// What stands there.
        content: RowContent,
        /// What it was decoded from, where that was not UTF-8.
        encoding: Option<&'static str>,
        /// Bytes of the file that were read for it.
        progress: u64,
    },
}

/// A row, as far as it has been read.
#[derive(Debug)]
pub enum RowContent {
    /// A JSON object, in bytes.
    Json(Vec<u8>),
    /// The columns asked for.
    Record(Record),
}

impl Raw {
    /// Bytes it will have in memory, about: for bounding what is there.
    pub fn size(&self) -> u64 {
        match self {
            Raw::File { size, form: Form { packing: Some(_), .. }, .. } => size * PACKED,
            Raw::File { size, .. } => *size,
            Raw::Row { content: RowContent::Json(bytes), .. } => bytes.len() as u64,
            Raw::Row { content: RowContent::Record(record), .. } => fields::bytes(record) as u64,
        }
    }

    /// Bytes of its file that it stands for, packed as they are.
    pub fn progress(&self) -> u64 {
        match self {
            Raw::File { size, .. } => *size,
            Raw::Row { progress, .. } => *progress,
        }
    }

    /// The id, where it is known before it is read.
    pub fn id(&self) -> Option<&str> {
        match self {
            Raw::File { id, .. } => Some(id),
            Raw::Row { .. } => None,
        }
    }

    /// Has an object sent, many of them side by side, before its turn to be read comes.
    pub fn begin(&mut self) {
        if let Raw::File { location: Location::Object(object), begun, .. } = self {
            *begun = Some(Box::new(object.open()));
        }
    }

    /// Reads, decodes and parses.
    pub fn read(self, reading: &Reading) -> Result<Document, Failure> {
        match self {
            Raw::File { id, base, location, begun, form, size } => {
                let origin = Origin { file: base, line: None };
                let bytes = begun.map_or_else(|| location.open(), |reader| Ok(reader));
                match bytes.map_err(Into::into).and_then(|bytes| reading.file(bytes, form, size)) {
                    Ok(Text { text, encoding, kept }) => Ok(Document { id, text, origin, encoding, kept }),
                    Err(cause) => {
                        let place = location.to_string();
                        Err(Failure { place, cause, lost: Lost::Document(id.into()) })
                    }
                }
            }
            Raw::Row { file_id, file, number, content, encoding, .. } => {
                let origin = Origin { file, line: Some(number) };
                let id = |own: Option<String>| own.unwrap_or_else(|| format!("{file_id}:{number}"));
                match reading.row(&content, encoding) {
                    Ok((own, Text { text, encoding, kept })) => {
                        Ok(Document { id: id(own), text, origin, encoding, kept })
                    }
                    Err(cause) => {
                        let own = reading.row_id(&content);
                        let lost = own.map_or(Lost::Unknown, |own| Lost::Document(id(own).into()));
                        Err(Failure { place: origin.place(""), cause, lost })
                    }
                }
            }
        }
    }
}

/// How documents are read.
#[derive(Debug)]
pub struct Reading {
    /// The columns of rows.
    pub fields: Fields,
    /// The encoding of texts, where it is not to be found out.
    pub encoding: Option<&'static Charset>,
    /// How much a document may take.
    pub limits: Limits,
    /// Who takes texts out of files.
    pub workers: Workers,
}

/// What a document holds.
struct Text {
    text: String,
    encoding: Option<&'static str>,
    kept: Arc<[Value]>,
}

impl Reading {
    fn file(&self, bytes: Box<dyn Read + Send>, form: Form, size: u64) -> Result<Text, DocumentError> {
        let bytes = self.bytes(bytes, form, size)?;
        let Kind::Markup(markup) = form.kind else {
            let (text, encoding) = decode(bytes, self.encoding, None)?;
            return Ok(Text { text, encoding, kept: self.fields.kept(&Record::new()) });
        };
        let (bytes, encoding) = if markup.is_text() {
            let declared = if markup == Markup::Markdown { None } else { decode::declared(&bytes) };
            let (text, encoding) = decode(bytes, self.encoding, declared)?;
            (text.into_bytes(), encoding)
        } else {
            (bytes, None)
        };
        let extracted = self.workers.extract(markup, &bytes, !self.fields.keep.is_empty())?;
        Ok(Text { text: extracted.text, encoding, kept: self.fields.kept(&extracted.front_matter) })
    }

    fn bytes(&self, packed: Box<dyn Read + Send>, form: Form, size: u64) -> Result<Vec<u8>, DocumentError> {
        let max = self.limits.document_bytes;
        // One more, to see the end; the file may have grown since, or unpack to more.
        let mut bytes = Vec::with_capacity(size.min(max) as usize + 1);
        form.unpack(packed, &self.limits)?.take(max + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > max {
            return Err(ContentError::TooLarge { max }.into());
        }
        Ok(bytes)
    }

    /// The id, where there is one, and the text.
    fn row(
        &self,
        content: &RowContent,
        encoding: Option<&'static str>,
    ) -> Result<(Option<String>, Text), DocumentError> {
        // A stream cannot fail in the middle of a row: it puts a sign in the place of wrong bytes.
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
        Ok((id, Text { text, encoding, kept }))
    }

    /// The id, where there is one, of a row that is no document otherwise; `None` where that is not to be known.
    fn row_id(&self, content: &RowContent) -> Option<Option<String>> {
        let id = match content {
            RowContent::Json(line) => self.fields.id(&json::parse(line).ok()?),
            RowContent::Record(record) => self.fields.id(record),
        };
        id.ok()
    }
}

fn is_damaged(text: &str) -> bool {
    text.contains(char::REPLACEMENT_CHARACTER) || decode::has_c1_control(text)
}

#[cfg(test)]
impl Reading {
    /// The defaults, without workers.
    pub fn for_test() -> Self {
        let limits = Limits { document_bytes: 256 << 20, seconds: 60, expansion: 100 };
        Reading {
            fields: Fields { id: "id".into(), text: vec!["text".into()], keep: Vec::new() },
            encoding: None,
            limits,
            workers: Workers::new(Default::default(), limits),
        }
    }
}
