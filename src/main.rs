//! The `qwen3-index` program: parse, run, exit code.

use std::process::ExitCode;

use qwen3_index::cli::{Cli, Parser};
use qwen3_index::command::{self, Exit};
use qwen3_index::console::{Level, eprint_line};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.log_format;
    match command::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of(&error);
            let details = serde_json::json!({"exit_code": exit as u8});
            eprint_line(format, Level::Error, &format!("{error:#}"), details);
            exit.into()
        }
    }
}
