//! docs/pgvector.md against PostgreSQL. This module prepares folders; `tests/python/pgvector.py` runs the page and checks.

use std::env;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::util::{self, Playground, repository};

const KEEP: [&str; 4] = ["--keep", "author", "--keep", "year"];

/// Texts that a format of lines with escapes can lose or take for something else.
const HOSTILE: [&str; 12] = [
    "a \"quoted\" word, a comma, and an 'apostrophe'",
    "two\nlines, \\n and a \\ at the end \\",
    "COPY documents FROM stdin;\n\\.\nthe rest",
    "\\.",
    "\\N",
    "NULL",
    "tab\tand\\tno tab",
    "a carriage return\rin the middle\r\n",
    "\u{1f389} 中文 e\u{301} \u{2028} \u{1f468}\u{200d}\u{1f469}",
    "  spaces around  ",
    "# a comment?",
    "{\"json\": [1, \"two\"]}",
];

fn tool() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_qwen3-index"))
}

fn check(name: &str, version: &str, vectors: &str, playground: &Playground, more: &[&Path]) {
    let mut python = util::python("readers");
    python
        .arg(repository("tests/python/pgvector.py"))
        .args([name, version, vectors])
        .arg(playground.path(""))
        .args(more);
    python.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
    let path = env::var_os("PATH").unwrap();
    let paths = [tool().parent().unwrap().to_owned()].into_iter().chain(env::split_paths(&path));
    python.env("PATH", env::join_paths(paths).unwrap());
    let ran = playground.output(&mut python, "").expect(0);
    print!("{}", ran.stdout);
}

fn lines(documents: impl IntoIterator<Item = Value>) -> String {
    documents.into_iter().map(|document| document.to_string() + "\n").collect()
}

/// Returns a document with hostile text, and a kept text that is cleaned by nobody.
fn document(number: usize, night: usize) -> Value {
    let hostile = |number: usize| HOSTILE[number % HOSTILE.len()];
    let text = format!("Number {number}\n\n{}\n\nThe night {night}.", hostile(number));
    let mut document = json!({"id": format!("a/é \\{number}\t#1.md"), "text": text});
    match number % 14 {
        12 => document["author"] = json!(""),
        13 => {}
        _ => document["author"] = json!(hostile(number + 1)),
    }
    if number.is_multiple_of(2) {
        document["year"] = json!(number);
    }
    document
}

/// Makes a folder with `old.parquet`, `new.parquet`, and `changes.parquet`, the delta from one to the other.
fn a_night(more: &[&str]) -> Playground {
    let playground = Playground::new();
    // A file with headings, which make lists.
    let part = |text| format!("# Say \"{{one}}\", \\ and\n\n{text}\n\n## Part\n\n{text}\n\n");
    playground.write("parts.md", HOSTILE.map(part).concat());
    let night = ["build", "in.jsonl", "parts.md", "-o", "out.parquet", "--delta", "delta.parquet"];
    let night = [&night, &KEEP[..], more].concat();
    playground.write("in.jsonl", lines((0..200).map(|number| document(number, 0))));
    playground.run(&night).expect(0);
    fs::copy(playground.path("out.parquet"), playground.path("old.parquet")).unwrap();
    let new = (0..220)
        .filter(|number| number % 10 != 3)
        .map(|number| document(number, usize::from(number % 3 == 0)));
    playground.write("in.jsonl", lines(new));
    playground.run(&night).expect(0);
    fs::rename(playground.path("out.parquet"), playground.path("new.parquet")).unwrap();
    fs::rename(playground.path("delta.parquet"), playground.path("changes.parquet")).unwrap();
    playground
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_table_follows_the_file_night_by_night() {
    // psql 16 reads a line `\.` in another way than psql 18.
    for version in ["16", "18"] {
        check("follows", version, "vector", &a_night(&[]), &[]);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_table_of_chunks_follows_too() {
    check("chunks", "18", "vector", &a_night(&["--chunks", "--chunk-tokens", "24"]), &[]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn rounded_vectors_are_kept_as_they_are() {
    for (kind, version) in [("f16", "16"), ("i8", "18")] {
        check("follows", version, "halfvec", &a_night(&["--vector-type", kind]), &[]);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_killed_load_leaves_the_old_rows() {
    check("survives", "18", "vector", &a_night(&[]), &[]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn files_that_do_not_fit_the_table_are_refused() {
    let playground = a_night(&[]);
    let build = |name: &str, more: &[&str]| {
        playground.run(&[&["build", "in.jsonl", "-o", name], more].concat()).expect(0);
    };
    build("swapped.parquet", &["--keep", "year", "--keep", "author"]);
    build("narrow.parquet", &["--keep", "author", "--keep", "year", "--dim", "32"]);
    check("refuses", "18", "vector", &playground, &[]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn postgresql_duckdb_and_search_find_the_same_rows() {
    let playground = Playground::new();
    let text = |number: usize| {
        format!("Text {number} about {} and {}", number * 7919 % 1009, number * 104_729 % 997)
    };
    playground.write(
        "in.jsonl",
        lines((0..3000).map(
            |number| json!({"id": number.to_string(), "text": text(number), "author": "Ada", "year": 2000}),
        )),
    );
    let questions: Vec<String> = (3000..3050).map(text).collect();
    playground.write("questions.txt", questions.join("\n"));
    for (kind, vectors) in [("f32", "vector"), ("i8", "halfvec")] {
        let build = ["build", "in.jsonl", "-o", "vectors.parquet", "--vector-type", kind];
        playground.run(&[&build, &KEEP[..]].concat()).expect(0);
        check("agrees", "18", vectors, &playground, &[&playground.path("questions.txt"), tool()]);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_code_of_the_page_on_postgresql_works() {
    let playground = Playground::new();
    playground.write("docs/other.md", "---\nauthor: Bob\nyear: 2021\n---\nSomething else.");
    check("page", "18", "vector", &playground, &[]);
}
