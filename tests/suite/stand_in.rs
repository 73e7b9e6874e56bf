//! `--device cuda` with ONNX Runtime's CUDA provider over a stand-in for CUDA (`tests/stand_in/cuda.c`): which nodes run on a
//! GPU, too little memory, several GPUs. The stand-in computes nothing, so the vectors mean nothing.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::checkpoints::write_checkpoint;
use crate::util::{Playground, Ran, cpu_library, jsonl, our_exports, python, repository, rows};

/// The two file names of the driver's library.
const DRIVER: [&str; 2] = ["libcuda.so.1", "libcuda.so"];

/// The other libraries that the tool loads for a GPU. They are empty, except for the first of cuDNN: the stand-in for the
/// driver has their functions.
const CUDA_LIBRARIES: [&str; 6] = [
    "libcudart.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libnvrtc.so.13",
    "libcurand.so.10",
    "libcufft.so.12",
];
const CUDNN_LIBRARIES: [&str; 8] = [
    "libcudnn.so.9",
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_adv.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
];

/// Returns a folder with ONNX Runtime for GPUs, the stand-in and the other libraries.
fn stand_in() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stand-in");
        _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let compile = |name: &str, more: &[&str]| {
            let mut compiler = Command::new("cc");
            compiler.args([
                "-shared",
                "-fPIC",
                "-pthread",
                "-xc",
                &format!("-Wl,-soname,{name}"),
                "-o",
                name,
            ]);
            assert!(compiler.args(more).current_dir(&folder).status().unwrap().success());
        };
        let source = |name: &str| repository("tests/stand_in").join(name).display().to_string();
        let versions = format!("-Wl,--version-script={}", source("cuda.map"));
        compile(DRIVER[0], &[&versions, &source("cuda.c")]);
        symlink(DRIVER[0], folder.join(DRIVER[1])).unwrap();
        compile(CUDNN_LIBRARIES[0], &[&source("cudnn.c")]);
        CUDA_LIBRARIES.iter().chain(&CUDNN_LIBRARIES[1..]).for_each(|name| compile(name, &["/dev/null"]));
        onnx_runtime(&folder);
        folder
    })
}

fn link(libraries: &[&str], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    libraries.iter().for_each(|name| symlink(stand_in().join(name), folder.join(name)).unwrap());
}

