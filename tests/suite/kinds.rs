//! Files of every format: the extracted text and the kept columns.

use std::fs::{self, File};

use arrow::array::{Array, AsArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::make::{gzip, utf16le, xlsx};
use crate::sheets::row;
use crate::util::{Playground, after, corpus_summary, json_lines, repository, rows};

/// `fixtures/expected.jsonl` was not written by this tool. It holds what a person reads in each document.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_corpus_gives_the_text_that_a_person_reads() {
    let playground = Playground::new();
    let corpus = repository("fixtures/corpus");
    let ran = playground.run(&["build", corpus.to_str().unwrap(), "-o", "out.parquet"]).expect(0);
    ran.says(&corpus_summary()).says("decoded: 1 EUC-JP, 8 GBK, 1 Shift_JIS, 7 UTF-16LE, 7 windows-1252");
    assert_eq!(ran.stdout, "", "results only");
    let mut expected = json_lines::<Expected>("fixtures/expected.jsonl").into_iter();
    for row in rows(&playground.path("out.parquet")) {
        let Expected { id, text } = expected.next().unwrap();
        assert_eq!((row.id, row.text), (id, text));
    }
    assert!(expected.next().is_none());
}

#[derive(Deserialize)]
struct Expected {
    id: String,
    text: String,
}

