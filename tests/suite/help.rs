//! The help of every subcommand, pinned: a change of its wording is a reviewed diff.
//!
//! `INSTA_UPDATE=always cargo test --release --locked --test suite help` writes the snapshots anew.

use std::process::Command;

use clap::CommandFactory;
use qwen3_index::cli::Cli;

/// Returns the names of a command and of all commands below it that help shows, each after those of its parents.
fn names(command: &clap::Command, parents: &[String]) -> Vec<Vec<String>> {
    let mut names = vec![parents.to_vec()];
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        names.extend(self::names(command, &[parents, &[command.get_name().to_owned()]].concat()));
    }
    names
}

/// Returns what the binary prints where output is as wide as that.
fn help(arguments: &[String], columns: usize) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwen3-index"));
    command.args(arguments).env("COLUMNS", columns.to_string()).env_remove("QWEN3_INDEX_MODEL");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    format!("$ qwen3-index {}    # {columns} columns\n{text}", arguments.join(" "))
}

fn pin(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    for name in names(&Cli::command(), &[]) {
        let help = |flag: &str, columns| help(&[name.clone(), vec![flag.to_owned()]].concat(), columns);
        let mut text = help("-h", 100);
        if ["build", "search"].contains(&name.join(" ").as_str()) {
            text += &format!("\n{}", help("-h", 60));
        }
        text += &format!("\n{}", help("--help", 100));
        pin(&["help", &name.join("-")].join("-").trim_end_matches('-').to_owned(), &text);
    }
}
