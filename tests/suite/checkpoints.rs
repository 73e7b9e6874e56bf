//! Models by their own weights: a repository or a folder with safetensors and no ONNX file is exported once.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::hub::{Behavior, COMMIT, HubServer, run};
use crate::util::{Playground, Ran, after, cosine, jsonl, metadata, our_exports, repository, rows};

const WEIGHTS: &str = "model.safetensors";

/// The files of a repository that a build downloads.
const WANTED: [&str; 7] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "1_Pooling/config.json",
    "config_sentence_transformers.json",
    WEIGHTS,
];

/// Cosine to the vector of the ONNX export of the same weights, at least.
const EXACT: f64 = 0.99999;

const BUILD: [&str; 6] = ["build", "in.jsonl", "-o", "out.parquet", "--model", "small/model"];

const TEXTS: [&str; 3] = ["hello", "电池能用多久？", "The capital of China is Beijing."];

fn fixture(name: &str) -> Vec<u8> {
    fs::read(repository("fixtures/qwen3-tiny").join(name)).unwrap()
}

fn files(names: &[&str]) -> HashMap<String, Vec<u8>> {
    names.iter().map(|&name| (name.to_owned(), fixture(name))).collect()
}

/// Returns a hub with the weights of the tiny model, and with files that no run needs.
pub fn hub() -> HubServer {
    let mut files = files(&WANTED);
    for name in ["README.md", "vocab.json", "2_Dense/model.safetensors", "pytorch_model.bin"] {
        files.insert(name.to_owned(), b"not wanted".to_vec());
    }
    HubServer::start(files)
}

fn playground() -> Playground {
    Playground::new().with("in.jsonl", jsonl(TEXTS))
}

/// Writes a folder with the weights of the tiny model.
pub fn write_checkpoint(playground: &Playground, folder: &str) {
    WANTED.iter().for_each(|name| playground.write(&format!("{folder}/{name}"), fixture(name)));
}

/// Returns a command of the binary with an empty cache and no network.
fn offline(playground: &Playground, arguments: &[&str]) -> Command {
    let mut command = playground.command(arguments);
    command.env_remove("QWEN3_INDEX_MODEL").env_remove("HF_ASSETS_CACHE").env("HF_HUB_OFFLINE", "1");
    command.env("HF_HOME", playground.path("hf"));
    command
}

fn run_offline(playground: &Playground, arguments: &[&str]) -> Ran {
    playground.output(&mut offline(playground, arguments), "")
}

fn build(playground: &Playground, more: &[&str]) -> Ran {
    run_offline(playground, &[&["build", "in.jsonl", "-o", "out.parquet"], more].concat())
}

/// Checks the vectors of `out.parquet` against the ONNX export in the fixtures.
#[track_caller]
fn assert_vectors(playground: &Playground, least: f64) {
    let right = self::playground().build("in.jsonl", &[]);
    let here = rows(&playground.path("out.parquet"));
    assert_eq!(here.len(), right.len());
    for (here, right) in here.iter().zip(right) {
        let cosine = cosine(&here.vector, &right.vector);
        assert!(cosine > least, "{}: {cosine}", here.text);
    }
}

/// Returns the folders of the cache of exports, each as `CHECKPOINT/PRECISION`.
fn exports(playground: &Playground) -> Vec<String> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    };
    let root = playground.path("hf/assets/qwen3-index/exports");
    let all = folders(&root).into_iter().flat_map(|checkpoint| folders(&checkpoint));
    let mut names: Vec<String> =
        all.map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect();
    names.sort();
    names
}

