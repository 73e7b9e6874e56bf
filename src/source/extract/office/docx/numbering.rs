//! Counts the numbered paragraphs of a DOCX file (ECMA-376, part 1, section 17.9).

use std::collections::{HashMap, HashSet};

use roxmltree::Node;

use crate::source::extract::office::counting::{Counting, LABEL_BYTES_MAX};
use crate::source::extract::office::xml::{attribute, child, descend, elements, is_on, value};

/// Number of levels of a list.
const LEVELS: usize = 9;

/// What stands before a paragraph of a list.
#[derive(Debug, Clone, PartialEq)]
pub enum ListLabel {
    Bullet,
    /// A number with the text around it, such as `Article 1. `. It ends with a space if one separates it from the paragraph.
    Number(String),
    /// Nothing: the paragraph only has the indent of the list.
    Blank,
}

/// The lists of a document, with the numbers that were reached.
#[derive(Default)]
pub struct Numbering {
    definitions: Vec<Definition>,
    instances: HashMap<i64, Instance>,
    /// The instances and levels whose own start has been used.
    started: HashSet<(i64, usize)>,
}

/// The levels of a list (`abstractNum`), and the latest number of each level.
#[derive(Default)]
struct Definition {
    levels: [Option<ListLevel>; LEVELS],
    latest: [Option<u32>; LEVELS],
}

/// A list (`num`). Several lists may continue the numbers of one definition.
struct Instance {
    definition: usize,
    levels: [Option<ListLevel>; LEVELS],
    starts: [Option<u32>; LEVELS],
}

#[derive(Clone)]
struct ListLevel {
    start: u32,
    /// `None` for a bullet.
    counting: Option<Counting>,
    /// The text around the numbers. `%1` stands for the number of the first level.
    text: String,
    has_gap: bool,
    /// The level, counted from 1, after which this level starts again; 0 if it never does.
    restart: Option<usize>,
    /// Whether the numbers of all levels are decimal.
    is_legal: bool,
    /// The id of the paragraph style that has this level.
    style: Option<String>,
}

impl Numbering {
    /// Reads the definitions of the lists.
    pub fn of(root: Node) -> Numbering {
        let mut by_id = HashMap::new();
        let mut by_style = HashMap::new();
        let mut definitions = Vec::new();
        for node in elements(root, "abstractNum") {
            let at = definitions.len();
            by_id.extend(attribute(node, "abstractNumId").map(|id| (id, at)));
            by_style.extend(child(node, "styleLink").and_then(value).map(|style| (style, at)));
            definitions.push(Definition { levels: levels_of(node), ..Definition::default() });
        }
        // A definition may only name the style that another definition belongs to.
        for node in elements(root, "abstractNum") {
            let linked = child(node, "numStyleLink").and_then(value).and_then(|style| by_style.get(style));
            let id = attribute(node, "abstractNumId");
            if let (Some(&linked), Some(id)) = (linked, id) {
                by_id.insert(id, linked);
            }
        }
        let instance = |node| {
            let mut instance = Instance {
                definition: *by_id.get(child(node, "abstractNumId").and_then(value)?)?,
                levels: Default::default(),
                starts: Default::default(),
            };
            for own in elements(node, "lvlOverride") {
                let Some(level) = level_number(own) else { continue };
                instance.starts[level] = child(own, "startOverride").and_then(number);
                instance.levels[level] = child(own, "lvl").map(level_of);
            }
            Some((attribute(node, "numId")?.parse().ok()?, instance))
        };
        let instances = elements(root, "num").filter_map(instance).collect();
        Numbering { definitions, instances, started: HashSet::new() }
    }

    /// Returns the level of a list that belongs to a paragraph style.
    pub fn level_of_style(&self, list: i64, style: &str) -> Option<usize> {
        let definition = &self.definitions[self.instances.get(&list)?.definition];
        definition
            .levels
            .iter()
            .position(|level| level.as_ref().is_some_and(|l| l.style.as_deref() == Some(style)))
    }

