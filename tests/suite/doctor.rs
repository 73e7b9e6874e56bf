//! `doctor` names each kind of broken setup that users report, and says what to do.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::util::{Playground, cosine, jsonl, repository};

/// Runs `doctor --json`. Returns state and detail of the last finding on `what`.
fn said(playground: &Playground, command: &mut Command, what: &str, code: i32) -> (String, String) {
    let ran = playground.output(command.arg("--json"), "").expect(code);
    assert_eq!(ran.stderr, "", "{}", ran.story);
    let findings: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let finding = findings.iter().rfind(|finding| finding["what"] == what);
    let finding = finding.unwrap_or_else(|| panic!("{what}{}", ran.story));
    (finding["state"].as_str().unwrap().to_owned(), finding["detail"].as_str().unwrap().to_owned())
}

#[track_caller]
fn assert_said(found: (String, String), state: &str, parts: &[&str]) {
    assert_eq!(found.0, state, "{}", found.1);
    assert!(parts.iter().all(|part| found.1.contains(part)), "{parts:?} in {}", found.1);
}

/// Copies the tiny model, so that the test can damage the copy.
fn copy(playground: &Playground) {
    for name in [
        "config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
        "onnx/model_external.onnx",
        "onnx/model_external.onnx_data",
    ] {
        playground
            .write(&format!("model/{name}"), fs::read(repository("fixtures/qwen3-tiny").join(name)).unwrap());
    }
    fs::rename(playground.path("model/onnx/model_external.onnx"), playground.path("model/onnx/model.onnx"))
        .unwrap();
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_good_model_passes_every_check() {
    let playground = Playground::new();
    let ran = playground.run(&["doctor", "--device", "cpu"]).expect(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    let (findings, verdict) = lines.split_at(10);
    assert!(findings.iter().all(|line| line.starts_with("     ok  ")), "{}", ran.story);
    assert_eq!(verdict, ["", "ready"], "{}", ran.story);
    assert!(lines[3].ends_with(", built for CPU") && lines[8].contains(" tokens/s"), "{}", ran.story);
    // This model takes at most 64 tokens.
    let bert = repository("fixtures/bert-tiny");
    playground.run(&["doctor", "--model", bert.to_str().unwrap()]).expect(0);
}

/// torch exports one row of angles for all texts, which ONNX Runtime accepts for one text only.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_export_of_torch_at_opset_23_is_repaired() {
    let playground = Playground::new();
    copy(&playground);
    playground.write("model/onnx/model.onnx", fs::read(repository("fixtures/one-text/model.onnx")).unwrap());
    let mut doctor = playground.command(&["doctor", "--model", "model", "--device", "cpu"]);
    let found = said(&playground, &mut doctor, "batching", 0);
    assert_said(found, "ok", &["batches of texts of any length"]);

    let texts = ["The mast is high.", "Rain fell again.", "a", "The mast fell again, and the rain is high."];
    playground.write("in.jsonl", jsonl(texts));
    let together = playground.build("in.jsonl", &["--model", "model"]);
    for (row, text) in together.iter().zip(texts) {
        playground.write("one.jsonl", jsonl([text]));
        let alone = playground.build("one.jsonl", &["--model", "model"]);
        assert!(cosine(&row.vector, &alone[0].vector) > 0.99999, "{text}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn each_broken_setup_is_named() {
    let playground = Playground::new();
    copy(&playground);
    let doctor = |more: &[&str]| playground.command(&[&["doctor", "--model", "model"], more].concat());
    let check = |command: &mut Command, what: &str, code: i32, state: &str, parts: &[&str]| {
        assert_said(said(&playground, command, what, code), state, parts);
    };
    check(&mut doctor(&[]), "model", 0, "ok", &["model.onnx, "]);

    // No runtime, no runtime for CUDA, and a file that is not a runtime.
    let nowhere = |more: &[&str]| {
        let mut command = doctor(more);
        for name in [
            "HOME",
            "XDG_DATA_HOME",
            "PATH",
            "VIRTUAL_ENV",
            "CONDA_PREFIX",
            "LD_LIBRARY_PATH",
            "ORT_DYLIB_PATH",
        ] {
            command.env(name, if name == "ORT_DYLIB_PATH" { "" } else { "/nonexistent" });
        }
        command
    };
    check(
        &mut nowhere(&["--device", "cpu"]),
        "runtime",
        1,
        "failure",
        &["is not installed", "scripts/setup"],
    );
    check(
        &mut nowhere(&["--device", "cuda"]),
        "runtime",
        1,
        "failure",
        &["libonnxruntime_providers_cuda.so", "scripts/setup cuda"],
    );
    playground.write("libonnxruntime.so", "no library");
    let mut broken = doctor(&["--device", "cpu"]);
    let broken = broken.env("ORT_DYLIB_PATH", playground.path("libonnxruntime.so"));
    check(broken, "runtime", 1, "failure", &["libonnxruntime.so", "1.23 or newer is required"]);

    // The active virtual environment has a package that is too old.
    let packages = playground.path("venv/lib/python3.12/site-packages");
    fs::create_dir_all(packages.parent().unwrap()).unwrap();
    symlink(repository("target/python/old"), packages).unwrap();
    let mut old = nowhere(&["--device", "cpu"]);
    check(
        old.env("VIRTUAL_ENV", playground.path("venv")),
        "runtime",
        1,
        "failure",
        &[
            "venv/lib/python3.12/site-packages/onnxruntime/capi/libonnxruntime",
            "'1.22.1'",
            "ONNX Runtime 1.23 or newer is required",
            "`pip install --upgrade onnxruntime`",
        ],
    );

    // A tokenizer that does not append the end token, and one that does not know it.
    let tokenizer = fs::read_to_string(playground.path("model/tokenizer.json")).unwrap();
    let mut parsed: Value = serde_json::from_str(&tokenizer).unwrap();
    parsed["post_processor"] = Value::Null;
    playground.write("model/tokenizer.json", parsed.to_string());
    check(
        &mut doctor(&[]),
        "tokenizer",
        0,
        "warning",
        &["does not append <|endoftext|>", "this tool appends the token"],
    );
    playground.write("model/tokenizer.json", tokenizer.replace("<|endoftext|>", "<|other|>"));
    check(&mut doctor(&[]), "model", 1, "failure", &["no token <|endoftext|>"]);
    playground.write("model/tokenizer.json", &tokenizer);

    playground.write("model/1_Pooling/config.json", json!({"pooling_mode_mean_tokens": true}).to_string());
    check(
        &mut doctor(&[]),
        "pooling",
        0,
        "warning",
        &["the last token; ", "1_Pooling/config.json names another pooling"],
    );
    let ran = playground.output(&mut doctor(&[]), "").expect(0);
    assert!(ran.stdout.ends_with("\nready, with 1 warning (pooling)\n"), "{}", ran.story);
    fs::remove_file(playground.path("model/1_Pooling/config.json")).unwrap();

    // Parts of the model are missing or cut.
    let data = fs::read(playground.path("model/onnx/model_external.onnx_data")).unwrap();
    playground.write("model/onnx/model_external.onnx_data", &data[..data.len() / 2]);
    check(&mut doctor(&[]), "graph", 1, "failure", &["model.onnx: cannot be loaded"]);
    check(&mut doctor(&[]), "runtime", 1, "ok", &["built for CPU"]);
    fs::remove_file(playground.path("model/onnx/model_external.onnx_data")).unwrap();
    check(
        &mut doctor(&[]),
        "model",
        1,
        "failure",
        &["model_external.onnx_data: contains weights of ", "download this file too"],
    );
    playground.write(
        "model/onnx/model.onnx",
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    );
    check(&mut doctor(&[]), "model", 1, "failure", &["only a Git LFS pointer", "git lfs pull"]);
    fs::remove_file(playground.path("model/onnx/model.onnx")).unwrap();
    check(&mut doctor(&[]), "model", 1, "failure", &["no model.onnx"]);
    // The runtime is examined without a model too.
    check(&mut doctor(&[]), "runtime", 1, "ok", &["built for CPU"]);
    check(&mut nowhere(&["--device", "cpu"]), "model", 1, "failure", &["no model.onnx"]);
    check(&mut nowhere(&["--device", "cpu"]), "runtime", 1, "failure", &["is not installed"]);
    let ran = playground.output(&mut nowhere(&["--device", "cpu"]), "").expect(1);
    assert!(ran.stdout.ends_with("\nnot ready: 2 failures (model, runtime)\n"), "{}", ran.story);

    let mut int8 = playground.command(&["doctor", "--model-file", "model_quantized.onnx"]);
    check(
        &mut int8,
        "batching",
        0,
        "warning",
        &["changes with the other texts of its batch (cosine 0.9", "slow"],
    );
}
