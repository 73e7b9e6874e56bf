//! The graph of Qwen3-Embedding.
//!
//! Inputs: `input_ids` and `attention_mask`, both `[batch, tokens]`, padded on the right. The graph for CPUs has two more:
//! `past_key_values` `[2 * layers, past, heads * head_dim]`, keys and values that stand before every text, and `kept` `[1]`, for
//! how many tokens the graph returns keys and values. Output: `sentence_embedding` `[batch, width]`, L2-normalized; for CPUs also
//! `present_key_values` `[2 * layers, kept, heads * head_dim]`, of a batch of one text.

mod cpu;
mod cuda;
mod parts;
mod plain;

use serde_json::json;

use super::builder::{Graph, Operator, Size, value_info};
use super::linear::{Recipe, Rows, floats};
use super::schema::ModelProto;
use super::schema::tensor_proto::DataType;
use super::stage::StagedFile;
use super::weights::{Norm, Projection, Weights};
use crate::model::precision::Precision;
use cpu::Cpu;
use cuda::Cuda;
use parts::{Engine, Parts, Side};
use plain::Plain;

/// The version of the inputs, outputs and metadata of exports.
const FORMAT: u32 = 1;

/// The keys of the metadata.
const EXPORT: &str = "qwen3-index.export";
const MADE_WITH: &str = "qwen3-index.made-with";

/// The name of the output with the vectors.
const OUTPUT: &str = "sentence_embedding";

/// Builds the graph of a precision, and writes the data file. Returns the model and the size of the data file in bytes.
///
/// # Errors
/// A matrix cannot be read, or the data file cannot be written.
pub fn build(
    weights: &dyn Weights,
    precision: Precision,
    recipe: &Recipe,
    data: &StagedFile,
    on_read: &mut dyn FnMut(usize),
) -> anyhow::Result<(ModelProto, u64)> {
    let architecture = weights.architecture();
    let parts = Parts { graph: Graph::new(data)?, architecture, weights, recipe, on_read };
    match precision {
        Precision::Fp32 | Precision::Int8 | Precision::Q8 | Precision::Q4 => {
            build_for(Cpu::new(architecture), parts, precision)
        }
        Precision::F16 | Precision::Bf16 => build_for(Cuda, parts, precision),
        Precision::Plain => build_for(Plain, parts, precision),
    }
}

fn build_for<E: Engine>(
    mut engine: E,
    mut parts: Parts,
    precision: Precision,
) -> anyhow::Result<(ModelProto, u64)> {
    let parts_of = &mut parts;
    engine.shapes(parts_of)?;
    let mut hidden = parts_of.embedded(E::UNPADS)?;
    let to_float = || Operator::cast(DataType::Float);
    if parts_of.recipe.embeddings != parts_of.recipe.activations {
        hidden = parts_of.graph.add(to_float(), &[&hidden]);
    }
    let mut normed = engine.norm(parts_of, &hidden, Norm::Attention(0))?;
    let layers = parts_of.architecture.layers;
    for layer in 0..layers {
        let is_last = layer == layers - 1;
        let attended = attention(&mut engine, parts_of, &normed, layer, is_last)?;
        if is_last {
            hidden = parts_of.graph.add("Gather", &[&hidden, "ends"]);
        }
        (normed, hidden) = engine.add_and_norm(parts_of, &hidden, &attended, Norm::Mlp(layer))?;
        let next = if is_last { Norm::Final } else { Norm::Attention(layer + 1) };
        let delta = mlp(&engine, parts_of, &normed, layer)?;
        (normed, hidden) = engine.add_and_norm(parts_of, &hidden, &delta, next)?;
    }
    normed = parts_of.graph.add(to_float(), &[&normed]);
    if let Some(matrix) = parts_of.weights.output()? {
        let matrix = parts_of.graph.constant("output", floats(&matrix, super::float::FloatKind::F32))?;
        normed = parts_of.graph.add("MatMul", &[&normed, &matrix]);
    }
    parts_of.graph.name(OUTPUT, Operator::onnx("LpNormalization").int("axis", -1).int("p", 2), &[&normed]);
    finish(&engine, parts, precision)
}

/// Adds the attention of a layer. Returns what is added to the hidden states: of all rows, or in the last layer of the end
/// tokens.
fn attention<E: Engine>(
    engine: &mut E,
    parts: &mut Parts,
    normed: &str,
    layer: usize,
    is_last: bool,
) -> anyhow::Result<String> {
    let mut rows = Rows::new(normed.to_owned());
    let key = parts.product(&mut rows, layer, Projection::Key)?;
    let key = engine.heads(parts, &key, layer, Side::Key)?;
    let value = parts.product(&mut rows, layer, Projection::Value)?.scaled(&mut parts.graph);
    let attended = if is_last {
        engine.attend_ends(parts, normed, &mut rows, &key, &value, layer)?
    } else {
        let query = engine.query(parts, &mut rows, layer)?;
        engine.attend(parts, &query, &key, &value, layer)?
    };
    let shape = parts.graph.integers(&[-1, parts.architecture.query_width() as i64])?;
    let mut rows = Rows::new(parts.graph.add("Reshape", &[&attended, &shape]));
    Ok(parts.product(&mut rows, layer, Projection::Output)?.scaled(&mut parts.graph))
}

/// Adds the MLP of a layer.
fn mlp<E: Engine>(engine: &E, parts: &mut Parts, normed: &str, layer: usize) -> anyhow::Result<String> {
    let mut rows = Rows::new(normed.to_owned());
    let gate = parts.product(&mut rows, layer, Projection::Gate)?.scaled(&mut parts.graph);
    let gate = engine.silu(parts, &gate)?;
    let up = parts.product(&mut rows, layer, Projection::Up)?;
    let inner = parts.graph.add("Mul", &[&gate, up.unscaled()]);
    let mut inner = Rows::with_factor(inner, up);
    Ok(parts.product(&mut inner, layer, Projection::Down)?.scaled(&mut parts.graph))
}

/// Adds the inputs, the outputs and the metadata.
fn finish<E: Engine>(engine: &E, parts: Parts, precision: Precision) -> anyhow::Result<(ModelProto, u64)> {
    let ids = [Size::Named("batch"), Size::Named("tokens")];
    let vectors = [Size::Named("batch"), Size::Fixed(parts.architecture.width)];
    let mut inputs =
        ["input_ids", "attention_mask"].map(|name| value_info(name, DataType::Int64, &ids)).to_vec();
    let mut outputs = vec![value_info(OUTPUT, DataType::Float, &vectors)];
    let (more_inputs, more_outputs) = engine.more_infos(parts.architecture);
    inputs.extend(more_inputs);
    outputs.extend(more_outputs);
    let export = json!({"format": FORMAT, "variant": precision.name(), "unpads": E::UNPADS});
    let metadata = [
        (EXPORT, export.to_string()),
        (MADE_WITH, format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))),
    ];
    parts.graph.finish("qwen3", inputs, outputs, &metadata)
}
