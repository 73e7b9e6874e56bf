//! `embed` prints the vectors that `build` makes, each as soon as its line has arrived.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use crate::util::{self, Playground, golden, jsonl};

#[derive(Debug, Deserialize)]
struct Line {
    text: String,
    vector: Option<Vec<f32>>,
    error: Option<String>,
}

/// Returns texts of one chunk, and one of many chunks.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = golden().into_iter().map(|text| text.text).collect();
    texts.push(texts.join(" "));
    texts
}

fn parse(stdout: &str) -> Vec<Line> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn embed_gives_the_vectors_of_a_build() {
    let playground = Playground::new();
    let texts = texts();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
    let instruction = ["--instruction", "Find the rule"];
    let retrieval =
        ["--instruction", "Given a web search query, retrieve relevant passages that answer the query"];
    let settings = ["--max-tokens", "90", "--dim", "40"];
    for (embed, build) in
        [(&[][..], &[][..]), (&["--query"], &retrieval), (&instruction, &instruction), (&settings, &settings)]
    {
        let rows = playground.build("in.jsonl", build);
        let stdin = texts.join("\n");
        let ran = playground.run_with_stdin(&[&["embed"], embed].concat(), &stdin).expect(0);
        let lines = parse(&ran.stdout);
        assert!(lines.iter().map(|line| &line.text).eq(&texts));
        assert!(
            lines.into_iter().map(|line| line.vector.unwrap()).eq(rows.into_iter().map(|row| row.vector))
        );
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn numpy_and_pyarrow_read_the_npy_and_arrow_formats() {
    const SCRIPT: &str = r#"
import json, subprocess, sys
import numpy, pyarrow.ipc

command, texts = sys.argv[1:3], open("texts.txt", "rb").read()
run = lambda format: subprocess.run([*command, "--format", format], input=texts, stdout=subprocess.PIPE, check=True).stdout
lines = [json.loads(line) for line in run("jsonl").splitlines()]
vectors = numpy.array([line["vector"] for line in lines], dtype=numpy.float32)
open("vectors.npy", "wb").write(run("npy"))
array = numpy.load("vectors.npy")
assert array.dtype == numpy.float32 and array.flags.c_contiguous and numpy.array_equal(array, vectors)
table = pyarrow.ipc.open_stream(run("arrow")).read_all()
assert table["text"].to_pylist() == [line["text"] for line in lines]
assert table.schema.field("vector").type.list_size == vectors.shape[1]
assert numpy.array_equal(numpy.array(table["vector"].to_pylist(), dtype=numpy.float32), vectors)
print(len(lines))
"#;
    let playground = Playground::new();
    // More texts than `embed` takes at a time.
    let texts: Vec<String> = (0..600).map(|n| format!("{n}{}", " and so on".repeat(n % 4))).collect();
    playground.write("texts.txt", texts.join("\n"));
    let command = playground.command(&["embed"]);
    let mut python = util::python("qdrant");
    python.arg("-c").arg(SCRIPT).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        python.env(name, value.unwrap());
    }
    let output = python.current_dir(playground.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "600");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_line_is_answered_before_the_next_arrives() {
    let playground = Playground::new();
    let mut command = playground.command(&["embed", "--query"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, answers) = channel();
    thread::spawn(move || {
        BufReader::new(stdout).lines().for_each(|line| sender.send(line.unwrap()).unwrap())
    });
    let mut ask = |lines: &[&str]| {
        stdin.write_all((lines.join("\n") + "\n").as_bytes()).unwrap();
        let answer = |_| answers.recv_timeout(Duration::from_secs(60)).expect("an answer to each line");
        parse(&lines.iter().map(answer).collect::<Vec<_>>().join("\n"))
    };
    let alone = ask(&["one"]).remove(0);
    let together = ask(&["two", "one", "", "three"]);
    assert!(together.iter().map(|line| line.text.as_str()).eq(["two", "one", "", "three"]));
    assert_eq!(together[1].vector, alone.vector);
    assert_eq!(together[2].error.as_deref(), Some("is empty: it has no visible characters"));
    assert!(together[2].vector.is_none() && together[3].vector.is_some());
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(3), "one line had no vector");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_text_without_a_vector_is_an_error_of_its_line_or_of_the_run() {
    let playground = Playground::new();
    let ran = playground.run(&["embed", "one", " "]).expect(3);
    let lines = parse(&ran.stdout);
    assert!(lines[0].vector.is_some() && lines[1].error.is_some(), "{}", ran.story);
    let ran = playground.run(&["embed", "--format", "npy", "one", ""]).expect(1);
    ran.says("text 2: is empty: it has no visible characters");
    assert_eq!((ran.stderr.lines().count(), ran.stdout.as_str()), (1, ""), "{}", ran.story);
    // The lines before the bad one get their vectors.
    let mut command = playground.command(&["embed"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\nbad\xff\nfour\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), parse(std::str::from_utf8(&output.stdout).unwrap()).len()),
        (Some(1), 2)
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be read as lines of UTF-8"));
    playground.run(&["embed", "--dim", "16", "x"]).expect(2).says("choose 32 to 64");
    playground.run(&["embed", "--query", "--instruction", "x", "y"]).expect(2);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_reader_that_closes_the_pipe_ends_the_run_without_an_error() {
    let playground = Playground::new();
    let mut command = playground.command(&["embed"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    // The process may end before it has read all lines.
    let _ = child.stdin.take().unwrap().write_all("a line\n".repeat(1000).as_bytes());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}
