//! A document, its origin and its limits, and the reasons for which files are skipped.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Limits on one document.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Size of a file or row, decompressed, in bytes. At most 2^30, because a string column of Arrow has offsets of
    /// 32 bits.
    pub document_bytes: u64,
    /// Time that extracting its text may take, in seconds.
    pub seconds: u64,
    /// Ratio of its decompressed size to its compressed size.
    pub expansion: u64,
}

/// A document that has been read.
#[derive(Debug)]
pub struct Document {
    /// Unique within an output file, and the same in every run.
    pub id: String,
    /// The text: as extracted until `text::clean` has run, clean after it.
    pub text: String,
    /// Where the document was found, for messages.
    pub origin: Origin,
    /// The encoding that the text was decoded from; `None` for UTF-8.
    pub encoding: Option<&'static str>,
    /// The values of [`Fields::keep`](super::Fields::keep), in that order; null for a field that is missing.
    pub kept: Arc<[Value]>,
}

impl Document {
    /// Returns the file, or `file:line` for a row.
    pub fn place(&self) -> String {
        self.origin.place(&self.id)
    }
}

/// Where a document was found.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file, if it holds rows. Otherwise the folder that the document's id is relative to.
    pub file: Arc<Path>,
    /// Number of the line or row, from 1; `None` for a file that is one document.
    pub line: Option<u64>,
}

impl Origin {
    /// Returns the file, or `file:line` for a row. `id` is the id of the document found here.
    pub fn place(&self, id: &str) -> String {
        match self.line {
            None => self.file.join(id).display().to_string(),
            Some(line) => format!("{}:{line}", self.file.display()),
        }
    }
}

/// Why a file or folder below a root is skipped. The summary and the report count each reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// Its name starts with a dot.
    Hidden,
    /// A symlink, and symlinks are not followed.
    Link,
    /// A pattern excludes it, or none of the `--include` patterns matches it.
    Excluded,
    /// Its file extension is none of those that are read.
    OtherKind,
    /// A socket, pipe or device.
    Special,
    /// An index that this tool made.
    Index,
}
