//! `model export`: the same weights give the same bytes however they are stored; what is in place is complete; each source that
//! cannot be exported is refused in one line. `golden` checks the vectors of the exports.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use half::{bf16, f16};
use rustix::process::{Pid, Signal, kill_process};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::util::{Playground, Ran, limited, repository};

pub const TINY: &str = "fixtures/qwen3-tiny";

/// The start of the name of a folder for unfinished exports, and the lock file.
const UNFINISHED: &str = ".export-";
const LOCK: &str = ".export.lock";

pub const ALL: &str = "fp32,int8,q8,q4,f16,bf16,plain";

/// A tensor of a checkpoint.
#[derive(Clone)]
pub struct Stored {
    pub kind: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Stored {
    /// Returns a tensor of f32 in another type.
    fn to(&self, kind: Dtype) -> Stored {
        let numbers = self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        let bytes = match kind {
            Dtype::F16 => numbers.flat_map(|number| f16::from_f32(number).to_le_bytes()).collect(),
            Dtype::BF16 => numbers.flat_map(|number| bf16::from_f32(number).to_le_bytes()).collect(),
            _ => self.bytes.clone(),
        };
        Stored { kind, bytes, ..self.clone() }
    }
}

pub type Tensors = BTreeMap<String, Stored>;

/// Returns the tensors of the tiny model, which are f32, by their names in the checkpoint.
pub fn tiny() -> Tensors {
    let bytes = fs::read(repository(TINY).join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |tensor: TensorView| Stored {
        kind: tensor.dtype(),
        shape: tensor.shape().to_vec(),
        bytes: tensor.data().to_vec(),
    };
    tensors.iter().map(|(name, tensor)| (name.to_owned(), stored(tensor))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, stored)| {
        (name, TensorView::new(stored.kind, stored.shape.clone(), &stored.bytes).unwrap())
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Makes the folder `name` with the settings and the tokenizer of the tiny model.
fn checkpoint(playground: &Playground, name: &str, tensors: &Tensors) {
    checkpoint_like(TINY, playground, name, tensors);
}

/// Makes the folder `name` with the settings and the tokenizer of the model `fixture`.
pub fn checkpoint_like(fixture: &str, playground: &Playground, name: &str, tensors: &Tensors) {
    for file in ["config.json", "tokenizer.json", "1_Pooling/config.json"] {
        playground.write(&format!("{name}/{file}"), fs::read(repository(fixture).join(file)).unwrap());
    }
    write(&playground.path(name).join("model.safetensors"), tensors);
}

/// Changes a field of `config.json`.
fn configure(playground: &Playground, name: &str, field: &str, value: Value) {
    let path = playground.path(name).join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[field] = value;
    fs::write(path, config.to_string()).unwrap();
}

pub fn export(playground: &Playground, source: &str, target: &str, precision: &str) -> Ran {
    playground.run(&["model", "export", source, target, "--precision", precision])
}

/// Returns the files in the folder of the graphs by name.
pub fn graphs(playground: &Playground, target: &str) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(playground.path(target).join("onnx")).into_iter().flatten().map(Result::unwrap);
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let is_file = entry.path().is_file();
        (name, if is_file { fs::read(entry.path()).unwrap() } else { Vec::new() })
    };
    entries.map(read).collect()
}

/// The same weights give the same bytes, in one file or in several, with and without the start of their names.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_export_has_the_same_bytes_however_the_weights_are_stored() {
    let playground = Playground::new();
    let tensors = tiny();
    checkpoint(&playground, "one", &tensors);
    let without_prefix: Tensors = tensors
        .iter()
        .map(|(name, stored)| (name.trim_start_matches("model.").to_owned(), stored.clone()))
        .collect();
    assert!(tensors.keys().all(|name| name.starts_with("model.")));
    checkpoint(&playground, "shards", &tensors);
    fs::remove_file(playground.path("shards/model.safetensors")).unwrap();
    let mut map = BTreeMap::new();
    for (number, name) in
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"].into_iter().enumerate()
    {
        let part = without_prefix.clone().into_iter().enumerate().filter(|(at, _)| at % 2 == number);
        let part: Tensors = part.map(|(_, tensor)| tensor).collect();
        map.extend(part.keys().map(|tensor| (tensor.clone(), name)));
        write(&playground.path("shards").join(name), &part);
    }
    playground.write("shards/model.safetensors.index.json", json!({"weight_map": map}).to_string());
    export(&playground, "one", "a", ALL).expect(0);
    export(&playground, "shards", "b", ALL).expect(0);
    let made = graphs(&playground, "a");
    assert_eq!(made.len(), 2 * ALL.split(',').count(), "{:?}", made.keys());
    assert!(made == graphs(&playground, "b"));
    for file in ["config.json", "tokenizer.json", "1_Pooling/config.json"] {
        let copied = fs::read(playground.path("a").join(file)).unwrap();
        assert!(copied == fs::read(playground.path("one").join(file)).unwrap(), "{file}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn weights_in_16_bits_give_the_export_of_the_same_numbers_in_32() {
    for kind in [Dtype::F16, Dtype::BF16] {
        let playground = Playground::new();
        let halves: Tensors = tiny().into_iter().map(|(name, stored)| (name, stored.to(kind))).collect();
        let widened = |stored: &Stored| {
            let numbers = stored.bytes.as_chunks().0.iter().map(|bytes| match kind {
                Dtype::F16 => f16::from_le_bytes(*bytes).to_f32(),
                _ => bf16::from_le_bytes(*bytes).to_f32(),
            });
            let bytes = numbers.flat_map(f32::to_le_bytes).collect();
            Stored { kind: Dtype::F32, shape: stored.shape.clone(), bytes }
        };
        checkpoint(&playground, "halves", &halves);
        checkpoint(
            &playground,
            "floats",
            &halves.iter().map(|(name, stored)| (name.clone(), widened(stored))).collect(),
        );
        export(&playground, "halves", "a", ALL).expect(0);
        export(&playground, "floats", "b", ALL).expect(0);
        assert!(graphs(&playground, "a") == graphs(&playground, "b"), "{kind:?}");
    }
}

/// Without a folder to write to, the model's own folder becomes a model folder.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_export_goes_beside_its_weights_unless_another_folder_is_named() {
    let playground = Playground::new();
    checkpoint(&playground, "model", &tiny());
    let ran = playground.run(&["model", "export", "model", "--precision", "q8"]).expect(0);
    assert!(
        ran.stdout.starts_with("q8 ") && ran.stdout.ends_with("model/onnx/model_q8.onnx\n"),
        "{}",
        ran.story
    );
    playground.write("in.jsonl", "{\"id\": \"1\", \"text\": \"one\"}\n");
    let rows = playground.build("in.jsonl", &["--model", "model", "--model-file", "model_q8.onnx"]);
    assert_eq!(rows.len(), 1);
}

/// Newer checkpoints have the base of the frequencies elsewhere.
#[test]
#[ignore = "needs what scripts/test installs"]
fn the_base_of_the_frequencies_is_read_from_rope_parameters_too() {
    let playground = Playground::new();
    for name in ["old", "new"] {
        checkpoint(&playground, name, &tiny());
    }
    configure(&playground, "new", "rope_theta", Value::Null);
    configure(
        &playground,
        "new",
        "rope_parameters",
        json!({"rope_theta": 1_000_000, "rope_type": "default"}),
    );
    for name in ["old", "new"] {
        export(&playground, name, name, "fp32").expect(0);
    }
    assert!(graphs(&playground, "old") == graphs(&playground, "new"));
}

/// Makes a checkpoint that takes some seconds to export. Most of its embeddings, after those of the tokenizer's tokens, are a hole
/// in the file.
fn large(playground: &Playground) {
    const ROWS: usize = 400_000;
    let mut tensors = tiny();
    let rows = tensors.remove("model.embed_tokens.weight").unwrap();
    checkpoint(playground, "large", &tensors);
    configure(playground, "large", "vocab_size", json!(ROWS));
    let path = playground.path("large/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let end = data.len() + ROWS * rows.shape[1] * 4;
    header["model.embed_tokens.weight"] =
        json!({"dtype": "F32", "shape": [ROWS, rows.shape[1]], "data_offsets": [data.len(), end]});
    let header = header.to_string();
    let all = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data, &rows.bytes].concat();
    fs::write(&path, all).unwrap();
    File::options().write(true).open(&path).unwrap().set_len((8 + header.len() + end) as u64).unwrap();
}

/// Returns the names in the folder of the graphs that an unfinished run has left.
fn leftovers(playground: &Playground, target: &str) -> Vec<String> {
    graphs(playground, target).into_keys().filter(|name| name.starts_with('.')).collect()
}

/// Returns the data files in the folders of unfinished runs.
fn unfinished_data(playground: &Playground, target: &str) -> Vec<PathBuf> {
    let folders = leftovers(playground, target).into_iter().filter(|name| name.starts_with(UNFINISHED));
    let files = folders.flat_map(|folder| {
        fs::read_dir(playground.path(target).join("onnx").join(folder)).into_iter().flatten().flatten()
    });
    files.map(|file| file.path()).filter(|path| path.to_string_lossy().ends_with("_data")).collect()
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_killed_export_leaves_nothing_half_made_and_the_next_run_cleans_up() {
    let playground = Playground::new();
    large(&playground);
    export(&playground, "large", "whole", "q8,f16").expect(0);
    let whole = graphs(&playground, "whole");
    for (signal, code) in [(Signal::KILL, None), (Signal::TERM, Some(143)), (Signal::KILL, None)] {
        let old = unfinished_data(&playground, "out");
        let mut child = playground
            .command(&["model", "export", "large", "out", "--precision", "q8,f16"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The data file of this run, not one of the leftovers of the last run.
        let is_writing = || unfinished_data(&playground, "out").iter().any(|path| !old.contains(path));
        while !is_writing() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_millis(100));
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        if signal == Signal::TERM {
            assert_eq!(leftovers(&playground, "out"), [""; 0]);
        }
        for (name, bytes) in graphs(&playground, "out") {
            if name.ends_with(".onnx") {
                assert!(whole[&name] == bytes && playground.path(&format!("out/onnx/{name}_data")).is_file());
            }
        }
    }
    assert_ne!(leftovers(&playground, "out"), [""; 0]);
    export(&playground, "large", "out", "q8,f16").expect(0);
    assert!(graphs(&playground, "out") == whole);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_full_disk_leaves_the_old_export_in_place() {
    let playground = Playground::new();
    checkpoint(&playground, "model", &tiny());
    export(&playground, "model", "out", "fp32").expect(0);
    let before = graphs(&playground, "out");
    let command = playground.command(&["model", "export", "model", "out", "--precision", "fp32"]);
    let ran = playground.output(&mut limited(1000, &command), "").expect(1);
    ran.says("out/onnx/model.onnx_data: cannot be written").says("make room or name another folder");
    assert!(graphs(&playground, "out") == before);
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn a_second_run_waits_for_the_first() {
    let playground = Playground::new();
    checkpoint(&playground, "model", &tiny());
    playground.write(&format!("out/onnx/{LOCK}"), "process 7, since today\n");
    let lock = File::options().write(true).open(playground.path(&format!("out/onnx/{LOCK}"))).unwrap();
    lock.lock().unwrap();
    let mut child = playground
        .command(&["model", "export", "model", "out"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut told).unwrap();
    assert!(
        told.contains("waiting for another run that exports into out/onnx (process 7, since today)"),
        "{told}"
    );
    assert_eq!(graphs(&playground, "out").len(), 1, "only the lock");
    drop(lock);
    assert!(child.wait().unwrap().success());
    assert_eq!(graphs(&playground, "out").into_keys().collect::<Vec<_>>(), ["model.onnx", "model.onnx_data"]);
}

/// Each source that cannot be exported is refused in one line, before anything is written.
#[test]
fn models_that_cannot_be_exported_are_refused_in_one_line() {
    type Spoil = fn(&Playground);
    let cases: [(Spoil, &str); 20] = [
        (
            |playground| fs::remove_file(playground.path("model/config.json")).unwrap(),
            "model: no config.json in it; name the folder of the model's own repository",
        ),
        (|playground| fs::remove_file(playground.path("model/tokenizer.json")).unwrap(), "no tokenizer.json"),
        (
            |playground| fs::remove_file(playground.path("model/model.safetensors")).unwrap(),
            "neither model.safetensors nor model.safetensors.index.json is in it",
        ),
        (
            |playground| {
                fs::remove_file(playground.path("model/model.safetensors")).unwrap();
                let map = json!({"weight_map": {"norm.weight": "model-00001-of-00001.safetensors"}});
                playground.write("model/model.safetensors.index.json", map.to_string());
            },
            "model/model-00001-of-00001.safetensors: is missing; download the model again",
        ),
        (
            |playground| configure(playground, "model", "model_type", json!("bert")),
            "model_type is bert, not qwen3",
        ),
        (
            |playground| {
                configure(playground, "model", "quantization_config", json!({"quant_method": "awq"}));
            },
            "quantized weights (quantization_config)",
        ),
        (
            |playground| configure(playground, "model", "attention_bias", json!(true)),
            "biases (attention_bias)",
        ),
        (
            |playground| {
                configure(playground, "model", "rope_scaling", json!({"type": "yarn", "factor": 4.0}));
            },
            "scaled position embeddings (rope_scaling)",
        ),
        (
            |playground| {
                let parameters = json!({"rope_type": "yarn", "rope_theta": 1e6});
                configure(playground, "model", "rope_parameters", parameters);
            },
            "scaled position embeddings (rope_parameters)",
        ),
        (
            |playground| configure(playground, "model", "use_sliding_window", json!(true)),
            "sliding windows (use_sliding_window)",
        ),
        (
            |playground| configure(playground, "model", "hidden_act", json!("gelu")),
            "another activation than SiLU (hidden_act)",
        ),
        (
            |playground| configure(playground, "model", "rope_theta", Value::Null),
            "neither rope_theta nor rope_parameters is there",
        ),
        (
            |playground| configure(playground, "model", "num_key_value_heads", json!(3)),
            "the sizes of the model do not fit together",
        ),
        (
            |playground| configure(playground, "model", "hidden_size", json!("wide")),
            "config.json: cannot be parsed",
        ),
        (
            |playground| configure(playground, "model", "intermediate_size", json!(128)),
            "layers.0.mlp.down_proj.weight has the shape [64, 96], but config.json says [64, 128]",
        ),
        (
            |playground| {
                let mut tensors = tiny();
                tensors.remove("model.layers.1.self_attn.k_norm.weight").unwrap();
                checkpoint(playground, "model", &tensors);
            },
            "has no tensor layers.1.self_attn.k_norm.weight, which Qwen3 needs",
        ),
        (
            |playground| {
                let mut tensors = tiny();
                let bias = Stored { kind: Dtype::F32, shape: vec![64], bytes: vec![0; 256] };
                tensors.insert("model.layers.0.self_attn.q_proj.bias".to_owned(), bias);
                checkpoint(playground, "model", &tensors);
            },
            "has the bias layers.0.self_attn.q_proj.bias, and biases cannot be exported",
        ),
        (
            |playground| {
                let mut tensors = tiny();
                let weight = tensors.get_mut("model.layers.0.mlp.up_proj.weight").unwrap();
                weight.kind = Dtype::I8;
                weight.bytes.truncate(weight.bytes.len() / 4);
                checkpoint(playground, "model", &tensors);
            },
            "layers.0.mlp.up_proj.weight has the type I8, so the model is quantized",
        ),
        (
            |playground| {
                let modules = json!([{"type": "sentence_transformers.models.Dense"}]);
                playground.write("model/modules.json", modules.to_string());
            },
            "the model has a `Dense` module, which the exports made by this tool lack",
        ),
        (
            |playground| playground.write("model/model.safetensors", "nothing of the kind, but many words"),
            "is no safetensors file",
        ),
    ];
    for (spoil, says) in cases {
        let playground = Playground::new();
        checkpoint(&playground, "model", &tiny());
        spoil(&playground);
        let ran = export(&playground, "model", "out", "fp32").expect(1);
        ran.says(says);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
        assert!(!playground.path("out").exists(), "{}", ran.story);
    }
}

/// A download that broke off ends anywhere in the file.
#[test]
fn a_weights_file_that_is_cut_off_is_refused() {
    let playground = Playground::new();
    checkpoint(&playground, "model", &tiny());
    let path = playground.path("model/model.safetensors");
    let length = fs::metadata(&path).unwrap().len();
    for end in [length - 1, length / 2, 100, 8, 3, 0] {
        File::options().write(true).open(&path).unwrap().set_len(end).unwrap();
        let ran = export(&playground, "model", "out", "fp32").expect(1);
        ran.says("model/model.safetensors: is cut off; download it again");
    }
}

/// The lists of words in options may have commas or spaces, and unknown words are refused.
#[test]
#[ignore = "needs what scripts/test installs"]
fn precisions_are_listed_with_commas_or_spaces() {
    let playground = Playground::new();
    checkpoint(&playground, "model", &tiny());
    let ran = playground.run(&["model", "export", "model", "out", "--precision", "f16", "bf16,q4"]).expect(0);
    assert_eq!(ran.stdout.lines().count(), 3, "{}", ran.story);
    export(&playground, "model", "out", "int4").expect(2).says("use fp32, int8, q8, q4, f16, bf16, plain");
}
