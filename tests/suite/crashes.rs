//! Runs that are killed or interrupted, that run at the same time, that fill the disk, and outputs that other programs
//! change: a reader sees a whole file at every moment, nothing is embedded twice, and the next run succeeds.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use qwen3_index::source::{Found, Reading, Roots, Workers};
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use serde_json::{Value, json};

use crate::pipeline::{filter, reading};
use crate::util::{NO_SETPRIV, Playground, Ran, after, bound_by_modes, limited, repository, rows, skip};

/// Limit of each wait: a process that needs longer hangs, and is not only slow.
const DEADLINE: Duration = Duration::from_secs(120);

/// Limit for a run to stop after a signal: a person or a service manager waits no longer.
const SOON: Duration = Duration::from_secs(5);

const OUT: &str = "out.parquet";
const JOURNAL: &str = ".out.parquet.journal";
const LOCK: &str = ".out.parquet.lock";

// The journal's format, repeated here so that a change by accident fails a test.
const DIGEST_BYTES: usize = 16;
const WIDTH: usize = 64;
const CHECKSUM_BYTES: usize = 8;
const RECORD_BYTES: usize = DIGEST_BYTES + WIDTH * 4 + CHECKSUM_BYTES;

/// Documents per window; a run embeds window after window.
const WINDOW: usize = 1024;

/// Pseudo-random numbers, the same in every run of a test.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn duration(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.below(1 << 20) as f64 / f64::from(1 << 20))
    }
}

/// Waits until the condition holds; panics after [`DEADLINE`].
#[track_caller]
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "never: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Returns JSON Lines of short texts, all different.
fn lines(what: &str, numbers: Range<usize>) -> String {
    const PADDING: &str = "of no interest, of no interest, of no interest, of no interest, of no interest";
    const WORDS: [&str; 7] =
        ["", " one", " two words", " and three more", " here", " now", " then and there"];
    let line = |n: usize| {
        let text = format!("{what} number {n}{}", WORDS[n % WORDS.len()]);
        // The tool processes no line of standard input before it has enough bytes to detect the encoding. The padding
        // gives it enough.
        json!({"id": n.to_string(), "text": text, "more": PADDING}).to_string() + "\n"
    };
    numbers.map(line).collect()
}

/// Returns the bytes that an undisturbed run writes for these lines.
fn undisturbed(lines: &str) -> Vec<u8> {
    let playground = Playground::new();
    playground.run_with_stdin(&["build", "-", "-o", OUT], lines).expect(0);
    fs::read(playground.path(OUT)).unwrap()
}

const COUNT: usize = WINDOW + 300;

/// Two outputs with the same ids and different texts.
static OLD: LazyLock<Vec<u8>> = LazyLock::new(|| undisturbed(&lines("old", 0..COUNT)));
static NEW: LazyLock<Vec<u8>> = LazyLock::new(|| undisturbed(&lines("new", 0..COUNT)));

/// Counts the whole records of a journal.
fn records(path: &Path) -> usize {
    let Ok(journal) = fs::read(path) else { return 0 };
    let Some(header) = journal.iter().position(|&byte| byte == b'\n') else { return 0 };
    let is_whole = |record: &&[u8]| {
        let (content, checksum) = record.split_at(RECORD_BYTES - CHECKSUM_BYTES);
        &blake3::hash(content).as_bytes()[..CHECKSUM_BYTES] == checksum
    };
    journal[header + 1..].chunks_exact(RECORD_BYTES).take_while(is_whole).count()
}

/// Lists the hidden files that a running or killed run has beside the output of this name: lock, journal, temporary files.
fn hidden(folder: &Path, output: &str) -> Vec<PathBuf> {
    let prefix = format!(".{output}.");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .collect()
}

fn temporary(playground: &Playground) -> Option<PathBuf> {
    let mut hidden = hidden(&playground.path(""), OUT).into_iter();
    hidden.find(|path| path.extension().is_some_and(|end| end == "tmp"))
}

#[track_caller]
fn assert_clean(playground: &Playground) {
    let left: Vec<_> = playground.listing().into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[track_caller]
fn assert_output(playground: &Playground, expected: &[u8], when: &str) {
    let is_equal = fs::read(playground.path(OUT)).is_ok_and(|there| there == expected);
    assert!(is_equal, "{when}: not the bytes of an undisturbed run, {:?}", playground.listing());
}

fn rows_of_delta(path: &Path) -> usize {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum()
}

fn report(playground: &Playground) -> Value {
    serde_json::from_slice(&fs::read(playground.path("report.json")).unwrap()).unwrap()
}

/// A run in a process group of its own, with its workers. A signal to the group reaches all of them, as one from a
/// terminal or a service manager does.
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        // The thread empties the pipe, so that the run never blocks on a message.
        let stderr = thread::spawn(move || {
            let mut told = String::new();
            stderr.read_to_string(&mut told).unwrap();
            told
        });
        Running { stdin: child.stdin.take(), child, stderr: Some(stderr) }
    }

    /// Starts a run over the lines of [`NEW`] and returns when it has embedded the first window, has written the vectors
    /// to the journal, and waits for more lines.
    fn hold(playground: &Playground, more: &[&str]) -> Self {
        let arguments = [&["build", "-", "-o", OUT, "--batch-tokens", "256"], more].concat();
        let mut running = Running::start(&mut playground.command(&arguments));
        running.feed(&lines("new", 0..WINDOW + 50));
        let length = || playground.path(JOURNAL).metadata().map_or(0, |metadata| metadata.len());
        eventually("a window is embedded", || {
            length() > (WINDOW * RECORD_BYTES) as u64 && temporary(playground).is_some()
        });
        assert_eq!(records(&playground.path(JOURNAL)), WINDOW);
        running
    }

    fn feed(&mut self, lines: &str) {
        self.stdin.as_mut().unwrap().write_all(lines.as_bytes()).unwrap();
    }

    /// Gives a run from [`Running::hold`] the rest of its input and waits for its end.
    fn release(mut self) -> Ran {
        self.feed(&lines("new", WINDOW + 50..COUNT));
        self.end()
    }

    /// Closes standard input and waits for the end of the run.
    fn end(mut self) -> Ran {
        self.stdin = None;
        self.ended()
    }

    /// Waits for the end of the run with standard input still open.
    fn ended(mut self) -> Ran {
        let status = self.wait();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        let story = format!("\n{status}\n{stderr}");
        Ran { code: status.code(), stdout: String::new(), stderr, story }
    }

    fn wait(&mut self) -> ExitStatus {
        eventually("it ends", || self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap()
    }

    /// Waits until the condition holds; returns `false` if the run has ended before.
    fn wait_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let started = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if is_so(self) {
                return true;
            }
            assert!(started.elapsed() < DEADLINE, "the run has not ended, and the condition does not hold");
            thread::sleep(Duration::from_micros(200));
        }
        false
    }

    fn signal(&self, signal: Signal) {
        kill_process_group(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGKILL to the run, not to its workers.
    fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A failed test leaves the run; a bug can leave workers.
        let _ = self.child.kill();
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }
}

