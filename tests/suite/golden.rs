//! Every kind of export gives the same vectors as the Python library transformers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use qwen3_index::model::{
    Device, DeviceChoice, LoadedModel, Model, OnnxEmbedder, Preparation, Resources, Workload,
};
use qwen3_index::text::tokenize::{Encoding, Tokenizer};
use qwen3_index::vector::batch::{Batch, Batching, ChunkKey, plan};
use qwen3_index::vector::embedder::{Embedder, embed};
use serde::Deserialize;

use crate::util::{
    Golden, Playground, cosine, golden, has_dot_products, json_lines, jsonl, our_exports, repository, rows,
    shuffled,
};

/// An export of `fixtures/qwen3-tiny`, the texts that may share a batch, and the minimum cosine.
struct Export(&'static str, Batching, f64);

const FLOAT: f64 = 0.99999;

/// Dimensions of the vectors of `fixtures/qwen3-tiny`.
const WIDTH: usize = 64;

const EXPORTS: [Export; 16] = [
    Export("model.onnx", Batching::AnyLengths, FLOAT),
    Export("model_external.onnx", Batching::AnyLengths, FLOAT),
    Export("model_position_ids.onnx", Batching::AnyLengths, FLOAT),
    Export("model_st.onnx", Batching::AnyLengths, FLOAT),
    Export("model_kv_f32.onnx", Batching::AnyLengths, FLOAT),
    Export("model_kv_f16.onnx", Batching::AnyLengths, FLOAT),
    Export("model_pooled.onnx", Batching::EqualLengths, FLOAT),
    Export("model_pooled_mask.onnx", Batching::AnyLengths, FLOAT),
    Export("model_f16.onnx", Batching::AnyLengths, FLOAT),
    Export("model_bf16.onnx", Batching::AnyLengths, FLOAT),
    Export("model_token_types.onnx", Batching::AnyLengths, FLOAT),
    Export("model_int32.onnx", Batching::AnyLengths, FLOAT),
    Export("model_nan.onnx", Batching::AnyLengths, FLOAT),
    Export("model_batch1.onnx", Batching::Alone, FLOAT),
    // Quantized weights change the vectors, but other texts in the batch must not change them.
    Export("model_quantized.onnx", Batching::Alone, 0.99),
    Export("model_nbits.onnx", Batching::AnyLengths, 0.999),
];

/// Exports of the same weights by `model export`.
const OUR_EXPORTS: [Export; 6] = [
    Export("model.onnx", Batching::AnyLengths, FLOAT),
    Export("model_plain.onnx", Batching::AnyLengths, FLOAT),
    Export("model_f16.onnx", Batching::AnyLengths, 0.9999),
    Export("model_int8.onnx", Batching::AnyLengths, 0.99),
    Export("model_q8.onnx", Batching::AnyLengths, 0.995),
    Export("model_q4.onnx", Batching::AnyLengths, 0.7),
];

fn exports() -> impl Iterator<Item = (PathBuf, &'static Export)> {
    let found = EXPORTS.iter().map(|export| (repository("fixtures/qwen3-tiny"), export));
    found.chain(made_here().map(|export| (our_exports().to_owned(), export)))
}

/// Returns the exports of [`OUR_EXPORTS`] that this processor can run.
fn made_here() -> impl Iterator<Item = &'static Export> {
    OUR_EXPORTS.iter().filter(|Export(file, ..)| *file != "model_int8.onnx" || has_dot_products())
}

