//! Groups glyphs into lines, in drawing order. Drawing order is nearly always reading order.

use unicode_normalization::UnicodeNormalization;

use super::glyphs::{Placed, Turn};
use super::{accents, rtl};

/// Maximum gap between two characters of one word, in ems, in scripts that separate words by spaces. A wider gap is a
/// space.
const WORD_GAP: f64 = 0.12;
/// Maximum gap without a space between an East Asian character and a character of another script, in ems. Two such
/// characters are usually set a quarter of an em apart, without a space between them.
const MIXED_GAP: f64 = 0.35;
/// Maximum gap without a space between two East Asian characters, in ems. The maximum is large, because the characters of a
/// line may be spread to fill the line.
const CJK_GAP: f64 = 0.6;
/// Minimum gap between two segments of a line, in ems. Segments are cells of a table or columns of a page.
const SEGMENT_GAP: f64 = 1.6;
/// Maximum distance of a glyph from the baseline of its line, in ems. The maximum is large enough to keep subscripts and
/// superscripts in the line.
const BASELINE_SLACK: f64 = 0.5;

/// Maximum difference between two distances that a program set to the same length, in parts of the length.
const SAME: f64 = 0.05;

/// Number of letters at the start of a line that decide about the spacing of the line.
const LETTERS_COMPARED: usize = 64;

/// The spacing of the letters of a word.
#[derive(Debug, Clone, Copy)]
enum Spacing {
    /// Letters follow each other directly.
    Natural,
    /// From the start of a letter to the start of the next letter, it is always the same distance, in units of the page.
    Pitch(f64),
    /// Between two letters there is always the same gap, in units of the page.
    Tracking(f64),
}

impl Spacing {
    /// Returns the spacing of the line that the first glyph starts. Only in slanted lines, such as watermarks, it is common that a
    /// program sets letter by letter.
    fn of(glyphs: &[Placed]) -> Self {
        let Some(first) = glyphs.first().filter(|first| matches!(first.turn, Turn::Slanted(_))) else {
            return Spacing::Natural;
        };
        let line = Line::new(first);
        let same_row = |glyph: &&Placed| line.same_row(glyph.turn, glyph.down, glyph.size);
        let glyphs = glyphs.iter().take(LETTERS_COMPARED).take_while(same_row);
        let glyphs: Vec<&Placed> = glyphs.filter(|glyph| !is_blank(glyph)).collect();
        if glyphs.len() < 3 {
            return Spacing::Natural;
        }
        let pairs = || glyphs.iter().zip(&glyphs[1..]);
        let steps = pairs().map(|(glyph, next)| next.along - glyph.along);
        let gaps = pairs().map(|(glyph, next)| next.along - glyph.along - glyph.advance);
        let size = first.size;
        if let Some(pitch) = unit(steps).filter(|pitch| *pitch > SAME * size) {
            return Spacing::Pitch(pitch);
        }
        unit(gaps).filter(|gap| *gap > WORD_GAP * size).map_or(Spacing::Natural, Spacing::Tracking)
    }

    /// Returns whether a glyph belongs to the word that `line` ends with. The last glyph of the line starts at `last`. Returns
    /// `None` if the spacing does not decide this.
    fn joins(self, line: &Line, last: f64, glyph: &Placed) -> Option<bool> {
        match self {
            Spacing::Natural => None,
            Spacing::Pitch(pitch) => Some(glyph.along - last < 1.5 * pitch),
            Spacing::Tracking(gap) => Some(glyph.along - line.end < 1.5 * gap),
        }
    }
}

/// Returns the smallest of the distances if most of them are the same and the others are multiples of it.
fn unit(distances: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let smallest = distances.clone().fold(f64::INFINITY, f64::min);
    let parts = distances.clone().map(|distance| distance / smallest);
    let is_whole = |part: f64| (part - part.round()).abs() <= SAME;
    let single = parts.clone().filter(|part| *part < 1.5).count();
    (parts.clone().all(is_whole) && 2 * single >= distances.count()).then_some(smallest)
}

/// A segment of a line: the text between two gaps of at least `SEGMENT_GAP`. Positions and lengths are in units of the
/// displayed page.
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

    /// Returns whether text with this direction, position and size lies on nearly the same baseline as this segment.
    pub fn same_row(&self, turn: Turn, down: f64, size: f64) -> bool {
        self.turn == turn && (self.down - down).abs() < BASELINE_SLACK * self.size.max(size)
    }

    /// Returns whether a glyph continues this segment.
    fn takes(&self, glyph: &Placed) -> bool {
        let gap = glyph.along - self.end;
        let size = self.size.max(glyph.size);
        self.same_row(glyph.turn, glyph.down, glyph.size) && gap < SEGMENT_GAP * size && gap > -0.6 * size
    }

    /// Appends a glyph. `joined` says whether the glyph belongs to the last word of the line; `None` if the gap before the glyph
    /// decides this.
    fn push(&mut self, glyph: &Placed, joined: Option<bool>) {
        let overlap = (self.end - glyph.along) / self.size.max(glyph.size);
        if !accents::compose(&mut self.text, &glyph.text, overlap) {
            if !joined.unwrap_or_else(|| !needs_space(self, glyph)) {
                self.text.push(' ');
            }
            push_plain(&mut self.text, &glyph.text);
        }
        // A line may start with a superscript, which is smaller than the rest of the line. The largest glyph sets the
        // baseline.
        if glyph.size > self.size {
            self.size = glyph.size;
            self.down = glyph.down;
        }
        self.end = self.end.max(glyph.along + glyph.advance);
    }
}

