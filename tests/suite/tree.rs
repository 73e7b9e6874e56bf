//! A folder that somebody else may write to: files that are replaced after the run found them, and ignore files that are no
//! ordinary files or are too large. What ignore files exclude, and what a night says about it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use qwen3_index::source::{Filter, Found, Roots};

use crate::make::{gzip, parquet, pdf, strings};
use crate::pipeline::reading;
use crate::util::{NO_SETPRIV, Playground, Ran, after, bound_by_modes, skip};

const SECRET: &str = "the password is swordfish";

/// One file per way of reading. Each has a sub-folder of its own, and stands a second time in `docs`.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let rows = |text: &str| format!("{{\"text\":\"{text}\"}}\n").into_bytes();
    let markdown = |text: &str| format!("# {text}").into_bytes();
    vec![
        ("a.txt", SECRET.into()),
        ("b.md", markdown(SECRET)),
        ("c.pdf", pdf(SECRET)),
        ("d.txt.gz", gzip(SECRET.as_bytes())),
        ("e.jsonl", rows(SECRET)),
        ("f.csv", format!("text\n{SECRET}\n").into()),
        ("g.tsv.gz", gzip(format!("text\n{SECRET}\n").as_bytes())),
        ("h.parquet", parquet(&[("text", strings(&[SECRET]))])),
        ("i.rst", SECRET.into()),
        ("j.xml", format!("<a>{SECRET}</a>").into()),
    ]
}

fn make_pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Finds the documents of `docs`, calls `replace` after the first document, and reads the other documents. Returns a text or
/// a message for each document. Panics if that takes more than five minutes, as it would if it waited for a writer of a pipe.
fn read_after(playground: &Playground, follow: bool, replace: impl FnOnce() + Send + 'static) -> Vec<String> {
    let docs = playground.path("docs");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let reading = reading();
        let roots = Roots::new(&[docs], Filter::new(&[], &[], false, follow).unwrap(), false).unwrap();
        let mut found = roots.documents(&reading);
        assert!(matches!(found.next(), Some(Found::Raw(_))));
        replace();
        let read = found.map(|found| match found {
            Found::Raw(raw) => match raw.read(&reading) {
                Ok(document) => format!("{}: read: {}", document.place(), document.content.text()),
                Err(failure) => format!("{}: {}", failure.place, failure.cause),
            },
            Found::Failed(failure) => format!("{}: {}", failure.place, failure.cause),
            other => format!("{other:?}"),
        });
        sender.send(read.collect()).unwrap();
    });
    receiver.recv_timeout(Duration::from_secs(300)).unwrap()
}

/// A way to replace a file. The second path is another file with the secret.
type Replace = fn(&Path, &Path);

#[test]
fn a_file_that_is_replaced_after_it_was_found_is_a_failure() {
    let replacements: [(&str, Replace); 6] = [
        ("a pipe", |path, _| make_pipe(path)),
        ("a symlink", |path, secret| symlink(secret, path).unwrap()),
        ("a symlink", |path, _| symlink("/dev/zero", path).unwrap()),
        ("a folder", |path, _| fs::create_dir(path).unwrap()),
        ("a socket or a device", |path, _| drop(UnixListener::bind(path).unwrap())),
        ("", |_, _| {}),
    ];
    for (what, replace) in replacements {
        let playground = Playground::new().with("docs/0.txt", "first");
        for (name, content) in files() {
            playground.write(&format!("docs/{name}"), "a good file");
            playground.write(&format!("elsewhere/{name}"), content);
        }
        let (docs, elsewhere) = (playground.path("docs"), playground.path("elsewhere"));
        let read = read_after(&playground, false, move || {
            for (name, _) in files() {
                fs::remove_file(docs.join(name)).unwrap();
                replace(&docs.join(name), &elsewhere.join(name));
            }
        });
        assert_eq!(read.len(), files().len(), "{what}: {read:#?}");
        for ((name, _), said) in files().iter().zip(&read) {
            let place = playground.path("docs").join(name);
            let why = match what {
                "" => "cannot be read: No such file or directory (os error 2)".to_owned(),
                what => format!("was a file when it was found, and is now {what}"),
            };
            assert_eq!(*said, format!("{}: {why}", place.display()));
        }
    }
}