/// A living process.
#[derive(Debug)]
struct Process {
    id: u32,
    /// CPU time in hundredths of a second.
    used: u64,
}

/// Lists the living processes of a group, without zombies.
fn living(group: u32) -> Vec<Process> {
    let status = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat")).ok();
    let process = |status: String| {
        // The process name, in brackets, may contain spaces and brackets.
        let (id, fields) = (status.split(' ').next()?, status.rsplit_once(") ")?.1);
        let fields: Vec<&str> = fields.split(' ').collect();
        let is_living = fields[2] == group.to_string() && !["Z", "X"].contains(&fields[0]);
        is_living.then_some(Process { id: id.parse().ok()?, used: fields[11].parse().ok()? })
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| process(status(entry.ok()?)?)).collect()
}

/// Returns whether all threads of a process wait for an event. A thread that only waits for a CPU does not count.
fn sleeps(process: u32) -> bool {
    let status = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    threads
        .flatten()
        .all(|thread| status(thread).rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')))
}

/// Returns the error of a run, and asserts that it is one line.
#[track_caller]
fn error_of(ran: &Ran) -> &str {
    let mut errors = ran.stderr.lines().filter(|line| line.contains("qwen3-index: error: "));
    let error = errors.next().unwrap_or_else(|| panic!("no error line{}", ran.story));
    assert!(errors.next().is_none(), "more than one error line{}", ran.story);
    error
}

// Killed runs.

/// When a run is killed.
#[derive(Debug)]
enum Moment {
    After(Duration),
    /// When the journal has this many vectors.
    Vectors(usize),
    /// This long after the run has begun to write the new file, when all texts are embedded.
    Writing(Duration),
    /// When the new file is in place, before the journal and the lock are removed.
    Published,
}

/// A run to be killed, with what an undisturbed one produces: old and new output, chunks to embed, duration.
struct Night {
    playground: Playground,
    old: Option<Vec<u8>>,
    new: Vec<u8>,
    chunks: usize,
    duration: Duration,
}

impl Night {
    /// Prepares two and a half windows of documents: rows of a file, and pages that workers read.
    fn new(has_old: bool) -> Self {
        const ROWS: usize = 2400;
        let playground = Playground::new();
        // An eighth of the texts is in the old output too.
        let same = lines("same", 0..ROWS / 8);
        playground.write("old/rows.jsonl", same.clone() + &lines("old", ROWS / 8..ROWS));
        playground.write("docs/rows.jsonl", same + &lines("new", ROWS / 8..ROWS));
        for n in 0..40 {
            playground.write(&format!("docs/page-{n}.html"), format!("<p>A page with the number {n}"));
        }
        if has_old {
            playground.run(&["build", "old", "-o", OUT]).expect(0);
        }
        let old = fs::read(playground.path(OUT)).ok();
        let started = Instant::now();
        playground.output(&mut Night::command(&playground), "").expect(0);
        let duration = started.elapsed();
        let new = fs::read(playground.path(OUT)).unwrap();
        assert_eq!(rows(&playground.path(OUT)).len(), ROWS + 40);
        let chunks = report(&playground)["chunks"].as_u64().unwrap() as usize;
        assert_eq!(chunks, if has_old { ROWS - ROWS / 8 + 40 } else { ROWS + 40 });
        Night { playground, old, new, chunks, duration }
    }

    fn command(playground: &Playground) -> Command {
        let beside = ["--delta", "delta.parquet", "--report", "report.json"];
        playground.command(&[&["build", "docs", "-o", OUT, "--batch-tokens", "256"][..], &beside].concat())
    }

    fn begin(&self) {
        match &self.old {
            Some(old) => self.playground.write(OUT, old),
            None => fs::remove_file(self.playground.path(OUT)).unwrap(),
        }
    }

    fn moment(&self, done: usize, random: &mut Random) -> Moment {
        match random.below(8) {
            0 => Moment::After(random.duration(self.duration / 2)),
            1 => Moment::After(random.duration(self.duration)),
            2..=4 if done < self.chunks => Moment::Vectors(done + 1 + random.below(self.chunks - done)),
            5 => Moment::Writing(random.duration(Duration::from_millis(2))),
            6 => Moment::Published,
            _ => Moment::Writing(random.duration(Duration::from_millis(30))),
        }
    }

    /// Kills a run at a moment. Returns `false` if the run was done before.
    fn kill_at(&self, moment: &Moment) -> bool {
        let started = Instant::now();
        let mut running = Running::start(&mut Night::command(&self.playground));
        let journal = self.playground.path(JOURNAL);
        let length = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
        let number = || self.playground.path(OUT).metadata().ok().map(|metadata| metadata.ino());
        let before = number();
        match *moment {
            Moment::After(time) => running.wait_until(|_| started.elapsed() >= time),
            Moment::Vectors(count) => {
                running.wait_until(|_| length(&journal) >= (count * RECORD_BYTES) as u64)
            }
            Moment::Writing(time) => {
                running.wait_until(|_| temporary(&self.playground).is_some_and(|path| length(&path) > 0));
                let started = Instant::now();
                running.wait_until(|_| started.elapsed() >= time)
            }
            Moment::Published => running.wait_until(|_| number() != before),
        };
        // The run may have ended before.
        let status = running.kill();
        assert!(status.signal() == Some(9) || status.success(), "{moment:?}: {status}");
        eventually("its workers are gone", || living(running.id()).is_empty());
        status.signal() == Some(9)
    }

    /// Asserts that the output is the old file or the new one. Returns the number of vectors in the journal.
    fn look(&self, moment: &Moment) -> usize {
        let there = fs::read(self.playground.path(OUT)).ok();
        let is_whole = there == self.old || there.as_ref() == Some(&self.new);
        assert!(is_whole, "{moment:?}: a broken file, {:?}", self.playground.listing());
        // Reading panics if report or delta are broken.
        report(&self.playground);
        rows_of_delta(&self.playground.path("delta.parquet"));
        records(&self.playground.path(JOURNAL))
    }

    fn is_new(&self) -> bool {
        fs::read(self.playground.path(OUT)).is_ok_and(|there| there == self.new)
    }

    /// Asserts that an undisturbed run writes the new file and embeds all chunks but the `done` ones of the journal.
    fn finish(&self, done: usize) {
        let was_new = self.is_new();
        let ran = self.playground.output(&mut Night::command(&self.playground), "").expect(0);
        assert!(self.is_new(), "not the bytes of an undisturbed run{}", ran.story);
        assert!(hidden(&self.playground.path(""), OUT).is_empty(), "{}", ran.story);
        let report = report(&self.playground);
        let embedded = if was_new { 0 } else { self.chunks - done };
        assert_eq!(
            (&report["chunks_resumed"], &report["chunks"]),
            (&json!(done), &json!(embedded)),
            "{report}"
        );
    }
}

/// A run is killed at any moment, up to four times in a row.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_killed_run_loses_no_output_and_no_vectors() {
    let nights = [Night::new(true), Night::new(false)];
    let mut random = Random(1);
    let mut landed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kills = 0;
    for night in nights.iter().cycle() {
        if kills >= 50 {
            break;
        }
        night.begin();
        let mut done = 0;
        for _ in 0..4 {
            let moment = night.moment(done, &mut random);
            let is_killed = night.kill_at(&moment);
            let left = night.look(&moment);
            if !is_killed {
                assert!(night.is_new() && left == 0, "{moment:?}");
                done = 0;
                break;
            }
            kills += 1;
            // When the new file is in place, the run removes the journal.
            assert!(
                left >= done || night.is_new() && left == 0,
                "{moment:?}: the journal had {done} vectors and now has {left}"
            );
            let stage = match temporary(&night.playground) {
                _ if night.is_new() => "published",
                Some(_) if left == night.chunks => "writing",
                None if left == done => "reading and loading",
                _ => "embedding",
            };
            done = left;
            *landed.entry(stage).or_default() += 1;
            if night.is_new() {
                break;
            }
        }
        night.finish(done);
    }
    println!("kills: {landed:?}, undisturbed {:?}", nights.map(|night| night.duration));
    // Each stage must have been hit more than once.
    assert!(landed.len() == 4 && landed.values().all(|&count| count > 1), "{landed:?}");
}

