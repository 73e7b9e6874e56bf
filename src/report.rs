//! What a person sees while it runs, and after (the only user of indicatif; all of it on stderr).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Failure;
use crate::source::LeftOut;

/// Numbers and sizes as a person reads them.
pub use indicatif::{DecimalBytes, HumanCount};

/// In a log, a line this often.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// What became of the documents.
#[derive(Debug, Default)]
pub struct Counts {
    /// Documents found.
    pub seen: u64,
    /// Those with rows in the file.
    pub embedded: u64,
    /// Those with nothing in them after cleaning.
    pub empty: u64,
    /// Those that something is wrong with, each told by name.
    pub failed: u64,
    /// Documents in another encoding than UTF-8.
    pub decoded: BTreeMap<&'static str, u64>,
    /// What was found and is no document by rule.
    pub left_out: BTreeMap<LeftOut, u64>,
    /// Model inputs.
    pub chunks: u64,
    /// Tokens in them.
    pub tokens: u64,
}

impl Counts {
    /// Whether every document is accounted for.
    pub fn add_up(&self) -> bool {
        self.seen == self.embedded + self.empty + self.failed
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} documents: {} embedded, {} empty, {} failed",
            HumanCount(self.seen),
            HumanCount(self.embedded),
            HumanCount(self.empty),
            HumanCount(self.failed)
        )?;
        for (at, (encoding, count)) in self.decoded.iter().enumerate() {
            write!(f, "{} {} {encoding}", if at == 0 { "; decoded:" } else { "," }, HumanCount(*count))?;
        }
        for (at, (why, count)) in self.left_out.iter().enumerate() {
            let what = match why {
                LeftOut::Hidden => "hidden",
                LeftOut::Link => "links",
                LeftOut::Excluded => "excluded",
                LeftOut::OtherKind => "of other kinds",
                LeftOut::Special => "sockets, pipes or devices",
                LeftOut::Index => "indexes of this tool",
            };
            write!(f, "{} {} {what}", if at == 0 { "; left out:" } else { "," }, HumanCount(*count))?;
        }
        Ok(())
    }
}

/// How fast tokens went through the model.
pub fn tokens_per_second(tokens: u64, elapsed: Duration) -> String {
    format!("{} tokens/s", HumanCount((tokens as f64 / elapsed.as_secs_f64().max(1e-3)) as u64))
}

/// A progress bar on a terminal, a line now and then in a log; notes between.
pub struct Reporter {
    quiet: bool,
    bar: ProgressBar,
    /// When the first tokens came out of the model.
    started: OnceLock<Instant>,
    last_line: Mutex<Instant>,
    bytes_total: AtomicU64,
    bytes_prepared: AtomicU64,
    tokens_prepared: AtomicU64,
    tokens_embedded: AtomicU64,
    documents: AtomicU64,
}

impl Reporter {
    /// `quiet` leaves only notes about what went wrong.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        // The template is a constant, checked by a test.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Reporter {
            quiet,
            bar,
            started: OnceLock::new(),
            last_line: Mutex::new(Instant::now()),
            bytes_total: AtomicU64::new(0),
            bytes_prepared: AtomicU64::new(0),
            tokens_prepared: AtomicU64::new(0),
            tokens_embedded: AtomicU64::new(0),
            documents: AtomicU64::new(0),
        }
    }

    /// Tells how a run goes; silent when quiet.
    pub fn info(&self, message: &str) {
        if !self.quiet {
            self.print(message);
        }
    }

    /// Tells what is not as it should be, though the run goes on.
    pub fn warn(&self, message: &str) {
        self.print(&format!("warning: {message}"));
    }

    /// Names a document that has no row, and why.
    pub fn failed(&self, failure: &Failure) {
        self.print(&format!("failed: {}: {}", failure.place, failure.cause));
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

    /// Counts what came out of it.
    pub fn embedded(&self, tokens: usize) {
        let now = Instant::now();
        self.started.get_or_init(|| now);
        self.tokens_embedded.fetch_add(tokens as u64, Relaxed);
        if self.bar.is_hidden() {
            self.line(now);
        } else {
            let (done, left) = (self.tokens_embedded.load(Relaxed), self.tokens_left());
            self.bar.set_length(done + left.unwrap_or(0));
            self.bar.set_position(done);
            self.bar.set_message(self.state());
        }
    }

    /// Counts a document whose rows are on their way to the file.
    pub fn document_done(&self) {
        self.documents.fetch_add(1, Relaxed);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, now: Instant) {
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(*last) >= LINE_EVERY {
            *last = now;
            self.info(&self.state());
        }
    }

    /// Documents, tokens a second, and time left.
    fn state(&self) -> String {
        let documents = HumanCount(self.documents.load(Relaxed));
        let elapsed = self.started.get().map_or(Duration::ZERO, Instant::elapsed);
        let tokens = self.tokens_embedded.load(Relaxed);
        let mut state = format!("{documents} documents, {}", tokens_per_second(tokens, elapsed));
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

    fn print(&self, message: &str) {
        self.bar.suspend(|| eprint_line(message));
    }
}

const TEMPLATE: &str = "{bar:30} {percent:>3}%  {msg}";

/// A line is no longer than this, in characters: what is wrong with a document may quote it.
const LINE_MAX: usize = 1000;

/// One line on stderr, under the tool's name. Control characters, which a file's name may hold, are
/// shown and not sent to the terminal.
pub fn eprint_line(message: &str) {
    let mut line = String::from("qwen3-index: ");
    for c in message.chars().take(LINE_MAX) {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    if message.chars().nth(LINE_MAX).is_some() {
        line.push('…');
    }
    line.push('\n');
    // A run goes on though nobody reads its log any more.
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_of_the_bar_is_well_formed() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}
