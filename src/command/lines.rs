//! The lines of standard input, as soon as they are there.

use std::io::{self, BufRead};
use std::thread;

use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};

/// Lines that a thread reads ahead.
pub struct InputLines {
    lines: Receiver<io::Result<String>>,
    /// Most lines that are taken together.
    together_max: usize,
    /// An error that is returned after the lines before it.
    failed: Option<io::Error>,
}

impl InputLines {
    /// Starts to read.
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

    /// Waits for one line, and takes the lines behind it that have already been read. Returns `None` at the end.
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
