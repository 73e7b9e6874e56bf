//! Joins lines into paragraphs. The positions of two lines decide whether the lines belong to the same paragraph.

use unicode_normalization::UnicodeNormalization;

use super::lines::{Line, is_cjk};
use crate::text::blocks::{BlockKind, BlockWriter};

/// Maximum distance between two consecutive lines of a paragraph, in ems.
const STEP_MAX: f64 = 2.2;

/// Maximum distance between the starts of two aligned lines, in ems.
const ALIGNED: f64 = 0.6;

/// Maximum indent of a first line, maximum hanging indent, and maximum width of a list mark, all in ems.
const INDENT: f64 = 4.0;

/// The current paragraph, to which lines are added.
struct Open<'a> {
    last: &'a Line,
    /// Start positions of the segments of the latest row.
    starts: Vec<f64>,
    /// The largest end position of the rows of the paragraph so far.
    edge: f64,
    /// Whether the latest row begins with the mark of a list item.
    has_mark: bool,
    is_first_row: bool,
}

impl<'a> Open<'a> {
    fn new(line: &'a Line) -> Self {
        Open {
            last: line,
            starts: vec![line.start],
            edge: line.end,
            has_mark: has_mark(line),
            is_first_row: true,
        }
    }

    /// Returns whether `next` lies on the same row as the latest line and starts after the start of that line.
    fn is_beside(&self, next: &Line) -> bool {
        self.last.same_row(next.turn, next.down, next.size) && next.start > self.last.start
    }

    /// Returns whether `next` lies below the latest line and belongs to the same paragraph.
    fn continues_with(&self, next: &Line) -> bool {
        let step = next.down - self.last.down;
        let (larger, smaller) = (self.last.size.max(next.size), self.last.size.min(next.size));
        self.last.turn == next.turn
            && step > 0.0
            && step <= STEP_MAX * larger
            && larger < 1.3 * smaller
            && !has_mark(next)
            && (is_hyphenated(&self.last.text, &next.text)
                || !(self.is_tabular() || self.is_indented(next) || self.ended_early(next)))
    }

    /// Returns whether the latest row belongs to a table or a table of contents.
    fn is_tabular(&self) -> bool {
        let text = &self.last.text;
        self.starts.len() - usize::from(self.has_mark) > 1 || text.contains(". . .") || text.contains("....")
    }

    /// Returns whether `next` begins at a position where no line of this paragraph would begin.
    fn is_indented(&self, next: &Line) -> bool {
        let em = next.size;
        let aligned = self.starts.iter().any(|start| (start - next.start).abs() < ALIGNED * em);
        let from = self.starts.iter().copied().fold(f64::INFINITY, f64::min);
        let right = if self.has_mark { INDENT } else { 0.0 };
        let left = if self.is_first_row { INDENT } else { ALIGNED };
        !aligned && (next.start > from + right * em || next.start < from - left * em)
    }

    /// Returns whether the latest row has room for the first word of `next`. If there is room, `next` begins a new
    /// paragraph.
    fn ended_early(&self, next: &Line) -> bool {
        let room = self.edge.max(next.end) - self.last.end;
        room > first_word_width(next) + 0.5 * next.size
    }

    fn add_beside(&mut self, next: &'a Line) {
        self.starts.push(next.start);
        self.edge = self.edge.max(next.end);
        self.last = next;
    }

    fn add_below(&mut self, next: &'a Line) {
        *self = Open { edge: self.edge.max(next.end), is_first_row: false, ..Open::new(next) };
    }
}

/// Returns whether a line begins with a bullet, or with a number followed by a full stop or bracket.
fn has_mark(line: &Line) -> bool {
    let text = line.text.trim_start_matches('(');
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let mut after_number = rest.chars();
    match after_number.next() {
        Some('•' | '◦' | '▪' | '■' | '●' | '○' | '·' | '–') => rest.len() == text.len(),
        Some('.' | ')' | '、' | '．' | '）') => {
            rest.len() < text.len() && !after_number.next().is_some_and(|c| c.is_ascii_digit())
        }
        _ => false,
    }
}

/// Returns the approximate width of the first word of a line.
fn first_word_width(line: &Line) -> f64 {
    if line.text.starts_with(is_cjk) {
        return line.size;
    }
    let word = line.text.chars().take_while(|c| !c.is_whitespace() && !is_cjk(*c)).count();
    (line.end - line.start) * word as f64 / line.text.chars().count().max(1) as f64
}

/// Appends the lines of one page to `text`, one block per paragraph.
pub fn append(text: &mut BlockWriter, lines: &[Line]) {
    let mut open: Option<Open> = None;
    let mut paragraph = String::new();
    for line in lines {
        match &mut open {
            Some(open) if open.is_beside(line) => {
                paragraph.push(' ');
                open.add_beside(line);
            }
            Some(open) if open.continues_with(line) => {
                join(&mut paragraph, &line.text);
                open.add_below(line);
            }
            _ => {
                end_paragraph(&mut paragraph, text);
                open = Some(Open::new(line));
            }
        }
        paragraph.push_str(&line.text);
    }
    end_paragraph(&mut paragraph, text);
}

fn end_paragraph(paragraph: &mut String, text: &mut BlockWriter) {
    // The normalization joins a letter and a combining accent into one character.
    text.block(BlockKind::Paragraph, &paragraph.nfc().collect::<String>());
    paragraph.clear();
}

/// Prepares `text` for the next row of the same paragraph: removes the hyphen at the end of `text`, or adds a space.
///
/// A hyphen between lower-case letters is removed, because most such words were hyphenated at the line end. At a line end,
/// a hyphen that belongs to the word looks the same, so it is removed too.
fn join(text: &mut String, next: &str) {
    if is_hyphenated(text, next) {
        text.pop();
        return;
    }
    let (Some(last), Some(first)) = (text.chars().next_back(), next.chars().next()) else { return };
    let is_punctuation = |c: char| is_cjk(c) && !c.is_alphanumeric();
    if !(is_cjk(last) && is_cjk(first) || is_punctuation(last) || is_punctuation(first)) {
        text.push(' ');
    }
}

/// Returns whether `text` ends in a hyphenated word that `next` continues.
fn is_hyphenated(text: &str, next: &str) -> bool {
    let mut before = text.chars().rev();
    before.next().is_some_and(|c| matches!(c, '-' | '\u{2010}'))
        && before.next().is_some_and(char::is_lowercase)
        && next.starts_with(char::is_lowercase)
}
