//! Extracts the text of PDF files. Only this module and its submodules use hayro-interpret.
//!
//! hayro-interpret runs the drawing commands of each page. [`glyphs`] collects the characters with their positions,
//! [`lines`] groups the characters into lines and sorts the lines, and [`paragraphs`] joins the lines.

mod accents;
mod collections;
mod glyphs;
mod lines;
mod paragraphs;
mod rtl;

use hayro_interpret::hayro_syntax::object::Dict;
use hayro_interpret::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro_interpret::{InterpreterCache, InterpreterSettings};
use memchr::memmem;

use crate::error::ContentError;
use crate::source::decode::known_format;
use crate::source::format::{DocumentFormat, damaged, other_format};
use crate::text::blocks::{BlockWriter, Structured};

/// Number of glyphs without a known character that are always tolerated, per page and per file. Ornaments and symbols often
/// have no known character. Above this number, a file fails if more than half of the glyphs on one page, or more than a
/// third of the glyphs in the whole file, have no known character.
const UNMAPPED_TOLERATED: usize = 20;

/// Returns the text of all pages in reading order, one line per paragraph. The text is never empty.
///
/// # Errors
/// The file is not a PDF, is damaged or encrypted, or has no text that can be extracted.
pub fn pdf(bytes: &[u8]) -> Result<Structured, ContentError> {
    // A mail program or server may have put other bytes before the header.
    if memmem::find(&bytes[..bytes.len().min(1024)], b"%PDF-").is_none() {
        return Err(other_format(DocumentFormat::Pdf, format_of(bytes)));
    }
    let file = Pdf::new(bytes.to_vec()).map_err(cannot_load)?;
    if file.pages().is_empty() {
        return Err(unreadable("it has no pages"));
    }
    if !is_whole(&file) {
        return Err(unreadable("some of its pages are missing"));
    }
    let cache = InterpreterCache::new();
    let fonts = collections::Fonts::new(&file);
    let mut text = BlockWriter::default();
    let (mut mapped, mut unmapped, mut pictures) = (0, 0, 0);
    for (number, page) in (1..).zip(file.pages().iter()) {
        let drawn = glyphs::collect(page, &cache, &fonts, InterpreterSettings::default());
        mapped += drawn.glyphs.len();
        unmapped += drawn.unmapped;
        if drawn.unmapped > UNMAPPED_TOLERATED.max(drawn.glyphs.len()) {
            return Err(ContentError::NoUnicode);
        }
        pictures += usize::from(drawn.has_picture && drawn.glyphs.is_empty());
        text.page(number);
        paragraphs::append(&mut text, lines::order(&lines::group(&drawn.glyphs)));
    }
    if unmapped > UNMAPPED_TOLERATED.max(mapped / 2) {
        return Err(ContentError::NoUnicode);
    }
    let text = text.finish();
    // No page has text, or more than half of the pages are pictures without text.
    if text.text().trim().is_empty() || 2 * pictures > file.pages().len() {
        return Err(ContentError::NoText);
    }
    Ok(text)
}

/// Returns the name of the format of a file that is not a PDF, for messages.
fn format_of(bytes: &[u8]) -> &'static str {
    let start = bytes[..bytes.len().min(1024)].trim_ascii_start().to_ascii_lowercase();
    match known_format(bytes) {
        Some(kind) => kind,
        None if start.is_empty() => "empty",
        None if start.starts_with(b"<!doctype html") || start.starts_with(b"<html") => "HTML",
        None => "an unknown format",
    }
}

/// Returns whether the file contains all pages that it declares, and the content of each of these pages. If a page or its
/// content is missing, the text of the document is incomplete.
fn is_whole(file: &Pdf) -> bool {
    let count = file
        .xref()
        .get::<Dict>(file.xref().root_id())
        .and_then(|root| root.get::<Dict>(b"Pages".as_slice())?.get::<i32>(b"Count".as_slice()));
    let pages = file.pages();
    count.is_some_and(|count| usize::try_from(count).is_ok_and(|count| count <= pages.len()))
        && pages
            .iter()
            .all(|page| !page.raw().contains_key(b"Contents".as_slice()) || page.page_stream().is_some())
}

fn cannot_load(error: LoadPdfError) -> ContentError {
    match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => ContentError::Password,
        LoadPdfError::Decryption(_) => unreadable("its encryption is not supported"),
        LoadPdfError::Invalid => unreadable("its structure is damaged"),
    }
}

fn unreadable(reason: &str) -> ContentError {
    damaged(DocumentFormat::Pdf, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a file of one page with this content and the font Helvetica as `/F`.
    fn file(content: &str) -> Vec<u8> {
        let objects = [
            "<</Type/Catalog/Pages 2 0 R>>".to_owned(),
            "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>"
                .to_owned(),
            format!("<</Length {}>>stream\n{content}\nendstream", content.len()),
            "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>".to_owned(),
        ];
        let mut file = "%PDF-1.4\n".to_owned();
        for (at, object) in objects.iter().enumerate() {
            file += &format!("{} 0 obj\n{object}\nendobj\n", at + 1);
        }
        file += "trailer<</Root 1 0 R/Size 6>>\n%%EOF\n";
        file.into_bytes()
    }

    #[test]
    fn what_a_page_shows_is_read_as_a_person_reads_it() {
        for (content, expected) in [
            // Kerning is not a space. A wide gap is a space.
            ("BT /F 10 Tf 9 200 Td [(Th)20(e)-300(end)] TJ ET", "The end\n"),
            (
                "BT /F 10 Tf 12 TL 9 200 Td (a long line with one exam-)Tj T* (ple of it)Tj ET",
                "a long line with one example of it\n",
            ),
            (
                "BT /F 10 Tf 12 TL 9 200 Td (one line that is wide enough)Tj T* (ends.)Tj T* (Another line that is just as wide)Tj ET",
                "one line that is wide enough ends.\nAnother line that is just as wide\n",
            ),
            // Bold text that is drawn twice, rotated text, and a replacement text for the glyphs that are drawn.
            ("BT /F 10 Tf 2 Tr 9 200 Td (Bold) Tj ET", "Bold\n"),
            (
                "BT /F 10 Tf 0 1 -1 0 100 20 Tm (upwards we go)Tj 0 -12 Td (and on we go)Tj ET",
                "upwards we go and on we go\n",
            ),
            ("/Span<</ActualText(Kiss)>>BDC BT /F 10 Tf 9 9 Td (KiB)Tj ET EMC", "Kiss\n"),
        ] {
            assert_eq!(pdf(&file(content)).unwrap().text(), expected);
        }
    }

    #[test]
    fn a_pdf_without_text_says_why() {
        assert!(matches!(pdf(b"%PDF-1.4 and no more"), Err(ContentError::Damaged { .. })));
        for (other, kind) in [
            ("", "empty"),
            ("<!DOCTYPE html><p>Log in", "HTML"),
            ("PK\x03\x04", "a ZIP archive (or an Office document)"),
        ] {
            let read = pdf(other.as_bytes());
            assert!(matches!(&read, Err(ContentError::OtherKind { found, .. }) if found == kind), "{read:?}");
        }
        assert!(matches!(pdf(&file("0 0 9 9 re f")), Err(ContentError::NoText)));
        let with_more = String::from_utf8(file("BT /F 10 Tf 9 9 Td (one page of two) Tj ET")).unwrap();
        let with_more = with_more.replace("Kids[3 0 R]/Count 1", "Kids[3 0 R 7 0 R]/Count 2");
        assert!(matches!(pdf(with_more.as_bytes()), Err(ContentError::Damaged { .. })));
    }
}
