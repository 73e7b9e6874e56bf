//! `--vector-type`: the bytes of each type, reuse between types, and the commands that read them.

use std::fs;

use serde_json::Value;

use crate::util::{Playground, Ran, cosine, golden, jsonl, metadata, repository, rows};

const TYPES: [&str; 3] = ["i8", "f16", "f32"];
const OUT: &str = "out.parquet";

fn texts() -> Vec<String> {
    golden()
        .into_iter()
        .map(|text| text.text)
        .chain((0..40).map(|n| format!("Parcel {n} is late.")))
        .collect()
}

fn with_texts() -> Playground {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(texts().iter().map(String::as_str)));
    playground
}

fn build(playground: &Playground, out: &str, more: &[&str]) -> Ran {
    playground.run(&[&["build", "in.jsonl", "-o", out], more].concat())
}

fn bytes(playground: &Playground, name: &str) -> Vec<u8> {
    fs::read(playground.path(name)).unwrap()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn f32_is_the_default_and_leaves_no_trace() {
    let playground = with_texts();
    build(&playground, "default.parquet", &[]).expect(0);
    build(&playground, "f32.parquet", &["--vector-type", "f32"]).expect(0);
    assert!(bytes(&playground, "default.parquet") == bytes(&playground, "f32.parquet"));
    assert_eq!(metadata(&playground.path("f32.parquet"))["fingerprint"].get("vector_type"), None);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_type_has_its_size_and_is_near_to_f32() {
    let playground = with_texts();
    build(&playground, "f32.parquet", &[]).expect(0);
    let exact = rows(&playground.path("f32.parquet"));
    for (kind, least, saved) in [("f16", 0.999_999, 2), ("i8", 0.9995, 3)] {
        let out = format!("{kind}.parquet");
        build(&playground, &out, &["--vector-type", kind]).expect(0);
        assert_eq!(metadata(&playground.path(&out))["fingerprint"]["vector_type"], kind);
        for (row, exact) in rows(&playground.path(&out)).iter().zip(&exact) {
            assert_eq!((&row.id, &row.text), (&exact.id, &exact.text));
            let cosine = cosine(&row.vector, &exact.vector);
            assert!(cosine > least, "{kind}: {cosine} for {}", row.id);
        }
        // A vector has 64 numbers. The dictionary of the integers has at most 255 numbers of 4 bytes.
        let fewer = bytes(&playground, "f32.parquet").len() - bytes(&playground, &out).len();
        assert!(fewer > exact.len() * 64 * saved - 2_000, "{kind}: {fewer}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_wider_file_serves_a_narrower_run_and_not_the_other_way_round() {
    let playground = with_texts();
    for (from, before) in TYPES.iter().enumerate() {
        for (to, now) in TYPES.iter().enumerate() {
            let _ = fs::remove_file(playground.path(OUT));
            build(&playground, OUT, &["--vector-type", before]).expect(0);
            let night = ["--vector-type", now, "--report", "report.json", "--delta", "delta.parquet"];
            let ran = build(&playground, OUT, &night).expect(0);
            let report: Value = serde_json::from_slice(&bytes(&playground, "report.json")).unwrap();
            let embedded = report["documents"]["embedded"].as_u64().unwrap();
            if from >= to {
                assert_eq!(embedded, 0, "{}", ran.story);
            } else {
                assert!(embedded > 30, "{}", ran.story);
                ran.says(&format!("the type of the vectors ({before} before, now {now})"));
            }
            let changed = report["rows"]["changed"].as_u64().unwrap() as usize;
            assert_eq!(changed, if from == to { 0 } else { texts().len() }, "{}", ran.story);
            build(&playground, "scratch.parquet", &["--vector-type", now, "--rebuild"]).expect(0);
            // From f16, a number can be rounded twice, which is rarely the same as once.
            if (*before, *now) != ("f16", "i8") {
                assert!(bytes(&playground, OUT) == bytes(&playground, "scratch.parquet"), "{}", ran.story);
            }
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_forgotten_type_stops_the_run() {
    let playground = with_texts();
    build(&playground, OUT, &["--vector-type", "i8"]).expect(0);
    let before = bytes(&playground, OUT);
    build(&playground, OUT, &[]).expect(1).says("the type of the vectors (i8 before, now f32)");
    assert!(bytes(&playground, OUT) == before);
    build(&playground, OUT, &["--rebuild", "--vector-type", "f64"]).expect(2);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn all_commands_read_each_type() {
    let playground = with_texts();
    let question = "Parcel 7 is late.";
    for kind in TYPES {
        build(&playground, OUT, &["--vector-type", kind]).expect(0);
        let search = ["search", OUT, question, "--no-instruction", "--json"];
        let found: Value = serde_json::from_str(&playground.run(&search).expect(0).stdout).unwrap();
        assert_eq!(found["hits"][0]["text"], question, "{kind}");
        let score = found["hits"][0]["score"].as_f64().unwrap();
        assert!((score - 1.0).abs() < 4e-4, "{kind}: {score}");

        let inspected = playground.run(&["inspect", OUT, "--verify"]).expect(0);
        let shown =
            if kind == "f32" { "64 dimensions, ".to_owned() } else { format!("64 dimensions ({kind})") };
        assert!(inspected.stdout.contains(&shown), "{}", inspected.story);

        for shard in ["0/2", "1/2"] {
            let part = format!("part{}.parquet", &shard[..1]);
            build(&playground, &part, &["--vector-type", kind, "--shard", shard]).expect(0);
        }
        let merge = ["merge", "part0.parquet", "part1.parquet", "-o", "merged.parquet"];
        playground.run(&merge).expect(0);
        playground.run(&["inspect", "merged.parquet", "--verify"]).expect(0);
        let sorted = |name: &str| {
            let mut rows = rows(&playground.path(name));
            rows.sort_by(|one, other| one.id.cmp(&other.id));
            rows
        };
        assert_eq!(sorted("merged.parquet"), sorted(OUT), "{kind}");
        // A damaged byte of the vectors is found.
        let mut damaged = bytes(&playground, "merged.parquet");
        let at = damaged.len() / 3;
        damaged[at] ^= 1;
        playground.write("damaged.parquet", damaged);
        playground.run(&["inspect", "damaged.parquet", "--verify"]).expect(1);
        for name in [OUT, "merged.parquet", "part0.parquet", "part1.parquet"] {
            fs::remove_file(playground.path(name)).unwrap();
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn types_are_not_mixed() {
    let playground = with_texts();
    for (kind, shard) in [("f32", "0/2"), ("i8", "1/2")] {
        build(&playground, &format!("{kind}.parquet"), &["--vector-type", kind, "--shard", shard]).expect(0);
    }
    let says = "its vectors are i8 instead of f32; name files that were built with the same settings";
    playground.run(&["search", "*.parquet", "x"]).expect(1).says(says);
    playground.run(&["merge", "f32.parquet", "i8.parquet", "-o", OUT]).expect(1).says(says);
}

/// A night with chunks and fewer dimensions, whose rows come from the old file, from the model, and from a file of more dimensions.
#[test]
#[ignore = "needs what scripts/test installs"]
fn nights_of_each_type_write_the_bytes_of_a_run_from_scratch() {
    let playground = Playground::new();
    let handbook = fs::read_to_string(repository("fixtures/corpus/en/handbook/support-handbook.md")).unwrap();
    for kind in TYPES {
        for rows in [&["--chunks", "--chunk-tokens", "40"][..], &["--max-tokens", "60"]] {
            let _ = fs::remove_file(playground.path(OUT));
            let more = [rows, &["--vector-type", kind, "--dim", "48"]].concat();
            let night = |texts: &[&str]| {
                playground.write("in.jsonl", jsonl(texts.iter().copied()));
                let ran = build(&playground, OUT, &more).expect(0);
                build(&playground, "scratch.parquet", &[&more[..], &["--rebuild"]].concat()).expect(0);
                assert!(bytes(&playground, OUT) == bytes(&playground, "scratch.parquet"), "{}", ran.story);
            };
            night(&[&handbook, "one", "two"]);
            night(&["zero", &handbook.replace("the", "a"), "two"]);
            night(&["two", &handbook]);
        }
    }
}
