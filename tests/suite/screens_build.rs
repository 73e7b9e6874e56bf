//! What a person sees while `build` runs, in terminals of several widths.

use std::os::unix::fs::symlink;

use regex::{Captures, Regex};

use crate::screen::{Screen, screen};
use crate::util::{Playground, after, jsonl, repository};

const WIDTHS: [u16; 3] = [60, 80, 200];

const BUILD: [&str; 8] = ["build", "docs", "-o", "out.parquet", "--model", "model", "--threads", "2"];

/// Characters of a bar and of a spinner.
const BAR: &str = "━╸⠁⠉⠙⠚⠒⠂⠲⠴⠤⠄⠠⠦⠖⠐⠓⠋⠈";

/// Replaces the digits of speeds, sizes and times, which differ between runs, so that lines stay as wrapped as they are.
fn masked(screen: &str) -> String {
    let numbers =
        [r"[\d,]+ tokens/s", r"\d+ seconds? at", r"\d\n?\.\n?\d\n?\d\n? \n?k\n?B", r"\d\n?\.\n?\d\n? \n?s"];
    let digits = Regex::new(r"[\d,]+").unwrap();
    let hide = |found: &Captures| digits.replace_all(&found[0], "#").into_owned();
    numbers.iter().fold(screen.to_owned(), |screen, number| {
        Regex::new(number).unwrap().replace_all(&screen, hide).into()
    })
}

/// Returns what is left on the screen in terminals of several widths, each in a folder as `prepared` makes it.
fn screens(prepared: impl Fn() -> Playground, more: &[&str], code: i32) -> String {
    let of_width = |columns| {
        let playground = prepared();
        let screen = screen(&mut playground.command(&[&BUILD[..], more].concat()), columns);
        assert_eq!(screen.code, Some(code), "{}", screen.last());
        has_one_line_of_progress(&screen);
        format!("{columns} columns:\n{}", masked(screen.last()))
    };
    WIDTHS.map(of_width).join("\n")
}

/// Checks that no frame has a bar or a spinner over more than one line, and that nothing stands below it.
#[track_caller]
fn has_one_line_of_progress(screen: &Screen) {
    for frame in &screen.frames {
        let lines: Vec<&str> = frame.trim_end().lines().collect();
        let is_bar = |line: &&str| line.starts_with(|c| BAR.contains(c));
        let bars = lines.iter().filter(|line| is_bar(line)).count();
        assert!(bars <= 1, "a bar of several lines:\n{frame}");
        assert!(bars == 0 || lines.last().is_some_and(is_bar), "words below the bar:\n{frame}");
    }
}

/// A folder with the tiny model under a short name.
fn playground() -> Playground {
    let playground = Playground::new();
    symlink(repository("fixtures/qwen3-tiny"), playground.path("model")).unwrap();
    playground
}

fn three_documents() -> Playground {
    let playground = playground();
    for (name, text) in [("a", "The first text."), ("b", "The second text."), ("c", "The first text.")] {
        playground.write(&format!("docs/{name}.txt"), text);
    }
    playground
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_first_build() {
    insta::assert_snapshot!(screens(three_documents, &[], 0));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_second_build_with_nothing_changed() {
    let prepared = || {
        let playground = three_documents();
        playground.run(&BUILD).expect(0);
        playground
    };
    insta::assert_snapshot!(screens(prepared, &[], 0));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_build_with_a_failed_document_and_a_warning() {
    let prepared = || three_documents().with("docs/d.txt", b"\x00\xff");
    insta::assert_snapshot!(screens(prepared, &["--keep", "author"], 3));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_dry_run() {
    insta::assert_snapshot!(screens(three_documents, &["--dry-run"], 0));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn progress_takes_one_line_in_narrow_terminals() {
    let playground = playground();
    let texts: Vec<String> = (0..4000).map(|n| format!("{n} {}", "and so on ".repeat(1 + n % 30))).collect();
    playground.write("docs/in.jsonl", jsonl(texts.iter().map(String::as_str)));
    for columns in [40, 60, 80] {
        let build = [&BUILD[..], &["--rebuild"]].concat();
        let screen = screen(&mut playground.command(&build), columns);
        assert_eq!(screen.code, Some(0), "{}", screen.last());
        has_one_line_of_progress(&screen);
        let shows = |words: &str| screen.frames.iter().any(|frame| frame.contains(words));
        assert!(shows("━") && shows("%  "), "no bar in {} frames", screen.frames.len());
        assert!(columns < 60 || shows(" documents, "), "no documents in {} frames", screen.frames.len());
        assert!(!screen.last().contains('%'), "the bar is left:\n{}", screen.last());
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn colours_are_for_terminals() {
    let playground = three_documents().with("docs/d.txt", b"\x00\xff");
    let ran = playground.run(&BUILD).expect(3);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.story);
    let terminal = screen(&mut playground.command(&BUILD), 80);
    assert!(terminal.written.contains("\u{1b}[31mfailed:\u{1b}[0m"), "{}", terminal.written);
    let without = screen(&mut after("export NO_COLOR=1", &playground.command(&BUILD)), 80);
    assert!(!without.written.contains("\u{1b}[31m"), "{}", without.written);
}
