//! Writes the text of OpenDocument paragraphs, lists, tables, frames and slides.

use std::collections::HashMap;
use std::mem;

use roxmltree::Node;

use super::styles::{LEVELS, ListStyle, OdfStyles, Reached, count, label};
use crate::source::extract::office::drawing::is_file_name;
use crate::source::extract::office::reading_order::{Positioned, in_reading_order};
use crate::source::extract::office::xml::{attribute, child, text_of};
use crate::text::blocks::{BlockKind, BlockWriter};

/// Shapes whose upper edges differ by less than this stand side by side, in millimetres.
const ROW_HEIGHT: f64 = 6.35;

/// Writes the text of a document, then its footnotes and endnotes.
pub fn write_document(body: Node, styles: &OdfStyles, text: &mut BlockWriter) {
    let mut writer = OdfWriter { styles, text, numbers: OdfNumbers::default(), notes: Vec::new() };
    writer.write(vec![OdfStep::Visit(body)]);
    writer.write_notes();
}

/// Writes each slide with its title first, then its shapes from top to bottom and from left to right, then its notes. Hidden
/// slides are left out.
pub fn write_slides(body: Node, styles: &OdfStyles, text: &mut BlockWriter) {
    let mut writer = OdfWriter { styles, text, numbers: OdfNumbers::default(), notes: Vec::new() };
    let pages = body.children().filter(|node| node.tag_name().name() == "page");
    for (number, page) in (1..).zip(pages) {
        if styles.hides(page) {
            continue;
        }
        writer.text.page(number);
        let of_slide = shapes(page);
        let of_notes = child(page, "notes").map(shapes).unwrap_or_default();
        writer.write(of_notes.into_iter().chain(of_slide).map(OdfStep::Visit).collect());
    }
    writer.write_notes();
}

/// Returns the shapes of a slide or a group, the last one first. What every slide repeats and empty placeholders are left out.
fn shapes<'a, 'input>(page: Node<'a, 'input>) -> Vec<Node<'a, 'input>> {
    let shown = page.children().filter(|shape| {
        let is_repeated = matches!(
            attribute(*shape, "class"),
            Some("header" | "footer" | "date-time" | "page-number" | "page")
        );
        shape.is_element()
            && !is_repeated
            && attribute(*shape, "placeholder") != Some("true")
            && shape.tag_name().name() != "notes"
    });
    let positioned = shown.map(|shape| {
        let (top, left) = position(shape).unwrap_or_default();
        let is_title = is_title(shape);
        Positioned { item: shape, is_title, top, left }
    });
    let mut shapes = in_reading_order(positioned.collect(), ROW_HEIGHT);
    shapes.reverse();
    shapes
}

fn is_title(shape: Node) -> bool {
    attribute(shape, "class") == Some("title")
}

/// Returns the distance of a shape from the top and from the left, in millimetres. A group is where its first shape is.
fn position(shape: Node) -> Option<(f64, f64)> {
    let lengths = |top: &str, left: &str| Some((millimetres(top)?, millimetres(left)?));
    if let (Some(top), Some(left)) = (attribute(shape, "y"), attribute(shape, "x")) {
        return lengths(top, left);
    }
    if let Some(transform) = attribute(shape, "transform") {
        // A rotated shape has its place in the transformation, such as `rotate (0.7) translate (2cm 3cm)`.
        let (_, moved) = transform.rsplit_once("translate")?;
        let (left, top) = moved.trim().trim_matches(['(', ')']).split_once([' ', ','])?;
        return lengths(top.trim(), left);
    }
    let first = shape.children().find(|child| attribute(*child, "y").is_some())?;
    lengths(attribute(first, "y")?, attribute(first, "x")?)
}

/// Returns a length such as `2.5cm` in millimetres.
fn millimetres(length: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 6] = [
        ("mm", 1.0),
        ("cm", 10.0),
        ("in", 25.4),
        ("pt", 25.4 / 72.0),
        ("pc", 25.4 / 6.0),
        ("px", 25.4 / 96.0),
    ];
    let (number, factor) =
        UNITS.iter().find_map(|(unit, factor)| Some((length.strip_suffix(unit)?, factor)))?;
    Some(number.trim().parse::<f64>().ok()? * factor)
}

/// A step of the traversal. An explicit stack is needed because documents can be deeper than the call stack allows.
enum OdfStep<'a, 'input> {
    Visit(Node<'a, 'input>),
    EndCell,
    EndItem,
    EndList,
    EndParagraph,
    EndRow,
    /// Continue the lists around a frame after its text.
    EndFrame(OdfLists<'a>),
}

/// The lists around the current paragraph.
#[derive(Default)]
struct OdfLists<'a> {
    /// The style of each list.
    styles: Vec<Option<&'a ListStyle>>,
    /// The id of the outermost list, and the name of its style.
    outermost: (&'a str, &'a str),
    /// What each item still has before it.
    items: Vec<OdfItem>,
    reached: Reached,
}

