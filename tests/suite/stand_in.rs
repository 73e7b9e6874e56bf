//! `--device cuda` with ONNX Runtime's own CUDA provider and a stand-in for CUDA (`tests/stand_in/cuda.c`): what goes onto
//! a GPU, memory that is too small, several GPUs. Vectors mean nothing here.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::util::{Playground, Ran, cpu_library, jsonl, our_exports, python, repository, rows};

/// The libraries that the tool loads for a GPU, and that of the driver.
const LIBRARIES: [&str; 15] = [
    "libcuda.so.1",
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libnvrtc.so.13",
    "libcurand.so.10",
    "libcufft.so.12",
    "libcudnn.so.9",
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_adv.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
];

/// ONNX Runtime for GPUs, with the stand-in under all of those names beside it.
fn stand_in() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in");
        _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let library = folder.join("stand-in.so");
        let source = |name: &str| repository("tests/stand_in").join(name);
        let versions = format!("-Wl,--version-script={}", source("cuda.map").display());
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-pthread", &versions, "-o"]).arg(&library).arg(source("cuda.c"));
        assert!(compiler.status().unwrap().success());
        LIBRARIES.iter().for_each(|name| symlink(&library, folder.join(name)).unwrap());
        onnx_runtime(&folder);
        folder
    })
}

