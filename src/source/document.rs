//! A document, and why something is none.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How much one document may take.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of it, unpacked: of a file, or of a row of one. At most 2^30, since offsets in a string column of
    /// Parquet are 32 bits.
    pub document_bytes: u64,
    /// Seconds until its text is taken out.
    pub seconds: u64,
    /// How many times larger than they are packed its contents may be.
    pub expansion: u64,
}

/// One text with its identity, as read.
#[derive(Debug)]
pub struct Document {
    /// Unique in one output file; stable from run to run.
    pub id: String,
    /// The text, cleaned or not as the stage says.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
    /// The encoding that the file was in, where that was not UTF-8.
    pub encoding: Option<&'static str>,
    /// The values of [`Fields::keep`], null where there is none.
    pub kept: Arc<[Value]>,
}

impl Document {
    /// File, or file and line, as a user would look it up.
    pub fn place(&self) -> String {
        self.origin.place(&self.id)
    }
}

/// Where a document came from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file of rows, or the folder below which the document's id is its file.
    pub file: Arc<Path>,
    /// The line or row, counted from 1, in a file of rows.
    pub line: Option<u64>,
}

impl Origin {
    /// File, or file and line, of the document with this id.
    pub fn place(&self, id: &str) -> String {
        match self.line {
            None => self.file.join(id).display().to_string(),
            Some(line) => format!("{}:{line}", self.file.display()),
        }
    }
}

/// Why something below a folder is not looked at. Counted for the summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// Its name starts with a dot.
    Hidden,
    /// A symbolic link.
    Link,
    /// A pattern says so.
    Excluded,
    /// A kind of file that is not read.
    OtherKind,
    /// A socket, pipe or device.
    Special,
    /// An index that this tool made.
    Index,
}
