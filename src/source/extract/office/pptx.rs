//! Extracts the text of PPTX files.
//!
//! The names of parts and elements are defined in ECMA-376 (Office Open XML), part 1, chapters 13 and 19 to 21.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use roxmltree::Node;
use serde_json::Map;

use super::counting::Counting;
use super::drawing::{alternative, graphics, is_hidden, write_runs, write_table};
use super::ooxml::{Relations, fields, relation_id};
use super::package::Package;
use super::reading_order::{Positioned, in_reading_order};
use super::xml::{attribute, child, descend, elements, parse};
use crate::error::ContentError;
use crate::source::document::Limits;
use crate::source::extract::Extracted;
use crate::source::format::DocumentFormat;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Shapes whose upper edges differ by less than this stand side by side: a quarter of an inch, in EMU (914,400 per inch).
const ROW_HEIGHT: f64 = 228_600.0;

/// Number of levels of a list.
const LEVELS: usize = 9;

/// The kind of placeholders for the title of a slide.
const TITLE: &str = "title";

/// The kind of placeholders that have the same text on every slide, or text that changes by itself.
const REPEATED: &str = "repeated";

/// Returns the text of the slides, each with its title first, then its shapes from top to bottom and from left to right, then
/// its notes. Returns the properties of the presentation if `wants_fields` is set.
///
/// A slide is a page, and its title a heading. List items and table cells are marked as in Markdown. Hidden slides and
/// shapes, comments, headers, footers, dates and slide numbers are skipped.
///
/// # Errors
/// The content is damaged, has another format or exceeds a limit.
pub fn pptx(bytes: &[u8], limits: Limits, wants_fields: bool) -> Result<Extracted, ContentError> {
    let mut package = Package::open(bytes, DocumentFormat::Pptx, limits)?;
    let of_package = Relations::of(&mut package, "")?;
    let Some(main) = of_package.first("officeDocument") else {
        return Err(package.unreadable("it contains no presentation"));
    };
    let of_main = Relations::of(&mut package, main)?;
    let xml = package.required(main)?;
    let xml = parse(package.format(), main, &xml)?;
    if xml.root_element().tag_name().name() != "presentation" {
        return Err(package.unreadable("it contains no presentation"));
    }
    let of_main = of_main.by_id();
    let mut layouts = HashMap::new();
    let mut text = BlockWriter::default();
    let slides = child(xml.root_element(), "sldIdLst").into_iter().flat_map(|list| elements(list, "sldId"));
    for (number, slide) in (1..).zip(slides) {
        let id = relation_id(slide).unwrap_or_default();
        let Some(name) = of_main.get(id) else {
            return Err(package.unreadable(format!("its slide {number} is missing")));
        };
        write_slide(&mut package, name, number, &mut layouts, &mut text)?;
    }
    let fields = if wants_fields { fields(&mut package, &of_package)? } else { Map::new() };
    Ok(Extracted { content: text.finish(), fields, repaired: package.repaired, ..Extracted::default() })
}

/// Writes a slide and its notes.
fn write_slide(
    package: &mut Package,
    name: &str,
    number: u32,
    layouts: &mut HashMap<String, Rc<SlideLayout>>,
    text: &mut BlockWriter,
) -> Result<(), ContentError> {
    let xml = package.required(name)?;
    let xml = parse(package.format(), name, &xml)?;
    let slide = xml.root_element();
    // The author takes such a slide out of the presentation.
    if matches!(attribute(slide, "show"), Some("0" | "false")) {
        return Ok(());
    }
    text.page(number);
    let relations = Relations::of(package, name)?;
    let layout = layout_of(package, &relations, layouts)?;
    let graphics = graphics(package, &relations)?;
    SlideWriter { layout: &layout, graphics, text }.write(slide);
    let Some(notes) = relations.first("notesSlide") else { return Ok(()) };
    let Some(xml) = package.text(notes)? else { return Ok(()) };
    let xml = parse(package.format(), notes, &xml)?;
    text.end();
    let layout = SlideLayout::default();
    SlideWriter { layout: &layout, graphics: HashMap::new(), text }.write(xml.root_element());
    Ok(())
}