fn ids_and_texts(playground: &Playground) -> Vec<(String, String)> {
    crate::util::ids_and_texts(&playground.path("out.parquet"))
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(id, text)| (id.to_owned(), text.to_owned())).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn tables_give_a_document_a_row() {
    let playground = Playground::new();
    playground.write(
        "docs/a.csv",
        "\u{FEFF}id,Title,text\r\n1,x,\"one, two\"\r\n\r\n,y,\"line\nbreak\"\r\n3,z\r\n4,\"\",\"said \"\"so\"\"\"\r\n5,,\r\n",
    );
    playground.write("docs/b.csv", "id;text\n1b;uno, dos\n");
    playground.write("docs/c.tsv", "text\tid\none, \"quoted\" no more\tc\n");
    playground.write("docs/d.csv", "text\nalone\n");
    playground.write("docs/e.csv", "");
    playground.write("docs/f.csv", "sep=|\r\nid|text\r\nf|a, b\r\n");
    playground.write("docs/g.tsv", "id\ttext\ng\t\"The first word\nh\tof two rows\ni\tends here\"\n");
    playground.write("docs/j.csv", "\u{FEFF}\"a,\"\"b\"\"\",text\n1,one\n");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/a.csv:4: wrong number of values: 2 in the row, 3 in the header;")
        .says("13 documents: 11 embedded, 1 empty, 1 failed");
    let expected = [
        ("1", "one, two"),
        ("a.csv:3", "line break"),
        ("4", "said \"so\""),
        ("1b", "uno, dos"),
        ("c", "one, \"quoted\" no more"),
        ("d.csv:2", "alone"),
        ("f", "a, b"),
        ("g", "\"The first word"),
        ("h", "of two rows"),
        ("i", "ends here\""),
        ("j.csv:2", "one"),
    ];
    assert_eq!(ids_and_texts(&playground), pairs(&expected));
    playground
        .run_anew(&[
            "build",
            "docs/a.csv",
            "-o",
            "out.parquet",
            "--text-field",
            "Title",
            "--text-field",
            "text",
        ])
        .expect(3);
    assert_eq!(ids_and_texts(&playground)[0].1, "x one, two");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_array_gives_a_document_an_element() {
    let playground = Playground::new();
    let array = "\u{FEFF} [\n  {\n    \"id\": \"a\", \"text\": \"one ] \\\" , [\", \"tags\": [1, [2]]\n  },\n\
                 {\"text\": \"two\"} , 7,\n{\"text\": \"no quote\n},\n{\"text\": \"five\"}, {\"text\": },\n{\"text\":\"seven\"},]\n";
    playground.write("docs/a.json", array);
    playground.write("docs/b.json.gz", gzip(b"[{\"text\": \"packed\"}]"));
    playground.write("docs/c.json", "[]");
    playground.write("docs/d.json", "[{\"text\": \"whole\"}, {\"text\": \"cut");
    playground.write("docs/e.json", "[{\"text\": \"first\"}] [{\"text\": \"second\"}]");
    let ran = playground.run(&["build", "docs", "-o", "out.parquet", "--keep", "tags"]).expect(3);
    ran.says("failed: docs/a.json:3: not a JSON object: ")
        .says("failed: docs/a.json:4: not a JSON object: ")
        .says("failed: docs/a.json:6: not a JSON object: ")
        .says("each line or element must be an object")
        .says("failed: docs/d.json:2: not readable as JSON: it ends before the array does (the rest of the file is not read);")
        .says("failed: docs/e.json:2: not readable as JSON: more text follows the array (the rest of the file is not read);");
    assert_eq!(ran.stderr.matches("failed: ").count(), 5, "{}", ran.story);
    let expected = [
        ("a", "one ] \" , ["),
        ("a.json:2", "two"),
        ("a.json:5", "five"),
        ("a.json:7", "seven"),
        ("b.json.gz:1", "packed"),
        ("d.json:1", "whole"),
        ("e.json:1", "first"),
    ];
    assert_eq!(ids_and_texts(&playground), pairs(&expected));
}

/// A folder of documents often has configurations in JSON.
#[test]
#[ignore = "needs what scripts/test installs"]
fn json_that_is_no_list_of_documents_is_skipped_in_a_folder() {
    let playground = Playground::new();
    playground.write("docs/a.txt", "text");
    let others = ["{\"name\": \"package\"}", "[1, 2]", "", "null", "[{\"name\": \"x\"}, {\"name\": \"y\"}]"];
    for (at, other) in others.iter().enumerate() {
        playground.write(&format!("docs/{at}.json"), other);
    }
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    ran.says("skipped: 5 of other formats");
    for named in 0..4 {
        let name = format!("docs/{named}.json");
        let ran = playground.run_anew(&["build", &name, "docs/a.txt", "-o", "out.parquet"]).expect(3);
        ran.says(&format!(
            "failed: {name}: not a JSON array of objects; if each line is an object, name the file .jsonl"
        ));
    }
    let ran = playground.run_anew(&["build", "docs/4.json", "docs/a.txt", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/4.json:1: no field `text`;").says("failed: docs/4.json:2: no field `text`;");
}

/// MySQL, PHP and others write a backslash before a quote inside a value.
#[test]
#[ignore = "needs what scripts/test installs"]
fn quotes_may_be_escaped_by_backslashes() {
    let playground = Playground::new();
    playground.write(
        "docs/a.csv",
        "id,text\na,\"he said \\\"hi\\\", then left\"\nb,next row\nc,\"C:\\\\temp\\\\\"\n",
    );
    // A backslash is an ordinary character if quotes are written twice.
    playground.write("docs/d.csv", "id,text\nd,\"C:\\temp\\\"\ne,\"a \"\"b\"\" \\ c\"\n");
    playground.write("docs/f.csv", "id,text\nf,\"one\\ntwo \\\"three\\\"\"\n");
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    let expected = [
        ("a", "he said \"hi\", then left"),
        ("b", "next row"),
        ("c", "C:\\temp\\"),
        ("d", "C:\\temp\\"),
        ("e", "a \"b\" \\ c"),
        ("f", "one two \"three\""),
    ];
    assert_eq!(ids_and_texts(&playground), pairs(&expected));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn lines_in_other_encodings_are_read() {
    let playground = Playground::new();
    playground.write(
        "docs/a.jsonl",
        utf16le("\u{FEFF}{\"id\":\"a\",\"text\":\"今天\"}\r\n{\"id\":\"b\",\"text\":\"天气\"}"),
    );
    let (csv, ..) = encoding_rs::SHIFT_JIS.encode("id,text\nc,図書館は月曜日を除いて毎日開いています。\n");
    playground.write("docs/b.csv", csv);
    let ran = playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
    ran.says("decoded: 1 Shift_JIS, 2 UTF-16LE");
    let expected = [("a", "今天"), ("b", "天气"), ("c", "図書館は月曜日を除いて毎日開いています。")];
    assert_eq!(ids_and_texts(&playground), pairs(&expected));
    // If a row has an invalid byte, only that row fails.
    let mut csv = encoding_rs::SHIFT_JIS.encode("id,text\na,図書館\nb,毎日").0.into_owned();
    csv.splice(10..12, [0xFF, 0xFF]);
    playground.write("one.csv", csv);
    let ran =
        playground.run_anew(&["build", "one.csv", "-o", "out.parquet", "--encoding", "shift_jis"]).expect(3);
    ran.says("failed: one.csv:2: cannot be decoded as Shift_JIS;");
    assert_eq!(ids_and_texts(&playground), pairs(&[("b", "毎日")]));
}

/// Returns all rows of a file in one batch.
fn batch(playground: &Playground) -> RecordBatch {
    let file = File::open(playground.path("out.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = reader.schema().clone();
    concat_batches(&schema, &reader.build().unwrap().map(Result::unwrap).collect::<Vec<_>>()).unwrap()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_field_that_no_document_has_is_answered_with_those_that_are_there() {
    let playground = Playground::new()
        .with("a.jsonl", "{\"key\":1,\"text\":\"one\",\"author\":\"me\"}\n")
        .with("a.csv", "key,text,author\n1,one,me\n")
        .with("a.md", "---\nauthor: me\nkey: 1\n---\ntext")
        .with("a.txt", "text");
    let rows = row(1, &["key", "text", "author"]) + &row(2, &["1", "one", "me"]);
    playground.write("a.xlsx", xlsx(&[("Rows", "", &rows)]));
    playground.run(&["build", "a.csv", "-o", "a.parquet", "--keep", "author", "--keep", "key"]).expect(0);
    let run = |input: &str, id: &str, keep: &str| {
        playground
            .run_anew(&["build", input, "-o", "out.parquet", "--id-field", id, "--keep", keep])
            .expect(0)
    };
    for (input, fields) in [
        ("a.jsonl", "author, key, text"),
        ("a.csv", "author, key, text"),
        ("a.parquet", "author, id, key, text, vector"),
        ("a.xlsx", "author, key, text"),
        ("a.md", "author, key"),
    ] {
        let ran = run(input, "kei", "autor");
        ran.says(&format!("--keep autor: no document has this field, so the column is empty (did you mean `author`? the fields are: {fields})\n"));
        let of_ids = format!(
            "--id-field kei: no row has this field, so the id of a row is its file and number (did you mean `key`? the fields are: {fields})\n"
        );
        assert_eq!(
            ran.stderr.contains(&of_ids),
            input != "a.md",
            "only a row has an id of its own{}",
            ran.story
        );
        let right = run(input, "key", "author");
        assert!(!right.stderr.contains("warning: "), "{}", right.story);
    }
    let ran = run("a.txt", "kei", "autor");
    ran.says("so the column is empty\n");
    assert!(!ran.stderr.contains("--id-field"), "{}", ran.story);
    let mut read = after("exec >/dev/null", &playground.command(&["read", "a.csv", "--id-field", "kei"]));
    let ran = playground.output(&mut read, "").expect(0);
    ran.says("--id-field kei: no row has this field").says("did you mean `key`?");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn kept_columns_have_the_types_of_their_values() {
    let playground = Playground::new();
    let mut lines = String::new();
    // There are more rows than one batch of the writer holds. Values of another type, which change the type of a column,
    // come in the final rows.
    for n in 0..600 {
        let (score, mixed) = if n < 500 { ("1", "true") } else { ("0.5", "\"text\"") };
        lines += &format!(
            "{{\"id\":{n},\"text\":\"text {n}\",\"n\":{n},\"score\":{score},\"mixed\":{mixed},\"meta\":{{\"lang\":\"es\",\"tags\":[1,\"b\"]}},\"ok\":true,\"late\":{}}}\n",
            if n == 599 { "7" } else { "null" }
        );
    }
    playground.write("a.jsonl", lines);
    let keep = ["n", "score", "mixed", "meta.lang", "meta.tags", "ok", "late", "none"];
    let mut arguments = vec!["build", "a.jsonl", "-o", "out.parquet"];
    keep.iter().for_each(|name| arguments.extend(["--keep", name]));
    let ran = playground.run(&arguments).expect(0);
    ran.says("warning: --keep none: no document has this field, so the column is empty");
    let batch = batch(&playground);
    let types: Vec<_> = keep.iter().map(|name| batch[*name].data_type().clone()).collect();
    use DataType::{Boolean, Float64, Int64, Utf8};
    assert_eq!(types, [Int64, Float64, Utf8, Utf8, Utf8, Boolean, Int64, Utf8]);
    assert_eq!(batch["n"].as_primitive::<Int64Type>().values()[..], (0..600).collect::<Vec<_>>());
    assert_eq!(batch["score"].as_primitive::<Float64Type>().values()[499..501], [1.0, 0.5]);
    assert_eq!(
        (batch["mixed"].as_string::<i32>().value(0), batch["mixed"].as_string::<i32>().value(599)),
        ("true", "text")
    );
    assert_eq!(batch["meta.lang"].as_string::<i32>().value(3), "es");
    assert_eq!(batch["meta.tags"].as_string::<i32>().value(3), "[1,\"b\"]");
    assert!(batch["ok"].as_boolean().value(599));
    assert_eq!((batch["late"].null_count(), batch["late"].as_primitive::<Int64Type>().value(599)), (599, 7));
    assert_eq!(batch["none"].null_count(), 600);
    // Each row has its own id, text and vector.
    for (at, row) in rows(&playground.path("out.parquet")).iter().enumerate() {
        assert_eq!((row.id.clone(), row.text.clone()), (at.to_string(), format!("text {at}")));
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn every_kind_gives_what_it_has_to_keep() {
    let playground = Playground::new();
    playground.write("docs/a.md", "---\nlang: es\nyear: 2026\n---\nfrom Markdown");
    playground.write("docs/b.txt", "from text");
    playground.write("docs/c.csv", "id,text,lang,year\nc,from CSV,ja,\n");
    fs::copy(repository("fixtures/corpus/ratings.parquet"), playground.path("docs/d.parquet")).unwrap();
    let arguments = ["build", "docs", "-o", "out.parquet", "--keep", "lang", "--keep", "year", "--chunks"];
    playground.run(&arguments).expect(0);
    let batch = batch(&playground);
    let strings = |name: &str| -> Vec<Option<String>> {
        batch[name].as_string::<i32>().iter().map(|value| value.map(str::to_owned)).collect()
    };
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(strings("id")[..3], [some("a.md#0"), some("b.txt#0"), some("c#0")]);
    assert_eq!(strings("lang")[..3], [some("es"), None, some("ja")]);
    let years = batch["year"].as_primitive::<Int64Type>();
    assert_eq!((years.value(0), years.is_null(1), years.is_null(2)), (2026, true, true));
    assert!(years.value(3) > 2000 && strings("lang")[3].is_some());

    playground.run(&["build", "docs", "-o", "out.parquet", "--keep", "text"]).expect(2).says("--keep text: ");
    playground.write("docs/a.md", "---\nlang: [es\n---\nfrom Markdown");
    let ran = playground.run_anew(&["build", "docs", "-o", "out.parquet", "--keep", "lang"]).expect(3);
    ran.says("failed: docs/a.md: its front matter is not YAML: ");
    playground.run(&["build", "docs", "-o", "out.parquet"]).expect(0);
}

/// An index of an earlier run in a folder of documents is skipped. Otherwise the rows of the index would bring back
/// documents that were removed.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_is_not_read_unless_it_is_named() {
    let playground = Playground::new();
    playground.write("docs/a.md", "one");
    playground.write("docs/b.md", "two");
    let arguments = ["build", "docs", "-o", "docs/index.parquet"];
    playground.run(&arguments).expect(0);
    fs::copy(playground.path("docs/index.parquet"), playground.path("docs/old.parquet")).unwrap();
    fs::remove_file(playground.path("docs/b.md")).unwrap();
    let ran = playground.run(&arguments).expect(0);
    ran.says("1 document: 0 embedded, 1 reused, 0 empty, 0 failed; skipped: 1 hidden, 2 made by this tool");
    playground.run_anew(&["build", "docs/old.parquet", "-o", "out.parquet"]).expect(0);
    assert_eq!(ids_and_texts(&playground), pairs(&[("a.md", "one"), ("b.md", "two")]));
    playground.run(&["build", "out.parquet", "-o", "./out.parquet"]).expect(2).says("is also the output");
}

/// If a file would take all memory, time or disk space, only that document fails. The other documents have rows.
#[test]
#[ignore = "needs what scripts/test installs"]
fn bounds_cost_a_document_not_the_run() {
    let playground = Playground::new();
    let bomb = vec![b' '; 64 << 20];
    playground.write("docs/a.txt", "good");
    playground.write("docs/b.txt.gz", gzip(&bomb));
    playground.write(
        "docs/c.jsonl.zst",
        zstd::encode_all(&[&b"{\"text\":\"before\"}\n"[..], &bomb].concat()[..], 3).unwrap(),
    );
    playground.write("docs/d.txt", "x".repeat(3 << 20));
    playground
        .write("docs/e.jsonl", format!("{{\"text\":\"{}\"}}\n{{\"text\":\"short\"}}\n", "x".repeat(3 << 20)));
    playground.write("docs/f.csv", format!("text\n\"{}", "x\n".repeat(3 << 20)));
    // In each paragraph, the parser opens all unclosed elements again, so 47 KB of HTML become 2 GB.
    playground.write("docs/g.html", (0..4700).map(|n| format!("<p><b a{n}>")).collect::<String>());
    let arguments =
        ["build", "docs", "-o", "out.parquet", "--max-document-mib", "2", "--max-document-seconds", "60"];
    let ran = playground.run(&arguments).expect(3);
    ran.says("failed: docs/b.txt.gz: larger than 2097152 bytes; raise --max-document-mib")
        .says("failed: docs/c.jsonl.zst:2: ")
        .says("failed: docs/d.txt: larger than 2097152 bytes;")
        .says("failed: docs/e.jsonl:1: larger than 2097152 bytes;")
        .says("failed: docs/f.csv:2: larger than 2097152 bytes (the rest of the file is not read);")
        .says("failed: docs/g.html: the process that reads it crashed or took more than 2 GiB of memory;");
    assert_eq!(ran.stderr.matches("failed: ").count(), 6, "{}", ran.story);
    let expected = [("a.txt", "good"), ("c.jsonl.zst:1", "before"), ("e.jsonl:2", "short")];
    assert_eq!(ids_and_texts(&playground), pairs(&expected));
    let ran = playground.run_anew(&["build", "docs/b.txt.gz", "docs/a.txt", "-o", "out.parquet"]).expect(3);
    ran.says("failed: docs/b.txt.gz: expands to more than 100 times its size;");
    playground
        .run_anew(&["build", "docs/b.txt.gz", "-o", "out.parquet", "--max-expansion", "5000"])
        .expect(0);
}
