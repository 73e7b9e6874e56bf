//! Extracts the text of OpenDocument texts and presentations.
//!
//! The names of elements and attributes are defined in OpenDocument 1.3, part 3.

mod styles;
mod text;

use roxmltree::Node;
use serde_json::{Map, Value};

use self::styles::OdfStyles;
use self::text::{write_document, write_slides};
use super::package::Package;
use super::xml::{child, elements, parse, text_of};
use crate::error::ContentError;
use crate::source::decode::{declared, decode};
use crate::source::document::Limits;
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, damaged};
use crate::text::blocks::{BlockWriter, Structured};

/// Returns the text of a document or of the slides of a presentation. Returns the properties of the document if `wants_fields`
/// is set.
///
/// Headings, list items and table cells are marked as in Markdown, and numbered paragraphs begin with their number. A picture
/// is replaced by its alternative text. Tracked deletions, hidden text, hidden slides, comments, headers and footers are
/// skipped.
///
/// # Errors
/// The content is damaged, encrypted, has another format or exceeds a limit.
pub fn odf(
    bytes: &[u8],
    format: DocumentFormat,
    limits: Limits,
    wants_fields: bool,
) -> Result<(Structured, Record), ContentError> {
    if bytes.trim_ascii_start().starts_with(b"<") || bytes.starts_with(b"\xEF\xBB\xBF<") {
        return flat(bytes, format, wants_fields);
    }
    let mut package = Package::open(bytes, format, limits)?;
    // With a password, each part is encrypted, or all of them together as one part.
    let manifest = package.text("META-INF/manifest.xml")?;
    if manifest.is_some_and(|manifest| manifest.contains(":encryption-data")) {
        return Err(ContentError::Password);
    }
    let content = package.required("content.xml")?;
    let content = parse(format, "content.xml", &content)?;
    let mut styles = OdfStyles::default();
    if let Some(xml) = package.text("styles.xml")? {
        styles.add(parse(format, "styles.xml", &xml)?.root_element());
    }
    let meta = if wants_fields { package.text("meta.xml")? } else { None };
    let fields = match meta {
        Some(xml) => fields(parse(format, "meta.xml", &xml)?.root_element()),
        None => Map::new(),
    };
    Ok((text(content.root_element(), styles, format)?, fields))
}

/// Reads a document that is one XML file (`.fodt`).
fn flat(
    bytes: &[u8],
    format: DocumentFormat,
    wants_fields: bool,
) -> Result<(Structured, Record), ContentError> {
    let decoded = decode(bytes.to_vec(), None, declared(bytes));
    let xml = decoded.map_err(|e| damaged(format, e.to_string()))?.text;
    let xml = xml.strip_prefix('\u{FEFF}').unwrap_or(&xml);
    let xml = parse(format, "document", xml)?;
    let fields = if wants_fields { fields(xml.root_element()) } else { Map::new() };
    Ok((text(xml.root_element(), OdfStyles::default(), format)?, fields))
}

fn text(root: Node, mut styles: OdfStyles, format: DocumentFormat) -> Result<Structured, ContentError> {
    styles.add(root);
    let body = child(root, "body").and_then(|body| body.children().find(Node::is_element));
    let mut text = BlockWriter::default();
    match body.map(|body| (body, body.tag_name().name())) {
        Some((body, "text")) => write_document(body, &styles, &mut text),
        Some((body, "presentation")) => write_slides(body, &styles, &mut text),
        _ => return Err(damaged(format, "it contains no text document and no presentation")),
    }
    Ok(text.finish())
}

/// Returns what the metadata say about the document.
fn fields(root: Node) -> Record {
    const NAMES: [(&str, &str); 8] = [
        ("title", "title"),
        ("author", "initial-creator"),
        ("author", "creator"),
        ("date", "date"),
        ("date", "creation-date"),
        ("language", "language"),
        ("subject", "subject"),
        ("keywords", "keyword"),
    ];
    let mut fields = Record::new();
    let Some(meta) = child(root, "meta") else { return fields };
    for (field, element) in NAMES {
        let values: Vec<String> = elements(meta, element).map(text_of).collect();
        let value = values.join(", ").trim().to_owned();
        if !value.is_empty() && !fields.contains_key(field) {
            fields.insert(field.to_owned(), Value::String(value));
        }
    }
    fields
}
