//! `inspect` prints figures of an index and names each faulty row.

use std::fs;

use serde_json::{Value, json};

use crate::util::{self, Playground, jsonl, metadata};

fn inspect(playground: &Playground, arguments: &[&str], code: i32) -> Value {
    let ran = playground.run(&[&["inspect", "--json"], arguments].concat()).expect(code);
    assert_eq!(ran.stderr, "", "{}", ran.story);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn figures_match_the_rows() {
    let playground = Playground::new();
    let texts = ["雨", "hello", "hello", "a longer text than the others", "hello."];
    playground.write("in.jsonl", jsonl(texts));
    playground.build("in.jsonl", &[]);
    let figures = inspect(&playground, &["out.parquet", "--verify"], 0);
    assert_eq!(figures["rows"], 5);
    assert_eq!(figures["bytes"], playground.path("out.parquet").metadata().unwrap().len());
    assert_eq!(figures["characters"], json!({"min": 1.0, "median": 5.0, "mean": 9.2, "max": 29.0}));
    assert_eq!(figures["characters_log2"], json!({"0": 1, "2": 3, "4": 1}));
    assert_eq!(figures["duplicate_texts"], 1);
    assert_eq!(figures["nearest"]["sample"], 5);
    assert_eq!(figures["nearest"]["near_duplicates"], 2, "{figures}");
    assert_eq!(figures["problems"], json!([]));
    assert_eq!(figures["metadata"], metadata(&playground.path("out.parquet")));

    // The same file twice is an index with every id twice.
    fs::copy(playground.path("out.parquet"), playground.path("copy.parquet")).unwrap();
    let figures = inspect(&playground, &["copy.parquet", "out.parquet", "--verify"], 1);
    assert_eq!((&figures["rows"], &figures["duplicate_texts"]), (&json!(10), &json!(6)));
    let expected = ["0 (0)", "1 (1)", "2 (2)", "3 (3)", "4 (4)"].map(|row| format!("out.parquet: row {row}"));
    assert_eq!(
        figures["problems"],
        json!([{"what": "an id that an earlier row has", "count": 5, "examples": expected}])
    );
    assert!(inspect(&playground, &["copy.parquet", "out.parquet"], 0).get("problems").is_none());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_may_be_empty() {
    let playground = Playground::new();
    playground.write("none.txt", " ");
    playground.build("none.txt", &[]);
    let figures = inspect(&playground, &["out.parquet", "--verify"], 0);
    assert_eq!((&figures["rows"], &figures["nearest"]), (&json!(0), &json!(null)));
    let ran = playground.run(&["inspect", "out.parquet", "--verify"]).expect(0);
    assert!(
        ran.stdout.contains("0 rows") && ran.stdout.contains("verified: no problems found"),
        "{}",
        ran.story
    );
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_fault_is_reported_with_its_row() {
    let playground = Playground::new();
    let texts: Vec<String> = (0..40).map(|n| format!("text {n}")).collect();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
    playground.build("in.jsonl", &[]);
    for (change, what, row) in [
        ("vectors[7][3] = float('nan')", "a vector with a NaN or an infinity", "row 7 (7)"),
        ("vectors[8] = [2 * x for x in vectors[8]]", "a vector whose length is not 1", "row 8 (8)"),
        ("texts[9] = ''", "a row without text", "row 9 (9)"),
        ("ids[10] = '3'", "an id that an earlier row has", "row 10 (3)"),
        (
            "texts[11] += '.'",
            "a file that has changed since it was written",
            "its content has changed since it was written",
        ),
    ] {
        let script = format!(
            "
import pyarrow as pa, pyarrow.parquet as pq
table, kept = pq.read_table('out.parquet'), pq.read_metadata('out.parquet').metadata
kept = {{key: kept[key] for key in [b'qwen3-index', b'qwen3-index.content']}}
ids, texts, vectors = (table[name].to_pylist() for name in ['id', 'text', 'vector'])
{change}
columns = [pa.array(values, field.type) for values, field in zip([ids, texts, vectors], table.schema)]
pq.write_table(pa.table(columns, schema=table.schema).replace_schema_metadata(kept), 'wrong.parquet')
"
        );
        let output =
            util::python("readers").arg("-c").arg(script).current_dir(playground.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let ran = playground.run(&["inspect", "--verify", "wrong.parquet"]).expect(1);
        let line = ran.stdout.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{what}{}", ran.story));
        assert!(
            line.starts_with("wrong (1): ") && line.contains(": wrong.parquet: ") && line.contains(row),
            "{line}"
        );
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn every_command_refuses_a_damaged_footer() {
    let playground = Playground::new();
    let texts: Vec<String> = (0..40).map(|n| format!("text {n}")).collect();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
    playground.build("in.jsonl", &[]);
    let whole = fs::read(playground.path("out.parquet")).unwrap();
    let (rest, end) = whole.split_at(whole.len() - 8);
    let footer = rest.len() - u32::from_le_bytes(end[..4].try_into().unwrap()) as usize;
    for at in (footer..whole.len()).step_by(271).chain([whole.len() - 6, whole.len() - 1]) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        playground.write("out.parquet", &bytes);
        for arguments in [
            &["inspect", "--verify", "out.parquet"][..],
            &["search", "out.parquet", "text"],
            &["merge", "out.parquet", "-o", "merged.parquet"],
        ] {
            playground.run(arguments).expect(1).says("cannot be read as an index: ");
        }
        playground.run(&["build", "in.jsonl", "-o", "out.parquet", "--dry-run"]).says("is damaged (");
    }
}