/// `scripts/test golden -- --nocapture` prints the table of docs/models.md.
#[test]
#[ignore = "needs what scripts/test installs"]
fn every_export_gives_the_golden_vectors_alone_and_in_batches() {
    let golden = shuffled(golden());
    println!("{:24} {:>12} {:>12} {:>12}  worst cosine", "export", "alone", "mixed", "equal");
    for (folder, Export(file, batching, least)) in exports() {
        let mut worst = [1.0f64; 3];
        for threads in [1, 2] {
            let mut model = load(&folder, file, threads);
            assert_eq!(model.probe.unwrap().batching(), *batching, "{file}: {:?}", model.probe);
            worst[0] = worst[0].min(worst_cosine(&mut model.embedders[0], &golden, |_| 1));
            if *batching == Batching::AnyLengths {
                worst[1] = worst[1].min(worst_cosine(&mut model.embedders[0], &golden, |_| 7));
            }
            if *batching != Batching::Alone {
                let mut sorted = golden.clone();
                sorted.sort_by_key(|golden| golden.ids.len());
                worst[2] = worst[2].min(worst_cosine(&mut model.embedders[0], &sorted, equal_lengths));
            }
        }
        let shown =
            |way: usize, allowed: bool| if allowed { format!("{:.7}", worst[way]) } else { "-".into() };
        println!(
            "{file:24} {:>12} {:>12} {:>12}",
            shown(0, true),
            shown(1, *batching == Batching::AnyLengths),
            shown(2, *batching != Batching::Alone)
        );
        assert!(worst.iter().all(|cosine| cosine > least), "{file}: {worst:?}");
    }
}

/// Returns the number of texts at the start that have the same length as the first text.
fn equal_lengths(golden: &[Golden]) -> usize {
    golden.iter().take_while(|text| text.ids.len() == golden[0].ids.len()).count()
}

fn load(folder: &Path, file: &str, threads: usize) -> LoadedModel {
    open(folder, file).load(&resources(threads), Preparation::Full, &|| Ok(workload(Vec::new()))).unwrap()
}

fn open(folder: &Path, file: &str) -> Model {
    Model::open(folder, Some(file), DeviceChoice::Only(Device::Cpu)).unwrap()
}

fn resources(threads: usize) -> Resources {
    Resources { threads, gpu_memory: None }
}

fn workload(prefix: Vec<u32>) -> Workload {
    Workload { max_tokens: 2048, batch_tokens: None, prefix, is_one_text: false }
}

/// Embeds the texts in batches and returns the lowest cosine. `size` gets the texts that are left and returns the size of
/// the next batch.
fn worst_cosine(embedder: &mut dyn Embedder, golden: &[Golden], size: impl Fn(&[Golden]) -> usize) -> f64 {
    let mut left = golden;
    let mut worst = 1.0f64;
    while !left.is_empty() {
        let (texts, rest) = left.split_at(size(left).min(left.len()));
        left = rest;
        for (key, vector) in embed(embedder, &batch(texts)).unwrap() {
            worst = worst.min(cosine(vector.unwrap().values(), &texts[key.document].vector));
        }
    }
    worst
}

fn batch(texts: &[Golden]) -> Batch {
    let chunks = texts.iter().enumerate();
    let chunks =
        chunks.map(|(document, text)| (ChunkKey { document, chunk: 0 }, Encoding::new(text.ids.clone())));
    Batch::new(chunks.collect())
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn every_export_gives_the_golden_vectors_through_the_binary() {
    let texts: Vec<Golden> =
        shuffled(golden().into_iter().filter(|text| text.instruction.is_none()).collect());
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(texts.iter().map(|text| text.text.as_str())));
    for (folder, Export(file, _, least)) in exports() {
        for threads in ["1", "2"] {
            let model = ["--model", folder.to_str().unwrap(), "--model-file", file];
            let rows = playground.build("in.jsonl", &[&model[..], &["--threads", threads]].concat());
            assert_eq!(rows.len(), texts.len());
            for (row, text) in rows.iter().zip(&texts) {
                assert_eq!(row.text, text.text);
                let cosine = cosine(&row.vector, &text.vector);
                assert!(cosine > *least, "{file}, {threads} threads: {cosine} for {:?}", row.text);
            }
        }
    }
}

