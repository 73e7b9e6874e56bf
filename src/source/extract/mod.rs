//! What a file holds in, the text that a person would read out. Pure; called by workers.

mod docx;
mod front_matter;
mod html;
mod markdown;
mod pdf;

use serde::{Deserialize, Serialize};

use super::Limits;
use super::fields::Record;
use super::form::Markup;
use crate::error::ContentError;

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

fn other_kind(markup: Markup, found: &str) -> ContentError {
    ContentError::OtherKind { kind: markup.name().to_owned(), found: found.to_owned() }
}

fn damaged(markup: Markup, reason: impl ToString) -> ContentError {
    ContentError::Damaged { kind: markup.name().to_owned(), reason: reason.to_string() }
}
