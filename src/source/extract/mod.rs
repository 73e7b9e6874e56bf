//! Extracts the text that a person would read in a document. This module runs in workers and opens no files.

mod asciidoc;
pub mod attachment;
mod front_matter;
mod html;
mod latex;
mod mail;
mod markdown;
mod markup;
mod notebook;
mod office;
mod org;
mod pdf;
mod rst;
mod rtf;
mod subtitles;
mod symbols;
mod xml;

use serde::{Deserialize, Serialize};

use attachment::Attachment;

use crate::error::ContentError;
use crate::source::document::{LeftOut, Limits, PagePart};
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, damaged};
use crate::source::picture::BlankPages;
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
    /// The part of a web page that is the text; `None` for other documents.
    pub part: Option<PagePart>,
    /// How many stray bytes of the text were replaced or removed.
    pub repaired: usize,
    /// The files inside the document that are documents of their own, such as the attachments of a mail.
    pub attachments: Vec<Attachment>,
    /// Why parts of the document are not read, once per part.
    pub unread: Vec<LeftOut>,
}

/// Extracts the text of a document. The content of a text format, such as HTML, must be UTF-8. Hands pages without text to
/// `scans`, if given; otherwise a document of such pages is an error.
///
/// # Errors
/// The content is damaged, has another format or exceeds a limit.
pub fn extract(
    format: DocumentFormat,
    content: &[u8],
    limits: Limits,
    page_part: PagePart,
    wants_fields: bool,
    scans: Option<&mut BlankPages>,
) -> Result<Extracted, ContentError> {
    let text = || std::str::from_utf8(content).map_err(|e| damaged(format, format!("it is not UTF-8 ({e})")));
    let extracted = match format {
        DocumentFormat::Markdown => {
            let (front_matter, body) = front_matter::split(text()?);
            let front_matter = front_matter.filter(|_| wants_fields);
            let fields = front_matter.map(|fields| fields.parse()).transpose()?.unwrap_or_default();
            (markdown::markdown(body), fields).into()
        }
        DocumentFormat::Html | DocumentFormat::Xhtml => {
            let read = if format == DocumentFormat::Html { html::html } else { html::xhtml };
            read(text()?, page_part, wants_fields)?
        }
        DocumentFormat::Pdf => pdf::pdf(content, wants_fields, scans)?,
        DocumentFormat::Docx => office::docx(content, limits, wants_fields)?,
        DocumentFormat::Pptx => office::pptx(content, limits, wants_fields)?,
        DocumentFormat::Odt | DocumentFormat::Odp => office::odf(content, format, limits, wants_fields)?,
        DocumentFormat::Epub => office::epub(content, limits, wants_fields)?,
        DocumentFormat::Rtf => {
            let rtf = rtf::rtf(content)?;
            (rtf.content, if wants_fields { rtf.fields } else { Record::new() }).into()
        }
        DocumentFormat::Eml => mail::mail(content, wants_fields, scans.is_some())?,
        DocumentFormat::Notebook => notebook::notebook(text()?, wants_fields)?.into(),
        DocumentFormat::Subtitles => (subtitles::subtitles(text()?)?, Record::new()).into(),
        DocumentFormat::Xml => (xml::xml(text()?, limits, page_part)?, Record::new()).into(),
        DocumentFormat::AsciiDoc => asciidoc::asciidoc(text()?).into(),
        DocumentFormat::Latex => latex::latex(text()?).into(),
        DocumentFormat::Org => org::org(text()?).into(),
        DocumentFormat::ReStructuredText => (rst::rst(text()?), Record::new()).into(),
    };
    extracted.within(limits)
}

impl From<(Structured, Record)> for Extracted {
    fn from((content, fields): (Structured, Record)) -> Self {
        Extracted { content, fields, ..Extracted::default() }
    }
}

impl Extracted {
    /// Refuses a text that is larger than a document may be.
    ///
    /// # Errors
    /// The text is too large.
    pub fn within(self, limits: Limits) -> Result<Extracted, ContentError> {
        match limits.document_bytes {
            max if self.content.text().len() as u64 > max => Err(ContentError::TooLarge { max }),
            _ => Ok(self),
        }
    }
}
