//! `--device cuda` and `--device auto`. Without a GPU, the tests that need one are skipped; with `GPU_CHECK`
//! set, as by `scripts/gpu_check`, they run in any case. `stand_in.rs` tests too little memory.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;

use crate::util::{Golden, Playground, Ran, cosine, cpu_library, golden, jsonl, our_exports, skip};

const CUDA: [&str; 2] = ["--device", "cuda"];

fn run(playground: &Playground, more: &[&str]) -> Ran {
    playground.run(&[&arguments()[..], more].concat())
}

fn arguments() -> [&'static str; 6] {
    ["build", "in.jsonl", "-o", "out.parquet", "--model", our_exports().to_str().unwrap()]
}

/// Returns whether there is a GPU to test with, even if it does not work.
fn has_gpu() -> bool {
    if env::var_os("GPU_CHECK").is_some() {
        return true;
    }
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["hello"]));
    let ran = run(&playground, &[&CUDA[..], &["--dry-run"]].concat());
    let missing =
        ["no NVIDIA driver", "no CUDA-capable device", "there is no GPU 0", "is not installed", "beside it"];
    !missing.iter().any(|words| ran.stderr.contains(words))
}

macro_rules! needs_gpu {
    () => {
        if !has_gpu() {
            return skip("there is no GPU that CUDA can use");
        }
    };
}

fn texts() -> Vec<Golden> {
    golden().into_iter().filter(|text| text.instruction.is_none()).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn cuda_that_cannot_be_used_is_refused_in_one_line() {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["hello"]));
    let refused = |library: Option<&str>, says: &[&str]| {
        let mut command = playground.command(&[&arguments()[..], &CUDA].concat());
        command.env("XDG_DATA_HOME", playground.path("nothing"));
        if let Some(library) = library {
            command.env("ORT_DYLIB_PATH", playground.path(library));
        }
        let ran = playground.output(&mut command, "").expect(1);
        says.iter().for_each(|part| _ = ran.says(part));
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
        assert!(!playground.path("out.parquet").exists());
    };
    refused(None, &["no libonnxruntime_providers_cuda.so in ", "scripts/setup cuda"]);

    // ONNX Runtime for the CPU, as `scripts/setup` installs it.
    let library = |folder: &str| {
        fs::create_dir(playground.path(folder)).unwrap();
        symlink(cpu_library(), playground.path(&format!("{folder}/libonnxruntime.so"))).unwrap();
        format!("{folder}/libonnxruntime.so")
    };
    let cpu = library("cpu");
    refused(Some(&cpu), &["no libonnxruntime_providers_cuda.so beside it", "scripts/setup cuda"]);

    let auto = run(&playground, &["--device", "auto", "--dry-run"]).expect(0);
    if auto.stderr.contains("no NVIDIA driver") {
        let gpu = library("gpu");
        playground.write("gpu/libonnxruntime_providers_cuda.so", "");
        refused(Some(&gpu), &["no NVIDIA driver: libcuda.so.1 not found", "use --device cpu"]);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn auto_uses_the_gpu_if_there_is_one() {
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["hello"]));
    let ran = run(&playground, &["--device", "auto"]).expect(0);
    match has_gpu() {
        true => ran.says("GPU 0 (CUDA)"),
        false => ran.says(" dimensions, CPU, ").says(" threads\n"),
    };
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_gpu_gives_the_golden_vectors() {
    needs_gpu!();
    let playground = Playground::new();
    let texts = texts();
    playground.write("in.jsonl", jsonl(texts.iter().map(|text| text.text.as_str())));
    let model = ["--model", our_exports().to_str().unwrap()];
    // In bf16 the tiny model is less exact than the real one, for which gpu_check requires 0.9995.
    for (file, least) in [("model.onnx", 0.999_99), ("model_f16.onnx", 0.999_5), ("model_bf16.onnx", 0.999)] {
        for batch_tokens in ["1", "4096"] {
            let more = ["--model-file", file, "--batch-tokens", batch_tokens, "--rebuild"];
            let rows = playground.build("in.jsonl", &[&model[..], &CUDA, &more].concat());
            let cosines = rows.iter().zip(&texts).map(|(row, text)| cosine(&row.vector, &text.vector));
            let worst = cosines.fold(1.0, f64::min);
            println!("{file}, batches of {batch_tokens} tokens: worst cosine {worst:.6}");
            assert!(worst > least, "{file}: {worst}");
        }
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_graph_that_would_run_on_the_cpu_is_refused() {
    needs_gpu!();
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(["hello"]));
    let int8 = ["--model-file", "model_int8.onnx"];
    let ran = run(&playground, &[&CUDA[..], &int8].concat()).expect(1);
    ran.says("CUDA has no kernel for").says("MatMulIntegerToFloat").says("--precision f16");
    run(&playground, &int8).expect(0).says(" dimensions, CPU, ").says("MatMulIntegerToFloat");
    run(&playground, &["--device", "cuda:99"]).expect(1).says("there is no GPU 99");
}
