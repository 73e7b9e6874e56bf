//! The styles of an OpenDocument file: how lists and headings are numbered, and what is hidden.

use std::collections::{HashMap, HashSet};

use roxmltree::Node;

use crate::source::extract::office::counting::{Counting, LABEL_BYTES_MAX};
use crate::source::extract::office::xml::{attribute, child};

/// Number of levels of a list or of headings.
pub const LEVELS: usize = 10;

/// The levels of a list; `None` for a level that has no label.
pub type ListStyle = [Option<LevelStyle>; LEVELS];

/// The number that was reached at each level.
pub type Reached = [Option<u32>; LEVELS];

/// How the items of a level are labelled.
pub struct LevelStyle {
    /// `None` for a bullet.
    counting: Option<Counting>,
    /// The number of the first item.
    pub start: u32,
    /// How many levels a label shows.
    shown_levels: usize,
    prefix: String,
    suffix: String,
    /// The whole label, in which `%1%` stands for the number of the first level. It replaces the three fields above.
    format: Option<String>,
}

/// The styles of a document.
#[derive(Default)]
pub struct OdfStyles {
    lists: HashMap<String, ListStyle>,
    /// How headings are numbered.
    pub outline: ListStyle,
    hidden: HashSet<String>,
}

impl OdfStyles {
    /// Adds the styles of a part.
    pub fn add(&mut self, root: Node) {
        let groups =
            root.children().filter(|group| matches!(group.tag_name().name(), "styles" | "automatic-styles"));
        for style in groups.flat_map(|group| group.children()) {
            let name = attribute(style, "name").unwrap_or_default().to_owned();
            match style.tag_name().name() {
                "list-style" => drop(self.lists.insert(name, levels_of(style))),
                "outline-style" => self.outline = levels_of(style),
                "style" if is_hidden(style) => drop(self.hidden.insert(name)),
                _ => {}
            }
        }
    }

    /// Returns a list style by name.
    pub fn list(&self, name: &str) -> Option<&ListStyle> {
        self.lists.get(name)
    }

    /// Returns whether an element has a style that hides it.
    pub fn hides(&self, node: Node) -> bool {
        attribute(node, "style-name").is_some_and(|style| self.hidden.contains(style))
    }
}

/// Returns whether a style hides the text or the slides that have it.
fn is_hidden(style: Node) -> bool {
    let text = child(style, "text-properties").and_then(|properties| attribute(properties, "display"));
    let page =
        child(style, "drawing-page-properties").and_then(|properties| attribute(properties, "visibility"));
    text == Some("none") || page == Some("hidden")
}

fn levels_of(style: Node) -> ListStyle {
    let mut levels = ListStyle::default();
    for node in style.children() {
        let counting = match node.tag_name().name() {
            "list-level-style-number" | "outline-level-style" => {
                Some(Counting::of_open_document(attribute(node, "num-format").unwrap_or_default()))
            }
            "list-level-style-bullet" | "list-level-style-image" => None,
            _ => continue,
        };
        let number = |name| attribute(node, name).and_then(|number| number.parse().ok());
        let text =
            |name| attribute(node, name).filter(|text| text.len() <= LABEL_BYTES_MAX).map(str::to_owned);
        let Some(level) =
            number("level").and_then(|level: usize| level.checked_sub(1)).filter(|&level| level < LEVELS)
        else {
            continue;
        };
        levels[level] = Some(LevelStyle {
            counting,
            start: number("start-value").and_then(|start| u32::try_from(start).ok()).unwrap_or(1),
            shown_levels: number("display-levels").unwrap_or(1),
            prefix: text("num-prefix").unwrap_or_default(),
            suffix: text("num-suffix").unwrap_or_default(),
            format: text("num-list-format"),
        });
    }
    levels
}

/// Counts an item at a level. `start` replaces the next number.
pub fn count(style: &ListStyle, level: usize, start: Option<u32>, reached: &mut Reached) {
    let first = style[level].as_ref().map_or(1, |level| level.start);
    let next = reached[level].map(|latest| latest.saturating_add(1));
    reached[level] = start.or(next).or(Some(first));
    reached[level + 1..].fill(None);
}

/// Returns the label of an item that was counted: a number, or `-` for a bullet. Returns `None` if the level has no label.
pub fn label(style: &ListStyle, level: usize, reached: &Reached) -> Option<String> {
    let own = style[level].as_ref()?;
    let Some(counting) = own.counting else { return Some("-".to_owned()) };
    if counting == Counting::Nothing {
        return None;
    }
    let number = |at: usize| {
        let level = style[at].as_ref();
        let counting = level.and_then(|level| level.counting).unwrap_or(Counting::Nothing);
        counting.number(reached[at].or(level.map(|level| level.start)).unwrap_or(1))
    };
    let label: String = match &own.format {
        Some(format) => {
            let parts = format.split('%').enumerate().map(|(at, part)| match part.parse::<usize>() {
                // Every second part stands between two signs.
                Ok(level @ 1..=LEVELS) if at % 2 == 1 => number(level - 1),
                _ => part.to_owned(),
            });
            parts.collect()
        }
        None => {
            let first = (level + 1).saturating_sub(own.shown_levels.max(1));
            let numbers: Vec<String> =
                (first..=level).map(number).filter(|number| !number.is_empty()).collect();
            format!("{}{}{}", own.prefix, numbers.join("."), own.suffix)
        }
    };
    let label = label.trim();
    (!label.is_empty() && label.len() <= LABEL_BYTES_MAX).then(|| label.to_owned())
}
