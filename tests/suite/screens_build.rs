//! What a person sees while `build` runs, in terminals of several widths.

use regex::Regex;

use crate::screen::{Screen, screen};
use crate::util::{Playground, after, jsonl};

const WIDTHS: [u16; 3] = [60, 80, 200];

const BUILD: [&str; 4] = ["build", "docs", "-o", "out.parquet"];

/// Characters of a bar and of a spinner.
const BAR: &str = "━╸⠁⠉⠙⠚⠒⠂⠲⠴⠤⠄⠠⠦⠖⠐⠓⠋⠈";

/// Replaces what differs between runs: times, speeds, sizes and the path of the model. Long lines stay as wrapped as they are.
fn masked(screen: &str) -> String {
    let masks = [
        (r"[\d,]+\s+tokens/s", "SPEED tokens/s"),
        (r"took (\d+ d \d+ h|\d+ h \d+ min|\d+ min \d+ s|[\d.]+ s)", "took TIME"),
        (r"\d+ (second|minute)s? at", "TIME at"),
        (r"[\d.]+ [kM]?B in", "SIZE in"),
        (r"\d+ threads?", "N threads"),
        (r"(?s)model /.*?/model\.onnx", "model PATH/model.onnx"),
    ];
    masks.iter().fold(screen.to_owned(), |screen, (pattern, mask)| {
        Regex::new(pattern).unwrap().replace_all(&screen, *mask).into_owned()
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

fn three_documents() -> Playground {
    let playground = Playground::new();
    for (name, text) in [("a", "The first text."), ("b", "The second text."), ("c", "The first text.")] {
        playground.write(&format!("docs/{name}.txt"), text);
    }
    playground
}

#[test]
fn a_first_build() {
    insta::assert_snapshot!(screens(three_documents, &[], 0));
}

#[test]
fn a_second_build_with_nothing_changed() {
    let prepared = || {
        let playground = three_documents();
        playground.run(&BUILD).expect(0);
        playground
    };
    insta::assert_snapshot!(screens(prepared, &[], 0));
}

#[test]
fn a_build_with_a_failed_document_and_a_warning() {
    let prepared = || three_documents().with("docs/d.txt", b"\x00\xff");
    insta::assert_snapshot!(screens(prepared, &["--keep", "author"], 3));
}

#[test]
fn a_dry_run() {
    insta::assert_snapshot!(screens(three_documents, &["--dry-run"], 0));
}

#[test]
fn progress_takes_one_line_in_narrow_terminals() {
    let playground = Playground::new();
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
fn colours_are_for_terminals() {
    let playground = three_documents().with("docs/d.txt", b"\x00\xff");
    let ran = playground.run(&BUILD).expect(3);
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.story);
    let terminal = screen(&mut playground.command(&BUILD), 80);
    assert!(terminal.written.contains("\u{1b}[31mfailed:\u{1b}[0m"), "{}", terminal.written);
    let without = screen(&mut after("export NO_COLOR=1", &playground.command(&BUILD)), 80);
    assert!(!without.written.contains("\u{1b}[31m"), "{}", without.written);
}
