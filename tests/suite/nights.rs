//! Runs of many nights over one output: which rows are reused, which are embedded again, and which stay when something
//! fails. The expected output is that of a run from scratch over the same inputs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::make::{gzip, parquet, pdf, strings};
use crate::util::{Playground, Ran, bound_by_modes, jsonl, numbers};

const OUT: &str = "out.parquet";

/// Rows by id.
type Rows = BTreeMap<String, Cells>;

/// The columns of a row except its id.
#[derive(Debug, Clone, PartialEq)]
struct Cells {
    text: String,
    /// The bits of each number, since as a float NaN is not equal to itself and 0 is equal to -0.
    vector: Vec<u32>,
    /// As text, since the type of a column can become wider: 1 then turns into 1.0 or "1".
    kept: Vec<Option<String>>,
}

/// A row of an index or of a delta.
struct Line {
    id: String,
    operation: Option<String>,
    cells: Option<Cells>,
}

fn lines(path: &Path) -> Vec<Line> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let mut lines = Vec::new();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let (ids, texts) = (batch["id"].as_string::<i32>(), batch["text"].as_string::<i32>());
        let operations = batch.column_by_name("op").map(|column| column.as_string::<i32>());
        let vectors = batch["vector"].as_fixed_size_list();
        let schema = batch.schema();
        let kept = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .filter(|(field, _)| !["id", "op", "text", "vector"].contains(&field.name().as_str()));
        let kept: Vec<&ArrayRef> = kept.map(|(_, column)| column).collect();
        for at in 0..batch.num_rows() {
            let cells = || Cells {
                text: texts.value(at).to_owned(),
                vector: bits(&numbers(&vectors.value(at))),
                kept: kept.iter().map(|column| shown(column, at)).collect(),
            };
            lines.push(Line {
                id: ids.value(at).to_owned(),
                operation: operations.map(|operations| operations.value(at).to_owned()),
                cells: texts.is_valid(at).then(cells),
            });
        }
    }
    lines
}

fn bits(vector: &[f32]) -> Vec<u32> {
    vector.iter().map(|number| number.to_bits()).collect()
}

fn shown(column: &ArrayRef, at: usize) -> Option<String> {
    column.is_valid(at).then(|| match column.data_type() {
        DataType::Boolean => column.as_boolean().value(at).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(at).to_string(),
        DataType::Float64 => {
            let number = json!(column.as_primitive::<Float64Type>().value(at)).to_string();
            number.strip_suffix(".0").unwrap_or(&number).to_owned()
        }
        DataType::List(_) => format!("{:?}", column.as_list::<i32>().value(at).as_string::<i32>()),
        _ => column.as_string::<i32>().value(at).to_owned(),
    })
}

/// Reads the rows of an index, and asserts that each id occurs once.
fn rows(path: &Path) -> Rows {
    let mut rows = Rows::new();
    for Line { id, cells, .. } in lines(path) {
        assert_eq!(rows.insert(id.clone(), cells.unwrap()), None, "{id} occurs twice");
    }
    rows
}

/// The bytes of an output made from scratch, and the exit code of its run.
type Scratch = (Vec<u8>, Option<i32>);

/// Inode and modification time: they change when a file is replaced, even by the same bytes.
type Stamp = (u64, i64, i64);

/// A run of a night, with its report.
struct Night {
    ran: Ran,
    report: Value,
}

impl Night {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.ran.code, Some(code), "{}", self.ran.story);
        self
    }

    /// Returns how many tokens and how many documents went through the model.
    fn work(&self) -> (u64, u64) {
        (self.report["tokens"].as_u64().unwrap(), self.report["documents"]["embedded"].as_u64().unwrap())
    }
}

impl Playground {
    /// Runs `build` with a report.
    fn night(&self, inputs: &[&str], more: &[&str]) -> Night {
        let arguments = [&["build"], inputs, &["-o", OUT, "--report", "report.json"], more].concat();
        self.reported(self.run(&arguments))
    }

    /// Runs `build` with a report and without ONNX Runtime, so that a run that loads the model fails.
    fn night_without_a_model(&self, inputs: &[&str], more: &[&str]) -> Night {
        let arguments = [&["build"], inputs, &["-o", OUT, "--report", "report.json"], more].concat();
        self.reported(self.output(self.command(&arguments).env("ORT_DYLIB_PATH", "nowhere"), ""))
    }

    fn reported(&self, ran: Ran) -> Night {
        let report = fs::read(self.path("report.json")).unwrap();
        Night { ran, report: serde_json::from_slice(&report).unwrap() }
    }

