//! What every subcommand has to do with its process: exit codes, signals, standard output.

use std::io;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::console::{Level, LogFormat, eprint_line};
use crate::error::Usage;
use crate::interrupt::{self, Interrupted};
use crate::storage::lock::LockError;

/// The program and its version.
pub const TOOL: &str = concat!("qwen3-index ", env!("CARGO_PKG_VERSION"));

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Done = 0,
    /// Failed; the old output is untouched.
    Failed = 1,
    /// The call is wrong.
    Usage = 2,
    /// Done, but some documents failed.
    Partial = 3,
    /// Another run has this output.
    Held = 4,
    /// By Ctrl-C (SIGINT).
    Interrupted = 130,
    /// By SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The code for an error that ended the run.
    pub fn of(error: &anyhow::Error) -> Self {
        if error.is::<Usage>() {
            Exit::Usage
        } else if matches!(error.downcast_ref(), Some(LockError::Held(_))) {
            Exit::Held
        } else if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
            if interrupted.is_terminated() { Exit::Terminated } else { Exit::Interrupted }
        } else {
            Exit::Failed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// From now on, a signal ends the run where it looks for one, so that it can clean up.
pub fn listen(format: LogFormat) -> anyhow::Result<()> {
    let tell = move |interrupted: Interrupted| {
        eprint_line(format, Level::Error, &interrupted.to_string(), Value::Null);
    };
    interrupt::listen(tell).context("signals cannot be listened to")
}

/// Whoever read standard output has seen enough, as `head` does.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct NobodyReads;

/// What became of writing to standard output.
pub fn printed<T>(result: io::Result<T>) -> anyhow::Result<T> {
    result.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => NobodyReads.into(),
        _ => anyhow!("standard output: cannot be written: {e}"),
    })
}