#[test]
fn the_tokenizer_gives_the_golden_ids() {
    let path = repository("fixtures/qwen3-tiny/tokenizer.json");
    for text in golden() {
        let mut tokenizer = Tokenizer::load(&path, Some("<|endoftext|>")).unwrap();
        if let Some(instruction) = &text.instruction {
            tokenizer = tokenizer.with_prompt(&format!("Instruct: {instruction}\nQuery:")).unwrap();
        }
        assert_eq!(tokenizer.encode(&text.text).unwrap().ids(), text.ids, "{:?}", text.text);
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn instructions_give_the_golden_vectors() {
    let texts: Vec<Golden> = golden().into_iter().filter(|text| text.instruction.is_some()).collect();
    assert!(!texts.is_empty());
    let playground = Playground::new();
    for model in [&repository("fixtures/qwen3-tiny"), our_exports()] {
        for text in &texts {
            playground.write("in.jsonl", jsonl([text.text.as_str()]));
            let instruction = ["--instruction", text.instruction.as_ref().unwrap()];
            let rows = playground.build(
                "in.jsonl",
                &[&["--rebuild", "--model", model.to_str().unwrap()][..], &instruction].concat(),
            );
            assert_eq!(rows[0].text, text.text, "the instruction is not part of the text");
            assert!(cosine(&rows[0].vector, &text.vector) > FLOAT, "{:?}", text.text);
        }
    }
}

/// Texts of several lengths share batches with the exports of `model export`, and their vectors have the same bits
/// as without batches.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_vector_has_the_same_bits_in_any_batch() {
    let mixed = ["model.onnx", "model_int8.onnx"];
    for Export(file, ..) in made_here().filter(|Export(file, ..)| mixed.contains(file)) {
        let mut embedder = load(our_exports(), file, 2).embedders.remove(0);
        let chunks: Vec<(ChunkKey, Encoding)> = golden()
            .into_iter()
            .enumerate()
            .map(|(document, text)| (ChunkKey { document, chunk: 0 }, Encoding::new(text.ids)))
            .collect();
        let mut vectors = |chunks: &[(ChunkKey, Encoding)], max_tokens| -> BTreeMap<ChunkKey, Vec<f32>> {
            let batches = plan(chunks.to_vec(), embedder.batching(), max_tokens);
            let embedded = batches.iter().flat_map(|batch| embed(&mut embedder, batch).unwrap());
            embedded.map(|(key, vector)| (key, vector.unwrap().into_values().into())).collect()
        };
        let together = vectors(&chunks, 2048);
        assert!(together == vectors(&chunks, 1), "{file}: alone");
        assert!(together == vectors(&chunks, 100), "{file}: in small batches");
        for half in chunks.chunks(chunks.len() / 2) {
            assert!(
                vectors(half, 2048).iter().all(|(key, vector)| together[key] == *vector),
                "{file}: half of them"
            );
        }
        let batches = plan(chunks.clone(), embedder.batching(), 2048);
        let is_mixed = |batch: &Batch| batch.lengths().windows(2).any(|pair| pair[0] != pair[1]);
        assert!(batches.iter().filter(|batch| is_mixed(batch)).count() > 2, "{file}");
    }
}

/// The keys and values of an instruction may be computed once or with each text. Both give the same vectors, for texts of
/// one token and of hundreds of tokens, of equal lengths and padded.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_shared_prefix_gives_the_vectors_of_a_prefix_in_each_text() {
    for Export(file, ..) in made_here() {
        let model = open(our_exports(), file);
        let prompt = "Instruct: Find the rule that answers the question\nQuery:";
        let tokenizer = model.tokenizer().unwrap().with_prompt(prompt).unwrap();
        let golden: Vec<Golden> = golden()
            .into_iter()
            .map(|text| Golden { ids: tokenizer.encode(&text.text).unwrap().ids().to_vec(), ..text })
            .collect();
        let prefix = tokenizer.prefix_ids().unwrap();
        assert!(prefix.len() > 10 && golden.iter().all(|text| text.ids.starts_with(&prefix)));
        let vectors = |embedder: &mut OnnxEmbedder, size| {
            golden
                .chunks(size)
                .flat_map(|texts| embedder.forward(&batch(texts)).unwrap().into_iter())
                .collect::<Vec<f32>>()
        };
        let whole = vectors(&mut load(our_exports(), file, 2).embedders[0], 1);
        let takes_past = !["model_plain.onnx", "model_f16.onnx"].contains(file);
        let prefix = || Ok(workload(prefix.clone()));
        let mut loaded = model.load(&resources(2), Preparation::Full, &prefix).unwrap();
        assert_eq!(loaded.shares_prefix(), takes_past, "{file}");
        let mut embedder = loaded.embedders.remove(0);
        for vectors in [vectors(&mut embedder, 1), vectors(&mut embedder, 5)] {
            for (a, b) in whole.chunks(WIDTH).zip(vectors.chunks(WIDTH)) {
                assert!(cosine(a, b) > FLOAT, "{file}: {}", cosine(a, b));
            }
        }
        // This batch has a text that does not begin with the prefix.
        let other = [Golden { ids: vec![5, 6, 7], ..golden[0].clone() }, golden[1].clone()];
        let alone = embedder.forward(&batch(&other[1..])).unwrap();
        let mixed = embedder.forward(&batch(&other)).unwrap();
        assert!(cosine(alone.row(0).as_slice().unwrap(), mixed.row(1).as_slice().unwrap()) > FLOAT, "{file}");
    }
}

