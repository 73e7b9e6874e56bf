//! Pictures of pages, on their way from a worker to the command that reads them.

use serde::{Deserialize, Serialize};

use super::decode::known_format;
use super::json_bytes;
use crate::error::{ContentError, DocumentError};

/// How files of the formats that commands read begin: PNG, JPEG, TIFF, BMP, GIF and WebP.
const STARTS: [&[u8]; 8] =
    [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"BM", b"GIF8", b"RIFF"];

/// What a worker does with the pages of a document that have no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scans {
    /// They are blank, and a document that mostly consists of them is an error.
    Refused,
    /// They are drawn and sent.
    Drawn,
    /// They are blank, because their texts are known already.
    Known,
}

/// A picture of a page.
#[derive(Debug, Serialize, Deserialize)]
pub struct Picture {
    /// The number of the page, counted from 1.
    pub page: u32,
    /// A PNG file.
    #[serde(with = "json_bytes")]
    pub png: Vec<u8>,
}

/// Checks that a file is a picture. A command may do something else with another file: tesseract takes a text for a list of pictures
/// to read.
///
/// # Errors
/// The file has another format.
pub fn check(file: &[u8]) -> Result<(), ContentError> {
    if STARTS.iter().any(|start| file.starts_with(start)) {
        return Ok(());
    }
    let found = if file.is_empty() { "empty" } else { known_format(file).unwrap_or("an unknown format") };
    Err(ContentError::OtherKind { kind: "a picture".to_owned(), found: found.to_owned() })
}

/// Takes the number of each page without text, and a function that draws it.
pub type BlankPages<'a> =
    dyn FnMut(u32, &dyn Fn() -> Result<Vec<u8>, ContentError>) -> Result<(), ContentError> + 'a;

/// Takes the pictures of a document, until an error says that no more pictures are needed.
pub type Take<'a> = dyn FnMut(Picture) -> Result<(), DocumentError> + 'a;
