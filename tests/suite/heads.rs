//! How hidden states become vectors: the graph's own pooling, Dense modules, and modules that are refused.

use std::fs;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::util::{Playground, cosine, json_lines, jsonl, metadata, repository, rows};

/// A text of `fixtures/golden/bert-dense.jsonl` or `bert-tiny.jsonl`, with its vector.
#[derive(Deserialize)]
struct Text {
    text: String,
    #[serde(alias = "mean")]
    vector: Vec<f32>,
}

const FLOAT: f64 = 0.99999;

/// Dimensions of the vectors with and without the Dense layer.
const DENSE: usize = 32;
const PLAIN: usize = 48;

const BUILD: [&str; 6] = ["build", "in.jsonl", "-o", "out.parquet", "--model", "model"];

/// The message about a graph that pools in another way than the files say.
const DIFFERS: &str = "its graph makes other vectors than modules.json and 1_Pooling describe";

fn texts() -> Vec<Text> {
    json_lines("fixtures/golden/bert-dense.jsonl")
}

/// Returns a playground with texts and a model: the files of `bert-tiny` that every model needs, its export as `plain.onnx`, and
/// these files of `bert-dense`, of which the export also returns the vectors.
fn playground(files: &[&str]) -> Playground {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(texts().iter().map(|text| text.text.as_str())));
    let copy = |from: &str, to: &str| {
        playground.write(&format!("model/{to}"), fs::read(repository("fixtures").join(from)).unwrap());
    };
    for name in ["config.json", "tokenizer.json"] {
        copy(&format!("bert-tiny/{name}"), name);
    }
    for file in files {
        match *file {
            "1_Pooling/config.json" => copy("bert-tiny/1_Pooling/config.json", file),
            "plain.onnx" => copy("bert-tiny/onnx/model.onnx", "onnx/model.onnx"),
            "both.onnx" => copy("bert-dense/onnx/model_st.onnx", "onnx/model.onnx"),
            file => copy(&format!("bert-dense/{file}"), file),
        }
    }
    playground
}

const WHOLE: [&str; 4] =
    ["1_Pooling/config.json", "modules.json", "2_Dense/config.json", "2_Dense/model.safetensors"];

fn with_plain() -> Playground {
    playground(&[&WHOLE[..], &["plain.onnx"]].concat())
}

#[track_caller]
fn assert_golden(playground: &Playground) {
    let rows = rows(&playground.path("out.parquet"));
    assert_eq!(rows.len(), texts().len());
    for (row, text) in rows.iter().zip(texts()) {
        assert_eq!(row.vector.len(), DENSE);
        assert!(cosine(&row.vector, &text.vector) > FLOAT, "{:?}", row.text);
    }
}

fn model_fingerprint(playground: &Playground) -> Value {
    metadata(&playground.path("out.parquet"))["fingerprint"]["model"].clone()
}

