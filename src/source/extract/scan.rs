//! What the readers of markup languages share: patterns, brackets and columns. All of it takes time linear in its input.

use regex::Regex;

/// Compiles a pattern of the source code, which a test compiles too. The pattern is bytes, not characters, wherever it need not be more: tables of Unicode
/// take most of the time of compiling.
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
