//! The process of every subcommand: exit codes, signals, standard output.

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
    /// Everything was done.
    Done = 0,
    /// The run has failed, and the old output is untouched.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The run was completed, but some documents failed.
    Partial = 3,
    /// Another run holds the output.
    Held = 4,
    /// Stopped by SIGINT (Ctrl-C).
    Interrupted = 130,
    /// Stopped by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Returns the code for an error that ended the run.
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

/// Makes SIGINT and SIGTERM end the run at the next check, so that it can clean up.
pub fn listen(format: LogFormat) -> anyhow::Result<()> {
    let tell = move |interrupted: Interrupted| {
        eprint_line(format, Level::Error, &interrupted.to_string(), Value::Null);
    };
    interrupt::listen(tell).context("cannot listen to signals")
}

/// The reader of standard output has closed it, as `head` does.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct NobodyReads;

/// Turns an error of writing to standard output into one for people.
pub fn printed<T>(result: io::Result<T>) -> anyhow::Result<T> {
    result.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => NobodyReads.into(),
        _ => anyhow!("standard output: cannot be written: {e}"),
    })
}
