//! A file inside of a document.

use serde::{Deserialize, Serialize};

use crate::source::json_bytes;

/// A file inside of a document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// The name of the file without folders, with a supported file extension. No two files of a document have the same name.
    pub name: String,
    /// The content of the file. A text whose encoding the document names is in UTF-8 with a byte order mark.
    #[serde(with = "json_bytes")]
    pub content: Vec<u8>,
}
