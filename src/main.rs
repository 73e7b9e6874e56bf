//! The `qwen3-index` program: parses the arguments, runs the subcommand and returns the exit code.

use std::process::ExitCode;

use qwen3_index::cli::Cli;
use qwen3_index::command::{self, Exit, explained_run};
use qwen3_index::console::{Level, eprint_line};

fn main() -> ExitCode {
    let cli = Cli::from_command_line();
    let format = cli.log_format;
    match command::run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            let exit = Exit::of(&error);
            let details = serde_json::json!({"exit_code": exit as u8});
            eprint_line(format, Level::Error, &explained_run(&error), details);
            exit.into()
        }
    }
}
