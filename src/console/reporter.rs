//! Shows the messages and the progress of a run: a bar on a terminal, or a line every 30 seconds in a log.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use super::detail::Detail;
use super::line::{Level, LogFormat, eprint_line};
use super::number::counted;
use super::progress::{Phase, RunProgress};
use super::secret::without_secrets;
use super::width::{bar_style, columns, fit_beside_bar, fit_beside_spinner};
use crate::error::{DocumentError, Failure};

/// The time between two drawings of the bar. The bar is drawn even if no count changes, so that the elapsed time is right.
const DRAW_EVERY: Duration = Duration::from_millis(100);

/// The time between two lines of progress in a log.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// The most failures in a report, and also the most stale documents in a report.
const NAMES_MAX: usize = 10_000;

/// The template of the progress line while the share of embedded tokens is known.
const BAR: &str = "{wide_bar}{words}";

/// The template of the progress line while the share of embedded tokens is unknown.
const SPINNER: &str = "{spinner}{words}";

/// A failure in the report of a run.
#[derive(Debug, Serialize)]
pub struct NamedFailure {
    place: String,
    reason: String,
}

/// Writes the messages of a run to stderr and shows its progress.
pub struct Reporter {
    quiet: bool,
    format: LogFormat,
    explain: fn(&DocumentError) -> String,
    bar: ProgressBar,
    run: Arc<ShownRun>,
    first_phase: Once,
    failures: Mutex<Vec<NamedFailure>>,
    stale: Mutex<Vec<String>>,
}

/// The progress of a run, and the time when the run began.
struct ShownRun {
    started: Instant,
    progress: Mutex<RunProgress>,
}

impl ShownRun {
    fn progress(&self) -> RunProgress {
        *lock(&self.progress)
    }

    fn style(self: &Arc<Self>, template: &str) -> ProgressStyle {
        let run = self.clone();
        bar_style(template).with_key("words", move |_: &ProgressState, line: &mut dyn fmt::Write| {
            // If this write fails, there is no other place to show the error.
            let _ = line.write_str(&run.words());
        })
    }

    /// Returns the words beside the bar or the spinner, as many as fit into the width of the terminal.
    fn words(&self) -> String {
        let progress = self.progress();
        let lines = progress.in_words(self.started.elapsed()).lines();
        match progress.fraction() {
            Some(_) => fit_beside_bar(&lines, columns()),
            None => fit_beside_spinner(&lines, columns()),
        }
    }
}

impl Reporter {
    /// Makes a reporter. A `quiet` reporter writes only warnings and failures.
    pub fn new(quiet: bool, format: LogFormat) -> Self {
        let run = Arc::new(ShownRun { started: Instant::now(), progress: Mutex::default() });
        // A bar would not last long between many messages.
        let is_hidden = quiet || format == LogFormat::Json || Detail::Decisions.is_said();
        let target = if is_hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(run.style(SPINNER));
        Reporter {
            quiet,
            format,
            explain: |error| error.to_string(),
            bar,
            run,
            first_phase: Once::new(),
            failures: Mutex::default(),
            stale: Mutex::default(),
        }
    }

    /// Sets the function that turns the error of a document into a message.
    pub fn explaining(self, explain: fn(&DocumentError) -> String) -> Self {
        Reporter { explain, ..self }
    }

    /// Returns the format of messages about progress, or `None` if the reporter is quiet.
    pub fn format(&self) -> Option<LogFormat> {
        (!self.quiet).then_some(self.format)
    }