/// Where a layout and its master put the placeholders of a slide, and which marks their lists have.
#[derive(Default)]
struct SlideLayout {
    /// The placeholders of the layout, keyed by their index.
    by_index: HashMap<String, Rc<Placeholder>>,
    /// The first placeholder of each kind, of the layout and then of the master.
    by_kind: HashMap<&'static str, Vec<Rc<Placeholder>>>,
    /// The marks of body text.
    body: Marks,
}

struct Placeholder {
    kind: &'static str,
    position: Option<(f64, f64)>,
    marks: Marks,
}

/// The mark of each level of a list; `None` where the properties do not say.
type Marks = [Option<ItemMark>; LEVELS];

#[derive(Clone, Copy)]
enum ItemMark {
    Nothing,
    Bullet,
    /// The first number, and how numbers are written.
    Number(u32, NumberScheme),
}

/// A way to write a number and the punctuation around it (`ST_TextAutonumberScheme`).
#[derive(Clone, Copy, PartialEq)]
struct NumberScheme {
    counting: Counting,
    before: &'static str,
    after: &'static str,
}

/// Reads the layout of a slide and its master, each once.
fn layout_of(
    package: &mut Package,
    of_slide: &Relations,
    layouts: &mut HashMap<String, Rc<SlideLayout>>,
) -> Result<Rc<SlideLayout>, ContentError> {
    let Some(name) = of_slide.first("slideLayout") else { return Ok(Rc::default()) };
    if let Some(known) = layouts.get(name) {
        return Ok(known.clone());
    }
    let mut layout = SlideLayout::default();
    let of_layout = Relations::of(package, name)?;
    for part in [Some(name), of_layout.first("slideMaster")].into_iter().flatten() {
        let Some(xml) = package.text(part)? else { continue };
        let xml = parse(package.format(), part, &xml)?;
        layout.add(xml.root_element(), part == name);
    }
    let layout = Rc::new(layout);
    layouts.insert(name.to_owned(), layout.clone());
    Ok(layout)
}

impl SlideLayout {
    /// Adds what a layout or its master sets.
    fn add(&mut self, root: Node, is_layout: bool) {
        let mut kinds = HashSet::new();
        let tree = descend(root, &["cSld", "spTree"]);
        for shape in tree.into_iter().flat_map(|tree| elements(tree, "sp")) {
            let Some((kind, index)) = placeholder(shape) else { continue };
            let placeholder = Rc::new(Placeholder {
                kind,
                position: position(shape),
                marks: marks(descend(shape, &["txBody", "lstStyle"])),
            });
            if is_layout && !index.is_empty() {
                self.by_index.entry(index.to_owned()).or_insert(placeholder.clone());
            }
            if kinds.insert(kind) {
                self.by_kind.entry(kind).or_default().push(placeholder);
            }
        }
        if let Some(styles) = descend(root, &["txStyles", "bodyStyle"]) {
            self.body = marks(Some(styles));
        }
    }

    /// Returns what a placeholder of a slide inherits: from the layout by index, then by kind.
    fn inherited(&self, kind: &'static str, index: &str) -> impl Iterator<Item = &Placeholder> {
        let by_index = self.by_index.get(index);
        // A placeholder of the layout may have another kind than the one of the slide that it belongs to.
        let kind = by_index.map_or(kind, |found| found.kind);
        by_index.into_iter().chain(self.by_kind.get(kind).into_iter().flatten()).map(Rc::as_ref)
    }
}

/// Returns the kind and the index of a shape that is a placeholder. A placeholder for any content is body text on a master.
fn placeholder<'a>(shape: Node<'a, '_>) -> Option<(&'static str, &'a str)> {
    let placeholder = non_visual(shape).and_then(|properties| descend(properties, &["nvPr", "ph"]))?;
    let kind = match attribute(placeholder, "type") {
        Some("title" | "ctrTitle") => TITLE,
        Some("dt" | "ftr" | "hdr" | "sldNum" | "sldImg") => REPEATED,
        _ => "body",
    };
    Some((kind, attribute(placeholder, "idx").unwrap_or_default()))
}

/// Returns the element with the name and the kind of a shape, such as `nvSpPr`.
fn non_visual<'a, 'input>(shape: Node<'a, 'input>) -> Option<Node<'a, 'input>> {
    shape.children().find(|child| {
        matches!(
            child.tag_name().name(),
            "nvSpPr" | "nvGrpSpPr" | "nvGraphicFramePr" | "nvPicPr" | "nvCxnSpPr"
        )
    })
}