fn kind(precision: &str) -> String {
    format!("small--model@{COMMIT}/{precision}-v")
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn weights_are_downloaded_and_exported_once() {
    let (playground, hub) = (playground(), hub());
    let ran = run(&playground, &hub, &BUILD).expect(0);
    ran.says("downloading model.safetensors, ").says("exporting small/model: model.onnx, ");
    ran.says("model small/model (model.onnx), 64 dimensions, CPU");
    assert_eq!(hub.downloads(), WANTED.len(), "only what is needed: {:?}", hub.requests());
    assert_vectors(&playground, EXACT);

    // The second run sends no request and exports nothing. Offline, other precisions are exported too.
    hub.set(Behavior::Good);
    for more in [&[][..], &["--offline"], &["--precision", "fp32"], &["--model-file", "model.onnx"]] {
        let ran = run(&playground, &hub, &[&BUILD[..], &["--rebuild"], more].concat()).expect(0);
        assert!(!ran.stderr.contains("export"), "{}", ran.story);
    }
    let q8 = ["--precision", "q8", "--offline", "--rebuild"];
    run(&playground, &hub, &[&BUILD[..], &q8].concat())
        .expect(0)
        .says("exporting small/model: model_q8.onnx, ");
    assert_vectors(&playground, 0.99);
    let exports = exports(&playground);
    assert!(exports.len() == 2 && exports[0].starts_with(&kind("fp32")), "{exports:?}");
    assert!(exports[1].starts_with(&kind("q8")), "{exports:?}");

    // The next run, a search and a test set use the precision of the index.
    let again = run(&playground, &hub, &BUILD).expect(0);
    again.says("0 embedded, 3 reused");
    for command in ["search", "embed", "doctor"] {
        let arguments: &[&str] = match command {
            "search" => &["search", "out.parquet", "hello", "--model", "small/model"],
            "embed" => &["embed", "hello", "--model", "small/model", "--precision", "q8"],
            _ => &["doctor", "--model", "small/model"],
        };
        let ran = run(&playground, &hub, arguments).expect(0);
        assert_eq!(ran.stderr, "", "{}", ran.story);
    }
    assert_eq!(hub.requests(), Vec::<String>::new());
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_commands_of_model_know_checkpoints() {
    let (playground, hub) = (playground(), hub());
    let model = |arguments: &[&str]| run(&playground, &hub, &[&["model"], arguments].concat());
    let pull = "download it with `qwen3-index model pull small/model`";
    model(&["where", "small/model"]).expect(1).says(pull);
    let folder = model(&["pull", "small/model", "--precision", "q8"]).expect(0).stdout;
    assert!(folder.trim().contains(&kind("q8")), "{folder}");
    assert_eq!(model(&["where", "small/model", "--precision", "q8"]).expect(0).stdout, folder);
    model(&["where", "small/model"])
        .expect(1)
        .says("its export in fp32 is not in the cache; make it with `qwen3-index model pull small/model --precision fp32`");
    // The printed folder is a model folder.
    build(&playground, &["--model", folder.trim(), "--precision", "q8"]).expect(0);
    assert_vectors(&playground, 0.99);

    let list = model(&["list"]).expect(0).stdout;
    let lines: Vec<&str> = list.lines().collect();
    assert!(
        lines[0].starts_with("small/model@main  ") && lines[0].ends_with("  model.safetensors"),
        "{list}"
    );
    assert!(lines[2].starts_with(&format!("small/model@{COMMIT}  ")), "{list}");
    assert!(lines[2].contains("  export in q8-v") && lines[3].trim() == folder.trim(), "{list}");

    let bundle =
        ["bundle", "there", "--model", "small/model", "--precision", "q8", "--device", "cpu", "--json"];
    let made: Value = serde_json::from_str(&model(&bundle).expect(0).stdout).unwrap();
    assert_eq!(made["folder"], "there");
    assert!(made["bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{made}");
    let mut bundled = Command::new(playground.path("there/qwen3-index"));
    bundled.args(["search", "out.parquet", "hello"]).env_clear().env("HOME", "/nonexistent");
    playground.output(bundled.current_dir(playground.path("")), "").expect(0);
    // A bundle uses its own model, also for an index that was made with a name on the hub.
    let from_hub = ["build", "in.jsonl", "-o", "hub.parquet", "--model", "small/model", "--precision", "q8"];
    run(&playground, &hub, &from_hub).expect(0);
    assert_eq!(metadata(&playground.path("hub.parquet"))["model"], format!("hf:small/model@{COMMIT}"));
    let mut bundled = Command::new(playground.path("there/qwen3-index"));
    bundled.args(["search", "hub.parquet", "hello"]).env_clear().env("HOME", "/nonexistent");
    playground.output(bundled.current_dir(playground.path("")), "").expect(0);
    hub.set(Behavior::Good);
    model(&["pull", "small/model", "--precision", "q8"]).expect(0);
    assert_eq!(hub.downloads(), 0, "{:?}", hub.requests());
}

/// Splits a file of safetensors into two, as large models are published, with their index.
fn sharded(bytes: &[u8]) -> [(String, Vec<u8>); 3] {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let tensors: Vec<(&String, &Value)> = header.iter().filter(|(name, _)| *name != "__metadata__").collect();
    let mut map = BTreeMap::new();
    let files = [0, 1].map(|shard| {
        let file = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let (mut header, mut data) = (BTreeMap::new(), Vec::new());
        for (name, tensor) in tensors.iter().skip(shard).step_by(2) {
            let at = |end: usize| 8 + length + tensor["data_offsets"][end].as_u64().unwrap() as usize;
            let start = data.len();
            data.extend_from_slice(&bytes[at(0)..at(1)]);
            let mut tensor = (*tensor).clone();
            tensor["data_offsets"] = json!([start, data.len()]);
            header.insert((*name).clone(), tensor);
            map.insert((*name).clone(), file.clone());
        }
        let header = serde_json::to_vec(&header).unwrap();
        (file, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat())
    });
    let index = serde_json::to_vec(&json!({"metadata": {}, "weight_map": map})).unwrap();
    let [one, other] = files;
    [one, other, ("model.safetensors.index.json".to_owned(), index)]
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn weights_in_several_files_are_the_same_model() {
    let playground = playground();
    let mut files = files(&WANTED);
    let weights = files.remove(WEIGHTS).unwrap();
    files.extend(sharded(&weights));
    let hub = HubServer::start(files);
    run(&playground, &hub, &BUILD).expect(0);
    assert_eq!(hub.downloads(), WANTED.len() + 2, "{:?}", hub.requests());
    assert_vectors(&playground, EXACT);
    hub.set(Behavior::Good);
    run(&playground, &hub, &BUILD).expect(0).says("3 reused");
    assert_eq!(hub.requests(), Vec::<String>::new());
    // With a part missing in the cache, the model is not taken for complete.
    let part = format!("hf/hub/models--small--model/snapshots/{COMMIT}/model-00002-of-00002.safetensors");
    fs::remove_file(playground.path(&part)).unwrap();
    run(&playground, &hub, &[&BUILD[..], &["--offline"]].concat()).expect(1).says("is offline");
    run(&playground, &hub, &BUILD).expect(0).says("3 reused");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_folder_of_weights_is_exported_again_when_they_change() {
    let playground = playground();
    write_checkpoint(&playground, "My model");
    let model = ["--model", "My model"];
    let ran = build(&playground, &model).expect(0);
    ran.says("exporting My model: model.onnx, ").says("model My model (model.onnx), 64 dimensions");
    assert_vectors(&playground, EXACT);
    build(&playground, &model).expect(0).says("3 reused");
    // A search takes the model by any path to it.
    let path = playground.path("My model").display().to_string();
    let ran = run_offline(&playground, &["search", "out.parquet", "hello", "--model", &path]).expect(0);
    assert_eq!((ran.stderr.as_str(), exports(&playground).len()), ("", 1), "{}", ran.story);

    // Another number, which is finite too.
    let mut weights = fixture(WEIGHTS);
    let last = weights.len() - 1;
    weights[last - 1] ^= 0x20;
    playground.write("My model/model.safetensors", weights);
    let ran = build(&playground, &model).expect(1);
    ran.says("exporting My model: model.onnx, ")
        .says("is not the model of output out.parquet (other weights;");
    build(&playground, &[&model[..], &["--rebuild"]].concat()).expect(0);
    assert_eq!(exports(&playground).len(), 2);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn two_runs_at_once_export_once() {
    let playground = playground();
    write_checkpoint(&playground, "model");
    let run = || run_offline(&playground, &["embed", "hello", "--model", "model"]).expect(0);
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(run);
        (run(), one.join().unwrap())
    });
    assert_eq!(one.stdout, other.stdout);
    let made = |ran: &Ran| ran.stderr.matches("later runs use this export").count();
    assert_eq!(made(&one) + made(&other), 1, "{}{}", one.story, other.story);

    // The test holds the lock that an export holds, and then lets the waiting run go on.
    let export = exports(&playground).remove(0);
    let onnx = playground.path("hf/assets/qwen3-index/exports").join(export).join("onnx");
    fs::remove_file(onnx.join("model.onnx")).unwrap();
    let lock = fs::File::create(onnx.join(".export.lock")).unwrap();
    lock.lock().unwrap();
    let waited = thread::scope(|scope| {
        let waiting = scope.spawn(run);
        thread::sleep(Duration::from_secs(2));
        drop(lock);
        waiting.join().unwrap()
    });
    waited.says("waiting for another run that exports into ").says("later runs use this export");
    assert_eq!(waited.stdout, one.stdout);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_next_run_makes_the_export_of_a_killed_run_anew() {
    let playground = playground();
    write_checkpoint(&playground, "model");
    // The file size limit ends the run in the middle of the export, as a kill does.
    let arguments = ["build", "in.jsonl", "-o", "out.parquet", "--model", "model"];
    let mut killed = after("ulimit -f 64", &offline(&playground, &arguments));
    let ran = playground.output(&mut killed, "");
    assert_ne!(ran.code, Some(0), "{}", ran.story);
    let ran = build(&playground, &["--model", "model"]).expect(0);
    ran.says("exporting model: model.onnx, ").says("later runs use this export");
    assert_vectors(&playground, EXACT);
    let [export] = &exports(&playground)[..] else { panic!("{:?}", exports(&playground)) };
    let onnx = playground.path("hf/assets/qwen3-index/exports").join(export).join("onnx");
    let files = fs::read_dir(onnx).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files.filter(|name| !name.ends_with(".lock")).collect();
    files.sort();
    assert_eq!(files, ["model.onnx", "model.onnx_data"], "nothing is left of the killed run");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_precision_chooses_a_file_of_an_onnx_folder() {
    let playground = playground();
    let folder = our_exports().to_str().unwrap();
    build(&playground, &["--model", folder, "--precision", "q8"]).expect(0);
    assert_eq!(metadata(&playground.path("out.parquet"))["model_file"], "model_q8.onnx");
    build(&playground, &["--model", folder, "--rebuild"]).expect(0);
    assert_eq!(metadata(&playground.path("out.parquet"))["model_file"], "model.onnx");
    assert_eq!(exports(&playground), Vec::<String>::new());

    // A folder with ONNX files is not exported, even if it has weights too.
    let tiny = repository("fixtures/qwen3-tiny").display().to_string();
    let refused = build(&playground, &["--model", &tiny, "--precision", "q4"]).expect(1);
    refused.says("no model_q4.onnx; choose one with --model-file: ").says("onnx/model_f16.onnx");
    let file = our_exports().join("onnx/model.onnx").display().to_string();
    let refused = build(&playground, &["--model", &file, "--precision", "q8"]).expect(2);
    refused.says("is a file, but --model-file and --precision choose a graph in a folder");
    build(&playground, &["--precision", "q8", "--model-file", "model.onnx"])
        .expect(2)
        .says("cannot be used with");
    build(&playground, &["--precision", "int4"])
        .expect(2)
        .says("use fp32, int8, q8, q4, f16, bf16, plain or auto");
}

#[test]
fn what_cannot_be_exported_or_run_is_named_in_one_line() {
    let playground = playground();
    let refused = |ran: Ran, code: i32, says: &str| {
        let ran = ran.expect(code);
        let last = ran.stderr.lines().last().unwrap();
        assert!(last.contains(says), "{says}{}", ran.story);
    };
    // The weights of another architecture are not downloaded.
    let mut files = files(&["tokenizer.json", WEIGHTS]);
    files.insert("config.json".to_owned(), br#"{"model_type": "bert"}"#.to_vec());
    let hub = HubServer::start(files);
    refused(
        run(&self::playground(), &hub, &BUILD),
        1,
        "has no ONNX graph, and this tool exports only models of the architecture qwen3, not bert",
    );
    assert_eq!(hub.downloads(), 1, "{:?}", hub.requests());
    // An export would lack the layer after pooling.
    let mut files = self::files(&WANTED);
    files.insert("modules.json".to_owned(), br#"[{"type": "sentence_transformers.models.Dense"}]"#.to_vec());
    let dense = HubServer::start(files);
    refused(
        run(&self::playground(), &dense, &BUILD),
        1,
        "the model has a `Dense` module, which the exports made by this tool lack",
    );
    assert!(!dense.requests().iter().any(|request| request.contains(WEIGHTS)), "{:?}", dense.requests());
    let nothing = HubServer::start(self::files(&["tokenizer.json", "config.json"]));
    refused(run(&self::playground(), &nothing, &BUILD), 1, "has no ONNX graph and no *.safetensors");

    write_checkpoint(&playground, "model");
    let model =
        |more: &[&str]| build(&playground, &[&["--model", "model", "--device", "cpu"], more].concat());
    refused(
        model(&["--precision", "bf16"]),
        1,
        "model model: bf16 runs on a GPU only; use --precision fp32 or f16",
    );
    refused(
        model(&["--model-file", "model_fp16.onnx"]),
        2,
        "has no model_fp16.onnx: it has weights in safetensors only",
    );
    let mut no_cache = offline(&playground, &["embed", "hello", "--model", "model"]);
    no_cache.env("HF_ASSETS_CACHE", playground.path("in.jsonl"));
    refused(
        playground.output(&mut no_cache, ""),
        1,
        "cannot be written: Not a directory (os error 20); set HF_ASSETS_CACHE",
    );
    fs::remove_file(playground.path("model/model.safetensors")).unwrap();
    refused(model(&[]), 1, "name a folder with an ONNX file or with the *.safetensors of the model");
}

/// A GPU index has bf16 or f16 vectors. On a night without the GPU, the old precision is kept instead of embedding all texts
/// again in another.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_night_keeps_the_precision_of_the_old_output() {
    let playground = playground();
    write_checkpoint(&playground, "model");
    let model = ["--model", "model"];
    build(&playground, &[&model[..], &["--precision", "f16"]].concat()).expect(0);
    build(&playground, &model).expect(0).says("3 reused");
    build(&playground, &[&model[..], &["--precision", "fp32"]].concat())
        .expect(1)
        .says("(other weights; the output was made with ");
    let ran = build(&playground, &[&model[..], &["--rebuild"]].concat()).expect(0);
    ran.says("(model.onnx)");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn setups_of_two_precisions_are_compared() {
    let playground = playground();
    write_checkpoint(&playground, "model");
    playground
        .write("sts.tsv", "sentence1\tsentence2\tscore\na cat\ta dog\t3\na cat\tthe cat\t5\na car\tgo\t1\n");
    let arguments = ["eval", "pairs", "sts.tsv", "--model", "model", "--compare-precision", "q8", "--json"];
    let ran = run_offline(&playground, &arguments).expect(0);
    let page: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(page.to_string().contains("model_q8.onnx") && page.to_string().contains("/model.onnx"), "{page}");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_model_of_the_hub_is_exported_into_a_folder() {
    let (playground, hub) = (playground(), hub());
    run(&playground, &hub, &["model", "export", "small/model", "--precision", "q8"])
        .expect(2)
        .says("small/model: is no folder here; name the folder to write to, DIR, too");
    let ran = run(&playground, &hub, &["model", "export", "small/model", "out", "--precision", "fp32,q8"])
        .expect(0);
    ran.says("downloading model.safetensors, ").says("exporting small/model: model.onnx, ");
    assert!(ran.stdout.ends_with("out/onnx/model_q8.onnx\n"), "{}", ran.story);
    build(&playground, &["--model", "out"]).expect(0);
    assert_vectors(&playground, EXACT);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn an_export_takes_the_weights_of_a_repository_that_has_graphs_too() {
    let playground = playground();
    let mut files = files(&WANTED);
    files.insert("onnx/model.onnx".to_owned(), b"not wanted".to_vec());
    let hub = HubServer::start(files);
    let export = ["model", "export", "small/model", "out", "--precision", "q8"];
    run(&playground, &hub, &export).expect(0).says("downloading model.safetensors, ");
    assert!(!hub.requests().iter().any(|request| request.contains(".onnx")), "{:?}", hub.requests());
    let before = hub.requests().len();
    // The second run takes the weights from the cache.
    let ran = run(&playground, &hub, &[&export[..], &["f16", "--json", "-v"]].concat()).expect(0);
    ran.says("debug: model small/model: is in the cache, so the hub is not asked");
    assert_eq!(hub.requests().len(), before, "{:?}", hub.requests());
    let made: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (made, precision) in made.iter().zip(["q8", "f16"]) {
        assert_eq!(made["precision"], precision);
        assert_eq!(made["file"], format!("out/onnx/model_{precision}.onnx"));
        assert!(
            made["bytes"].as_u64() > Some(1000) && made["quality"]["mean"].as_f64() > Some(0.9),
            "{made}"
        );
    }
    assert_eq!(made.len(), 2);
    let hub = HubServer::start(HashMap::from(
        ["config.json", "tokenizer.json"].map(|name| (name.to_owned(), fixture(name))),
    ));
    run(&Playground::new(), &hub, &export)
        .expect(1)
        .says("has no model.safetensors and no model.safetensors.index.json; name a repository with the model's own weights");
}
