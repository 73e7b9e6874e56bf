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
use crate::source::picture::Pictures;
use crate::text::blocks::Structured;

/// Version of the extraction rules. The version is part of the fingerprint of an index, because vectors depend on the
/// rules. Increase the version with every change to the text that an extractor returns.
pub const VERSION: u32 = 3;

/// The result of extraction.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Extracted {
    /// The text that a person would read, before cleaning, and its blocks.
    pub content: Structured,
    /// What the document says about itself, such as `title` and `author`: the front matter or the metadata. The record is
    /// empty if the document says nothing, or if the caller did not ask for it.
    pub fields: Record,
}

/// Extracts the text of a document. The content of a text format, such as HTML, must be UTF-8. Hands the pictures of pages without
/// text to `pictures`, if given; otherwise a document of such pages is an error.
///
/// # Errors
/// The content is damaged, has another format or exceeds a limit.
pub fn extract(
    format: DocumentFormat,
    content: &[u8],
    limits: Limits,
    wants_fields: bool,
    pictures: Option<&mut Pictures>,
) -> Result<Extracted, ContentError> {
    let text = || std::str::from_utf8(content).map_err(|e| damaged(format, format!("it is not UTF-8 ({e})")));
    let mut extracted = Extracted::default();
    extracted.content = match format {
        DocumentFormat::Markdown => {
            let (front_matter, body) = front_matter::split(text()?);
            if wants_fields && let Some(front_matter) = front_matter {
                extracted.fields = front_matter.parse()?;
            }
            markdown::markdown(body)
        }
        DocumentFormat::Html => html::html(text()?),
        DocumentFormat::Xhtml => html::xhtml(text()?),
        DocumentFormat::Pdf => {
            let (text, fields) = pdf::pdf(content, wants_fields, pictures)?;
            extracted.fields = fields;
            text
        }
        DocumentFormat::Docx => docx::docx(content, limits)?,
    };
    match limits.document_bytes {
        max if extracted.content.text().len() as u64 > max => Err(ContentError::TooLarge { max }),
        _ => Ok(extracted),
    }
}