/// A `tokenizer.json` that lacks the end token, truncates texts and pads them gives the same vectors.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_tokenizer_file_with_traps_gives_the_golden_vectors() {
    let playground = Playground::new();
    copy(&repository("fixtures/qwen3-tiny"), &playground.path("model"));
    let path = playground.path("model/tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["post_processor"] = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json["truncation"] =
        serde_json::json!({"max_length": 8, "strategy": "LongestFirst", "stride": 0, "direction": "Right"});
    json["padding"] = serde_json::json!({"strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 557, "pad_type_id": 0, "pad_token": "<|endoftext|>"});
    fs::write(&path, json.to_string()).unwrap();
    let texts: Vec<Golden> = golden().into_iter().filter(|text| text.instruction.is_none()).collect();
    playground.write("in.jsonl", jsonl(texts.iter().map(|text| text.text.as_str())));
    let rows = playground.build("in.jsonl", &["--model", "model"]);
    for (row, text) in rows.iter().zip(&texts) {
        assert!(cosine(&row.vector, &text.vector) > FLOAT, "{:?}", text.text);
    }
}

/// A model of Qwen3 gets last-token pooling, even if the folder has a pooling file that says otherwise.
#[test]
#[ignore = "needs what scripts/test installs"]
fn a_stray_pooling_file_beside_qwen3_is_ignored() {
    let playground = Playground::new();
    copy(&repository("fixtures/qwen3-tiny"), &playground.path("model"));
    playground.write("model/1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#);
    let text = &golden()[7];
    playground.write("in.jsonl", jsonl([text.text.as_str()]));
    let rows = playground.build("in.jsonl", &["--model", "model"]);
    assert!(text.instruction.is_none() && cosine(&rows[0].vector, &text.vector) > FLOAT);
}

#[derive(Deserialize)]
struct BertGolden {
    text: String,
    mean: Vec<f32>,
    cls: Vec<f32>,
}

/// A model of another architecture is pooled as its pooling file says. The file is in `onnx/` or in the folder above.
#[test]
#[ignore = "needs what scripts/test installs"]
fn bert_gives_the_golden_vectors_with_both_poolings() {
    let texts: Vec<BertGolden> = json_lines("fixtures/golden/bert-tiny.jsonl");
    let playground = Playground::new();
    playground.write("in.jsonl", jsonl(texts.iter().map(|text| text.text.as_str())));
    copy(&repository("fixtures/bert-tiny"), &playground.path("model"));
    fs::copy(playground.path("model/config.json"), playground.path("model/onnx/config.json")).unwrap();
    for (config, of) in [
        (r#"{"pooling_mode_mean_tokens": true}"#, (|text| &text.mean) as fn(&BertGolden) -> &Vec<f32>),
        (r#"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#, |text| &text.cls),
    ] {
        playground.write("model/1_Pooling/config.json", config);
        playground.run_anew(&["build", "in.jsonl", "-o", "out.parquet", "--model", "model"]).expect(0);
        for (row, text) in rows(&playground.path("out.parquet")).iter().zip(&texts) {
            assert!(cosine(&row.vector, of(text)) > FLOAT, "{:?}", text.text);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
