//! Helpers: run the binary, read its outputs, read the golden vectors.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Int8Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use tempfile::TempDir;

/// Returns the path of a file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns a Python command with a set of packages that `scripts/test` installs.
pub fn python(packages: &str) -> Command {
    let site = repository(&format!("target/python/{packages}"));
    assert!(site.is_dir(), "run scripts/packages {packages} first, or the tests by scripts/test");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", site);
    python
}

/// Returns a folder with the exports that `model export` makes of `fixtures/qwen3-tiny`, once per run of the tests.
pub fn our_exports() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("exports");
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwen3-index"));
        command.args(["model", "export"]).arg(repository("fixtures/qwen3-tiny")).arg(&folder);
        command.args(["--precision", "fp32", "plain", "f16", "bf16", "q8", "q4"]);
        if has_dot_products() {
            command.arg("int8");
        } else {
            println!("skipped: the int8 export, since this processor has no VNNI");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        print!("{}", String::from_utf8_lossy(&output.stdout));
        folder
    })
}

/// Returns whether the processor has 8-bit dot products. Without them ONNX Runtime's 8-bit products overflow.
pub fn has_dot_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::is_x86_feature_detected!("avx512vnni") || std::is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    true
}

/// Returns the path of the ONNX Runtime library that `scripts/setup` installs.
pub fn cpu_library() -> PathBuf {
    let home = || PathBuf::from(env::var_os("HOME").unwrap()).join(".local/share");
    let data = env::var_os("XDG_DATA_HOME").map_or_else(home, PathBuf::from);
    let files = fs::read_dir(data.join("qwen3-index/lib")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_string_lossy().contains("libonnxruntime.so")).min().unwrap()
}

/// A temporary folder of one test, in which the binary runs.
pub struct Playground(TempDir);

/// Exit code and output of a run of the binary.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// Command, folder and output, for the message of a failing test.
    pub story: String,
}

impl Playground {
    pub fn new() -> Self {
        Playground(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(name, content);
        self
    }

    /// Returns the names in the folder, sorted.
    pub fn listing(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Returns a command of the binary in this folder, with the tiny model.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_qwen3-index"));
        command.args(arguments).current_dir(self.0.path());
        command.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_stdin(arguments, "")
    }

    pub fn run_with_stdin(&self, arguments: &[&str], stdin: &str) -> Ran {
        self.output(&mut self.command(arguments), stdin)
    }

    pub fn output(&self, command: &mut Command, stdin: &str) -> Ran {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A run that fails early does not read its input, so writing may fail.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let (stdout, stderr) = (stdout.unwrap(), stderr.unwrap());
        let mut story = String::new();
        write!(story, "\n{command:?}\nin {:?}\nfiles {:?}\n", self.0.path(), self.listing()).unwrap();
        write!(story, "code {:?}\nstdout:\n{stdout}\nstderr:\n{stderr}", output.status.code()).unwrap();
        Ran { code: output.status.code(), stdout, stderr, story }
    }

    /// Runs `build INPUT -o out.parquet` with more arguments, from scratch, and returns the rows.
    pub fn build(&self, input: &str, more: &[&str]) -> Vec<Row> {
        self.run_anew(&[&["build", input, "-o", "out.parquet"], more].concat()).expect(0);
        rows(&self.path("out.parquet"))
    }

    /// Removes `out.parquet`, unless it is a symlink, and runs the binary.
    pub fn run_anew(&self, arguments: &[&str]) -> Ran {
        if self.path("out.parquet").is_file() && !self.path("out.parquet").is_symlink() {
            fs::remove_file(self.path("out.parquet")).unwrap();
        }
        self.run(arguments)
    }
}

/// Wraps a command in a shell that runs a setting first, such as `umask 077`.
pub fn after(setting: &str, command: &Command) -> Command {
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(format!("{setting}; exec \"$0\" \"$@\"")).arg(command.get_program());
    shell.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

/// Limits the size of each file that a command writes to this many KiB, which simulates a full disk.
pub fn limited(kib: usize, command: &Command) -> Command {
    after(&format!("ulimit -f {kib}"), command)
}

/// Reads ids and texts of the rows of a file.
pub fn ids_and_texts(path: &Path) -> Vec<(String, String)> {
    rows(path).into_iter().map(|row| (row.id, row.text)).collect()
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.story);
        self
    }

    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.stderr.contains(part), "not said: {part:?}{}", self.story);
        self
    }
}