    /// Counts a paragraph and returns its label. A list that the document does not define has bullets.
    pub fn next(&mut self, list: i64, level: usize) -> ListLabel {
        let level = level.min(LEVELS - 1);
        let Some(instance) = self.instances.get(&list) else { return ListLabel::Bullet };
        let definition = &mut self.definitions[instance.definition];
        let level_at = |at: usize| instance.levels[at].as_ref().or(definition.levels[at].as_ref());
        let Some(own) = level_at(level) else { return ListLabel::Bullet };
        let start_of = |at: usize| instance.starts[at].or(level_at(at).map(|level| level.start)).unwrap_or(1);
        let starts_anew = instance.starts[level].is_some() && self.started.insert((list, level));
        let reached = match definition.latest[level] {
            Some(latest) if !starts_anew => latest.saturating_add(1),
            _ => start_of(level),
        };
        let mut latest = definition.latest;
        latest[level] = Some(reached);
        for (deeper, latest) in latest.iter_mut().enumerate().skip(level + 1) {
            let restart = level_at(deeper).and_then(|level| level.restart).unwrap_or(deeper);
            if level < restart {
                *latest = None;
            }
        }
        let label = match own.counting {
            None if own.text.trim().is_empty() => ListLabel::Blank,
            None => ListLabel::Bullet,
            Some(_) => {
                let number = |at: usize| {
                    let counting = level_at(at).and_then(|level| level.counting).unwrap_or(Counting::Nothing);
                    let is_decimal = own.is_legal && counting != Counting::Nothing;
                    let counting = if is_decimal { Counting::Decimal } else { counting };
                    counting.number(latest[at].unwrap_or_else(|| start_of(at)))
                };
                own.label(number)
            }
        };
        definition.latest = latest;
        label
    }
}

impl ListLevel {
    /// Returns the label with the numbers that `number` returns for each level.
    fn label(&self, number: impl Fn(usize) -> String) -> ListLabel {
        let mut label = String::new();
        let mut parts = self.text.split('%');
        label.push_str(parts.next().unwrap_or_default());
        for part in parts {
            match part.bytes().next() {
                Some(digit @ b'1'..=b'9') => {
                    label.push_str(&number(usize::from(digit - b'1')));
                    label.push_str(&part[1..]);
                }
                _ => label.extend(["%", part]),
            }
        }
        if label.trim().is_empty() || label.len() > LABEL_BYTES_MAX {
            return ListLabel::Blank;
        }
        // Without a space, a number would be one word with the text.
        if self.has_gap || label.ends_with(|last: char| last.is_ascii_alphanumeric()) {
            label.push(' ');
        }
        ListLabel::Number(label)
    }
}

fn levels_of(definition: Node) -> [Option<ListLevel>; LEVELS] {
    let mut levels: [Option<ListLevel>; LEVELS] = Default::default();
    for node in elements(definition, "lvl") {
        if let Some(at) = level_number(node) {
            levels[at] = Some(level_of(node));
        }
    }
    levels
}

fn level_of(node: Node) -> ListLevel {
    // A format that older programs do not know stands in `AlternateContent`, with another one for those programs.
    let format = child(node, "numFmt").or_else(|| descend(node, &["AlternateContent", "Fallback", "numFmt"]));
    let format = format.and_then(value).unwrap_or("decimal");
    let text = child(node, "lvlText").and_then(value).filter(|text| text.len() <= LABEL_BYTES_MAX);
    ListLevel {
        start: child(node, "start").and_then(number).unwrap_or(0),
        counting: (format != "bullet").then(|| Counting::of_word(format)),
        text: text.unwrap_or_default().to_owned(),
        has_gap: child(node, "suff").and_then(value) != Some("nothing"),
        restart: child(node, "lvlRestart").and_then(number),
        is_legal: child(node, "isLgl").is_some_and(is_on),
        style: child(node, "pStyle").and_then(value).map(str::to_owned),
    }
}

fn level_number(node: Node) -> Option<usize> {
    attribute(node, "ilvl")?.parse().ok().filter(|&level| level < LEVELS)
}

