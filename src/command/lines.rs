//! Reads the lines of standard input and passes each line on as soon as it arrives.

use std::io::{self, BufRead};
use std::thread;

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};

/// The lines of standard input. A thread reads the lines ahead of time.
pub struct InputLines {
    lines: Receiver<io::Result<String>>,
    /// The most lines that one call of [`InputLines::take`] returns.
    together_max: usize,
    /// The read error that the next call of [`InputLines::take`] has to return.
    failed: Option<io::Error>,
}

impl InputLines {
    /// Starts the thread that reads standard input.
    pub fn start(together_max: usize) -> Self {
        let (sender, lines) = bounded(2 * together_max);
        thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        InputLines { lines, together_max, failed: None }
    }

    /// Waits for one line. Returns this line, followed by all further lines that have already arrived. Returns `None` at the
    /// end of standard input.
    pub fn take(&mut self) -> anyhow::Result<Option<Vec<String>>> {
        let mut taken = Vec::new();
        let first = self.failed.take().map_or_else(|| self.lines.recv().ok(), |e| Some(Err(e)));
        for line in first.into_iter().chain(self.lines.try_iter()).take(self.together_max) {
            match line {
                Ok(line) => taken.push(line),
                Err(e) if taken.is_empty() => {
                    return Err(e)
                        .context("standard input: cannot be read as lines of UTF-8; convert it to UTF-8");
                }
                Err(e) => {
                    self.failed = Some(e);
                    break;
                }
            }
        }
        Ok((!taken.is_empty()).then_some(taken))
    }
}
