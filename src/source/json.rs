//! One line of JSON Lines in, its fields out.

use super::fields::Record;
use crate::error::DocumentError;

/// The fields of one line.
pub fn parse(line: &[u8]) -> Result<Record, DocumentError> {
    let not_text = |e: std::str::Utf8Error| DocumentError::NotUtf8 { offset: e.valid_up_to() };
    let line = std::str::from_utf8(line).map_err(not_text)?;
    serde_json::from_str(line).map_err(|e| DocumentError::NotJson(reason(&e)))
}

/// The parser's words, without its line number: for one line that is always 1.
fn reason(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}
