//! Files that earlier releases wrote. `fixtures/indexes` has them for each release, made from the documents in
//! `fixtures/indexes/docs` with the model `qwen3-tiny`, with `--dim 32`, and all but the journal with `--max-tokens 200`.

use std::fs;
use std::path::PathBuf;

use crate::util::{Playground, Ran, Row, integers, repository, rows};

const RELEASES: [&str; 1] = ["0.1.0"];

fn old(release: &str, file: &str) -> PathBuf {
    repository("fixtures/indexes").join(release).join(file)
}

/// Returns a playground with the documents, and with a file of a release under another name.
fn playground(release: &str, file: &str, name: &str) -> Playground {
    let playground = Playground::new();
    for document in ["a.md", "b.txt", "long.md"] {
        let text = fs::read(repository("fixtures/indexes/docs").join(document)).unwrap();
        playground.write(&format!("docs/{document}"), text);
    }
    fs::copy(old(release, file), playground.path(name)).unwrap();
    playground
}

fn build(playground: &Playground, output: &str, more: &[&str]) -> Ran {
    let model = repository("fixtures/qwen3-tiny");
    let build = ["build", "docs", "--dim", "32", "--model", model.to_str().unwrap(), "-o", output];
    playground.run(&[&build[..], more].concat())
}

/// Builds over an old output, and asserts that the result is that of a run from scratch.
fn taken_over(playground: &Playground, more: &[&str]) -> Ran {
    let ran = build(playground, "out.parquet", more).expect(0);
    let more: Vec<&str> = more.iter().copied().filter(|word| !word.contains("delta")).collect();
    build(playground, "scratch.parquet", &more).expect(0);
    let [out, scratch] =
        ["out.parquet", "scratch.parquet"].map(|name| fs::read(playground.path(name)).unwrap());
    assert!(out == scratch, "{}", ran.stderr);
    ran
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn texts_of_one_chunk_keep_their_vectors() {
    for release in RELEASES {
        let playground = playground(release, "documents.parquet", "out.parquet");
        taken_over(&playground, &["--max-tokens", "200"])
            .says("texts of several chunks are embedded again, because the old output was made with other settings")
            .says("3 documents: 1 embedded, 2 reused");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn chunks_with_the_same_text_keep_their_vectors() {
    for release in RELEASES {
        let playground = playground(release, "chunks.parquet", "out.parquet");
        taken_over(&playground, &["--chunks", "--chunk-tokens", "200", "--context", "none"])
            .says("texts are split in another way, and only new chunks are embedded")
            .says("3 documents: 1 embedded, 2 reused");
    }
}

/// The vector of a document that cannot be read tonight was made by the old rules. It stays as it is, no run takes it for that of the new
/// rules, and a delta tells of each row whose vector becomes another one.
#[test]
#[ignore = "needs what scripts/test installs"]
fn documents_that_cannot_be_read_keep_their_rows() {
    let more = |rows: &'static [&str]| [rows, &["--delta", "delta.parquet"]].concat();
    for (file, rows_are, of_the_others) in [
        ("documents.parquet", &["--max-tokens", "200"][..], "a.md b.txt"),
        ("chunks.parquet", &["--chunks", "--chunk-tokens", "200"], "a.md#0 b.txt#0"),
    ] {
        let playground = playground("0.1.0", file, "out.parquet");
        let more = more(rows_are);
        let long = fs::read(playground.path("docs/long.md")).unwrap();
        let of_long = |name: &str| -> Vec<Row> {
            rows(&playground.path(name)).into_iter().filter(|row| row.id.starts_with("long.md")).collect()
        };
        let kept = of_long("out.parquet");
        assert!(!kept.is_empty());
        for _night in 0..2 {
            playground.write("docs/long.md", b"\x00\xff");
            build(&playground, "out.parquet", &more)
                .expect(3)
                .says("stale: long.md")
                .says("1 kept from the previous run");
            assert_eq!(of_long("out.parquet"), kept, "{file}");
            // The first night adds the columns of chunks.
            assert!(file == "chunks.parquet" || of_long("delta.parquet").is_empty());
        }
        if file == "chunks.parquet" {
            let numbers: Vec<i64> = (0..).take(kept.len()).collect();
            assert!(integers(&playground.path("out.parquet"), "chunk").ends_with(&numbers));
        }
        let others: Vec<String> =
            rows(&playground.path("out.parquet")).into_iter().map(|row| row.id).collect();
        assert!(others.join(" ").starts_with(of_the_others), "{others:?}");
        playground.write("docs/long.md", long);
        taken_over(&playground, &more).says("3 documents: 1 embedded, 2 reused");
        let changed = rows(&playground.path("delta.parquet")).len();
        assert!(changed > 0 && changed == of_long("delta.parquet").len());
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_delta_after_a_takeover_has_the_rows_with_other_vectors() {
    for release in RELEASES {
        let playground = playground(release, "documents.parquet", "out.parquet");
        build(&playground, "out.parquet", &["--max-tokens", "200", "--delta", "delta.parquet"]).expect(0);
        let changed: Vec<String> =
            rows(&playground.path("delta.parquet")).into_iter().map(|row| row.id).collect();
        assert_eq!(changed, ["long.md"]);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_unfinished_run_is_continued() {
    for release in RELEASES {
        let playground = playground(release, "journal", ".out.parquet.journal");
        taken_over(&playground, &[])
            .says("resuming with its 3 vectors")
            .says("3 documents: 0 embedded, 3 reused");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn old_files_are_searched_merged_and_described() {
    for release in RELEASES {
        let playground = playground(release, "documents.parquet", "documents.parquet");
        for file in ["shard-0.parquet", "shard-1.parquet", "chunks.parquet", "delta.parquet"] {
            fs::copy(old(release, file), playground.path(file)).unwrap();
        }
        playground.run(&["merge", "shard-0.parquet", "shard-1.parquet", "-o", "merged.parquet"]).expect(0);
        let [mut merged, mut whole] =
            ["merged.parquet", "documents.parquet"].map(|name| rows(&playground.path(name)));
        merged.sort_by(|a, b| a.id.cmp(&b.id));
        whole.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(merged, whole);
        playground.run(&["inspect", "documents.parquet", "--verify"]).expect(0);
        let found = playground.run(&["search", "chunks.parquet", "two years", "-k", "9"]).expect(0);
        assert!(found.stdout.contains("b.txt#0"), "{}", found.stdout);
        // A delta of an old release is replaced by that of the next run.
        playground
            .run(&[
                "build",
                "docs",
                "-o",
                "documents.parquet",
                "--delta",
                "delta.parquet",
                "--max-tokens",
                "200",
                "--dim",
                "32",
            ])
            .expect(0);
        playground.run(&["inspect", "delta.parquet"]).expect(1).says("a delta");
    }
}
