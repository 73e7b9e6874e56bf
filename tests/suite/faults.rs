//! Every file operation of a run fails once: with an error, with a full disk, with half of the bytes, or because the run is
//! killed. SQLite tests its files in this way. The old output stays whole or the new output is whole, exit code and message say
//! what happened, and the next run gives the same bytes as an undisturbed one.
//!
//! `tests/faults/supervisor.c` makes an operation fail. The suite tries a sample for a minute. To try every operation, set
//! `QWEN3_INDEX_FAULTS=all`, or name what to try: `QWEN3_INDEX_FAULTS="night EIO+"`, `"merge kill 17, pull"`.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::hub::{self, HubServer};
use crate::util::{Playground, Ran, cpu_library, repository, shuffled, skip};

/// How long the suite tries faults.
const SAMPLE: Duration = Duration::from_secs(60);

/// Threads that try faults. Each fault is a run in a folder of its own.
const THREADS: usize = 2;

/// What a fault does: the words of `supervisor.c`.
const HOWS: [&str; 9] = ["EIO", "EIO+", "ENOSPC", "ENOSPC+", "ENOMEM", "ENOMEM+", "short", "short+", "kill"];

/// Exit code of the supervisor if the kernel allows no user notification.
const FORBIDDEN: i32 = 99;

const KILLED: i32 = 137;

/// Files of the user's cache and temporary files, which no later run depends on.
const PASSING: [&str; 2] = ["home", "tmp"];

/// A kind of run.
struct Kind {
    name: &'static str,
    /// The command to try.
    arguments: &'static [&'static str],
    /// The main output.
    output: &'static str,
    /// Makes the files that are there before the run.
    prepare: fn(&Try),
}

// MODEL stands for the absolute path of the model, which an index has.
const BUILD: &[&str] =
    &["build", "docs", "rows.jsonl", "-o", "out.parquet", "--model", "MODEL", "--device", "cpu"];
const NIGHT: &[&str] = &[
    "build",
    "docs",
    "rows.jsonl",
    "-o",
    "out.parquet",
    "--model",
    "MODEL",
    "--device",
    "cpu",
    "--delta",
    "delta.parquet",
];

const KINDS: [Kind; 7] = [
    Kind { name: "first", arguments: BUILD, output: "out.parquet", prepare: documents },
    Kind {
        name: "night",
        arguments: NIGHT,
        output: "out.parquet",
        prepare: |there| {
            documents(there);
            there.run(BUILD);
            change_documents(there);
        },
    },
    Kind {
        name: "unchanged",
        arguments: NIGHT,
        output: "out.parquet",
        prepare: |there| {
            documents(there);
            there.run(BUILD);
            change_documents(there);
            there.run(NIGHT);
        },
    },
    Kind {
        name: "merge",
        arguments: &["merge", "parts", "-o", "out.parquet"],
        output: "out.parquet",
        prepare: |there| {
            documents(there);
            fs::create_dir(there.folder().join("parts")).unwrap();
            for shard in ["0/2", "1/2"] {
                let part = format!("parts/{}.parquet", &shard[..1]);
                there.run(&[
                    "build",
                    "docs",
                    "rows.jsonl",
                    "--shard",
                    shard,
                    "-o",
                    &part,
                    "--model",
                    "MODEL",
                ]);
            }
            there.run(&["merge", "parts", "-o", "out.parquet"]);
            change_documents(there);
            let part = "parts/1.parquet";
            there.run(&["build", "docs", "rows.jsonl", "--shard", "1/2", "-o", part, "--model", "MODEL"]);
        },
    },
    Kind {
        name: "pack",
        arguments: &["pack", "-o", "out.parquet"],
        output: "out.parquet",
        prepare: |there| {
            documents(there);
            there.run(BUILD);
            change_documents(there);
            let vectors = "\"$0\" read docs rows.jsonl | \"$0\" embed --arrow --model \"$2\" > \"$1\"";
            let mut shell = Command::new("bash");
            shell.args(["-c", vectors, env!("CARGO_BIN_EXE_qwen3-index")]).arg(there.stdin());
            shell.arg(there.root.join("model"));
            assert!(there.settle(&mut shell).status().unwrap().success());
        },
    },
    Kind {
        name: "bundle",
        arguments: &["model", "bundle", "bundle", "--model", "MODEL", "--device", "cpu"],
        output: "bundle/SHA256SUMS",
        prepare: |_| {},
    },
    Kind {
        name: "pull",
        arguments: &["model", "pull", "small/model", "--model-file", "model_external.onnx"],
        output: "hf/hub/models--small--model/refs/main",
        prepare: |_| {},
    },
];

