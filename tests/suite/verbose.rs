//! `-v` and `-vv`: what a run decides, and what happens to each document.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::util::{Playground, Ran, cpu_library, repository};

const BUILD: [&str; 4] = ["build", "docs", "-o", "out.parquet"];

/// A mail with an attachment that is not read.
const MAIL: &str = "From: a@b.c\r\nSubject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
                    --x\r\nContent-Type: text/plain\r\n\r\nbody\r\n--x\r\nContent-Type: application/octet-stream\r\n\
                    Content-Disposition: attachment; filename=a.exe\r\n\r\nMZ\r\n--x--\r\n";

/// Returns the lines of stderr that begin with `debug:` or `trace:`, without the start that all have.
fn said(ran: &Ran) -> Vec<&str> {
    let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("qwen3-index: "));
    lines.filter(|line| line.starts_with("debug: ") || line.starts_with("trace: ")).collect()
}

/// Returns what a run with `--log-format json` says about the document or file at a place.
fn traced(ran: &Ran, place: &str) -> Value {
    let lines = ran.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<Value> = lines.filter(|line| line["place"] == place || line["id"] == place).collect();
    assert_eq!(found.len(), 1, "{place}: {found:?}{}", ran.story);
    assert_eq!(found[0]["level"], "trace", "{place}");
    found[0].clone()
}

fn run_json(playground: &Playground, arguments: &[&str]) -> Ran {
    playground.run(&[arguments, &["-vv", "--log-format", "json"]].concat()).expect(0)
}

/// Returns a text with more tokens than a chunk of the test has.
fn long(end: &str) -> String {
    let paragraphs =
        (0..6).map(|n| format!("Paragraph {n} says something about the number {n} and no other.\n\n"));
    paragraphs.collect::<String>() + end
}

