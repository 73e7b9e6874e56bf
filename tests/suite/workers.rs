//! What the processes that run parsers may open, use and see.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use qwen3_index::error::{DocumentError, Failure};
use qwen3_index::source::{Document, Found, Limits, Raw, Reading, Roots, Workers};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use serde_json::Value;

use crate::make::{parquet, strings};
use crate::pipeline::{filter, reading};
use crate::util::{Playground, repository};

/// Maximum address space of the first worker and of the second worker for a document, as `/proc` shows it.
const SHARE: &str = "536870912";
const WHOLE: &str = "2147483648";

/// Returns settings for reading. In place of each worker, a script runs `first` and then becomes the worker.
fn reading_after(playground: &Playground, first: &str, seconds: u64) -> Reading {
    let program = playground.path("program");
    let script = format!("#!/bin/sh\n{first}\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_qwen3-index"));
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let reading = reading();
    let limits = Limits { seconds, ..reading.limits };
    Reading { limits, workers: Workers::new(program, limits), ..reading }
}

/// A script that writes its process id as the name of a file.
fn with_ids(playground: &Playground) -> String {
    fs::create_dir(playground.path("ids")).unwrap();
    format!("echo > '{}'/$$", playground.path("ids").display())
}

fn ids(playground: &Playground) -> Vec<String> {
    let names = fs::read_dir(playground.path("ids")).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn raws(path: &Path, reading: &Reading) -> Vec<Raw> {
    let roots = Roots::new(&[path.to_owned()], filter(), false).unwrap();
    let raw = |found| if let Found::Raw(raw) = found { raw } else { panic!("{found:?}") };
    roots.documents(reading).map(raw).collect()
}

fn read(path: PathBuf, reading: &Reading) -> Result<Document, Failure> {
    raws(&path, reading).pop().unwrap().read(reading)
}

fn proc(id: &str, name: &str) -> String {
    fs::read_to_string(format!("/proc/{id}/{name}")).unwrap()
}

/// Returns the limits of a process by name, each with its soft and its hard value.
fn limits(id: &str) -> BTreeMap<String, [String; 2]> {
    let line = |line: &str| {
        let (name, values) = line.split_at(26);
        let mut values = values.split_whitespace().map(str::to_owned);
        (name.trim().to_owned(), [values.next().unwrap(), values.next().unwrap()])
    };
    proc(id, "limits").lines().skip(1).map(line).collect()
}

fn assert_confined(id: &str, memory: &str) {
    let status = proc(id, "status");
    let has = |line: &str| status.lines().any(|found| found.split_whitespace().eq(line.split_whitespace()));
    assert!(has("NoNewPrivs: 1") && has("Seccomp: 2"), "{status}");
    assert_eq!(proc(id, "oom_score_adj"), "1000\n");
    let limits = limits(id);
    let bounds = [
        ("Max address space", memory),
        ("Max core file size", "0"),
        ("Max file size", "0"),
        ("Max open files", "0"),
    ];
    for (name, most) in bounds {
        assert_eq!(limits[name], [most, most], "{name}");
    }
    // The files of a process that is not dumpable belong to root.
    assert_eq!(fs::metadata(format!("/proc/{id}/limits")).map(|limits| owner(&limits)).unwrap(), 0);
}

fn owner(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(metadata)
}

#[test]
fn a_worker_has_limits_and_no_rights_to_spare() {
    let playground = Playground::new();
    let reading = reading_after(&playground, &with_ids(&playground), 10);
    playground.write("page.html", "<p>page");
    assert_eq!(read(playground.path("page.html"), &reading).unwrap().content.text().trim(), "page");
    let [id] = &ids(&playground)[..] else { panic!("{:?}", ids(&playground)) };
    assert_confined(id, SHARE);

    // A worker that has sent all rows is gone.
    playground.write("rows.parquet", parquet(&[("text", strings(&["row"; 1000]))]));
    let roots = Roots::new(&[playground.path("rows.parquet")], filter(), false).unwrap();
    let mut found = roots.documents(&reading);
    assert!(matches!(found.next(), Some(Found::Raw(_))));
    let rows = ids(&playground).into_iter().find(|other| other != id).unwrap();
    assert_confined(&rows, WHOLE);
}

#[test]
fn a_worker_gets_no_environment_and_no_folder_of_the_run() {
    let playground = Playground::new();
    let seen = playground.path("seen");
    let script = format!("{{ pwd; env; }} > '{}'", seen.display());
    let reading = reading_after(&playground, &script, 10);
    playground.write("page.html", "<p>page");
    read(playground.path("page.html"), &reading).unwrap();
    let seen = fs::read_to_string(seen).unwrap();
    // The shell sets the other variables.
    let is_of_shell =
        |line: &&str| ["PWD=/", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own));
    let seen: Vec<&str> = seen.lines().filter(|line| !is_of_shell(line)).collect();
    assert_eq!(seen, ["/"]);
}