fn number<T: std::str::FromStr>(node: Node) -> Option<T> {
    value(node)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn level(at: usize, more: &str) -> String {
        format!("<lvl ilvl='{at}'><start val='1'/>{more}</lvl>")
    }

    /// Returns the labels of paragraphs, given by list and level.
    fn labels(numbering: &str, paragraphs: &[(i64, usize)]) -> String {
        let xml = format!("<numbering>{numbering}</numbering>");
        let mut numbering = Numbering::of(Document::parse(&xml).unwrap().root_element());
        let label = |&(list, level): &(i64, usize)| match numbering.next(list, level) {
            ListLabel::Bullet => "-".to_owned(),
            ListLabel::Number(number) => number,
            ListLabel::Blank => "_".to_owned(),
        };
        paragraphs.iter().map(label).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn levels_count_and_start_again() {
        let list = |levels: &str| {
            format!(
                "<abstractNum abstractNumId='0'>{levels}</abstractNum><num numId='1'><abstractNumId val='0'/></num>"
            )
        };
        let outline = list(&[
            level(0, "<numFmt val='upperRoman'/><lvlText val='Article %1.'/>"),
            level(1, "<isLgl/><lvlText val='%1.%2'/>"),
            level(2, "<numFmt val='lowerLetter'/><lvlText val='(%3)'/><suff val='nothing'/><lvlRestart val='1'/>"),
            level(3, "<numFmt val='bullet'/><lvlText val='\u{F0B7}'/>"),
            level(4, "<numFmt val='none'/><lvlText val=''/>"),
            level(5, "<numFmt val='bullet'/><lvlText val=' '/>"),
            level(6, "<lvlText val='100 % of %7'/><suff val='nothing'/>"),
            level(7, "<lvlText val='%8.'/><lvlRestart val='0'/>"),
        ].concat());
        let one =
            |levels: &[usize]| labels(&outline, &levels.iter().map(|&level| (1, level)).collect::<Vec<_>>());
        assert_eq!(one(&[0, 1, 1, 0, 1]), "Article I. |1.1 |1.2 |Article II. |2.1 ");
        assert_eq!(one(&[1, 0]), "1.1 |Article I. ", "a level that was skipped shows its start");
        assert_eq!(one(&[0, 1, 2, 1, 2, 0, 2]), "Article I. |1.1 |(a)|1.2 |(b)|Article II. |(a)");
        assert_eq!(one(&[3, 4, 5, 6, 8, 20]), "-|_|_|100 % of 1 |-|-");
        assert_eq!(one(&[7, 0, 7]), "1. |Article I. |2. ");
        assert_eq!(labels(&outline, &[(77, 0)]), "-");
        assert_eq!(labels("", &[(1, 0)]), "-");
        for text in ["a".repeat(256), "%1".repeat(127)] {
            let long = list(&level(
                0,
                &format!("<numFmt val='lowerLetter'/><start val='99'/><lvlText val='{text}'/>"),
            ));
            assert_eq!(labels(&long.replacen("<start val='1'/>", "", 1), &[(1, 0)]), "_", "labels are short");
        }
    }

    #[test]
    fn lists_of_one_definition_continue_unless_they_start_anew() {
        let numbering = format!(
            "<abstractNum abstractNumId='0'><styleLink val='s'/>{}{}</abstractNum><abstractNum abstractNumId='1'><numStyleLink val='s'/></abstractNum>\
             <num numId='1'><abstractNumId val='0'/></num><num numId='2'><abstractNumId val='1'/></num>\
             <num numId='3'><abstractNumId val='0'/><lvlOverride ilvl='0'><startOverride val='7'/></lvlOverride></num>\
             <num numId='4'><abstractNumId val='0'/><lvlOverride ilvl='0'>{}</lvlOverride></num>",
            level(0, "<lvlText val='%1.'/>"),
            level(1, "<pStyle val='Sub'/><lvlText val='%1.%2'/>"),
            level(0, "<lvlText val='§ %1'/>"),
        );
        let paragraphs = [(1, 0), (2, 0), (3, 0), (1, 0), (3, 0), (3, 1), (4, 0)];
        assert_eq!(labels(&numbering, &paragraphs), "1. |2. |7. |8. |9. |9.1 |§ 10 ");
        let xml = format!("<numbering>{numbering}</numbering>");
        let numbering = Numbering::of(Document::parse(&xml).unwrap().root_element());
        assert_eq!(numbering.level_of_style(2, "Sub"), Some(1));
        assert_eq!(numbering.level_of_style(9, "Sub"), None);
    }
}
