//! Writes lines for people to standard output: wrapped and styled on a terminal, unchanged in a file or a pipe. Only this
//! module uses textwrap.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;

use textwrap::core::{Word, display_width};
use textwrap::{Options, WordSeparator, WordSplitter};

use crate::console::Colors;

/// The destination of standard output.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    /// The width of the terminal; `None` for a file or another program.
    columns: Option<usize>,
    /// Whether words may be bold.
    has_bold: bool,
}

impl Screen {
    pub fn stdout() -> Self {
        let columns = io::stdout().is_terminal().then(textwrap::termwidth);
        Screen { columns, has_bold: Colors::are_on_stdout() }
    }

    pub fn is_terminal(self) -> bool {
        self.columns.is_some()
    }

    /// Returns the width of the terminal minus `taken`, in columns. Returns `None` if standard output is not a terminal.
    pub fn columns_beside(self, taken: usize) -> Option<usize> {
        self.columns.map(|columns| columns.saturating_sub(taken))
    }

    /// Writes `head` and `text` as one paragraph. The second and later lines of the paragraph begin with `indent` spaces.
    pub fn write(self, out: &mut impl Write, head: &str, indent: usize, text: &str) -> io::Result<()> {
        let Some(columns) = self.columns else { return writeln!(out, "{head}{text}") };
        let indent = " ".repeat(indent);
        let options = Options::new(columns).initial_indent(head).subsequent_indent(&indent);
        let options =
            options.word_separator(WordSeparator::Custom(words)).word_splitter(WordSplitter::NoHyphenation);
        textwrap::wrap(text, options).iter().try_for_each(|line| writeln!(out, "{line}"))
    }

    /// Makes parts of a text bold. `parts` has byte ranges in ascending order that do not overlap.
    pub fn mark(self, text: &str, parts: &[Range<usize>]) -> String {
        if !self.has_bold {
            return text.to_owned();
        }
        let mut marked = String::with_capacity(text.len());
        let mut end = 0;
        for part in parts {
            marked.push_str(&text[end..part.start]);
            marked.push_str("\x1b[1m");
            marked.push_str(&text[part.clone()]);
            marked.push_str("\x1b[0m");
            end = part.end;
        }
        marked.push_str(&text[end..]);
        marked
    }
}

/// Splits a line into the parts that wrapping must not break. Wrapping may break a line at spaces and, if UAX #14 allows it,
/// next to wide characters, because Chinese and Japanese have no spaces between words. Paths and options are never broken.
fn words(line: &str) -> Box<dyn Iterator<Item = Word<'_>> + '_> {
    let is_wide = |c: char| display_width(c.encode_utf8(&mut [0; 4])) > 1;
    let (mut words, mut start, mut end) = (Vec::new(), 0, 0);
    for part in WordSeparator::UnicodeBreakProperties.find_words(line) {
        end += part.word.len() + part.whitespace.len();
        let is_beside_wide = part.word.ends_with(is_wide) || line[end..].starts_with(is_wide);
        if !part.whitespace.is_empty() || is_beside_wide {
            words.push(Word::from(&line[start..end]));
            start = end;
        }
    }
    words.extend((start < end).then(|| Word::from(&line[start..end])));
    Box::new(words.into_iter())
}

/// Writes rows of cells as a table with right-aligned columns. All rows must have the same number of cells.
pub fn write_table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| rows.iter().map(|row| display_width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    for row in rows {
        let padded = |(cell, width): (&String, &usize)| " ".repeat(width - display_width(cell)) + cell;
        let cells: Vec<String> = row.iter().zip(&widths).map(padded).collect();
        writeln!(out, "{}", cells.join("  "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NARROW: Screen = Screen { columns: Some(20), has_bold: true };
    const PIPE: Screen = Screen { columns: None, has_bold: false };

    fn written(screen: Screen, head: &str, text: &str) -> String {
        let mut out = Vec::new();
        screen.write(&mut out, head, 4, text).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_wrapped_on_a_terminal_only() {
        let text = "The battery of the display lasts a year.";
        assert_eq!(written(PIPE, "1.  ", text), format!("1.  {text}\n"));
        assert_eq!(written(NARROW, "1.  ", text), "1.  The battery of\n    the display\n    lasts a year.\n");
        // Each of these characters is two columns wide, and no line begins with a full stop.
        assert_eq!(written(NARROW, "1.  ", "显示屏电池可以用。一年"), "1.  显示屏电池可以\n    用。一年\n");
    }

    #[test]
    fn options_and_paths_stay_whole_where_they_fit() {
        let text = "choose a file with --model-file: onnx/model.onnx";
        assert_eq!(
            written(NARROW, "1.  ", text),
            "1.  choose a file\n    with\n    --model-file:\n    onnx/model.onnx\n"
        );
    }

    #[test]
    fn marks_take_no_columns_and_are_for_terminals() {
        let text = "The battery lasts a year.";
        let marked = NARROW.mark(text, &[4..11, 20..24]);
        assert_eq!(marked, "The \x1b[1mbattery\x1b[0m lasts a \x1b[1myear\x1b[0m.");
        let plain = marked.replace("\x1b[1m", "").replace("\x1b[0m", "");
        let wrapped = written(NARROW, "", &marked).replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(wrapped, written(NARROW, "", &plain));
        assert_eq!(PIPE.mark(text, &[4..11, 20..24]), text);
        assert_eq!(Screen { has_bold: false, ..NARROW }.mark(text, &[4..11, 20..24]), text);
    }

    #[test]
    fn wide_characters_keep_the_columns_of_a_table_in_line() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let mut out = Vec::new();
        write_table(&mut out, &[row(["language", "n"]), row(["日本語", "12"]), row(["en", "3"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "language   n\n  日本語  12\n      en   3\n");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(text in "([a-zé]{1,30}|[今天好。👍🏽/ -]){0,60}", columns in 10usize..90) {
            let screen = Screen { columns: Some(columns), has_bold: true };
            for line in written(screen, "1.  ", &text).lines() {
                prop_assert!(display_width(line) <= columns, "{line:?}");
            }
        }
    }
}
