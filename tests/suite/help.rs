//! Help, usage errors and `docs/cli.md`: all wording is pinned, so that a change of it is a reviewed diff.
//!
//! `INSTA_UPDATE=always UPDATE_DOCS=1 cargo test --test suite -- help --include-ignored` renews the snapshots and the page.

use std::collections::HashSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::process::{Command, Output};

use clap::{Arg, CommandFactory};
use qwen3_index::cli::Cli;
use regex::Regex;

use serde_json::{Value, json};

use crate::util::{Playground, repository};

/// Lines of a screen that the short help of every command fits on, and its columns.
const SCREEN: (usize, usize) = (50, 80);

/// Columns of `docs/cli.md`.
const PAGE: usize = 120;

/// Returns every command that help shows, each after its parents.
fn commands() -> Vec<clap::Command> {
    fn add(command: &clap::Command, all: &mut Vec<clap::Command>) {
        all.push(command.clone());
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        shown.filter(|command| command.get_name() != "help").for_each(|command| add(command, all));
    }
    let mut program = Cli::command();
    // Names of subcommands and global options are there only afterwards.
    program.build();
    let mut all = Vec::new();
    add(&program, &mut all);
    all
}

/// Returns the name of a command as it is typed, such as `qwen3-index model pull`.
fn name(command: &clap::Command) -> &str {
    command.get_bin_name().unwrap_or("qwen3-index")
}

fn run(line: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qwen3-index"));
    command.args(line.split(' ').skip(1)).env_remove("QWEN3_INDEX_MODEL").env_remove("NO_COLOR");
    command.envs(variables.iter().copied()).output().unwrap()
}

