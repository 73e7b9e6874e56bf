//! Extracts the text of PDF files. Only this module and its submodules use hayro-interpret.
//!
//! hayro-interpret runs the drawing commands of each page. [`glyphs`] collects the characters with their positions,
//! [`lines`] groups the characters into lines and sorts the lines, and [`paragraphs`] joins the lines.

mod accents;
mod annotations;
mod collections;
mod draw;
mod glyphs;
mod headings;
mod lines;
mod metadata;
mod paragraphs;
mod rtl;
mod strings;

use hayro_interpret::InterpreterCache;
use hayro_interpret::hayro_syntax::object::Dict;
use hayro_interpret::hayro_syntax::page::Page;
use hayro_interpret::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use memchr::memmem;

use self::annotations::Annotations;
use self::glyphs::{Drawn, Painter};
use self::paragraphs::PageParagraph;
use super::Extracted;
use crate::error::ContentError;
use crate::source::decode::known_format;
use crate::source::document::LeftOut;
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, damaged, other_format};
use crate::source::picture::BlankPages;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Number of glyphs without a known character that are always tolerated, per page and per file. Ornaments and symbols often
/// have no known character. Above this number, a file fails if more than half of the glyphs on one page, or more than a
/// third of the glyphs in the whole file, have no known character.
const UNMAPPED_TOLERATED: usize = 20;

/// The part of a scanned page that its pictures cover, at least.
const SCAN_PART: f64 = 0.5;

/// Maximum number of characters on a scanned page, such as a page number or a stamp. A scan with more has been read already.
const SCAN_CHARACTERS: usize = 64;

/// Returns the text of all pages in reading order, one line per paragraph. Returns what the file says about itself if
/// `wants_fields` is true. Hands the pages without text to `scans`, if given; otherwise the text is never empty.
///
/// # Errors
/// The file is not a PDF, is damaged or encrypted, or has no text that can be extracted.
pub fn pdf(
    bytes: &[u8],
    wants_fields: bool,
    mut scans: Option<&mut BlankPages>,
) -> Result<Extracted, ContentError> {
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
    let outdated = annotations::needs_appearances(&file);
    let mut pages = Vec::with_capacity(file.pages().len());
    let (mut mapped, mut unmapped, mut blank) = (0, 0, 0);
    for (number, page) in (1..).zip(file.pages().iter()) {
        let mut painter = Painter::new(page, &cache, &fonts);
        let drawn = painter.page();
        let annotations = annotations::read(page, &mut painter, outdated);
        let glyphs = drawn.glyphs.len() + annotations.glyphs;
        let unknown = drawn.unmapped + annotations.unmapped;
        let mut lines = match &mut scans {
            Some(scans) if needs_ocr(page, &drawn, &annotations) => {
                scans(number, &|| draw::draw(page, annotations.glyphs == 0))?;
                Vec::new()
            }
            None if unknown > UNMAPPED_TOLERATED.max(glyphs) => return Err(ContentError::NoUnicode),
            _ => {
                mapped += glyphs;
                unmapped += unknown;
                let has_picture = drawn.has_picture || annotations.has_picture;
                blank += usize::from(has_picture && drawn.characters() == 0 && annotations.glyphs == 0);
                lines::group(&drawn.glyphs)
            }
        };
        lines.extend(annotations.others);
        let mut lines = annotations::place(lines, annotations.placed);
        lines::order(&mut lines);
        pages.push((number, paragraphs::join_lines(&lines), annotations.notes));
    }
    if unmapped > UNMAPPED_TOLERATED.max(mapped / 2) {
        return Err(ContentError::NoUnicode);
    }
    let content = structured(&pages);
    // No page has text, or more than half of the pages are pictures without text.
    let is_scan = content.text().trim().is_empty() || 2 * blank > file.pages().len();
    if scans.is_none() && is_scan {
        return Err(ContentError::NoText);
    }
    let fields = if wants_fields { metadata::fields(&file) } else { Record::new() };
    let unread = vec![LeftOut::Page; if scans.is_none() { blank } else { 0 }];
    Ok(Extracted { content, fields, unread, ..Extracted::default() })
}

/// A page with its number, its paragraphs and its notes.
type PageText = (u32, Vec<PageParagraph>, Vec<String>);

fn structured(pages: &[PageText]) -> Structured {
    let sizes = headings::Sizes::of(pages.iter().flat_map(|(_, paragraphs, _)| paragraphs));
    let mut text = BlockWriter::default();
    for (number, paragraphs, notes) in pages {
        text.page(*number);
        for paragraph in paragraphs {
            let kind = sizes.level(paragraph).map_or(BlockKind::Paragraph, BlockKind::heading);
            text.block(kind, &paragraph.text);
        }
        notes.iter().for_each(|note| text.block(BlockKind::Paragraph, note));
    }
    text.finish()
}