    /// Returns the time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.run.started.elapsed()
    }

    /// Writes a message, unless the reporter is quiet.
    pub fn info(&self, message: &str) {
        self.info_with(message, Value::Null);
    }

    /// Writes a message, unless the reporter is quiet. A line of JSON also has the members of `details`.
    pub fn info_with(&self, message: &str, details: Value) {
        if !self.quiet {
            self.print(Level::Info, message, details);
        }
    }

    /// Writes a warning: something is wrong, but the run goes on.
    pub fn warn(&self, message: &str) {
        self.print(Level::Warning, message, Value::Null);
    }

    /// Writes that stray bytes of the document at `place` were replaced or removed.
    pub fn repaired(&self, place: &str, bytes: u64) {
        let place = without_secrets(place);
        self.warn(&format!("{place}: repaired {} in its text", counted(bytes, "stray byte")));
    }

    /// Writes the place and the cause of a failure: a document or another part of the inputs could not be read or embedded.
    pub fn failed(&self, failure: &Failure) {
        self.failed_row(&failure.place, &(self.explain)(&failure.cause));
    }

    /// Writes the failure of the document or the row at `place`, and stores the failure for the report.
    pub fn failed_row(&self, place: &str, reason: &str) {
        let (place, reason) = (&*without_secrets(place), &*without_secrets(reason));
        self.print(Level::Failed, &format!("{place}: {reason}"), json!({"place": place, "reason": reason}));
        push(lock(&self.failures), NamedFailure { place: place.to_owned(), reason: reason.to_owned() });
    }

    /// Writes that a document could not be read, so the index keeps the document's row from the previous run. Stores the id
    /// for the report.
    pub fn stale(&self, id: &str) {
        let message = format!("{id}: cannot be read now; its row from the previous run is kept");
        self.print(Level::Stale, &message, json!({"id": id}));
        push(lock(&self.stale), id.to_owned());
    }

    /// Removes and returns the first 10,000 failures and the ids of the first 10,000 stale documents.
    pub fn take_names(&self) -> (Vec<NamedFailure>, Vec<String>) {
        (mem::take(&mut *lock(&self.failures)), mem::take(&mut *lock(&self.stale)))
    }

    /// Begins a phase, and shows the progress until [`Reporter::finish`] is called.
    pub fn enter(&self, phase: Phase) {
        self.update(|progress| {
            progress.phase = Some(phase);
            if phase == Phase::Embedding {
                progress.embedding_since = Some(Instant::now());
            }
        });
        self.first_phase.call_once(|| self.start());
        self.show();
    }

    /// Sets the size of all inputs in bytes.
    pub fn total_bytes(&self, bytes: u64) {
        self.update(|progress| progress.bytes_total = Some(bytes));
    }

    /// Adds documents that were found and have a text.
    pub fn found(&self, documents: usize) {
        self.update(|progress| progress.documents_found += documents as u64);
    }

    /// Notes that no more documents will be found.
    pub fn all_found(&self) {
        self.update(|progress| progress.is_all_found = true);
    }

    /// Adds bytes that were read from the inputs, and the number of tokens to embed in these bytes.
    pub fn prepared(&self, bytes: u64, tokens: usize) {
        self.update(|progress| {
            progress.bytes_prepared += bytes;
            progress.tokens_prepared += tokens as u64;
        });
    }

    /// Subtracts tokens that were counted but need not be embedded after all.
    pub fn not_needed(&self, tokens: usize) {
        self.update(|progress| {
            progress.tokens_prepared = progress.tokens_prepared.saturating_sub(tokens as u64);
        });
    }

    /// Adds tokens that were embedded.
    pub fn embedded(&self, tokens: usize) {
        self.update(|progress| {
            progress.embedding_since.get_or_insert_with(Instant::now);
            progress.tokens_embedded += tokens as u64;
        });
        self.show();
    }

    /// Adds documents that now have all their vectors.
    pub fn documents_done(&self, count: usize) {
        self.update(|progress| progress.documents_done += count as u64);
    }

    /// Removes the bar, and writes no more lines of progress until the next phase begins.
    pub fn finish(&self) {
        self.update(|progress| progress.phase = None);
        self.bar.finish_and_clear();
    }

    fn update(&self, change: impl FnOnce(&mut RunProgress)) {
        change(&mut lock(&self.run.progress));
    }

    /// Starts to show progress at fixed intervals: draws the bar, or writes lines to a log.
    fn start(&self) {
        if !self.bar.is_hidden() {
            self.bar.enable_steady_tick(DRAW_EVERY);
        } else if !self.quiet {
            let (run, format) = (Arc::downgrade(&self.run), self.format);
            thread::spawn(move || write_lines(&run, format));
        }
    }

    /// Moves the bar to the share of embedded tokens. Shows a spinner while the share is unknown.
    fn show(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let progress = self.run.progress();
        match (progress.fraction(), self.bar.length()) {
            (Some(_), None) => self.bar.set_style(self.run.style(BAR)),
            (None, Some(_)) => {
                self.bar.set_style(self.run.style(SPINNER));
                self.bar.unset_length();
            }
            _ => {}
        }
        if progress.fraction().is_some() {
            self.bar.set_length(progress.tokens_embedded + progress.tokens_left().unwrap_or(0));
            self.bar.set_position(progress.tokens_embedded);
        }
    }

    fn print(&self, level: Level, message: &str, details: Value) {
        self.bar.suspend(|| eprint_line(self.format, level, message, details));
    }
}

/// Writes lines of progress to a log until the reporter is dropped.
fn write_lines(run: &Weak<ShownRun>, format: LogFormat) {
    loop {
        thread::sleep(LINE_EVERY);
        let Some(run) = run.upgrade() else { return };
        let progress = run.progress();
        if progress.phase.is_some() {
            let words = progress.in_words(run.started.elapsed()).all();
            eprint_line(format, Level::Info, &words, progress.details());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_well_formed() {
        assert!([BAR, SPINNER].iter().all(|template| ProgressStyle::with_template(template).is_ok()));
    }
}
