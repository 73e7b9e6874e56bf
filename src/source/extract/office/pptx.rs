//! Extracts the text of PPTX files.
//!
//! The names of parts and elements are defined in ECMA-376 (Office Open XML), part 1, chapters 13 and 19 to 21.

use std::collections::HashMap;
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
use crate::source::fields::Record;
use crate::source::format::DocumentFormat;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Shapes whose upper edges differ by less than this stand side by side: a quarter of an inch, in EMU (914,400 per inch).
const ROW_HEIGHT: f64 = 228_600.0;

/// Number of levels of a list.
const LEVELS: usize = 9;

/// Returns the text of the slides, each with its title first, then its shapes from top to bottom and from left to right, then
/// its notes. Returns the properties of the presentation if `wants_fields` is set.
///
/// A slide is a page, and its title a heading. List items and table cells are marked as in Markdown. Hidden slides and
/// shapes, comments, headers, footers, dates and slide numbers are skipped.
///
/// # Errors
/// The content is damaged, has another format or exceeds a limit.
pub fn pptx(
    bytes: &[u8],
    limits: Limits,
    wants_fields: bool,
) -> Result<(Structured, Record), ContentError> {
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
    Ok((text.finish(), fields))
}

/// Writes a slide and its notes.
fn write_slide(
    package: &mut Package,
    name: &str,
    number: u32,
    layouts: &mut HashMap<String, Rc<Layout>>,
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
    SlideWriter { layout: &layout, graphics: &graphics, text }.write(slide);
    let Some(notes) = relations.first("notesSlide") else { return Ok(()) };
    let Some(xml) = package.text(notes)? else { return Ok(()) };
    let xml = parse(package.format(), notes, &xml)?;
    text.end();
    let layout = Layout::default();
    SlideWriter { layout: &layout, graphics: &HashMap::new(), text }.write(xml.root_element());
    Ok(())
}

/// Where a layout and its master put the placeholders of a slide, and which marks their lists have.
#[derive(Default)]
struct Layout {
    /// The placeholders of the layout, then those of the master.
    placeholders: Vec<Placeholder>,
    /// The marks of body text.
    body: Marks,
}

struct Placeholder {
    kind: String,
    index: String,
    position: Option<(f64, f64)>,
    marks: Marks,
}

/// The mark of each level of a list; `None` where the properties do not say.
type Marks = [Option<ItemMark>; LEVELS];

#[derive(Clone, PartialEq)]
enum ItemMark {
    Nothing,
    Bullet,
    /// The first number, and how numbers are written (`ST_TextAutonumberScheme`).
    Number(u32, String),
}

/// Reads the layout of a slide and its master, each once.
fn layout_of(
    package: &mut Package,
    of_slide: &Relations,
    layouts: &mut HashMap<String, Rc<Layout>>,
) -> Result<Rc<Layout>, ContentError> {
    let Some(name) = of_slide.first("slideLayout") else { return Ok(Rc::default()) };
    if let Some(known) = layouts.get(name) {
        return Ok(known.clone());
    }
    let mut layout = Layout::default();
    let of_layout = Relations::of(package, name)?;
    for part in [Some(name), of_layout.first("slideMaster")].into_iter().flatten() {
        let Some(xml) = package.text(part)? else { continue };
        let xml = parse(package.format(), part, &xml)?;
        let root = xml.root_element();
        let tree = descend(root, &["cSld", "spTree"]);
        for shape in tree.into_iter().flat_map(|tree| elements(tree, "sp")) {
            let Some((kind, index)) = placeholder(shape) else { continue };
            layout.placeholders.push(Placeholder {
                kind: kind.to_owned(),
                index: index.to_owned(),
                position: position(shape),
                marks: marks(descend(shape, &["txBody", "lstStyle"])),
            });
        }
        if let Some(styles) = descend(root, &["txStyles", "bodyStyle"]) {
            layout.body = marks(Some(styles));
        }
    }
    let layout = Rc::new(layout);
    layouts.insert(name.to_owned(), layout.clone());
    Ok(layout)
}

impl Layout {
    /// Returns what a placeholder of a slide inherits: from the layout by index, then from the master by kind.
    fn inherited(&self, kind: &str, index: &str) -> impl Iterator<Item = &Placeholder> {
        let of_layout = self.placeholders.iter().find(move |other| other.index == index && !index.is_empty());
        // A placeholder of the layout may have another kind than the one of the slide that it belongs to.
        let kind = of_layout.map_or(kind, |found| &found.kind).to_owned();
        let by_kind = self.placeholders.iter().filter(move |other| is_same_kind(&other.kind, &kind));
        of_layout.into_iter().chain(by_kind)
    }
}

/// Returns whether a placeholder takes the place of another. Those for any content are body text on a master.
fn is_same_kind(one: &str, other: &str) -> bool {
    let general = |kind: &str| match kind {
        "obj" | "subTitle" => "body".to_owned(),
        "ctrTitle" => "title".to_owned(),
        kind => kind.to_owned(),
    };
    general(one) == general(other)
}

/// Returns the kind and the index of a shape that is a placeholder.
fn placeholder<'a>(shape: Node<'a, '_>) -> Option<(&'a str, &'a str)> {
    let placeholder = non_visual(shape).and_then(|properties| descend(properties, &["nvPr", "ph"]))?;
    Some((
        attribute(placeholder, "type").unwrap_or("obj"),
        attribute(placeholder, "idx").unwrap_or_default(),
    ))
}