fn onnx_runtime(folder: &Path) {
    // Panics with advice if the packages are not installed.
    drop(python("gpu"));
    for file in fs::read_dir(repository("target/python/gpu/onnxruntime/capi")).unwrap().map(Result::unwrap) {
        if file.file_name().to_string_lossy().starts_with("libonnxruntime") {
            symlink(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
}

/// Runs with the ONNX Runtime of a folder. The CUDA libraries come from this folder, unless the settings name another one.
fn run_in(folder: &Path, playground: &Playground, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
    let libraries = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let library =
        libraries.filter(|path| path.to_string_lossy().contains("libonnxruntime.so")).min().unwrap();
    let mut command = playground.command(arguments);
    command.env("ORT_DYLIB_PATH", library).env("LD_LIBRARY_PATH", folder).envs(settings.iter().copied());
    playground.output(&mut command, "")
}

fn run(playground: &Playground, arguments: &[&str], settings: &[(&str, &str)]) -> Ran {
    run_in(stand_in(), playground, arguments, settings)
}

const BUILD: [&str; 5] = ["build", "in.jsonl", "-o", "out.parquet", "--rebuild"];

/// Returns the options for an export of `model export`.
fn model(file: &str) -> [&str; 4] {
    ["--model", our_exports().to_str().unwrap(), "--model-file", file]
}

fn build(playground: &Playground, more: &[&str], settings: &[(&str, &str)]) -> Ran {
    run(playground, &[&BUILD[..], &model("model_f16.onnx"), more].concat(), settings)
}

const CUDA: [&str; 2] = ["--device", "cuda"];

/// Writes this many documents of 8 to 520 tokens.
fn documents(playground: &Playground, count: usize) {
    let texts: Vec<String> =
        (0..count).map(|n| format!("{n} {}", "and so on ".repeat(1 + n % 128))).collect();
    playground.write("in.jsonl", jsonl(texts.iter().map(String::as_str)));
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn graphs_run_on_the_gpu_or_are_refused() {
    let playground = Playground::new();
    documents(&playground, 5);
    for file in ["model_f16.onnx", "model_bf16.onnx"] {
        let ran = run(&playground, &[&BUILD[..], &model(file), &CUDA].concat(), &[]).expect(0);
        ran.says("GPU 0 (CUDA), Stand-in 0, ");
        // The nodes that compute shapes run on the CPU.
        let share = ran.stderr.split_once("Stand-in 0, ").unwrap().1.split_once(" nodes").unwrap().0;
        let (on_gpu, all) = share.split_once(" of ").unwrap();
        let (on_gpu, all): (u32, u32) = (on_gpu.parse().unwrap(), all.parse().unwrap());
        assert!(all - on_gpu < 10 && all > 60, "{}", ran.story);
    }
    // Without --device, a GPU is used.
    let ran = build(&playground, &["-v"], &[]).expect(0);
    ran.says("debug: device GPU 0 (CUDA), Stand-in 0, ").says(" nodes on the GPU: the first GPU can be used");
    // This graph takes one text at a time.
    let one = [&BUILD[..], &["--model-file", "model_batch1.onnx"], &CUDA].concat();
    run(&playground, &one, &[]).expect(0).says("GPU 0 (CUDA), Stand-in 0, ");
    // CUDA has no kernels for these.
    let elsewhere =
        [("model_kv_f32.onnx", "2 GroupQueryAttention"), ("model_quantized.onnx", "14 MatMulInteger")];
    for (file, heavy) in elsewhere {
        let tiny = [&BUILD[..], &["--model-file", file]].concat();
        let refused = run(&playground, &[&tiny[..], &CUDA].concat(), &[]).expect(1);
        refused.says(&format!("CUDA has no kernel for {heavy}, which would run on the CPU"));
        let auto = run(&playground, &[&tiny[..], &["-v"]].concat(), &[]).expect(0);
        auto.says(" dimensions, CPU, ").says(" threads: no GPU can be used: ").says(heavy);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn batches_are_as_large_as_the_memory_allows() {
    let playground = Playground::new();
    let budget = |mib: &str| -> usize {
        let doctor = [&["doctor"], &model("model_f16.onnx")[..], &CUDA].concat();
        let ran = run(&playground, &doctor, &[("STAND_IN_MIB", mib)]);
        let budget = ran.stdout.split_once(", up to ").unwrap().1.split_once(" tokens").unwrap().0;
        budget.replace(',', "").parse().unwrap()
    };
    let (all, half, little) = (budget("8192"), budget("32"), budget("12"));
    assert_eq!(all, 32 << 10);
    assert!(all > half && half > little && little >= 2048, "{all}, {half}, {little}");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn only_limits_of_memory_and_kernels_make_batches_smaller() {
    let playground = Playground::new();
    documents(&playground, 5);
    // Eight vectors of 64 numbers.
    let largest = ("STAND_IN_LARGEST", "2048");
    let doctor = [&["doctor"], &model("model_f16.onnx")[..], &CUDA].concat();
    let ran = run(&playground, &doctor, &[largest]);
    assert!(ran.stdout.contains("up to 16,384 tokens per batch"), "{}", ran.story);
    // Within the limit on tokens, a batch of short texts has more results.
    let short: Vec<String> = (100..400).map(|n| format!("{n} and so on")).collect();
    playground.write("in.jsonl", jsonl(short.iter().map(String::as_str)));
    let ran = build(&playground, &CUDA, &[largest]).expect(0);
    ran.says("a batch of this size is too large for the device: from now on, a batch has at most ");
    assert_eq!(rows(&playground.path("out.parquet")).len(), 300);
    // CUDA's error 700 is an illegal access to memory.
    let failed = build(&playground, &CUDA, &[largest, ("STAND_IN_FAILURE", "700")]).expect(1);
    failed.says("failed on 16 texts of 2048 tokens: CUDA failure 700");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn too_little_memory_makes_batches_smaller_before_documents_fail() {
    let playground = Playground::new();
    documents(&playground, 2000);
    // By default, batches are planned so that they fit into the memory.
    let planned = build(&playground, &CUDA, &[("STAND_IN_MIB", "16")]).expect(0);
    assert!(!planned.stderr.contains("too large for the device"), "{}", planned.story);
    // A long text fits although ONNX Runtime has split the memory into blocks for shorter texts before.
    build(&playground, &CUDA, &[("STAND_IN_MIB", "5")]).expect(0);
    assert_eq!(rows(&playground.path("out.parquet")).len(), 2000);
    let too_large = [&CUDA[..], &["--batch-tokens", "131072"]].concat();
    let ran = build(&playground, &too_large, &[("STAND_IN_MIB", "24")]).expect(0);
    ran.says("a batch of this size is too large for the device: from now on, a batch has at most ");
    assert_eq!(rows(&playground.path("out.parquet")).len(), 2000);

    // A text that does not fit alone fails. The old output has a row for it, so the test removes that output.
    fs::remove_file(playground.path("out.parquet")).unwrap();
    let ran = build(&playground, &CUDA, &[("STAND_IN_MIB", "3")]).expect(3);
    ran.says(" tokens do not fit into the memory of the device; lower --max-tokens");
    let embedded = rows(&playground.path("out.parquet"));
    assert!((200..2000).contains(&embedded.len()), "{}", embedded.len());
    assert!(embedded.iter().any(|row| row.text.len() < 20), "no short text has a row");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_model_that_is_too_large_is_refused_in_one_line() {
    let playground = Playground::new();
    documents(&playground, 5);
    let refused = build(&playground, &CUDA, &[("STAND_IN_MIB", "1")]).expect(1);
    refused.says("cannot be loaded: not enough memory on the device; free memory");
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.story);
    let auto = build(&playground, &[], &[("STAND_IN_MIB", "1")]).expect(0);
    auto.says(" dimensions, CPU, ").says("not enough memory on the device");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn weights_are_exported_in_a_precision_that_suits_the_gpu() {
    let playground = Playground::new();
    documents(&playground, 5);
    write_checkpoint(&playground, "model");
    let home = playground.path("hf");
    let build = |more: &[&str], settings: &[(&str, &str)]| {
        let arguments = [&["build", "in.jsonl", "-o", "out.parquet", "--model", "model"], more].concat();
        run(&playground, &arguments, &[&[("HF_HOME", home.to_str().unwrap())], settings].concat())
    };
    build(&[], &[]).expect(0).says("model model (model_bf16.onnx), 64 dimensions, GPU 0 (CUDA), ");
    // A night without the GPU, or without enough memory on it, does not embed all texts again in fp32.
    let refused = build(&[], &[("STAND_IN_GPUS", "0")]).expect(1);
    refused
        .says("model model: bf16 runs on a GPU only (there is no GPU 0")
        .says("; run again when the GPU is back, or");
    let search = ["search", "out.parquet", "hello", "--model", "model", "--device", "cpu"];
    let refused = run(&playground, &search, &[("HF_HOME", home.to_str().unwrap())]).expect(1);
    refused.says(
        "bf16 runs on a GPU only; search on a machine with a GPU, or build the index with --precision f16",
    );
    build(&["--batch-tokens", "64", "--rebuild"], &[("STAND_IN_MIB", "1")])
        .expect(1)
        .says("not enough memory on the device");
    // A GPU before Ampere has no bfloat16.
    let old = build(&["--rebuild"], &[("STAND_IN_MAJOR", "7")]).expect(0);
    old.says("model model (model_f16.onnx), 64 dimensions, GPU 0 (CUDA), ");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn several_gpus_share_the_work() {
    let playground = Playground::new();
    documents(&playground, 2000);
    let two = [("STAND_IN_GPUS", "2")];
    let counted = [two[0], ("STAND_IN_RESULTS", "results")];
    let ran = build(&playground, &["--device", "cuda:0,1", "--batch-tokens", "2048"], &counted).expect(0);
    ran.says("GPU 0, 1 (CUDA), Stand-in 0, Stand-in 1, ");
    assert_eq!(rows(&playground.path("out.parquet")).len(), 2000);
    let results = fs::read_to_string(playground.path("results")).unwrap();
    let results: Vec<u32> = results.lines().map(|line| line.parse().unwrap()).collect();
    assert!(results.len() == 2 && results.iter().all(|&count| count > 20), "{results:?}");
    build(&playground, &["--device", "cuda:1"], &two).expect(0).says("GPU 1 (CUDA), Stand-in 1, ");
    assert_eq!(rows(&playground.path("out.parquet")).len(), 2000);
    build(&playground, &["--device", "cuda:2"], &two)
        .expect(1)
        .says("there is no GPU 2: the NVIDIA driver lists 2");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn cuda_may_be_in_python_packages_or_in_the_system() {
    let playground = Playground::new();
    documents(&playground, 5);
    let system = stand_in().to_str().unwrap();
    let arguments = [&BUILD[..], &model("model_f16.onnx"), &CUDA].concat();

    let packages = playground.path("site-packages");
    let driver = packages.join("driver");
    link(&DRIVER, &driver);
    link(&CUDA_LIBRARIES, &packages.join("nvidia/cu13/lib"));
    link(&CUDNN_LIBRARIES, &packages.join("nvidia/cudnn/lib"));
    let capi = packages.join("onnxruntime/capi");
    fs::create_dir_all(&capi).unwrap();
    onnx_runtime(&capi);
    let only_driver = [("LD_LIBRARY_PATH", driver.to_str().unwrap())];
    run_in(&capi, &playground, &arguments, &only_driver).expect(0).says("GPU 0 (CUDA)");

    let alone = playground.path("alone");
    fs::create_dir(&alone).unwrap();
    onnx_runtime(&alone);
    run_in(&alone, &playground, &arguments, &[("LD_LIBRARY_PATH", system)]).expect(0).says("GPU 0 (CUDA)");

    // A bundle contains the libraries of ONNX Runtime and of CUDA.
    let bundle = [&["model", "bundle", "bundle"], &model("model_f16.onnx")[..], &CUDA].concat();
    run_in(&capi, &playground, &bundle, &only_driver).expect(0);
    let bundled = playground.path("bundle");
    run_in(&bundled, &playground, &arguments, &only_driver).expect(0).says("GPU 0 (CUDA)");
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn faults_of_driver_and_libraries_are_reported_in_one_line() {
    let playground = Playground::new();
    documents(&playground, 5);
    let arguments = ["build", "in.jsonl", "-o", "out.parquet", "--device", "cuda"];
    let refused = |folder: &Path, settings: &[(&str, &str)], says: &[&str]| {
        let ran = run_in(folder, &playground, &arguments, settings).expect(1);
        says.iter().for_each(|part| _ = ran.says(part));
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
    };
    refused(
        stand_in(),
        &[("STAND_IN_ERROR", "803")],
        &["the NVIDIA driver reports: system has unsupported display driver"],
    );
    let old = "cannot be loaded: CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version; check that the NVIDIA driver has version 580 or newer";
    refused(stand_in(), &[("STAND_IN_OLD", "1")], &[old]);
    refused(stand_in(), &[("STAND_IN_GPUS", "0")], &["there is no GPU 0", "use --device cpu"]);

    let missing = playground.path("missing");
    link(&DRIVER, &missing);
    link(&CUDA_LIBRARIES[..1], &missing);
    onnx_runtime(&missing);
    refused(&missing, &[], &["libcublasLt.so.13 cannot be loaded", "CUDA 13", "scripts/setup cuda"]);

    let broken = playground.path("broken");
    link(&DRIVER, &broken);
    link(&CUDA_LIBRARIES, &broken);
    symlink(stand_in().join(CUDA_LIBRARIES[0]), broken.join(CUDNN_LIBRARIES[0])).unwrap();
    link(&CUDNN_LIBRARIES[1..], &broken);
    onnx_runtime(&broken);
    refused(
        &broken,
        &[],
        &["cannot be loaded: cuDNN is unavailable", "driver has version 580", "scripts/setup cuda"],
    );

    // The folder that remains after `pip install onnxruntime` over `onnxruntime-gpu`.
    let other = playground.path("other");
    link(&DRIVER, &other);
    symlink(cpu_library(), other.join("libonnxruntime.so")).unwrap();
    fs::write(other.join("libonnxruntime_providers_cuda.so"), "").unwrap();
    refused(
        &other,
        &[],
        &["was not built for GPU 0 (CUDA)", "pip install --force-reinstall --no-deps onnxruntime-gpu"],
    );
}