/// Returns whether a page shows something without having text, or is a scan with little text on it, or has more than a third of its
/// glyphs without a known character.
fn needs_ocr(page: &Page<'_>, drawn: &Drawn, annotations: &Annotations) -> bool {
    let (width, height) = page.render_dimensions();
    let is_scan = drawn.picture_area > SCAN_PART * f64::from(width) * f64::from(height);
    let shows_more = drawn.has_picture || drawn.has_paths || annotations.has_picture;
    let unknown = drawn.unmapped + annotations.unmapped;
    match drawn.characters() {
        0 if shows_more => true,
        ..=SCAN_CHARACTERS if is_scan => true,
        _ => 2 * unknown > drawn.glyphs.len() + annotations.glyphs,
    }
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
        file_with(content, "/Type/Font/Subtype/Type1/BaseFont/Helvetica", "", &[])
    }

    /// Returns a file of one page with this content, this font as `/F`, these entries of the catalog, and these annotations. The
    /// number of the first of the other objects is 6; the annotations come first.
    fn file_with(content: &str, font: &str, catalog: &str, annotations: &[&str]) -> Vec<u8> {
        let numbers: String = (6..).zip(annotations).map(|(number, _)| format!("{number} 0 R ")).collect();
        let mut objects = vec![
            format!("<</Type/Catalog/Pages 2 0 R{catalog}>>"),
            "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
            format!(
                "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>/Annots[{numbers}]>>"
            ),
            stream("", content),
            format!("<<{font}>>"),
        ];
        objects.extend(annotations.iter().map(|annotation| {
            if annotation.ends_with("endstream") {
                (*annotation).to_owned()
            } else {
                format!("<<{annotation}>>")
            }
        }));
        let mut file = "%PDF-1.4\n".to_owned();
        let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
        for (at, object) in objects.iter().enumerate() {
            table += &format!("{:010} 00000 n \n", file.len());
            file += &format!("{} 0 obj\n{object}\nendobj\n", at + 1);
        }
        let start = file.len();
        file +=
            &format!("{table}trailer<</Root 1 0 R/Size {}>>\nstartxref\n{start}\n%%EOF\n", objects.len() + 1);
        file.into_bytes()
    }

    fn stream(entries: &str, content: &str) -> String {
        format!("<<{entries}/Length {}>>stream\n{content}\nendstream", content.len())
    }

    /// Returns the text of a file.
    fn text(file: &[u8]) -> String {
        pdf(file, false, None).unwrap().content.into_text()
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
            // Slanted text follows upright text. Letters that were set one by one are a word.
            (
                "BT /F 10 Tf .6 .8 -.8 .6 50 50 Tm (slanted words)Tj 1 0 0 1 9 9 Tm (upright)Tj ET",
                "upright\nslanted words\n",
            ),
            (
                "BT /F 10 Tf .8 .6 -.6 .8 9 9 Tm(W)Tj 9 0 Td(I)Tj 9 0 Td(L)Tj 9 0 Td(L)Tj 18 0 Td(I)Tj 9 0 Td(T)Tj ET",
                "WILL IT\n",
            ),
            ("BT /F 10 Tf .8 .6 -.6 .8 9 9 Tm 3 Tc (IWOWI)Tj ET", "IWOWI\n"),
            // The same letter twice as large and twice as far from the corner is no second drawing of the first one.
            ("BT /F 10 Tf 100 200 Td (e)Tj /F 20 Tf 100 -100 Td (e)Tj ET", "e\ne\n"),
            // A heading with a smaller one right below it, and a heading in two lines.
            (
                "BT /F 14 Tf 18 TL 9 250 Td (2.1 Basic types of all)Tj /F 12 Tf T* (2.1.1 Vectors and others)Tj ET",
                "2.1 Basic types of all\n2.1.1 Vectors and others\n",
            ),
            (
                "BT /F 10 Tf 9 200 Td (7.18 Why does the output)Tj 22 -12 Td (depend on the order of it?)Tj ET",
                "7.18 Why does the output depend on the order of it?\n",
            ),
        ] {
            assert_eq!(text(&file(content)), expected);
        }
    }

    #[test]
    fn a_pdf_without_text_says_why() {
        assert!(matches!(pdf(b"%PDF-1.4 and no more", false, None), Err(ContentError::Damaged { .. })));
        for (other, kind) in [
            ("", "empty"),
            ("<!DOCTYPE html><p>Log in", "HTML"),
            ("PK\x03\x04", "a ZIP archive (or an Office document)"),
        ] {
            let read = pdf(other.as_bytes(), false, None);
            assert!(matches!(&read, Err(ContentError::OtherKind { found, .. }) if found == kind), "{read:?}");
        }
        assert!(matches!(pdf(&file("0 0 9 9 re f"), false, None), Err(ContentError::NoText)));
        let with_more = String::from_utf8(file("BT /F 10 Tf 9 9 Td (one page of two) Tj ET")).unwrap();
        let with_more = with_more.replace("Kids[3 0 R]/Count 1", "Kids[3 0 R 7 0 R]/Count 2");
        assert!(matches!(pdf(with_more.as_bytes(), false, None), Err(ContentError::Damaged { .. })));
    }

    #[test]
    fn values_of_fields_stand_beside_their_labels() {
        let page = "BT /F 10 Tf 20 250 Td (Name)Tj 0 -50 Td (Town)Tj 0 -50 Td (Signed)Tj ET";
        let helvetica = "/Type/Font/Subtype/Type1/BaseFont/Helvetica";
        let form = "/AcroForm<</DA(/F 10 Tf)>>";
        let widget = |y: u32, entries: &str| {
            format!("/Type/Annot/Subtype/Widget/Rect[100 {y} 250 {}]{entries}", y + 16)
        };
        let appearance = stream(
            "/Type/XObject/Subtype/Form/BBox[0 0 150 16]/Resources<</Font<</F 5 0 R>>>>",
            "/Tx BMC BT /F 10 Tf 2 4 Td (Ada Okafor)Tj ET EMC",
        );
        let read = |first: &str, second: &str, form: &str| {
            text(&file_with(page, helvetica, form, &[&widget(246, first), &widget(196, second), &appearance]))
        };
        // The first value has an appearance. The second has none, and its field is above the widget.
        let drawn = "/FT/Tx/V(Ada Okafor)/AP<</N 8 0 R>>";
        assert_eq!(read(drawn, "/Parent<</FT/Tx/V(Lagos)>>", form), "Name Ada Okafor\nTown Lagos\nSigned\n");
        let choice = "/FT/Ch/Opt[[(1)(Ibadan)][(2)(Kano)]]";
        assert_eq!(read(drawn, &format!("{choice}/V(2)"), form), "Name Ada Okafor\nTown Kano\nSigned\n");
        assert_eq!(read("/FT/Tx", &format!("{choice}/V[(1)(2)]"), form), "Name\nTown Ibadan\nKano\nSigned\n");
        assert_eq!(read("/FT/Btn/AS/Yes", "/FT/Btn/AS/Off", form), "Name ✔\nTown\nSigned\n");
        // An outdated appearance, a hidden field, a password.
        let outdated = "/AcroForm<</NeedAppearances true>>";
        assert_eq!(
            read(&drawn.replace("/V(Ada", "/V(Bo"), "/FT/Tx/V(Lagos)/F 2", outdated),
            "Name Bo Okafor\nTown\nSigned\n"
        );
        assert_eq!(
            read("/FT/Tx/Ff 8192/V(secret)", "/FT/Tx/V(two\\rlines)/Ff 4096", form),
            "Name\nTown two\nlines\nSigned\n"
        );
        // Fields that are each other's parents end.
        assert_eq!(read("/Parent 7 0 R", "/Parent 6 0 R", form), "Name\nTown\nSigned\n");
    }

    #[test]
    fn notes_and_free_text_are_read() {
        let page = "BT /F 10 Tf 20 250 Td (A page)Tj ET";
        let helvetica = "/Type/Font/Subtype/Type1/BaseFont/Helvetica";
        let read = |annotation: &str| text(&file_with(page, helvetica, "", &[annotation, annotation]));
        let at = "/Type/Annot/Rect[20 50 90 90]";
        assert_eq!(read(&format!("{at}/Subtype/Text/Contents(Check this)")), "A page\nCheck this\n");
        assert_eq!(read(&format!("{at}/Subtype/Text/Contents(Accepted)/State(Accepted)")), "A page\n");
        assert_eq!(read(&format!("{at}/Subtype/Popup/Contents(Check this)")), "A page\n");
        assert_eq!(read(&format!("{at}/Subtype/Link/Contents(Where it leads)")), "A page\n");
        assert_eq!(read(&format!("{at}/Subtype/Highlight/Contents(Why?)/F 2")), "A page\n");
        let free = file_with(
            "",
            helvetica,
            "",
            &[&format!("{at}/Subtype/FreeText/Contents(Only \\200 5)/DA(/F 8 Tf)")],
        );
        assert_eq!(text(&free), "Only • 5\n");
    }

    #[test]
    fn a_picture_with_a_filled_field_is_no_scan() {
        let picture = "q 300 0 0 300 0 0 cm BI /W 1 /H 1 /CS /G /BPC 8 ID x EI Q";
        let helvetica = "/Type/Font/Subtype/Type1/BaseFont/Helvetica";
        let scan = file_with(picture, helvetica, "", &[]);
        assert!(matches!(pdf(&scan, false, None), Err(ContentError::NoText)));
        let field = "/Type/Annot/Subtype/Widget/Rect[9 9 99 29]/FT/Tx/V(Filled)";
        assert_eq!(text(&file_with(picture, helvetica, "", &[field])), "Filled\n");
    }

    #[test]
    fn a_name_instead_of_a_table_means_utf_16() {
        let content = "BT /F 10 Tf 9 99 Td <0056 00fd 0070 0069 0073> Tj ET";
        let font = |descendant: &str| {
            let descendant = format!(
                "/Type/Font/Subtype/CIDFontType2/BaseFont/Arial/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/FontDescriptor<</Type/FontDescriptor/FontName/Arial/Flags 32{descendant}>>"
            );
            format!(
                "/Type/Font/Subtype/Type0/BaseFont/Arial/Encoding/Identity-H/ToUnicode/Identity-H/DescendantFonts[<<{descendant}>>]"
            )
        };
        assert_eq!(text(&file_with(content, &font(""), "", &[])), "Výpis\n");
    }

    #[test]
    fn ligatures_of_right_to_left_scripts_keep_their_letters_in_order() {
        let map = "begincmap 1 begincodespacerange <00> <FF> endcodespacerange 7 beginbfchar <41> <0643> <42> <0627> <43> <0631> <44> <062a> <45> <0634> <46> <06440627> <47> <0627> endbfchar endcmap";
        let font = "/Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 6 0 R";
        let content = "BT /F 10 Tf 9 99 Td (ABCDEFG) Tj ET";
        let read = |map: &str| text(&file_with(content, font, "", &[&stream("", map)]));
        assert_eq!(read(map), "الاشتراك\n");
        assert_eq!(read(&map.replace("06440627", "FEFB")), "الاشتراك\n");
    }

    #[test]
    fn a_file_says_what_it_is_about() {
        let file = file_with(
            "BT /F 10 Tf 9 9 Td (Text)Tj ET",
            "/Type/Font/Subtype/Type1/BaseFont/Helvetica",
            "/Lang(es-PE)",
            &[],
        );
        let file = String::from_utf8(file).unwrap();
        let info = "/Info<</Title<FEFF5E74>/Author(Ada \\204 Bo)/Keywords( )/CreationDate(D:20240506070809+02'00')>>";
        let file = file.replace("trailer<<", &format!("trailer<<{info}"));
        let fields = pdf(file.as_bytes(), true, None).unwrap().fields;
        let expected = serde_json::json!(
            {"title": "年", "author": "Ada — Bo", "date": "2024-05-06T07:08:09+02:00", "language": "es-PE"}
        );
        assert_eq!(serde_json::Value::Object(fields), expected);
        assert!(pdf(file.as_bytes(), false, None).unwrap().fields.is_empty());
    }

    #[test]
    fn larger_letters_are_headings_without_a_mark() {
        let body = "(Ordinary text that is long enough to be most of the page, and goes on)Tj T* ";
        let content = format!(
            "BT /F 20 Tf 12 TL 9 280 Td (Manual)Tj 0 -30 Td /F 9 Tf {body} 0 -30 Td /F 14 Tf (1. First steps)Tj 0 -30 Td /F 9 Tf \
             {body}{body} 0 -20 Td /F 14 Tf (Index . . . . 7)Tj 0 -20 Td (42)Tj ET"
        );
        let content = pdf(&file(&content), false, None).unwrap().content;
        let blocks = serde_json::to_value(&content).unwrap()["blocks"].to_string();
        let text = content.text();
        assert!(text.starts_with("Manual\nOrdinary"), "{text}");
        let at = text.find("1. First").unwrap();
        assert!(blocks.contains("[0,{\"Heading\":1}]"), "{blocks}");
        assert!(blocks.contains(&format!("[{at},{{\"Heading\":2}}]")), "{blocks}");
        assert_eq!(blocks.matches("Heading").count(), 2, "{blocks} {text}");
    }
}
