//! `build --shard` and `merge`: the merged shards equal one build, and parts that do not fit together are refused by name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Child;

use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Value, json};

use crate::make::gzip;
use crate::util::{Playground, Ran, repository};

const SHARDS: [&str; 4] = ["0/4", "1/4", "2/4", "3/4"];

/// Reads a file. Returns its schema, and its whole rows by id.
fn table(path: &Path) -> (String, BTreeMap<String, Value>) {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let schema = format!("{:?}", reader.metadata().file_metadata().schema());
    let rows = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_json_value());
    (schema, rows.map(|row| (row["id"].as_str().unwrap().to_owned(), row)).collect())
}

fn ids(path: &Path) -> Vec<String> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let id = |row: parquet::record::Row| row.to_json_value()["id"].as_str().unwrap().to_owned();
    reader.get_row_iter(None).unwrap().map(|row| id(row.unwrap())).collect()
}

fn report(playground: &Playground, name: &str) -> Value {
    serde_json::from_slice(&fs::read(playground.path(name)).unwrap()).unwrap()
}

/// Adds numbers to a sum, also those in nested objects.
fn add(sum: &mut Value, more: &Value) {
    match (sum, more) {
        (Value::Object(sum), Value::Object(more)) => {
            more.iter().for_each(|(key, value)| add(sum.entry(key).or_insert(Value::Null), value));
        }
        (sum, more) => {
            let of = |value: &Value| value.as_u64().unwrap_or(0);
            *sum = if more.is_object() { more.clone() } else { json!(of(sum) + of(more)) };
        }
    }
}

/// Builds each shard in a process of its own, at the same time.
fn build_shards(playground: &Playground, inputs: &[&str], more: &[&str]) -> Vec<Option<i32>> {
    let start = |shard: &&str| -> Child {
        let name = shard.split('/').next().unwrap();
        let (out, report) = (format!("parts/{name}.parquet"), format!("{name}.json"));
        let options = ["--shard", shard, "-o", &out, "--report", &report, "-q"];
        let arguments = [&["build"], inputs, &options, more].concat();
        playground
            .command(&arguments)
            .stderr(File::create(playground.path(&format!("{name}.log"))).unwrap())
            .spawn()
            .unwrap()
    };
    fs::create_dir_all(playground.path("parts")).unwrap();
    let children: Vec<Child> = SHARDS.iter().map(start).collect();
    children.into_iter().map(|mut child| child.wait().unwrap().code()).collect()
}

fn logs(playground: &Playground) -> String {
    (0..4).map(|n| fs::read_to_string(playground.path(&format!("{n}.log"))).unwrap()).collect()
}