/// A row of an output.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub id: String,
    pub text: String,
    pub vector: Vec<f32>,
}

/// Returns the numbers of a vector of any type. Integers are not multiplied by their scale.
pub fn numbers(vector: &dyn Array) -> Vec<f32> {
    match vector.data_type() {
        DataType::Int8 => vector.as_primitive::<Int8Type>().values().iter().map(|&x| x.into()).collect(),
        DataType::Float16 => {
            vector.as_primitive::<Float16Type>().values().iter().map(|x| x.to_f32()).collect()
        }
        _ => vector.as_primitive::<Float32Type>().values().to_vec(),
    }
}

pub fn rows(path: &Path) -> Vec<Row> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut rows = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let (ids, texts) = (batch["id"].as_string::<i32>(), batch["text"].as_string::<i32>());
        let vectors = batch["vector"].as_fixed_size_list();
        for at in 0..batch.num_rows() {
            let vector = numbers(&vectors.value(at));
            rows.push(Row { id: ids.value(at).to_owned(), text: texts.value(at).to_owned(), vector });
        }
    }
    rows
}

/// Reads the tool's metadata of a file.
pub fn metadata(path: &Path) -> serde_json::Value {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap();
    let entry = metadata.iter().find(|entry| entry.key == "qwen3-index").unwrap();
    serde_json::from_str(entry.value.as_ref().unwrap()).unwrap()
}

/// A text with the token ids and the vector that transformers computes for it alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Golden {
    pub text: String,
    pub instruction: Option<String>,
    pub ids: Vec<u32>,
    pub vector: Vec<f32>,
}

pub fn golden() -> Vec<Golden> {
    json_lines("fixtures/golden/qwen3-tiny.jsonl")
}

pub fn json_lines<T: for<'a> Deserialize<'a>>(path: &str) -> Vec<T> {
    let text = fs::read_to_string(repository(path)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns a column of 64-bit integers of a Parquet file.
pub fn integers(path: &Path, column: &str) -> Vec<i64> {
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    reader
        .flat_map(|batch| {
            let batch = batch.unwrap();
            let column = batch[column].as_primitive::<Int64Type>();
            column.iter().map(Option::unwrap).collect::<Vec<_>>()
        })
        .collect()
}

/// Documents of the corpus without visible text.
pub const CORPUS_EMPTY: usize = 4;

/// Returns how many documents of the corpus have text.
pub fn corpus_rows() -> usize {
    json_lines::<serde_json::Value>("fixtures/expected.jsonl").len()
}

/// Returns the start of the summary of a run that embeds the corpus.
pub fn corpus_summary() -> String {
    let rows = corpus_rows();
    format!("{} documents: {rows} embedded, {CORPUS_EMPTY} empty, 0 failed", rows + CORPUS_EMPTY)
}

/// Returns JSON Lines of texts, with their positions as ids.
pub fn jsonl<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let line = |(id, text)| serde_json::json!({"id": id, "text": text}).to_string() + "\n";
    texts.into_iter().enumerate().map(line).collect()
}

pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Shuffles in the same way in every run, so that a failing test fails again.
pub fn shuffled<T>(mut items: Vec<T>) -> Vec<T> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for at in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(at, (state >> 33) as usize % (at + 1));
    }
    items
}

/// Returns a command without the privileges by which root ignores file modes. Returns `None` if `setpriv` cannot drop them.
pub fn bound_by_modes(command: &Command) -> Option<Command> {
    const LESS: &str = "--bounding-set=-dac_override,-dac_read_search";
    let is_there = Command::new("setpriv").args([LESS, "true"]).status().is_ok_and(|status| status.success());
    let mut bound = Command::new("setpriv");
    bound.arg(LESS).arg(command.get_program()).args(command.get_args());
    bound.current_dir(command.get_current_dir()?).env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
    is_there.then_some(bound)
}