    fn scratch(&self, inputs: &[&str], more: &[&str]) -> Scratch {
        let _ = fs::remove_file(self.path("scratch.parquet"));
        let ran = self.run(&[&["build"], inputs, &["-o", "scratch.parquet", "-q"], more].concat());
        (self.read("scratch.parquet"), ran.code)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}; there is {:?}", self.listing()))
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Asserts that the output has these bytes; if not, panics with the first row that differs.
    #[track_caller]
    fn expect_as_from_scratch(&self, ran: &Ran, scratch: &[u8]) {
        if self.read(OUT) != scratch {
            let ids = |name| lines(&self.path(name)).into_iter().map(|line| line.id).collect::<Vec<_>>();
            assert_eq!(ids(OUT), ids("scratch.parquet"), "{}", ran.story);
            let (rows, expected) = (rows(&self.path(OUT)), rows(&self.path("scratch.parquet")));
            for (id, row) in rows {
                assert_eq!(&row, &expected[&id], "{id}{}", ran.story);
            }
            panic!("the rows are those of a run from scratch, the bytes are not{}", ran.story);
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).unwrap();
    (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
}

// Random edits.

/// Several files of each format, in a folder and below it, ordered by name and not by format.
const NAMES: [&str; 9] =
    ["a.txt", "b.jsonl", "c.md", "d.csv", "d/a.txt", "d/b.jsonl", "d/c.md", "e.jsonl", "f.txt"];

/// Only a few, so that equal texts and equal chunks occur.
const SENTENCES: [&str; 9] = [
    "The parcel has left the office in the north.",
    "A barometer measures the pressure of the air.",
    "The form is signed by both sides before the work starts.",
    "Nobody was in the office on Monday.",
    "員工因公出差产生的交通费在十五个工作日内报销。",
    "El plazo de entrega es de tres días.",
    "図書館は月曜日を除いて毎日開いています。",
    "7.",
    "No.",
];

/// Options of a run. With one thread, the tiny model loads faster.
const SETTINGS: [&[&str]; 4] = [
    &["--threads", "1", "--keep", "k", "--keep", "m"],
    &["--threads", "1", "--keep", "m", "--chunks", "--max-tokens", "20"],
    &["--threads", "1", "--keep", "k", "--vector-type", "f16"],
    &["--threads", "1", "--keep", "m", "--chunks", "--max-tokens", "20", "--vector-type", "i8"],
];

/// A document of a file. Text and Markdown files have only the first.
#[derive(Debug, Clone)]
struct Item {
    id: Option<u8>,
    text: String,
    /// A value of any type.
    k: Value,
    /// A number, rarely another type.
    m: Value,
}

type Folder = BTreeMap<&'static str, Vec<Item>>;

/// An edit of a folder. A number, modulo the count of files or items, selects one of them.
#[derive(Debug, Clone)]
enum Edit {
    Write(&'static str, Vec<Item>),
    Delete(usize),
    Rename(usize, &'static str),
    Swap(usize, usize),
    Duplicate(usize, &'static str),
    Empty(usize),
    MoveItem(usize, usize),
    Reorder(usize),
    Text(usize, usize, String),
    Keep(usize, usize, Value, Value),
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&SENTENCES), 0..6).prop_map(|sentences| sentences.join(" "))
}

fn kept() -> impl Strategy<Value = Value> {
    let large = (1u64 << 53) + 2;
    let values = json!([null, 1, -1, 2.5, 1e15, 1.0, true, "1", "one", "", "2.5", [1, "b"], large, u64::MAX]);
    select(values.as_array().unwrap().clone())
}

fn number() -> impl Strategy<Value = Value> {
    select(vec![json!(null), json!(1), json!(1), json!(2), json!(0.5), json!("no")])
}

fn item() -> impl Strategy<Value = Item> {
    (prop::option::weighted(0.8, 0u8..40), text(), kept(), number()).prop_map(|(id, text, k, m)| Item {
        id,
        text,
        k,
        m,
    })
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    prop::collection::vec(item(), 1..5)
}

fn edit() -> impl Strategy<Value = Edit> {
    let name = || select(&NAMES);
    let at = || 0usize..1000;
    prop_oneof![
        (name(), items()).prop_map(|(name, items)| Edit::Write(name, items)),
        at().prop_map(Edit::Delete),
        (at(), name()).prop_map(|(from, to)| Edit::Rename(from, to)),
        (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
        (at(), name()).prop_map(|(from, to)| Edit::Duplicate(from, to)),
        at().prop_map(Edit::Empty),
        (at(), at()).prop_map(|(from, to)| Edit::MoveItem(from, to)),
        at().prop_map(Edit::Reorder),
        (at(), at(), text()).prop_map(|(file, at, text)| Edit::Text(file, at, text)),
        (at(), at(), kept(), number()).prop_map(|(file, at, k, m)| Edit::Keep(file, at, k, m)),
    ]
}

impl Edit {
    fn apply(self, folder: &mut Folder) {
        let names: Vec<&'static str> = folder.keys().copied().collect();
        if names.is_empty() && !matches!(self, Edit::Write(..)) {
            return;
        }
        let name = |at: usize| names[at % names.len()];
        let item = |file: usize, at: usize, folder: &mut Folder, edit: &dyn Fn(&mut Item)| {
            let items = folder.get_mut(name(file)).unwrap();
            let count = items.len().max(1);
            items.get_mut(at % count).into_iter().for_each(edit);
        };
        match self {
            Edit::Write(name, items) => _ = folder.insert(name, items),
            Edit::Delete(file) => _ = folder.remove(name(file)),
            Edit::Rename(from, to) => {
                let items = folder.remove(name(from)).unwrap();
                folder.insert(to, items);
            }
            Edit::Swap(one, other) => {
                let (one_items, other_items) = (folder[name(one)].clone(), folder[name(other)].clone());
                folder.insert(name(one), other_items);
                folder.insert(name(other), one_items);
            }
            Edit::Duplicate(from, to) => _ = folder.insert(to, folder[name(from)].clone()),
            Edit::Empty(file) => _ = folder.insert(name(file), Vec::new()),
            Edit::MoveItem(from, to) => {
                let moved = folder.get_mut(name(from)).unwrap().pop();
                folder.get_mut(name(to)).unwrap().extend(moved);
            }
            Edit::Reorder(file) => folder.get_mut(name(file)).unwrap().reverse(),
            Edit::Text(file, at, text) => item(file, at, folder, &|item| item.text = text.clone()),
            Edit::Keep(file, at, k, m) => {
                item(file, at, folder, &|item| (item.k, item.m) = (k.clone(), m.clone()));
            }
        }
    }
}

fn write_folder(playground: &Playground, folder: &Folder) {
    let _ = fs::remove_dir_all(playground.path("docs"));
    fs::create_dir(playground.path("docs")).unwrap();
    for (name, items) in folder {
        playground.write(&format!("docs/{name}"), content(name, items));
    }
}

fn content(name: &str, items: &[Item]) -> String {
    let quoted = |value: String| format!("\"{}\"", value.replace('"', "\"\""));
    let cell = |value: &Value| match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text.clone()),
        other => quoted(other.to_string()),
    };
    match (name.rsplit_once('.').unwrap().1, items.first()) {
        ("jsonl", _) => {
            let line = |Item { id, text, k, m }: &Item| {
                let mut line = json!({"text": text, "k": k, "m": m});
                if let Some(id) = id {
                    line["id"] = json!(format!("id{id}"));
                }
                line.to_string() + "\n"
            };
            items.iter().map(line).collect()
        }
        ("csv", _) => {
            let line = |Item { id, text, k, m }: &Item| {
                let id = id.map_or_else(String::new, |id| format!("id{id}"));
                format!("{id},{},{},{}\n", quoted(text.clone()), cell(k), cell(m))
            };
            "id,text,k,m\n".to_owned() + &items.iter().map(line).collect::<String>()
        }
        (_, None) => String::new(),
        ("md", Some(Item { text, k, m, .. })) => format!("---\nk: {k}\nm: {m}\n---\n{text}\n"),
        (_, Some(item)) => item.text.clone(),
    }
}

/// Applies a delta to rows, as a consumer does. Returns how many rows it adds, changes and removes.
fn apply_delta(delta: &Path, rows: &mut Rows) -> [usize; 3] {
    let mut counts = [0; 3];
    for Line { id, operation, cells } in lines(delta) {
        let (before, at) = match (operation.as_deref(), cells) {
            (Some("added"), Some(cells)) => (rows.insert(id.clone(), cells), 0),
            (Some("changed"), Some(cells)) => (rows.insert(id.clone(), cells), 1),
            (Some("removed"), None) => (rows.remove(&id), 2),
            other => panic!("{id}: {other:?}"),
        };
        assert_eq!(before.is_some(), at > 0, "{id}: {operation:?}");
        counts[at] += 1;
    }
    counts
}

/// Returns the types of the columns.
fn types(path: &Path) -> Vec<DataType> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.schema().fields().iter().map(|field| field.data_type().clone()).collect()
}

/// Returns how many rows a delta should add, change and remove. If a column's type changes, every common row counts as changed.
fn differences(before: &Rows, now: &Rows, is_retyped: bool) -> [usize; 3] {
    let both = || now.iter().filter_map(|(id, row)| Some((row, before.get(id)?)));
    let changed = both().filter(|(now, before)| is_retyped || now != before).count();
    [now.len() - both().count(), changed, before.len() - both().count()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Also asserts that only new texts are embedded and that the delta turns each night's rows into the next night's.
    #[test]
    #[ignore = "needs what scripts/test installs"]
    fn each_night_writes_the_bytes_of_a_run_from_scratch(
        start in prop::collection::vec((select(&NAMES), items()), 0..7),
        days in prop::collection::vec(prop::collection::vec(edit(), 0..4), 5),
        settings in select(&SETTINGS),
    ) {
        let playground = Playground::new();
        let mut folder: Folder = start.into_iter().collect();
        let (mut before, mut types_before) = (Rows::new(), None);
        let mut last: Option<(Scratch, Stamp)> = None;
        for day in std::iter::once(Vec::new()).chain(days) {
            let is_edited = !day.is_empty();
            day.into_iter().for_each(|edit| edit.apply(&mut folder));
            write_folder(&playground, &folder);
            let options = ["--delta", "delta.parquet", "--allow-empty", "--allow-shrink"];
            let night = playground.night(&["docs"], &[settings, &options].concat());
            let scratch = match &last {
                Some((scratch, _)) if !is_edited => scratch.clone(),
                _ => playground.scratch(&["docs"], &[settings, &["--allow-empty"]].concat()),
            };
            // The code is 3 if two documents have the same id; the first one gets the row.
            assert_eq!(night.ran.code, scratch.1, "{}", night.ran.story);
            playground.expect_as_from_scratch(&night.ran, &scratch.0);

            let now = rows(&playground.path(OUT));
            let mut applied = before.clone();
            let counts = apply_delta(&playground.path("delta.parquet"), &mut applied);
            assert_eq!(&applied, &now, "{}", night.ran.story);
            let [added, changed, removed] = counts;
            let types_now = types(&playground.path(OUT));
            let is_retyped = types_before.replace(types_now.clone()).is_some_and(|types| types != types_now);
            assert_eq!(counts, differences(&before, &now, is_retyped), "{}", night.ran.story);
            let counts = json!({"added": added, "changed": changed, "removed": removed,
                "total": now.len(), "bytes": scratch.0.len()});
            assert_eq!(night.report["rows"], counts, "{}", night.ran.story);
            let texts = |rows: &Rows| rows.values().map(|row| row.text.clone()).collect::<BTreeSet<_>>();
            let new = texts(&now).difference(&texts(&before)).count();
            assert_eq!(night.report["chunks"], new, "{}", night.ran.story);

            let stamp = stamp(&playground.path(OUT));
            if let Some((same, stamp_before)) = &last && same.0 == scratch.0 {
                assert_eq!((&stamp, added + changed + removed), (stamp_before, 0), "{}", night.ran.story);
            }
            (before, last) = (now, Some((scratch, stamp)));
        }
    }
}

// Reuse of vectors.

#[test]
#[ignore = "needs what scripts/test installs"]
fn documents_with_vectors_need_no_model() {
    let playground = Playground::new();
    for (at, name) in ["a.txt", "b.md", "c/d.txt", "e.txt"].into_iter().enumerate() {
        playground.write(&format!("docs/{name}"), SENTENCES[at]);
    }
    playground.write("docs/f.jsonl", jsonl(SENTENCES[4..].iter().copied()));
    playground.write("docs/long.txt", SENTENCES.join(" ").repeat(3));
    let inputs = &["docs"];
    assert_eq!(playground.night(inputs, &[]).expect(0).work().1, 10);
    let stamp_before = stamp(&playground.path(OUT));
    let night = playground.night_without_a_model(inputs, &[]).expect(0);
    assert_eq!((night.work(), stamp(&playground.path(OUT))), ((0, 0), stamp_before), "{}", night.ran.story);

    playground.rename("docs/a.txt", "docs/renamed.txt");
    playground.rename("docs/b.md", "docs/b.txt");
    playground.rename("docs/c/d.txt", "docs/swap");
    playground.rename("docs/e.txt", "docs/c/d.txt");
    playground.rename("docs/swap", "docs/e.txt");
    playground.write("docs/copy.txt", SENTENCES[7]);
    let night = playground.night_without_a_model(inputs, &[]).expect(0);
    assert_eq!(night.work(), (0, 0), "{}", night.ran.story);
    let scratch = playground.scratch(inputs, &[]).0;
    playground.expect_as_from_scratch(&night.ran, &scratch);

    let scratch = playground.scratch(inputs, &["--dim", "33"]).0;
    let night = playground.night_without_a_model(inputs, &["--dim", "33"]).expect(0);
    assert_eq!(night.work(), (0, 0), "{}", night.ran.story);
    playground.expect_as_from_scratch(&night.ran, &scratch);

    // Control: a run that needs the model does fail here.
    playground.write("docs/new.txt", "new");
    let night = playground.night_without_a_model(inputs, &["--dim", "33"]).expect(1);
    night.ran.says("ORT_DYLIB_PATH names nowhere");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn equal_texts_of_a_run_are_embedded_once() {
    let playground = Playground::new();
    let long = SENTENCES.join(" ").repeat(4);
    let texts = [long.as_str(), "short", "another"];
    playground.write("few.jsonl", jsonl(texts));
    let few = playground.night(&["few.jsonl"], &[]).expect(0);
    assert!(few.work().0 > 500, "the test needs a text of many tokens: {:?}", few.work());
    // More than two windows, so that equal texts are not in memory together.
    playground.write("many.jsonl", jsonl((0..2500).map(|n| texts[n % texts.len()])));
    playground.remove(OUT);
    let many = playground.night(&["many.jsonl"], &[]).expect(0);
    assert_eq!(many.work(), few.work(), "{}", many.ran.story);
    assert_eq!(
        (&many.report["chunks"], &many.report["documents"]["reused"]),
        (&few.report["chunks"], &json!(2497))
    );
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn other_settings_of_this_run_are_named_and_their_texts_are_embedded_again() {
    let playground = Playground::new();
    playground.write("docs.jsonl", jsonl(SENTENCES));
    let (inputs, all) = (&["docs.jsonl"], SENTENCES.len() as u64);
    // Two of the sentences have more than 30 tokens.
    for (before, now, says, embedded) in [
        (
            &["--dim", "40"][..],
            &["--dim", "64"][..],
            "other settings: the dimensions (40 before, now 64)",
            all,
        ),
        (&[], &["--max-tokens", "30"], "other settings: the tokens per chunk (2048 before, now 30)", 2),
        (&[], &["--instruction", "Find it"], "other settings: the instruction", all),
        (
            &["--instruction", "Find it"],
            &["--instruction", "Find that"],
            "other settings: the instruction",
            all,
        ),
        (&[], &["--chunks"], "other settings: the rows (documents before, now chunks)", all),
    ] {
        let _ = fs::remove_file(playground.path(OUT));
        let night = playground.night(inputs, before).expect(0);
        assert!(!night.ran.stderr.contains("other settings"), "{}", night.ran.story);
        let scratch = playground.scratch(inputs, now).0;
        let mut applied = rows(&playground.path(OUT));
        let night = playground.night(inputs, &[now, &["--delta", "delta.parquet"]].concat()).expect(0);
        apply_delta(&playground.path("delta.parquet"), &mut applied);
        assert_eq!(applied, rows(&playground.path(OUT)), "{}", night.ran.story);
        night
            .ran
            .says(if embedded == all {
                "all texts are embedded again, "
            } else {
                "texts of several chunks are embedded again, "
            })
            .says(says);
        assert_eq!(night.work().1, embedded, "{}", night.ran.story);
        playground.expect_as_from_scratch(&night.ran, &scratch);
    }
}

// Faults.

#[test]
#[ignore = "needs what scripts/test installs"]
fn missing_inputs_leave_the_old_output_unless_an_option_allows_them() {
    struct Case {
        inputs: &'static [&'static str],
        set_up: fn(&Playground),
        says: &'static str,
        flag: &'static str,
    }
    let cases = [
        Case {
            inputs: &["docs"],
            set_up: |playground| fs::remove_dir_all(playground.path("docs")).unwrap(),
            says: "input docs: ",
            flag: "--allow-empty",
        },
        Case {
            inputs: &["docs"],
            set_up: |playground| {
                fs::remove_dir_all(playground.path("docs")).unwrap();
                playground.write("docs/.hidden", "what is left out is no document");
            },
            says: "input docs: contains no documents, but the old output does;",
            flag: "--allow-empty",
        },
        Case {
            inputs: &["docs", "more"],
            set_up: |playground| playground.remove("more/f.txt"),
            says: "input more: contains no documents, but the old output does;",
            flag: "--allow-empty",
        },
        Case {
            inputs: &["docs", "more"],
            set_up: |playground| fs::remove_dir_all(playground.path("more")).unwrap(),
            says: "input more: ",
            flag: "--allow-empty",
        },
        Case {
            inputs: &["docs", "-"],
            set_up: |_| {},
            says: "input -: contains no documents, but the old output does;",
            flag: "--allow-empty",
        },
        Case {
            inputs: &["docs"],
            set_up: |playground| {
                ["a", "b", "c"].iter().for_each(|name| playground.remove(&format!("docs/{name}.txt")))
            },
            says: "3 of the 5 documents of the old output are gone;",
            flag: "--allow-shrink",
        },
    ];
    for Case { inputs, set_up, says, flag } in cases {
        let playground = Playground::new();
        for (name, text) in ["a", "b", "c", "d", "e"].into_iter().zip(SENTENCES) {
            playground.write(&format!("docs/{name}.txt"), text);
        }
        playground.write("more/f.txt", "more");
        let arguments = [&["build"], inputs, &["-o", OUT]].concat();
        playground.run_with_stdin(&arguments, "{\"id\":\"g\",\"text\":\"from a pipe\"}").expect(0);
        let before = playground.read(OUT);
        set_up(&playground);
        for _ in 0..2 {
            let ran = playground.run(&arguments).expect(1);
            assert!(ran.stderr.contains(says), "not said: {says}{}", ran.story);
            assert_eq!(playground.read(OUT), before, "{}", ran.story);
        }
        // Without an old output nothing can be lost, but the root must exist.
        let _ = playground.run(&[&["build"], inputs, &["-o", "scratch.parquet", flag]].concat()).expect(0);
        let ran = playground.run(&[&arguments[..], &[flag]].concat()).expect(0);
        playground.expect_as_from_scratch(&ran, &playground.read("scratch.parquet"));
    }

    // Half of the documents may disappear.
    let playground = Playground::new();
    playground.write("docs/a.txt", "one");
    playground.write("docs/b.txt", "two");
    playground.run(&["build", "docs", "-o", OUT]).expect(0);
    playground.remove("docs/a.txt");
    playground.run(&["build", "docs", "-o", OUT]).expect(0);
    assert_eq!(rows(&playground.path(OUT)).len(), 1);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_first_night_without_documents_makes_no_index_unless_an_option_allows_it() {
    let playground = Playground::new();
    fs::create_dir(playground.path("empty")).unwrap();
    playground.write("docs/a.txt", "one");
    let before = playground.listing();
    for inputs in [&["empty"][..], &["docs", "--include", "*.mdx"], &["docs", "empty"], &["-"]] {
        let arguments = [&["build"], inputs, &["-o", OUT]].concat();
        for more in [&[][..], &["--dry-run"]] {
            let ran = playground.run(&[&arguments[..], more].concat()).expect(1);
            ran.says(": contains no documents; check ").says("--include").says("--allow-empty");
            assert_eq!(playground.listing(), before, "{}", ran.story);
        }
        for _ in 0..2 {
            let ran = playground.run(&[&arguments[..], &["--allow-empty"]].concat()).expect(0);
            ran.says(": contains no documents");
        }
        playground.remove(OUT);
    }
}

/// Damages, removes, changes and adds documents. [`mend`] repairs the damaged ones.
fn spoil(playground: &Playground) {
    playground.remove("docs/1.txt");
    playground.write("docs/b.pdf", "%PDF-1.7\nhalf of it");
    playground
        .write("docs/c.txt", [b"first a few good words, then ".as_slice(), b"\xff\xfe\x00\x01"].concat());
    playground.write(
        "docs/d.jsonl",
        "{\"id\":\"d1\",\"text\":\"Row number one\",\"k\":1}\n{\"id\":\"d2\",\"text\":5,\"k\":2}\n\
         {\"id\":\"d3\",\"text\":\"Row number three, changed\",\"k\":\"three\"}\n{\"id\":\"d4\",\"te\n\
         {\"id\":\"d5\",\"text\":\"Row number five\",\"k\":5}\n",
    );
    let packed = playground.read("docs/e.jsonl.gz");
    playground.write("docs/e.jsonl.gz", &packed[..packed.len() / 2]);
    playground.remove("docs/h.txt");
    playground.write("docs/i.txt", "new");
    playground.write("docs/j.txt", "<|im_start|> has no vector");
    playground.write("docs/k.txt", "changed");
}

/// Writes the readable contents of the documents that [`spoil`] damages.
fn mend(playground: &Playground) {
    playground.write("docs/b.pdf", pdf("A page of the gazette"));
    playground.write("docs/c.txt", "Said in UTF-8: 今天");
    let row = |n: u8, number| json!({"id": format!("d{n}"), "text": format!("Row number {number}"), "k": n});
    let rows = [row(1, "one"), row(2, "two"), row(3, "three"), row(4, "four"), row(5, "five")];
    playground.write("docs/d.jsonl", rows.map(|row| row.to_string() + "\n").concat());
    // The texts hardly compress, so that half of the bytes contain about half of the rows.
    let row = |n: u64| {
        let text = format!("Parcel {:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        json!({"id": format!("e{n:02}"), "text": text, "k": n}).to_string() + "\n"
    };
    playground.write("docs/e.jsonl.gz", gzip((0..30).map(row).collect::<String>().as_bytes()));
    playground.write("docs/j.txt", "The text that becomes NaN");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn documents_that_cannot_be_read_today_keep_yesterdays_rows() {
    for settings in [&["--keep", "k"][..], &["--keep", "k", "--chunks", "--max-tokens", "20"]] {
        let playground = Playground::new();
        for name in ["0.txt", "1.txt", "2.txt", "f/inside.txt", "g.txt", "h.txt", "k.txt"] {
            playground.write(&format!("docs/{name}"), format!("This is {name}, which is good"));
        }
        mend(&playground);
        let more = [settings, &["--model-file", "model_nan.onnx"]].concat();
        playground.night(&["docs"], &more).expect(0);
        let before = rows(&playground.path(OUT));

        spoil(&playground);
        let folder = playground.path("docs/f");
        fs::set_permissions(&folder, Permissions::from_mode(0o000)).unwrap();
        let run = |output: &str, last: &[&str]| {
            let arguments = [&["build", "docs", "-o", output], &more[..], last].concat();
            let command = playground.command(&arguments);
            // File modes do not count for root. Without setpriv the folder is read.
            let bound = if fs::read_dir(&folder).is_ok() { bound_by_modes(&command) } else { None };
            playground.output(&mut bound.unwrap_or(command), "").expect(3)
        };
        let ran = run(OUT, &["--report", "report.json"]);
        run("scratch.parquet", &[]);
        let night = playground.reported(ran);
        let is_bound = night.ran.stderr.contains("docs/f: cannot be read");
        let document = |id: &str| match settings.contains(&"--chunks") {
            true => id.rsplit_once('#').unwrap().0.to_owned(),
            false => id.to_owned(),
        };
        let stale: Vec<&str> =
            night.report["stale"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        let of_rows: Vec<&str> = stale.iter().copied().filter(|id| id.starts_with('e')).collect();
        let suffix = 30 - of_rows.len();
        let ids: Vec<String> = (suffix..30).map(|n| format!("e{n:02}")).collect();
        assert!((5..25).contains(&suffix) && of_rows == ids, "{of_rows:?}{}", night.ran.story);
        let others: Vec<&str> = stale.iter().copied().filter(|id| !id.starts_with('e')).collect();
        let mut expected = vec!["b.pdf", "c.txt", "d2", "d4", "f/inside.txt", "j.txt"];
        expected.retain(|&id| is_bound || id != "f/inside.txt");
        assert_eq!(others, expected, "{}", night.ran.story);
        assert_eq!(
            night.ran.stderr.matches("qwen3-index: stale: ").count(),
            stale.len(),
            "{}",
            night.ran.story
        );

        // Expected: yesterday's rows of the stale documents, and today's rows of all others.
        let mut rows_expected = rows(&playground.path("scratch.parquet"));
        rows_expected.extend(before.into_iter().filter(|(id, _)| stale.contains(&document(id).as_str())));
        assert_eq!(rows(&playground.path(OUT)), rows_expected, "{}", night.ran.story);
        assert_eq!(night.report["documents"]["gone"], 2, "{}", night.ran.story);

        // A second night with the same faults changes nothing.
        let bytes = playground.read(OUT);
        let again = run(OUT, &["--report", "report.json"]);
        assert_eq!(playground.read(OUT), bytes, "{}", again.story);

        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        mend(&playground);
        let night = playground.night(&["docs"], &more).expect(0);
        let scratch = playground.scratch(&["docs"], &more).0;
        playground.expect_as_from_scratch(&night.ran, &scratch);
    }
}

/// Builds an index so small that damage reaches every part of it. Returns its bytes.
fn small(playground: &Playground) -> Vec<u8> {
    let rows =
        SENTENCES[..3].iter().zip(0..).map(|(text, n)| json!({"id": n, "text": text, "k": n}).to_string());
    playground.write("docs.jsonl", rows.collect::<Vec<_>>().join("\n"));
    playground.run(&["build", "docs.jsonl", "-o", OUT, "--keep", "k"]).expect(0);
    fs::copy(playground.path(OUT), playground.path("scratch.parquet")).unwrap();
    playground.read(OUT)
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_damaged_index_is_rebuilt_and_a_copy_of_it_kept() {
    let playground = Playground::new();
    let whole = small(&playground);
    let middle = whole.len() / 2;
    let content = whole.windows(19).position(|bytes| bytes == b"qwen3-index.content").unwrap();
    let patched = |at: usize, patch: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + patch.len()].copy_from_slice(patch);
        bytes
    };
    let damages = [
        ("cut by a byte", whole[..whole.len() - 1].to_vec()),
        ("cut in half", whole[..middle].to_vec()),
        ("cut to its start", whole[..4].to_vec()),
        ("a flipped bit in the vectors", patched(500, &[whole[500] ^ 1])),
        ("another digest in the footer", patched(content + 30, b"0000")),
        ("a block of zeros", patched(300, &[0; 128])),
        ("a longer footer than there are bytes", patched(whole.len() - 8, &[0xff; 4])),
        ("garbage", b"PAR1 and then something else".to_vec()),
        ("zeros behind the end", [&whole[..], &[0; 512]].concat()),
    ];
    for ((what, bytes), number) in damages.into_iter().zip(1..) {
        playground.write(OUT, &bytes);
        // Not every damaged file says how many rows it had.
        let ran =
            playground.run(&["build", "docs.jsonl", "-o", OUT, "--keep", "k", "--allow-shrink"]).expect(3);
        let kept = if number == 1 { format!("{OUT}.damaged") } else { format!("{OUT}.damaged-{number}") };
        ran.says("warning: output out.parquet: is damaged (").says(&format!("/{kept}\n"));
        playground.expect_as_from_scratch(&ran, &whole);
        assert_eq!(playground.read(&kept), bytes, "{what}{}", ran.story);
    }

    let foreign = parquet(&[("id", strings(&["1"])), ("text", strings(&["Somebody's own"]))]);
    playground.write(OUT, &foreign);
    for more in [&[][..], &["--rebuild", "--allow-shrink"]] {
        let ran = playground.run(&[&["build", "docs.jsonl", "-o", OUT][..], more].concat()).expect(1);
        ran.says("output out.parquet: is a Parquet file that this tool did not make, and would be lost;");
        assert_eq!(playground.read(OUT), foreign, "{}", ran.story);
    }
}

/// For a flipped bit anywhere, one of three things happens: the tool finds the damage and rebuilds the file; it refuses the
/// file as another program's, or because its rows cannot be counted, and leaves it; or no row depends on the bit.
#[test]
#[ignore = "needs what scripts/test installs"]
fn one_flipped_bit_never_leads_to_wrong_rows() {
    let playground = Playground::new();
    let whole = small(&playground);
    let expected = rows(&playground.path(OUT));
    let (mut anew, mut left, mut refused) = (0, 0, 0);
    for n in 0..41 {
        // Varies offset and bit; the first offset is in the magic number.
        let at = (2 + n * 997) % whole.len();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (n * 5 % 8);
        playground.write(OUT, &flipped);
        let ran = playground.run(&["build", "docs.jsonl", "-o", OUT, "--keep", "k"]);
        match ran.code {
            Some(0) if playground.read(OUT) == flipped => {
                assert_eq!(rows(&playground.path(OUT)), expected, "byte {at}{}", ran.story);
                left += 1;
            }
            // A bit of the metadata itself is no damage of the rows: it is as if another version had written the metadata.
            Some(0 | 3) => {
                playground.expect_as_from_scratch(&ran, &whole);
                anew += 1;
            }
            _ => {
                assert_eq!((ran.code, playground.read(OUT)), (Some(1), flipped), "byte {at}{}", ran.story);
                refused += 1;
            }
        }
    }
    println!("41 flipped bits in {} bytes: {anew} rebuilt, {left} left, {refused} refused", whole.len());
    assert!(anew > 10 && anew + refused > 20, "{anew} rebuilt, {left} left, {refused} refused");
}

// Dry runs, reports and logs.

/// Returns name and content of every file in the folder.
fn snapshot(playground: &Playground) -> Vec<(String, Vec<u8>)> {
    let names = playground.listing().into_iter().filter(|name| playground.path(name).is_file());
    names.map(|name| (name.clone(), playground.read(&name))).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_dry_run_writes_nothing_and_predicts_what_the_run_does() {
    let playground = Playground::new();
    let dry = |more: &[&str]| {
        let before = snapshot(&playground);
        let ran = playground.run(&[&["build", "docs", "-o", OUT, "--dry-run"], more].concat());
        assert_eq!(snapshot(&playground), before, "{}", ran.story);
        ran
    };
    let dry_and_real = |code| {
        let dry = dry(&[]).expect(code);
        let (first, rest) = dry.stdout.split_once('\n').unwrap();
        let documents = first.split("; ").next().unwrap();
        let real = playground.night(&["docs"], &[]).expect(code);
        assert!(
            !documents.is_empty() && real.ran.stderr.contains(&documents.replace("would be ", "")),
            "{}{}",
            dry.story,
            real.ran.story
        );
        let report = &real.report;
        let gone = report["documents"]["gone"].as_u64().unwrap();
        let is_told = first.ends_with(&format!("; {gone} gone from the inputs"));
        assert_eq!(is_told, gone > 0, "{}", dry.story);
        let work = format!("{} tokens in {} chunks to embed", report["tokens"], report["chunks"]);
        assert!(rest.contains(&work), "{work:?}{}", dry.story);
        dry
    };
    for (name, text) in ["a", "b", "c", "d", "e"].into_iter().zip(SENTENCES) {
        playground.write(&format!("docs/{name}.txt"), text);
    }
    playground.write(
        ".out.parquet.journal",
        "what an interrupted run left, to be judged by the next one that writes",
    );
    // Equal texts in different windows: the dry run must not count them twice.
    playground.write("docs/f.jsonl", jsonl((0..2100).map(|n| SENTENCES[n % SENTENCES.len()])));
    let ran = dry_and_real(0);
    assert!(
        ran.stdout.starts_with("2,105 documents: 9 would be embedded, 2,096 duplicates, 0 empty, 0 failed"),
        "{}",
        ran.story
    );
    playground.remove("docs/f.jsonl");
    dry(&[]).expect(1).says("2100 of the 2105 documents of the old output are gone;");
    playground.night(&["docs"], &["--allow-shrink"]).expect(0);
    playground.write("docs/a.txt", "changed");
    playground.rename("docs/b.txt", "docs/g.txt");
    playground.write("docs/c.txt", b"\x00\xff");
    playground.remove("docs/d.txt");
    playground.write("docs/h.txt", "new");
    let ran = dry_and_real(3);
    assert!(
        ran.stdout.starts_with("5 documents: 2 would be embedded, 2 reused, 0 empty, 1 failed; 1 kept"),
        "{}",
        ran.story
    );
    let ran = dry_and_real(3);
    assert!(ran.stdout.ends_with("0 tokens in 0 chunks to embed\n"), "{}", ran.story);

    // A dry run works while another run holds the lock.
    let path = playground.path(".out.parquet.lock");
    let lock = File::create(&path).unwrap();
    lock.lock().unwrap();
    dry(&[]).expect(3);
    playground.run(&["build", "docs", "-o", OUT]).expect(4).says("another run holds it");
}

/// Replaces each value of a report by the name of its type, and each list by the shape of its first member.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(values) => values.iter().take(1).map(shape).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(name, value)| (name.clone(), shape(value))).collect())
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn every_outcome_has_a_report_and_a_json_log() {
    let playground = Playground::new();
    playground.write("docs/a.txt", "one");
    playground.write("docs/b.txt", "two");
    playground.write("docs/c.txt", "three");
    let embedded = |code: u8| {
        let mut expected = json!({
            "format": "number", "tool": "string", "started": "string", "output": "string", "shard": "null", "dry_run": "boolean",
            "exit_code": "number", "error": "null",
            "documents": {"seen": "number", "embedded": "number", "reused": "number", "empty": "number",
                "failed": "number", "unassigned": "number", "stale": "number", "gone": "number", "decoded": {}, "repaired": "number",
                "left_out": {}},
            "chunks": "number", "tokens": "number", "tokens_per_second": "number", "chunks_resumed": "number",
            "rows": {"total": "number", "added": "number", "changed": "number", "removed": "number", "bytes": "number"},
            "seconds": {"old_output": "number", "model": "number", "embedding": "number", "writing": "number",
                "total": "number"},
            "peak_memory_bytes": "number",
            "fingerprint": {"model": {"architecture": "string", "weights": "string", "tokenizer": "string",
                    "pooling": "string", "width": "number"},
                "dim": "number", "instruction": "null", "max_tokens": "number", "rows": "string",
                "extraction": "number", "cleaning": "number", "chunking": "number"},
            "failures": [], "stale": []
        });
        if code == 3 {
            expected["failures"] = json!([{"place": "string", "reason": "string"}]);
            expected["stale"] = json!(["string"]);
        }
        expected
    };
    let failed = |early: bool| {
        let mut expected = embedded(1);
        (expected["error"], expected["rows"]) = (json!("string"), json!("null"));
        expected["tokens_per_second"] = json!("null");
        if early {
            expected["fingerprint"] = json!("null");
        }
        expected
    };
    let check = |arguments: &[&str], code: u8, expected: &Value| {
        let more = [arguments, &["--log-format", "json"]].concat();
        let night = playground.night(&[], &more).expect(code.into());
        assert_eq!(&shape(&night.report), expected, "{:#}{}", night.report, night.ran.story);
        assert_eq!((&night.report["exit_code"], &night.report["format"]), (&json!(code), &json!(1)));
        let lines: Vec<Value> =
            night.ran.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        for line in &lines {
            let time = line["time"].as_str().unwrap();
            assert!(is_time(time), "{time}{}", night.ran.story);
            let level = line["level"].as_str().unwrap();
            assert!(["info", "warning", "failed", "stale", "error"].contains(&level), "{}", night.ran.story);
            assert!(!line["message"].as_str().unwrap().is_empty(), "{}", night.ran.story);
        }
        let last = lines.last().unwrap();
        assert_eq!(last["level"] == "error", [1, 2].contains(&code), "{}", night.ran.story);
        if last["level"] == "error" {
            assert_eq!((&last["message"], &last["exit_code"]), (&night.report["error"], &json!(code)));
        }
        (night, lines)
    };
    check(&["docs"], 0, &embedded(0));
    playground.write("docs/a.txt", "changed");
    playground.write("docs/b.txt", b"\x00\xff");
    let (night, lines) = check(&["docs"], 3, &embedded(3));
    let line = |level: &str| lines.iter().find(|line| line["level"] == level).unwrap();
    let (failed_line, failure) = (line("failed"), &night.report["failures"][0]);
    assert_eq!((&failed_line["place"], &failed_line["reason"]), (&failure["place"], &failure["reason"]));
    assert_eq!((&failure["place"], &line("stale")["id"]), (&json!("docs/b.txt"), &json!("b.txt")));
    assert_eq!(night.report["stale"], json!(["b.txt"]));
    check(&["docs", "--dim", "1"], 2, &failed(true));
    check(&["nowhere"], 1, &failed(true));
    ["a", "b", "c"].iter().for_each(|name| playground.remove(&format!("docs/{name}.txt")));
    check(&["docs"], 1, &failed(false));
}

/// Returns whether this is a time of RFC 3339 in UTC, with seconds.
fn is_time(time: &str) -> bool {
    let like = |c: char| if c.is_ascii_digit() { '9' } else { c };
    time.chars().map(like).collect::<String>() == "9999-99-99T99:99:99Z"
}

/// Builds while the mode of a folder forbids reading it. Returns `None` if modes do not count for this user.
fn without_reading(playground: &Playground, folder: &str, more: &[&str]) -> Option<Ran> {
    let path = playground.path(folder);
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    let command = playground.command(&[&["build", "docs", "-o", OUT], more].concat());
    let command = if fs::read_dir(&path).is_ok() { bound_by_modes(&command) } else { Some(command) };
    let ran = command.map(|mut command| playground.output(&mut command, ""));
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    ran
}

/// Builds an index of four text files and a file of two rows, which comes third by name.
fn four_and_two_rows(playground: &Playground) {
    for name in ["a.txt", "b.txt", "d.txt", "e.txt"] {
        playground.write(&format!("docs/{name}"), format!("This is {name}"));
    }
    playground.write(
        "docs/c.jsonl",
        "{\"id\":\"c1\",\"text\":\"row one\"}\n{\"id\":\"c2\",\"text\":\"row two\"}\n",
    );
    playground.run(&["build", "docs", "-o", OUT]).expect(0);
}

/// Two lines; the second is cut, so that its id is unknown.
const BROKEN: &str = "{\"id\":\"c1\",\"text\":\"row one\"}\n{\"id\n";

/// On the second night the stale row is at the end of the file, so its neighbours no longer show where it belongs.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_row_that_cannot_be_read_for_two_nights_is_kept() {
    let playground = Playground::new();
    four_and_two_rows(&playground);
    playground.write("docs/c.jsonl", BROKEN);
    for _ in 0..3 {
        let ran = playground.run(&["build", "docs", "-o", OUT]).expect(3);
        assert!(rows(&playground.path(OUT)).contains_key("c2"), "{}", ran.story);
    }
}

/// The failure names the folder, with which the ids of its documents start.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_folder_that_cannot_be_read_for_two_nights_keeps_its_rows() {
    let playground = Playground::new();
    four_and_one_inside(&playground);
    for _ in 0..3 {
        let Some(ran) = without_reading(&playground, "docs/c", &[]) else { return };
        assert!(rows(&playground.path(OUT)).contains_key("c/inside.txt"), "{}", ran.story);
    }
}

/// The stale row is out of order. This must not hide that a document elsewhere was deleted.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_stale_row_does_not_bring_back_a_document_deleted_elsewhere() {
    let playground = Playground::new();
    four_and_two_rows(&playground);
    playground.write("docs/a.txt", b"\x00\xff");
    playground.run(&["build", "docs", "-o", OUT]).expect(3);
    playground.remove("docs/e.txt");
    playground.write("docs/c.jsonl", BROKEN);
    let ran = playground.run(&["build", "docs", "-o", OUT]).expect(3);
    let ids: Vec<String> = rows(&playground.path(OUT)).into_keys().collect();
    assert_eq!(ids, ["a.txt", "b.txt", "c1", "c2", "d.txt"], "{}", ran.story);
}

/// The file can be read and has no text any more, so its row goes, although another file has a broken line.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_document_that_is_empty_today_loses_its_row() {
    let playground = Playground::new();
    playground
        .write("docs/rows.jsonl", "{\"id\":\"2\",\"text\":\"two\"}\n{\"id\":\"3\",\"text\":\"three\"}\n");
    four_and_two_rows(&playground);
    playground
        .write("docs/rows.jsonl", "{\"id\":\"3\",\"text\":\"three\"}\n{\"id\":\"2\",\"text\":\"two\"}\n");
    playground.write("docs/e.txt", "");
    playground.write("docs/c.jsonl", BROKEN);
    let ran = playground.run(&["build", "docs", "-o", OUT]).expect(3);
    assert!(!rows(&playground.path(OUT)).contains_key("e.txt"), "{}", ran.story);
}

fn four_and_one_inside(playground: &Playground) {
    for name in ["a.txt", "b.txt", "c/inside.txt", "d.txt", "e.txt"] {
        playground.write(&format!("docs/{name}"), format!("This is {name}"));
    }
    playground.run(&["build", "docs", "-o", OUT]).expect(0);
}

/// The failure of the second row must not bring back yesterday's row beside the new one.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_id_with_a_good_and_a_bad_row_occurs_once() {
    let playground = Playground::new();
    let good = "{\"id\":\"x\",\"text\":\"one\"}\n{\"id\":\"y\",\"text\":\"two\"}\n";
    playground.write("docs.jsonl", good);
    playground.run(&["build", "docs.jsonl", "-o", OUT]).expect(0);
    playground.write("docs.jsonl", good.to_owned() + "{\"id\":\"x\",\"text\":5}\n");
    playground.run(&["build", "docs.jsonl", "-o", OUT]).expect(3);
    assert_eq!(rows(&playground.path(OUT)).len(), 2);
}

/// A chunk of the unreadable document is also in another document, so the tool could mistake it for a moved one.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_shared_chunk_does_not_cost_an_unreadable_document_its_rows() {
    let playground = Playground::new();
    let header = "This is the header that all of the letters share in this place.";
    for name in ["a.txt", "c/inside.txt", "d.txt"] {
        playground.write(&format!("docs/{name}"), format!("{header} And this is what {name} says alone."));
    }
    // Only the folder that will be lost then has the shared chunk.
    playground.write("docs/a.txt", "Something of its own");
    playground.write("docs/d.txt", "Something else of its own");
    let settings = ["--chunks", "--max-tokens", "20"];
    playground.run(&[&["build", "docs", "-o", OUT][..], &settings].concat()).expect(0);
    let inside = |playground: &Playground| {
        rows(&playground.path(OUT)).into_keys().filter(|id| id.starts_with("c/")).count()
    };
    let before = inside(&playground);
    playground.write("docs/z.txt", format!("{header} A new letter."));
    let Some(ran) = without_reading(&playground, "docs/c", &settings) else { return };
    assert_eq!(inside(&playground), before, "{}", ran.story);
}

/// The damaged file could have had documents, so the check for an empty root applies.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_empty_root_does_not_replace_a_damaged_index() {
    let playground = Playground::new();
    let whole = {
        four_and_one_inside(&playground);
        playground.read(OUT)
    };
    fs::remove_dir_all(playground.path("docs")).unwrap();
    fs::create_dir(playground.path("docs")).unwrap();
    playground.write(OUT, &whole[..1000]);
    playground.run(&["build", "docs", "-o", OUT]).expect(1);
    assert_eq!(playground.read(OUT), &whole[..1000]);
}

