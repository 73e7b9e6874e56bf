//! Measures the cost of a nightly run against a lower bound. `scripts/bench/nights` runs it.
//!
//! Prints Markdown tables with wall-clock seconds and with CPU seconds of all threads and processes. Other programs on the
//! machine disturb CPU seconds less. Each figure is the median of three runs, and contenders take turns. First builds run
//! once. All inputs are in the page cache.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation)] // A benchmark panics to fail, and prints tables.

mod support;

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use qwen3_index::digest::Digest;
use qwen3_index::model::ModelFingerprint;
use qwen3_index::pipeline::journal::{Header, Journal};
use qwen3_index::vector::embedding::Embedding;
use rayon::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{argument, cpu_seconds, files, json_lines, repository};

const RUNS: usize = 3;

const DOCUMENTS: usize = 100_000;

/// Bytes of the shortest document. The longest has twice as many.
const DOCUMENT_BYTES: usize = 1000;

/// The two names of the folder with all documents, which a measurement renames.
const FOLDERS: [&str; 2] = ["reports", "archive"];

/// Documents that change in a night.
const CHANGED: usize = 10;

/// Dimensions of the model, which takes almost no time, and the option for fewer dimensions.
const WIDTH: usize = 1024;
const NARROW: [&str; 2] = ["--dim", "64"];

/// Numbers of rows to measure memory with, a number of rows to extrapolate it to, and the option for few dimensions.
const ROWS: [usize; 3] = [10_000, 100_000, 1_000_000];
const ROWS_EXTRAPOLATED: usize = 10_000_000;
const SMALL: [&str; 2] = ["--dim", "32"];

/// How many rows there are per row that changes in a night.
const ROWS_PER_CHANGE: usize = 100;

/// A library that does not exist, so that a run that loads the model fails.
const NO_RUNTIME: &str = "/there/is/no/libonnxruntime.so";

fn main() {
    let part = argument();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("Machine: {} cores, load {}", rayon::current_num_threads(), load.trim());
    if "documents".contains(&part) {
        documents();
    }
    if "memory".contains(&part) {
        memory();
    }
}

