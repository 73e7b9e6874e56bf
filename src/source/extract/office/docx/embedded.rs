//! Reads the documents that a document embeds (altChunk). Word shows them as a part of the text.

use super::read;
use crate::error::ContentError;
use crate::source::decode::{declared, decode};
use crate::source::document::Limits;
use crate::source::extract::{html, mail, rtf};
use crate::text::blocks::Structured;

/// Maximum number of documents that are embedded in each other.
const DEPTH_MAX: usize = 4;

/// Returns the text of an embedded document. `name` is the name of its part, and `depth` the number of documents around it less one.
/// Returns `None` if its format is not read.
///
/// # Errors
/// The embedded document is damaged or exceeds a limit.
pub fn embedded_text(
    name: &str,
    bytes: Vec<u8>,
    limits: Limits,
    depth: usize,
) -> Result<Option<Structured>, ContentError> {
    if bytes.starts_with(b"PK") {
        let is_read = depth + 1 < DEPTH_MAX;
        return Ok(if is_read { Some(read(&bytes, limits, false, depth + 1)?.content) } else { None });
    }
    if bytes.starts_with(b"{\\rtf") {
        return Ok(Some(rtf::rtf(&bytes)?.content));
    }
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    if extension.starts_with("mht")
        || bytes.get(..13).is_some_and(|start| start.eq_ignore_ascii_case(b"MIME-Version:"))
    {
        return mail::web_archive(&bytes).map(Some);
    }
    let declared = declared(&bytes);
    let Ok(decoded) = decode(bytes, None, declared) else { return Ok(None) };
    let is_xml_of_word = decoded.text.contains("<?mso-application") || decoded.text.contains("<pkg:package");
    Ok(match &*extension {
        "txt" => Some(Structured::plain(decoded.text)),
        _ if !is_xml_of_word && decoded.text.trim_start().starts_with('<') => {
            Some(html::fragment(&decoded.text))
        }
        _ => None,
    })
}
