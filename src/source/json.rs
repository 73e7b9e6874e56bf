//! Parses one line of JSON Lines. The line must be UTF-8 and contain one JSON object.

use super::fields::Record;
use crate::error::DocumentError;

/// Parses one line and returns the fields of the JSON object in the line.
pub fn parse(line: &[u8]) -> Result<Record, DocumentError> {
    let not_text = |e: std::str::Utf8Error| DocumentError::NotUtf8 { offset: e.valid_up_to() };
    let line = std::str::from_utf8(line).map_err(not_text)?;
    serde_json::from_str(line).map_err(|e| DocumentError::NotJson(reason(&e)))
}

/// Returns the parser's message without the line number. The parser receives one line per call, so the line number is always
/// 1.
fn reason(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}
