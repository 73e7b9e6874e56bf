//! A document that has been found in, the document out: what is worth a thread of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::{Charset, Decoded, decode};
use super::extract::markdown;
use super::form::{Form, Kind};
use super::{DOCUMENT_BYTES_MAX, Document, Fields, Origin};
use crate::error::{DocumentError, Failure};

/// How much larger a packed text is likely to be, at most.
const PACKED: u64 = 20;

/// A document that has been found but not read.
#[derive(Debug)]
pub enum Raw {
    /// A text file.
    File {
        /// The document's id.
        id: String,
        /// The folder that the id is relative to.
        base: Arc<Path>,
        /// The file.
        path: PathBuf,
        /// What it holds, and how that is packed.
        form: Form,
        /// Its size when it was found, in bytes.
        size: u64,
    },
    /// A line of JSONL.
    Line {
        /// The file's id, for lines without one.
        file_id: Arc<str>,
        /// The file.
        file: Arc<Path>,
        /// The line, counted from 1.
        number: u64,
        /// What stands there, without the line end.
        bytes: Vec<u8>,
    },
}

impl Raw {
    /// Bytes it will have in memory, about: for progress, and for bounding what is in memory.
    pub fn size(&self) -> u64 {
        match self {
            Raw::File { size, form: Form { packing: Some(_), .. }, .. } => size * PACKED,
            Raw::File { size, .. } => *size,
            Raw::Line { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Reads, decodes and parses.
    pub fn read(self, reading: &Reading) -> Result<Document, Failure> {
        match self {
            Raw::File { id, base, path, form, .. } => match read_file(&path, form, reading.encoding) {
                Ok((text, encoding)) => {
                    Ok(Document { id, text, origin: Origin { file: base, line: None }, encoding })
                }
                Err(cause) => Err(Failure { place: path.display().to_string(), cause }),
            },
            Raw::Line { file_id, file, number, bytes } => {
                let origin = Origin { file, line: Some(number) };
                match reading.fields.parse(&bytes) {
                    Ok((id, text)) => Ok(Document {
                        id: id.unwrap_or_else(|| format!("{file_id}:{number}")),
                        text,
                        origin,
                        encoding: None,
                    }),
                    Err(cause) => Err(Failure { place: origin.place(""), cause }),
                }
            }
        }
    }
}

/// How documents are read.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The fields of JSONL.
    pub fields: Fields,
    /// The encoding of text files, where it is not to be found out.
    pub encoding: Option<&'static Charset>,
}

fn read_file(path: &Path, form: Form, forced: Option<&'static Charset>) -> Result<Decoded, DocumentError> {
    let bytes = read_bytes(path, form)?;
    let (text, encoding) = decode(bytes, forced)?;
    let text = match form.kind {
        Kind::Markdown => markdown(&text),
        Kind::Text | Kind::Jsonl => text,
    };
    Ok((text, encoding))
}

fn read_bytes(path: &Path, form: Form) -> Result<Vec<u8>, DocumentError> {
    let mut bytes = Vec::new();
    form.open(path)?.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(DocumentError::TooLarge { max: DOCUMENT_BYTES_MAX });
    }
    Ok(bytes)
}
