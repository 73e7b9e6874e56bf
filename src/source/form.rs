//! What is known of a file before it is opened: what it holds, and what it is packed with. How it is unpacked,
//! within bounds.

use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};

use super::document::Limits;
use crate::error::{ContentError, StoreError};

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One document, as it stands.
    Text,
    /// One document, whose text has to be taken out of it.
    Markup(Markup),
    /// A document a row.
    Rows(RowFormat),
}

/// What has a text in it among other things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Markup {
    /// CommonMark, with tables.
    Markdown,
    /// As the web has it.
    Html,
    /// HTML as XML.
    Xhtml,
    /// Pages.
    Pdf,
    /// Office Open XML, as Word writes it.
    Docx,
}

impl Markup {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Markup::Markdown => "Markdown",
            Markup::Html => "HTML",
            Markup::Xhtml => "XHTML",
            Markup::Pdf => "PDF",
            Markup::Docx => "DOCX",
        }
    }

    /// Whether it is text itself, in some encoding.
    pub fn is_text(self) -> bool {
        matches!(self, Markup::Markdown | Markup::Html | Markup::Xhtml)
    }
}

/// What has a row a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// JSON Lines.
    Jsonl,
    /// Comma- or semicolon-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// Parquet.
    Parquet,
}

/// What a file is packed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `.gz`
    Gzip,
    /// `.zst`
    Zstd,
}

/// What is known of a file by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// What it holds.
    pub kind: Kind,
    /// What it is packed with.
    pub packing: Option<Packing>,
}

impl Form {
    /// What a file may end in.
    pub const ENDINGS: &str = ".txt .text .md .markdown .html .htm .xhtml .pdf .docx .jsonl .ndjson .csv .tsv .parquet, and all but the last with .gz or .zst behind it";

    /// What the name says, if it says anything.
    pub fn of(path: &Path) -> Option<Form> {
        let packing = Packing::of(path);
        let inner = if packing.is_some() { path.with_extension("") } else { path.to_owned() };
        let kind = match ending(&inner)?.as_str() {
            "txt" | "text" => Kind::Text,
            "md" | "markdown" => Kind::Markup(Markup::Markdown),
            "html" | "htm" => Kind::Markup(Markup::Html),
            "xhtml" => Kind::Markup(Markup::Xhtml),
            "pdf" => Kind::Markup(Markup::Pdf),
            "docx" => Kind::Markup(Markup::Docx),
            "jsonl" | "ndjson" => Kind::Rows(RowFormat::Jsonl),
            "csv" => Kind::Rows(RowFormat::Csv),
            "tsv" => Kind::Rows(RowFormat::Tsv),
            // Its footer is read first, so it cannot be unpacked as it comes.
            "parquet" if packing.is_none() => Kind::Rows(RowFormat::Parquet),
            _ => return None,
        };
        Some(Form { kind, packing })
    }

    /// Of a file that was asked for by name, whatever it ends in.
    pub fn text(path: &Path) -> Form {
        Form { kind: Kind::Text, packing: Packing::of(path) }
    }

    /// The bytes of such a file, unpacked as they are read.
    pub fn unpack(self, bytes: Box<dyn Read + Send>, limits: &Limits) -> io::Result<Unpacked> {
        let taken = Arc::new(AtomicU64::new(0));
        let file = Counted { inner: bytes, taken: taken.clone() };
        let inner: Box<dyn Read + Send> = match self.packing {
            None => Box::new(file),
            Some(Packing::Gzip) => Box::new(MultiGzDecoder::new(BufReader::new(file))),
            Some(Packing::Zstd) => Box::new(zstd::Decoder::new(file)?),
        };
        Ok(Unpacked { inner, packing: self.packing, taken, given: 0, expansion_max: limits.expansion })
    }
}

impl Packing {
    fn of(path: &Path) -> Option<Packing> {
        match ending(path)?.as_str() {
            "gz" => Some(Packing::Gzip),
            "zst" => Some(Packing::Zstd),
            _ => None,
        }
    }
}

fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_ascii_lowercase().to_string_lossy().into_owned())
}

/// A reader that says how many bytes have been taken from it.
struct Counted {
    inner: Box<dyn Read + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.taken.fetch_add(read as u64, Relaxed);
        Ok(read)
    }
}

/// Little data may expand a lot; only more than this is a bomb.
pub const EXPANDED_FREELY: u64 = 16 << 20;

/// A file's bytes, unpacked. Fails where they become too many for what they were unpacked from.
pub struct Unpacked {
    inner: Box<dyn Read + Send>,
    packing: Option<Packing>,
    taken: Arc<AtomicU64>,
    given: u64,
    expansion_max: u64,
}

impl Unpacked {
    /// Counts the bytes of the file, packed as they are, that have been taken so far.
    pub fn taken(&self) -> Arc<AtomicU64> {
        self.taken.clone()
    }

    /// The unpacker's own errors; those of the system have a number, and those of object storage a type.
    fn damaged(&self, error: io::Error) -> io::Error {
        let kind = match self.packing {
            Some(Packing::Gzip) => "gzip",
            Some(Packing::Zstd) => "zstd",
            None => return error,
        };
        let is_trouble = error.get_ref().is_some_and(|error| error.is::<StoreError>());
        if is_trouble || error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        io::Error::other(ContentError::Damaged { kind: kind.to_owned(), reason: error.to_string() })
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).map_err(|e| self.damaged(e))?;
        self.given += read as u64;
        if self.given > EXPANDED_FREELY && self.given / self.expansion_max > self.taken.load(Relaxed) {
            return Err(io::Error::other(ContentError::Expands { max: self.expansion_max }));
        }
        Ok(read)
    }
}

pub fn other_kind(markup: Markup, found: &str) -> ContentError {
    ContentError::OtherKind { kind: markup.name().to_owned(), found: found.to_owned() }
}

pub fn damaged(markup: Markup, reason: impl ToString) -> ContentError {
    ContentError::Damaged { kind: markup.name().to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_known_by_the_ending() {
        let form = |name: &str| Form::of(Path::new(name)).map(|form| (form.kind, form.packing));
        assert_eq!(form("a.TXT"), Some((Kind::Text, None)));
        assert_eq!(form("a.b.md.gz"), Some((Kind::Markup(Markup::Markdown), Some(Packing::Gzip))));
        assert_eq!(form("a.jsonl.zst"), Some((Kind::Rows(RowFormat::Jsonl), Some(Packing::Zstd))));
        assert_eq!(form("a.parquet.gz"), None);
        assert_eq!(form("a.gz"), None);
        assert_eq!(form("txt"), None);
    }
}
