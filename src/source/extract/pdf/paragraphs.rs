//! Lines to paragraphs: what stands between the end of one and the start of the next.

use super::lines::{Line, is_cjk};

/// The widest step to the next line of a paragraph, in ems.
const WIDEST_STEP: f64 = 2.2;

/// Starts of lines this far apart are the same, in ems.
const ALIGNED: f64 = 0.6;

/// How far a first line stands in or out, or text behind the mark of a list item, in ems.
const INDENT: f64 = 4.0;

/// The paragraph that is being put together.
struct Open<'a> {
    last: &'a Line,
    /// Where the segments of the last row begin, and where the widest row ends.
    starts: Vec<f64>,
    edge: f64,
    /// Whether the last row begins with the mark of a list item.
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

    fn is_beside(&self, next: &Line) -> bool {
        self.last.same_row(next.turn, next.down, next.size) && next.start > self.last.start
    }

    /// Whether `next` goes on with the paragraph on the line below.
    fn goes_on(&self, next: &Line) -> bool {
        let step = next.down - self.last.down;
        let (larger, smaller) = (self.last.size.max(next.size), self.last.size.min(next.size));
        self.last.turn == next.turn
            && step > 0.0
            && step <= WIDEST_STEP * larger
            && larger < 1.3 * smaller
            && !has_mark(next)
            && (is_hyphenated(&self.last.text, &next.text)
                || !(self.is_tabular() || self.is_indented(next) || self.ended_early(next)))
    }

    /// Whether the last row is one of a table or a table of contents.
    fn is_tabular(&self) -> bool {
        let text = &self.last.text;
        self.starts.len() - usize::from(self.has_mark) > 1 || text.contains(". . .") || text.contains("....")
    }

    /// Whether `next` begins where no line of this paragraph would.
    fn is_indented(&self, next: &Line) -> bool {
        let em = next.size;
        let aligned = self.starts.iter().any(|start| (start - next.start).abs() < ALIGNED * em);
        let from = self.starts.iter().copied().fold(f64::INFINITY, f64::min);
        let right = if self.has_mark { INDENT } else { 0.0 };
        let left = if self.is_first_row { INDENT } else { ALIGNED };
        !aligned && (next.start > from + right * em || next.start < from - left * em)
    }

    /// Whether the first word of `next` would still have found room.
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

/// Whether a line begins with a bullet, or a number with a point or bracket behind it.
fn has_mark(line: &Line) -> bool {
    let text = line.text.trim_start_matches('(');
    let behind = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let mut behind_number = behind.chars();
    match behind_number.next() {
        Some('•' | '◦' | '▪' | '■' | '●' | '○' | '·' | '–') => behind.len() == text.len(),
        Some('.' | ')' | '、' | '．' | '）') => {
            behind.len() < text.len() && !behind_number.next().is_some_and(|c| c.is_ascii_digit())
        }
        _ => false,
    }
}

/// About how wide the first word of a line is.
fn first_word_width(line: &Line) -> f64 {
    if line.text.starts_with(is_cjk) {
        return line.size;
    }
    let word = line.text.chars().take_while(|c| !c.is_whitespace() && !is_cjk(*c)).count();
    (line.end - line.start) * word as f64 / line.text.chars().count().max(1) as f64
}

/// Appends the lines of one page, each paragraph in a line of its own.
pub fn append<'a>(text: &mut String, lines: impl Iterator<Item = &'a Line>) {
    let mut open: Option<Open> = None;
    for line in lines {
        match &mut open {
            Some(paragraph) if paragraph.is_beside(line) => {
                text.push(' ');
                paragraph.add_beside(line);
            }
            Some(paragraph) if paragraph.goes_on(line) => {
                join(text, &line.text);
                paragraph.add_below(line);
            }
            _ => {
                end_line(text);
                open = Some(Open::new(line));
            }
        }
        text.push_str(&line.text);
    }
    end_line(text);
}

fn end_line(text: &mut String) {
    if !text.is_empty() {
        text.push('\n');
    }
}

/// Ends a line in the middle of a paragraph. A hyphen between small letters parts a word that was too long for
/// its line; the word's own hyphen cannot be told from it.
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

fn is_hyphenated(text: &str, next: &str) -> bool {
    let mut before = text.chars().rev();
    before.next().is_some_and(|c| matches!(c, '-' | '\u{2010}'))
        && before.next().is_some_and(char::is_lowercase)
        && next.starts_with(char::is_lowercase)
}