/// Returns whether a space is needed before a glyph.
fn needs_space(line: &Line, glyph: &Placed) -> bool {
    let (Some(last), Some(first)) = (line.text.chars().next_back(), glyph.text.chars().next()) else {
        return false;
    };
    let gap = (glyph.along - line.end) / line.size.max(glyph.size);
    let widest = match (is_cjk(last), is_cjk(first)) {
        (true, true) => CJK_GAP,
        (false, false) => WORD_GAP,
        _ => MIXED_GAP,
    };
    is_after_mark(line, glyph) || gap > widest
}

/// Returns whether a glyph begins the text of a footnote, directly after the superscript number or `*` of the footnote.
fn is_after_mark(line: &Line, glyph: &Placed) -> bool {
    glyph.size > 1.2 * line.size && line.text.chars().all(|c| c.is_ascii_digit() || c == '*')
}

/// Appends the text of a glyph with usual characters.
///
/// The characters of a line are in drawing order until the line is complete, but the letters of a ligature are in reading order.
fn push_plain(text: &mut String, glyph: &str) {
    let start = text.len();
    for character in glyph.chars() {
        push_usual(text, character);
    }
    let has_letters = text[start..].chars().nth(1).is_some();
    if has_letters && let Some(drawn) = rtl::turned(&text[start..]) {
        text.truncate(start);
        text.push_str(&drawn);
    }
}

/// Returns a text in reading order with usual characters.
pub fn usual(text: &str) -> String {
    let mut usual = String::with_capacity(text.len());
    text.chars().for_each(|character| push_usual(&mut usual, character));
    usual
}

/// Appends a character. Ligatures, radicals, vertical forms and joined forms are replaced by the usual characters. A soft
/// hyphen that is drawn becomes a hyphen.
fn push_usual(text: &mut String, character: char) {
    match character {
        '\u{2E80}'..='\u{2FDF}'
        | '\u{FB00}'..='\u{FDFF}'
        | '\u{FE10}'..='\u{FE4F}'
        | '\u{FE70}'..='\u{FEFC}' => {
            text.extend(std::iter::once(character).nfkc());
        }
        '\u{AD}' => text.push('-'),
        // Word processors write bullets as this character of the font Symbol.
        '\u{F0B7}' => text.push('•'),
        c if c.is_control() => {}
        c => text.push(c),
    }
}

/// Returns whether a glyph is white space.
fn is_blank(glyph: &Placed) -> bool {
    glyph.text.chars().all(|c| c.is_whitespace() || c.is_control())
}

/// Groups glyphs into segments of lines, in drawing order.
pub fn group(glyphs: &[Placed]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut spacing = Spacing::Natural;
    // The start of the latest glyph that is not blank, and whether a space was drawn after it.
    let (mut last, mut spaced) = (0.0, false);
    for (at, glyph) in glyphs.iter().enumerate() {
        match lines.last_mut() {
            Some(line) if line.takes(glyph) => {
                if is_blank(glyph) {
                    spaced |= !glyph.text.is_empty();
                    line.end = line.end.max(glyph.along + glyph.advance);
                    continue;
                }
                let joined = if spaced { Some(false) } else { spacing.joins(line, last, glyph) };
                line.push(glyph, joined);
            }
            _ if is_blank(glyph) => {
                spaced = true;
                continue;
            }
            _ => {
                let mut line = Line::new(glyph);
                spacing = Spacing::of(&glyphs[at..]);
                line.push(glyph, Some(true));
                lines.push(line);
            }
        }
        (last, spaced) = (glyph.along, false);
    }
    for line in &mut lines {
        if let Some(text) = rtl::turned(&line.text) {
            line.text = text;
        }
    }
    lines
}

/// Sorts lines: upright lines first, then rotated lines, then slanted lines. Lines of the same direction stay in drawing order.
pub fn order(lines: &mut [Line]) {
    let turns = [Turn::Right, Turn::Down, Turn::Up, Turn::Left];
    lines.sort_by_key(|line| turns.iter().position(|turn| *turn == line.turn).unwrap_or(turns.len()));
}

/// Returns whether a character is Han, kana or punctuation of these scripts. These scripts are written without spaces.
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{2E80}'..='\u{312F}' | '\u{3190}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}