/// A Markdown document, an HTML document that a worker process reads, and rows.
fn documents(there: &Try) {
    there.write("docs/a.md", "# A first document\n\nIt stays.");
    there.write("docs/b.html", "<p>A document that goes</p>");
    there.write(
        "rows.jsonl",
        "{\"id\": \"1\", \"text\": \"a row\"}\n{\"id\": \"2\", \"text\": \"another row\"}\n",
    );
}

fn change_documents(there: &Try) {
    fs::remove_file(there.folder().join("docs/b.html")).unwrap();
    there.write("docs/c.html", "<p>A document that comes</p>");
    there.write(
        "rows.jsonl",
        "{\"id\": \"1\", \"text\": \"a row\"}\n{\"id\": \"2\", \"text\": \"a changed row\"}\n",
    );
}

/// What is at a path.
#[derive(Clone, PartialEq)]
enum Entry {
    Folder,
    File(Vec<u8>),
    Link(PathBuf),
}

type Tree = BTreeMap<PathBuf, Entry>;

/// The folder whose files can fail. It has the model, because an index names the folder of its model.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let root = Root(tempfile::tempdir().unwrap());
        let names = ["config.json", "tokenizer.json", "1_Pooling/config.json"];
        for name in names.into_iter().chain(["onnx/model_external.onnx", "onnx/model_external.onnx_data"]) {
            let path = root.0.path().join("model").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(repository("fixtures/qwen3-tiny").join(name), path).unwrap();
        }
        root
    }

    /// Makes a folder for runs.
    fn folder(&self) -> Try<'_> {
        let folder = tempfile::tempdir_in(self.0.path()).unwrap();
        let there =
            Try { root: self.0.path(), folder, beside: Playground::new(), hub: HubServer::with_tiny_model() };
        PASSING.iter().for_each(|name| fs::create_dir(there.folder().join(name)).unwrap());
        fs::write(there.stdin(), "").unwrap();
        there
    }
}

/// A folder in which runs are tried.
struct Try<'a> {
    root: &'a Path,
    folder: TempDir,
    /// Files that cannot fail.
    beside: Playground,
    hub: HubServer,
}