fn help(line: &str, columns: usize) -> String {
    let output = run(line, &[("COLUMNS", &columns.to_string())]);
    assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    for command in commands() {
        let name = name(&command);
        let is_busy = ["build", "search"].contains(&command.get_name());
        let more: &[_] = if is_busy { &[("-h", 60)] } else { &[] };
        let mut pinned = String::new();
        for (flag, columns) in [&[("-h", 100)], more, &[("--help", 100)]].concat() {
            let line = format!("{name} {flag}");
            write!(pinned, "$ {line}    # {columns} columns\n{}\n", help(&line, columns)).unwrap();
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let file = name.replace("qwen3-index", "help").replace(' ', "-");
        settings.bind(|| insta::assert_snapshot!(file, pinned));
    }
}

#[test]
fn the_short_help_of_every_command_fits_on_a_screen() {
    let (lines_max, columns) = SCREEN;
    for command in commands() {
        let help = help(&format!("{} -h", name(&command)), columns);
        let lines = help.lines().count();
        assert!(lines <= lines_max, "{}: {lines} lines of short help", name(&command));
        assert!(help.lines().all(|line| line.chars().count() <= columns), "{help}");
    }
}

#[test]
fn help_and_usage_errors_have_colours_only_where_they_are_shown() {
    for line in ["qwen3-index build -h", "qwen3-index build --nope"] {
        let is_coloured = |variables: &[(&str, &str)]| {
            let Output { stdout, stderr, .. } = run(line, variables);
            [stdout, stderr].concat().contains(&0x1b)
        };
        assert!(!is_coloured(&[]), "{line}");
        assert!(is_coloured(&[("CLICOLOR_FORCE", "1")]), "{line}");
        assert!(!is_coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "{line}");
    }
    // The option overrules the variables, wherever it stands.
    for line in [
        "qwen3-index --color=WHEN build -h",
        "qwen3-index build -h --color WHEN",
        "qwen3-index build --nope --color=WHEN",
        "qwen3-index build nowhere -o out.parquet --color WHEN",
        "qwen3-index build --nope --colour WHEN",
    ] {
        for (when, variable) in [("always", "NO_COLOR"), ("never", "CLICOLOR_FORCE")] {
            let Output { stdout, stderr, .. } = run(&line.replace("WHEN", when), &[(variable, "1")]);
            assert_eq!([stdout, stderr].concat().contains(&0x1b), when == "always", "{line}: {when}");
        }
    }
}

#[test]
fn words_of_other_programs_are_understood_but_not_shown() {
    for line in [
        "qwen3-index index docs -o out.parquet --dimensions 256 --text-column body --id-column key",
        "qwen3-index build docs -o out.parquet --truncate-dim 256 --chunks --chunk-overlap 20",
        "qwen3-index build docs -o out.parquet --model-name model --local-files-only",
        "qwen3-index query vectors.parquet question --top-k 3",
        "qwen3-index search vectors.parquet question --n-results 3",
        "qwen3-index encode text --dims 256",
        "qwen3-index eval retrieval my-test --truncate-dim 256",
    ] {
        let parsed = Cli::command().try_get_matches_from(line.split(' '));
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
    let shown = page();
    for word in ["--dimensions", "--truncate-dim", "--top-k", "--n-results", "`qwen3-index index`"] {
        assert!(!shown.contains(word), "{word}");
    }
}

#[test]
fn a_typo_is_answered_with_what_to_type() {
    for (line, wrong, tip) in [
        ("qwen3-index ask vectors.parquet question", "ask", "use 'search' to ask"),
        ("qwen3-index update docs -o vectors.parquet", "update", "use 'build' to make an index"),
        ("qwen3-index serch vectors.parquet question", "serch", "subcommand exists: 'search'"),
        ("qwen3-index build docs -o out.parquet --chunk-size 512", "--chunk-size", "use '--max-tokens'"),
        ("qwen3-index embed --chunk-size 512 text", "--chunk-size", "use '--max-tokens'"),
        ("qwen3-index build docs --out out.parquet", "--out", "argument exists: '--output'"),
        ("qwen3-index build docs -o out.parquet --batch-size 3", "--batch-size", "use '--batch-tokens'"),
        ("qwen3-index embed text --prompt query", "--prompt", "use '--instruction'"),
    ] {
        let output = run(line, &[]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {stderr}");
        assert!(stderr.starts_with("qwen3-index: error: "), "{line}: {stderr}");
        assert!(stderr.lines().next().unwrap().contains(&format!("'{wrong}'")), "{line}: {stderr}");
        assert_eq!(stderr.matches("tip: ").count(), 1, "{line}: {stderr}");
        assert!(stderr.lines().any(|line| line.contains("tip: ") && line.contains(tip)), "{line}: {stderr}");
    }
}

#[test]
fn the_page_of_all_options_is_that_of_the_program() {
    let (path, page) = (repository("docs/cli.md"), page());
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(page.lines()).find(|(committed, made)| committed != made);
    assert!(
        committed == page,
        "docs/cli.md is not that of the program: run this test with UPDATE_DOCS=1; the first difference: {differs:?}"
    );
}

/// Returns `docs/cli.md`.
fn page() -> String {
    let commands = commands();
    let mut page = "# Commands and options\n\n".to_owned();
    page += &wrapped(
        "This page is made from the program by a test. `-h` prints the short help of a command, and `--help` \
         prints what stands here. A command without exit codes of its own ends with 0 (done), 1 (failed) or 2 \
         (wrong usage).",
        "",
    );
    page += "\n| command | |\n| --- | --- |\n";
    for command in &commands[1..] {
        let link = name(command).replace(' ', "-");
        let about = command.get_about().unwrap();
        writeln!(page, "| [`{}`](#{link}) | {about} |", name(command)).unwrap();
    }
    for command in &commands {
        section(&mut page, command);
    }
    page
}

/// Writes the section of a command: description, usage, options in groups, and what help ends with.
fn section(page: &mut String, command: &clap::Command) {
    write!(page, "\n## `{}`\n\n", name(command)).unwrap();
    page.push_str(&wrapped(&paragraphs(command.get_about(), command.get_long_about()), ""));
    let usage = command.clone().render_usage().to_string();
    write!(page, "\n```\n{}\n```\n", usage.trim_start_matches("Usage: ")).unwrap();
    // Global options stand in the section of the program only.
    let is_program = name(command) == "qwen3-index";
    let is_shown = |arg: &&Arg| !arg.is_hide_set() && (is_program || !arg.is_global_set());
    let mut headings: Vec<&str> = command.get_arguments().filter(is_shown).map(heading).collect();
    let mut seen = HashSet::new();
    headings.retain(|heading| seen.insert(*heading));
    for heading in headings {
        write!(page, "\n**{heading}**{}\n\n", if is_program { ", for every command" } else { "" }).unwrap();
        for arg in command.get_arguments().filter(is_shown).filter(|arg| self::heading(arg) == heading) {
            page.push_str(&wrapped(&entry(arg), "  "));
        }
    }
    let end = command.get_after_long_help().or(command.get_after_help());
    for block in end.map(ToString::to_string).unwrap_or_default().split("\n\n") {
        if let Some((title, lines)) = block.split_once(":\n") {
            let lines: Vec<&str> =
                lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
            write!(page, "\n**{title}**\n\n").unwrap();
            match title {
                "Exit codes" => page.push_str(&exit_codes(&lines)),
                _ => write!(page, "```sh\n{}\n```\n", lines.join("\n")).unwrap(),
            }
        }
    }
}

fn heading(arg: &Arg) -> &str {
    arg.get_help_heading().unwrap_or("Arguments")
}

fn exit_codes(lines: &[&str]) -> String {
    let rows = lines.iter().map(|line| {
        let (code, meaning) = line.split_once(' ').unwrap();
        format!("| {code} | {} |\n", meaning.trim())
    });
    format!("| code | meaning |\n| --- | --- |\n{}", rows.collect::<String>())
}

/// Returns the item of an argument: how it is typed, what it does, its values, default and environment variable.
fn entry(arg: &Arg) -> String {
    let typed = match (arg.get_short(), arg.get_long()) {
        (Some(short), Some(_)) => format!("-{short}, {arg}"),
        _ => arg.to_string(),
    };
    let help = paragraphs(arg.get_help(), arg.get_long_help()).replace("\n\n", " ");
    // A default in words is a part of the help.
    let words = Regex::new(r" \[default: ([^\]]*)\]").unwrap();
    let default = words.captures(&help).map(|found| found[1].to_owned());
    let help = words.replace(&help, "");
    let mut entry = format!("- `{typed}`: {help}");
    let takes_value = arg.get_action().takes_values();
    let values = arg.get_possible_values();
    if takes_value && !values.is_empty() && !arg.is_hide_possible_values_set() {
        let values: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
        write!(entry, " Values: {}.", values.join(", ")).unwrap();
    }
    if let Some(default) = default {
        write!(entry, " Default: {default}.").unwrap();
    }
    if takes_value && !arg.get_default_values().is_empty() {
        let values: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        write!(entry, " Default: `{}`.", values.join(",")).unwrap();
    }
    if let Some(variable) = arg.get_env() {
        write!(entry, " Environment variable: `{}`.", variable.to_string_lossy()).unwrap();
    }
    if arg.is_required_set() {
        entry += " Required.";
    }
    entry
}

/// Returns the long text, or else the short one, with a full stop after each paragraph.
fn paragraphs(short: Option<&clap::builder::StyledStr>, long: Option<&clap::builder::StyledStr>) -> String {
    let text = long.or(short).map(ToString::to_string).unwrap_or_default();
    let ended = text.split("\n\n").map(|text| format!("{}.", text.trim_end_matches('.')));
    ended.collect::<Vec<_>>().join("\n\n")
}

/// Returns paragraphs in lines of at most `PAGE` columns, all but the first of each with an indent.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    for (at, paragraph) in text.split("\n\n").enumerate() {
        if at > 0 {
            lines.push('\n');
        }
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > PAGE {
                writeln!(lines, "{line}").unwrap();
                line = indent.to_owned() + word;
            } else {
                line += if line.is_empty() { "" } else { " " };
                line += word;
            }
        }
        writeln!(lines, "{line}").unwrap();
    }
    lines
}