#[test]
fn a_run_is_quiet_or_verbose_but_not_both() {
    let playground = Playground::new().with("docs/a.txt", "one");
    for arguments in [
        &["-v", "build", "docs", "-o", "out.parquet", "-q"][..],
        &["build", "docs", "-o", "out.parquet", "-qvv"],
        &["merge", "out.parquet", "-o", "two.parquet", "--quiet", "--verbose"],
    ] {
        playground.run(arguments).expect(2).says("'--quiet' cannot be used with '--verbose'");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_run_says_why_it_uses_this_model_and_this_runtime() {
    let playground = Playground::new().with("docs/a.txt", "one");
    let tiny = repository("fixtures/qwen3-tiny");
    let (tiny, library) = (tiny.to_str().unwrap(), cpu_library());
    let ran = playground.run(&[&BUILD[..], &["-v", "--threads", "1"]].concat()).expect(0);
    ran.says(&format!("debug: model {tiny}: QWEN3_INDEX_MODEL names it; graph {tiny}/onnx/model.onnx: it is the default of the model"))
        .says(&format!("debug: ONNX Runtime {}: it is in the folder of scripts/setup", library.display()))
        .says("debug: device CPU, 1 threads: ")
        .says("debug: batches of texts of any length, up to 1,536 tokens per batch: ")
        .says("debug: lock ./.out.parquet.lock: taken")
        .says("debug: output out.parquet: does not exist yet, so no vector can be reused");
    assert!(!ran.stderr.contains("trace:"), "-v is about the run{}", ran.story);

    let unnamed = |arguments: &[&str]| {
        let mut command = playground.command(arguments);
        playground.output(command.env_remove("QWEN3_INDEX_MODEL"), "").expect(0)
    };
    unnamed(&["search", "out.parquet", "one", "-v"]).says(&format!(
        "debug: model {tiny}: none is named, and the index was made with it; graph {tiny}/onnx/model.onnx: the index was made with it"
    ));
    let mut command = playground.command(&[
        "embed",
        "one",
        "--model",
        "model",
        "--model-file",
        "model_f16.onnx",
        "-v",
        "--device",
        "cpu",
    ]);
    symlink(tiny, playground.path("model")).unwrap();
    let ran = playground.output(command.env("ORT_DYLIB_PATH", &library), "").expect(0);
    ran.says("/model: --model names it; graph ")
        .says("onnx/model_f16.onnx: --model-file names it")
        .says(": ORT_DYLIB_PATH names it")
        .says(" threads: it is the only one asked for")
        .says("debug: batches of one text: only one text is embedded");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_run_says_how_each_document_is_read_and_why_a_file_is_skipped() {
    let playground = Playground::new();
    let article = "<p>".to_owned()
        + &"This sentence is a part of the article, and not of what surrounds it. ".repeat(8);
    for (name, content) in [
        ("docs/main.html", format!("<title>Found</title><nav>menu</nav><main>{article}</main>")),
        ("docs/index.html", "<ul><li><a href=a>a</a><li><a href=b>b</a></ul>".to_owned()),
        ("docs/rows.csv", "id,text\nr1,one row\n".to_owned()),
        ("docs/same.md", "# Heading\n\nsome words".to_owned()),
        ("docs/copy.md", "# Heading\n\nsome words".to_owned()),
        ("docs/empty.txt", String::new()),
        ("docs/.gitignore", "*.log\n!keep.log\n".to_owned()),
        ("docs/made.log", "log".to_owned()),
        ("docs/drafts/d.txt", "draft".to_owned()),
        ("docs/own/.qwen3ignore", "/secret.*\n".to_owned()),
        ("docs/own/secret.txt", "secret".to_owned()),
        ("docs/data.json", r#"{"a": 1}"#.to_owned()),
        ("docs/a.bin", "binary".to_owned()),
        ("docs/mail.eml", MAIL.to_owned()),
    ] {
        playground.write(name, content);
    }
    playground.write("docs/western.txt", b"Un caf\xe9 cr\xe8me, d\xe9j\xe0 vu \xe0 la fen\xeatre");
    symlink("same.md", playground.path("docs/link.md")).unwrap();
    let ran = run_json(&playground, &[&BUILD[..], &["--exclude", "drafts/", "--columns", "title"]].concat());
    let read = |place: &str| {
        let line = traced(&ran, place);
        ["format", "encoding", "part", "title"].map(|key| line[key].clone())
    };
    assert_eq!(read("docs/main.html"), ["HTML", "UTF-8", "article", "Found"].map(Value::from));
    assert_eq!(read("docs/index.html")[2], "whole");
    assert_eq!(read("docs/western.txt")[..2], ["text", "windows-1252"].map(Value::from));
    assert_eq!(read("docs/rows.csv:2")[..2], ["CSV", "UTF-8"].map(Value::from));
    assert_eq!(read("docs/same.md")[3], "# Heading".trim_start_matches("# "));
    assert!(traced(&ran, "docs/empty.txt")["message"].as_str().unwrap().ends_with("; empty"));
    let origins = ["docs/copy.md", "docs/same.md"].map(|place| traced(&ran, place)["vectors"].clone());
    assert_eq!((&origins[0]["model"], &origins[1]["equal_text"]), (&json!(1), &json!(1)), "{origins:?}");

    ran.says("docs/mail.eml: skipped: 1 part (attachments of formats that are not read)");
    let root = playground.path("docs").canonicalize().unwrap();
    for (name, why, reason) in [
        ("made.log", "excluded", format!("`*.log` in {}/.gitignore excludes it", root.display())),
        (
            "own/secret.txt",
            "excluded",
            format!("`/secret.*` in {}/own/.qwen3ignore excludes it", root.display()),
        ),
        ("drafts", "excluded", "the pattern `drafts/` excludes it".to_owned()),
        ("link.md", "link", "it is a symlink".to_owned()),
        ("data.json", "other_kind", "it is no document of a format that is read".to_owned()),
        ("a.bin", "other_kind", "it is no document of a format that is read".to_owned()),
        (".gitignore", "hidden", "its name begins with a dot".to_owned()),
    ] {
        let line = traced(&ran, &format!("docs/{name}"));
        assert_eq!((&line["skipped"], &line["reason"]), (&json!(why), &json!(reason)), "{name}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_night_says_where_each_vector_comes_from() {
    let playground = Playground::new();
    for (name, text) in [("same", "same"), ("other", "before"), ("gone", "gone"), ("moved", "moved")] {
        playground.write(&format!("docs/{name}.txt"), text);
    }
    playground.write("docs/long.txt", long(""));
    let build = [&BUILD[..], &["--max-tokens", "40"]].concat();
    let first = run_json(&playground, &build);
    assert!(traced(&first, "docs/long.txt")["chunks"].as_u64() > Some(2), "{}", first.story);
    assert_eq!(traced(&first, "docs/same.txt")["not_reused"], Value::Null);

    playground.write("docs/other.txt", "after");
    playground.write("docs/new.txt", "new");
    playground.write("docs/long.txt", long("One more paragraph."));
    fs::remove_file(playground.path("docs/gone.txt")).unwrap();
    fs::rename(playground.path("docs/moved.txt"), playground.path("docs/here.txt")).unwrap();
    // A run that finds too few documents fails after it has made their vectors, and keeps these.
    for name in ["other", "new", "long"] {
        fs::create_dir_all(playground.path("few")).unwrap();
        fs::copy(playground.path(&format!("docs/{name}.txt")), playground.path(&format!("few/{name}.txt")))
            .unwrap();
    }
    playground.run(&[&["build", "few"], &build[2..]].concat()).expect(1).says("are gone");
    playground.write("docs/last.txt", "last");
    let night = run_json(&playground, &[&build[..], &["--delta", "delta.parquet"]].concat());
    let from = |place: &str| {
        let line = traced(&night, place);
        let origins = line["vectors"].as_object().unwrap().clone();
        let used: Vec<String> =
            origins.into_iter().filter(|(_, count)| *count != 0).map(|(origin, _)| origin).collect();
        (used.join(" "), line["not_reused"].clone())
    };
    assert_eq!(from("docs/same.txt"), ("old_output".to_owned(), Value::Null));
    assert_eq!(from("docs/here.txt"), ("old_output".to_owned(), Value::Null));
    assert_eq!(from("docs/other.txt"), ("interrupted_run".to_owned(), json!("other_text")));
    assert_eq!(from("docs/new.txt"), ("interrupted_run".to_owned(), json!("new_id")));
    assert_eq!(from("docs/long.txt"), ("chunk_store interrupted_run".to_owned(), json!("other_text")));
    assert_eq!(from("docs/last.txt"), ("model".to_owned(), json!("new_id")));
    assert_eq!(traced(&night, "gone.txt")["gone"], true);
    night
        .says("made with the same settings, so a text that it has keeps its vector")
        .says(".out.parquet.journal: 3 vectors of an interrupted run")
        .says("--delta delta.parquet: ");

    let ran = playground.run(&[&build[..], &["-vv", "--rebuild"]].concat()).expect(0);
    ran.says("no vector is reused, because of --rebuild")
        .says("debug: chunk store: not used, because of --rebuild")
        .says(
            "docs/same.txt: text, UTF-8; 1 chunk: 1 by the model; the vectors of the old output are not used",
        );
}

/// The options change what is said, and nothing else.
#[test]
#[ignore = "needs what scripts/test installs"]
fn verbose_runs_write_the_same_index_and_other_runs_say_no_more() {
    let playground = Playground::new();
    playground.write("docs/a.md", "---\ntitle: [broken\n---\nwords");
    playground.write("docs/b.html", "<title>T</title><main><p>words</main>");
    let index = |more: &[&str]| {
        let ran = playground.run_anew(&[&BUILD[..], more].concat()).expect(0);
        let count = said(&ran).len();
        (fs::read(playground.path("out.parquet")).unwrap(), count)
    };
    let (quiet, plain, verbose) = (index(&["-q"]), index(&[]), index(&["-vv"]));
    assert_eq!((quiet.1, plain.1), (0, 0));
    assert!(verbose.1 > 10, "{}", verbose.1);
    assert!(quiet.0 == plain.0 && plain.0 == verbose.0, "-vv changes the index");
}
