//! Glyphs to lines, and lines to reading order.
//!
//! The drawing order of a page is trusted, since nearly every program writes
//! its text in reading order. It is given up for a page that jumps about, and
//! for columns that were written across, row by row.

use super::accents;
use super::glyphs::{Placed, Turn};
use super::paragraphs::is_cjk;
use super::rtl;

/// A space is read where glyphs of a word script stand this far apart, in ems.
const WORD_GAP: f64 = 0.12;
/// The same between an East Asian character and another, which are set a quarter apart without a space.
const MIXED_GAP: f64 = 0.35;
/// The same between two East Asian characters, which are spread to fill a line.
const CJK_GAP: f64 = 0.6;
/// A gap this wide ends the segment: a cell of a table, or a column.
const SEGMENT_GAP: f64 = 1.6;
/// Glyphs off the line by less than this are on it (indices and exponents).
const BASELINE_SLACK: f64 = 0.5;
/// Rows that must show the same gutter before it parts columns.
const GUTTER_ROWS: usize = 8;

/// A stretch of text on one line, up to the next wide gap.
#[derive(Debug, Clone)]
pub struct Line {
    pub text: String,
    pub turn: Turn,
    pub start: f64,
    pub end: f64,
    pub down: f64,
    pub size: f64,
}

impl Line {
    fn new(glyph: &Placed) -> Self {
        Self {
            text: String::new(),
            turn: glyph.turn,
            start: glyph.along,
            end: glyph.along,
            down: glyph.down,
            size: glyph.size,
        }
    }

    /// Whether `other` lies on the same row.
    pub fn same_row(&self, turn: Turn, down: f64, size: f64) -> bool {
        self.turn == turn && (self.down - down).abs() < BASELINE_SLACK * self.size.max(size)
    }

    fn takes(&self, glyph: &Placed) -> bool {
        let gap = glyph.along - self.end;
        let size = self.size.max(glyph.size);
        self.same_row(glyph.turn, glyph.down, glyph.size) && gap < SEGMENT_GAP * size && gap > -0.6 * size
    }

    fn push(&mut self, glyph: &Placed, spaced: bool) {
        let overlap = (self.end - glyph.along) / self.size.max(glyph.size);
        if !accents::compose(&mut self.text, &glyph.text, overlap) {
            if needs_space(self, glyph, spaced) {
                self.text.push(' ');
            }
            for character in glyph.text.chars() {
                push_plain(&mut self.text, character);
            }
        }
        // An index at the start must not set the size of the line.
        if glyph.size > self.size {
            self.size = glyph.size;
            self.down = glyph.down;
        }
        self.end = self.end.max(glyph.along + glyph.advance);
    }
}

fn needs_space(line: &Line, glyph: &Placed, spaced: bool) -> bool {
    let (Some(last), Some(first)) = (line.text.chars().next_back(), glyph.text.chars().next()) else {
        return false;
    };
    let gap = (glyph.along - line.end) / line.size.max(glyph.size);
    let widest = match (is_cjk(last), is_cjk(first)) {
        (true, true) => CJK_GAP,
        (false, false) => WORD_GAP,
        _ => MIXED_GAP,
    };
    spaced || is_after_mark(line, glyph) || gap > widest
}

/// Whether the glyph begins the text of a footnote, behind its raised number.
fn is_after_mark(line: &Line, glyph: &Placed) -> bool {
    glyph.size > 1.2 * line.size && line.text.chars().all(|c| c.is_ascii_digit() || c == '*')
}

/// Appends a character, with the Latin ligatures written out. A soft hyphen that
/// is drawn is a hyphen.
fn push_plain(text: &mut String, character: char) {
    match character {
        '\u{FB00}' => text.push_str("ff"),
        '\u{FB01}' => text.push_str("fi"),
        '\u{FB02}' => text.push_str("fl"),
        '\u{FB03}' => text.push_str("ffi"),
        '\u{FB04}' => text.push_str("ffl"),
        '\u{FB05}' | '\u{FB06}' => text.push_str("st"),
        '\u{AD}' => text.push('-'),
        c if c.is_control() => {}
        c => text.push(c),
    }
}

