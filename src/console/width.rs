//! Fits a bar and words into one line of the terminal, even if the terminal is very narrow.

use console::{Term, measure_text_width, truncate_str};
use indicatif::ProgressStyle;

/// The smallest width of a bar, in columns. The bar is narrower only if even the shortest line of words leaves less room for
/// the bar.
const BAR_MIN: usize = 5;

/// The width of a spinner, in columns.
const SPINNER: usize = 1;

/// Returns the style of a bar or a spinner.
pub(super) fn bar_style(template: &str) -> ProgressStyle {
    // Parsing does not fail: the templates are constants, and a test parses them.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸ ")
}

/// Returns the number of columns of the terminal, which may change while a command runs.
pub(super) fn columns() -> usize {
    usize::from(Term::stderr().size().1)
}

/// Returns the first of `lines` that fits beside a bar. If no line fits, returns the last line, truncated to the width of the
/// terminal.
pub(super) fn fit_beside_bar(lines: &[String], columns: usize) -> String {
    fit(lines, columns.saturating_sub(BAR_MIN), columns)
}

/// Returns the first of `lines` that fits beside a spinner. If no line fits, returns the last line, truncated to fit.
pub(super) fn fit_beside_spinner(lines: &[String], columns: usize) -> String {
    let room = columns.saturating_sub(SPINNER);
    fit(lines, room, room)
}

fn fit(lines: &[String], room: usize, most: usize) -> String {
    let fitting = lines.iter().find(|line| measure_text_width(line) <= room);
    let line = fitting.or(lines.last()).map_or("", String::as_str);
    truncate_str(line, most, "").into_owned()
}

/// Joins the words with commas, and leaves out each `None`.
pub(super) fn joined<'a>(words: impl IntoIterator<Item = &'a Option<String>>) -> String {
    let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
    words.join(", ")
}