/// Measures nights over a folder of files, then over the same documents as JSON Lines.
fn documents() {
    let bench = Bench::new("target/bench/model-1024");
    let [docs, out, narrow, jsonl] =
        ["docs", "out.parquet", "narrow.parquet", "rows.jsonl"].map(|name| bench.path(name));
    let bytes = write_documents(&docs);
    let first = bench.night("docs", "out.parquet", &[]).of("embedded", DOCUMENTS);
    let megabytes = |path: &Path| path.metadata().unwrap().len() as f64 / 1e6;
    println!("Documents: {DOCUMENTS}, {:.0} MB", bytes as f64 / 1e6);
    println!("Old output: {:.0} MB, {WIDTH} dimensions", megabytes(&out));
    println!("{}", Night::HEADER);

    let list = || drop(black_box(files(&docs)));
    let hash_one = || files(&docs).iter().for_each(|path| hash(path));
    let hash_all = || files(&docs).par_iter().for_each(|path| hash(path));
    let (read_one, read_all) = (|| read_parquet(&out), || read_parquet_in_parallel(&out));
    let (mut turns, mut nights) = (Turns::default(), Vec::new());
    for _ in 0..RUNS {
        turns.take(&[&list, &hash_one, &hash_all, &read_one, &read_all]);
        nights.push(bench.night_without_model("docs", "out.parquet", &[]).of_nothing_new());
    }
    let [list, hash_one, hash_all, read_one, read_all] = turns.medians();
    list.show("bare: list the files");
    hash_one.show("(1) bare: list, read and hash the files; one thread");
    hash_all.show("(1) the same; one thread per core");
    read_one.show("(2) bare: read the old output; one thread");
    read_all.show("(2) the same; one thread per core");
    let least = Least { one: hash_one + read_one, all: hash_all + read_all };
    Night::show("(3) nothing changed", &nights, Some(least));

    // Fewer dimensions are cut from the old vectors, so this needs no model.
    fs::copy(&out, &narrow).unwrap();
    bench.night_without_model("docs", "narrow.parquet", &NARROW).of("reused", DOCUMENTS);
    let (narrow_one, narrow_all) = (|| read_parquet(&narrow), || read_parquet_in_parallel(&narrow));
    let (mut turns, mut nights) = (Turns::default(), Vec::new());
    for _ in 0..RUNS {
        turns.take(&[&narrow_one, &narrow_all]);
        nights.push(bench.night_without_model("docs", "narrow.parquet", &NARROW).of_nothing_new());
    }
    let [narrow_one, narrow_all] = turns.medians();
    narrow_one.show(&format!(
        "(2) bare: read an old output of 64 dimensions, {:.0} MB; one thread",
        megabytes(&narrow)
    ));
    narrow_all.show("(2) the same; one thread per core");
    let narrow_least = Least { one: hash_one + narrow_one, all: hash_all + narrow_all };
    Night::show("(3) nothing changed, 64 dimensions", &nights, Some(narrow_least));
    fs::remove_file(&narrow).unwrap();

    let nights = nights_of(|run| {
        change_documents(&docs, run);
        bench.night("docs", "out.parquet", &[]).of("embedded", CHANGED)
    });
    Night::show(&format!("(4) {CHANGED} files changed"), &nights, Some(least));

    let nights = nights_of(|run| {
        let [from, to] = [run, run + 1].map(|at| docs.join(FOLDERS[at % FOLDERS.len()]));
        fs::rename(from, to).unwrap();
        bench.night_without_model("docs", "out.parquet", &[]).of("reused", DOCUMENTS)
    });
    Night::show("(5) all files renamed", &nights, Some(least));

    let row = |path: &PathBuf| {
        let id = path.strip_prefix(&docs).unwrap().display().to_string();
        (id, fs::read_to_string(path).unwrap())
    };
    let mut rows: Vec<(String, String)> = files(&docs).iter().map(row).collect();
    write_rows(&jsonl, &rows);
    let (hash_rows, parse) = (|| hash(&jsonl), || parse_rows(&jsonl));
    let (mut turns, mut nights) = (Turns::default(), Vec::new());
    for _ in 0..RUNS {
        turns.take(&[&hash_rows, &parse]);
        nights.push(bench.night_without_model("rows.jsonl", "out.parquet", &[]).of_nothing_new());
    }
    let [hash_rows, parse] = turns.medians();
    hash_rows.show("(1) bare: read and hash the same as JSONL; one thread");
    parse.show("bare: read and parse the same as JSONL; one thread");
    let rows_least = Least { one: hash_rows + read_one, all: hash_rows + read_all };
    Night::show("(6) as JSONL, nothing changed", &nights, Some(rows_least));

    let mut random = Random::new();
    let nights = nights_of(|_| {
        random.shuffle(&mut rows);
        write_rows(&jsonl, &rows);
        bench.night_without_model("rows.jsonl", "out.parquet", &[]).of("reused", DOCUMENTS)
    });
    Night::show("(7) as JSONL, in another order", &nights, Some(rows_least));

    let (chunks, seconds) = (first.number("/chunks") as usize, first.timing.seconds);
    Night::show("(8) first build, with a model that takes next to no time", &[first], None);
    journal(&bench, chunks, seconds);
}