fn onnx_runtime(folder: &Path) {
    // Where it is not installed, this says how.
    drop(python("gpu"));
    for file in fs::read_dir(repository("target/python/gpu/onnxruntime/capi")).unwrap().map(Result::unwrap) {
        if file.file_name().to_string_lossy().starts_with("libonnxruntime") {
            symlink(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
}

/// A run with ONNX Runtime and CUDA from a folder.
fn run_in(folder: &Path, playground: &Playground, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
    let libraries = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let library = libraries.filter(|path| path.to_string_lossy().contains("libonnxruntime.so")).min().unwrap();
    let mut command = playground.command(arguments);
    command.env("ORT_DYLIB_PATH", library).env("LD_LIBRARY_PATH", folder).envs(settings.iter().copied());
    playground.output(&mut command, "")
}

fn run(playground: &Playground, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
    run_in(stand_in(), playground, arguments, settings)
}

const BUILD: [&str; 5] = ["build", "in.jsonl", "-o", "out.parquet", "--rebuild"];

/// This tool's export.
fn model(file: &str) -> [&str; 4] {
    ["--model", our_exports().to_str().unwrap(), "--model-file", file]
}

fn build(playground: &Playground, more: &[&str], settings: &[(&str, &str)]) -> Ran {
    run(playground, &[&BUILD[..], &model("model_f16.onnx"), more].concat(), settings)
}

const CUDA: [&str; 2] = ["--device", "cuda"];

/// Of 8 to 520 tokens.
fn documents(playground: &Playground, count: usize) {
    let texts: Vec<String> = (0..count).map(|n| format!("{n} {}", "and so on ".repeat(1 + n % 128))).collect();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
}

#[test]
fn graphs_are_on_the_gpu_or_refused() {
    let playground = Playground::new();
    documents(&playground, 5);
    for file in ["model_f16.onnx", "model_bf16.onnx"] {
        let ran = run(&playground, &[&BUILD[..], &model(file), &CUDA].concat(), &[]).expect(0);
        ran.says("GPU 0 by CUDA, Stand-in 0, ");
        // Reckoning with shapes stays on the CPU.
        let share = ran.stderr.split_once("Stand-in 0, ").unwrap().1.split_once(" nodes").unwrap().0;
        let (on_gpu, all) = share.split_once(" of ").unwrap();
        let (on_gpu, all): (u32, u32) = (on_gpu.parse().unwrap(), all.parse().unwrap());
        assert!(all - on_gpu < 10 && all > 60, "{}", ran.story);
    }
    // CUDA has no kernels for these.
    let elsewhere =
        [("model_kv_f32.onnx", "2 GroupQueryAttention"), ("model_quantized.onnx", "14 MatMulInteger")];
    for (file, heavy) in elsewhere {
        let tiny = [&BUILD[..], &["--model-file", file]].concat();
        let refused = run(&playground, &[&tiny[..], &CUDA].concat(), &[]).expect(1);
        refused.says(&format!("CUDA has no kernel for {heavy}, which would run on the CPU"));
        let auto = run(&playground, &tiny, &[]).expect(0);
        auto.says(" numbers a vector, CPU, ").says(heavy);
    }
}

#[test]
fn batches_are_as_large_as_the_memory_allows() {
    let playground = Playground::new();
    let budget = |mib: &str| -> usize {
        let doctor = [&["doctor"], &model("model_f16.onnx")[..], &CUDA].concat();
        let ran = run(&playground, &doctor, &[("STAND_IN_MIB", mib)]);
        let budget = ran.stdout.split_once("go together, up to ").unwrap().1.split_once(" tokens").unwrap().0;
        budget.replace(',', "").parse().unwrap()
    };
    let (all, half, little) = (budget("8192"), budget("32"), budget("12"));
    assert_eq!(all, 32 << 10);
    assert!(all > half && half > little && little >= 2048, "{all}, {half}, {little}");
}

#[test]
fn memory_that_is_too_small_costs_time_before_it_costs_documents() {
    let playground = Playground::new();
    documents(&playground, 2000);
    // Planned by what fits, nothing is too large.
    let planned = build(&playground, &CUDA, &[("STAND_IN_MIB", "16")]).expect(0);
    assert!(!planned.stderr.contains("too small"), "{}", planned.story);
    // A text fits that has the memory for itself, which was taken in pieces for smaller ones before.
    build(&playground, &CUDA, &[("STAND_IN_MIB", "4")]).expect(0);
    assert_eq!(rows(&playground.path("out.parquet")).len(), 2000);
    let too_large = [&CUDA[..], &["--batch-tokens", "131072"]].concat();
    let ran = build(&playground, &too_large, &[("STAND_IN_MIB", "24")]).expect(0);
    ran.says("the memory of the device is too small for such batches: from here on they have ");
    assert_eq!(rows(&playground.path("out.parquet")).len(), 2000);

    // What does not fit alone is a failure of its own; the old file would have a row for it.
    fs::remove_file(playground.path("out.parquet")).unwrap();
    let ran = build(&playground, &CUDA, &[("STAND_IN_MIB", "3")]).expect(3);
    ran.says(" tokens at once are more than the memory of the device holds; lower --max-tokens");
    let embedded = rows(&playground.path("out.parquet"));
    assert!((200..2000).contains(&embedded.len()), "{}", embedded.len());
    assert!(embedded.iter().any(|row| row.text.len() < 20), "short ones fit");
}

#[test]
fn a_model_that_is_too_large_is_refused_in_one_line() {
    let playground = Playground::new();
    documents(&playground, 5);
    let refused = build(&playground, &CUDA, &[("STAND_IN_MIB", "1")]).expect(1);
    refused.says("the memory of GPU 0 is too small for it: free some");
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.story);
    let auto = build(&playground, &[], &[("STAND_IN_MIB", "1")]).expect(0);
    auto.says(" numbers a vector, CPU, ").says("the memory of GPU 0 is too small");
}

#[test]
fn several_gpus_share_the_work() {
    let playground = Playground::new();
    documents(&playground, 2000);
    let two = [("STAND_IN_GPUS", "2")];
    let ran = build(&playground, &["--device", "cuda:0,1"], &two).expect(0);
    ran.says("GPU 0, 1 by CUDA, Stand-in 0, Stand-in 1, ");
    let embedded = rows(&playground.path("out.parquet"));
    assert_eq!(embedded.len(), 2000);
    build(&playground, &["--device", "cuda:1"], &two).expect(0).says("GPU 1 by CUDA, Stand-in 1, ");
    assert_eq!(rows(&playground.path("out.parquet")), embedded);
    build(&playground, &["--device", "cuda:2"], &two).expect(1).says("there is no GPU 2: NVIDIA's driver has 2");
}

#[test]
fn what_is_wrong_with_a_driver_or_a_library_is_said_in_one_line() {
    let playground = Playground::new();
    documents(&playground, 5);
    let arguments = ["build", "in.jsonl", "-o", "out.parquet", "--device", "cuda"];
    let refused = |folder: &Path, settings: &[(&str, &str)], says: &[&str]| {
        let ran = run_in(folder, &playground, &arguments, settings).expect(1);
        says.iter().for_each(|part| _ = ran.says(part));
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
    };
    refused(stand_in(), &[("STAND_IN_ERROR", "803")], &["NVIDIA's driver says: system has unsupported display driver"]);
    refused(stand_in(), &[("STAND_IN_GPUS", "0")], &["there is no GPU 0", "use --device cpu"]);

    let folder = |name: &str| {
        let folder = playground.path(name);
        fs::create_dir(&folder).unwrap();
        LIBRARIES.iter().for_each(|name| symlink(stand_in().join(name), folder.join(name)).unwrap());
        folder
    };
    let missing = folder("missing");
    onnx_runtime(&missing);
    fs::remove_file(missing.join("libcublas.so.13")).unwrap();
    refused(&missing, &[], &["libcublas.so.13 cannot be loaded", "CUDA 13", "scripts/setup cuda"]);

    // `pip install onnxruntime` over `onnxruntime-gpu`.
    let other = folder("other");
    symlink(cpu_library(), other.join("libonnxruntime.so")).unwrap();
    fs::write(other.join("libonnxruntime_providers_cuda.so"), "").unwrap();
    refused(&other, &[], &["is not for GPU 0 by CUDA", "pip install --force-reinstall --no-deps onnxruntime-gpu"]);
}
