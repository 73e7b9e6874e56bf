//! Lines to paragraphs: what stands between the end of one and the start of the
//! next.

use std::collections::HashSet;

use super::lines::Line;

/// Stands for a hyphen at a line end until the whole text is known.
const LINE_HYPHEN: char = '\u{AD}';
/// The widest step to the next line of a paragraph, in ems, and as a share of
/// the step before it.
const WIDEST_STEP: f64 = 2.2;
const WIDER_STEP: f64 = 1.25;

/// Han, kana, and their punctuation: written without spaces.
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{2E80}'..='\u{312F}' | '\u{3190}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}

/// The above, and Hangul.
pub fn is_east_asian(c: char) -> bool {
    is_cjk(c) || matches!(c, '\u{1100}'..='\u{11FF}' | '\u{3130}'..='\u{318F}' | '\u{AC00}'..='\u{D7FF}')
}

fn is_cjk_punctuation(c: char) -> bool {
    is_cjk(c) && !c.is_alphanumeric()
}

/// The paragraph that is being put together.
struct Open<'a> {
    last: &'a Line,
    /// Where the segments of the last row begin, and where the widest row ends.
    starts: Vec<f64>,
    edge: f64,
    step: Option<f64>,
    /// Segments of the last row, where the mark of a list item does not count.
    cells: usize,
    /// Whether the last row begins with such a mark.
    has_mark: bool,
}

impl<'a> Open<'a> {
    fn new(line: &'a Line) -> Self {
        Self {
            last: line,
            starts: vec![line.start],
            edge: line.end,
            step: None,
            cells: cells(line),
            has_mark: has_mark(line),
        }
    }

    fn is_beside(&self, next: &Line) -> bool {
        self.last.same_row(next.turn, next.down, next.size) && next.start > self.last.start
    }

    /// Whether the last row is one of a table or a table of contents.
    fn is_tabular(&self) -> bool {
        let text = &self.last.text;
        self.cells > 1 || text.contains(". . .") || text.contains("....")
    }

    /// Whether `next` goes on with the paragraph on the line below.
    fn goes_on(&self, next: &Line) -> bool {
        let last = self.last;
        let step = next.down - last.down;
        let size = last.size.max(next.size);
        let widest = self.step.map_or(WIDEST_STEP * size, |step| step * WIDER_STEP);
        last.turn == next.turn
            && !self.is_tabular()
            && !has_mark(next)
            && step > 0.0
            && step <= widest
            && size < 1.3 * last.size.min(next.size)
            && next.start < self.edge
            && (self.is_hyphenated(next) || !(self.is_indented(next) || self.ended_early(next)))
    }

    /// Whether a word goes on at the top of the next column.
    fn goes_on_above(&self, next: &Line) -> bool {
        let last = self.last;
        last.turn == next.turn
            && next.down < last.down
            && next.start > last.start
            && last.size.max(next.size) < 1.1 * last.size.min(next.size)
            && self.is_hyphenated(next)
    }

    fn is_hyphenated(&self, next: &Line) -> bool {
        let mut before = self.last.text.chars().rev();
        before.next().is_some_and(is_hyphen)
            && before.next().is_some_and(char::is_lowercase)
            && next.text.chars().next().is_some_and(char::is_lowercase)
    }

    /// Whether `next` begins where no line of this paragraph would.
    fn is_indented(&self, next: &Line) -> bool {
        let em = next.size;
        let aligned = self.starts.iter().any(|start| (start - next.start).abs() < 0.6 * em);
        let from = self.starts.iter().copied().fold(f64::INFINITY, f64::min);
        // The text of a list item goes on beside its mark.
        let right = if self.has_mark { 4.0 } else { 0.0 };
        // The first line may stand in or out; from the second on they are aligned.
        let left = if self.step.is_some() { 0.6 } else { 4.0 };
        !aligned && (next.start > from + right * em || next.start < from - left * em)
    }

    /// Whether the first word of `next` would still have found room.
    fn ended_early(&self, next: &Line) -> bool {
        let edge = self.edge.max(next.end);
        let room = edge - self.last.end;
        room > first_word_width(next) + 0.5 * next.size
    }

