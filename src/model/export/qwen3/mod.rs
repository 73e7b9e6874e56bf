//! The graph of Qwen3-Embedding.
//!
//! Inputs: `input_ids` and `attention_mask`, both `[batch, tokens]`, padded on the right. The graph for CPUs has two more:
//! `past_key_values` `[2 * layers, past, heads * head_dim]`, keys and values that stand before every text, and `kept` `[1]`, for
//! how many tokens the graph returns keys and values. Output: `sentence_embedding` `[batch, width]`, L2-normalized; for CPUs also
//! `present_key_values` `[2 * layers, kept, heads * head_dim]`, of a batch of one text.

mod cpu;
mod cuda;
mod decoder;
mod plain;

use serde_json::json;

use super::builder::{Graph, Operator, Size, value_info};
use super::float::FloatKind;
use super::linear::{Recipe, Rows, floats};
use super::schema::tensor_proto::DataType;
use super::stage::StagedFile;
use super::weights::{Norm, Projection, Weights};
use crate::model::metadata::{EXPORT, MADE_WITH};
use crate::model::precision::Precision;
use cpu::Cpu;
use cuda::Cuda;
use decoder::{BATCH, Decoder, Dialect, ROWS, Side};
use plain::Plain;

/// The version of the inputs, outputs and metadata of exports.
const FORMAT: u32 = 1;

/// The name of the output with the vectors.
const OUTPUT: &str = "sentence_embedding";

/// Builds the graph of a precision, and writes the data file. Returns the bytes of the graph file and the size of the data file
/// in bytes.
///
/// # Errors
/// A matrix cannot be read, or the data file cannot be written.
pub fn build(
    weights: &dyn Weights,
    precision: Precision,
    recipe: &Recipe,
    data: &StagedFile,
    on_read: &mut dyn FnMut(usize),
) -> anyhow::Result<(Vec<u8>, u64)> {
    let architecture = weights.architecture();
    let decoder = Decoder { graph: Graph::new(data)?, architecture, weights, recipe, on_read };
    match precision {
        Precision::Fp32 | Precision::Int8 | Precision::Q8 | Precision::Q4 => {
            build_for(Cpu::new(architecture), decoder, precision)
        }
        Precision::F16 | Precision::Bf16 => build_for(Cuda, decoder, precision),
        Precision::Plain => build_for(Plain, decoder, precision),
    }
}

fn build_for<D: Dialect>(
    mut dialect: D,
    mut decoder: Decoder,
    precision: Precision,
) -> anyhow::Result<(Vec<u8>, u64)> {
    dialect.shapes(&mut decoder)?;
    let mut hidden = decoder.embedded(D::UNPADS)?;
    let to_float = || Operator::cast(DataType::Float);
    if decoder.recipe.embeddings != decoder.recipe.activations {
        hidden = decoder.graph.add(to_float(), &[&hidden]);
    }
    let mut normed = dialect.norm(&mut decoder, &hidden, Norm::Attention(0))?;
    let layers = decoder.architecture.layers;
    for layer in 0..layers {
        let is_last = layer == layers - 1;
        let attended = attention(&mut dialect, &mut decoder, &normed, layer, is_last)?;
        if is_last {
            hidden = decoder.graph.add("Gather", &[&hidden, "ends"]);
        }
        (normed, hidden) = dialect.add_and_norm(&mut decoder, &hidden, &attended, Norm::Mlp(layer))?;
        let next = if is_last { Norm::Final } else { Norm::Attention(layer + 1) };
        let delta = mlp(&dialect, &mut decoder, &normed, layer)?;
        (normed, hidden) = dialect.add_and_norm(&mut decoder, &hidden, &delta, next)?;
    }
    normed = decoder.graph.add(to_float(), &[&normed]);
    if let Some(matrix) = decoder.weights.output()? {
        let matrix = decoder.graph.constant("output", floats(&matrix, FloatKind::F32))?;
        normed = decoder.graph.add("MatMul", &[&normed, &matrix]);
    }
    decoder.graph.name(OUTPUT, Operator::onnx("LpNormalization").int("axis", -1).int("p", 2), &[&normed]);
    finish(&dialect, decoder, precision)
}

/// Adds the attention of a layer. Returns what is added to the hidden states: of all rows, or in the last layer of the end
/// tokens.
fn attention<D: Dialect>(
    dialect: &mut D,
    decoder: &mut Decoder,
    normed: &str,
    layer: usize,
    is_last: bool,
) -> anyhow::Result<String> {
    let mut rows = Rows::new(normed.to_owned());
    let key = decoder.product(&mut rows, layer, Projection::Key)?;
    let key = dialect.heads(decoder, &key, layer, Side::Key)?;
    let value = decoder.product(&mut rows, layer, Projection::Value)?.scaled(&mut decoder.graph);
    let attended = if is_last {
        dialect.attend_ends(decoder, normed, &mut rows, &key, &value, layer)?
    } else {
        let query = dialect.query(decoder, &mut rows, layer)?;
        dialect.attend(decoder, &query, &key, &value, layer)?
    };
    let shape = [if is_last { BATCH } else { ROWS }, Size::Fixed(decoder.architecture.query_width())];
    let attended = decoder.graph.reshape(&attended, decoder.recipe.activations.in_onnx(), &shape)?;
    let mut rows = Rows::new(attended);
    Ok(decoder.product(&mut rows, layer, Projection::Output)?.scaled(&mut decoder.graph))
}

/// Adds the MLP of a layer.
fn mlp<D: Dialect>(dialect: &D, decoder: &mut Decoder, normed: &str, layer: usize) -> anyhow::Result<String> {
    let mut rows = Rows::new(normed.to_owned());
    let gate = decoder.product(&mut rows, layer, Projection::Gate)?.scaled(&mut decoder.graph);
    let gate = dialect.silu(decoder, &gate)?;
    let up = decoder.product(&mut rows, layer, Projection::Up)?;
    let inner = decoder.graph.add("Mul", &[&gate, up.unscaled()]);
    let mut inner = Rows::with_factor(inner, up);
    Ok(decoder.product(&mut inner, layer, Projection::Down)?.scaled(&mut decoder.graph))
}

/// Adds the inputs, the outputs and the metadata.
fn finish<D: Dialect>(dialect: &D, decoder: Decoder, precision: Precision) -> anyhow::Result<(Vec<u8>, u64)> {
    let ids = [Size::Named("batch"), Size::Named("tokens")];
    let vectors = [Size::Named("batch"), Size::Fixed(decoder.architecture.width)];
    let mut inputs =
        ["input_ids", "attention_mask"].map(|name| value_info(name, DataType::Int64, &ids)).to_vec();
    let mut outputs = vec![value_info(OUTPUT, DataType::Float, &vectors)];
    let (more_inputs, more_outputs) = dialect.more_infos(decoder.architecture);
    inputs.extend(more_inputs);
    outputs.extend(more_outputs);
    let export = json!({"format": FORMAT, "variant": precision.name(), "unpads": D::UNPADS});
    let metadata = [
        (EXPORT, export.to_string()),
        (MADE_WITH, format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))),
    ];
    decoder.graph.finish("qwen3", inputs, outputs, &metadata)
}
