//! The `qwen3-index` program: parse, run, exit code.

use std::process::ExitCode;

use qwen3_index::cli::{Cli, Parser};
use qwen3_index::command::{self, Exit};
use qwen3_index::report::eprint_line;

fn main() -> ExitCode {
    match command::run(Cli::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprint_line(&format!("error: {error:#}"));
            Exit::of(&error).into()
        }
    }
}
