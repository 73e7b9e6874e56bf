//! Shows the progress of a download or an upload: a bar on a terminal, or a line every 30 seconds in a log.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde_json::Value;

use super::detail::Detail;
use super::line::{Level, LogFormat, eprint_line, shown};
use super::number::{DecimalBytes, human_seconds};
use super::width::{bar_style, columns, fit_beside_bar, joined};

/// The time between two lines of progress in a log.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// The template of the bar.
const TEMPLATE: &str = "{wide_bar} {percent:>3}%{words}";

/// The width of the percentage between the bar and the words, as in ` 100%`, in columns.
const PERCENT: usize = 5;

/// Shows the progress of a download or an upload, one file after the other.
pub struct Transfer {
    /// The verb of the messages, such as "downloading".
    doing: &'static str,
    format: Option<LogFormat>,
    bar: ProgressBar,
    name: String,
    last_line: Instant,
}

impl Transfer {
    /// Prepares to show a transfer. Nothing is shown if `format` is `None`.
    pub fn new(doing: &'static str, format: Option<LogFormat>) -> Self {
        let is_hidden = format != Some(LogFormat::Text) || Detail::Decisions.is_said();
        let target = if is_hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        // No bar is shown before the first file.
        bar.finish_and_clear();
        Transfer { doing, format, bar, name: String::new(), last_line: Instant::now() }
    }

    /// Begins to show the transfer of the file `name`, which has `bytes` bytes.
    pub fn begin(&mut self, name: &str, bytes: u64) {
        name.clone_into(&mut self.name);
        self.bar.set_style(style(shown(name)));
        self.bar.set_length(bytes);
        self.bar.reset();
        if self.bar.is_hidden() {
            self.tell(&format!("{} {name}, {}", self.doing, DecimalBytes(bytes)));
        }
    }

    /// Shows that `bytes` bytes of the current file have been transferred.
    pub fn show(&mut self, bytes: u64) {
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let total = DecimalBytes(self.bar.length().unwrap_or(0));
            self.tell(&format!("{} {}: {} of {total}", self.doing, self.name, DecimalBytes(bytes)));
        }
    }

    /// Writes a message about the transfer.
    pub fn tell(&self, message: &str) {
        let Some(format) = self.format else { return };
        self.bar.suspend(|| eprint_line(format, Level::Info, message, Value::Null));
    }

    /// Writes why the transfer waits. The bar disappears until the transfer goes on.
    pub fn wait(&self, why: &str) {
        self.bar.finish_and_clear();
        self.tell(why);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn style(name: String) -> ProgressStyle {
    bar_style(TEMPLATE).with_key("words", move |state: &ProgressState, line: &mut dyn fmt::Write| {
        let words = fit_beside_bar(&lines(&name, state), columns().saturating_sub(PERCENT));
        // If this write fails, there is no other place to show the error.
        let _ = line.write_str(&words);
    })
}

/// Returns several versions of the same line, from the longest to the shortest. The terminal shows the longest version that
/// fits beside the bar.
#[allow(clippy::cast_possible_truncation)] // `as` saturates, and no speed comes near 2^64.
fn lines(name: &str, state: &ProgressState) -> Vec<String> {
    let name = Some(name.to_owned());
    let total = DecimalBytes(state.len().unwrap_or(0));
    let bytes = Some(format!("{} of {total}", DecimalBytes(state.pos())));
    let speed = Some(format!("{}/s", DecimalBytes(state.per_sec() as u64)));
    let left = Some(format!("{} left", human_seconds(state.eta().as_secs_f64())));
    [
        joined([&name, &bytes, &speed, &left]),
        joined([&name, &bytes, &left]),
        joined([&bytes, &left]),
        joined([&left]),
    ]
    .map(|words| format!(" {words}"))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