/// Measures peak memory for growing numbers of short rows, and its growth per row.
fn memory() {
    let mut measured: Vec<(f64, [f64; 3])> = Vec::new();
    println!("Memory: rows of 25 characters, {} dimensions", SMALL[1]);
    println!("| rows | output MB | first build s | MB | nothing changed s | MB | 1 % changed s | MB |");
    println!("|---|---|---|---|---|---|---|---|");
    for rows in ROWS {
        let bench = Bench::new("target/bench/model-64");
        let jsonl = bench.path("rows.jsonl");
        write_short_rows(&jsonl, rows, 0);
        let first = bench.night("rows.jsonl", "out.parquet", &SMALL).of("embedded", rows);
        let same =
            nights_of(|_| bench.night_without_model("rows.jsonl", "out.parquet", &SMALL).of_nothing_new());
        let changed = nights_of(|run| {
            write_short_rows(&jsonl, rows, run + 1);
            bench.night("rows.jsonl", "out.parquet", &SMALL).of("embedded", rows / ROWS_PER_CHANGE)
        });
        let kinds = [vec![first], same, changed];
        let peaks = kinds.each_ref().map(|nights| median(nights.iter().map(Night::peak_memory)));
        let bytes = bench.path("out.parquet").metadata().unwrap().len();
        let mut line = format!("| {rows} | {:.1} |", bytes as f64 / 1e6);
        for (nights, peak) in kinds.iter().zip(peaks) {
            let seconds = median(nights.iter().map(|night| night.timing.seconds));
            write!(line, " {seconds:.2} | {:.1} |", peak / 1e6).unwrap();
        }
        println!("{line}");
        measured.push((rows as f64, peaks));
    }
    for at in 1..measured.len() {
        let [(less, low), (more, high)] = [measured[at - 1], measured[at]];
        let slopes: Vec<f64> = low.iter().zip(high).map(|(low, high)| (high - low) / (more - less)).collect();
        let shown = |numbers: &[f64]| numbers.iter().map(|n| format!(" | {n:.0} |")).collect::<String>();
        println!("| bytes per row, from {less} to {more} | |{}", shown(&slopes));
        if at + 1 == measured.len() {
            let more_rows = ROWS_EXTRAPOLATED as f64 - more;
            let bytes: Vec<f64> =
                high.iter().zip(&slopes).map(|(high, slope)| (high + slope * more_rows) / 1e6).collect();
            println!("| {ROWS_EXTRAPOLATED}, extrapolated | |{}", shown(&bytes));
        }
    }
}

/// Measures the part of a first build that goes into its journal.
fn journal(bench: &Bench, vectors: usize, seconds_build: f64) {
    let model = ModelFingerprint { width: WIDTH, ..ModelFingerprint::default() };
    let header = Header::new(model, false);
    let keys: Vec<Digest> = (0..vectors).map(|n| Digest::of(n.to_le_bytes())).collect();
    let vector = Embedding::normalized((1..=WIDTH).map(|n| (n as f32).sin())).unwrap();
    let (mut pushes, mut flushes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let path = bench.path("journal");
        let mut journal = Some(Journal::open(&path, &header, OpenOptions::new()).unwrap());
        let mut push = |key| journal.as_mut().unwrap().push(key, &vector).unwrap();
        pushes.push(timed(&mut || keys.iter().for_each(|&key| push(key))));
        // Dropping the journal flushes it.
        flushes.push(timed(&mut || drop(journal.take())));
        fs::remove_file(&path).unwrap();
    }
    let [push, flush] = [pushes, flushes].map(Timing::median);
    println!(
        "Journal: writing {vectors} vectors of {WIDTH} dimensions takes {:.2} s ({:.0} µs each), {:.1} % of the first build's {seconds_build:.1} s; flushing them all at once takes {:.2} s, which a build does beside other work",
        push.seconds,
        push.seconds * 1e6 / vectors as f64,
        push.seconds * 100.0 / seconds_build,
        flush.seconds,
    );
}

/// A working folder and a model.
struct Bench {
    folder: TempDir,
    model: PathBuf,
}

