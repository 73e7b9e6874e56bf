//! Runs on a disk that fails: a stand-in for the C library's calls on files (`tests/stand_in/disk.c`) lets one call fail.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
struct Fault {
    call: &'static str,
    /// The end of the file's path.
    file: &'static str,
    /// The number of the first call that fails, from 1.
    at: usize,
    /// The error number; 0 for a read that returns no bytes.
    error: i32,
}

const EIO: i32 = 5;
const ENOMEM: i32 = 12;

fn eio(call: &'static str, file: &'static str, at: usize) -> Fault {
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
