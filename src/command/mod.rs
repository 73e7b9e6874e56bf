//! Runs the subcommands: turns the arguments into settings and calls the layers below. Each subcommand has its own file or
//! folder.

mod advice;
mod build;
mod doctor;
mod embed;
mod eval;
mod inspect;
mod lines;
mod merge;
mod model;
mod pack;
mod push;
mod process;
mod read;
mod search;
mod setup;
mod terminal;

use std::io::{self, Write};

use anyhow::{Context, anyhow};

use crate::cli::{Cli, Command};
use crate::interrupt;
use crate::source;
use process::{NobodyReads, printed};

pub use advice::explained_run;
pub use process::Exit;

/// Runs the subcommand.
///
/// # Errors
/// The error that ended the run. [`explained_run`] makes its message: one line with file, cause and what to do.
pub fn run(cli: Cli) -> anyhow::Result<Exit> {
    interrupt::survive_file_size_limit().context("signals cannot be handled")?;
    let result = match cli.command {
        Command::Build(arguments) => build::run(&arguments, cli.log_format),
        Command::Merge(arguments) => merge::run(&arguments, cli.log_format),
        Command::Read(arguments) => read::run(&arguments, cli.log_format),
        Command::Pack(arguments) => pack::run(&arguments, cli.log_format),
        Command::Push(command) => push::run(&command, cli.log_format),
        Command::Search(arguments) => search::run(&arguments, cli.log_format),
        Command::Embed(arguments) => embed::run(*arguments, cli.log_format),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments, cli.log_format),
        Command::Doctor(arguments) => doctor::run(&arguments, cli.log_format),
        Command::Model(command) => model::run(command, cli.log_format),
        Command::Completions { shell } => {
            printed(io::stdout().write_all(&Cli::completions(shell))).map(|()| Exit::Done)
        }
        Command::Man { folder } => Cli::write_man_pages(&folder)
            .map(|()| Exit::Done)
            .map_err(|e| anyhow!("{}: man pages cannot be written: {e}", folder.display())),
        Command::Worker { assignment } => Ok(source::serve(&assignment).map(|()| Exit::Done)?),
    };
    match result {
        Err(error) if error.is::<NobodyReads>() => Ok(Exit::Done),
        result => result,
    }
}
