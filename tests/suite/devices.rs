//! `--device`: a device that the user names is used, or the run fails and says why.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::util::{Golden, Playground, Ran, cosine, cpu_library, golden, jsonl, our_exports, skip};

const PLAIN: [&str; 4] = ["--device", "openvino", "--model-file", "model_plain.onnx"];

#[cfg(target_arch = "x86_64")]
fn has_bf16() -> bool {
    std::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16() -> bool {
    false
}

/// Runs a build with an environment variable.
fn run(playground: &Playground, more: &[&str], variable: &str, value: &Path) -> Ran {
    let model = our_exports().to_str().unwrap();
    let arguments = [&["build", "in.jsonl", "-o", "out.parquet", "--model", model][..], more].concat();
    playground.output(playground.command(&arguments).env(variable, value), "")
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn openvino_that_cannot_be_used_is_refused_in_one_line() {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["hello"]));
    let refused = |variable, value: &Path, says: &[&str]| {
        let ran = run(&playground, &PLAIN, variable, value).expect(1);
        for part in says {
            ran.says(part);
        }
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
        assert!(!playground.path("out.parquet").exists());
    };
    let nothing = playground.path("nothing");
    if !has_bf16() {
        return refused("XDG_DATA_HOME", &nothing, &["this processor has no bfloat16"]);
    }
    refused(
        "XDG_DATA_HOME",
        &nothing,
        &["no libonnxruntime_providers_openvino.so", "scripts/setup openvino"],
    );
    refused("ORT_DYLIB_PATH", &nothing, &["is not a file", "scripts/setup openvino"]);
    refused(
        "ORT_DYLIB_PATH",
        &cpu_library(),
        &["no libonnxruntime_providers_openvino.so beside it", "scripts/setup openvino"],
    );
    // The folder that remains when the CPU package is installed over the OpenVINO package.
    playground.write("mixed/libonnxruntime_providers_openvino.so", "");
    symlink(cpu_library(), playground.path("mixed/libonnxruntime.so")).unwrap();
    refused(
        "ORT_DYLIB_PATH",
        &playground.path("mixed/libonnxruntime.so"),
        &[
            "was not built for CPU (OpenVINO, bfloat16)",
            "pip uninstall onnxruntime",
            "--no-deps onnxruntime-openvino",
        ],
    );
}

#[test]
fn openvino_computes_in_bfloat16_and_runs_the_whole_graph_or_none() {
    if !has_bf16() {
        return skip("this processor has no bfloat16");
    }
    let playground = Playground::new();
    let texts: Vec<Golden> = golden().into_iter().filter(|text| text.instruction.is_none()).collect();
    playground.write("in.jsonl", jsonl(texts.iter().map(|text| text.text.as_str())));
    let model = ["--model", our_exports().to_str().unwrap()];
    let rows = playground.build("in.jsonl", &[&model[..], &PLAIN].concat());
    let cosines: Vec<f64> =
        rows.iter().zip(&texts).map(|(row, text)| cosine(&row.vector, &text.vector)).collect();
    assert!(cosines.iter().all(|&cosine| cosine > 0.99), "{cosines:?}");
    assert!(cosines.iter().any(|&cosine| cosine < 0.999_999), "not as exact as fp32: {cosines:?}");

    let arguments = [&["build", "in.jsonl", "-o", "out.parquet"][..], &model].concat();
    let again = playground.run(&[&arguments[..], &PLAIN].concat()).expect(0);
    again.says("as before");
    let fp32 = playground.run(&[&arguments[..], &PLAIN[2..]].concat()).expect(1);
    fp32.says("(another precision of the device; the output was made with ");

    let not_plain = playground.run(&[&arguments[..], &PLAIN[..2]].concat()).expect(1);
    not_plain.says("does not support the following ONNX operations: Attention").says("--precision plain");
}
