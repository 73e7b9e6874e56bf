//! What the readers of markup languages share: lines, marks and tables. All of it takes time linear in its input.

use regex::Regex;

use crate::text::blocks::{BlockKind, BlockWriter};

/// Compiles a pattern of the source code, which a test compiles too.
pub fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns at most the first `max` bytes of a text, up to the end of a character. A search for an end that is missing then takes
/// little time.
pub fn head(source: &str, max: usize) -> &str {
    let mut end = source.len().min(max);
    while !source.is_char_boundary(end) {
        end -= 1;
    }
    &source[..end]
}

/// Returns the first line of a text without its line break, and what follows.
pub fn first_line(source: &str) -> (&str, &str) {
    let (line, rest) = source.split_at(source.find('\n').map_or(source.len(), |end| end + 1));
    (line.trim_end_matches(['\n', '\r']), rest)
}

/// Returns the number of columns before the first visible character of a line. Tab stops are 8 columns apart.
pub fn indent(line: &str) -> usize {
    let spaces = line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t'));
    spaces.fold(0, |column, byte| if byte == b'\t' { (column / 8 + 1) * 8 } else { column + 1 })
}

/// Returns a line without the first columns, as far as they are white space.
pub fn without_indent(line: &str, columns: usize) -> &str {
    let mut column = 0;
    line.trim_start_matches(|c| {
        let is_cut = column < columns && matches!(c, ' ' | '\t');
        column = if c == '\t' { (column / 8 + 1) * 8 } else { column + 1 };
        is_cut
    })
}

/// Returns whether a line is a row of one sign, such as `----`, with at least `least` of it.
pub fn is_row_of(line: &str, sign: char, least: usize) -> bool {
    let line = line.trim_end();
    line.len() >= least && line.chars().all(|c| c == sign)
}

/// Writes a row of a table.
pub fn write_row<S: AsRef<str>>(text: &mut BlockWriter, is_header: bool, cells: impl IntoIterator<Item = S>) {
    text.begin(if is_header { BlockKind::TableHeader } else { BlockKind::TableRow }, "");
    for cell in cells {
        text.push_str("| ");
        text.push_str(cell.as_ref().trim());
        text.push_str(" ");
    }
    text.end();
}