/// Returns the detail of a finding of `doctor`, after its state.
fn doctor(playground: &Playground, what: &str) -> String {
    let ran = playground.run(&["doctor", "--model", "model", "--device", "cpu", "--json"]);
    let findings: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let finding = findings.iter().find(|finding| finding["what"] == what).unwrap();
    format!("{}: {}", finding["state"].as_str().unwrap(), finding["detail"].as_str().unwrap())
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_graph_that_pools_needs_no_pooling_file() {
    let playground = playground(&["both.onnx"]);
    let ran = playground.run(&BUILD).expect(0);
    assert!(!ran.stderr.contains(DIFFERS), "{}", ran.story);
    assert_golden(&playground);
    assert_eq!(model_fingerprint(&playground)["pooling"], Value::Null);
    assert_eq!(doctor(&playground, "pooling"), "ok: by the graph");
    assert!(doctor(&playground, "graph").contains("output sentence_embedding, 32 dimensions"));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_graph_is_right_where_it_pools_in_another_way_than_the_files() {
    // The list of modules is missing, so nothing tells of the Dense layer.
    let incomplete = playground(&["both.onnx", "1_Pooling/config.json"]);
    incomplete.run(&BUILD).expect(0);
    assert_golden(&incomplete);

    // The list has no Dense layer, or the pooling file has another pooling.
    let other_length = playground(&["both.onnx", "1_Pooling/config.json"]);
    other_length
        .write("model/modules.json", fs::read(repository("fixtures/bert-tiny/modules.json")).unwrap());
    let other_meaning = playground(&[&WHOLE[..], &["both.onnx"]].concat());
    other_meaning.write("model/1_Pooling/config.json", json!({"pooling_mode": "cls"}).to_string());
    for (playground, how) in [(&other_length, "32 dimensions instead of 48"), (&other_meaning, "cosine ")] {
        let ran = playground.run(&BUILD).expect(0);
        ran.says(DIFFERS).says(how);
        assert_golden(playground);
        assert!(doctor(playground, "pooling").starts_with(&format!("warning: {DIFFERS} ({how}")));
        // The next night knows it, and a search for one question finds the texts of the same model.
        playground.run(&BUILD).expect(0).says("is unchanged");
        let found = playground.run(&["search", "out.parquet", "battery", "--model", "model", "--json"]);
        found.expect(0).says(DIFFERS);
    }

    // Files that are added later change where the vectors come from.
    let completed = playground(&["both.onnx"]);
    completed.run(&BUILD).expect(0);
    for name in WHOLE {
        let folder = if name.starts_with('1') { "bert-tiny" } else { "bert-dense" };
        let file = repository("fixtures").join(folder).join(name);
        completed.write(&format!("model/{name}"), fs::read(file).unwrap());
    }
    completed.write("in.jsonl", jsonl(["A new text."]));
    completed
        .run(&[&BUILD[..], &["--allow-shrink"]].concat())
        .expect(1)
        .says("(another pooling); embed all texts again with --rebuild");
    completed.run(&[&BUILD[..], &["--rebuild", "--allow-shrink"]].concat()).expect(0);

    // Files that describe the graph are used: hidden states may be padded.
    let whole = playground(&[&WHOLE[..], &["both.onnx"]].concat());
    let ran = whole.run(&BUILD).expect(0);
    assert!(!ran.stderr.contains(DIFFERS), "{}", ran.story);
    assert_golden(&whole);
    assert!(doctor(&whole, "graph").contains("output token_embeddings, 32 dimensions"));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_broken_file_is_not_taken_for_a_missing_one() {
    for (file, content, says) in [
        ("modules.json", "[", "cannot be parsed"),
        ("1_Pooling/config.json", "{", "cannot be parsed"),
        ("2_Dense/config.json", "", "cannot be parsed"),
        ("2_Dense/model.safetensors", "cut off", "is no complete safetensors file"),
    ] {
        let playground = playground(&[&WHOLE[..], &["both.onnx"]].concat());
        playground.write(&format!("model/{file}"), content);
        playground.run(&BUILD).expect(1).says(&format!("{file}: {says}"));
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn dense_modules_are_run() {
    let playground = with_plain();
    playground.run(&BUILD).expect(0);
    assert_golden(&playground);
    let before = model_fingerprint(&playground);
    assert_eq!((&before["pooling"], &before["width"]), (&json!("mean"), &json!(DENSE)));
    playground.run(&BUILD).expect(0).says("is unchanged");

    // Another Dense layer makes other vectors.
    let path = playground.path("model/2_Dense/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 0x80;
    fs::write(&path, bytes).unwrap();
    playground
        .run(&BUILD)
        .expect(1)
        .says("is not the model of output out.parquet (other layers after the pooling; ");
    playground.run_anew(&BUILD).expect(0);
    assert_ne!(model_fingerprint(&playground)["layers"], before["layers"]);

    // Without a Dense layer, the vectors are those of the pooling.
    playground.write("model/modules.json", fs::read(repository("fixtures/bert-tiny/modules.json")).unwrap());
    let plain: Vec<Text> = json_lines("fixtures/golden/bert-tiny.jsonl");
    for (row, text) in playground.build("in.jsonl", &["--model", "model"]).iter().zip(plain) {
        assert_eq!(row.vector.len(), PLAIN);
        assert!(cosine(&row.vector, &text.vector) > FLOAT, "{:?}", row.text);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_bundle_has_the_dense_modules() {
    let playground = with_plain();
    playground.run(&["model", "bundle", "bundle", "--model", "model"]).expect(0);
    let whole = ["build", "in.jsonl", "-o", "out.parquet", "--model", "bundle/model"];
    playground.run(&whole).expect(0);
    assert_golden(&playground);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn modules_that_cannot_be_run_are_refused_by_name() {
    let refused = |change: &dyn Fn(&Playground), parts: &[&str]| {
        let playground = with_plain();
        change(&playground);
        let ran = playground.run(&BUILD).expect(1);
        for part in parts {
            ran.says(part);
        }
    };
    let settings = |key: &str, value: Value| {
        let path = repository("fixtures/bert-dense/2_Dense/config.json");
        let mut settings: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        settings[key] = value;
        settings.to_string()
    };
    let write_settings = |key: &'static str, value: Value| {
        move |playground: &Playground| {
            playground.write("model/2_Dense/config.json", settings(key, value.clone()));
        }
    };
    let remove = |name: &'static str| {
        move |playground: &Playground| fs::remove_file(playground.path("model").join(name)).unwrap()
    };
    refused(&remove("modules.json"), &["no modules.json", "copy the file"]);
    refused(&remove("1_Pooling/config.json"), &["no 1_Pooling/config.json", "copy the file"]);
    refused(&remove("2_Dense/model.safetensors"), &["there is no 2_Dense/model.safetensors"]);
    refused(
        &write_settings("activation_function", json!("torch.nn.modules.activation.Mish")),
        &["2_Dense/config.json", "the activation torch.nn.modules.activation.Mish"],
    );
    refused(
        &write_settings("module_input_name", json!("token_embeddings")),
        &["2_Dense/config.json", "a Dense module on token_embeddings"],
    );
    refused(
        &write_settings("out_features", json!(33)),
        &["2_Dense/model.safetensors", "no tensor linear.weight of floats of the shape [33, 48]"],
    );
    refused(
        &|playground| playground.write("model/2_Dense/model.safetensors", "cut off"),
        &["2_Dense/model.safetensors", "is no complete safetensors file"],
    );
    for name in ["LayerNorm", "WordWeights"] {
        let modules = ["Transformer", "Pooling", name].map(|name| json!({"path": "", "type": name}));
        refused(
            &|playground| playground.write("model/modules.json", json!(modules).to_string()),
            &["modules.json", &format!("the model has a `{name}` module")],
        );
    }
    // The folder of a module is inside the model folder.
    let modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("../other", "Dense")];
    let modules = modules.map(|(path, name)| json!({"path": path, "type": name}));
    refused(
        &|playground| playground.write("model/modules.json", json!(modules).to_string()),
        &["modules.json", "the folder `../other` of a Dense module is not inside the model folder"],
    );
    let modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("", "Dense")];
    let modules = modules.map(|(path, name)| json!({"path": path, "type": name}));
    refused(
        &|playground| playground.write("model/modules.json", json!(modules).to_string()),
        &["modules.json", "the folder `` of a Dense module is not inside the model folder"],
    );
    let modules = [("", "Transformer"), ("2_Dense", "Dense"), ("1_Pooling", "Pooling")];
    let modules = modules.map(|(path, name)| json!({"path": path, "type": name}));
    refused(
        &|playground| playground.write("model/modules.json", json!(modules).to_string()),
        &["modules.json", "does not run a `Dense` module in this place of the list"],
    );
    // A pooling that leaves out the prompt.
    let without_prompt = json!({"pooling_mode_mean_tokens": true, "include_prompt": false}).to_string();
    refused(
        &|playground| playground.write("model/1_Pooling/config.json", &without_prompt),
        &["1_Pooling/config.json", "leaves out the prompt"],
    );
}