/// Returns the distance of a shape from the top and from the left, in EMU.
fn position(shape: Node) -> Option<(f64, f64)> {
    let frame = child(shape, "xfrm").or_else(|| {
        let properties = child(shape, "spPr").or_else(|| child(shape, "grpSpPr"))?;
        child(properties, "xfrm")
    });
    let offset = child(frame?, "off")?;
    let number = |name| attribute(offset, name)?.parse().ok();
    Some((number("y")?, number("x")?))
}

/// Returns the marks that a list style sets.
fn marks(style: Option<Node>) -> Marks {
    const NAMES: [&str; LEVELS] =
        ["lvl1pPr", "lvl2pPr", "lvl3pPr", "lvl4pPr", "lvl5pPr", "lvl6pPr", "lvl7pPr", "lvl8pPr", "lvl9pPr"];
    NAMES.map(|name| style.and_then(|style| child(style, name)).and_then(mark))
}

/// Returns the mark that the properties of a paragraph set.
fn mark(properties: Node) -> Option<ItemMark> {
    properties.children().find_map(|property| match property.tag_name().name() {
        "buNone" => Some(ItemMark::Nothing),
        "buChar" | "buBlip" => Some(ItemMark::Bullet),
        "buAutoNum" => {
            let start = attribute(property, "startAt").and_then(|start| start.parse().ok()).unwrap_or(1);
            Some(ItemMark::Number(start, NumberScheme::of(attribute(property, "type").unwrap_or_default())))
        }
        _ => None,
    })
}

/// Writes the shapes of a slide or of its notes.
struct SlideWriter<'a> {
    layout: &'a SlideLayout,
    /// The texts of diagrams and charts, keyed by the id of the reference to them. Each is written once.
    graphics: HashMap<String, Structured>,
    text: &'a mut BlockWriter,
}