impl Bench {
    fn new(model: &str) -> Self {
        Bench { folder: tempfile::tempdir().unwrap(), model: repository(model) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn night(&self, input: &str, output: &str, more: &[&str]) -> Night {
        self.night_with(input, output, more, &[])
    }

    fn night_without_model(&self, input: &str, output: &str, more: &[&str]) -> Night {
        self.night_with(input, output, more, &[("ORT_DYLIB_PATH", NO_RUNTIME)])
    }

    fn night_with(&self, input: &str, output: &str, more: &[&str], environment: &[(&str, &str)]) -> Night {
        let arguments =
            [&["build", input, "-o", output, "--report", "report.json", "--quiet"], more].concat();
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwen3-index"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("QWEN3_INDEX_MODEL", &self.model).envs(environment.iter().copied());
        let timing = timed(&mut || assert!(command.status().unwrap().success(), "{command:?}"));
        let report = fs::read(self.path("report.json")).unwrap();
        Night { timing, report: serde_json::from_slice(&report).unwrap() }
    }
}

/// A run of the tool, with its report.
struct Night {
    timing: Timing,
    report: Value,
}

impl Night {
    const HEADER: &str = "| | s | CPU s | ratio to (1)+(2), one thread | CPU ratio | ratio to (1)+(2), one thread per core | peak MB | old output s | model s | embedding s | writing s | rest s |\n|---|---|---|---|---|---|---|---|---|---|---|---|";

    #[track_caller]
    fn of(self, outcome: &str, documents: usize) -> Self {
        assert_eq!(self.number(&format!("/documents/{outcome}")), documents as f64, "{}", self.report);
        self
    }

    #[track_caller]
    fn of_nothing_new(self) -> Self {
        let changes = ["added", "changed", "removed"].map(|what| self.number(&format!("/rows/{what}")));
        assert_eq!((changes, self.number("/chunks")), ([0.0; 3], 0.0), "{}", self.report);
        self
    }

    fn number(&self, pointer: &str) -> f64 {
        self.report.pointer(pointer).and_then(Value::as_f64).unwrap()
    }

    fn peak_memory(&self) -> f64 {
        self.number("/peak_memory_bytes")
    }

    /// Returns the seconds outside the stages of the report: starting, reading, cleaning and comparing.
    fn rest(&self) -> f64 {
        let stages = ["old_output", "model", "embedding", "writing"];
        self.timing.seconds
            - stages.map(|stage| self.number(&format!("/seconds/{stage}"))).iter().sum::<f64>()
    }

    fn show(what: &str, nights: &[Night], least: Option<Least>) {
        let timing = Timing::median(nights.iter().map(|night| night.timing).collect());
        let mut line = format!("| {what} | {:.2} | {:.2} |", timing.seconds, timing.cpu);
        match least {
            None => line.push_str(" | | |"),
            Some(Least { one, all }) => {
                let ratios =
                    [timing.seconds / one.seconds, timing.cpu / one.cpu, timing.seconds / all.seconds];
                ratios.iter().for_each(|ratio| write!(line, " {ratio:.2} |").unwrap());
            }
        }
        write!(line, " {:.0} |", median(nights.iter().map(Night::peak_memory)) / 1e6).unwrap();
        for stage in ["old_output", "model", "embedding", "writing"] {
            let seconds = median(nights.iter().map(|night| night.number(&format!("/seconds/{stage}"))));
            write!(line, " {seconds:.2} |").unwrap();
        }
        println!("{line} {:.2} |", median(nights.iter().map(Night::rest)));
    }
}

fn nights_of(night: impl FnMut(usize) -> Night) -> Vec<Night> {
    (0..RUNS).map(night).collect()
}

/// A lower bound of the cost of a night, on one thread and on one thread per core.
#[derive(Clone, Copy)]
struct Least {
    one: Timing,
    all: Timing,
}

#[derive(Clone, Copy)]
struct Timing {
    seconds: f64,
    cpu: f64,
}

impl Timing {
    fn median(runs: Vec<Timing>) -> Timing {
        let [seconds, cpu] = [|run: &Timing| run.seconds, |run: &Timing| run.cpu];
        Timing { seconds: median(runs.iter().map(seconds)), cpu: median(runs.iter().map(cpu)) }
    }

    fn show(self, what: &str) {
        println!("| {what} | {:.2} | {:.2} | | | | | | | | | |", self.seconds, self.cpu);
    }
}

impl Add for Timing {
    type Output = Timing;

    fn add(self, other: Timing) -> Timing {
        Timing { seconds: self.seconds + other.seconds, cpu: self.cpu + other.cpu }
    }
}

/// Timings of several pieces of work that take turns.
#[derive(Default)]
struct Turns(Vec<Vec<Timing>>);

impl Turns {
    fn take(&mut self, what: &[&dyn Fn()]) {
        self.0.push(what.iter().map(|what| timed(&mut || what())).collect());
    }

    fn medians<const N: usize>(self) -> [Timing; N] {
        std::array::from_fn(|at| Timing::median(self.0.iter().map(|turn| turn[at]).collect()))
    }
}

fn timed(what: &mut dyn FnMut()) -> Timing {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    what();
    Timing { seconds: start.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu }
}

fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn hash(path: &Path) {
    black_box(blake3::hash(&fs::read(path).unwrap()));
}

fn read_parquet(path: &Path) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.build().unwrap().for_each(|batch| drop(black_box(batch.unwrap())));
}

fn read_parquet_in_parallel(path: &Path) {
    let footer = ArrowReaderMetadata::load(&File::open(path).unwrap(), Default::default()).unwrap();
    (0..footer.metadata().num_row_groups()).into_par_iter().for_each(|group| {
        let file = File::open(path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer.clone());
        let reader = reader.with_row_groups(vec![group]).build().unwrap();
        reader.for_each(|batch| drop(black_box(batch.unwrap())));
    });
}

fn parse_rows(path: &Path) {
    for line in BufReader::new(File::open(path).unwrap()).split(b'\n') {
        black_box(serde_json::from_slice::<Value>(&line.unwrap()).unwrap());
    }
}

/// Writes documents that consist of the corpus's sentences in random order. Returns their total bytes.
fn write_documents(folder: &Path) -> usize {
    let expected: Vec<Value> = json_lines("fixtures/expected.jsonl");
    let texts: Vec<&str> = expected.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let sentences = texts.iter().flat_map(|text| text.split_inclusive(['.', '。', '?', '!', '？']));
    let sentences: Vec<&str> = sentences.map(str::trim).filter(|s| (20..300).contains(&s.len())).collect();
    let mut bytes = 0;
    let mut random = Random::new();
    for n in 0..DOCUMENTS {
        let length = DOCUMENT_BYTES + random.below(DOCUMENT_BYTES);
        let mut text = format!("Report {n}\n");
        while text.len() < length {
            text.push_str(sentences[random.below(sentences.len())]);
            text.push(if random.below(4) == 0 { '\n' } else { ' ' });
        }
        let path = document(&folder.join(FOLDERS[0]), n);
        if n % 100 == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(path, &text).unwrap();
        bytes += text.len();
    }
    bytes
}

/// The generator of Knuth's MMIX, with a fixed seed: each measurement gets the same documents.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Random(0x9E37_79B9_7F4A_7C15)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

fn document(folder: &Path, n: usize) -> PathBuf {
    folder.join(format!("{:02}/{}/report-{n:06}.txt", n / 1000, n / 100 % 10))
}

/// Appends a line to [`CHANGED`] documents, to other ones in each run.
fn change_documents(folder: &Path, run: usize) {
    for n in (run..DOCUMENTS).step_by(DOCUMENTS / CHANGED) {
        let mut file = OpenOptions::new().append(true).open(document(&folder.join(FOLDERS[0]), n)).unwrap();
        file.write_all(b"Corrected the day after.\n").unwrap();
    }
}

fn write_rows(path: &Path, rows: &[(String, String)]) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for (id, text) in rows {
        writeln!(file, "{}", json!({"id": id, "text": text})).unwrap();
    }
    file.flush().unwrap();
}

/// Writes rows. In every [`ROWS_PER_CHANGE`] of them, the first `changed` rows have another text.
fn write_short_rows(path: &Path, rows: usize, changed: usize) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    for n in 0..rows {
        let dry = if n % ROWS_PER_CHANGE < changed { "wet" } else { "dry" };
        writeln!(file, "{{\"id\": \"row-{n:08}\", \"text\": \"Gauge {n:08} is {dry}.\"}}").unwrap();
    }
    file.flush().unwrap();
}
