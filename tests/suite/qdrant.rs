//! `push qdrant` and docs/qdrant.md. This module prepares folders; `tests/python/qdrant.py` checks.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::util::{self, Playground, repository};

/// Enough rows for several requests.
const DOCUMENTS: usize = 600;

const KEEP: [&str; 6] = ["--keep", "author", "--keep", "year", "--keep", "grade"];
const CHUNKS: [&str; 3] = ["--chunks", "--max-tokens", "48"];

fn check(name: &str, arguments: &[&Path]) {
    let mut python = util::python("qdrant");
    python.arg(repository("tests/python/qdrant.py")).arg(env!("CARGO_BIN_EXE_qwen3-index"));
    python.arg(name).args(arguments);
    python.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
    let output = python.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    print!("{}", String::from_utf8_lossy(&output.stdout));
}

/// Returns words that depend only on the number.
fn words(number: usize, count: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "wy", "zu"];
    let mut state = number as u64 + 1;
    let mut syllable = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        SYLLABLES[(state >> 60) as usize]
    };
    let words: Vec<String> =
        (0..count).map(|_| format!("{}{}{}", syllable(), syllable(), syllable())).collect();
    words.join(" ")
}

fn lines(documents: impl IntoIterator<Item = Value>) -> String {
    documents.into_iter().map(|document| document.to_string() + "\n").collect()
}

fn document(number: usize, text: String, author: &str) -> Value {
    let mut document =
        json!({"id": format!("a/é {number}#1.md"), "text": text, "author": author, "year": 1900 + number});
    if number.is_multiple_of(2) {
        document["grade"] = json!(number as f64 / 11.0);
    }
    document
}

/// Makes a folder with `old.parquet`, `new.parquet`, and `delta.parquet`, the changes from one to the other.
fn a_night(more: &[&str], words_a_text: usize, documents: usize) -> Playground {
    let playground = Playground::new();
    let night =
        [&["build", "in.jsonl", "-o", "out.parquet", "--delta", "delta.parquet"], &KEEP[..], more].concat();
    let text = |number| format!("{}.", words(number, words_a_text / 2)).repeat(2);
    playground.write("in.jsonl", lines((0..documents).map(|number| document(number, text(number), "Ada"))));
    playground.run(&night).expect(0);
    fs::copy(playground.path("out.parquet"), playground.path("old.parquet")).unwrap();
    let is_there = |number: &usize| !number.is_multiple_of(10);
    let new = (0..documents + 100).filter(is_there).map(|number| match number % 3 {
        0 => document(number, text(number), "Ada"),
        1 => document(number, text(number), "Bob"),
        _ => document(number, text(number + documents), "Ada"),
    });
    playground.write("in.jsonl", lines(new));
    playground.run(&night).expect(0);
    fs::rename(playground.path("out.parquet"), playground.path("new.parquet")).unwrap();
    playground
}

fn a_night_of_documents() -> Playground {
    a_night(&[], 8, DOCUMENTS)
}

fn a_night_of_chunks() -> Playground {
    let playground = a_night(&CHUNKS, 24, DOCUMENTS / 2);
    let rows = util::ids_and_texts(&playground.path("new.parquet"));
    assert!(rows.iter().any(|(id, _)| id.ends_with(".md#1")));
    playground
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_loaded_collection_equals_the_file() {
    check("loads", &[&a_night_of_documents().path("")]);
    check("loads", &[&a_night_of_chunks().path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn chunks_of_an_old_release_say_their_place() {
    check("old_chunks", &[&repository("fixtures/indexes/0.1.0/chunks.parquet")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn rounded_vectors_are_loaded_and_follow_a_delta() {
    for kind in ["f16", "i8"] {
        let night = a_night(&["--vector-type", kind], 8, 100);
        check("loads", &[&night.path("")]);
        check("nights", &[&night.path("")]);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_applied_delta_equals_the_new_file() {
    check("nights", &[&a_night_of_documents().path("")]);
    check("nights", &[&a_night_of_chunks().path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_killed_load_resumes() {
    check("killed", &[&a_night_of_documents().path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn other_kept_columns_reach_the_collection() {
    let playground = Playground::new();
    let build = |field: &str| {
        let lines = lines(
            (0..20).map(|number| json!({"id": number.to_string(), "text": words(number, 4), field: number})),
        );
        playground.write("in.jsonl", lines);
        let keep = ["build", "in.jsonl", "-o", "out.parquet", "--delta", "delta.parquet", "--keep", field];
        playground.run(&keep).expect(0);
    };
    build("author");
    fs::copy(playground.path("out.parquet"), playground.path("old.parquet")).unwrap();
    build("writer");
    fs::rename(playground.path("out.parquet"), playground.path("new.parquet")).unwrap();
    check("other_columns", &[&playground.path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn two_loads_at_once_do_no_harm() {
    check("overlaps", &[&a_night(&[], 8, 100).path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn verify_finds_each_difference_from_the_file() {
    check("verifies", &[&a_night_of_documents().path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn wrong_files_and_collections_are_refused_in_one_line() {
    let playground = a_night_of_documents();
    let build = |name: &str, more: &[&str]| {
        playground.run(&[&["build", "in.jsonl", "-o", name], more].concat()).expect(0);
    };
    build("narrow.parquet", &["--dim", "32"]);
    build("instructed.parquet", &["--instruction", "Find it"]);
    build("chunks.parquet", &["--chunks"]);
    build("clash.parquet", &["--keep", "_digest"]);
    check("refuses", &[&playground.path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn temporary_faults_are_retried_and_others_are_not() {
    check("retries", &[&a_night_of_documents().path("")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn qdrant_duckdb_and_search_find_the_same_rows() {
    let playground = Playground::new();
    let document = |number: usize| json!({"id": number.to_string(), "text": words(number, 8)});
    playground.write("in.jsonl", lines((0..20_000).map(document)));
    playground.run(&["build", "in.jsonl", "-o", "out.parquet"]).expect(0);
    let questions: Vec<String> = (20_000..20_200).map(|number| words(number, 8)).collect();
    playground.write("questions.txt", questions.join("\n"));
    check("agrees", &[&playground.path("out.parquet"), &playground.path("questions.txt")]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_code_of_the_page_on_qdrant_works() {
    let playground = Playground::new();
    playground.write("docs/handbook.md", "---\nauthor: Ada\n---\nAll that there is to know.");
    playground.write("docs/other.md", "---\nauthor: Bob\n---\nSomething else.");
    playground.run(&["build", "docs", "-o", "vectors.parquet", "--keep", "author"]).expect(0);
    check("page", &[&playground.path("")]);
}
