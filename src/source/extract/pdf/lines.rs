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

    /// Appends a glyph. `spaced` says whether a space was drawn before the glyph.
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

/// Returns whether a glyph begins the text of a footnote, directly after the superscript number or `*` of the footnote.
fn is_after_mark(line: &Line, glyph: &Placed) -> bool {
    glyph.size > 1.2 * line.size && line.text.chars().all(|c| c.is_ascii_digit() || c == '*')
}

/// Appends a character. Ligatures, radicals, vertical forms and joined forms are replaced by the usual characters. A soft
/// hyphen that is drawn becomes a hyphen.
fn push_plain(text: &mut String, character: char) {
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

/// Groups glyphs into segments of lines, in drawing order.
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

/// Returns upright lines first, then rotated lines. Lines of the same direction stay in drawing order.
pub fn order(lines: &[Line]) -> impl Iterator<Item = &Line> {
    let turns = [Turn::Right, Turn::Down, Turn::Up, Turn::Left];
    turns.into_iter().flat_map(|turn| lines.iter().filter(move |line| line.turn == turn))
}

/// Returns whether a character is Han, kana or punctuation of these scripts. These scripts are written without spaces.
pub fn is_cjk(c: char) -> bool {
    matches!(c,
        '\u{2E80}'..='\u{312F}' | '\u{3190}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE4F}' | '\u{FF00}'..='\u{FFEF}' | '\u{20000}'..='\u{3FFFF}')
}
