//! Finding documents: the documents that are found, their ids and their count.

use std::fs;
use std::os::unix::fs::symlink;

use crate::make::{gzip, utf16le};
use crate::util::Playground;

fn ids(playground: &Playground, input: &str) -> Vec<String> {
    playground.build(input, &[]).into_iter().map(|row| row.id).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_folder_gives_its_documents_in_the_order_of_their_names() {
    let playground = Playground::new();
    for name in ["b.md", "a/z.txt", "a/b/c.MARKDOWN", "a.txt", "今天.md", "c.text"] {
        playground.write(&format!("docs/{name}"), name);
    }
    playground.write("docs/d.jsonl", "{\"id\":\"x\",\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    playground.write("docs/picture.png", "not looked at");
    playground.write("docs/.hidden/e.txt", "not looked at");
    symlink(playground.path("docs/a.txt"), playground.path("docs/link.txt")).unwrap();
    let expected = ["a/b/c.MARKDOWN", "a/z.txt", "a.txt", "b.md", "c.text", "x", "d.jsonl:2", "今天.md"];
    assert_eq!(ids(&playground, "docs"), expected);
    assert_eq!(ids(&playground, "./docs/"), expected);
    let ran = playground.run_anew(&["build", "docs", "-o", "out.parquet"]).expect(0);
    ran.says("8 documents: 8 embedded, 0 empty, 0 failed; skipped: 1 hidden, 1 symlink, 1 of other formats");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn roots_can_be_folders_files_and_standard_input() {
    let playground = Playground::new();
    playground.write("one/a.txt", "first");
    playground.write("two/a.txt", "second");
    playground.write("note.md", "third");
    assert_eq!(ids(&playground, "note.md"), ["note.md"]);
    let arguments = ["build", "one", "./two/", "note.md", "-", "-o", "out.parquet"];
    playground.run_with_stdin(&arguments, "{\"text\":\"fourth\"}\n{\"id\":7,\"text\":\"fifth\"}").expect(0);
    let rows = crate::util::rows(&playground.path("out.parquet"));
    let got: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.text.as_str())).collect();
    let expected = [
        ("one/a.txt", "first"),
        ("two/a.txt", "second"),
        ("note.md", "third"),
        ("stdin:1", "fourth"),
        ("7", "fifth"),
    ];
    assert_eq!(got, expected);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_text_is_clean_and_the_fields_are_those_asked_for() {
    let playground = Playground::new();
    playground
        .write("a.jsonl", "{\"key\":\"k\",\"body\":\"\\ufeffa\\u200bb \\r\\n\\t c\\u0000\",\"text\":\"no\"}");
    let rows = playground.build("a.jsonl", &["--id-field", "key", "--text-field", "body"]);
    assert_eq!((rows[0].id.as_str(), rows[0].text.as_str()), ("k", "ab c"));
}

/// An index that an earlier version made holds such a text without its joiners.
#[test]
#[ignore = "needs what scripts/test installs"]
fn joiners_that_are_spelling_stay_and_only_their_texts_are_embedded_anew() {
    let playground = Playground::new();
    let spelled = "می\u{200C}خواهم کتاب\u{200C}ها را بخوانم. 👩\u{200D}🚀";
    playground.write("docs/fa.txt", spelled.replace(['\u{200C}', '\u{200D}'], ""));
    playground.write("docs/en.txt", "zero\u{200B}-width\u{200C} \u{200D}noise");
    playground.build("docs", &[]);
    playground.write("docs/fa.txt", spelled);
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    ran.says("2 documents: 1 embedded, 1 reused");
    let texts: Vec<_> =
        crate::util::rows(&playground.path("out.parquet")).into_iter().map(|row| row.text).collect();
    assert_eq!(texts, ["zero-width noise", spelled]);
}

/// Every document is counted once, every failure is reported with its place, and the other documents have rows.
#[test]
#[ignore = "needs what scripts/test installs"]
fn every_document_is_accounted_for() {
    let playground = Playground::new();
    playground.write("docs/a.txt", "good");
    playground.write("docs/b.txt", b"not \x00\xff text");
    playground.write("docs/c.txt", " \u{200B}\n");
    playground.write(
        "docs/d.jsonl",
        "{\"id\":\"d\",\"text\":\"good too\"}\n{\"id\":\n\n{\"id\":\"e\"}\n{\"id\":\"f\",\"text\":5}\n\
         {\"id\":\"d\",\"text\":\"again\"}\n{\"id\":\"g\",\"text\":\"\\t\"}\n{\"id\":\"h\",\"text\":\"<|im_start|> nan\"}\n\
         {\"id\":\"i\",\"text\":\"good three\"}\n[1]\n{\"id\":[],\"text\":\"x\"}\n{\"id\":100000000000000000000001,\"text\":\"x\"}\n",
    );
    let arguments = ["build", "docs", "-o", "out.parquet", "--model-file", "model_nan.onnx"];
    let ran = playground.run(&arguments).expect(3);
    ran.says("failed: docs/b.txt: not text but binary data; give it the right file extension")
        .says("failed: docs/d.jsonl:2: not a JSON object: EOF while parsing a value at column 6;")
        .says("failed: docs/d.jsonl:4: no field `text`; name the right field with --text-field")
        .says("failed: docs/d.jsonl:5: field `text` is a number, expected a string;")
        .says("failed: docs/d.jsonl:6: the id `d` is already used at docs/d.jsonl:1, so this document is skipped;")
        .says("failed: docs/d.jsonl:8: the model returned a vector that is all zeros or has a NaN or an infinity;")
        .says("failed: docs/d.jsonl:10: not a JSON object: invalid type: sequence, expected a map at column")
        .says("failed: docs/d.jsonl:12: field `id` is a number, expected a string or a 64-bit integer;")
        .says("failed: docs/d.jsonl:11: field `id` is an array, expected a string or a 64-bit integer;")
        .says("14 documents: 3 embedded, 2 empty, 9 failed");
    assert_eq!(ran.stderr.matches("failed: ").count(), 9, "{}", ran.story);
    let ids: Vec<String> =
        crate::util::rows(&playground.path("out.parquet")).into_iter().map(|row| row.id).collect();
    assert_eq!(ids, ["a.txt", "d", "i"]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_name_cannot_send_commands_to_the_terminal() {
    let playground = Playground::new();
    playground.write("docs/\u{1b}[31mred\n.txt", b"\x00\xff");
    playground.write("docs/good.txt", "good");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/\\u{1b}[31mred\\n.txt: not text");
    assert!(!ran.stderr.contains('\u{1b}'), "{}", ran.story);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn no_documents_give_an_empty_file() {
    let playground = Playground::new();
    fs::create_dir(playground.path("docs")).unwrap();
    assert_eq!(playground.build("docs", &["--allow-empty"]), []);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn quiet_says_nothing_when_nothing_is_wrong() {
    let playground = Playground::new();
    playground.write("a.txt", "text");
    let ran = playground.run(&["build", "a.txt", "-o", "out.parquet", "-q"]).expect(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

/// The run goes on if standard error is a full device.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_lost_stderr_does_not_end_the_run() {
    let playground = Playground::new();
    playground.write("docs/a.txt", "good");
    playground.write("docs/b.txt", b"\x00\xff");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = playground.command(&["build", "docs", "-o", "out.parquet"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(3));
    assert_eq!(crate::util::rows(&playground.path("out.parquet")).len(), 1);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_link_to_the_output_stays_a_link() {
    let playground = Playground::new();
    playground.write("a.txt", "old text");
    playground.build("a.txt", &[]);
    playground.write("a.txt", "text");
    fs::create_dir(playground.path("real")).unwrap();
    fs::rename(playground.path("out.parquet"), playground.path("real/old.parquet")).unwrap();
    symlink("real/old.parquet", playground.path("out.parquet")).unwrap();
    assert_eq!(playground.build("a.txt", &[]).len(), 1);
    assert!(playground.path("out.parquet").is_symlink());
    assert_eq!(crate::util::rows(&playground.path("real/old.parquet")).len(), 1);
}

/// Ids and texts are larger than a batch of the writer.
#[test]
#[ignore = "needs what scripts/test installs"]
fn large_documents_are_written_and_read_back() {
    let playground = Playground::new();
    let large = "x ".repeat(500_000);
    let lines = (0..12)
        .map(|n| serde_json::json!({"id": format!("{n}{large}"), "text": format!("{n}")}).to_string() + "\n");
    playground.write("in.jsonl", lines.collect::<String>());
    let rows = playground.build("in.jsonl", &[]);
    assert_eq!(rows.len(), 12);
    assert!(rows.iter().all(|row| row.id == format!("{}{large}", row.text)));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn packed_files_are_read_and_a_broken_one_is_named() {
    let playground = Playground::new();
    let gzip = |text: &str| gzip(text.as_bytes());
    // A gzip file with two members, as log rotation writes it.
    playground.write("docs/a.txt.gz", [gzip("one "), gzip("two")].concat());
    playground.write("docs/b.jsonl.gz", gzip("{\"text\":\"three\"}\n{\"text\":\"four\"}"));
    playground.write("docs/c.md.zst", zstd::encode_all(&b"five"[..], 3).unwrap());
    playground.write("docs/d.txt.gz", &gzip(&"six ".repeat(1000))[..20]);
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/d.txt.gz: not readable as gzip: ");
    let rows = crate::util::rows(&playground.path("out.parquet"));
    let got: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.text.as_str())).collect();
    let expected =
        [("a.txt.gz", "one two"), ("b.jsonl.gz:1", "three"), ("b.jsonl.gz:2", "four"), ("c.md.zst", "five")];
    assert_eq!(got, expected);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn other_encodings_are_decoded_and_said_or_forced() {
    let playground = Playground::new();
    let chinese = "员工因公出差产生的交通费、住宿费和伙食补助，凭发票在十五个工作日内报销。";
    let gbk = encoding_rs::GBK.encode(chinese).0;
    playground.write("docs/a.txt", &gbk);
    playground.write("docs/b.txt", utf16le("plain"));
    playground.write("docs/c.txt", "utf-8 今天");
    playground.write("docs/d.txt", "%PDF-1.7 by another name");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("4 documents: 3 embedded, 0 empty, 1 failed; decoded: 1 GBK, 1 UTF-16LE");
    ran.says("failed: docs/d.txt: not text but PDF;");
    let texts: Vec<_> =
        crate::util::rows(&playground.path("out.parquet")).into_iter().map(|row| row.text).collect();
    assert_eq!(texts, [chinese, "plain", "utf-8 今天"]);

    playground.write("one.txt", &gbk);
    assert_eq!(playground.build("one.txt", &["--encoding", "gb18030"])[0].text, chinese);
    let ran =
        playground.run_anew(&["build", "one.txt", "-o", "out.parquet", "--encoding", "utf-8"]).expect(1);
    ran.says("failed: one.txt: cannot be decoded as UTF-8; name its encoding with --encoding");
    playground
        .run(&["build", "one.txt", "-o", "out.parquet", "--encoding", "nope"])
        .expect(2)
        .says("--encoding nope: is unknown");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn patterns_and_options_say_what_the_walk_takes() {
    let playground = Playground::new();
    for name in
        ["a.md", "b.txt", "c.log", "drafts/d.md", "sub/drafts/e.md", "sub/f.md", ".hidden/g.md", "notes/h.md"]
    {
        playground.write(&format!("docs/{name}"), name);
    }
    playground.write("docs/.qwen3ignore", "# not for search\n/notes/\n");
    playground.write("elsewhere/i.md", "i");
    symlink(playground.path("elsewhere"), playground.path("docs/sub/link")).unwrap();
    symlink(playground.path("docs"), playground.path("docs/sub/loop")).unwrap();
    let ids = |code, more: &[&str]| {
        let ran = playground.run_anew(&[&["build", "docs", "-o", "out.parquet"], more].concat()).expect(code);
        let rows = crate::util::rows(&playground.path("out.parquet"));
        (rows.into_iter().map(|row| row.id).collect::<Vec<_>>().join(" "), ran)
    };
    assert_eq!(ids(0, &[]).0, "a.md b.txt drafts/d.md sub/drafts/e.md sub/f.md");
    assert_eq!(ids(0, &["--exclude", "drafts/"]).0, "a.md b.txt sub/f.md");
    assert_eq!(ids(0, &["--include", "*.md", "--exclude", "/drafts"]).0, "a.md sub/drafts/e.md sub/f.md");
    assert_eq!(ids(0, &["--include", "*.log", "--include", "/sub/"]).0, "c.log sub/drafts/e.md sub/f.md");
    assert_eq!(ids(0, &["--hidden"]).0, ".hidden/g.md a.md b.txt drafts/d.md sub/drafts/e.md sub/f.md");
    playground.write("docs/z.conf.zst", zstd::encode_all(&b"packed"[..], 3).unwrap());
    assert_eq!(ids(0, &["--include", "z.*"]).0, "z.conf.zst");
    playground.write("docs/sub/p.png", "not text");
    assert_eq!(ids(0, &["--include", "/sub/"]).0, "sub/drafts/e.md sub/f.md");
    symlink("nowhere", playground.path("docs/.#lock")).unwrap();
    let (got, ran) = ids(3, &["--follow"]);
    assert_eq!(ran.stderr.matches("failed: ").count(), 1, "{}", ran.story);
    assert_eq!(got, "a.md b.txt drafts/d.md sub/drafts/e.md sub/f.md sub/link/i.md");
    ran.says("failed: docs/sub/loop: the symlink points to docs, which contains the symlink;");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet", "--exclude", "a[b"]).expect(2);
    ran.says("--exclude a[b: ").says(".gitignore");
    playground.write("docs/.qwen3ignore", "a[b");
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(1).says("docs/.qwen3ignore: ");
}

/// Opening a pipe would block the run forever.
#[test]
#[ignore = "needs what scripts/test installs"]
fn special_files_are_never_opened() {
    let playground = Playground::new();
    playground.write("docs/a.txt", "text");
    let made = std::process::Command::new("mkfifo").arg(playground.path("docs/b.txt")).status().unwrap();
    assert!(made.success());
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    ran.says("skipped: 1 special file");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn markdown_gives_the_text_that_a_person_reads() {
    let playground = Playground::new();
    playground.write("docs/a.md", "---\ntitle: x\n---\n# Plan\nSee [rules](https://example.org/secret).");
    playground.write("docs/b.txt", "# Plan\nSee [rules](as it stands).");
    let rows = playground.build("docs", &[]);
    let texts: Vec<_> = rows.iter().map(|row| row.text.as_str()).collect();
    assert_eq!(texts, ["# Plan See rules.", "# Plan See [rules](as it stands)."]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_document_with_too_many_tokens_is_a_failure() {
    let playground = Playground::new();
    playground.write("docs/long.txt", "A sentence with some words. ".repeat(40));
    playground.write("docs/short.txt", "A sentence.");
    let build = |max: &str, more: &[&str]| {
        let arguments = ["build", "docs", "-o", "out.parquet", "--max-document-tokens", max];
        playground.run(&[&arguments[..], more].concat())
    };
    let says = "failed: docs/long.txt: has more than 100 tokens; raise --max-document-tokens, or split it";
    for more in [&["--max-tokens", "64"][..], &[], &["--chunks"]] {
        fs::remove_file(playground.path("out.parquet")).unwrap_or_default();
        build("100", more).expect(3).says(says).says("2 documents: 1 embedded, 0 empty, 1 failed");
        let ids = || -> Vec<String> {
            crate::util::rows(&playground.path("out.parquet")).into_iter().map(|row| row.id).collect()
        };
        assert!(ids().iter().all(|id| id.starts_with("short.txt")), "{:?}", ids());
        build("1000", more).expect(0).says("1 embedded, 1 reused");
        // The limit protects the model, which has no work with a text that it embedded before.
        if !more.contains(&"--chunks") {
            build("100", more).expect(0).says("0 embedded, 2 reused");
        }
        build("100", &[more, &["--rebuild"]].concat())
            .expect(3)
            .says(says)
            .says("1 kept from the previous run");
        assert!(ids().iter().any(|id| id.starts_with("long.txt")), "{:?}", ids());
    }
}
