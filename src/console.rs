//! What a person, or a program that watches, is told while it runs, and after (the only user of indicatif and chrono).
//! All of it on stderr, but the report.

use std::io::{self, Write as _};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::{DocumentError, Failure};

/// Numbers and sizes as a person reads them.
pub use indicatif::{DecimalBytes, HumanCount};

/// In a log, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Names that a report has room for, of failures and of stale documents each.
const NAMES_MAX: usize = 10_000;

/// How lines on stderr are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line, with the time.
    Json,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// How a run goes.
    Info,
    /// Something is not as it should be, though the run goes on.
    Warning,
    /// Something could not be read or embedded.
    Failed,
    /// A document has kept the row of the last run.
    Stale,
    /// The run has ended.
    Error,
}

/// A number of tokens a second.
pub fn tokens_per_second(tokens: f64) -> String {
    format!("{} tokens/s", HumanCount(tokens as u64))
}

/// A length of time as a person reads it.
pub fn human_seconds(seconds: f64) -> String {
    HumanDuration(Duration::from_secs_f64(seconds.clamp(0.0, 1e12))).to_string()
}

/// The time, as in RFC 3339.
pub fn now() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A failure.
#[derive(Debug, Serialize)]
pub struct NamedFailure {
    place: String,
    reason: String,
}

/// A progress bar on a terminal, a line now and then in a log; notes between.
pub struct Reporter {
    quiet: bool,
    format: LogFormat,
    explain: fn(&DocumentError) -> String,
    bar: ProgressBar,
    /// When the first tokens came out of the model.
    started: OnceLock<Instant>,
    last_line: Mutex<Instant>,
    bytes_total: AtomicU64,
    bytes_prepared: AtomicU64,
    tokens_prepared: AtomicU64,
    tokens_embedded: AtomicU64,
    documents: AtomicU64,
    failures: Mutex<Vec<NamedFailure>>,
    stale: Mutex<Vec<String>>,
}