impl SlideWriter<'_> {
    fn write(&mut self, slide: Node) {
        let Some(tree) = descend(slide, &["cSld", "spTree"]) else { return };
        // An explicit stack is needed because groups can be deeper than the call stack allows.
        let mut left = self.shapes(tree);
        while let Some(shape) = left.pop() {
            if non_visual(shape).and_then(|properties| child(properties, "cNvPr")).is_some_and(is_hidden) {
                continue;
            }
            if shape.tag_name().name() == "grpSp" {
                left.extend(self.shapes(shape));
            } else {
                self.write_shape(shape);
            }
        }
    }

    /// Returns the shapes of a slide or a group, the last one first.
    fn shapes<'b, 'input>(&self, tree: Node<'b, 'input>) -> Vec<Node<'b, 'input>> {
        let mut shapes = Vec::new();
        for node in tree.children().filter(Node::is_element) {
            // Of the versions of a shape for different programs, the first one is for the newest.
            let versions = (node.tag_name().name() == "AlternateContent").then(|| node.first_element_child());
            let shown = versions.map_or_else(
                || vec![node],
                |version| {
                    version
                        .into_iter()
                        .flat_map(|version| version.children())
                        .filter(Node::is_element)
                        .collect()
                },
            );
            shapes.extend(shown.into_iter().filter_map(|shape| self.positioned(shape)));
        }
        let mut shapes = in_reading_order(shapes, ROW_HEIGHT);
        shapes.reverse();
        shapes
    }

    /// Returns a shape with its position. Returns `None` for shapes that are repeated on every slide.
    fn positioned<'b, 'input>(&self, shape: Node<'b, 'input>) -> Option<Positioned<Node<'b, 'input>>> {
        let placeholder = placeholder(shape);
        let (kind, index) = placeholder.unwrap_or_default();
        if kind == REPEATED {
            return None;
        }
        let inherited = || self.layout.inherited(kind, index).find_map(|other| other.position);
        let position = position(shape).or_else(|| placeholder.and_then(|_| inherited()));
        let (top, left) = position.unwrap_or_default();
        Some(Positioned { item: shape, is_title: kind == TITLE, top, left })
    }

    fn write_shape(&mut self, shape: Node) {
        let properties = non_visual(shape).and_then(|properties| child(properties, "cNvPr"));
        if let Some(words) = properties.and_then(alternative) {
            self.text.block(BlockKind::Paragraph, words);
        }
        if let Some(body) = child(shape, "txBody") {
            self.write_body(shape, body);
        }
        let Some(data) = descend(shape, &["graphic", "graphicData"]) else { return };
        for node in data.children() {
            match node.tag_name().name() {
                "tbl" => write_table(node, self.text, |body, text| {
                    elements(body, "p").for_each(|paragraph| {
                        text.boundary();
                        write_runs(paragraph, text);
                    });
                }),
                _ => {
                    if let Some(graphic) = relation_id(node).and_then(|id| self.graphics.remove(id)) {
                        self.text.append(&graphic);
                    }
                }
            }
        }
    }

    /// Writes the paragraphs of a shape.
    fn write_body(&mut self, shape: Node, body: Node) {
        let placeholder = placeholder(shape);
        let is_title = placeholder.is_some_and(|(kind, _)| kind == TITLE);
        let own = marks(child(body, "lstStyle"));
        let mut numbers: [Option<(u32, NumberScheme)>; LEVELS] = Default::default();
        // An empty paragraph is a gap between two others.
        let mut paragraphs = elements(body, "p").filter(|paragraph| has_text(*paragraph)).peekable();
        if is_title && paragraphs.peek().is_some() {
            self.text.heading(1);
        }
        for paragraph in paragraphs {
            if is_title {
                write_runs(paragraph, self.text);
                self.text.push_str(" ");
                continue;
            }
            let properties = child(paragraph, "pPr");
            let level = properties.and_then(|properties| attribute(properties, "lvl")?.parse().ok());
            let level = level.unwrap_or(0).min(LEVELS - 1);
            let mark = properties.and_then(mark).or(own[level]).or_else(|| {
                let (kind, index) = placeholder?;
                let inherited = self.layout.inherited(kind, index).find_map(|other| other.marks[level]);
                inherited.or(self.layout.body[level])
            });
            self.begin(mark.unwrap_or(ItemMark::Nothing), level, &mut numbers);
            write_runs(paragraph, self.text);
            self.text.boundary();
        }
        self.text.end();
    }

    /// Starts a paragraph with its mark. `numbers` holds the latest number of each level and how it is written.
    fn begin(&mut self, mark: ItemMark, level: usize, numbers: &mut [Option<(u32, NumberScheme)>; LEVELS]) {
        numbers[level + 1..].fill(None);
        let ItemMark::Number(start, scheme) = mark else {
            numbers[level] = None;
            return match mark {
                ItemMark::Bullet => self.text.begin(BlockKind::Item, "- "),
                _ => self.text.boundary(),
            };
        };
        let number = match &numbers[level] {
            Some((latest, of)) if *of == scheme => latest.saturating_add(1),
            _ => start,
        };
        let NumberScheme { counting, before, after } = scheme;
        self.text.begin(BlockKind::Item, &format!("{before}{}{after}", counting.number(number)));
        numbers[level] = Some((number, scheme));
    }
}

/// Returns whether a paragraph has any text.
fn has_text(paragraph: Node) -> bool {
    paragraph.descendants().any(|part| part.tag_name().name() == "t" && part.text().is_some())
}

impl NumberScheme {
    /// Returns the scheme with this name, such as `alphaLcParenR` for `a)`.
    fn of(name: &str) -> NumberScheme {
        const COUNTINGS: [(&str, &str); 8] = [
            ("alphaLc", "lowerLetter"),
            ("alphaUc", "upperLetter"),
            ("romanLc", "lowerRoman"),
            ("romanUc", "upperRoman"),
            ("arabicDb", "decimalFullWidth"),
            ("circleNum", "decimalEnclosedCircle"),
            ("ea1Ch", "chineseCounting"),
            ("ea1Jpn", "japaneseCounting"),
        ];
        const PUNCTUATION: [(&str, &str, &str); 4] =
            [("ParenBoth", "(", ") "), ("ParenR", "", ") "), ("Period", "", ". "), ("Minus", "", "- ")];
        let counting = COUNTINGS.iter().find(|(start, _)| name.starts_with(start));
        let counting = Counting::of_word(counting.map_or("decimal", |(_, name)| name));
        let punctuation = PUNCTUATION.iter().find(|(end, ..)| name.ends_with(end));
        let (before, after) = punctuation.map_or(("", " "), |(_, before, after)| (before, after));
        NumberScheme { counting, before, after }
    }
}
