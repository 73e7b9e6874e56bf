//! One file a subcommand: arguments as typed -> settings as usable -> the call.

mod build;
mod doctor;
mod embed;
mod eval;
mod hub;
mod inspect;
mod merge;
mod model;
mod output;
mod pack;
mod read;
mod reading;
mod search;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::cli::{Cli, Command};
use crate::error::Usage;
use crate::interrupt::{self, Interrupted};
use crate::lock::LockError;
use crate::report::{Level, LogFormat, eprint_line};
use crate::source;

/// The program and its version.
const TOOL: &str = concat!("qwen3-index ", env!("CARGO_PKG_VERSION"));

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

/// Does what the arguments say.
///
/// # Errors
/// Whatever ended the run, in one line: file, cause, what to do.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    let result = match cli.command {
        Command::Build(arguments) => build::run(*arguments, cli.log_format),
        Command::Merge(arguments) => merge::run(&arguments, cli.log_format),
        Command::Read(arguments) => read::run(&arguments, cli.log_format),
        Command::Pack(arguments) => pack::run(&arguments, cli.log_format),
        Command::Search(arguments) => search::run(&arguments, cli.log_format),
        Command::Embed(arguments) => embed::run(*arguments, cli.log_format),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments, cli.log_format),
        Command::Doctor(arguments) => doctor::run(&arguments, cli.log_format),
        Command::Model(command) => hub::run(command, cli.log_format),
        Command::Completions { shell } => {
            printed(io::stdout().write_all(&Cli::completions(shell))).map(|()| Exit::Done)
        }
        Command::Man { folder } => Cli::write_man_pages(&folder)
            .map(|()| Exit::Done)
            .map_err(|e| anyhow!("{}: man pages cannot be written: {e}", folder.display())),
        Command::Worker => Ok(source::serve().map(|()| Exit::Done)?),
    };
    match result {
        Err(error) if error.is::<NobodyReads>() => Ok(Exit::Done),
        result => result,
    }
}

/// From now on, a signal ends the run where it looks for one, so that it can clean up.
fn listen(format: LogFormat) -> anyhow::Result<()> {
    let tell = move |interrupted: Interrupted| {
        eprint_line(format, Level::Error, &interrupted.to_string(), Value::Null);
    };
    interrupt::listen(tell).context("signals cannot be listened to")
}

/// Whoever read standard output has seen enough, as `head` does.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
struct NobodyReads;

/// What became of writing to standard output.
fn printed<T>(result: io::Result<T>) -> anyhow::Result<T> {
    result.map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => NobodyReads.into(),
        _ => anyhow!("standard output: cannot be written: {e}"),
    })
}