/// clap counts an option that a variable sets as part of the command line.
#[test]
fn the_usage_in_an_error_names_no_option_that_only_a_variable_sets() {
    let ran = Playground::new().run(&["build", "docs"]).expect(2);
    ran.says("Usage: qwen3-index build --output <OUT.parquet> <INPUT>...");
    assert!(!ran.stderr.contains("--model"), "{}", ran.story);
}

#[test]
fn wrong_usage_is_one_line_of_json_if_the_log_is_json() {
    for format in [&["--log-format", "json"][..], &["--log-format=json"]] {
        let ran =
            Playground::new().run(&[format, &["build", "docs", "--chunk-size", "7"]].concat()).expect(2);
        let line: Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!((&line["level"], &line["exit_code"]), (&json!("error"), &json!(2)), "{}", ran.story);
        let message = line["message"].as_str().unwrap();
        assert!(
            message.starts_with("unexpected argument '--chunk-size' found; tip: use '--max-tokens'"),
            "{message}"
        );
    }
    // After `--`, a word is no option.
    let ran = Playground::new().run(&["build", "docs", "--", "--log-format", "json"]).expect(2);
    assert!(ran.stderr.starts_with("qwen3-index: error: "), "{}", ran.story);
    // Help is for people.
    let help = Playground::new().run(&["--log-format", "json", "build", "--help"]).expect(0);
    assert!(help.stdout.contains("Usage: "), "{}", help.story);
}
