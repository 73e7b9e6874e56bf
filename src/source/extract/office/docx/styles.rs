//! The styles of a DOCX file: which paragraphs are headings or in lists, and which text is hidden.

use std::collections::HashMap;

use roxmltree::Node;

use super::numbering::Numbering;
use crate::error::ContentError;
use crate::source::extract::office::xml::{attribute, child, descend, elements, is_on, parse, value};
use crate::source::format::DocumentFormat;

/// The properties of a style or of a paragraph that matter here.
#[derive(Clone, Copy, Default)]
pub struct WordStyle {
    /// Level of the heading, counted from 1; `None` if the style is no heading.
    pub heading: Option<usize>,
    /// The id of the list; `None` if the style is in no list.
    pub list: Option<i64>,
    /// The level in the list, counted from 0.
    pub level: usize,
    /// Whether the text is hidden.
    pub is_hidden: bool,
    /// Whether the style is the one of placeholders in form fields.
    pub is_placeholder: bool,
}

impl WordStyle {
    /// Returns the style that the properties of a paragraph describe. If the properties do not set a value, the value in
    /// `self` stays. `level_of` returns the level in a list that belongs to the style with the properties.
    fn with(mut self, properties: Option<Node>, level_of: impl Fn(i64) -> Option<usize>) -> WordStyle {
        let property = |name| properties.and_then(|properties| child(properties, name));
        if let Some(level) = property("outlineLvl").and_then(|level| value(level)?.parse::<usize>().ok()) {
            // The value 0 of `outlineLvl` means the first heading level, and 9 means body text.
            self.heading = (level < 9).then_some(level + 1);
        }
        let of_list = |name| property("numPr").and_then(|list| child(list, name)).and_then(value);
        let level = of_list("ilvl").and_then(|level| level.parse().ok());
        if let Some(list) = of_list("numId").and_then(|list| list.parse().ok()) {
            self.list = (list != 0).then_some(list);
            self.level = level_of(list).unwrap_or(self.level);
        }
        self.level = level.unwrap_or(self.level);
        self
    }

    /// Returns a style that is based on this one.
    fn extended(mut self, style: Node, id: &str, numbering: &Numbering) -> WordStyle {
        if let Some(heading) = heading_by_name(style) {
            self.heading = Some(heading);
        }
        if let Some(vanish) = descend(style, &["rPr", "vanish"]) {
            self.is_hidden = is_on(vanish);
        }
        self.is_placeholder |= name(style).is_some_and(|name| name == "placeholder text");
        self.with(child(style, "pPr"), |list| numbering.level_of_style(list, id))
    }
}

/// The styles of a document, keyed by id.
#[derive(Default)]
pub struct WordStyles(HashMap<String, WordStyle>);

impl WordStyles {
    /// Reads the styles of a document.
    ///
    /// # Errors
    /// The part is not valid XML.
    pub fn of(xml: &str, numbering: &Numbering) -> Result<WordStyles, ContentError> {
        let xml = parse(DocumentFormat::Docx, "styles", xml)?;
        let nodes: HashMap<&str, Node> = elements(xml.root_element(), "style")
            .filter_map(|style| Some((attribute(style, "styleId")?, style)))
            .collect();
        let mut resolved: HashMap<String, WordStyle> = HashMap::new();
        for &id in nodes.keys() {
            // The styles that this one is based on, up to one that is resolved. Styles may be based on each other in a circle:
            // each style is entered when it is met, so a circle ends there.
            let mut chain = Vec::new();
            let mut next = Some(id);
            while let Some((id, style)) = next.and_then(|id| Some((id, *nodes.get(id)?))) {
                if resolved.contains_key(id) {
                    break;
                }
                resolved.insert(id.to_owned(), WordStyle::default());
                chain.push((id, style));
                next = child(style, "basedOn").and_then(value);
            }
            let mut base = next.and_then(|id| resolved.get(id)).copied().unwrap_or_default();
            for (id, style) in chain.into_iter().rev() {
                base = base.extended(style, id, numbering);
                resolved.insert(id.to_owned(), base);
            }
        }
        Ok(WordStyles(resolved))
    }

    /// Returns the style with this id.
    pub fn get(&self, id: &str) -> Option<&WordStyle> {
        self.0.get(id)
    }

    /// Returns the style of a paragraph with these properties.
    pub fn paragraph(&self, properties: Option<Node>) -> WordStyle {
        let named = properties.and_then(|p| value(child(p, "pStyle")?)).and_then(|id| self.get(id));
        named.copied().unwrap_or_default().with(properties, |_| None)
    }
}

fn name(style: Node) -> Option<String> {
    Some(child(style, "name").and_then(value)?.to_ascii_lowercase())
}

/// Returns the heading level in the name of a built-in style, such as 2 for `heading 2`. These names are English in every
/// language version of Word.
fn heading_by_name(style: Node) -> Option<usize> {
    name(style)?.strip_prefix("heading ")?.parse().ok().filter(|level| (1..=9).contains(level))
}