/// The position of the next closing mark of each kind. No part of a text is searched twice for a mark.
#[derive(Default)]
pub struct Closers(Vec<(&'static str, Option<usize>)>);

impl Closers {
    /// Returns the position of the first `mark` at or after `from` that `closes`. The positions of the calls must grow, and what
    /// closes must not depend on what opens.
    pub fn find(
        &mut self,
        text: &str,
        mark: &'static str,
        from: usize,
        closes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let known = self.0.iter().position(|(known, _)| *known == mark);
        if let Some(at) = known
            && self.0[at].1.is_none_or(|found| found > from)
        {
            return self.0[at].1;
        }
        let mut at = from;
        while at < text.len() && !text.is_char_boundary(at) {
            at += 1;
        }
        let mut found = None;
        while let Some(next) = text.get(at..).and_then(|rest| rest.find(mark)) {
            if closes(at + next) {
                found = Some(at + next);
                break;
            }
            at += next + mark.len();
        }
        match known {
            Some(known) => self.0[known].1 = found,
            None => self.0.push((mark, found)),
        }
        found
    }
}

/// Which characters may stand before a mark that opens, and after one that closes. Inside of a pair there is no white space.
pub struct Bounds {
    pub before: fn(char) -> bool,
    pub after: fn(char) -> bool,
}

impl Bounds {
    /// Returns the position of the mark that closes the `mark` at a position. Returns `None` if that one opens nothing.
    pub fn close(&self, text: &str, at: usize, mark: &'static str, closers: &mut Closers) -> Option<usize> {
        let start = at + mark.len();
        let is_open = text[..at].chars().next_back().is_none_or(self.before)
            && text[start..].chars().next().is_some_and(|c| !c.is_whitespace());
        let closes = |end: usize| {
            !text[..end].ends_with(char::is_whitespace)
                && text[end + mark.len()..].chars().next().is_none_or(self.after)
        };
        // There is something between the two marks.
        if is_open { closers.find(text, mark, start + 1, closes) } else { None }
    }
}

/// A paragraph whose end is not read yet. Its marks may span lines.
pub struct Paragraph {
    /// The kind of its block.
    pub kind: BlockKind,
    /// Its lines, with their marks.
    pub lines: String,
    /// The column of its first line.
    pub column: usize,
}

impl Paragraph {
    /// Adds a line.
    pub fn push(&mut self, line: &str) {
        self.lines.push('\n');
        self.lines.push_str(line.trim());
    }

    /// Writes a block with these words.
    pub fn write(&self, words: &str, text: &mut BlockWriter) {
        text.begin(self.kind, if self.kind == BlockKind::Item { "- " } else { "" });
        text.push_str(words);
        text.boundary();
    }
}

/// Returns the length of the text in brackets at the start of a text, with its brackets. Inner brackets must be closed too.
/// Searches the first `max` bytes.
pub fn bracketed(text: &str, open: u8, close: u8, max: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut is_escaped = false;
    for (at, byte) in head(text, max).bytes().enumerate() {
        match byte {
            _ if std::mem::take(&mut is_escaped) => {}
            b'\\' => is_escaped = true,
            _ if byte == open => depth += 1,
            _ if byte == close => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        if depth == 0 {
            return None;
        }
    }
    None
}

/// Returns the number of columns that a character takes on a terminal. Most of East Asia's take two (UAX #11).
pub fn columns_of(c: char) -> usize {
    let is_wide = matches!(c,
        '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}' | '\u{F900}'..='\u{FAFF}'
        | '\u{FE30}'..='\u{FE6F}' | '\u{FF00}'..='\u{FF60}' | '\u{FFE0}'..='\u{FFE6}' | '\u{1F300}'..='\u{1FAFF}' | '\u{20000}'..='\u{3FFFD}');
    1 + usize::from(is_wide)
}

/// Cuts a line at columns, but no word. Each part starts at one of `starts` and ends at the next; the last part ends with the
/// line.
pub fn cut_at_columns<'a>(line: &'a str, starts: &[usize]) -> Vec<&'a str> {
    let mut cuts = Vec::with_capacity(starts.len() + 1);
    let mut column = 0;
    let mut is_in_word = false;
    for (at, c) in line.char_indices() {
        // A cell that is as long as two goes on to the end of its word.
        is_in_word &= !c.is_whitespace();
        while !is_in_word && cuts.len() < starts.len() && column >= starts[cuts.len()] {
            cuts.push(at);
        }
        is_in_word = !c.is_whitespace();
        column += columns_of(c);
    }
    cuts.resize(starts.len(), line.len());
    cuts.push(line.len());
    cuts.windows(2).map(|cut| &line[cut[0]..cut[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_where_the_columns_are() {
        assert_eq!((indent("  a"), indent("\ta"), indent(" \ta")), (2, 8, 8));
        assert_eq!(
            (without_indent("    a", 2), without_indent(" a", 4), without_indent("\ta", 4)),
            ("  a", "a", "a")
        );
        assert_eq!(cut_at_columns("ab  cd", &[0, 4]), ["ab  ", "cd"]);
        assert_eq!(cut_at_columns("今天  cd", &[0, 6]), ["今天  ", "cd"]);
        assert_eq!(cut_at_columns("ab", &[0, 4]), ["ab", ""]);
        assert_eq!(cut_at_columns("abcdef gh", &[0, 4]), ["abcdef", " gh"]);
        assert_eq!(bracketed("[a[b]\\]] c", b'[', b']', 100), Some(8));
        assert_eq!((bracketed("[a", b'[', b']', 100), bracketed("a]", b'[', b']', 100)), (None, None));
    }
}
