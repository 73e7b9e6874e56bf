//! Exit codes, signals and standard output, for all subcommands.

use std::io::{self, IsTerminal, Stdout};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::console::{Level, LogFormat, eprint_line};
use crate::error::Usage;
use crate::interrupt::{self, Interrupted};
use crate::storage::lock::LockError;

/// The name and the version of this program.
pub const TOOL: &str = concat!("qwen3-index ", env!("CARGO_PKG_VERSION"));

/// The exit code of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The run was completed without failures.
    Done = 0,
    /// The run failed and the old output is untouched, or a check of `doctor` or `inspect --verify` found a problem.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The run was completed, but some documents failed, the old output was damaged, or the disk failed after the new output was
    /// put in place.
    Partial = 3,
    /// Another run holds the lock on the output.
    Held = 4,
    /// SIGINT (Ctrl-C) stopped the run.
    Interrupted = 130,
    /// SIGTERM stopped the run.
    Terminated = 143,
}

impl Exit {
    /// Returns the exit code for the error that ended a run.
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

/// Makes SIGINT and SIGTERM end the run at the next check, so that the run can clean up. `consequence` says what an interrupted run
/// leaves and what to do.
pub fn listen(format: LogFormat, consequence: &'static str) -> anyhow::Result<()> {
    let tell = move |interrupted: Interrupted| {
        eprint_line(format, Level::Error, &interrupted.to_string(), Value::Null);
    };
    interrupt::listen(consequence, tell).context("signals cannot be handled")
}

/// Returns standard output for binary data.
///
/// # Errors
/// Standard output is a terminal, which binary data could control.
pub fn binary_output() -> Result<Stdout, Usage> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        let why = "standard output: is a terminal, but the output is binary; add a pipe or `> FILE`";
        return Err(Usage(why.to_owned()));
    }
    Ok(stdout)
}

/// The error of a closed pipe: the program that read standard output, such as `head`, has ended.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub struct NobodyReads;

/// Turns the error of a closed pipe into [`NobodyReads`], and any other error of standard output into an error with a message
/// for people.
pub fn printed<T>(result: io::Result<T>) -> anyhow::Result<T> {
    result.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => NobodyReads.into(),
        _ => anyhow!("standard output: cannot be written: {e}"),
    })
}
