//! Reads what all Office Open XML packages have: the relationships between parts, and the properties of the document.

use std::collections::HashMap;

use serde_json::Value;

use super::package::{Package, folder, in_folder};
use super::xml::{attribute, child, parse, text_of};
use crate::error::ContentError;
use crate::source::fields::Record;

/// The parts that one part refers to.
#[derive(Default)]
pub struct Relations(Vec<Relation>);

/// A reference to another part.
pub struct Relation {
    /// The id by which the referring part names the reference.
    pub id: String,
    /// The final component of the relationship type, such as `styles`.
    pub kind: String,
    /// The name of the other part.
    pub target: String,
}

impl Relations {
    /// Reads the relationships of a part. The empty name stands for the package.
    ///
    /// # Errors
    /// The part with the relationships is damaged or exceeds a limit.
    pub fn of(package: &mut Package, name: &str) -> Result<Relations, ContentError> {
        let folder = folder(name);
        let file = name.rsplit('/').next().unwrap_or_default();
        let rels = in_folder(folder, &format!("_rels/{file}.rels"));
        let Some(xml) = package.text(&rels)? else { return Ok(Relations::default()) };
        let xml = parse(package.format(), &rels, &xml)?;
        let relations = xml.root_element().children().filter_map(|relation| {
            let target = relation.attribute("Target")?;
            Some(Relation {
                id: relation.attribute("Id").unwrap_or_default().to_owned(),
                kind: relation.attribute("Type")?.rsplit('/').next()?.to_owned(),
                target: target.strip_prefix('/').map_or_else(|| in_folder(folder, target), str::to_owned),
            })
        });
        Ok(Relations(relations.collect()))
    }

    /// Returns all references.
    pub fn iter(&self) -> impl Iterator<Item = &Relation> {
        self.0.iter()
    }

    /// Returns the name of the first part of this kind.
    pub fn first(&self, kind: &str) -> Option<&str> {
        self.iter().find(|relation| relation.kind == kind).map(|relation| relation.target.as_str())
    }

    /// Returns the names of all parts, keyed by the id of the reference.
    pub fn by_id(&self) -> HashMap<&str, &str> {
        self.iter().map(|relation| (relation.id.as_str(), relation.target.as_str())).collect()
    }
}

/// Returns what the core properties of a package say about the document (ECMA-376, part 2, chapter 11).
///
/// # Errors
/// The part with the properties is damaged or exceeds a limit.
pub fn fields(package: &mut Package, of_package: &Relations) -> Result<Record, ContentError> {
    const NAMES: [(&str, &str); 7] = [
        ("title", "title"),
        ("author", "creator"),
        ("date", "modified"),
        ("date", "created"),
        ("language", "language"),
        ("subject", "subject"),
        ("keywords", "keywords"),
    ];
    let mut fields = Record::new();
    let Some(name) = of_package.first("core-properties") else { return Ok(fields) };
    let Some(xml) = package.text(name)? else { return Ok(fields) };
    let xml = parse(package.format(), name, &xml)?;
    for (field, element) in NAMES {
        let value = child(xml.root_element(), element).map(text_of).unwrap_or_default();
        if !value.trim().is_empty() && !fields.contains_key(field) {
            fields.insert(field.to_owned(), Value::String(value.trim().to_owned()));
        }
    }
    Ok(fields)
}

/// Returns the id of the relationship that an element refers to. Such an attribute has a namespace, and an element may also
/// have an attribute `id` of its own.
pub fn relation_id<'a>(node: roxmltree::Node<'a, '_>) -> Option<&'a str> {
    let of_relation = |attribute: &roxmltree::Attribute| {
        attribute.namespace().is_some() && matches!(attribute.name(), "id" | "dm")
    };
    node.attributes().find(of_relation).map(|attribute| attribute.value())
}

/// Returns whether an attribute is on.
pub fn is_set(node: roxmltree::Node, name: &str) -> bool {
    matches!(attribute(node, name), Some("1" | "true" | "on"))
}