#[test]
fn a_folder_that_is_replaced_by_a_symlink_is_not_read() {
    for follow in [false, true] {
        let playground = Playground::new().with("docs/0.txt", "first");
        for (name, content) in files() {
            playground.write(&format!("docs/sub/{name}"), "a good file");
            playground.write(&format!("elsewhere/{name}"), content);
        }
        let (docs, elsewhere) = (playground.path("docs"), playground.path("elsewhere"));
        let read = read_after(&playground, follow, move || {
            fs::remove_dir_all(docs.join("sub")).unwrap();
            symlink(elsewhere, docs.join("sub")).unwrap();
        });
        assert_eq!(read.len(), files().len(), "{read:#?}");
        let is_read = |said: &String| said.contains(SECRET);
        assert!(read.iter().all(|said| is_read(said) == follow), "{read:#?}");
    }
}

#[test]
fn a_pipe_in_place_of_a_file_does_not_hang_a_run_that_follows_symlinks() {
    let playground = Playground::new().with("docs/0.txt", "first").with("docs/a.jsonl", "{}");
    let docs = playground.path("docs");
    let read = read_after(&playground, true, move || {
        fs::remove_file(docs.join("a.jsonl")).unwrap();
        make_pipe(&docs.join("pipe"));
        symlink("pipe", docs.join("a.jsonl")).unwrap();
    });
    let place = playground.path("docs/a.jsonl");
    assert_eq!(read, [format!("{}: was a file when it was found, and is now a pipe", place.display())]);
}

