//! The `qwen3-index` program: parses the arguments, runs the subcommand and returns the exit code.

use std::env;
use std::process::ExitCode;

use qwen3_index::cli::Cli;
use qwen3_index::command::{self, Exit, explained_run};
use qwen3_index::console::{Level, eprint_line};

fn main() -> ExitCode {
    refuse_telemetry();
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
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

/// Keeps ONNX Runtime from storing and sending events. Since 1.31 its library for Linux has a client of Microsoft's telemetry,
/// which stores an event in the user's cache as soon as an environment is made. So turning telemetry off in this environment is
/// too late, and only this variable prevents it.
#[allow(unsafe_code)]
fn refuse_telemetry() {
    // SAFETY: `main` calls this function first, so no other thread can read the environment at the same time.
    unsafe { env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}
