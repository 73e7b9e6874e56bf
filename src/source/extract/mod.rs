//! Extracts the text that a person would read in a document. This module runs in workers and opens no files.

mod docx;
mod front_matter;
mod html;
mod markdown;
mod pdf;

use serde::{Deserialize, Serialize};

use crate::error::ContentError;
use crate::source::document::Limits;
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, damaged};

/// Version of the extraction rules. The version is part of the fingerprint of an index, because vectors depend on the
/// rules. Increase the version with every change to the text that an extractor returns.
pub const VERSION: u32 = 2;

/// The result of extraction.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Extracted {
    /// The text that a person would read, before cleaning.
    pub text: String,
    /// The fields of the front matter. The record is empty if the document has no front matter, or if the caller did not ask
    /// for the front matter.
    pub front_matter: Record,
}

/// Extracts the text of a document. The content of a text format, such as HTML, must be UTF-8.
///
/// # Errors
/// The content is damaged, has another format or exceeds a limit.
pub fn extract(
    format: DocumentFormat,
    content: &[u8],
    limits: Limits,
    front_matter: bool,
) -> Result<Extracted, ContentError> {
    let text = || std::str::from_utf8(content).map_err(|e| damaged(format, format!("it is not UTF-8 ({e})")));
    let mut extracted = Extracted::default();
    extracted.text = match format {
        DocumentFormat::Markdown => {
            let (fields, body) = front_matter::split(text()?);
            if front_matter && let Some(fields) = fields {
                extracted.front_matter = fields.parse()?;
            }
            markdown::markdown(body)
        }
        DocumentFormat::Html => html::html(text()?),
        DocumentFormat::Xhtml => html::xhtml(text()?),
        DocumentFormat::Pdf => pdf::pdf(content)?,
        DocumentFormat::Docx => docx::docx(content, limits)?,
    };
    match limits.document_bytes {
        max if extracted.text.len() as u64 > max => Err(ContentError::TooLarge { max }),
        _ => Ok(extracted),
    }
}