#[derive(Clone, Copy)]
enum OdfItem {
    /// The next paragraph has the label. The item may set the number.
    Next(Option<u32>),
    /// The label is written, or there is none.
    Done,
}

/// The numbers that lists and headings have reached.
#[derive(Default)]
struct OdfNumbers<'a> {
    headings: Reached,
    /// The numbers at the end of each list, keyed by its id.
    by_list: HashMap<&'a str, Reached>,
    /// The numbers at the end of the latest list of a style.
    by_style: HashMap<&'a str, Reached>,
}

struct OdfWriter<'w, 'a, 'input> {
    styles: &'a OdfStyles,
    text: &'w mut BlockWriter,
    numbers: OdfNumbers<'a>,
    /// The footnotes and endnotes.
    notes: Vec<Node<'a, 'input>>,
}

impl<'a, 'input> OdfWriter<'_, 'a, 'input> {
    fn write_notes(&mut self) {
        for note in mem::take(&mut self.notes) {
            self.text.end();
            self.write(note.children().rev().map(OdfStep::Visit).collect());
        }
    }

    fn write(&mut self, mut steps: Vec<OdfStep<'a, 'input>>) {
        let mut lists = OdfLists::default();
        // The frames that are anchored in the current paragraph. Their text is written after the paragraph.
        let mut anchored = Vec::new();
        let mut is_in_paragraph = false;
        while let Some(step) = steps.pop() {
            let node = match step {
                OdfStep::Visit(node) => node,
                OdfStep::EndCell => {
                    self.text.push_str(" ");
                    continue;
                }
                OdfStep::EndRow => {
                    self.text.end();
                    continue;
                }
                OdfStep::EndItem => {
                    lists.items.pop();
                    continue;
                }
                OdfStep::EndList => {
                    self.end_list(&mut lists);
                    continue;
                }
                OdfStep::EndFrame(around) => {
                    self.text.boundary();
                    lists = around;
                    continue;
                }
                OdfStep::EndParagraph => {
                    is_in_paragraph = false;
                    self.text.boundary();
                    steps.extend(mem::take(&mut anchored).into_iter().rev().map(OdfStep::Visit));
                    continue;
                }
            };
            if node.is_text() {
                self.text.push_str(node.text().unwrap_or_default());
                continue;
            }
            let children = || node.children().rev().map(OdfStep::Visit);
            match node.tag_name().name() {
                _ if self.is_left_out(node) => {}
                name @ ("p" | "h") => {
                    self.begin_paragraph(node, name == "h", &mut lists);
                    is_in_paragraph = true;
                    steps.push(OdfStep::EndParagraph);
                    steps.extend(children());
                }
                "s" | "tab" => self.text.push_str(" "),
                "line-break" => self.text.push_str("\n"),
                "note" => self.notes.extend(child(node, "note-body")),
                "list" => {
                    self.begin_list(node, &mut lists);
                    steps.push(OdfStep::EndList);
                    steps.extend(children());
                }
                name @ ("list-item" | "list-header") => {
                    let start = attribute(node, "start-value").and_then(|start| start.parse().ok());
                    lists.items.push(if name == "list-item" { OdfItem::Next(start) } else { OdfItem::Done });
                    steps.push(OdfStep::EndItem);
                    steps.extend(children());
                }
                "table-row" => {
                    let is_header =
                        node.parent().is_some_and(|rows| rows.tag_name().name() == "table-header-rows");
                    self.text.begin(if is_header { BlockKind::TableHeader } else { BlockKind::TableRow }, "");
                    steps.push(OdfStep::EndRow);
                    steps.extend(children());
                }
                "table-cell" => {
                    self.text.push_str("| ");
                    steps.push(OdfStep::EndCell);
                    steps.extend(children());
                }
                _ if is_shape(node) && is_in_paragraph => anchored.push(node),
                "g" => steps.extend(shapes(node).into_iter().map(OdfStep::Visit)),
                _ if is_shape(node) => {
                    self.text.boundary();
                    if is_title(node) {
                        self.write_title(node);
                        continue;
                    }
                    steps.push(OdfStep::EndFrame(mem::take(&mut lists)));
                    steps.extend(children());
                }
                // Elsewhere, an element with the name `title` is a field with the title of the document.
                "desc" | "title" if node.parent().is_some_and(is_shape) => {
                    let words = text_of(node);
                    if !is_file_name(&words) {
                        self.text.block(BlockKind::Paragraph, words.trim());
                    }
                }
                _ => steps.extend(children()),
            }
        }
    }

    /// Writes the title of a slide, whose paragraphs are one heading.
    fn write_title(&mut self, frame: Node) {
        let mut words = String::new();
        let mut left = vec![frame];
        while let Some(node) = left.pop() {
            match node.tag_name().name() {
                _ if node.is_text() => words.push_str(node.text().unwrap_or_default()),
                _ if self.is_left_out(node) => {}
                "s" | "tab" | "line-break" => words.push(' '),
                name => {
                    if name == "p" {
                        words.push(' ');
                    }
                    left.extend(node.children().rev());
                }
            }
        }
        if !words.trim().is_empty() {
            self.text.heading(1);
            self.text.push_str(words.trim());
            self.text.end();
        }
    }

    /// Starts a paragraph or a heading with its mark and number.
    fn begin_paragraph(&mut self, node: Node<'a, 'input>, is_heading: bool, lists: &mut OdfLists<'a>) {
        let label = list_label(lists);
        if !is_heading {
            return match label {
                Some(label) => self.text.begin(BlockKind::Item, &format!("{label} ")),
                None => self.text.boundary(),
            };
        }
        let level = attribute(node, "outline-level").and_then(|level| level.parse().ok()).unwrap_or(1usize);
        let label = label.filter(|label| label != "-").or_else(|| self.heading_label(node, level));
        self.text.heading(level);
        if let Some(label) = label {
            self.text.push_str(&format!("{label} "));
        }
    }

    /// Counts a heading that is in no list, and returns its number.
    fn heading_label(&mut self, node: Node, level: usize) -> Option<String> {
        let level = level.clamp(1, LEVELS) - 1;
        let outline = &self.styles.outline;
        if attribute(node, "is-list-header") == Some("true") || outline[level].is_none() {
            return None;
        }
        let restarts = attribute(node, "restart-numbering") == Some("true");
        let start = attribute(node, "start-value").and_then(|start| start.parse().ok());
        if restarts {
            self.numbers.headings[level] = None;
        }
        count(outline, level, start, &mut self.numbers.headings);
        label(outline, level, &self.numbers.headings)
    }

    fn begin_list(&mut self, node: Node<'a, 'input>, lists: &mut OdfLists<'a>) {
        let name = attribute(node, "style-name");
        if lists.styles.is_empty() {
            let name = name.unwrap_or_default();
            let continued = attribute(node, "continue-list").and_then(|id| self.numbers.by_list.get(id));
            let continued = continued.or_else(|| {
                let continues = attribute(node, "continue-numbering") == Some("true");
                self.numbers.by_style.get(name).filter(|_| continues)
            });
            lists.reached = continued.copied().unwrap_or_default();
            lists.outermost = (attribute(node, "id").unwrap_or_default(), name);
        }
        // A list inside another one has the style of that one, unless it names its own.
        let outer = lists.styles.last().copied().flatten();
        lists.styles.push(name.map_or(outer, |name| self.styles.list(name)));
    }

    fn end_list(&mut self, lists: &mut OdfLists<'a>) {
        lists.styles.pop();
        if lists.styles.is_empty() {
            let (id, style) = lists.outermost;
            self.numbers.by_list.insert(id, lists.reached);
            self.numbers.by_style.insert(style, lists.reached);
        }
    }

    fn is_left_out(&self, node: Node) -> bool {
        match node.tag_name().name() {
            // Deleted text is in `tracked-changes`. `ruby-text` is a pronunciation. `object` is a formula or a chart.
            "tracked-changes" | "annotation" | "forms" | "ruby-text" | "object" | "binary-data"
            | "hidden-text" | "event-listeners" | "covered-table-cell" | "sequence-decls"
            | "page-thumbnail" => true,
            "section" => attribute(node, "display") == Some("none"),
            "hidden-paragraph" => attribute(node, "is-hidden") == Some("true"),
            _ => self.styles.hides(node),
        }
    }
}

/// Counts the item that a paragraph begins, and returns its label.
fn list_label(lists: &mut OdfLists) -> Option<String> {
    let item = lists.items.last_mut()?;
    let OdfItem::Next(start) = mem::replace(item, OdfItem::Done) else { return None };
    let level = lists.items.len().min(LEVELS) - 1;
    // A list without a style has bullets.
    let Some(style) = lists.styles.last().copied().flatten() else { return Some("-".to_owned()) };
    count(style, level, start, &mut lists.reached);
    label(style, level, &lists.reached)
}

/// Returns whether an element is a shape that may have text.
fn is_shape(node: Node) -> bool {
    matches!(
        node.tag_name().name(),
        "frame"
            | "custom-shape"
            | "rect"
            | "ellipse"
            | "circle"
            | "line"
            | "connector"
            | "polygon"
            | "polyline"
            | "path"
            | "regular-polygon"
            | "caption"
            | "measure"
            | "g"
    )
}
