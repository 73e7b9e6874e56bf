//! How far exports are from fp32: outliers of the weights do no harm, the trained toy finds what it finds in fp32, and every
//! command shows the figures that were measured when the export was made.

use std::fs;

use prost::Message;
use regex::Regex;
use safetensors::Dtype;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::export::{ALL, Stored, TINY, Tensors, checkpoint_like, export, graphs, tiny};
use crate::util::{
    Playground, Ran, after, cosine, has_dot_products, json_lines, jsonl, metadata, repository, rows,
};

/// The messages of ONNX, to read weights from an export.
#[rustfmt::skip]
#[allow(dead_code, clippy::all)]
#[path = "../../src/model/export/schema.rs"]
mod onnx;

const TOY: &str = "fixtures/qwen3-toy";

/// Outlier channels of each layer, and their gains. The channels of values are in both heads.
const OUTLIERS: [(usize, f32); 3] = [(5, 1024.0), (17, 8.0), (41, 128.0)];

/// How much lower the mean cosine of an export may be if the weights have outlier channels.
const HARM_MAX: f64 = 0.001;

/// Heads of the queries, heads of the values, and dimensions per head of the tiny model.
const HEADS: usize = 4;
const VALUE_HEADS: usize = 2;
const HEAD_DIM: usize = 32;

/// Changes each number of a tensor of f32 by its row and its column.
fn change(tensors: &mut Tensors, name: &str, factor: impl Fn(usize, usize) -> f32) {
    let Stored { shape, bytes, .. } = tensors.get_mut(&format!("model.{name}.weight")).unwrap();
    let columns = *shape.last().unwrap();
    for (at, bytes) in bytes.as_chunks_mut().0.iter_mut().enumerate() {
        *bytes = (f32::from_le_bytes(*bytes) * factor(at / columns, at % columns)).to_le_bytes();
    }
}

/// Returns the tiny model with outlier channels as trained decoders have them. The model computes the same function, because
/// all that reads a channel is smaller by the gain of the channel. Gains are powers of two, so no number is rounded.
fn planted() -> Tensors {
    let gain =
        |channel| OUTLIERS.iter().find(|(outlier, _)| *outlier == channel).map_or(1.0, |(_, gain)| *gain);
    // The heads of queries that share the values of a head read the same channels.
    let value_of = |column: usize| {
        let head = column / HEAD_DIM / (HEADS / VALUE_HEADS);
        head * HEAD_DIM + column % HEAD_DIM
    };
    let mut tensors = tiny();
    for layer in ["layers.0", "layers.1"] {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            change(&mut tensors, &format!("{layer}.{norm}"), |_, channel| gain(channel));
        }
        for name in ["self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj"] {
            change(&mut tensors, &format!("{layer}.{name}"), |_, column| 1.0 / gain(column));
        }
        for name in ["self_attn.v_proj", "mlp.up_proj"] {
            change(&mut tensors, &format!("{layer}.{name}"), |row, column| gain(row) / gain(column));
        }
        change(&mut tensors, &format!("{layer}.self_attn.o_proj"), |_, column| 1.0 / gain(value_of(column)));
        change(&mut tensors, &format!("{layer}.mlp.down_proj"), |_, column| 1.0 / gain(column));
    }
    tensors
}

/// Returns the weights in the ONNX export of the toy.
fn toy() -> Tensors {
    let bytes = fs::read(repository(TOY).join("onnx/model.onnx")).unwrap();
    let tensors = onnx::ModelProto::decode(&*bytes).unwrap().graph.unwrap().initializer.into_iter();
    let stored = |tensor: onnx::TensorProto| {
        let name = tensor.name.unwrap();
        let mut shape: Vec<usize> = tensor.dims.iter().map(|&length| length as usize).collect();
        let mut bytes = tensor.raw_data.unwrap();
        if name.contains("_proj.") {
            // A graph stores matrices as [in, out], and a checkpoint as [out, in].
            let numbers = bytes.as_chunks::<4>().0;
            bytes = (0..shape[1])
                .flat_map(|column| numbers[column..].iter().step_by(shape[1]))
                .flatten()
                .copied()
                .collect();
            shape.reverse();
        }
        (format!("model.{name}"), Stored { kind: Dtype::F32, shape, bytes })
    };
    tensors.map(stored).filter(|(name, _)| name.ends_with(".weight")).collect()
}