impl Reporter {
    /// `quiet` leaves only notes about what went wrong.
    pub fn new(quiet: bool, format: LogFormat) -> Self {
        let is_hidden = quiet || format == LogFormat::Json;
        let target = if is_hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        // The template is a constant, checked by a test.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Reporter {
            quiet,
            format,
            explain: |error| error.to_string(),
            bar,
            started: OnceLock::new(),
            last_line: Mutex::new(Instant::now()),
            bytes_total: AtomicU64::new(0),
            bytes_prepared: AtomicU64::new(0),
            tokens_prepared: AtomicU64::new(0),
            tokens_embedded: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            failures: Mutex::default(),
            stale: Mutex::default(),
        }
    }

    /// Sets how the failure of a document is put into words.
    pub fn explaining(self, explain: fn(&DocumentError) -> String) -> Self {
        Reporter { explain, ..self }
    }

    /// How to tell what goes on, unless quiet.
    pub fn format(&self) -> Option<LogFormat> {
        (!self.quiet).then_some(self.format)
    }

    /// Tells how a run goes; silent when quiet.
    pub fn info(&self, message: &str) {
        self.info_with(message, Value::Null);
    }

    /// Tells what is not as it should be, though the run goes on.
    pub fn warn(&self, message: &str) {
        self.print(Level::Warning, message, Value::Null);
    }

    /// Names a document, or a part of the inputs, that could not be read or embedded, and why.
    pub fn failed(&self, failure: &Failure) {
        self.failed_row(&failure.place, &(self.explain)(&failure.cause));
    }

    /// Names what came with an error, and that.
    pub fn failed_row(&self, place: &str, reason: &str) {
        self.print(Level::Failed, &format!("{place}: {reason}"), json!({"place": place, "reason": reason}));
        push(lock(&self.failures), NamedFailure { place: place.to_owned(), reason: reason.to_owned() });
    }

    /// Names a document that has kept the row of the last run.
    pub fn stale(&self, id: &str) {
        let message = format!("{id}: has kept the row of the last run, because of what failed");
        self.print(Level::Stale, &message, json!({"id": id}));
        push(lock(&self.stale), id.to_owned());
    }

    /// The failures and the stale documents named so far, of very many the first.
    pub fn take_names(&self) -> (Vec<NamedFailure>, Vec<String>) {
        (mem::take(&mut *lock(&self.failures)), mem::take(&mut *lock(&self.stale)))
    }

    /// Sets what progress is measured against.
    pub fn total_bytes(&self, bytes: u64) {
        self.bytes_total.store(bytes, Relaxed);
    }

    /// Counts what is ready for the model.
    pub fn prepared(&self, bytes: u64, tokens: usize) {
        self.bytes_prepared.fetch_add(bytes, Relaxed);
        self.tokens_prepared.fetch_add(tokens as u64, Relaxed);
    }

    /// Takes back what was ready for the model and need not go through it.
    pub fn not_needed(&self, tokens: usize) {
        self.tokens_prepared.fetch_sub(tokens as u64, Relaxed);
    }

    /// Counts what came out of it.
    pub fn embedded(&self, tokens: usize) {
        self.started.get_or_init(Instant::now);
        self.tokens_embedded.fetch_add(tokens as u64, Relaxed);
        self.show();
    }

    /// Counts a document whose rows are on their way to the file.
    pub fn document_done(&self) {
        self.documents.fetch_add(1, Relaxed);
    }

    /// Shows where the run is: at once on a terminal, now and then in a log.
    pub fn show(&self) {
        if self.bar.is_hidden() {
            self.line();
        } else {
            let (done, left) = (self.tokens_embedded.load(Relaxed), self.tokens_left());
            let (done, left) = match left {
                // Nothing has had to be embedded.
                Some(0) if done == 0 => {
                    let (read, total) = (self.bytes_prepared.load(Relaxed), self.bytes_total.load(Relaxed));
                    (read, total.saturating_sub(read))
                }
                left => (done, left.unwrap_or(0)),
            };
            self.bar.set_length(done + left);
            self.bar.set_position(done);
            self.bar.set_message(self.state());
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn info_with(&self, message: &str, details: Value) {
        if !self.quiet {
            self.print(Level::Info, message, details);
        }
    }

    fn line(&self) {
        let mut last = lock(&self.last_line);
        if last.elapsed() >= LINE_EVERY {
            *last = Instant::now();
            let (documents, tokens) = (self.documents.load(Relaxed), self.tokens_embedded.load(Relaxed));
            let details =
                json!({"documents": documents, "tokens": tokens, "tokens_left": self.tokens_left()});
            self.info_with(&self.state(), details);
        }
    }

    /// Documents, tokens a second, and time left.
    fn state(&self) -> String {
        let documents = HumanCount(self.documents.load(Relaxed));
        let elapsed = self.started.get().map_or(Duration::ZERO, Instant::elapsed);
        let tokens = self.tokens_embedded.load(Relaxed);
        let mut state = format!("{documents} documents");
        if tokens > 0 {
            let speed = tokens as f64 / elapsed.as_secs_f64().max(1e-3);
            state.push_str(&format!(", {}", tokens_per_second(speed)));
        }
        if let Some(left) = self.tokens_left() {
            let left = elapsed.mul_f64(left as f64 / tokens.max(1) as f64);
            state.push_str(&format!(", {} left", HumanDuration(left)));
        }
        state
    }

    /// What is prepared, and what is unread at as many tokens a byte as what was read; unknown for
    /// standard input.
    fn tokens_left(&self) -> Option<u64> {
        let total = self.bytes_total.load(Relaxed);
        let (bytes, tokens) = (self.bytes_prepared.load(Relaxed), self.tokens_prepared.load(Relaxed));
        if total == 0 || bytes == 0 {
            return None;
        }
        let unread = total.saturating_sub(bytes) as f64 * tokens as f64 / bytes as f64;
        Some(tokens.saturating_sub(self.tokens_embedded.load(Relaxed)) + unread as u64)
    }

    fn print(&self, level: Level, message: &str, details: Value) {
        self.bar.suspend(|| eprint_line(self.format, level, message, details));
    }
}

/// Bytes on their way: a bar on a terminal, a line now and then in a log.
pub struct Transfer {
    /// As in "downloading".
    doing: &'static str,
    format: Option<LogFormat>,
    bar: ProgressBar,
    name: String,
    last_line: Instant,
}

impl Transfer {
    /// Of nothing yet; `None` to tell nothing.
    pub fn new(doing: &'static str, format: Option<LogFormat>) -> Self {
        let is_hidden = format != Some(LogFormat::Text);
        let target = if is_hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        if let Ok(style) = ProgressStyle::with_template(TRANSFER_TEMPLATE) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Transfer { doing, format, bar, name: String::new(), last_line: Instant::now() }
    }

    /// A file of so many bytes.
    pub fn begin(&mut self, name: &str, bytes: u64) {
        name.clone_into(&mut self.name);
        self.bar.set_length(bytes);
        self.bar.set_message(name.to_owned());
        if self.bar.is_hidden() {
            self.tell(&format!("{} {name}, {}", self.doing, DecimalBytes(bytes)));
        }
    }

    /// So many of them are there.
    pub fn show(&mut self, bytes: u64) {
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let total = DecimalBytes(self.bar.length().unwrap_or(0));
            self.tell(&format!("{} {}: {} of {total}", self.doing, self.name, DecimalBytes(bytes)));
        }
    }

    /// Something about it.
    pub fn tell(&self, message: &str) {
        let Some(format) = self.format else { return };
        self.bar.suspend(|| eprint_line(format, Level::Info, message, Value::Null));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn push<T>(mut names: MutexGuard<'_, Vec<T>>, name: T) {
    if names.len() < NAMES_MAX {
        names.push(name);
    }
}

const TEMPLATE: &str = "{bar:30} {percent:>3}%  {msg}";
const TRANSFER_TEMPLATE: &str =
    "{bar:30} {percent:>3}%  {msg}, {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";

/// A line is no longer than this, in characters: what is wrong with a document may quote it.
const LINE_MAX: usize = 1000;

/// With its control characters, which a file's name may hold, shown and not sent to the terminal.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// One line on stderr: under the tool's name, or as an object with the members of `details`.
pub fn eprint_line(format: LogFormat, level: Level, message: &str, details: Value) {
    let start: String = message.chars().take(LINE_MAX).collect();
    let mut shown = shown(&start);
    if message.chars().nth(LINE_MAX).is_some() {
        shown.push('…');
    }
    let mut line = match format {
        LogFormat::Json => {
            let mut line = Map::new();
            line.insert("time".into(), now().into());
            line.insert("level".into(), json!(level));
            line.insert("message".into(), shown.into());
            line.extend(details.as_object().cloned().unwrap_or_default());
            Value::Object(line).to_string()
        }
        LogFormat::Text => match level {
            Level::Info => format!("qwen3-index: {shown}"),
            Level::Warning => format!("qwen3-index: warning: {shown}"),
            Level::Failed => format!("qwen3-index: failed: {shown}"),
            Level::Stale => format!("qwen3-index: stale: {shown}"),
            Level::Error => format!("qwen3-index: error: {shown}"),
        },
    };
    line.push('\n');
    // A run goes on though nobody reads its log any more.
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bars_are_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        assert!(ProgressStyle::with_template(TRANSFER_TEMPLATE).is_ok());
    }
}