impl Try<'_> {
    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn stdin(&self) -> PathBuf {
        self.beside.path("stdin")
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.folder().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Lets a command write only below the folder.
    fn settle<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let folder = self.folder();
        command.current_dir(&folder).env("HOME", folder.join("home")).env("TMPDIR", folder.join("tmp"));
        // Of ONNX Runtime: it writes into the user's cache otherwise.
        command.env("ORT_DISABLE_TELEMETRY", "1").env("ORT_DYLIB_PATH", cpu_library());
        ["XDG_CACHE_HOME", "XDG_DATA_HOME"].iter().for_each(|name| _ = command.env_remove(name));
        command
    }

    /// Runs the program undisturbed.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.fail(arguments, "none", 0).0.expect(0)
    }

    /// Runs the program under the supervisor. Returns the supervisor's log too.
    fn fail(&self, arguments: &[&str], how: &str, number: usize) -> (Ran, String) {
        let (log, program) = (self.beside.path("log"), env!("CARGO_BIN_EXE_qwen3-index"));
        let template = hub::command(&self.beside, &self.hub, &[]);
        let mut command = Command::new("bash");
        command.args(["-c", "exec \"$@\" < \"$0\""]).arg(self.stdin()).arg(supervisor());
        command.args([log.as_path(), self.root]).args([how, &number.to_string(), program]);
        let model = self.root.join("model");
        let argument = |argument: &&str| {
            if *argument == "MODEL" { model.clone().into() } else { OsString::from(argument) }
        };
        command.args(arguments.iter().map(argument));
        for (name, value) in template.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("HF_HOME", self.folder().join("hf"));
        let ran = self.beside.output(self.settle(&mut command), "");
        (ran, fs::read_to_string(log).unwrap_or_default())
    }

    /// Reads everything below the folder that later runs may depend on.
    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        read_tree(&self.folder(), Path::new(""), &mut tree);
        tree
    }

    fn restore(&self, tree: &Tree) {
        for entry in fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap()) {
            match entry.file_type().unwrap().is_dir() {
                true => fs::remove_dir_all(entry.path()).unwrap(),
                false => fs::remove_file(entry.path()).unwrap(),
            }
        }
        PASSING.iter().for_each(|name| fs::create_dir(self.folder().join(name)).unwrap());
        for (path, entry) in tree {
            let path = self.folder().join(path);
            match entry {
                Entry::Folder => fs::create_dir(path).unwrap(),
                Entry::File(bytes) => fs::write(path, bytes).unwrap(),
                Entry::Link(target) => symlink(target, path).unwrap(),
            }
        }
    }
}

fn read_tree(root: &Path, below: &Path, tree: &mut Tree) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let name = below.join(entry.unwrap().file_name());
        if PASSING.iter().any(|passing| name == Path::new(passing)) {
            continue;
        }
        let path = root.join(&name);
        let metadata = path.symlink_metadata().unwrap();
        let entry = if metadata.is_symlink() {
            Entry::Link(fs::read_link(path).unwrap())
        } else if metadata.is_dir() {
            read_tree(root, &name, tree);
            Entry::Folder
        } else {
            Entry::File(fs::read(path).unwrap())
        };
        tree.insert(name, entry);
    }
}

fn supervisor() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("supervisor");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&path);
        assert!(compiler.arg(repository("tests/faults/supervisor.c")).status().unwrap().success());
        path
    })
}

/// A kind of run, with what undisturbed runs do.
struct Known {
    kind: &'static Kind,
    stdin: Vec<u8>,
    before: Tree,
    after: Tree,
    /// After a second run.
    twice: Tree,
    /// Exit code of the second run.
    second_code: Option<i32>,
    /// What each operation does: looks, makes, reads or writes.
    operations: Vec<String>,
}

impl Known {
    fn new(kind: &'static Kind, root: &Root) -> Self {
        let there = root.folder();
        (kind.prepare)(&there);
        let before = there.tree();
        let (ran, log) = there.fail(kind.arguments, "none", 0);
        ran.expect(0);
        let operations = log.lines().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
        let after = there.tree();
        let second_code = there.fail(kind.arguments, "none", 0).0.code;
        let twice = there.tree();
        Known { kind, stdin: fs::read(there.stdin()).unwrap(), before, after, twice, second_code, operations }
    }

    /// Returns the numbers of the operations that can fail in this way.
    fn numbers(&self, how: &str) -> Vec<usize> {
        let can_fail = |operation: &str| match how.trim_end_matches('+') {
            "ENOSPC" => ["makes", "writes"].contains(&operation),
            "short" => ["reads", "writes"].contains(&operation),
            _ => true,
        };
        (1..).zip(&self.operations).filter(|(_, operation)| can_fail(operation)).map(|(n, _)| n).collect()
    }

    fn restore(&self, there: &Try) {
        fs::write(there.stdin(), &self.stdin).unwrap();
        there.restore(&self.before);
    }

