//! `search` finds the rows that a comparison with all rows finds, and refuses in one line what it cannot search.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde::Deserialize;

use crate::util::{self, Playground, Ran, Row, golden, jsonl, repository, rows};

#[derive(Debug, Deserialize)]
struct Answer {
    question: String,
    hits: Vec<Hit>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Hit {
    id: String,
    score: f64,
    text: String,
    #[serde(default)]
    kept: serde_json::Map<String, serde_json::Value>,
    file: Option<String>,
}

const QUESTIONS: [&str; 5] = [
    "How do I return a station?",
    "电池能用多久？",
    "返品はいつまでできますか。",
    "¿Cuánto tarda el envío?",
    "rain",
];

fn search(playground: &Playground, arguments: &[&str]) -> Vec<Answer> {
    let ran = playground.run(&[&["search", "--json"], arguments].concat()).expect(0);
    assert_eq!(ran.stderr, "", "{}", ran.story);
    ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the vectors of questions, made by `build`.
fn vectors(questions: &[&str], more: &[&str]) -> Vec<Vec<f32>> {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(questions.iter().copied()));
    playground.build("in.jsonl", more).into_iter().map(|row| row.vector).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Returns the nearest rows by comparing all, with `by_document` only the nearest of each document.
fn expected<'a>(rows: &'a [Row], question: &[f32], most: usize, by_document: bool) -> Vec<(&'a Row, f64)> {
    let mut scored: Vec<(&Row, f64)> = rows.iter().map(|row| (row, dot(&row.vector, question))).collect();
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let document = |row: &Row| row.id.rsplit_once('#').unwrap().0.to_owned();
    let mut seen = Vec::new();
    scored.retain(|(row, _)| {
        !by_document
            || !seen.contains(&document(row)) && {
                seen.push(document(row));
                true
            }
    });
    scored.truncate(most);
    scored
}

#[track_caller]
fn assert_found(answer: &Answer, expected: &[(&Row, f64)]) {
    assert_eq!(answer.hits.len(), expected.len());
    for (hit, (row, score)) in answer.hits.iter().zip(expected) {
        assert_eq!((&hit.id, &hit.text), (&row.id, &row.text), "{}", answer.question);
        assert!((hit.score - score).abs() < 1e-5, "{hit:?} instead of {score}");
    }
}

/// The model card's instruction, the default for questions.
const RETRIEVAL: [&str; 2] =
    ["--instruction", "Given a web search query, retrieve relevant passages that answer the query"];

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_nearest_rows_are_found_in_one_file_and_in_many() {
    let playground = Playground::new();
    let all = playground.build(repository("fixtures/corpus").to_str().unwrap(), &[]);
    let questions = vectors(&QUESTIONS, &RETRIEVAL);
    playground.write("questions.txt", QUESTIONS.join("\n"));
    let answers = search(&playground, &["out.parquet", "--questions", "questions.txt", "-k", "7"]);
    for ((answer, text), vector) in answers.iter().zip(QUESTIONS).zip(&questions) {
        assert_eq!(answer.question, text);
        assert_found(answer, &expected(&all, vector, 7, false));
        assert!(answer.hits.iter().all(|hit| hit.file.is_none()));
        let alone = search(&playground, &["out.parquet", text, "-k", "7"]);
        assert_eq!(alone[0].hits, answer.hits);
    }
    // Without an instruction, with another one, and with `-k` larger than the number of rows.
    let other = ["--instruction", "Find the rule"];
    for (arguments, made_with) in [(&["--no-instruction"][..], &[][..]), (&other[..], &other[..])] {
        let vector = &vectors(&QUESTIONS[..1], made_with)[0];
        let answers =
            search(&playground, &[&["out.parquet", QUESTIONS[0], "-k", "1000"], arguments].concat());
        assert_found(&answers[0], &expected(&all, vector, 1000, false));
    }

    // The same rows in three files; the second file is empty.
    let corpus = repository("fixtures/corpus");
    let corpus = |name: &str| corpus.join(name).to_str().unwrap().to_owned();
    fs::create_dir(playground.path("parts")).unwrap();
    playground.write("none.txt", " ");
    for (name, inputs) in [("a", vec!["en", "es"]), ("b", vec![]), ("c", vec!["ja", "zh", "faq.jsonl"])] {
        let mut arguments = vec!["build".to_owned(), "none.txt".to_owned()];
        arguments.extend(inputs.into_iter().map(corpus));
        arguments.extend(["-o".to_owned(), format!("parts/{name}.parquet")]);
        arguments.extend(["--delta".to_owned(), format!("parts/{name}.delta.parquet")]);
        playground.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    }
    playground.write("parts/notes.txt", "no index");
    let parts: Vec<Row> =
        ["a", "c"].iter().flat_map(|name| rows(&playground.path(&format!("parts/{name}.parquet")))).collect();
    playground.run(&["search", "parts/a.delta.parquet", "x"]).expect(1).says("is a delta, not an index");
    for index in ["parts", "parts/[a-c].parquet"] {
        let answers = search(&playground, &[index, "--questions", "questions.txt", "-k", "9"]);
        for (answer, vector) in answers.iter().zip(&questions) {
            assert_found(answer, &expected(&parts, vector, 9, false));
            assert!(answer.hits.iter().all(|hit| hit.file.as_ref().unwrap().starts_with("parts/")));
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn by_document_finds_the_nearest_chunk_of_each_document() {
    let playground = Playground::new();
    let corpus = repository("fixtures/corpus");
    let all = playground.build(corpus.to_str().unwrap(), &["--chunks", "--max-tokens", "64", "--dim", "48"]);
    let questions = vectors(&QUESTIONS, &[&RETRIEVAL[..], &["--dim", "48"]].concat());
    for (text, vector) in QUESTIONS.iter().zip(&questions) {
        let found = search(&playground, &["out.parquet", text, "-k", "12"]);
        assert_found(&found[0], &expected(&all, vector, 12, false));
        let found = search(&playground, &["out.parquet", text, "-k", "12", "--by-document"]);
        assert_found(&found[0], &expected(&all, vector, 12, true));
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn documents_with_one_id_in_two_files_are_two_documents() {
    let playground = Playground::new();
    fs::create_dir(playground.path("parts")).unwrap();
    for (name, text) in [("a", "The battery lasts a year."), ("b", "The battery lasts two years.")] {
        playground.write("in.jsonl", serde_json::json!({"id": "battery", "text": text}).to_string());
        playground.run(&["build", "in.jsonl", "-o", &format!("parts/{name}.parquet"), "--chunks"]).expect(0);
    }
    let hits = &search(&playground, &["parts", "battery", "--by-document"])[0].hits;
    assert_eq!(hits.iter().filter(|hit| hit.id == "battery#0").count(), 2, "{hits:?}");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn people_see_the_passage_that_answers_and_no_control_characters() {
    let playground = Playground::new();
    let filler = "Nothing of interest is said here. ".repeat(40);
    let text = format!("{filler}Stations may be returned within thirty days. {filler}");
    let line = serde_json::json!({"id": "rule\u{1b}[31m", "text": text, "title": "Returns", "year": 2026});
    playground.write("in.jsonl", line.to_string());
    playground.build("in.jsonl", &["--keep", "title", "--keep", "year"]);
    let ran = playground.run(&["search", "out.parquet", "When must stations be returned?"]).expect(0);
    assert!(ran.stdout.contains("Stations may be returned within thirty days."), "{}", ran.story);
    assert!(ran.stdout.lines().all(|line| line.chars().count() < 250), "{}", ran.story);
    assert!(ran.stdout.contains(r"rule\u{1b}[31m") && !ran.stdout.contains('\u{1b}'), "{}", ran.story);
    let hit = &search(&playground, &["out.parquet", "stations"])[0].hits[0];
    assert_eq!(serde_json::json!(hit.kept), serde_json::json!({"title": "Returns", "year": 2026}));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_question_on_standard_input_is_answered_before_the_next_arrives() {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["one", "two", "three"]));
    playground.build("in.jsonl", &[]);
    playground.write("questions.txt", "one\ntwo\n");
    let arguments = ["search", "out.parquet", "--json", "--questions"];
    let of_file = playground.run(&[&arguments[..], &["questions.txt"]].concat()).expect(0).stdout;
    let mut command = playground.command(&[&arguments[..], &["-"]].concat());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for (question, answer) in ["one", "two"].into_iter().zip(of_file.lines()) {
        writeln!(stdin, "{question}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), answer);
    }
    // An empty line ends the run; the questions before it are answered.
    stdin.write_all(b"three\n\nfour\n").unwrap();
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.lines().count(), 1, "{rest}");
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("questions -:4: is empty"), "{stderr}");
    refused(playground.run(&["search", "out.parquet", "--questions", "-"]), &["questions -: is empty"]);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_toy_model_ranks_the_right_document_in_the_first_three_for_nine_of_ten_questions() {
    let mut python = Command::new("python3");
    python.arg(repository("scripts/fixtures/check_toy.py")).arg(env!("CARGO_BIN_EXE_qwen3-index"));
    let output = python.output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn refused(ran: Ran, says: &[&str]) {
    let ran = ran.expect(1);
    says.iter().for_each(|part| _ = ran.says(part));
    assert_eq!((ran.stderr.lines().count(), ran.stdout.as_str()), (1, ""), "{}", ran.story);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn files_and_questions_that_cannot_be_searched_are_refused_in_one_line() {
    let playground = Playground::new();
    let texts: Vec<String> = golden().into_iter().map(|text| text.text).collect();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
    playground.build("in.jsonl", &[]);
    let search = |arguments: &[&str]| playground.run(&[&["search"], arguments].concat());
    let damage = |name: &str, script: &str| {
        let mut python = util::python("readers");
        let script = format!(
            "import sys, pyarrow as pa, pyarrow.parquet as pq\nkept = pq.read_metadata('out.parquet').metadata\nkept = {{key: kept[key] for key in [b'qwen3-index', b'qwen3-index.content']}}\nt = pq.read_table('out.parquet').replace_schema_metadata(kept)\n{script}\npq.write_table(t, '{name}')"
        );
        let output = python.arg("-c").arg(script).current_dir(playground.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    refused(search(&["nothing.parquet", "x"]), &["index nothing.parquet: ", "No such file"]);
    playground.write("text.parquet", "this is no Parquet");
    refused(
        search(&["text.parquet", "x"]),
        &["index text.parquet: cannot be read as an index: it does not start with PAR1"],
    );
    damage("foreign.parquet", "t = t.replace_schema_metadata({})");
    refused(search(&["foreign.parquet", "x"]), &["index foreign.parquet: was not made by this tool"]);
    damage("no-vectors.parquet", "t = t.drop_columns(['vector'])");
    refused(
        search(&["no-vectors.parquet", "x"]),
        &["index no-vectors.parquet: ", "vector with 64 dimensions"],
    );
    damage(
        "nan.parquet",
        "v = t['vector'].to_pylist(); v[5][3] = float('nan'); t = t.set_column(2, t.schema.field(2), [pa.array(v, t.schema.field(2).type)])",
    );
    damage("kind.parquet", "t = t.append_column('n', pa.array(range(len(t)), pa.int32()))");
    refused(search(&["kind.parquet", "x"]), &["index kind.parquet: ", "its column n has the type Int32"]);
    refused(search(&["nan.parquet", "x"]), &["index nan.parquet: ", "row 5 has a vector that is not finite"]);
    let whole = fs::read(playground.path("out.parquet")).unwrap();
    playground.write("short.parquet", &whole[..whole.len() - 100]);
    refused(search(&["short.parquet", "x"]), &["index short.parquet: cannot be read as an index"]);
    // The damage is at the start of the vectors.
    let hole = SerializedFileReader::new(Bytes::from(whole.clone())).unwrap();
    let hole = hole.metadata().row_group(0).column(2).data_page_offset() as usize;
    playground.write("hole.parquet", [&whole[..hole], &[0xff; 64], &whole[hole + 64..]].concat());
    refused(search(&["hole.parquet", "x"]), &["index hole.parquet: cannot be read from row "]);

    fs::create_dir(playground.path("mixed")).unwrap();
    refused(search(&["mixed", "x"]), &["index mixed: there is no .parquet file in this folder"]);
    refused(search(&["mixed/*.parquet", "x"]), &["index mixed/*.parquet: no file matches"]);
    fs::copy(playground.path("out.parquet"), playground.path("mixed/a.parquet")).unwrap();
    let other = |more: &[&str]| {
        playground
            .run(&[&["build", "in.jsonl", "-o", "mixed/b.parquet", "--rebuild"], more].concat())
            .expect(0);
        search(&["mixed", "x"])
    };
    refused(
        other(&["--dim", "32"]),
        &["index mixed/b.parquet: its vectors have 32 dimensions instead of 64"],
    );
    refused(
        other(&["--model-file", "model_st.onnx"]),
        &["mixed/b.parquet: its vectors were made with another model"],
    );

    for question in ["", " \u{200b}"] {
        refused(search(&["out.parquet", question]), &["question: is empty"]);
    }
    playground.write("questions.txt", "one\n\nthree");
    refused(
        search(&["out.parquet", "--questions", "questions.txt"]),
        &["questions questions.txt:2: is empty"],
    );
    let long = "word ".repeat(50_000);
    playground.write("questions.txt", &long);
    let ran = search(&["out.parquet", "--questions", "questions.txt"]);
    assert!(ran.stderr.len() < 500, "{}", ran.story);
    refused(
        ran,
        &["question \"word word", " tokens, but the model accepts at most ", "; shorten the question"],
    );
    search(&["out.parquet"]).expect(2);
    search(&["out.parquet", "x", "--questions", "questions.txt"]).expect(2);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn only_the_model_of_the_index_is_accepted() {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["one", "two"]));
    playground.build("in.jsonl", &["--model-file", "model_st.onnx"]);
    // The index names the model file, so no option is needed.
    assert_eq!(search(&playground, &["out.parquet", "one"])[0].hits.len(), 2);
    let ran = playground.run(&["search", "out.parquet", "one", "--model-file", "model.onnx"]);
    refused(
        ran,
        &[
            "model.onnx: is not the model of the index (other weights; the index was made with ",
            "fixtures/qwen3-tiny (model_st.onnx))",
        ],
    );
    let copy = playground.path("model");
    copy_folder(&repository("fixtures/qwen3-tiny"), &copy);
    let tokenizer = fs::read_to_string(copy.join("tokenizer.json")).unwrap();
    fs::write(copy.join("tokenizer.json"), tokenizer + " ").unwrap();
    let ran = playground.run(&["search", "out.parquet", "one", "--model", "model"]);
    refused(ran, &["is not the model of the index (another tokenizer"]);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() { copy_folder(&from, &to) } else { _ = fs::copy(from, to).unwrap() }
    }
}