/// Puts glyphs into segments of lines, in drawing order.
pub fn group(glyphs: &[Placed]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut spaced = false;
    for glyph in glyphs {
        let blank = glyph.text.chars().all(|c| c.is_whitespace() || c.is_control());
        match lines.last_mut() {
            Some(line) if line.takes(glyph) => {
                if blank {
                    spaced |= !glyph.text.is_empty();
                    line.end = line.end.max(glyph.along + glyph.advance);
                } else {
                    line.push(glyph, spaced);
                    spaced = false;
                }
            }
            _ if blank => spaced = true,
            _ => {
                let mut line = Line::new(glyph);
                line.push(glyph, false);
                lines.push(line);
                spaced = false;
            }
        }
    }
    for line in &mut lines {
        if let Some(text) = rtl::logical(&line.text) {
            line.text = text;
        }
    }
    lines
}

/// Puts the segments of a page into reading order.
pub fn order(lines: &[Line]) -> Vec<Line> {
    let mut ordered = Vec::with_capacity(lines.len());
    for turn in [Turn::Right, Turn::Down, Turn::Up, Turn::Left] {
        let mut part: Vec<Line> = lines.iter().filter(|line| line.turn == turn).cloned().collect();
        if is_scrambled(&part) {
            sort_rows(&mut part);
        }
        ordered.append(&mut part_columns(part));
    }
    ordered
}

/// Whether the drawing order jumps up the page again and again, other than to
/// the next column.
fn is_scrambled(lines: &[Line]) -> bool {
    let jumps = lines
        .windows(2)
        .filter(|pair| {
            let (a, b) = (&pair[0], &pair[1]);
            b.down < a.down - a.size && b.start < a.end
        })
        .count();
    jumps > 4 && jumps * 5 > lines.len()
}

/// Sorts segments by row, and along each row.
fn sort_rows(lines: &mut [Line]) {
    lines.sort_by(|a, b| a.down.total_cmp(&b.down));
    let mut first = 0;
    while first < lines.len() {
        let row = &lines[first];
        let (turn, down, size) = (row.turn, row.down, row.size);
        let count = lines[first..].iter().take_while(|line| line.same_row(turn, down, size)).count();
        let end = first + count.max(1);
        lines[first..end].sort_by(|a, b| a.start.total_cmp(&b.start));
        first = end;
    }
}

/// Parts columns that were written across: left column first. Lines that cross
/// the gutter stay where they are and part the columns above from those below.
fn part_columns(lines: Vec<Line>) -> Vec<Line> {
    let Some(gutter) = find_gutter(&lines) else {
        return lines;
    };
    let mut ordered = Vec::with_capacity(lines.len());
    let mut right = Vec::new();
    for line in lines {
        if line.end <= gutter {
            ordered.push(line);
        } else if line.start >= gutter {
            right.push(line);
        } else {
            ordered.append(&mut right);
            ordered.push(line);
        }
    }
    ordered.append(&mut right);
    ordered
}

/// Finds the place between two columns of prose that were written across.
fn find_gutter(lines: &[Line]) -> Option<f64> {
    let gaps: Vec<(f64, f64)> = lines
        .windows(2)
        .filter(|pair| pair[1].same_row(pair[0].turn, pair[0].down, pair[0].size))
        .map(|pair| (pair[0].end, pair[1].start))
        .filter(|(from, to)| from < to)
        .collect();
    if gaps.len() < GUTTER_ROWS {
        return None;
    }
    let from = median(gaps.iter().map(|gap| gap.0))?;
    let to = median(gaps.iter().map(|gap| gap.1))?;
    let gutter = gaps.iter().map(|gap| gap.1).filter(|start| *start <= to).fold(f64::NAN, f64::min).max(from);
    let clear = gaps.iter().filter(|gap| gap.0 <= gutter && gutter <= gap.1).count();
    let prose = |side: &dyn Fn(&&Line) -> bool| is_prose(lines.iter().filter(side));
    (clear * 10 >= gaps.len() * 9 && prose(&|line| line.end <= gutter) && prose(&|line| line.start >= gutter))
        .then_some(gutter)
}

/// Whether lines fill their column as running text does.
fn is_prose<'a>(lines: impl Iterator<Item = &'a Line>) -> bool {
    let lines: Vec<&Line> = lines.collect();
    let start = lines.iter().map(|line| line.start).fold(f64::INFINITY, f64::min);
    let end = lines.iter().map(|line| line.end).fold(f64::NEG_INFINITY, f64::max);
    let filled: f64 = lines.iter().map(|line| line.end - line.start).sum();
    let ems: f64 = lines.iter().map(|line| (line.end - line.start) / line.size).sum();
    let count = lines.len() as f64;
    lines.len() >= GUTTER_ROWS && filled > 0.7 * count * (end - start) && ems > 9.0 * count
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