/// The quality in a printed line.
#[derive(Debug, PartialEq)]
struct Printed {
    /// The part of the line that is about the quality.
    text: String,
    mean: f64,
    /// The share of the weights of all products that stay in fp32, in %.
    kept: f64,
}

/// Finds the quality in lines of text, one per export.
fn printed(text: &str) -> Vec<Printed> {
    let quality = r"cosine to fp32: mean (-?\d\.\d+), 1 % below -?\d\.\d+, lowest -?\d\.\d+; \d+\.\d % of nearest neighbors kept \(\d+ texts\)";
    let pattern = Regex::new(&format!(r"({quality})(?:, (\d+\.\d) % of the weights in fp32)?")).unwrap();
    let number = |text: regex::Match| text.as_str().parse().unwrap();
    let found = |found: regex::Captures| Printed {
        text: found[1].to_owned(),
        mean: found.get(2).map(number).unwrap(),
        kept: found.get(3).map_or(0.0, number),
    };
    pattern.captures_iter(text).map(found).collect()
}

/// Exports a checkpoint, and returns the printed quality per precision.
fn qualities(playground: &Playground, source: &str, precisions: &str) -> Vec<Printed> {
    let ran = export(playground, source, source, precisions).expect(0);
    let printed = printed(&ran.stdout);
    assert_eq!(printed.len(), precisions.split(',').count(), "{}", ran.story);
    printed
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn outlier_channels_do_no_harm_in_8_bits() {
    const PRECISIONS: &str = "fp32,int8,q8";
    let playground =
        Playground::new().with("in.jsonl", jsonl(["hello", "电池能用多久？", "The capital of China."]));
    checkpoint_like(TINY, &playground, "plain", &tiny());
    checkpoint_like(TINY, &playground, "planted", &planted());
    let plain = qualities(&playground, "plain", PRECISIONS);
    let planted = qualities(&playground, "planted", PRECISIONS);
    for (plain, planted) in plain.iter().zip(&planted) {
        assert!(planted.mean > plain.mean - HARM_MAX, "{planted:?} without outliers {plain:?}");
        // Not because products were kept in fp32.
        assert!(planted.kept <= plain.kept, "{planted:?} without outliers {plain:?}");
    }

    // The outliers do not change what the model computes.
    let [exact, same] = ["plain", "planted"].map(|model| playground.build("in.jsonl", &["--model", model]));
    for (exact, same) in exact.iter().zip(&same) {
        assert!(cosine(&exact.vector, &same.vector) > 0.99999, "{}", same.text);
    }
}

#[derive(Deserialize)]
struct Question {
    question: String,
    id: String,
}

#[derive(Deserialize)]
struct Document {
    id: String,
    text: Option<String>,
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn the_trained_toy_finds_in_8_bits_what_it_finds_in_fp32() {
    let playground = Playground::new();
    checkpoint_like(TOY, &playground, "toy", &toy());
    export(&playground, "toy", "toy", "fp32,int8,q8").expect(0);
    let documents: Vec<Document> = json_lines("fixtures/expected.jsonl");
    let lines = documents.iter().filter_map(|Document { id, text }| text.as_ref().map(|text| (id, text)));
    let lines: String = lines.map(|(id, text)| json!({"id": id, "text": text}).to_string() + "\n").collect();
    playground.write("in.jsonl", lines);
    let questions: Vec<Question> = json_lines("fixtures/questions.jsonl");
    let asked: String = questions.iter().map(|question| question.question.clone() + "\n").collect();
    // Returns the place of each question's document among the hits.
    let places = |file: &str| -> Vec<usize> {
        let model = ["--model", "toy", "--model-file", file];
        playground.build("in.jsonl", &model);
        let arguments =
            [&["search", "out.parquet", "--questions", "-", "-k", "1000", "--json"], &model[..]].concat();
        let ran = playground.run_with_stdin(&arguments, &asked).expect(0);
        let answers = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let place = |(answer, question): (Value, &Question)| {
            let hits = answer["hits"].as_array().unwrap();
            hits.iter().position(|hit| hit["id"] == question.id).unwrap()
        };
        answers.zip(&questions).map(place).collect()
    };
    let exact = places("model.onnx");
    assert_eq!(exact.len(), questions.len());
    assert!(exact.iter().filter(|&&place| place == 0).count() > questions.len() / 2, "{exact:?}");
    assert_eq!(places("model_q8.onnx"), exact);
    if has_dot_products() {
        // Far down the list, 8-bit activations may swap neighbors.
        let in_first_three = |places: &[usize]| places.iter().filter(|&&place| place < 3).count();
        let found = places("model_int8.onnx");
        assert!(in_first_three(&found) + 1 >= in_first_three(&exact), "{found:?}, in fp32 {exact:?}");
    }
}

#[test]
#[ignore = "needs what scripts/test installs"]
fn every_command_shows_the_quality_that_the_export_printed() {
    let playground = Playground::new().with("in.jsonl", jsonl(["hello"]));
    checkpoint_like(TINY, &playground, "source", &tiny());
    let made = export(&playground, "source", "model", "fp32,q8").expect(0);
    let [_, Printed { text, mean, .. }] = &printed(&made.stdout)[..] else { panic!("{}", made.story) };
    let q8 = ["--model", "model", "--precision", "q8"];
    let doctor = playground.run(&[&["doctor"], &q8[..]].concat()).expect(0);
    let shown = printed(&doctor.stdout);
    assert!(shown.len() == 1 && shown[0].text == *text, "{text}{}", doctor.story);

    playground.build("in.jsonl", &q8);
    let inspected = playground.run(&["inspect", "out.parquet"]).expect(0);
    assert!(inspected.stdout.contains(text), "{text}{}", inspected.story);
    let stored = &metadata(&playground.path("out.parquet"))["quality"];
    assert_eq!(format!("{:.5}", stored["mean"].as_f64().unwrap()), format!("{mean:.5}"), "{stored}");
    assert_eq!(stored["texts"], 200);

    // On this machine the export is as good as when it was made, compared with the export in fp32 or with the weights.
    for model in ["model", "source"] {
        let mut command = playground.command(&["doctor", "--quality", "--model", model, "--precision", "q8"]);
        let ran = playground.output(command.env("HF_HOME", playground.path("hf")), "").expect(0);
        let [stored, measured] = &printed(&ran.stdout)[..] else { panic!("{}", ran.story) };
        assert_eq!(stored.text, *text, "{}", ran.story);
        assert!((measured.mean - mean).abs() < 2e-5, "{text}{}", ran.story);
    }
}

/// Without 8-bit dot products, ONNX Runtime would compute wrong vectors.
#[test]
#[ignore = "needs what scripts/test installs"]
fn int8_runs_only_on_a_processor_that_computes_it_right() {
    let playground = Playground::new().with("in.jsonl", jsonl(["hello", "电池能用多久？"]));
    checkpoint_like(TINY, &playground, "source", &tiny());
    export(&playground, "source", "model", "fp32,int8").expect(0);
    let run = |arguments: &[&str]| -> Ran {
        let mut command = playground.command(arguments);
        playground.output(command.env("HF_HOME", playground.path("hf")), "")
    };
    let exact = playground.build("in.jsonl", &["--model", "model"]);
    for (model, int8) in [
        ("source", ["--precision", "int8"]),
        ("model", ["--precision", "int8"]),
        ("model", ["--model-file", "model_int8.onnx"]),
    ] {
        let arguments =
            [&["build", "in.jsonl", "-o", "int8.parquet", "--rebuild", "--model", model], &int8[..]].concat();
        if has_dot_products() {
            run(&arguments).expect(0);
            for (found, exact) in rows(&playground.path("int8.parquet")).iter().zip(&exact) {
                assert!(cosine(&found.vector, &exact.vector) > 0.99, "{}", found.text);
            }
        } else {
            let ran = run(&arguments).expect(1);
            ran.says("has no 8-bit dot products (VNNI)").says("use --precision fp32 or q8");
            assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.story);
            assert!(!playground.path("int8.parquet").exists());
        }
    }
}

/// Calibration chooses scales and products by sums of floats, and no sum depends on the number of threads.
#[test]
#[ignore = "needs what scripts/test installs"]
fn an_export_has_the_same_bytes_with_any_number_of_threads() {
    let playground = Playground::new();
    checkpoint_like(TINY, &playground, "source", &planted());
    export(&playground, "source", "several", ALL).expect(0);
    let command = playground.command(&["model", "export", "source", "one", "--precision", ALL]);
    playground.output(&mut after("taskset -p -c 0 $$ >/dev/null", &command), "").expect(0);
    let several = graphs(&playground, "several");
    assert_eq!(several.len(), 2 * ALL.split(',').count());
    for (name, bytes) in graphs(&playground, "one") {
        assert!(several[&name] == bytes, "{name}");
    }
}