/// Returns lines with and without ids, one id twice, a line without text, one with a wrong type, and one that is not JSON.
/// The types of the kept columns differ between shards.
fn lines() -> String {
    let mut lines: Vec<String> = (0..60)
        .map(|n| {
            let price = match n {
                7 => json!(2.5),
                31 => json!("much"),
                _ => json!(n),
            };
            let rare = if n == 40 { json!(true) } else { Value::Null };
            json!({"id": format!("row{n}"), "text": format!("text {n} of these"), "price": price, "rare": rare}).to_string()
        })
        .collect();
    lines.push(json!({"text": "has no id"}).to_string());
    lines.push(json!({"id": "row3", "text": "is there already"}).to_string());
    lines.push(json!({"id": "none", "text": " "}).to_string());
    lines.push(json!({"id": "wrong", "text": 7}).to_string());
    lines.push("{ no JSON".to_owned());
    lines.join("\n")
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn merged_shards_equal_one_build() {
    let playground = Playground::new().with("rows/all.jsonl", lines()).with("rows/.hidden.txt", "x");
    let corpus = repository("fixtures/corpus");
    let inputs = ["rows", corpus.to_str().unwrap()];
    for more in
        [&["--keep", "price", "--keep", "rare"][..], &["--chunks", "--max-tokens", "64", "--dim", "32"]]
    {
        let one = ["-o", "one.parquet", "--report", "one.json", "-q"];
        let told = playground.run(&[&["build"], &inputs[..], &one, more].concat()).expect(3).stderr;
        let codes = build_shards(&playground, &inputs, more);
        assert_eq!(codes, [Some(3); 4]);
        // The shards together report the failures of the one build. If a failure has no id, every shard reports it.
        let sorted = |text: &str| {
            let mut lines: Vec<String> =
                text.lines().filter(|line| line.contains("failed")).map(str::to_owned).collect();
            lines.sort();
            lines.dedup();
            lines
        };
        assert_eq!(sorted(&logs(&playground)), sorted(&told));
        let mut documents = json!({});
        for n in 0..4 {
            let report = report(&playground, &format!("{n}.json"));
            assert_eq!(report["shard"], format!("{n}/4"));
            add(&mut documents, &report["documents"]);
        }
        // Three shards count the line that is not JSON as unassigned; the first one counts it as failed.
        assert_eq!(documents["unassigned"].take(), 3);
        documents["unassigned"] = json!(0);
        assert_eq!(documents, report(&playground, "one.json")["documents"]);

        playground.run(&["merge", "parts", "-o", "out.parquet", "-q"]).expect(0);
        let merged = table(&playground.path("out.parquet"));
        assert!(merged.1.len() > 160);
        assert_eq!(merged, table(&playground.path("one.parquet")));
        playground.run(&["inspect", "--verify", "out.parquet"]).expect(0);
        // The rows are in the order of the shards, not in that of the arguments.
        let in_order: Vec<String> =
            (0..4).flat_map(|n| ids(&playground.path(&format!("parts/{n}.parquet")))).collect();
        assert_eq!(ids(&playground.path("out.parquet")), in_order);
        let bytes = fs::read(playground.path("out.parquet")).unwrap();
        let named = ["parts/2.parquet", "parts/0.parquet", "parts/3.parquet", "parts/1.parquet"];
        playground.run(&[&["merge", "-o", "out.parquet", "-q"], &named[..]].concat()).expect(0);
        assert_eq!(fs::read(playground.path("out.parquet")).unwrap(), bytes);
        // The next build without --shard reuses the merged index.
        let ran = playground
            .run(&[&["build"], &inputs[..], &["-o", "out.parquet", "--report", "again.json"], more].concat());
        let again = report(&playground, "again.json");
        assert_eq!(
            (ran.code, &again["tokens"], &again["rows"]["changed"]),
            (Some(3), &json!(0), &json!(0)),
            "{}",
            ran.story
        );
        fs::remove_dir_all(playground.path("parts")).unwrap();
        fs::remove_file(playground.path("out.parquet")).unwrap();
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_change_rewrites_only_the_shard_of_its_document() {
    let playground = Playground::new();
    let line = |n: usize, text: &str| json!({"id": format!("{n}"), "text": text}).to_string() + "\n";
    let all: String = (0..40).map(|n| line(n, &format!("text {n}"))).collect();
    playground.write("in.jsonl", &all);
    assert_eq!(build_shards(&playground, &["in.jsonl"], &[]), [Some(0); 4]);
    let part = |n: usize| playground.path(&format!("parts/{n}.parquet"));
    let before: Vec<Vec<u8>> = (0..4).map(|n| fs::read(part(n)).unwrap()).collect();
    let owner = |id: &str| (0..4).find(|&n| ids(&part(n)).contains(&id.to_owned())).unwrap();
    let (changed, lost) = (owner("5"), (0..40).find(|n| owner(&n.to_string()) != 0).unwrap());

    playground.write("in.jsonl", all.replace("\"text 5\"", "\"another\""));
    assert_eq!(build_shards(&playground, &["in.jsonl"], &[]), [Some(0); 4]);
    for (n, before) in before.iter().enumerate() {
        assert_eq!(fs::read(part(n)).unwrap() == *before, n != changed);
        let embedded = if n == changed { 1 } else { 0 };
        assert_eq!(report(&playground, &format!("{n}.json"))["documents"]["embedded"], embedded);
    }
    // A line with an unknown id: its row stays, and all shards exit with 3.
    let whose = owner(&lost.to_string());
    let broken =
        all.replace(&line(lost, &format!("text {lost}")), "{ broken\n").replace("\"text 5\"", "\"another\"");
    playground.write("in.jsonl", broken);
    assert_eq!(build_shards(&playground, &["in.jsonl"], &[]), [Some(3); 4]);
    assert!(ids(&part(whose)).contains(&lost.to_string()));
    assert_eq!(logs(&playground).matches("failed: in.jsonl").count(), 4);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_failure_that_only_one_shard_sees_is_reported() {
    let playground = Playground::new();
    let lines: String = (0..200)
        .map(|n| json!({"id": format!("{n}"), "text": format!("text {n}")}).to_string() + "\n")
        .collect();
    let whole = gzip(lines.as_bytes());
    playground.write("in.jsonl.gz", &whole);
    let build =
        |shard: &str, out: &str| playground.run(&["build", "in.jsonl.gz", "--shard", shard, "-o", out]);
    build("0/2", "0.parquet").expect(0);
    playground.write("in.jsonl.gz", &whole[..whole.len() / 2]);
    build("1/2", "1.parquet").expect(3).says("failed: in.jsonl.gz");
    let read = playground.command(&["read", "in.jsonl.gz", "--shard", "1/2"]).output().unwrap();
    assert_eq!(read.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&read.stderr).contains("failed: in.jsonl.gz"));
    // Parts without rows do not replace an index.
    playground.run(&["merge", "0.parquet", "1.parquet", "-o", "out.parquet"]).expect(0);
    playground.write("none.txt", " ");
    playground.run(&["build", "none.txt", "-o", "none.parquet"]).expect(0);
    playground.run(&["merge", "none.parquet", "-o", "out.parquet"]).expect(1).says("the parts have no rows");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn parts_that_do_not_fit_together_are_refused_by_name() {
    let playground = Playground::new().with("in.jsonl", lines());
    let build = |out: &str, more: &[&str]| {
        let ran = playground.run(&[&["build", "in.jsonl", "-q", "-o", out], more].concat());
        assert!(matches!(ran.code, Some(0 | 3)), "{}", ran.story);
    };
    assert!(build_shards(&playground, &["in.jsonl"], &[]).iter().all(Option::is_some));
    build("all.parquet", &[]);
    build("three.parquet", &["--shard", "0/3"]);
    build("small.parquet", &["--shard", "1/4", "--dim", "32"]);
    build("cut.parquet", &["--shard", "1/4", "--max-tokens", "100"]);
    build("keeps.parquet", &["--shard", "1/4", "--keep", "price"]);
    playground.write("other.jsonl", lines().replace("row", "other"));
    playground.run(&["build", "other.jsonl", "-q", "-o", "others.parquet"]).expect(3);
    let refused = |parts: &[&str], why: &str| -> Ran {
        let ran = playground.run(&[&["merge", "-q", "-o", "out.parquet"], parts].concat()).expect(1);
        ran.says(why);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
        assert!(!playground.path("out.parquet").exists());
        ran
    };
    let (p0, p1, p2, p3) = ("parts/0.parquet", "parts/1.parquet", "parts/2.parquet", "parts/3.parquet");
    refused(&[p0, p2], "missing shards: 1/4, 3/4 (2 of 4);");
    refused(&[p0, p1, p3], "missing shards: 2/4 (1 of 4);");
    refused(&["parts", p1], "part parts/1.parquet: is shard 1/4, and so is parts/1.parquet");
    refused(&["parts", "all.parquet"], "part all.parquet: is not a shard, but parts/0.parquet is shard 0/4");
    refused(&["three.parquet", p1, p2], "part parts/1.parquet: is shard 1/4, but three.parquet is shard 0/3");
    refused(
        &[p0, "small.parquet", p2, p3],
        "index small.parquet: its vectors have 32 dimensions instead of 64",
    );
    refused(
        &[p0, "cut.parquet", p2, p3],
        "part cut.parquet: was built with other settings than parts/0.parquet (the tokens per chunk (100 before",
    );
    refused(
        &[p0, "keeps.parquet", p2, p3],
        "part keeps.parquet: has other kept columns (price) than parts/0.parquet ()",
    );
    // Two parts with a common id are refused; without one they are merged.
    let ran = refused(&["all.parquet", "all.parquet"], "part all.parquet: the document ");
    ran.says("is in another part too");
    playground.run(&["merge", "-q", "-o", "both.parquet", "others.parquet", "all.parquet"]).expect(0);
    assert_eq!(
        table(&playground.path("both.parquet")).1.len(),
        2 * table(&playground.path("all.parquet")).1.len()
    );
    // An output that is another shard or another index is not replaced.
    playground.run(&["merge", "parts", "-o", p1]).expect(2).says("is also the output");
    for shard in ["1/4", "0/5"] {
        playground
            .run(&["build", "in.jsonl", "-o", p0, "--shard", shard])
            .expect(1)
            .says("is shard 0/4, and would be lost");
    }
    playground.run(&["build", "in.jsonl", "-o", p0]).expect(1).says("is shard 0/4, and would be lost");
    playground
        .run(&["build", "in.jsonl", "-o", "all.parquet", "--shard", "0/4"])
        .expect(1)
        .says("has all documents");
    playground
        .run(&["merge", "all.parquet", "-o", "three.parquet"])
        .expect(1)
        .says("is shard 0/3, and would be lost");
    playground
        .run(&["build", "in.jsonl", "-o", "x.parquet", "--shard", "4/4"])
        .expect(2)
        .says("expected I/N");

    let elsewhere = "only `build` and `read` use object storage";
    playground.run(&["merge", "parts", "-o", "s3://bucket/all.parquet"]).expect(2).says(elsewhere);
    playground.run(&["merge", "s3://bucket/parts", "-o", "out.parquet"]).expect(2).says(elsewhere);

    // A damaged part is named, and the old output stays.
    playground.run(&["merge", "parts", "-o", "out.parquet", "-q"]).expect(0);
    let before = fs::read(playground.path("out.parquet")).unwrap();
    let mut bytes = fs::read(playground.path(p2)).unwrap();
    let third = bytes.len() / 3;
    bytes[third] ^= 1;
    fs::write(playground.path(p2), &bytes).unwrap();
    playground
        .run(&["merge", "parts", "-o", "out.parquet"])
        .expect(1)
        .says("part parts/2.parquet: is damaged");
    assert_eq!(fs::read(playground.path("out.parquet")).unwrap(), before);
    assert!(playground.listing().iter().all(|name| !name.starts_with('.')));
}