// Interrupted runs.

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_interrupted_run_says_so_and_the_next_run_resumes() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let playground = Playground::new();
        playground.write(OUT, &*OLD);
        let running = Running::hold(&playground, &["--report", "report.json"]);
        let (started, group) = (Instant::now(), running.id());
        running.signal(signal);
        // Its input is still open.
        let ran = running.ended().expect(code);
        assert!(started.elapsed() < SOON, "{:?}{}", started.elapsed(), ran.story);
        let says = "qwen3-index: error: interrupted; finished work is kept, and the next run resumes";
        assert_eq!(error_of(&ran), says);
        assert!(living(group).is_empty());
        assert_output(&playground, &OLD, "interrupted");
        assert_eq!(records(&playground.path(JOURNAL)), WINDOW);
        assert_eq!(playground.listing(), [JOURNAL, OUT, "report.json"], "other files are left{}", ran.story);
        let told = report(&playground);
        assert_eq!((&told["exit_code"], &told["chunks"]), (&json!(code), &json!(WINDOW)));
        assert!(told["error"].as_str().unwrap().starts_with("interrupted; "), "{told}");

        let arguments = ["build", "-", "-o", OUT, "--report", "report.json"];
        let ran = playground.run_with_stdin(&arguments, &lines("new", 0..COUNT)).expect(0);
        ran.says("an earlier run was interrupted: resuming with its 1,024 vectors");
        let told = report(&playground);
        assert_eq!((&told["chunks_resumed"], &told["chunks"]), (&json!(WINDOW), &json!(COUNT - WINDOW)));
        assert_output(&playground, &NEW, "resumed");
        assert_clean(&playground);
    }
}

/// The run has received no input, so it leaves no files.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_run_that_waits_for_its_input_can_be_interrupted() {
    let playground = Playground::new();
    let running = Running::start(&mut playground.command(&["build", "-", "-o", OUT]));
    eventually("it waits", || playground.path(LOCK).exists());
    let started = Instant::now();
    running.signal(Signal::INT);
    error_of(&running.ended().expect(130));
    assert!(started.elapsed() < SOON);
    assert!(playground.listing().is_empty(), "{:?}", playground.listing());
}

/// Returns a page that keeps a worker busy for seconds: every paragraph closes and reopens all elements that are open.
fn slow_page() -> String {
    (0..4700).map(|n| format!("<p><b a{n}>")).collect()
}

fn start_with_slow_page(playground: &Playground) -> Running {
    playground.write("docs/slow.html", slow_page());
    playground.write("docs/quick.html", "<p>quick");
    let running = Running::start(&mut playground.command(&["build", "docs", "-o", OUT]));
    let is_at_it = |process: &Process| process.id != running.id() && process.used >= 10;
    eventually("a worker is at the slow page", || living(running.id()).iter().any(is_at_it));
    running
}

/// The signal goes to the whole process group, so workers get it too.
#[test]
#[ignore = "needs what scripts/test installs"]
fn no_document_fails_because_its_worker_got_the_signal() {
    let playground = Playground::new();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let running = start_with_slow_page(&playground);
        let started = Instant::now();
        running.signal(signal);
        let ran = running.ended().expect(code);
        assert!(started.elapsed() < SOON, "{:?}{}", started.elapsed(), ran.story);
        error_of(&ran);
        assert_eq!(ran.stderr.matches("failed: ").count(), 0, "{}", ran.story);
        assert!(playground.listing() == ["docs"], "{:?}", playground.listing());
    }
    // The signal arrives while the run starts workers.
    let mut random = Random(2);
    for n in 0..40 {
        playground.write(&format!("pages/{n}.html"), format!("<p>page {n}"));
    }
    for _ in 0..15 {
        let mut running = Running::start(&mut playground.command(&["build", "pages", "-o", OUT]));
        running.wait_until(|running| living(running.id()).len() > 1);
        thread::sleep(random.duration(Duration::from_millis(5)));
        let _ = kill_process_group(Pid::from_child(&running.child), Signal::TERM);
        let ran = running.ended();
        assert!([Some(143), Some(0)].contains(&ran.code), "{}", ran.story);
        assert_eq!(ran.stderr.matches("failed: ").count(), 0, "{}", ran.story);
    }
}

