//! The types for documents, for the places of documents, for the limits on documents, and for the reasons why files are
//! skipped.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::format::FormatKind;
use super::raw_file::RawFile;
use crate::console::{trace, without_secrets};
use crate::text::blocks::Structured;

/// The limits that apply to each document.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Maximum size of a decompressed file or of a row, in bytes. This limit is at most 2^30, because string columns of
    /// Arrow have 32-bit offsets.
    pub document_bytes: u64,
    /// Maximum processor time for extracting the text of a document, in seconds.
    pub seconds: u64,
    /// Maximum ratio of decompressed size to compressed size.
    pub expansion: u64,
}

/// The part of a web page that is the document.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PagePart {
    /// The main content. A page without a main content is read whole.
    #[default]
    Article,
    /// Everything but menus, controls and hidden elements.
    Whole,
}

impl FromStr for PagePart {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "article" => Ok(PagePart::Article),
            "whole" => Ok(PagePart::Whole),
            _ => Err("expected article or whole"),
        }
    }
}

/// A document that has been read.
#[derive(Debug)]
pub struct Document {
    /// The id of the document. The id is unique within an output file and is the same in every run.
    pub id: String,
    /// The extracted text with its blocks. The pipeline later replaces this text with the clean text.
    pub content: Structured,
    /// The title that the document says it has; `None` if there is none, or if the run does not need it.
    pub title: Option<String>,
    /// The place of the document, for messages.
    pub origin: Origin,
    /// The format of the file that the document is, or is a row of.
    pub format: FormatKind,
    /// The part of a web page that is the text; `None` for documents of other formats.
    pub part: Option<PagePart>,
    /// The encoding that the text was decoded from; `None` for UTF-8.
    pub encoding: Option<&'static str>,
    /// How many stray bytes were replaced or removed when the text was decoded.
    pub repaired: usize,
    /// The values of the fields in [`Fields::keep`](super::Fields::keep), in the order of that list. The value of a missing
    /// field is null.
    pub kept: Arc<[Value]>,
    /// The files inside of the document that are documents of their own, such as the attachments of a mail.
    pub attached: Vec<RawFile>,
    /// Why parts of the document are not read, once per part.
    pub unread: Vec<LeftOut>,
}

impl Document {
    /// Returns the place of the document for messages: the path of the file, or `file:line` for a row.
    pub fn place(&self) -> String {
        self.origin.place(&self.id)
    }

    /// Says how the document was read: its format, its encoding, the part of a web page, and its title if the run needs it.
    pub fn told(&self) -> String {
        let part = self.part.map(|part| match part {
            PagePart::Article => "main content",
            PagePart::Whole => "whole page",
        });
        let title = self.title.as_ref().map(|title| format!(", title {title:?}"));
        let words = [Some(self.format.name()), self.encoding_name(), part].into_iter().flatten();
        words.collect::<Vec<_>>().join(", ") + &title.unwrap_or_default()
    }

    /// Returns what [`Document::told`] says, for programs.
    pub fn details(&self) -> Value {
        let place = self.place();
        let (place, encoding) = (without_secrets(&place), self.encoding_name());
        json!({"id": self.id, "place": place, "format": self.format.name(), "encoding": encoding, "part": self.part,
               "title": self.title})
    }

    fn encoding_name(&self) -> Option<&'static str> {
        self.encoding.or(self.format.is_text().then_some("UTF-8"))
    }
}

/// The place of a document.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The path of the file that contains the row. For a document that is a whole file, this is the path of the folder that
    /// the id is relative to.
    pub file: Arc<Path>,
    /// The line number or row number, counted from 1; `None` if the document is a whole file.
    pub line: Option<u64>,
}

impl Origin {
    /// Returns the place for messages: the path of the file, or `file:line` for a row. `id` is the id of the document.
    pub fn place(&self, id: &str) -> String {
        match self.line {
            None => self.file.join(id).display().to_string(),
            Some(line) => format!("{}:{line}", self.file.display()),
        }
    }
}

/// The reason why a file or folder below a root, or a part of a document, is skipped. The summary and the report say how many were
/// skipped for each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// The name of the file or folder starts with a dot.
    Hidden,
    /// The file or folder is a symlink. Symlinks are followed only at the user's request.
    Link,
    /// A pattern excludes the file or folder, or no `--include` pattern matches the file.
    Excluded,
    /// The file extension is not supported, or the file is JSON but no array of documents.
    OtherKind,
    /// The file is a socket, a pipe or a device.
    Special,
    /// The file is an index, which is a Parquet file that this tool wrote.
    Index,
    /// The attachment of a mail has a file extension that is not supported, or is a file of rows.
    Attachment,
    /// The page of a PDF file has pictures but no text, and the run has no program for OCR.
    Page,
}

impl LeftOut {
    /// Returns the reason in words.
    pub fn reason(self) -> &'static str {
        match self {
            LeftOut::Hidden => "its name begins with a dot",
            LeftOut::Link => "it is a symlink",
            LeftOut::Excluded => "no pattern of the files to read matches it",
            LeftOut::OtherKind => "it is no document of a format that is read",
            LeftOut::Special => "it is a socket, a pipe or a device",
            LeftOut::Index => "this tool made it",
            LeftOut::Attachment => "attachments of formats that are not read",
            LeftOut::Page => "pages with pictures, but without text",
        }
    }

    /// Says that something is skipped, and why. `line` returns its place and the reason in words.
    pub fn tell(self, line: impl FnOnce() -> (String, String)) {
        trace(|| {
            let (place, reason) = line();
            let place = without_secrets(&place);
            (
                format!("{place}: skipped: {reason}"),
                json!({"place": place, "skipped": self, "reason": reason}),
            )
        });
    }
}