/// Returns what `doctor` says about workers.
fn doctor(playground: &Playground) -> (String, String) {
    let ran = playground.run(&["doctor", "--json"]).expect(0);
    let findings: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let finding = findings.iter().find(|finding| finding["what"] == "workers").unwrap();
    let text = |name: &str| finding[name].as_str().unwrap().to_owned();
    (text("state"), text("detail"))
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn workers_can_open_neither_files_nor_sockets_and_an_old_kernel_is_named() {
    let playground = Playground::new();
    let detail = "processes that read documents can open neither files nor sockets";
    assert_eq!(doctor(&playground), ("ok".to_owned(), detail.to_owned()));

    // This thread and its children see a kernel without Landlock and without seccomp filters.
    thread::spawn(|| {
        let missing = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp].map(|call| (call, Vec::new()));
        let refused = SeccompAction::Errno(libc::ENOSYS as u32);
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let old = SeccompFilter::new(missing.into(), SeccompAction::Allow, refused, arch).unwrap();
        apply_filter(&BpfProgram::try_from(old).unwrap()).unwrap();

        let playground = Playground::new();
        let (state, detail) = doctor(&playground);
        assert_eq!(state, "warning");
        assert!(detail.contains("nothing but limits confines"), "{detail}");
        playground.write("docs/page.html", "<p>page");
        fs::copy(repository("fixtures/corpus/ratings.parquet"), playground.path("docs/rows.parquet"))
            .unwrap();
        assert!(playground.build("docs", &[]).len() > 1);
    })
    .join()
    .unwrap();
}

/// The first worker for a document ends as one that lacks memory. The second one notes whether another one is starting.
#[test]
fn a_document_that_needs_much_memory_is_read_while_no_other_such_document_is() {
    let playground = Playground::new();
    let (starts, overlaps) = (playground.path("starts"), playground.path("overlaps"));
    let script = format!(
        "case $2 in *{SHARE}*) kill -ABRT $$;; esac\nmkdir '{0}' || echo > '{1}'\nsleep 0.2\nrmdir '{0}'",
        starts.display(),
        overlaps.display(),
    );
    let reading = reading_after(&playground, &script, 10);
    for n in 0..4 {
        playground.write(&format!("docs/{n}.html"), "<p>page");
    }
    thread::scope(|scope| {
        let raws = raws(&playground.path("docs"), &reading);
        let readers: Vec<_> = raws.into_iter().map(|raw| scope.spawn(|| raw.read(&reading))).collect();
        for reader in readers {
            assert_eq!(reader.join().unwrap().unwrap().content.text().trim(), "page");
        }
    });
    assert!(!overlaps.exists());
}

#[test]
fn processor_time_decides_whether_a_document_takes_too_long() {
    let playground = Playground::new();
    playground.write("page.html", "<p>page");
    let failure = |first: &str, page: &str| {
        let started = Instant::now();
        let failure = read(playground.path(page), &reading_after(&playground, first, 1)).unwrap_err();
        assert!(matches!(failure.cause, DocumentError::TooSlow { seconds: 1 }), "{:?}", failure.cause);
        started.elapsed()
    };
    // The processors may have been busy with the model.
    let waited = read(playground.path("page.html"), &reading_after(&playground, "sleep 2", 1));
    assert_eq!(waited.unwrap().content.text().trim(), "page");
    // A worker that waits for ever is ended too.
    let waited = failure("sleep 60", "page.html");
    assert!((4..10).contains(&waited.as_secs()), "{waited:?}");
    playground.write("deep.html", "<div>".repeat(200_000));
    failure("", "deep.html");
}

#[test]
fn a_worker_that_does_not_read_is_too_slow() {
    let playground = Playground::new();
    // Larger than a pipe.
    playground.write("page.html", format!("<p>{}", "page ".repeat(1 << 16)));
    let whole = read(playground.path("page.html"), &reading_after(&playground, "", 10)).unwrap();
    assert!(whole.content.text().len() > 300_000, "{}", whole.content.text().len());
    let started = Instant::now();
    let reading = reading_after(&playground, "exec sleep 30", 1);
    let failure = read(playground.path("page.html"), &reading).unwrap_err();
    assert!(matches!(failure.cause, DocumentError::TooSlow { seconds: 1 }), "{:?}", failure.cause);
    assert!((4..15).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[test]
fn an_answer_without_an_end_is_not_collected() {
    let playground = Playground::new();
    playground.write("page.html", "<p>page");
    let reading = reading_after(&playground, "head -c 120000000 /dev/zero; exec sleep 30", 2);
    let limits = Limits { document_bytes: 1 << 20, ..reading.limits };
    let workers = Workers::new(playground.path("program"), limits);
    let reading = Reading { limits, workers, ..reading };
    let failure = read(playground.path("page.html"), &reading).unwrap_err();
    assert!(matches!(failure.cause, DocumentError::Crashed { .. }), "{:?}", failure.cause);
}