/// Metadata that cannot be read is another version's, or damaged. The ids of such a file could be mistaken for documents'.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_of_chunks_with_unknown_metadata_is_rebuilt() {
    let playground = Playground::new();
    playground.write("docs.jsonl", jsonl(SENTENCES));
    playground.run(&["build", "docs.jsonl", "-o", OUT, "--chunks"]).expect(0);
    let mut bytes = playground.read(OUT);
    let at = bytes.windows(12).position(|name| name == b"\"extraction\"").unwrap();
    bytes[at + 10] ^= 1;
    playground.write(OUT, &bytes);
    playground.run(&["build", "docs.jsonl", "-o", OUT, "--chunks"]).expect(3).says("is damaged");
}

/// The metadata gives other dimensions than the vectors have. Reading by them would give rows wrong vectors.
#[test]
#[ignore = "needs what scripts/test installs"]
fn wrong_dimensions_in_the_metadata_do_not_mix_up_vectors() {
    let playground = Playground::new();
    playground.write("docs.jsonl", jsonl(SENTENCES));
    playground.run(&["build", "docs.jsonl", "-o", OUT]).expect(0);
    let whole = playground.read(OUT);
    let at = whole.windows(8).position(|bytes| bytes == b"\"dim\":64").unwrap();
    for (digit, dim) in [(b'7', "64"), (b'4', "32")] {
        let mut bytes = whole.clone();
        bytes[at + 6] = digit;
        playground.write(OUT, &bytes);
        let night = playground.night(&["docs.jsonl"], &["--dim", dim]).expect(3);
        let scratch = playground.scratch(&["docs.jsonl"], &["--dim", dim]).0;
        playground.expect_as_from_scratch(&night.ran, &scratch);
    }
}

