//! Reads XML by the local names of elements and attributes. Namespaces are ignored, because strict and transitional Office
//! documents use different ones.

use roxmltree::{Document, Node, ParsingOptions};

use crate::error::ContentError;
use crate::source::format::{DocumentFormat, damaged};

/// Parses a part of a package.
///
/// # Errors
/// The part is not valid XML, or declares entities, which could expand to any size.
pub fn parse<'a>(format: DocumentFormat, part: &str, xml: &'a str) -> Result<Document<'a>, ContentError> {
    let options = ParsingOptions { allow_dtd: !xml.contains("<!ENTITY"), ..ParsingOptions::default() };
    Document::parse_with_options(xml, options)
        .map_err(|e| damaged(format, format!("its part {part} is not valid XML (roxmltree: {e})")))
}

/// Returns the first prefix of a name that a document uses and does not declare.
pub fn undeclared_prefix(xml: &str) -> Option<String> {
    match Document::parse(xml) {
        Err(roxmltree::Error::UnknownNamespace(prefix, _)) => Some(prefix),
        _ => None,
    }
}

/// Returns the children with this local name.
pub fn elements<'a, 'input>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl DoubleEndedIterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.tag_name().name() == name)
}

/// Returns the first child with this local name.
pub fn child<'a, 'input>(node: Node<'a, 'input>, name: &'static str) -> Option<Node<'a, 'input>> {
    elements(node, name).next()
}

/// Returns the element at the end of a path of first children.
pub fn descend<'a, 'input>(node: Node<'a, 'input>, path: &[&'static str]) -> Option<Node<'a, 'input>> {
    path.iter().try_fold(node, |node, name| child(node, name))
}

/// Returns the value of the attribute with this local name.
pub fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes().find(|attribute| attribute.name() == name).map(|attribute| attribute.value())
}

/// Returns the value of the attribute `val`.
pub fn value<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    attribute(node, "val")
}

/// Returns whether a property is on. A property without a value is on.
pub fn is_on(property: Node) -> bool {
    !matches!(value(property), Some("0" | "false" | "off"))
}

/// Returns all text in an element.
pub fn text_of(node: Node) -> String {
    node.descendants().filter(|part| part.is_text()).filter_map(|part| part.text()).collect()
}
