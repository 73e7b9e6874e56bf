//! Joins lines into paragraphs. The positions of two lines decide whether the lines belong to the same paragraph.

use unicode_normalization::UnicodeNormalization;

use super::glyphs::Turn;
use super::lines::Line;
use crate::text::line_ends::{is_cjk, is_hyphenated, join};

/// Maximum distance between two consecutive lines of a paragraph, in ems.
const STEP_MAX: f64 = 2.2;

/// Maximum distance between the starts of two aligned lines, in ems.
const ALIGNED: f64 = 0.6;

/// Maximum indent of a first line, maximum hanging indent, and maximum width of a list mark, all in ems.
const INDENT: f64 = 4.0;

/// Maximum ratio of the sizes of the letters in two lines of a paragraph. A subheading right below a heading is smaller.
const SIZES: f64 = 1.12;

/// The current paragraph, to which lines are added.
struct Open<'a> {
    last: &'a Line,
    /// Start positions of the segments of the latest row.
    starts: Vec<f64>,
    /// The largest end position of the rows of the paragraph so far.
    edge: f64,
    /// Whether the latest row begins with the mark of a list item.
    has_mark: bool,
    /// Whether the latest row begins with the number of a section, such as 7.18.
    has_number: bool,
    is_first_row: bool,
}

impl<'a> Open<'a> {
    fn new(line: &'a Line) -> Self {
        Open {
            last: line,
            starts: vec![line.start],
            edge: line.end,
            has_mark: has_mark(line),
            has_number: has_number(line),
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
            && self.last.mean_size.max(next.mean_size) < SIZES * self.last.mean_size.min(next.mean_size)
            && !has_mark(next)
            && (is_hyphenated(&self.last.text, &next.text)
                || !(self.is_tabular() || self.is_indented(next) || self.ended_early(next)))
    }

    /// Returns whether the latest row belongs to a table or a table of contents.
    fn is_tabular(&self) -> bool {
        self.starts.len() - usize::from(self.has_mark) > 1 || has_leaders(&self.last.text)
    }

    /// Returns whether `next` begins at a position where no line of this paragraph would begin.
    fn is_indented(&self, next: &Line) -> bool {
        let em = next.size;
        let aligned = self.starts.iter().any(|start| (start - next.start).abs() < ALIGNED * em);
        let from = self.starts.iter().copied().fold(f64::INFINITY, f64::min);
        let right = if self.has_mark || self.has_number { INDENT } else { 0.0 };
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

/// Returns whether a text has the dots between an entry of a table of contents and its page.
pub fn has_leaders(text: &str) -> bool {
    text.contains(". . .") || text.contains("....")
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

/// Returns whether a line begins with the number of a section below a chapter.
fn has_number(line: &Line) -> bool {
    let number = line.text.split(' ').next().unwrap_or_default();
    number.contains('.') && number.chars().all(|c| c.is_ascii_digit() || c == '.')
}

/// Returns the approximate width of the first word of a line.
fn first_word_width(line: &Line) -> f64 {
    if line.text.starts_with(is_cjk) {
        return line.size;
    }
    let word = line.text.chars().take_while(|c| !c.is_whitespace() && !is_cjk(*c)).count();
    (line.end - line.start) * word as f64 / line.text.chars().count().max(1) as f64
}

/// A paragraph of a page.
pub struct PageParagraph {
    pub text: String,
    /// The mean size of its letters, in units of the displayed page.
    pub size: f64,
    pub is_upright: bool,
}

/// Joins the lines of one page.
pub fn join_lines(lines: &[Line]) -> Vec<PageParagraph> {
    let mut open: Option<Open> = None;
    let mut paragraphs = Vec::new();
    let mut parts: Vec<&Line> = Vec::new();
    let mut text = String::new();
    for line in lines {
        match &mut open {
            Some(open) if open.is_beside(line) => {
                text.push(' ');
                open.add_beside(line);
            }
            Some(open) if open.continues_with(line) => {
                join(&mut text, &line.text);
                open.add_below(line);
            }
            _ => {
                paragraphs.extend(paragraph(&mut text, &mut parts));
                open = Some(Open::new(line));
            }
        }
        text.push_str(&line.text);
        parts.push(line);
    }
    paragraphs.extend(paragraph(&mut text, &mut parts));
    paragraphs
}

/// Returns the paragraph with this text and of these lines. Empties both.
fn paragraph(text: &mut String, lines: &mut Vec<&Line>) -> Option<PageParagraph> {
    let is_upright = lines.first()?.turn == Turn::Right;
    let letters: f64 = lines.iter().map(|line| line.letters).sum();
    let size = lines.drain(..).map(|line| line.mean_size * line.letters).sum::<f64>() / letters.max(1.0);
    // The normalization joins a letter and a combining accent into one character.
    let normal = text.nfc().collect();
    text.clear();
    Some(PageParagraph { text: normal, size, is_upright })
}
