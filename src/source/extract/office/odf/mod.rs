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
use super::xml::{child, elements, parse, text_of, undeclared_prefix};
use crate::error::ContentError;
use crate::source::decode::{Decoded, declared, decode};
use crate::source::document::Limits;
use crate::source::extract::Extracted;
use crate::source::fields::Record;
use crate::source::format::{DocumentFormat, damaged};
use crate::text::blocks::{BlockWriter, Structured};

/// Maximum number of prefixes that a document may use without declaring them.
const PREFIXES_MAX: usize = 16;

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
) -> Result<Extracted, ContentError> {
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
    let content = text(content.root_element(), styles, format)?;
    Ok(Extracted { content, fields, repaired: package.repaired, ..Extracted::default() })
}

/// Reads a document that is one XML file (`.fodt`).
fn flat(bytes: &[u8], format: DocumentFormat, wants_fields: bool) -> Result<Extracted, ContentError> {
    let decoded = decode(bytes.to_vec(), None, declared(bytes));
    let Decoded { text: xml, repaired, .. } = decoded.map_err(|e| damaged(format, e.to_string()))?;
    let xml = with_all_prefixes(xml);
    let xml = parse(format, "document", &xml)?;
    let fields = if wants_fields { fields(xml.root_element()) } else { Map::new() };
    let content = text(xml.root_element(), OdfStyles::default(), format)?;
    Ok(Extracted { content, fields, repaired, ..Extracted::default() })
}

/// Declares the prefixes of names that a document does not declare. LibreOffice reads such documents, and namespaces are ignored
/// here.
fn with_all_prefixes(mut xml: String) -> String {
    const ROOT: &str = "<office:document";
    for _ in 0..PREFIXES_MAX {
        let (Some(prefix), Some(root)) = (undeclared_prefix(&xml), xml.find(ROOT)) else { break };
        xml.insert_str(root + ROOT.len(), &format!(" xmlns:{prefix}=\"{prefix}\""));
    }
    xml
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