/// Builds `docs`. Ends the run after 60 seconds of processor time, after five minutes of waiting, or when it has more than 4 GiB of
/// memory.
fn build(playground: &Playground, more: &[&str]) -> Ran {
    let command = playground.command(&[&["build", "docs", "-o", "out.parquet"], more].concat());
    let mut bounded = after("ulimit -v 4194304 -t 60; exec timeout 300 \"$0\" \"$@\"", &command);
    playground.output(&mut bounded, "")
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_ignore_file_that_is_no_file_is_said() {
    let playground =
        Playground::new().with("docs/a.txt", "text").with("patterns", "[the secret of this user");
    let ignore = playground.path("docs/.qwen3ignore");
    let refused = |what: &str| {
        let ran = build(&playground, &[]).expect(1);
        ran.says(&format!(
            "error: docs/.qwen3ignore: is {what}, not a file; replace it by a file of patterns"
        ));
        assert!(!ran.stderr.contains("secret"), "{}", ran.story);
    };
    make_pipe(&ignore);
    refused("a pipe");
    fs::remove_file(&ignore).unwrap();
    symlink(playground.path("patterns"), &ignore).unwrap();
    refused("a symlink");
    // With `--follow`, a link is followed, but leads to no pipe.
    build(&playground, &["--follow"]).expect(1).says("docs/.qwen3ignore: line 1: ");
    playground.write("patterns", "*.txt\n");
    build(&playground, &["--follow", "--allow-empty"]).expect(0).says("1 excluded");
    // A link to nothing does not mean that nothing is excluded.
    fs::remove_file(playground.path("patterns")).unwrap();
    let ran = build(&playground, &["--follow"]).expect(1);
    ran.says("error: docs/.qwen3ignore: cannot be read: No such file or directory (os error 2)");
    fs::remove_file(&ignore).unwrap();
    fs::create_dir(&ignore).unwrap();
    refused("a folder");
    fs::remove_dir(&ignore).unwrap();
    drop(UnixListener::bind(&ignore).unwrap());
    refused("a socket or a device");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_ignore_file_is_bounded() {
    let playground = Playground::new().with("docs/a.txt", "text");
    let ignore = playground.path("docs/.qwen3ignore");
    let refused = |says: &str| {
        let ran = build(&playground, &[]).expect(1);
        ran.says(&format!("error: docs/.qwen3ignore: {says}"));
        assert!(ran.stderr.len() < 1000, "{}", ran.story);
    };
    File::create(&ignore).unwrap().set_len(8 << 30).unwrap();
    refused("is larger than 1 MiB; write fewer patterns");
    let patterns = |count: usize| (0..count).map(|n| format!("tmp/{n}/**/*.log\n")).collect::<String>();
    fs::write(&ignore, patterns(10_001)).unwrap();
    refused("has more than 10000 patterns, together with the folders above; write fewer patterns");
    fs::write(&ignore, "# good\n*.log\na[b\n").unwrap();
    refused("line 3: ");
    fs::write(&ignore, [&b"*.log\n"[..], b"\xff\n"].concat()).unwrap();
    refused("is not UTF-8");
    fs::write(&ignore, format!("\u{feff}a.txt\n# {}\n{}", "x".repeat(1000), patterns(9000))).unwrap();
    build(&playground, &["--allow-empty"]).expect(0).says("1 excluded");
}

#[test]
fn an_ignore_file_that_this_user_may_not_read_is_said() {
    let playground = Playground::new().with("docs/a.txt", "text").with("docs/.qwen3ignore", "*.log");
    let mode = |mode| {
        let mode = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode);
        fs::set_permissions(playground.path("docs/.qwen3ignore"), mode).unwrap();
    };
    mode(0o000);
    let Some(mut command) = bound_by_modes(&playground.command(&["build", "docs", "-o", "out.parquet"]))
    else {
        return skip(NO_SETPRIV);
    };
    let ran = playground.output(&mut command, "").expect(1);
    mode(0o600);
    ran.says("error: docs/.qwen3ignore: cannot be read: Permission denied (os error 13)");
}

/// Returns the ids of the files below a folder, the failures there, and how often each other thing was found.
fn found(playground: &Playground, root: &str, no_ignore: bool) -> Vec<String> {
    let (root, reading) = (playground.path(root), reading());
    let mut filter = Filter::new(&[], &[], false, false).unwrap();
    filter.no_ignore = no_ignore;
    let roots = Roots::new(&[root], filter, false).unwrap();
    let named = |found| match found {
        Found::Raw(raw) => raw.id().map(str::to_owned),
        Found::Failed(failure) => {
            let place = failure.place.replace(&*playground.path("").to_string_lossy(), "");
            Some(format!("{place}: {} ({:?})", failure.cause, failure.lost))
        }
        _ => None,
    };
    let mut named: Vec<String> = roots.documents(&reading).filter_map(named).collect();
    named.sort();
    named
}

#[test]
fn ignore_files_exclude_what_git_excludes() {
    let playground = Playground::new()
        .with("repo/.git/HEAD", "ref: refs/heads/main")
        .with("repo/.gitignore", "/target/\nnode_modules\n*.tmp.md\n# a\n!keep.tmp.md\n[broken\n\\\n")
        .with("repo/docs/.gitignore", "/generated/\n!found.tmp.md\n")
        .with("repo/docs/deep/.gitignore", &b"/x.md\n\xff\n"[..])
        .with("repo/docs/deep/.ignore", "!x.md\ny.md\n")
        .with("repo/docs/other/.qwen3ignore", "*\n!z.tmp.md\n");
    let files = [
        "a.md",
        "target/a.md",
        "docs/a.md",
        "docs/target/a.md",
        "docs/a.tmp.md",
        "docs/keep.tmp.md",
        "docs/found.tmp.md",
        "docs/generated/a.md",
        "docs/generated/found.tmp.md",
        "docs/node_modules/one/README.md",
        "docs/deep/generated/a.md",
        "docs/deep/x.md",
        "docs/deep/y.md",
        "docs/other/a.md",
        "docs/other/z.tmp.md",
        "x.md",
    ];
    for name in files {
        playground.write(&format!("repo/{name}"), name);
    }
    let is_git = |command: &mut Command| {
        command.current_dir(playground.path("repo")).output().is_ok_and(|output| output.status.success())
    };
    let whole = [
        "a.md",
        "docs/a.md",
        "docs/deep/generated/a.md",
        "docs/deep/x.md",
        "docs/found.tmp.md",
        "docs/keep.tmp.md",
        "docs/other/z.tmp.md",
        "docs/target/a.md",
        "x.md",
    ];
    assert_eq!(found(&playground, "repo", false), whole);
    // The repository's own file counts for a part of it too, and so does a path through a symlink.
    let part: Vec<&str> = whole.iter().filter_map(|id| id.strip_prefix("docs/")).collect();
    assert_eq!(found(&playground, "repo/docs", false), part);
    symlink(playground.path("repo/docs"), playground.path("link")).unwrap();
    assert_eq!(found(&playground, "link", false), part);
    // What the user names is read, although the repository excludes it.
    assert_eq!(found(&playground, "repo/target", false), ["a.md"]);
    // `.qwen3ignore` counts in any case.
    let all: Vec<&str> = files.into_iter().filter(|name| *name != "docs/other/a.md").collect();
    let mut all = all.into_iter().map(str::to_owned).collect::<Vec<_>>();
    all.sort();
    assert_eq!(found(&playground, "repo", true), all);
    // Git itself, where it is installed, excludes the same files by the files of its own.
    if !is_git(Command::new("git").args(["init", "--quiet"])) {
        return skip("there is no git");
    }
    for file in ["docs/deep/.ignore", "docs/other/.qwen3ignore"] {
        fs::remove_file(playground.path("repo").join(file)).unwrap();
    }
    let mut git = Command::new("git");
    git.args(["ls-files", "--others", "--exclude-standard", "*.md"]).current_dir(playground.path("repo"));
    let output =
        String::from_utf8(git.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap().stdout).unwrap();
    let mut listed: Vec<&str> = output.lines().collect();
    listed.sort_unstable();
    assert_eq!(found(&playground, "repo", false), listed);
}

#[test]
fn an_ignore_file_that_cannot_be_used_costs_its_folder_only() {
    let playground = Playground::new();
    for name in ["a.md", "pipe/b.md", "link/c.md", "many/d.md", "more/e.md", "more/deep/f.md", "own/g.md"] {
        playground.write(&format!("docs/{name}"), name);
    }
    // Git reads no link and no pipe either.
    make_pipe(&playground.path("docs/pipe/.gitignore"));
    playground.write("secret", "*.md");
    symlink(playground.path("secret"), playground.path("docs/link/.gitignore")).unwrap();
    let patterns = |count: usize| (0..count).map(|n| format!("tmp{n}\n")).collect::<String>();
    playground.write("docs/many/.gitignore", "a".repeat((1 << 20) + 1));
    playground.write("docs/more/.gitignore", patterns(6000));
    playground.write("docs/more/deep/.ignore", patterns(4001));
    playground.write("docs/own/.qwen3ignore", "a[b");
    let expected = [
        "a.md",
        "docs/many/.gitignore: is larger than 1 MiB (Below(\"many\"))",
        "docs/more/deep/.ignore: has more than 10000 patterns, together with the folders above (Below(\"more/deep\"))",
        "docs/own/.qwen3ignore: line 1: unclosed character class; missing ']' (Below(\"own\"))",
        "link/c.md",
        "more/e.md",
        "pipe/b.md",
    ];
    let mut read = found(&playground, "docs", false);
    read.sort();
    assert_eq!(read, expected);
    assert_eq!(found(&playground, "docs", true).len(), 7);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_night_says_which_documents_a_gitignore_takes_from_an_index() {
    let playground = Playground::new().with("docs/a.md", "one").with("docs/b.md", "two");
    for name in ["c", "d", "e"] {
        playground.write(&format!("docs/out/{name}.md"), name);
    }
    build(&playground, &[]).expect(0).says("5 embedded");
    playground.write("docs/.gitignore", "out/\n");
    let ran = build(&playground, &[]).expect(1);
    ran.says("3 of the 5 documents of the old output are gone, 3 of them because a .gitignore or .ignore excludes them; check the inputs, read what is excluded with --no-ignore, or allow this with --allow-shrink");
    build(&playground, &["--no-ignore"]).expect(0).says("5 rows, as before");
    // A folder whose patterns are unknown keeps its rows.
    playground.write("docs/out/.gitignore", "a".repeat(2 << 20));
    playground.write("docs/.gitignore", "");
    build(&playground, &[]).expect(3).says("3 kept from the previous run");
    fs::remove_file(playground.path("docs/out/.gitignore")).unwrap();
    playground.write("docs/.gitignore", "/out/c.md\n");
    fs::remove_file(playground.path("docs/b.md")).unwrap();
    let ran = build(&playground, &[]).expect(0);
    ran.says("warning: 1 document of the old output: excluded by a .gitignore or .ignore, so not in the new one; --no-ignore reads what these files exclude");
    ran.says("3 documents: 0 embedded, 3 reused, 0 empty, 0 failed; skipped: 1 hidden, 1 excluded");
    // The next night has nothing to say: these documents are in no index.
    assert!(!build(&playground, &[]).expect(0).stderr.contains("warning"));
}
