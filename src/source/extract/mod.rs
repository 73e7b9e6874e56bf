//! What a file holds in, the text that a person would read out. Pure; called by workers.

mod docx;
mod front_matter;
mod html;
mod markdown;
mod pdf;

use serde::{Deserialize, Serialize};

use crate::error::ContentError;
use crate::source::document::Limits;
use crate::source::fields::Record;
use crate::source::form::{Markup, damaged};

/// Version of the extraction rules. Vectors depend on them, so it is part of the fingerprint: raise it
/// with every change of what an extractor returns.
pub const VERSION: u32 = 2;

/// What an extractor takes out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Extracted {
    /// What a person would read, not cleaned.
    pub text: String,
    /// Settings at the top, where they were asked for.
    pub front_matter: Record,
}

/// Takes the text out of a document; one that is text itself is UTF-8.
///
/// # Errors
/// It cannot be read, or not within the limits.
pub fn extract(
    markup: Markup,
    content: &[u8],
    limits: Limits,
    front_matter: bool,
) -> Result<Extracted, ContentError> {
    let text = || std::str::from_utf8(content).map_err(|e| damaged(markup, e));
    let mut extracted = Extracted::default();
    extracted.text = match markup {
        Markup::Markdown => {
            let (settings, body) = front_matter::split(text()?);
            if front_matter && let Some(settings) = settings {
                extracted.front_matter = settings.parse()?;
            }
            markdown::markdown(body)
        }
        Markup::Html => html::html(text()?),
        Markup::Xhtml => html::xhtml(text()?),
        Markup::Pdf => pdf::pdf(content)?,
        Markup::Docx => docx::docx(content, limits)?,
    };
    match limits.document_bytes {
        max if extracted.text.len() as u64 > max => Err(ContentError::TooLarge { max }),
        _ => Ok(extracted),
    }
}