    /// Tries one fault and returns what is wrong.
    fn try_fault(&self, there: &Try, how: &str, number: usize) -> Option<String> {
        self.restore(there);
        let (ran, log) = there.fail(self.kind.arguments, how, number);
        let now = there.tree();
        let mut wrong = self.judge(how, &ran, &log, &now);
        let is_index = self.kind.output.ends_with(".parquet");
        let verified = ran.code != Some(3) || !is_index || self.is_sound(there);
        if !verified {
            wrong.push("a partial output is not sound".to_owned());
        }
        let (next, _) = there.fail(self.kind.arguments, "none", 0);
        wrong.extend(self.judge_next(&ran, &now, &next, &there.tree()));
        wrong.sort();
        wrong.dedup();
        if wrong.is_empty() {
            return None;
        }
        let mut told = format!("{} {how} {number}: {}\n", self.kind.name, wrong.join("; "));
        writeln!(told, "  at {}", log.lines().next().unwrap_or_default()).unwrap();
        writeln!(told, "  code {:?}: {}", ran.code, ran.stderr.trim()).unwrap();
        write!(told, "  then {:?}: {}", next.code, next.stderr.trim()).unwrap();
        Some(told)
    }

    /// Returns what is wrong with the disturbed run.
    fn judge(&self, how: &str, ran: &Ran, log: &str, now: &Tree) -> Vec<String> {
        let mut wrong = Vec::new();
        if log.contains("hangs") {
            wrong.push("hangs".to_owned());
        }
        let codes: &[i32] = if how == "kill" {
            &[0, KILLED]
        } else if how.starts_with("short") {
            &[0]
        } else {
            &[0, 1, 2, 3]
        };
        if !ran.code.is_some_and(|code| codes.contains(&code)) || ran.stderr.contains("panicked") {
            wrong.push(format!("exit code {:?}", ran.code));
        }
        let paths = self.before.keys().chain(self.after.keys());
        // A document that cannot be read is left out, or keeps its old row.
        for path in paths.filter(|_| ran.code != Some(3)) {
            let states = [self.before.get(path), self.after.get(path)];
            if !states.contains(&now.get(path)) {
                wrong.push(format!("{} is neither old nor new", path.display()));
            }
        }
        if ran.code == Some(0) && !self.is_done(now) {
            wrong.push("not done, but exit code 0".to_owned());
        }
        let output = Path::new(self.kind.output);
        let is_replaced = now.get(output) == self.after.get(output) && self.is_changed();
        if is_replaced && ran.stderr.contains("untouched") {
            wrong.push("says that the old file is untouched, but it is replaced".to_owned());
        }
        if matches!(ran.code, Some(1 | 2)) {
            // What `pull` prints is where the model is, so a run without that line says nothing of it.
            if is_replaced && self.kind.name != "pull" && !ran.stderr.contains("in place") {
                wrong.push("does not say that the new file is in place".to_owned());
            }
            // ONNX Runtime does not say why it cannot read a file. Rust's standard library says "File exists" if it cannot look at
            // a folder.
            let causes = [
                "Input/output error",
                "No space left on device",
                "Cannot allocate memory",
                "cannot be loaded",
                "File exists (os error 17)",
            ];
            if !causes.iter().any(|cause| ran.stderr.contains(cause)) {
                wrong.push("does not say the cause".to_owned());
            }
        }
        wrong
    }

    fn is_changed(&self) -> bool {
        let output = Path::new(self.kind.output);
        self.before.get(output) != self.after.get(output)
    }

    /// Returns whether everything is as after an undisturbed run, apart from other files.
    fn is_done(&self, now: &Tree) -> bool {
        let paths = self.before.keys().chain(self.after.keys());
        paths.into_iter().all(|path| now.get(path) == self.after.get(path))
    }

    fn is_sound(&self, there: &Try) -> bool {
        there.fail(&["inspect", "--verify", self.kind.output], "none", 0).0.code == Some(0)
    }