/// Returns the element with the name and the kind of a shape, such as `nvSpPr`.
fn non_visual<'a, 'input>(shape: Node<'a, 'input>) -> Option<Node<'a, 'input>> {
    shape.children().find(|child| {
        matches!(child.tag_name().name(), "nvSpPr" | "nvGrpSpPr" | "nvGraphicFramePr" | "nvPicPr" | "nvCxnSpPr")
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
    const NAMES: [&str; LEVELS] = [
        "lvl1pPr", "lvl2pPr", "lvl3pPr", "lvl4pPr", "lvl5pPr", "lvl6pPr", "lvl7pPr", "lvl8pPr", "lvl9pPr",
    ];
    NAMES.map(|name| style.and_then(|style| child(style, name)).and_then(mark))
}

/// Returns the mark that the properties of a paragraph set.
fn mark(properties: Node) -> Option<ItemMark> {
    properties.children().find_map(|property| match property.tag_name().name() {
        "buNone" => Some(ItemMark::Nothing),
        "buChar" | "buBlip" => Some(ItemMark::Bullet),
        "buAutoNum" => {
            let start = attribute(property, "startAt").and_then(|start| start.parse().ok()).unwrap_or(1);
            Some(ItemMark::Number(start, attribute(property, "type").unwrap_or_default().to_owned()))
        }
        _ => None,
    })
}

/// Writes the shapes of a slide or of its notes.
struct SlideWriter<'a> {
    layout: &'a Layout,
    /// The texts of diagrams and charts, keyed by the id of the reference to them.
    graphics: &'a HashMap<String, Structured>,
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
            let shown = versions.map_or_else(|| vec![node], |version| {
                version.into_iter().flat_map(|version| version.children()).filter(Node::is_element).collect()
            });
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
        if matches!(kind, "dt" | "ftr" | "hdr" | "sldNum" | "sldImg") {
            return None;
        }
        let inherited = || self.layout.inherited(kind, index).find_map(|other| other.position);
        let position = position(shape).or_else(|| placeholder.and_then(|_| inherited()));
        let (top, left) = position.unwrap_or_default();
        Some(Positioned { item: shape, is_title: is_same_kind(kind, "title"), top, left })
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
                    if let Some(graphic) = relation_id(node).and_then(|id| self.graphics.get(id)) {
                        self.text.append(graphic);
                    }
                }
            }
        }
    }

    /// Writes the paragraphs of a shape.
    fn write_body(&mut self, shape: Node, body: Node) {
        let placeholder = placeholder(shape);
        let is_title = placeholder.is_some_and(|(kind, _)| is_same_kind(kind, "title"));
        let own = marks(child(body, "lstStyle"));
        let mut numbers: [Option<(u32, String)>; LEVELS] = Default::default();
        if is_title {
            self.text.heading(1);
        }
        for paragraph in elements(body, "p") {
            if is_title {
                write_runs(paragraph, self.text);
                self.text.push_str(" ");
                continue;
            }
            // An empty paragraph is a gap between two others.
            let is_empty = !paragraph.descendants().any(|part| part.is_text());
            if is_empty {
                continue;
            }
            let properties = child(paragraph, "pPr");
            let level = properties.and_then(|properties| attribute(properties, "lvl")?.parse().ok());
            let level = level.unwrap_or(0).min(LEVELS - 1);
            let mark = properties.and_then(mark).or_else(|| own[level].clone()).or_else(|| {
                let (kind, index) = placeholder?;
                let inherited = self.layout.inherited(kind, index).find_map(|other| other.marks[level].clone());
                inherited.or_else(|| self.layout.body[level].clone())
            });
            self.begin(mark.unwrap_or(ItemMark::Nothing), level, &mut numbers);
            write_runs(paragraph, self.text);
            self.text.boundary();
        }
        self.text.end();
    }

    /// Starts a paragraph with its mark. `numbers` holds the latest number of each level and how it is written.
    fn begin(&mut self, mark: ItemMark, level: usize, numbers: &mut [Option<(u32, String)>; LEVELS]) {
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
        self.text.begin(BlockKind::Item, &numbered(number, &scheme));
        numbers[level] = Some((number, scheme));
    }
}

/// Returns a number with the punctuation of its scheme, such as `a) ` for `alphaLcParenR`.
fn numbered(number: u32, scheme: &str) -> String {
    const COUNTINGS: [(&str, &str); 9] = [
        ("alphaLc", "lowerLetter"),
        ("alphaUc", "upperLetter"),
        ("romanLc", "lowerRoman"),
        ("romanUc", "upperRoman"),
        ("arabicDb", "decimalFullWidth"),
        ("circleNum", "decimalEnclosedCircle"),
        ("ea1ChsPlain", "chineseCounting"),
        ("ea1Cht", "chineseCounting"),
        ("ea1Jpn", "japaneseCounting"),
    ];
    let counting = COUNTINGS.iter().find(|(start, _)| scheme.starts_with(start));
    let counting = match counting {
        Some((_, name)) => Counting::of_word(name),
        None if scheme.starts_with("ea1Chs") => Counting::Chinese,
        None => Counting::Decimal,
    };
    let number = counting.number(number);
    match scheme {
        scheme if scheme.ends_with("ParenBoth") => format!("({number}) "),
        scheme if scheme.ends_with("ParenR") => format!("{number}) "),
        scheme if scheme.ends_with("Period") => format!("{number}. "),
        scheme if scheme.ends_with("Minus") => format!("{number}- "),
        _ => format!("{number} "),
    }
}