/// `--rebuild` does not change the settings, so yesterday's vector is still right.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_rebuild_keeps_the_rows_of_documents_that_cannot_be_read() {
    let playground = Playground::new();
    four_and_one_inside(&playground);
    playground.write("docs/a.txt", b"\x00\xff");
    playground.run(&["build", "docs", "-o", OUT, "--rebuild"]).expect(3);
    assert!(rows(&playground.path(OUT)).contains_key("a.txt"));
}

/// A file system that has lost the last writes returns zeros.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_index_of_zeros_counts_as_damaged_and_not_as_foreign() {
    let playground = Playground::new();
    let whole = small(&playground);
    for bytes in [vec![0; whole.len()], patched_start(&whole), whole[..2].to_vec()] {
        playground.write(OUT, &bytes);
        let ran =
            playground.run(&["build", "docs.jsonl", "-o", OUT, "--keep", "k", "--allow-shrink"]).expect(3);
        playground.expect_as_from_scratch(&ran, &whole);
    }
}

fn patched_start(whole: &[u8]) -> Vec<u8> {
    [&[0; 4], &whole[4..]].concat()
}

/// A wrong bit in a key of the metadata must not make the tool refuse its own file, since no later run could repair that.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_flipped_bit_in_a_metadata_key_counts_as_damage_and_not_as_foreign() {
    let playground = Playground::new();
    let whole = small(&playground);
    // The length before each key distinguishes it from the tool's name in the metadata's values.
    for key in
        ["\x0bqwen3-index", "\x13qwen3-index.content", "\x12qwen3-index.groups", "\x10qwen3-index.tail"]
    {
        let at = whole.windows(key.len()).position(|bytes| bytes == key.as_bytes()).unwrap();
        let mut bytes = whole.clone();
        bytes[at + 1] ^= 1;
        playground.write(OUT, &bytes);
        let ran = playground.run(&["build", "docs.jsonl", "-o", OUT, "--keep", "k"]).expect(3);
        playground.expect_as_from_scratch(&ran, &whole);
    }
}