    /// Returns what is wrong with the run after the disturbed one.
    fn judge_next(&self, ran: &Ran, now: &Tree, next: &Ran, then: &Tree) -> Vec<String> {
        let mut wrong = Vec::new();
        let output = Path::new(self.kind.output);
        let was_done = now.get(output) == self.after.get(output) && self.is_changed();
        let code = if was_done { self.second_code } else { Some(0) };
        if next.code != code {
            wrong.push(format!("the next run ends with {:?}", next.code));
        }
        // After a run that ended well, a delta says that nothing has changed since.
        let may_be_twice = ran.code == Some(0) || self.is_done(now);
        let wanted = if may_be_twice && *then == self.twice { &self.twice } else { &self.after };
        for path in wanted.keys().chain(then.keys()) {
            // A partial output has another delta to the whole one.
            let is_delta = ran.code == Some(3) && path.starts_with("delta.parquet");
            if then.get(path) != wanted.get(path) && !is_delta {
                let what =
                    if wanted.contains_key(path) { "is not as after an undisturbed run" } else { "stays" };
                wrong.push(format!("after the next run, {} {what}", path.display()));
            }
        }
        wrong
    }
}

/// A fault to try: the kind of run, what happens, and the number of the operation.
type Fault = (usize, &'static str, usize);

/// Returns the faults in the order in which they are tried: all kinds of runs take turns.
fn faults(known: &[Known], wanted: &str) -> Vec<Fault> {
    let is_wanted = |(at, how, number): &Fault| {
        let names = [known[*at].kind.name, how, &number.to_string(), "all"];
        wanted.split(',').any(|fault| fault.split_whitespace().all(|word| names.contains(&word)))
    };
    let of_kind = |at: usize| {
        let of_how =
            |how: &'static str| known[at].numbers(how).into_iter().map(move |number| (at, how, number));
        let faults = HOWS.into_iter().flat_map(of_how).filter(is_wanted).collect();
        shuffled(faults).into_iter().enumerate()
    };
    let mut faults: Vec<(usize, Fault)> = (0..known.len()).flat_map(of_kind).collect();
    faults.sort_by_key(|(turn, _)| *turn);
    faults.into_iter().map(|(_, fault)| fault).collect()
}

/// Returns whether the kernel reports operations to the supervisor.
fn is_allowed(root: &Root) -> bool {
    let there = root.folder();
    let (ran, _) = there.fail(&["--version"], "none", 0);
    if ran.code == Some(FORBIDDEN) {
        skip("the kernel reports no system calls to a supervisor");
    }
    ran.code != Some(FORBIDDEN)
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_fault_at_any_file_operation_leaves_the_old_output_or_the_new_one() {
    let root = Root::new();
    if !is_allowed(&root) {
        return;
    }
    let known: Vec<Known> = KINDS.iter().map(|kind| Known::new(kind, &root)).collect();
    for Known { kind, operations, .. } in &known {
        println!("{}: {} operations", kind.name, operations.len());
    }
    let wanted = env::var("QWEN3_INDEX_FAULTS").ok();
    let faults = Mutex::new(faults(&known, wanted.as_deref().unwrap_or("all")).into_iter());
    let started = Instant::now();
    let (tried, wrong) = (Mutex::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let there = root.folder();
                loop {
                    if wanted.is_none() && started.elapsed() > SAMPLE {
                        break;
                    }
                    let Some((at, how, number)) = faults.lock().unwrap().next() else { break };
                    let told = known[at].try_fault(&there, how, number);
                    *tried.lock().unwrap() += 1;
                    if let Some(told) = told {
                        println!("{told}");
                        wrong.lock().unwrap().push(told);
                    }
                }
            });
        }
    });
    let (tried, mut wrong) = (tried.into_inner().unwrap(), wrong.into_inner().unwrap());
    wrong.sort();
    println!(
        "{tried} faults tried in {:.0} s, {} of them wrong",
        started.elapsed().as_secs_f64(),
        wrong.len()
    );
    assert!(tried > 0, "there is no such fault: {wanted:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
