//! Runs on a disk that fails: a stand-in for the C library's calls on files (`tests/stand_in/disk.c`) lets one call fail.

#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use arrow::array::AsArray;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;

use crate::util::{Playground, Ran, repository};

const OUT: &str = "out.parquet";

/// Returns the library that makes calls fail.
fn library() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libfailingdisk.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-ldl", "-o"]).arg(&library);
        assert!(compiler.arg(repository("tests/stand_in/disk.c")).status().unwrap().success());
        library
    })
}

/// A call on a file that fails.
#[derive(Debug, Clone, Copy)]
struct Fault<'a> {
    call: &'static str,
    /// The end of the file's path.
    file: &'a str,
    /// The number of the first call that fails, from 1.
    at: usize,
    /// The error number; 0 for a read that returns no bytes; a signal with a minus before it.
    error: i32,
}

const EIO: i32 = 5;
const ENOMEM: i32 = 12;
const KILL: i32 = -9;

fn eio<'a>(call: &'static str, file: &'a str, at: usize) -> Fault<'a> {
    Fault { call, file, at, error: EIO }
}

/// Runs the binary with a fault.
fn run(playground: &Playground, arguments: &[&str], fault: Fault) -> Ran {
    let mut command = playground.command(arguments);
    command.env("LD_PRELOAD", library()).env("FAIL_CALL", fault.call).env("FAIL_FILE", fault.file);
    command.env("FAIL_AT", fault.at.to_string()).env("FAIL_WITH", fault.error.to_string());
    playground.output(&mut command, "")
}

/// Returns JSON Lines of short texts, all different.
fn lines(count: usize) -> String {
    let line = |n| json!({"id": n, "text": format!("the station number {n}")}).to_string() + "\n";
    (0..count).map(line).collect()
}

const BUILD: [&str; 4] = ["build", "docs.jsonl", "-o", OUT];

/// Returns a folder with an index of 40 documents. 38 of them are gone from the inputs, so a night has to stop.
fn shrunk() -> Playground {
    let playground = Playground::new().with("docs.jsonl", lines(40));
    playground.run(&BUILD).expect(0);
    playground.write("docs.jsonl", lines(2));
    playground
}

/// A read that fails says nothing about the content of the file.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_old_output_that_cannot_be_read_stays_and_the_run_fails() {
    let playground = shrunk();
    let before = fs::read(playground.path(OUT)).unwrap();
    let mut reached = 0;
    for call in ["open", "pread", "read", "stat"] {
        for error in if call.contains("read") { &[EIO, ENOMEM, 0][..] } else { &[EIO][..] } {
            for at in 1.. {
                let fault = Fault { call, file: "/out.parquet", at, error: *error };
                let ran = run(&playground, &BUILD, fault).expect(1);
                assert_eq!(fs::read(playground.path(OUT)).unwrap(), before, "{fault:?}{}", ran.story);
                assert_eq!(playground.listing(), ["docs.jsonl", OUT], "{fault:?}{}", ran.story);
                if ran.stderr.contains("are gone") {
                    // The run made fewer calls than that, or had no need of the call.
                    break;
                }
                assert!(!ran.stderr.contains("damaged"), "{fault:?}{}", ran.story);
                assert!(
                    ran.stderr.contains("out.parquet") && ran.stderr.contains("check the disk"),
                    "{fault:?}{}",
                    ran.story
                );
                reached += 1;
            }
        }
    }
    assert!(reached > 10, "{reached}");
}

/// An error while the run looks for a file is not taken for "there is no file".
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_output_that_cannot_be_looked_for_is_not_taken_for_absent() {
    let playground = Playground::new().with("docs.jsonl", lines(3));
    for (file, says) in
        [("out.parquet", "output out.parquet: cannot be read"), (".out.parquet.lock", "output out.parquet: ")]
    {
        let mut failed = 0;
        for at in 1..8 {
            let _ = fs::remove_file(playground.path(OUT));
            let ran = run(&playground, &BUILD, eio("stat", file, at));
            if ran.code != Some(0) {
                ran.expect(1).says(says);
                failed += 1;
            }
        }
        assert!(failed > 0, "{file}");
    }
}

