//! Extracts the text of drawings, which documents and presentations have in common (DrawingML; ECMA-376, part 1, chapters 20
//! and 21).

use std::collections::HashMap;

use roxmltree::Node;

use super::ooxml::{Relations, is_set};
use super::package::Package;
use super::xml::{attribute, child, elements, is_on, parse};
use crate::error::ContentError;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Returns the texts of the diagrams (SmartArt) and charts that a part refers to, keyed by the id of the reference.
///
/// # Errors
/// A part with a drawing is damaged or exceeds a limit.
pub fn graphics(
    package: &mut Package,
    relations: &Relations,
) -> Result<HashMap<String, Structured>, ContentError> {
    let mut graphics = HashMap::new();
    for relation in relations.iter() {
        let read = match relation.kind.as_str() {
            "diagramData" => diagram,
            "chart" => chart,
            _ => continue,
        };
        // A drawing that is missing is shown as an empty frame.
        let Some(xml) = package.text(&relation.target)? else { continue };
        let xml = parse(package.format(), &relation.target, &xml)?;
        graphics.insert(relation.id.clone(), read(xml.root_element()));
    }
    Ok(graphics)
}

/// Returns the texts of the shapes of a diagram.
fn diagram(root: Node) -> Structured {
    let mut text = BlockWriter::default();
    let points = child(root, "ptLst").into_iter().flat_map(|list| elements(list, "pt"));
    for paragraph in points.filter_map(|point| child(point, "t")).flat_map(|body| elements(body, "p")) {
        text.boundary();
        write_runs(paragraph, &mut text);
        text.boundary();
    }
    text.finish()
}

/// Returns the titles, the names of the series and the categories of a chart. Its numbers are left out, because a chart shows
/// them as lengths and angles.
fn chart(root: Node) -> Structured {
    let mut text = BlockWriter::default();
    let mut latest = Vec::new();
    let mut left = vec![root];
    while let Some(node) = left.pop() {
        match node.tag_name().name() {
            "p" => {
                text.boundary();
                write_runs(node, &mut text);
                text.boundary();
            }
            "tx" if node.parent().is_some_and(|parent| parent.tag_name().name() == "ser") => {
                text.block(BlockKind::Paragraph, &points(node).join(" "));
            }
            "cat" => {
                let categories = points(node);
                // Most charts repeat the categories in each series.
                if categories != latest {
                    text.block(BlockKind::Paragraph, &categories.join(", "));
                    latest = categories;
                }
            }
            _ => left.extend(node.children().rev()),
        }
    }
    text.finish()
}

/// Returns the values that a chart keeps of a range of cells.
fn points<'a>(node: Node<'a, '_>) -> Vec<&'a str> {
    let values = node.descendants().filter(|value| value.tag_name().name() == "v");
    values.filter_map(|value| value.text()).collect()
}

/// Writes the text of a paragraph in a drawing.
pub fn write_runs(paragraph: Node, text: &mut BlockWriter) {
    let mut left = vec![paragraph];
    while let Some(node) = left.pop() {
        match node.tag_name().name() {
            "t" => node
                .children()
                .filter(|part| part.is_text())
                .filter_map(|part| part.text())
                .for_each(|part| text.push_str(part)),
            "br" => text.push_str(" "),
            "pPr" | "rPr" | "endParaRPr" => {}
            "Fallback" if node.prev_sibling_element().is_some() => {}
            _ => left.extend(node.children().rev()),
        }
    }
}

/// Returns the alternative text of a drawing, given the element with its name (`docPr` or `cNvPr`). Decorations have none,
/// and the name of a picture file is none.
pub fn alternative<'a>(properties: Node<'a, '_>) -> Option<&'a str> {
    let text = attribute(properties, "descr")?.trim();
    let is_decoration = child(properties, "extLst")
        .is_some_and(|list| elements(list, "ext").filter_map(|ext| child(ext, "decorative")).any(is_on));
    (!text.is_empty() && !is_decoration && !is_file_name(text)).then_some(text)
}

/// Returns whether a text is only the name of a picture file.
pub fn is_file_name(text: &str) -> bool {
    const ENDINGS: [&str; 10] =
        [".bmp", ".emf", ".gif", ".jpeg", ".jpg", ".png", ".svg", ".tif", ".tiff", ".wmf"];
    let text = text.trim_end().to_ascii_lowercase();
    ENDINGS.iter().any(|ending| text.ends_with(ending))
}

/// Returns whether a drawing is hidden, given the element with its name.
pub fn is_hidden(properties: Node) -> bool {
    is_set(properties, "hidden")
}

/// Writes the rows of a table in a drawing. Cells that a neighbour covers are left out.
pub fn write_table(table: Node, text: &mut BlockWriter, mut write_cell: impl FnMut(Node, &mut BlockWriter)) {
    let has_header = child(table, "tblPr").is_some_and(|properties| is_set(properties, "firstRow"));
    for (at, row) in elements(table, "tr").enumerate() {
        text.begin(if has_header && at == 0 { BlockKind::TableHeader } else { BlockKind::TableRow }, "");
        for cell in elements(row, "tc").filter(|cell| !is_set(*cell, "hMerge") && !is_set(*cell, "vMerge")) {
            text.push_str("| ");
            child(cell, "txBody").into_iter().for_each(|body| write_cell(body, text));
            text.push_str(" ");
        }
        text.end();
    }
}