/// A script runs in place of the first worker and sends the signal to itself, so the test does not depend on timing.
#[test]
fn a_worker_that_the_signal_ends_at_its_start_is_started_again() {
    for signal in ["INT", "TERM"] {
        let playground = Playground::new();
        let (program, first) = (playground.path("program"), playground.path("first"));
        let script = format!(
            "#!/bin/sh\nmkdir '{}' 2>/dev/null && kill -{signal} $$\nexec '{}' \"$@\"\n",
            first.display(),
            env!("CARGO_BIN_EXE_qwen3-index"),
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        playground.write("docs/page.html", "<p>page");
        let reading = reading();
        let reading = Reading { workers: Workers::new(program, reading.limits), ..reading };
        let roots = Roots::new(&[playground.path("docs")], filter(), false).unwrap();
        let found = roots.documents(&reading).next();
        let Some(Found::Raw(raw)) = found else { panic!("{found:?}") };
        assert_eq!(raw.read(&reading).unwrap().content.text().trim(), "page");
        assert!(first.exists());
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn workers_end_with_their_run() {
    let playground = Playground::new();
    for signal in [Signal::INT, Signal::KILL] {
        let mut running = start_with_slow_page(&playground);
        match signal {
            Signal::KILL => _ = running.kill(),
            signal => running.signal(signal),
        }
        running.wait();
        let started = Instant::now();
        eventually("its workers are gone", || living(running.id()).is_empty());
        // A worker that went on would need longer for the page.
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
}

/// A run that blocks while it writes to a stopped terminal or a pager does not see the signal. The first signal ends it
/// within a few seconds, a second one at once.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_blocked_run_is_ended_by_a_signal() {
    const HEARS: Duration = Duration::from_secs(4);
    let playground = Playground::new();
    // More failures than fit into a pipe.
    playground.write("in.jsonl", "{\"text\":5}\n".repeat(5000) + "{\"text\":\"good\"}\n");
    playground.write(OUT, &*OLD);
    for (signals, code) in [(1, 130), (2, 143)] {
        let mut command = playground.command(&["build", "in.jsonl", "-o", OUT]);
        let mut child = command.process_group(0).stderr(Stdio::piped()).spawn().unwrap();
        let group = Pid::from_child(&child);
        let mut since = Instant::now();
        eventually("it waits for its reader", || {
            if !playground.path(LOCK).exists() || !sleeps(child.id()) {
                since = Instant::now();
            }
            since.elapsed() > Duration::from_millis(500)
        });
        let started = Instant::now();
        kill_process_group(group, Signal::INT).unwrap();
        if signals == 2 {
            thread::sleep(Duration::from_millis(300));
            assert!(child.try_wait().unwrap().is_none(), "not blocked: ended by the first signal");
            kill_process_group(group, Signal::TERM).unwrap();
        }
        eventually("it ends", || child.try_wait().unwrap().is_some());
        let took = started.elapsed();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        // Limits with room for a busy machine.
        let least = if signals == 2 { Duration::ZERO } else { HEARS - Duration::from_millis(100) };
        let most = if signals == 2 { HEARS - Duration::from_millis(500) } else { HEARS + SOON };
        assert!((least..most).contains(&took), "{signals}: {took:?}");
        assert_output(&playground, &OLD, "interrupted");
    }
}

// Two runs at a time.

/// Both start together, or one while the other works. A reader sees a whole file at every moment; the run that cannot
/// write names the process that does.
#[test]
#[ignore = "needs what scripts/test installs"]
fn one_of_two_runs_writes_and_the_other_names_it() {
    let playground = Playground::new();
    // The same texts in two orders: each run has nothing to embed and a new file to write.
    let (ascending, descending) = (lines("new", 0..300), lines("new", 0..300));
    let descending: String = descending.lines().rev().flat_map(|line| [line, "\n"]).collect();
    playground.write("0.jsonl", &ascending);
    playground.write("1.jsonl", &descending);
    let outputs = [undisturbed(&ascending), undisturbed(&descending)];
    playground.write(OUT, &outputs[1]);
    let is_over = AtomicBool::new(false);
    let started = Instant::now();
    playground.run(&["build", "0.jsonl", "-o", OUT]).expect(0);
    let duration = started.elapsed();
    playground.run(&["build", "1.jsonl", "-o", OUT]).expect(0);
    let mut random = Random(3);
    let mut held = [0, 0];
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                let there = fs::read(playground.path(OUT)).unwrap();
                assert!(outputs.contains(&there), "a reader sees {} bytes of neither", there.len());
                thread::sleep(Duration::from_millis(1));
            }
        });
        for round in 0..100 {
            let input = format!("{}.jsonl", round % 2);
            let start = || Running::start(&mut playground.command(&["build", &input, "-o", OUT]));
            let first = start();
            if round % 4 > 1 {
                thread::sleep(random.duration(duration));
            }
            let second = start();
            let ids = [first.id(), second.id()];
            let ran = [first, second].map(Running::end);
            assert!(ran.iter().any(|ran| ran.code == Some(0)), "{round}{}{}", ran[0].story, ran[1].story);
            for (ran, other) in ran.iter().zip([ids[1], ids[0]]).filter(|(ran, _)| ran.code != Some(0)) {
                assert_eq!(ran.code, Some(4), "{round}{}", ran.story);
                let error = error_of(ran);
                let says = "qwen3-index: error: output out.parquet: another run holds it (";
                let holder = error.strip_prefix(says).unwrap_or_else(|| panic!("{round}{}", ran.story));
                assert!(holder.starts_with(&format!("process {other}, since 2")));
                held[usize::from(round % 4 > 1)] += 1;
            }
            let there = fs::read(playground.path(OUT)).unwrap();
            assert!(there == outputs[round % 2], "{round}: not the output of this input");
            assert_clean(&playground);
        }
        is_over.store(true, Relaxed);
        reader.join().unwrap();
    });
    println!("held off: {held:?} of 50 at the same moment and of 50 within {duration:?}");
    assert!(held[0] > 10, "{held:?}");
}

