//! Extracts the text of EPUB books.
//!
//! The names of parts and elements are defined in EPUB 3.3 (<https://www.w3.org/TR/epub-33/>).

use std::collections::HashMap;

use roxmltree::Node;
use serde_json::{Map, Value};

use super::package::{Package, folder, in_folder};
use super::xml::{attribute, child, descend, elements, parse, text_of};
use crate::error::ContentError;
use crate::source::document::{Limits, PagePart};
use crate::source::extract::{Extracted, html};
use crate::source::fields::Record;
use crate::source::format::DocumentFormat;
use crate::text::blocks::{BlockWriter, Structured};

/// Algorithms that only make embedded fonts unusable outside of the book. The text is not encrypted.
const FONT_OBFUSCATION: [&str; 2] = ["http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"];

/// Returns the text of a book in the order of its spine, without its navigation. Returns what the book says about
/// itself if `wants_fields` is set.
///
/// # Errors
/// The content is damaged, protected, has another format or exceeds a limit.
pub fn epub(bytes: &[u8], limits: Limits, wants_fields: bool) -> Result<Extracted, ContentError> {
    let format = DocumentFormat::Epub;
    let mut package = Package::open(bytes, format, limits)?;
    refuse_protected(&mut package)?;
    let container = package.required("META-INF/container.xml")?;
    let container = parse(format, "META-INF/container.xml", &container)?;
    let book = descend(container.root_element(), &["rootfiles", "rootfile"]);
    let Some(name) = book.and_then(|book| attribute(book, "full-path")) else {
        return Err(package.unreadable("it contains no book"));
    };
    let xml = package.required(name)?;
    let xml = parse(format, name, &xml)?;
    let mut text = BlockWriter::default();
    for chapter in chapters(xml.root_element()) {
        // References are percent-encoded URLs.
        let chapter = in_folder(folder(name), &decoded(chapter));
        let page = package.required(&chapter)?;
        text.append(&chapter_text(&page)?);
    }
    let fields = if wants_fields { fields(xml.root_element()) } else { Map::new() };
    Ok(Extracted { content: text.finish(), fields, repaired: package.repaired, ..Extracted::default() })
}

/// Refuses a book whose text is encrypted.
fn refuse_protected(package: &mut Package) -> Result<(), ContentError> {
    const NAME: &str = "META-INF/encryption.xml";
    let Some(xml) = package.text(NAME)? else { return Ok(()) };
    let xml = parse(package.format(), NAME, &xml)?;
    let mut methods = xml.descendants().filter(|node| node.tag_name().name() == "EncryptionMethod");
    let is_of_font =
        |method: Node| attribute(method, "Algorithm").is_some_and(|name| FONT_OBFUSCATION.contains(&name));
    if methods.all(is_of_font) { Ok(()) } else { Err(ContentError::Protected) }
}

/// Returns the references to the pages of the book in reading order. The page that only lists the contents is left out.
///
/// The `toc` of an EPUB 2 guide is kept, because generators such as Sphinx give that name to a page with text.
fn chapters<'a>(root: Node<'a, '_>) -> Vec<&'a str> {
    let items = child(root, "manifest").into_iter().flat_map(|manifest| elements(manifest, "item"));
    let by_id: HashMap<&str, Node> = items.filter_map(|item| Some((attribute(item, "id")?, item))).collect();
    let spine = child(root, "spine").into_iter().flat_map(|spine| elements(spine, "itemref"));
    let pages = spine.filter_map(|reference| by_id.get(attribute(reference, "idref")?)).filter(|item| {
        let is_page = matches!(attribute(**item, "media-type"), Some("application/xhtml+xml" | "text/html"));
        let properties = attribute(**item, "properties").unwrap_or_default();
        is_page && !properties.split_whitespace().any(|property| property == "nav")
    });
    pages.filter_map(|item| attribute(*item, "href")).collect()
}

/// Returns the text of a page. The title in the head is left out: no reading system shows it, and it is often the same in the
/// whole book.
fn chapter_text(page: &str) -> Result<Structured, ContentError> {
    let title = page.find("<title").zip(page.find("</title>"));
    let page = match title.filter(|(start, end)| start < end) {
        Some((start, end)) => &[&page[..start], &page[end + "</title>".len()..]].concat(),
        None => page,
    };
    Ok(html::xhtml(page, PagePart::Whole, false)?.content)
}

/// Decodes a percent-encoded reference.
fn decoded(reference: &str) -> String {
    let mut bytes = Vec::with_capacity(reference.len());
    let mut rest = reference.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns what the book says about itself.
fn fields(root: Node) -> Record {
    const NAMES: [(&str, &str); 5] = [
        ("title", "title"),
        ("author", "creator"),
        ("date", "date"),
        ("language", "language"),
        ("subject", "subject"),
    ];
    let mut fields = Record::new();
    let Some(metadata) = child(root, "metadata") else { return fields };
    for (field, element) in NAMES {
        let values: Vec<String> = elements(metadata, element)
            .map(|node| text_of(node).trim().to_owned())
            .filter(|value| !value.is_empty())
            .collect();
        if !values.is_empty() {
            fields.insert(field.to_owned(), Value::String(values.join(", ")));
        }
    }
    fields
}
