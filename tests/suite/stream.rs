//! `read`, `embed --arrow` and `pack`: together they do what `build` does, and each follows docs/stream.md.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::iter;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, Int64Array, LargeStringArray, ListArray,
    NullArray, RecordBatch, StringArray, StringViewArray, TimestampSecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{FileWriter, StreamWriter};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::screen::screen;
use crate::util::{self, Playground, Row, metadata, repository, rows};

const READ: [&str; 2] = ["read", "docs"];
const EMBED: [&str; 2] = ["embed", "--arrow"];
const PACK: [&str; 3] = ["pack", "-o", "out.parquet"];

/// Bytes of the end marker of an Arrow stream.
const END: usize = 8;

struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        self
    }

    /// Asserts that standard error is one line and contains this.
    #[track_caller]
    fn says(&self, part: &str) {
        assert!(self.stderr.contains(part), "not said: {part:?}\n{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
    }

    fn batches(&self) -> Vec<RecordBatch> {
        StreamReader::try_new(&self.stdout[..], None).unwrap().map(Result::unwrap).collect()
    }
}

fn run(playground: &Playground, arguments: &[&str], stdin: &[u8]) -> Ran {
    let mut child = start(playground, arguments);
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A run that fails early does not read its input, so writing may fail.
    let writer = thread::spawn(move || drop(input.write_all(&stdin)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    Ran { code: output.status.code(), stdout: output.stdout, stderr }
}

fn start(playground: &Playground, arguments: &[&str]) -> Child {
    let mut command = playground.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Returns id, text and error of each row.
fn read_rows(batches: &[RecordBatch]) -> Vec<(String, String, Option<String>)> {
    let mut rows = Vec::new();
    for batch in batches {
        let [ids, texts, errors] = ["id", "text", "error"].map(|name| batch[name].as_string::<i32>());
        for at in 0..batch.num_rows() {
            let error = errors.is_valid(at).then(|| errors.value(at).to_owned());
            rows.push((ids.value(at).to_owned(), texts.value(at).to_owned(), error));
        }
    }
    rows
}

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.finish().unwrap();
    bytes
}

fn texts(texts: &[&str]) -> RecordBatch {
    batch(vec![("text", Arc::new(StringArray::from(texts.to_vec())))])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn corpus() -> Playground {
    let playground = Playground::new();
    std::os::unix::fs::symlink(repository("fixtures/corpus"), playground.path("docs")).unwrap();
    playground
}

/// Writes documents, some of which fail at different stages. Returns id or place of each failure, and a part of its reason.
fn documents_that_fail(playground: &Playground) -> [(&'static str, &'static str); 5] {
    playground.write("docs/a.txt", "One text.");
    playground.write("docs/b.pdf", "no PDF");
    playground.write("docs/c.md", " \u{200B}\n");
    let lines = ["{\"id\": \"x\", \"text\": \"Another text.\"}", "{\"id\": \"x\", \"text\": \"Doubled.\"}"];
    let lines =
        [&lines[..], &["{\"id\": \"y\"}", "no JSON", "{\"id\": \"nan\", \"text\": \"<|im_start|>\"}"]];
    playground.write("docs/d.jsonl", lines.concat().join("\n"));
    [
        ("b.pdf", "not PDF"),
        ("x", "the id `x` is already used at docs/d.jsonl:1, so this document is skipped"),
        ("y", "no field `text`"),
        ("docs/d.jsonl:4", "not a JSON object"),
        ("nan", "a NaN or an infinity"),
    ]
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn read_embed_and_pack_write_what_a_build_writes() {
    let playground = corpus();
    for options in [
        &[][..],
        &["--dim", "40"],
        &["--instruction", "Find the rule"],
        &["--max-tokens", "40", "--instruction", "Find it", "--dim", "48"],
    ] {
        playground.run_anew(&[&["build", "docs", "-o", "built.parquet", "--rebuild"], options].concat());
        let read = run(&playground, &READ, b"").expect(0);
        let embedded = run(&playground, &[&EMBED, options].concat(), &read.stdout).expect(0);
        assert_eq!(embedded.stderr, "");
        let packed = run(&playground, &PACK, &embedded.stdout).expect(0);
        assert!(packed.stderr.contains(&util::corpus_summary()), "{}", packed.stderr);
        let same = fs::read(playground.path("out.parquet")).unwrap()
            == fs::read(playground.path("built.parquet")).unwrap();
        assert!(same, "other bytes with {options:?}");
    }
    assert!(
        run(&playground, &[&PACK[..], &["-q"]].concat(), &stream_of_rows(&[]))
            .stderr
            .contains("would be lost")
    );
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn kept_columns_arrive_as_text() {
    let playground = Playground::new();
    let line = |n: usize| json!({"id": n, "text": format!("Text {n}"), "tag": format!("t{n}"), "year": 1900 + n, "more": {"a": [n]}});
    let lines: String = (0..5).map(|n| line(n).to_string() + "\n").collect();
    playground.write("docs/in.jsonl", lines + "{\"id\": \"none\", \"text\": \"Nothing kept.\"}\n");
    let keep = ["--keep", "tag", "--keep", "year", "--keep", "more"];
    playground.run(&[&["build", "docs", "-o", "built.parquet"], &keep[..]].concat()).expect(0);
    let read = run(&playground, &[&READ[..], &keep].concat(), b"").expect(0);
    let embedded = run(&playground, &EMBED, &read.stdout).expect(0);
    run(&playground, &PACK, &embedded.stdout).expect(0);
    let [built, packed] = ["built.parquet", "out.parquet"].map(|name| rows(&playground.path(name)));
    assert_eq!(built, packed);
    let batches = read.batches();
    let years = batches[0]["year"].as_string::<i32>();
    assert_eq!((years.value(4), years.is_null(5)), ("1904", true));
    assert_eq!(batches[0]["more"].as_string::<i32>().value(1), "{\"a\":[1]}");
    let found = playground.run(&["search", "out.parquet", "Text 3", "-k", "9", "--json"]).expect(0);
    assert!(found.stdout.contains("\"year\":\"1904\""), "{}", found.stdout);
    playground.run(&["read", "docs", "--keep", "error"]).expect(2).says("already has a column of this name");
}

#[test]
fn every_document_is_in_exactly_one_shard() {
    let playground = corpus();
    let all = read_rows(&run(&playground, &READ, b"").expect(0).batches());
    assert_eq!(all.len(), util::corpus_rows() + util::CORPUS_EMPTY);
    let failing = Playground::new();
    documents_that_fail(&failing);
    let failed = read_rows(&run(&failing, &READ, b"").expect(3).batches());
    for (playground, all) in [(&playground, all), (&failing, failed)] {
        let mut shards = Vec::new();
        for shard in ["0/4", "1/4", "2/4", "3/4"] {
            let ran = run(playground, &[&READ[..], &["--shard", shard]].concat(), b"");
            let rows = read_rows(&ran.batches());
            let has_failures = rows.iter().any(|(_, _, error)| error.is_some());
            assert_eq!(ran.code, Some(if has_failures { 3 } else { 0 }), "{}", ran.stderr);
            assert!(rows.len() < all.len());
            shards.extend(rows);
        }
        let (mut shards, mut all) = (shards, all);
        shards.sort();
        // A failure without an id is a row of every shard.
        shards.dedup();
        all.sort();
        assert_eq!(shards, all);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_failure_stays_a_row_with_its_reason_in_every_stage() {
    let playground = Playground::new();
    let failing = documents_that_fail(&playground);
    let (nan, in_read) = failing.split_last().unwrap();
    let read = run(&playground, &READ, b"").expect(3);
    let reasons = |rows: &[(String, String, Option<String>)]| -> HashMap<String, String> {
        rows.iter().filter_map(|(id, _, error)| Some((id.clone(), error.clone()?))).collect()
    };
    let rows_read = read_rows(&read.batches());
    let order: Vec<&str> = rows_read.iter().map(|(id, ..)| id.as_str()).collect();
    assert_eq!(order, ["a.txt", "b.pdf", "c.md", "x", "x", "y", "docs/d.jsonl:4", "nan"]);
    let found = reasons(&rows_read);
    assert_eq!(found.len(), in_read.len());
    for (id, reason) in in_read {
        assert!(found[*id].contains(reason) && read.stderr.contains(reason), "{id}: {}", found[*id]);
    }
    assert_eq!((rows_read[2].1.as_str(), &rows_read[2].2), ("", &None), "an empty document is not a failure");

    // With the default model nothing else fails. Failures of `read` do not change the exit code of `embed`.
    let fine = run(&playground, &EMBED, &read.stdout).expect(0);
    assert_eq!(reasons(&read_rows(&fine.batches())), found);
    let embed = [&EMBED[..], &["--model-file", "model_nan.onnx"]].concat();
    let embedded = run(&playground, &embed, &read.stdout).expect(3);
    let batches = embedded.batches();
    let found = reasons(&read_rows(&batches));
    assert_eq!(found.len(), failing.len());
    assert!(found[nan.0].contains(nan.1));
    let has_vector: Vec<bool> = (0..8).map(|at| batches[0]["vector"].is_valid(at)).collect();
    assert_eq!(has_vector, [true, false, false, true, false, false, false, false]);

    let packed = run(&playground, &PACK, &embedded.stdout).expect(3);
    for (id, reason) in failing {
        assert!(
            packed.stderr.lines().any(|line| line.contains(id) && line.contains(reason)),
            "{}",
            packed.stderr
        );
    }
    assert!(packed.stderr.contains("8 documents: 2 embedded, 1 empty, 5 failed"), "{}", packed.stderr);
    let build = ["build", "docs", "-o", "built.parquet", "--model-file", "model_nan.onnx"];
    playground.run(&build).expect(3);
    assert_eq!(rows(&playground.path("out.parquet")), rows(&playground.path("built.parquet")));
}

/// A running `embed --arrow` with a writer to its input and a reader of its output.
struct Open {
    child: Child,
    writer: StreamWriter<ChildStdin>,
    reader: StreamReader<ChildStdout>,
}

impl Open {
    fn start(playground: &Playground, schema: &Schema) -> Self {
        let mut child = start(playground, &EMBED);
        let writer = StreamWriter::try_new(child.stdin.take().unwrap(), schema).unwrap();
        // The schema arrives before any batch.
        let reader = StreamReader::try_new(child.stdout.take().unwrap(), None).unwrap();
        Open { child, writer, reader }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_batch_is_answered_before_the_next_arrives() {
    let playground = Playground::new();
    let first = texts(&["one", "  two \u{200B}", ""]);
    let mut open = Open::start(&playground, &first.schema());
    let said = open.reader.schema();
    let vector = DataType::FixedSizeList(Arc::new(Field::new("element", DataType::Float32, false)), 64);
    let columns: Vec<_> =
        said.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    assert_eq!(columns, [("text", &DataType::Utf8), ("vector", &vector), ("error", &DataType::Utf8)]);
    playground.write("in.jsonl", util::jsonl(["one", "two"]));
    let built = playground.build("in.jsonl", &[]);
    let metadata: serde_json::Value = serde_json::from_str(&said.metadata()["qwen3-index"]).unwrap();
    assert_eq!(metadata, util::metadata(&playground.path("out.parquet")));
    for (batch, count) in [(first.clone(), 3), (first.slice(1, 0), 0), (first.slice(1, 1), 1)] {
        open.writer.write(&batch).unwrap();
        let answer = open.reader.next().unwrap().unwrap();
        assert_eq!(answer.num_rows(), count);
        let vectors = answer["vector"].as_fixed_size_list();
        for at in 0..count {
            match answer["text"].as_string::<i32>().value(at) {
                "" => assert!(vectors.is_null(at)),
                text => {
                    let Row { vector, .. } = built.iter().find(|row| row.text == text).unwrap();
                    assert_eq!(vectors.value(at).as_primitive::<Float32Type>().values(), vector.as_slice());
                }
            }
        }
        assert_eq!(answer["error"].null_count(), count);
    }
    open.writer.finish().unwrap();
    drop(open.writer);
    assert!(open.reader.next().is_none());
    assert_eq!(open.child.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn at_most_two_batches_are_read_ahead() {
    const BATCHES: usize = 12;
    let playground = Playground::new();
    // Batches larger than a pipe's buffer.
    let padding = "x".repeat(1 << 20);
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a text"]));
    let large = batch(vec![("text", text), ("more", Arc::new(StringArray::from(vec![padding])))]);
    let Open { mut child, mut writer, reader } = Open::start(&playground, &large.schema());
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let writer = thread::spawn(move || {
        for _ in 0..BATCHES {
            writer.write(&large).unwrap();
            count.fetch_add(1, Relaxed);
        }
        writer.finish().unwrap();
    });
    // Waits until the count stands still: nobody reads the output, so the process stops reading.
    let mut last = 0;
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(100));
        let now = written.load(Relaxed);
        if now > 0 && now == last {
            break;
        }
        last = now;
    }
    thread::sleep(Duration::from_millis(500));
    let ahead = written.load(Relaxed);
    assert!((1..=3).contains(&ahead), "{ahead}");
    assert_eq!(reader.map(Result::unwrap).count(), BATCHES);
    writer.join().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn other_columns_pass_unchanged() {
    let playground = Playground::new();
    let list =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None, Some(vec![])]);
    let others: Vec<(&str, ArrayRef)> = vec![
        ("number", Arc::new(Int64Array::from(vec![Some(1 << 60), None, Some(-1)]))),
        ("long", Arc::new(LargeStringArray::from(vec![Some("a"), None, Some("b")]))),
        ("list", Arc::new(list)),
        ("time", Arc::new(TimestampSecondArray::from(vec![1, 2, 3]).with_timezone("UTC"))),
    ];
    let words = vec![Some(" one"), None, Some("two ")];
    let forms: [(ArrayRef, ArrayRef); 3] = [
        (
            Arc::new(StringArray::from(words.clone())),
            Arc::new(StringArray::from(vec![None, None, Some("no")])),
        ),
        (Arc::new(LargeStringArray::from(words.clone())), Arc::new(NullArray::new(3))),
        (
            Arc::new(StringViewArray::from(words)),
            Arc::new(StringViewArray::from(vec![None, None, Some("no")])),
        ),
    ];
    for (text, error) in forms {
        let has_error = error.is_valid(2) && *error.data_type() != DataType::Null;
        let columns = [("error", error)].into_iter().chain(others.clone()).chain([("text", text)]);
        let sent = batch(columns.collect());
        let ran = run(&playground, &EMBED, &stream(std::slice::from_ref(&sent))).expect(0);
        let answer = &ran.batches()[0];
        let names: Vec<String> = answer.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["error", "number", "long", "list", "time", "text", "vector"]);
        for (name, column) in &others {
            assert_eq!(&answer[*name], column, "{name}");
        }
        let texts = answer["text"].as_string::<i32>();
        assert_eq!([0, 1, 2].map(|at| texts.value(at)), ["one", "", "two"], "null must become an empty text");
        let vectors: Vec<bool> = (0..3).map(|at| answer["vector"].is_valid(at)).collect();
        assert_eq!(vectors, [true, false, !has_error]);
        assert_eq!(answer["error"].is_valid(2), has_error);
    }
}

/// A row for `pack`: id, vector, error.
type Sent<'a> = (&'a str, Option<Vec<f32>>, Option<&'a str>);

fn stream_of_rows(rows: &[Sent]) -> Vec<u8> {
    stream(&[batch_of_rows(rows)])
}

fn batch_of_rows(rows: &[Sent]) -> RecordBatch {
    let ids: StringArray = rows.iter().map(|row| Some(row.0)).collect();
    let texts: StringArray = rows.iter().map(|_| Some("a text")).collect();
    let errors: StringArray = rows.iter().map(|row| row.2).collect();
    let numbers = rows.iter().flat_map(|row| row.1.clone().unwrap_or_else(|| vec![0.0; DIM]));
    let numbers = Arc::new(Float32Array::from_iter_values(numbers));
    let valid: NullBuffer = rows.iter().map(|row| row.1.is_some()).collect();
    let element = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = FixedSizeListArray::try_new(element, DIM as i32, numbers, Some(valid)).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(ids)),
        ("text", Arc::new(texts)),
        ("vector", Arc::new(vectors)),
        ("error", Arc::new(errors)),
    ];
    with_metadata(batch(columns))
}

/// Dimensions of the tiny model.
const DIM: usize = 64;

/// Adds the metadata that `embed --arrow` writes.
fn with_metadata(batch: RecordBatch) -> RecordBatch {
    static SAID: std::sync::OnceLock<HashMap<String, String>> = std::sync::OnceLock::new();
    let said = SAID.get_or_init(|| {
        let ran = run(&Playground::new(), &EMBED, &stream(&[texts(&[])])).expect(0);
        StreamReader::try_new(&ran.stdout[..], None).unwrap().schema().metadata().clone().into()
    });
    let schema = batch.schema().as_ref().clone().with_metadata(said.clone());
    batch.with_schema(Arc::new(schema)).unwrap()
}

fn unit(at: usize) -> Option<Vec<f32>> {
    Some((0..DIM).map(|n| f32::from(u8::from(n == at))).collect())
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn wrong_streams_are_refused_in_one_line() {
    let playground = Playground::new();
    let mut file = Vec::new();
    let mut writer = FileWriter::try_new(&mut file, &texts(&["a"]).schema()).unwrap();
    writer.write(&texts(&["a"])).unwrap();
    writer.finish().unwrap();
    let ids = || -> ArrayRef { Arc::new(Int64Array::from(vec![1])) };
    let vector = batch_of_rows(&[("a", unit(0), None)])["vector"].clone();
    let of_embed: [(Vec<u8>, &str); 6] = [
        (Vec::new(), "is empty"),
        (b"{\"text\": \"a\"}\n".to_vec(), "is not an Arrow IPC stream"),
        (file, "is an Arrow file, not a stream"),
        (stream(&[batch(vec![("id", ids())])]), "has no column `text` (its columns: id)"),
        (stream(&[batch(vec![("text", ids())])]), "its column `text` is Int64, expected utf8"),
        (
            stream(&[batch(vec![("text", texts(&["a"])["text"].clone()), ("vector", vector)])]),
            "has a column `vector`",
        ),
    ];
    for (bytes, says) in of_embed {
        let ran = run(&playground, &EMBED, &bytes).expect(1);
        ran.says(says);
        assert!(ran.stdout.is_empty());
    }

    let good = batch_of_rows(&[("a", unit(0), None)]);
    let with = |name: &str, column: ArrayRef| {
        let schema = good.schema();
        let names = schema.fields().iter().map(|field| field.name().clone());
        let columns = names.filter(|other| other != name).map(|other| (other.clone(), good[&other].clone()));
        let columns = columns.chain([(name.to_owned(), column)]);
        stream(&[with_metadata(RecordBatch::try_from_iter(columns).unwrap())])
    };
    let bare = RecordBatch::try_new(
        Arc::new(good.schema().as_ref().clone().with_metadata(HashMap::new())),
        good.columns().to_vec(),
    )
    .unwrap();
    let list: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)])]));
    let half = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([Some(vec![Some(1.0); 32])], 32);
    let of_pack: [(Vec<u8>, &str); 8] = [
        (Vec::new(), "is empty"),
        (stream(&[bare]), "does not say which model made its vectors"),
        (stream(&[with_metadata(texts(&["a"]))]), "has no column `id`"),
        (with("id", ids()), "its column `id` is Int64"),
        (with("vector", Arc::new(half)), "expected fixed_size_list<float32>[64]"),
        (with("tags", list), "its column `tags` is List"),
        (with("Text", ids()), "the name of its column `Text` is empty or already used"),
        (with("id", Arc::new(StringArray::from(vec![None::<&str>]))), "row 1: has no id"),
    ];
    for (bytes, says) in of_pack {
        run(&playground, &PACK, &bytes).expect(1).says(says);
        assert_eq!(playground.listing(), [""; 0]);
    }
    run(&playground, &PACK, &with("year", ids())).expect(0);
    playground.run(&["embed", "--arrow", "a text"]).expect(2);
    playground.run(&["embed", "--arrow", "--format", "npy"]).expect(2);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_invalid_row_fails_pack_and_leaves_the_old_output() {
    let playground = Playground::new();
    run(&playground, &PACK, &stream_of_rows(&[("old", unit(1), None)])).expect(0);
    let before = fs::read(playground.path("out.parquet")).unwrap();
    let nan = unit(0).map(|mut vector| {
        vector[7] = f32::NAN;
        vector
    });
    let long = unit(0).map(|vector| vector.iter().map(|x| x * 1.002).collect());
    let a = || ("a", unit(0), None);
    for (rows, says) in [
        (vec![a(), ("b", nan, None)], "row `b`: its vector is not finite"),
        (vec![a(), ("b", long, None)], "row `b`: the length of its vector is 1.0020"),
        (vec![a(), ("b", None, None)], "row `b`: has neither a vector nor an error"),
        (vec![a(), ("b", unit(3), None), a()], "row `a`: an earlier row has this id too"),
        (vec![], "no row of the stream has a vector (0 documents"),
    ] {
        run(&playground, &PACK, &stream_of_rows(&rows)).expect(1).says(says);
        assert_eq!(playground.listing(), ["out.parquet"]);
        assert!(fs::read(playground.path("out.parquet")).unwrap() == before);
    }
    let failed = [("c", None, Some("it broke"))];
    let ran = run(&playground, &PACK, &stream_of_rows(&failed)).expect(1);
    assert!(
        ran.stderr.contains("failed: c: it broke") && ran.stderr.contains("the 1 rows of the old file"),
        "{}",
        ran.stderr
    );
    // A row with an error may have the id of another row, and a length within the tolerance counts as 1.
    let nearly = unit(0).map(|vector| vector.iter().map(|x| x * 1.0005).collect());
    let rows = [("b", nearly, None), ("b", None, Some("it is doubled"))];
    run(&playground, &PACK, &stream_of_rows(&rows)).expect(3);
    let ids: Vec<String> =
        util::rows(&playground.path("out.parquet")).into_iter().map(|row| row.id).collect();
    assert_eq!(ids, ["b"]);
    let none = stream_of_rows(&[]);
    let ran = run(&playground, &["pack", "-o", "empty.parquet"], &none).expect(1);
    ran.says("standard input: has no rows; check the inputs of the process that wrote it, or allow an empty");
    assert!(!playground.path("empty.parquet").exists());
    run(&playground, &["pack", "-o", "empty.parquet", "--allow-empty"], &none).expect(0);
    assert_eq!(util::rows(&playground.path("empty.parquet")), []);
    fs::write(playground.path("other.parquet"), b"no Parquet").unwrap();
    run(&playground, &["pack", "-o", "other.parquet"], &stream_of_rows(&rows))
        .expect(1)
        .says("would be lost");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_batches_of_a_stream_that_is_cut_off_are_answered() {
    let playground = Playground::new();
    let batches = [texts(&["one", "two"]), texts(&["three"])];
    let bytes = stream(&batches);
    let embedded = run(&playground, &EMBED, &bytes).expect(0);
    let first = stream(&batches[..1]).len() - END;
    // Cut before and inside the second batch, behind it, and inside the end marker.
    for (end, answered) in
        [(first, 1), (first + 100, 1), (bytes.len() - 20, 1), (bytes.len() - END, 2), (bytes.len() - 4, 2)]
    {
        let ran = run(&playground, &EMBED, &bytes[..end]).expect(1);
        ran.says("ends without its end marker");
        assert_eq!(ran.batches(), embedded.batches()[..answered]);
        // The output has no end marker either, so that its reader notices the cut.
        assert_eq!(ran.stdout, embedded.stdout[..ran.stdout.len()]);
        assert!(ran.stdout.len() <= embedded.stdout.len() - END);
    }
    let rows = stream(&[batch_of_rows(&[("a", unit(0), None)]), batch_of_rows(&[("b", unit(1), None)])]);
    for end in [rows.len() - END, rows.len() - 100, 200] {
        run(&playground, &PACK, &rows[..end]).expect(1).says("ends without its end marker");
        assert_eq!(playground.listing(), [""; 0]);
    }
}

#[test]
fn batches_have_a_limited_size() {
    let playground = Playground::new();
    let line = |n: usize| json!({"id": n, "text": format!("{n} {}", "x".repeat(if n < 3000 { 1 } else { 100_000 }))});
    playground.write("docs/in.jsonl", (0..3020).map(|n| line(n).to_string() + "\n").collect::<String>());
    let batches = run(&playground, &READ, b"").expect(0).batches();
    let mut ids = BTreeSet::new();
    for batch in &batches {
        let bytes = batch["text"].as_string::<i32>().value_data().len();
        assert!(batch.num_rows() <= 1024 && bytes < (512 << 10) + 100_100, "{} {bytes}", batch.num_rows());
        ids.extend(read_rows(std::slice::from_ref(batch)).into_iter().map(|(id, ..)| id));
    }
    assert_eq!((ids.len(), batches.len()), (3020, 2 + 4));
}

#[test]
fn a_reader_that_closes_the_pipe_ends_read_without_an_error() {
    let playground = Playground::new();
    playground.write("docs/in.jsonl", util::jsonl(iter::repeat_n("a text", 20_000)));
    let mut child = start(&playground, &READ);
    let mut some = [0; 100];
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut some).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_signal_ends_a_pack_that_waits_for_input() {
    let playground = Playground::new();
    let mut child = start(&playground, &PACK);
    let rows = batch_of_rows(&[("a", unit(0), None)]);
    let mut writer = StreamWriter::try_new(child.stdin.take().unwrap(), &rows.schema()).unwrap();
    writer.write(&rows).unwrap();
    while !playground.listing().iter().any(|name| name.ends_with(".tmp")) {
        assert!(child.try_wait().unwrap().is_none());
        thread::sleep(Duration::from_millis(20));
    }
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(playground.listing(), [""; 0], "files are left");
    drop(writer);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_example_of_the_page_on_streams_works() {
    let page = fs::read_to_string(repository("docs/stream.md")).unwrap();
    let (_, code) = page.split_once("```python\n").unwrap();
    let (code, _) = code.split_once("```").unwrap();
    let playground = corpus();
    let mut python = util::python("readers");
    let bin = Path::new(env!("CARGO_BIN_EXE_qwen3-index")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    python.env("PATH", path).env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
    python.current_dir(playground.path("")).arg("-c").arg(code);
    let ran = playground.output(&mut python, "").expect(0);
    assert_eq!(ran.stdout.trim(), format!("{} rows", util::corpus_rows()));
    assert_eq!(playground.build("docs", &[]), rows(&playground.path("vectors.parquet")));
    assert_eq!(metadata(&playground.path("out.parquet")), metadata(&playground.path("vectors.parquet")));
    // Without documents the example fails instead of waiting for batches.
    fs::rename(playground.path("docs"), playground.path("elsewhere")).unwrap();
    playground.output(&mut python, "").expect(1);
}

#[test]
fn an_interrupted_pack_does_not_promise_to_go_on() {
    let playground = Playground::new();
    let child = start(&playground, &PACK);
    while !playground.path(".out.parquet.lock").exists() {
        thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    // `wait_with_output` would close standard input first, so that the stream would end.
    let mut child = child;
    let _open = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert_eq!(stderr, "qwen3-index: error: interrupted; the next run starts from scratch\n");
    assert!(playground.listing().is_empty(), "{:?}", playground.listing());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn no_binary_output_goes_to_a_terminal() {
    let playground = corpus();
    for arguments in
        [&READ[..], &EMBED, &["embed", "--format", "npy", "text"], &["embed", "--format", "arrow", "text"]]
    {
        let screen = screen(&mut playground.command(arguments), 200);
        assert_eq!(screen.code, Some(2), "{}", screen.last());
        let says = "standard output: is a terminal, but the output is binary; add a pipe or `> FILE`";
        assert_eq!(screen.last(), format!("qwen3-index: error: {says}\n"));
    }
    let screen = screen(&mut playground.command(&["embed", "text"]), 200);
    assert_eq!(screen.code, Some(0), "{}", screen.last());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn more_parts_than_a_process_may_open_are_searched_and_merged() {
    let playground = Playground::new();
    let texts: Vec<String> = (0..70).map(|n| format!("the station {n}")).collect();
    playground.write("in.jsonl", util::jsonl(texts.iter().map(String::as_str)));
    let read = run(&playground, &["read", "in.jsonl"], b"").expect(0);
    let embedded = run(&playground, &EMBED, &read.stdout).expect(0).batches();
    for at in 0..texts.len() {
        let part = stream(&[embedded[0].slice(at, 1)]);
        run(&playground, &["pack", "-q", "-o", &format!("parts{at:02}.parquet")], &part).expect(0);
    }
    let few = |arguments: &[&str]| {
        playground.output(&mut util::after("ulimit -n 64", &playground.command(arguments)), "").expect(0)
    };
    let parts = "parts*.parquet";
    let search = ["search", parts, "the station 69", "-k", "70", "--json", "--no-instruction"];
    let found = few(&search).stdout;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let hits = found["hits"].as_array().unwrap();
    assert_eq!((hits.len(), &hits[0]["id"]), (70, &json!("69")));
    let figures = few(&["inspect", parts, "--verify", "--json"]).stdout;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&figures).unwrap()["rows"], 70);
    few(&["merge", parts, "-o", "out.parquet"]);
    let merged: Vec<String> = rows(&playground.path("out.parquet")).into_iter().map(|row| row.text).collect();
    assert_eq!(merged, texts);

    // A part that is opened again for each question must still be the same file.
    let mut command =
        util::after("ulimit -n 64", &playground.command(&["search", parts, "--questions", "-", "--json"]));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut questions, mut answers) =
        (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    questions.write_all(b"one\n").unwrap();
    answers.read_line(&mut String::new()).unwrap();
    fs::rename(playground.path("parts00.parquet"), playground.path("parts69.parquet")).unwrap();
    questions.write_all(b"two\n").unwrap();
    drop(questions);
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let expected = "parts69.parquet: cannot be read from row 0 on: another program wrote this file during the run; run again";
    assert!(error.contains(expected), "{error}");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_text_with_too_many_tokens_gets_an_error() {
    let playground = Playground::new();
    playground.write("docs/long.txt", "A sentence with some words. ".repeat(40));
    playground.write("docs/short.txt", "A sentence.");
    let says = "has more than 100 tokens; raise --max-document-tokens, or split it";
    let text = fs::read_to_string(playground.path("docs/long.txt")).unwrap();
    let limit = ["--max-document-tokens", "100"];
    let ran =
        playground.run_with_stdin(&[&["embed"], &limit[..]].concat(), &format!("{text}\nshort\n")).expect(3);
    assert!(ran.stdout.contains(says), "{}", ran.story);
    let bash = "qwen3-index read docs | qwen3-index embed --arrow --max-document-tokens 100 | qwen3-index pack -o out.parquet";
    let program = Path::new(env!("CARGO_BIN_EXE_qwen3-index")).parent().unwrap();
    let mut pipe = Command::new("bash");
    pipe.args(["-c", &format!("PATH={}:$PATH; {bash}", program.display())]).current_dir(playground.path(""));
    pipe.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
    playground.output(&mut pipe, "").expect(3).says(says);
    let rows = fs::read(playground.path("out.parquet")).unwrap();
    playground
        .run_anew(&["build", "docs", "-o", "out.parquet", "--max-document-tokens", "100"])
        .expect(3)
        .says(says);
    assert!(rows == fs::read(playground.path("out.parquet")).unwrap());
}