    fn add_beside(&mut self, next: &'a Line) {
        self.starts.push(next.start);
        self.cells += cells(next);
        self.edge = self.edge.max(next.end);
        self.last = next;
    }

    fn add_below(&mut self, next: &'a Line) {
        self.step = Some(next.down - self.last.down);
        self.cells = cells(next);
        self.has_mark = has_mark(next);
        self.starts.clear();
        self.starts.push(next.start);
        self.edge = self.edge.max(next.end);
        self.last = next;
    }
}

/// Whether a line begins with the mark of a list item: a bullet, or a number with a point or bracket behind it.
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

/// Whether a segment counts as a cell of its row.
fn cells(line: &Line) -> usize {
    usize::from(!has_mark(line))
}

/// About how wide the first word of a line is.
fn first_word_width(line: &Line) -> f64 {
    let first = line.text.chars().next().unwrap_or(' ');
    if is_cjk(first) {
        return line.size;
    }
    let all = line.text.chars().count().max(1) as f64;
    let word = line.text.chars().take_while(|c| !c.is_whitespace() && !is_cjk(*c)).count() as f64;
    (line.end - line.start) * word / all
}

/// Appends the lines of one page.
pub fn append(text: &mut String, lines: &[Line]) {
    let mut open: Option<Open<'_>> = None;
    for line in lines {
        match &mut open {
            Some(paragraph) if paragraph.is_beside(line) => {
                text.push(' ');
                text.push_str(&line.text);
                paragraph.add_beside(line);
            }
            Some(paragraph) if paragraph.goes_on(line) => {
                join(text, &line.text);
                paragraph.add_below(line);
            }
            Some(paragraph) if paragraph.goes_on_above(line) => {
                join(text, &line.text);
                open = Some(Open::new(line));
            }
            _ => {
                end_line(text);
                text.push_str(&line.text);
                open = Some(Open::new(line));
            }
        }
    }
    end_line(text);
}

fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Joins a line to the one above it.
fn join(text: &mut String, piece: &str) {
    let mut before = text.chars().rev();
    let (last, last_but_one) = (before.next(), before.next());
    let first = piece.chars().next();
    let (Some(last), Some(first)) = (last, first) else {
        text.push_str(piece);
        return;
    };
    let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_alphabetic() && !is_east_asian(c));
    if is_hyphen(last) && is_letter(last_but_one) && is_letter(Some(first)) {
        text.pop();
        text.push(LINE_HYPHEN);
    } else if !joins_tight(last, first) {
        text.push(' ');
    }
    text.push_str(piece);
}

fn is_hyphen(c: char) -> bool {
    matches!(c, '-' | '\u{2010}')
}

fn joins_tight(last: char, first: char) -> bool {
    (is_cjk(last) && is_cjk(first)) || is_cjk_punctuation(last) || is_cjk_punctuation(first)
}

/// Decides for each hyphen at a line end whether it belongs to the word. It is
/// kept where the text has the word with its hyphen elsewhere and never without,
/// where the word has a further hyphen, and between a small and a capital letter.
pub fn resolve_hyphens(text: &str) -> String {
    if !text.contains(LINE_HYPHEN) {
        return text.to_owned();
    }
    let words: HashSet<&str> = text.split(|c: char| !is_word(c)).collect();
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(LINE_HYPHEN) {
        resolved.push_str(before);
        if keeps_hyphen(&resolved, after, &words) {
            resolved.push('-');
        }
        rest = after;
    }
    resolved.push_str(rest);
    resolved
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '-'
}

fn keeps_hyphen(before: &str, after: &str, words: &HashSet<&str>) -> bool {
    let left = before.rsplit(|c: char| !is_word(c)).next().unwrap_or_default();
    let right = after.split(|c: char| !is_word(c)).next().unwrap_or_default();
    let capital = right.chars().next().is_some_and(char::is_uppercase);
    let after_capital = left.chars().next_back().is_some_and(char::is_uppercase);
    if left.contains('-') || (capital && !after_capital) {
        return true;
    }
    words.contains(format!("{left}-{right}").as_str()) && !words.contains(format!("{left}{right}").as_str())
}