/// Damages the vectors of an index; the footer still says how many rows there are.
fn damage(playground: &Playground) -> Vec<u8> {
    let mut bytes = fs::read(playground.path(OUT)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    playground.write(OUT, &bytes);
    bytes
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_guard_against_loss_holds_after_damage() {
    let playground = shrunk();
    let damaged = damage(&playground);
    for more in [&[][..], &["--dry-run"], &["--rebuild"], &["--chunks"]] {
        let ran = playground.run(&[&BUILD[..], more].concat()).expect(1);
        ran.says("the damaged old output has 40 rows, but the inputs have only 2;");
        assert_eq!(fs::read(playground.path(OUT)).unwrap(), damaged, "{}", ran.story);
        assert!(!playground.path("out.parquet.damaged").exists(), "{}", ran.story);
    }
    // The file is cut off, so its footer is gone too.
    let cut = &damaged[..damaged.len() - 1];
    playground.write(OUT, cut);
    let ran = playground.run(&BUILD).expect(1);
    ran.says("and does not say how many rows it had; put a backup in its place");
    assert_eq!(fs::read(playground.path(OUT)).unwrap(), cut, "{}", ran.story);
    playground.run(&[&BUILD[..], &["--allow-shrink"]].concat()).expect(3);
    assert_eq!(fs::read(playground.path("out.parquet.damaged")).unwrap(), cut);
    playground.run(&BUILD).expect(0).says("is unchanged");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn merge_and_pack_do_not_take_a_failed_read_for_damage_and_tell_of_damage() {
    let playground = Playground::new().with("docs.jsonl", lines(3));
    playground.run(&BUILD).expect(0);
    playground.run(&["build", "docs.jsonl", "-o", "part.parquet"]).expect(0);
    let before = fs::read(playground.path(OUT)).unwrap();
    let merge = ["merge", "part.parquet", "-o", OUT];
    for call in ["open", "pread"] {
        for at in 1..4 {
            let ran = run(&playground, &merge, eio(call, "/out.parquet", at));
            assert!(!ran.stderr.contains("damaged"), "{}", ran.story);
            if ran.code != Some(0) {
                ran.says("output out.parquet: cannot be read: ");
            }
        }
        let ran = run(&playground, &merge, eio(call, "part.parquet", 1)).expect(1);
        assert!(!ran.stderr.contains("build it again"), "{}", ran.story);
        ran.says("part.parquet: cannot be").says("check the");
    }
    playground.write(OUT, &before[..before.len() - 1]);
    playground.run(&merge).expect(3).says("the damaged file will be kept as");
    playground.run(&merge).expect(0);
}

const NIGHT: [&str; 6] = ["build", "docs.jsonl", "-o", OUT, "--delta", "delta.parquet"];

/// Returns a folder with an index of three documents, an old delta that leads to it, and one more document in the inputs.
fn grown() -> Playground {
    let playground = Playground::new().with("docs.jsonl", lines(3));
    playground.run(&NIGHT).expect(0);
    playground.write("docs.jsonl", lines(4));
    playground
}

/// Returns the ids in the delta.
fn changed(playground: &Playground) -> Vec<String> {
    ids(&playground.path("delta.parquet"))
}

fn ids(path: &Path) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let batches = reader.build().unwrap().map(Result::unwrap);
    batches
        .flat_map(|batch| {
            batch["id"].as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

/// What fails after the new file is in place cannot bring the old one back, so the run does not say that it is untouched.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_failure_after_the_new_file_is_in_place_is_told_as_such() {
    for (call, file, at, says) in [
        ("fsync", None, 2, "--delta delta.parquet: is in place, but its folder cannot be flushed to disk"),
        ("fsync", None, 3, "output out.parquet: is in place, but its folder cannot be flushed to disk"),
        ("unlink", Some(".out.parquet.journal"), 1, "output out.parquet: is in place, but "),
    ] {
        let playground = grown();
        let folder = playground.path("").display().to_string();
        let file = file.unwrap_or_else(|| folder.trim_end_matches('/'));
        let ran = run(&playground, &NIGHT, eio(call, file, at)).expect(3);
        ran.says(says).says("4 rows (1 added, 0 changed, 0 removed)");
        assert!(!ran.stderr.contains("untouched") && !ran.stderr.contains("error:"), "{}", ran.story);
        assert_eq!(
            (ids(&playground.path(OUT)).len(), changed(&playground)),
            (4, vec!["3".to_owned()]),
            "{}",
            ran.story
        );
        playground.run(&NIGHT).expect(0);
        assert!(changed(&playground).is_empty());
    }
}

/// A delta in place leads to the file that is in place, or there is none.
#[test]
#[ignore = "needs what scripts/test installs"]
fn no_delta_leads_to_a_file_that_was_never_put_in_place() {
    let playground = grown();
    let before = fs::read(playground.path(OUT)).unwrap();
    let ran = run(&playground, &NIGHT, eio("fsync", ".tmp", 3)).expect(1);
    ran.says("output out.parquet: cannot be written");
    assert_eq!(playground.listing(), [".out.parquet.journal", "docs.jsonl", OUT], "{}", ran.story);
    assert_eq!(fs::read(playground.path(OUT)).unwrap(), before);
    playground.run(&NIGHT).expect(0);
    assert_eq!(changed(&playground), ["3"]);
}

/// A run that is killed when its file is in place has told nobody of its delta. The next run keeps the delta, even if a run between
/// them fails or is killed too.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_delta_of_a_killed_run_is_kept_until_a_run_tells_of_it() {
    let playground = grown();
    let killed = |call, file, at| {
        let ran = run(&playground, &NIGHT, Fault { call, file, at, error: KILL });
        assert_eq!(ran.code, None, "{}", ran.story);
    };
    killed("unlink", ".out.parquet.journal", 1);
    assert_eq!(ids(&playground.path(OUT)).len(), 4);
    killed("read", "docs.jsonl", 1);
    fs::rename(playground.path("docs.jsonl"), playground.path("away")).unwrap();
    playground.run(&NIGHT).expect(1);
    fs::rename(playground.path("away"), playground.path("docs.jsonl")).unwrap();
    // A delta that cannot be read is not taken for another one.
    let ran = run(&playground, &NIGHT, eio("pread", "delta.parquet", 1)).expect(1);
    ran.says("--delta delta.parquet: cannot be read");
    assert_eq!(changed(&playground), ["3"]);
    playground.run(&NIGHT).expect(0);
    assert_eq!(changed(&playground), ["3"]);
    playground.run(&NIGHT).expect(0);
    assert!(changed(&playground).is_empty() && !playground.path(".out.parquet.lock").exists());
}

/// The delta of the last night has been applied. A killed run without changes must not leave it for another application.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_delta_of_an_earlier_night_is_not_taken_for_that_of_a_killed_run() {
    let playground = grown();
    playground.run(&NIGHT).expect(0);
    assert_eq!(changed(&playground), ["3"]);
    let ran = run(&playground, &BUILD, Fault { call: "read", file: "docs.jsonl", at: 1, error: KILL });
    assert!(ran.code.is_none() && playground.path(".out.parquet.lock").exists(), "{}", ran.story);
    playground.run(&NIGHT).expect(0).says("is unchanged");
    assert!(changed(&playground).is_empty());
}

/// A night needs the digest of the tokenizer, which is remembered. Only a text without a vector needs the tokenizer itself.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_night_without_changes_does_not_open_the_tokenizer() {
    let playground = Playground::new().with("docs.jsonl", lines(3));
    playground.run(&BUILD).expect(0);
    let before = fs::read(playground.path(OUT)).unwrap();
    let opened = eio("open", "/tokenizer.json", 1);
    run(&playground, &BUILD, opened).expect(0).says("out.parquet is unchanged");
    run(&playground, &[&BUILD[..], &["--dry-run"]].concat(), opened).expect(0);

    // A new text needs it. A tokenizer that cannot be read ends the run, and not only the document.
    playground.write("docs.jsonl", lines(300));
    let ran = run(&playground, &BUILD, opened).expect(1);
    ran.says("tokenizer.json: Input/output error")
        .says("; use the tokenizer.json from the model's own repository");
    assert_eq!(fs::read(playground.path(OUT)).unwrap(), before, "{}", ran.story);
    playground.run(&BUILD).expect(0);
    assert_eq!(ids(&playground.path(OUT)).len(), 300);
}

/// A run without `--delta` between two runs with it takes no delta away that nobody has been told of.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_delta_of_a_killed_run_outlives_a_run_without_delta() {
    let playground = grown();
    let fault = Fault { call: "unlink", file: ".out.parquet.journal", at: 1, error: KILL };
    assert_eq!(run(&playground, &NIGHT, fault).code, None);
    let ran = playground.run(&BUILD).expect(0);
    ran.says("a delta of an interrupted run has not been reported").says("with --delta keeps it");
    playground.run(&NIGHT).expect(0).says("is unchanged");
    assert_eq!(changed(&playground), ["3"]);
    assert!(!playground.path(".out.parquet.lock").exists());

    // A run that changes the output makes the delta useless.
    let playground = grown();
    assert_eq!(run(&playground, &NIGHT, fault).code, None);
    playground.write("docs.jsonl", lines(5));
    let ran = playground.run(&BUILD).expect(0);
    ran.says("a delta of an interrupted run has not been reported").says("load the whole output");
    assert!(!playground.path(".out.parquet.lock").exists(), "{}", ran.story);
}

/// The vectors of an interrupted run with another model are useless, and the user of a first build is told so.
#[test]
#[ignore = "needs what scripts/test installs"]
fn vectors_of_an_interrupted_run_that_cannot_be_used_are_said_to_be_dropped() {
    let playground = Playground::new().with("docs.jsonl", lines(3));
    let killed = |arguments: &[&str]| {
        let ran = run(&playground, arguments, Fault { call: "fsync", file: ".tmp", at: 1, error: KILL });
        assert_eq!(ran.code, None, "{}", ran.story);
    };
    killed(&BUILD);
    let other = [&BUILD[..], &["--model-file", "model_f16.onnx"]].concat();
    let dry = playground.run(&[&other[..], &["--dry-run"]].concat()).expect(0);
    dry.says("an interrupted run has left 3 vectors of another model, which this run cannot use");
    killed(&other);
    let ran = playground.run(&other).expect(0);
    assert!(!ran.stderr.contains("cannot use"), "{}", ran.story);

    fs::remove_file(playground.path(OUT)).unwrap();
    killed(&other);
    let ran = playground.run(&[&other[..], &["--rebuild"]].concat()).expect(0);
    ran.says(
        "an interrupted run has left 3 vectors that were made without --rebuild, which this run cannot use",
    );
}