/// Returns name, inode, modification time and content of every file.
fn snapshot(playground: &Playground) -> Vec<(String, u64, SystemTime, Vec<u8>)> {
    let of = |name: String| {
        let path = playground.path(&name);
        let metadata = path.symlink_metadata().unwrap();
        (name, metadata.ino(), metadata.modified().unwrap(), fs::read(path).unwrap())
    };
    playground.listing().into_iter().map(of).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_second_run_does_not_disturb_the_first() {
    let playground = Playground::new();
    playground.write(OUT, &*OLD);
    playground.write("report.json", "{\"of\": \"last night\"}");
    playground.write("in.jsonl", lines("new", 0..COUNT));
    symlink(OUT, playground.path("link.parquet")).unwrap();
    let running = Running::hold(&playground, &["--report", "report.json"]);
    let before = snapshot(&playground);
    let mut fastest = Duration::MAX;
    for output in [OUT, "./out.parquet", "link.parquet", OUT, OUT] {
        let started = Instant::now();
        let ran = playground.run(&["build", "in.jsonl", "-o", output, "--report", "report.json"]).expect(4);
        fastest = fastest.min(started.elapsed());
        let says = format!("output {output}: another run holds it (process {}, since 2", running.id());
        assert!(error_of(&ran).contains(&says) && error_of(&ran).contains("wait"), "{}", ran.story);
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    let ran = playground.run(&["build", "in.jsonl", "-o", OUT, "--dry-run"]).expect(0);
    assert!(ran.stdout.contains(&format!("in {} chunks to embed", COUNT - WINDOW)), "{}", ran.story);
    assert!(snapshot(&playground) == before, "a file has changed: {:?}", playground.listing());

    running.release().expect(0);
    assert_output(&playground, &NEW, "after all");
    assert_eq!(report(&playground)["exit_code"], 0);
    assert_clean(&playground);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_lock_file_of_a_dead_process_stops_no_run() {
    let playground = Playground::new();
    playground.write("in.jsonl", lines("new", 0..COUNT));
    // The file names process 1, which is alive but does not hold the lock.
    playground.write(LOCK, "process 1, since 2020-01-01T00:00:00Z\n");
    playground.run(&["build", "in.jsonl", "-o", OUT]).expect(0);
    assert_clean(&playground);

    fs::remove_file(playground.path(OUT)).unwrap();
    let mut running = Running::hold(&playground, &[]);
    running.kill();
    assert!(fs::read_to_string(playground.path(LOCK)).unwrap().contains(&running.id().to_string()));
    playground.run(&["build", "in.jsonl", "-o", OUT]).expect(0);
    assert_output(&playground, &NEW, "after a dead one");
    assert_clean(&playground);

    // A worker of the killed run is still alive; it must not have inherited the lock.
    playground.write("a.txt", "text");
    fs::remove_file(playground.path(OUT)).unwrap();
    let mut running = start_with_slow_page(&playground);
    running.kill();
    let started = Instant::now();
    let ran = playground.run(&["build", "a.txt", "-o", OUT]).expect(0);
    println!("a run beside {:?} of a dead run took {:?}", living(running.id()), started.elapsed());
    assert_eq!(rows(&playground.path(OUT)).len(), 1, "{}", ran.story);
}

// Modes, owners and links of the new file.

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_new_output_has_mode_and_owner_of_the_old_one() {
    let playground = Playground::new();
    playground.write("in.jsonl", lines("new", 0..10));
    let out = playground.path(OUT);
    let arguments = ["build", "in.jsonl", "-o", OUT, "--delta", "delta.parquet", "--report", "report.json"];
    playground.output(&mut after("umask 027", &playground.command(&arguments)), "").expect(0);
    for name in [OUT, "delta.parquet", "report.json"] {
        assert_eq!(mode(&playground.path(name)), 0o640, "{name}: not the mode that the umask gives");
    }
    for (at, given) in [0o600, 0o640, 0o664, 0o444].into_iter().enumerate() {
        chmod(&out, given);
        let owner = if geteuid().is_root() { (1234, 4321) } else { (geteuid().as_raw(), 0) };
        if geteuid().is_root() {
            chown(&out, Some(owner.0), Some(owner.1)).unwrap();
        } else {
            println!("not root: only the mode is checked");
        }
        let before = fs::read(&out).unwrap();
        playground.write("in.jsonl", lines("new", at + 1..10));
        playground.output(&mut after("umask 077", &playground.command(&arguments)), "").expect(0);
        assert!(fs::read(&out).unwrap() != before, "the run has not replaced the file");
        assert_eq!(mode(&out), given);
        if geteuid().is_root() {
            let now = out.metadata().unwrap();
            assert_eq!((now.uid(), now.gid()), owner);
        }
    }
}

/// Lock, journal and temporary file have the mode of the output, since they contain its texts or vectors.
#[test]
#[ignore = "needs what scripts/test installs"]
fn hidden_files_of_a_private_output_are_private() {
    let playground = Playground::new();
    playground.write(OUT, &*OLD);
    chmod(&playground.path(OUT), 0o600);
    let running = Running::hold(&playground, &[]);
    let beside = hidden(&playground.path(""), OUT);
    assert_eq!(beside.len(), 3, "lock, journal and new file: {beside:?}");
    for path in beside {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    running.release().expect(0);
    assert_eq!(mode(&playground.path(OUT)), 0o600);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn links_to_the_output_stay_and_leftovers_of_dead_runs_are_removed() {
    let playground = Playground::new();
    playground.write("in.jsonl", lines("new", 0..10));
    let new = undisturbed(&lines("new", 0..10));
    playground.write("real/real.parquet", undisturbed(&lines("old", 0..10)));
    symlink("real/real.parquet", playground.path("near.parquet")).unwrap();
    symlink(playground.path("near.parquet"), playground.path(OUT)).unwrap();
    // Leftovers of this output, and files whose names only look similar.
    const GONE: [&str; 3] = [
        "real/.real.parquet.abc123def456.tmp",
        "real/.real.parquet.lock",
        "real/.real.parquet.Xy9Zz0Xy9Zz0.tmp",
    ];
    const KEPT: [&str; 7] = [
        "real/.other.parquet.abc123def456.tmp",
        "real/.real.parquet.notes.tmp",
        "real/.real.parquet.abc-12def456.tmp",
        "real/.real.parquet.abc123def4567.tmp",
        "real/.real.parquet.abc123def456.tmp.txt",
        "real/real.parquet.abc123def456.tmp",
        ".out.parquet.abc123def456.tmp",
    ];
    GONE.iter().chain(&KEPT).for_each(|name| playground.write(name, "left"));
    playground.run(&["build", "in.jsonl", "-o", OUT]).expect(0);
    assert!(fs::read(playground.path("real/real.parquet")).unwrap() == new);
    assert_eq!(fs::read_link(playground.path(OUT)).unwrap(), playground.path("near.parquet"));
    assert_eq!(fs::read_link(playground.path("near.parquet")).unwrap(), Path::new("real/real.parquet"));
    for name in GONE {
        assert!(!playground.path(name).exists(), "{name} is left");
    }
    for name in KEPT {
        assert!(playground.path(name).exists(), "{name} is gone");
    }

    symlink("nowhere/out.parquet", playground.path("dangling.parquet")).unwrap();
    let ran = playground.run(&["build", "in.jsonl", "-o", "dangling.parquet"]).expect(1);
    assert!(error_of(&ran).contains("output dangling.parquet: is a broken symlink"), "{}", ran.story);
    assert!(playground.path("dangling.parquet").is_symlink());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn leftovers_of_delta_and_report_are_removed_too() {
    let playground = Playground::new();
    playground.write("in.jsonl", lines("new", 0..10));
    playground.write("more/.delta.parquet.abc123def456.tmp", "left");
    playground.write("more/.report.json.abc123def456.tmp", "left");
    let arguments = ["--delta", "more/delta.parquet", "--report", "more/report.json"];
    playground.run(&[&["build", "in.jsonl", "-o", OUT][..], &arguments].concat()).expect(0);
    assert!(hidden(&playground.path("more"), "delta.parquet").is_empty());
    assert!(hidden(&playground.path("more"), "report.json").is_empty());
}

// A full disk.

/// A run with a small journal, a larger output and a still larger delta. Most texts have vectors in the old output under
/// other ids, so few are embedded. The old ids are long, and the delta lists them as removed.
struct Tight {
    playground: Playground,
    old: Vec<u8>,
    new: Vec<u8>,
    delta: Vec<u8>,
    /// Upper limit of the journal's size in bytes.
    journal: usize,
}

impl Tight {
    const ARGUMENTS: [&str; 6] = ["build", "in.jsonl", "-o", OUT, "--delta", "delta.parquet"];

    fn new() -> Self {
        let mut random = Random(5);
        // Noise, which does not compress, so that the sizes are known.
        let mut noise = |length: usize| -> String {
            (0..length).map(|_| char::from(b' ' + 1 + random.below(94) as u8)).collect()
        };
        let texts: Vec<String> = (0..40).map(|_| noise(1000)).collect();
        let line = |id: &str, text: &str| json!({"id": id, "text": text}).to_string() + "\n";
        let old: String = texts.iter().map(|text| line(&noise(300), text)).collect();
        let new: String = (0..).zip(&texts).map(|(n, text)| line(&format!("new {n}"), text)).collect();
        let playground = Playground::new();
        playground.write("in.jsonl", old);
        playground.run(&Tight::ARGUMENTS[..4]).expect(0);
        let old = fs::read(playground.path(OUT)).unwrap();
        playground.write("in.jsonl", new + &lines("new", 0..20));
        playground.run(&Tight::ARGUMENTS).expect(0);
        let read = |name| fs::read(playground.path(name)).unwrap();
        let (new, delta) = (read(OUT), read("delta.parquet"));
        Tight { old, new, delta, journal: 20 * RECORD_BYTES + 512, playground }
    }

    /// Returns a limit in KiB that is enough for the first size in bytes and too small for the second.
    fn between(enough_for: usize, not_for: usize) -> usize {
        let kib = enough_for.div_ceil(1024);
        assert!(kib * 1024 + 200 < not_for, "{enough_for} and {not_for} bytes are too close together");
        kib
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn without_room_the_old_output_stays_and_the_next_run_succeeds() {
    let tight = Tight::new();
    let (out, delta) = (tight.new.len(), tight.delta.len());
    let Tight { playground, .. } = &tight;
    let cases = [
        (1, JOURNAL),
        (tight.journal / 2048, JOURNAL),
        (Tight::between(tight.journal, out), "output out.parquet"),
        (out / 2048, "output out.parquet"),
        (out / 1024, "output out.parquet"),
        (Tight::between(out, delta), "--delta delta.parquet"),
        (delta / 1024, "--delta delta.parquet"),
    ];
    for (kib, says) in cases {
        playground.write(OUT, &tight.old);
        let before = ["delta.parquet", "in.jsonl", OUT];
        let ran = playground.output(&mut limited(kib, &playground.command(&Tight::ARGUMENTS)), "").expect(1);
        let error = error_of(&ran);
        let is_helpful = [says, "File too large", "make room"].iter().all(|part| error.contains(part));
        assert!(is_helpful, "{kib} KiB, {says}{}", ran.story);
        assert_output(playground, &tight.old, "no room");
        assert!(fs::read(playground.path("delta.parquet")).unwrap() == tight.delta, "{says}");
        assert_eq!(playground.listing(), [&[JOURNAL][..], &before].concat(), "{says}: other files are left");
        playground.run(&Tight::ARGUMENTS).expect(0);
        assert_output(playground, &tight.new, says);
        assert!(fs::read(playground.path("delta.parquet")).unwrap() == tight.delta, "{says}");
        assert_clean(playground);
    }
}

/// Writes ten good documents, and so many bad ones with long names that the report is larger than the index.
fn write_bad(playground: &Playground) {
    playground.write("docs/in.jsonl", lines("new", 0..10));
    for n in 0..60 {
        playground.write(&format!("docs/{}{n}.txt", "long".repeat(50)), b"\0\xff");
    }
}

/// If the report cannot be written, the run warns and keeps its exit code.
#[test]
#[ignore = "needs what scripts/test installs"]
fn without_room_for_the_report_the_index_is_written() {
    let playground = Playground::new();
    write_bad(&playground);
    playground.write("report.json", "{\"of\": \"last night\"}");
    let arguments = ["build", "docs", "-o", OUT, "--report", "report.json"];
    let ran = playground.output(&mut limited(16, &playground.command(&arguments)), "").expect(3);
    assert_eq!(ran.stderr.matches("warning: ").count(), 1, "{}", ran.story);
    ran.says("File too large");
    assert_output(&playground, &undisturbed(&lines("new", 0..10)), "no report");
    assert_eq!(fs::read(playground.path("report.json")).unwrap(), b"{\"of\": \"last night\"}");
    assert_clean(&playground);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_file_without_room_is_named_with_what_to_do() {
    let playground = Playground::new();
    write_bad(&playground);
    let arguments = ["build", "docs", "-o", OUT, "--report", "report.json"];
    let ran = playground.output(&mut limited(16, &playground.command(&arguments)), "").expect(3);
    ran.says("--report report.json: cannot be written: ").says("make room");
    fs::remove_file(playground.path(OUT)).unwrap();
    let ran = playground.output(&mut limited(0, &playground.command(&arguments[..4])), "").expect(1);
    assert!(error_of(&ran).contains("out.parquet") && error_of(&ran).contains("make room"), "{}", ran.story);
    assert_clean(&playground);
}

/// A tmpfs of a given size in KiB, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// Returns `None` if this user may not mount; most users may not.
    fn new(path: PathBuf, kib: usize) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let size = format!("size={kib}k");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).stderr(Stdio::null());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        if !is_mounted {
            skip("this user cannot mount a tmpfs");
        }
        is_mounted.then_some(Mount(path))
    }

    fn again(&self, options: &str) {
        let mut mount = Command::new("mount");
        let status = mount.args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.unwrap().success(), "{options}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Fills the file system of a path and leaves `free_kib` free. The system counts in pages of 4 KiB.
fn fill(path: &Path, free_kib: u64) {
    let mut filler = File::create(path).unwrap();
    while filler.write_all(&[1; 4096]).is_ok() {}
    let length = filler.metadata().unwrap().len() / 4096 * 4096;
    filler.set_len(length - free_kib * 1024).unwrap();
}

/// Uses a small file system. Its last free pages go to the lock, the journal or the new file.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_run_on_a_full_disk_fails_and_succeeds_once_there_is_room() {
    let tight = Tight::new();
    let Tight { playground, .. } = &tight;
    let Some(disk) = Mount::new(playground.path("disk"), 400) else { return };
    let out = disk.0.join(OUT);
    let arguments = ["build", "in.jsonl", "-o", "disk/out.parquet"];
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for free_kib in [0, 4, 8, 12, 16, 28, 40] {
        fs::write(&out, &tight.old).unwrap();
        fill(&disk.0.join("filler"), free_kib);
        let ran = playground.run(&arguments).expect(1);
        let error = error_of(&ran);
        assert!(error.contains("No space left on device"), "{free_kib} KiB{}", ran.story);
        let file = if error.contains(JOURNAL) { "journal" } else { "output" };
        assert!(free_kib < 8 || error.contains("make room"), "{free_kib} KiB{}", ran.story);
        assert!(error.contains("out.parquet"), "{free_kib} KiB{}", ran.story);
        *told.entry(file).or_default() += 1;
        assert!(fs::read(&out).unwrap() == tight.old, "{free_kib} KiB{}", ran.story);
        let left = hidden(&disk.0, OUT);
        assert!(left.iter().all(|path| path.extension().unwrap() != "tmp"), "{left:?}");
        fs::remove_file(disk.0.join("filler")).unwrap();
        playground.run(&arguments).expect(0);
        assert!(fs::read(&out).unwrap() == tight.new, "{free_kib} KiB");
        assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 1, "{:?}", hidden(&disk.0, OUT));
    }
    println!("{told:?}");
    assert!(told.len() == 2, "{told:?}");

    disk.again("ro");
    playground.write("in.jsonl", lines("new", 0..20));
    let ran = playground.run(&[&arguments[..], &["--allow-shrink"]].concat()).expect(1);
    let says =
        "output disk/out.parquet: Read-only file system (os error 30); its folder must exist and be writable";
    assert!(error_of(&ran).contains(says), "{}", ran.story);
    playground.run(&[&arguments[..], &["--dry-run", "--allow-shrink"]].concat()).expect(0);
    assert!(fs::read(&out).unwrap() == tight.new);
}

/// Returns the command, as a user for whom file modes count. `None` if that is not possible.
fn bound(playground: &Playground, arguments: &[&str]) -> Option<Command> {
    let command = playground.command(arguments);
    if !geteuid().is_root() {
        return Some(command);
    }
    let bound = bound_by_modes(&command);
    if bound.is_none() {
        skip(NO_SETPRIV);
    }
    bound
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_output_folder_that_is_not_writable_is_named() {
    let playground = Playground::new();
    playground.write("in.jsonl", lines("new", 0..10));
    let old = undisturbed(&lines("old", 0..10));
    playground.write("shut/out.parquet", &old);
    let arguments = ["build", "in.jsonl", "-o", "shut/out.parquet"];
    let Some(mut command) = bound(&playground, &arguments) else { return };
    chmod(&playground.path("shut"), 0o555);
    let ran = playground.output(&mut command, "");
    let plan =
        playground.output(&mut bound(&playground, &[&arguments[..], &["--dry-run"]].concat()).unwrap(), "");
    chmod(&playground.path("shut"), 0o755);
    let ran = ran.expect(1);
    let says =
        "output shut/out.parquet: Permission denied (os error 13); its folder must exist and be writable";
    assert!(error_of(&ran).contains(says), "{}", ran.story);
    plan.expect(0);
    assert!(fs::read(playground.path("shut/out.parquet")).unwrap() == old);
    assert_eq!(fs::read_dir(playground.path("shut")).unwrap().count(), 1);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_read_only_output_is_replaced_even_after_a_kill() {
    let playground = Playground::new();
    playground.write("in.jsonl", lines("new", 0..COUNT));
    playground.write(OUT, &*OLD);
    chmod(&playground.path(OUT), 0o444);
    Running::hold(&playground, &[]).kill();
    let Some(mut command) = bound(&playground, &["build", "in.jsonl", "-o", OUT]) else { return };
    playground.output(&mut command, "").expect(0);
    assert_output(&playground, &NEW, "read-only");
    assert_eq!(mode(&playground.path(OUT)), 0o444);
}

// Changes by other programs.

/// The tool compares contents, not modification times.
#[test]
#[ignore = "needs what scripts/test installs"]
fn wrong_modification_times_change_nothing() {
    let playground = Playground::new();
    let at = |name: &str, days: i64| {
        let day = Duration::from_secs(86_400);
        let now = SystemTime::now();
        let offset = day * days.unsigned_abs() as u32;
        let time = if days > 0 { now + offset } else { now - offset };
        File::options().write(true).open(playground.path(name)).unwrap().set_modified(time).unwrap();
    };
    let arguments = ["build", "in.jsonl", "-o", OUT, "--report", "report.json"];
    for (of_input, of_others) in [(-9000, 9000), (9000, -9000), (9000, 9000), (-9000, -9000)] {
        playground.write("in.jsonl", lines("new", 0..COUNT));
        playground.write(OUT, &*OLD);
        Running::hold(&playground, &[]).kill();
        at("in.jsonl", of_input);
        for name in [OUT, JOURNAL, LOCK] {
            at(name, of_others);
        }
        playground.run(&arguments).expect(0);
        assert_output(&playground, &NEW, "changed");
        assert_eq!(report(&playground)["chunks_resumed"], WINDOW);

        at("in.jsonl", of_input);
        at(OUT, of_others);
        playground.run(&arguments).expect(0);
        assert_output(&playground, &NEW, "unchanged");
        assert_eq!(report(&playground)["chunks"], 0);
    }
}

/// A change of the output by another program during a run: its name, whether there is an old output, the change.
type Meddle = (&'static str, bool, fn(&Path, &[u8]));

const MEDDLES: [Meddle; 5] = [
    ("replaced by a rename", true, |out, theirs| {
        fs::write(out.with_extension("theirs"), theirs).unwrap();
        fs::rename(out.with_extension("theirs"), out).unwrap();
    }),
    ("overwritten in place", true, |out, theirs| fs::write(out, theirs).unwrap()),
    // Same name and bytes, but another file than the one that the run has read.
    ("put back from a backup", true, |out, _| {
        fs::copy(out, out.with_extension("backup")).unwrap();
        fs::rename(out.with_extension("backup"), out).unwrap();
    }),
    ("made where there was none", false, |out, theirs| fs::write(out, theirs).unwrap()),
    ("removed", true, |out, _| fs::remove_file(out).unwrap()),
];

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_output_that_another_program_changes_during_the_run_is_not_replaced() {
    let theirs = undisturbed(&lines("their", 0..COUNT));
    for (what, is_old, meddle) in MEDDLES {
        let playground = Playground::new();
        if is_old {
            playground.write(OUT, &*OLD);
        }
        let running = Running::hold(&playground, &[]);
        let out = playground.path(OUT);
        meddle(&out, &theirs);
        let before = fs::read(&out).ok();
        let ran = running.release().expect(1);
        let says = "output out.parquet: another program wrote or removed this file during the run, so the run did not replace the file";
        assert!(error_of(&ran).contains(says), "{what}{}", ran.story);
        assert!(fs::read(&out).ok() == before, "{what}: the run has changed the output");
        assert_eq!(records(&playground.path(JOURNAL)), COUNT, "{what}: vectors are lost");
        let arguments = ["build", "-", "-o", OUT, "--report", "report.json"];
        playground.run_with_stdin(&arguments, &lines("new", 0..COUNT)).expect(0);
        assert_output(&playground, &NEW, what);
        assert_eq!(report(&playground)["chunks"], 0, "{what}");
        assert_clean(&playground);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_run_that_gets_the_lock_late_reads_what_the_other_run_wrote() {
    let playground = Playground::new();
    playground.write("in.jsonl", lines("new", 0..10));
    let command = playground.command(&["build", "in.jsonl", "-o", OUT]);
    // strace delays the run for three seconds between looking at the output and taking the lock.
    let mut late = Command::new("strace");
    late.args(["-f", "-o", "trace", "-e", "trace=flock", "-e", "inject=flock:delay_enter=3000000"]);
    late.arg(command.get_program()).args(command.get_args()).current_dir(playground.path(""));
    late.env("QWEN3_INDEX_MODEL", repository("fixtures/qwen3-tiny"));
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return skip("there is no strace");
    }
    let late = Running::start(&mut late);
    eventually("it is at the lock", || playground.path(LOCK).exists());
    playground.run(&["build", "in.jsonl", "-o", OUT]).expect(0);
    late.end().expect(0);
}

// The journal.

/// A journal of an interrupted run, with a torn record at its end.
struct Left {
    playground: Playground,
    journal: Vec<u8>,
    header: usize,
    whole: usize,
}

const LEFT_COUNT: usize = 200;

impl Left {
    const ARGUMENTS: [&str; 8] =
        ["build", "in.jsonl", "-o", OUT, "--batch-tokens", "256", "--report", "report.json"];

    fn new(more: &[&str]) -> Self {
        let playground = Playground::new();
        playground.write("in.jsonl", lines("new", 0..LEFT_COUNT));
        let arguments = [&Left::ARGUMENTS, more].concat();
        playground.output(&mut limited(32, &playground.command(&arguments)), "").expect(1);
        let journal = fs::read(playground.path(JOURNAL)).unwrap();
        let header = 1 + journal.iter().position(|&byte| byte == b'\n').unwrap();
        let whole = records(&playground.path(JOURNAL));
        assert_eq!(whole, (32 * 1024 - header) / RECORD_BYTES);
        assert!(!(journal.len() - header).is_multiple_of(RECORD_BYTES), "the last record is torn");
        Left { playground, journal, header, whole }
    }

    /// Returns the offset behind the last whole record.
    fn end(&self) -> usize {
        self.header + self.whole * RECORD_BYTES
    }

    /// Runs with a journal and without a size limit. Returns how many vectors it took from the journal, and its output.
    fn resume(&self, journal: &[u8], more: &[&str]) -> (usize, Vec<u8>) {
        let Left { playground, .. } = self;
        playground.write(JOURNAL, journal);
        let _ = fs::remove_file(playground.path(OUT));
        playground.run(&[&Left::ARGUMENTS, more].concat()).expect(0);
        assert_clean(playground);
        let report = report(playground);
        let resumed = report["chunks_resumed"].as_u64().unwrap() as usize;
        assert_eq!(report["chunks"], LEFT_COUNT - resumed, "{report}");
        (resumed, fs::read(playground.path(OUT)).unwrap())
    }
}

fn flipped(mut bytes: Vec<u8>, at: usize) -> Vec<u8> {
    bytes[at] ^= 1;
    bytes
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn only_the_whole_records_of_a_damaged_journal_are_used() {
    let left = Left::new(&[]);
    let expected = undisturbed(&lines("new", 0..LEFT_COUNT));
    let Left { journal, header, whole, .. } = &left;
    let (whole, header, end) = (*whole, *header, left.end());
    let record = |number: usize| header + number * RECORD_BYTES;
    let other = Left::new(&["--model-file", "model_f16.onnx"]).journal;
    let text = |from: &str, to: &str| -> Vec<u8> {
        let line = String::from_utf8(journal[..header].to_vec()).unwrap();
        assert!(line.contains(from), "{line}");
        [line.replace(from, to).as_bytes(), &journal[header..]].concat()
    };
    let with = |more: &[u8]| [&journal[..end], more].concat();
    let cases = [
        ("as it was left", journal.clone(), whole),
        ("nothing", Vec::new(), 0),
        ("the header cut early", journal[..5].to_vec(), 0),
        ("the header cut late", journal[..header - 2].to_vec(), 0),
        ("the header without its end", journal[..header - 1].to_vec(), 0),
        ("the header alone", journal[..header].to_vec(), 0),
        ("the first digest cut", journal[..header + 7].to_vec(), 0),
        ("the first vector cut", journal[..header + 100].to_vec(), 0),
        ("one record", journal[..record(1)].to_vec(), 1),
        ("the last checksum cut", journal[..end - 3].to_vec(), whole - 1),
        ("a wrong bit in the header", flipped(journal.clone(), header / 2), 0),
        ("a wrong bit in the first digest", flipped(journal.clone(), header), 0),
        ("a wrong bit in a vector", flipped(journal.clone(), record(50) + 100), 50),
        ("a wrong bit in a checksum", flipped(journal.clone(), record(51) - 1), 50),
        ("zeros at the end", with(&[0; 10_000]), whole),
        (
            "zeros for the last page",
            [&journal[..end - 4096], &[0; 4096]].concat(),
            whole - 4096usize.div_ceil(RECORD_BYTES),
        ),
        ("a hole", [&journal[..record(20)], &[0; RECORD_BYTES], &journal[record(21)..]].concat(), 20),
        ("garbage at the end", with(b"no record at all"), whole),
        ("garbage", journal[record(3) + 9..].to_vec(), 0),
        ("one long line", vec![b'x'; 200_000], 0),
        ("another format", text("\"format\":1", "\"format\":2"), 0),
        ("another width", text("\"width\":64", "\"width\":32"), 0),
        ("a header that says more", text("{\"format\"", "{\"new\":0,\"format\""), 0),
        ("another model's", other, 0),
    ];
    for (what, journal, expect) in cases {
        let (resumed, made) = left.resume(&journal, &[]);
        assert_eq!(resumed, expect, "{what}");
        assert!(made == expected, "{what}: not the bytes of an undisturbed run");
    }

    // The journal's vectors are really used: a wrong vector with a right checksum reaches the output.
    let mut wrong = journal.clone();
    let (from, to) = (record(7) + DIGEST_BYTES, record(8) - CHECKSUM_BYTES);
    wrong.copy_within(record(9) + DIGEST_BYTES..record(10) - CHECKSUM_BYTES, from);
    let checksum = blake3::hash(&wrong[record(7)..to]);
    wrong[to..record(8)].copy_from_slice(&checksum.as_bytes()[..CHECKSUM_BYTES]);
    let (resumed, made) = left.resume(&wrong, &[]);
    assert!(resumed == whole && made != expected);
    // --rebuild does not use that journal.
    let (resumed, made) = left.resume(&wrong, &["--rebuild"]);
    assert!(resumed == 0 && made == expected);
}

/// The second run appends behind the whole records of the first.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_journal_grows_from_run_to_run() {
    let left = Left::new(&[]);
    let Left { playground, whole, .. } = &left;
    playground.output(&mut limited(48, &playground.command(&Left::ARGUMENTS)), "").expect(1);
    let more = records(&playground.path(JOURNAL));
    assert_eq!(more, (48 * 1024 - left.header) / RECORD_BYTES);
    assert_eq!(report(playground)["chunks_resumed"], *whole);
    let (resumed, made) = left.resume(&fs::read(playground.path(JOURNAL)).unwrap(), &[]);
    assert!(resumed == more && made == undisturbed(&lines("new", 0..LEFT_COUNT)));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_rebuild_resumes_only_from_the_journal_of_a_rebuild() {
    let expected = undisturbed(&lines("new", 0..LEFT_COUNT));
    let of_normal = Left::new(&[]);
    let of_rebuild = Left::new(&["--rebuild"]);
    let resumed = |left: &Left, more: &[&str]| {
        let (resumed, made) = left.resume(&left.journal, more);
        assert!(made == expected, "{more:?}");
        resumed
    };
    assert_eq!(resumed(&of_normal, &["--rebuild"]), 0);
    assert_eq!(resumed(&of_rebuild, &["--rebuild"]), of_rebuild.whole);
    assert_eq!(resumed(&of_rebuild, &[]), of_rebuild.whole);
}
