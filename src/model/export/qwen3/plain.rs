//! The graph in operators of the oldest ONNX versions, in the patterns that engines such as OpenVINO look for.

use super::decoder::{Decoder, Dialect, Side, mask, numbers};
use crate::model::export::builder::{Graph, Operator, Tensor};
use crate::model::export::linear::Product;
use crate::model::export::weights::{Architecture, Norm};

/// Standard operators only.
pub struct Plain;

impl Dialect for Plain {
    fn shapes(&mut self, decoder: &mut Decoder) -> anyhow::Result<()> {
        decoder.shapes(Self::UNPADS)?;
        let Architecture { heads, kv_heads, head_dim, .. } = *decoder.architecture;
        let tables = decoder.architecture.rotary();
        let graph = &mut decoder.graph;
        let (zero, one) = (graph.integers(&[0])?, graph.integers(&[1])?);
        for (name, table) in ["cosines", "sines"].into_iter().zip(tables) {
            // Both halves of a head have the same angles.
            let whole: Vec<f32> = table.chunks(head_dim / 2).flat_map(|half| [half, half].concat()).collect();
            let shape = [decoder.architecture.positions, head_dim];
            let table = graph.constant(name, Tensor::new(&shape, &whole))?;
            graph.name(&format!("{name}_here"), "Slice", &[&table, &zero, "tokens", &zero]);
        }
        let keys = numbers(graph, "tokens")?;
        let queries = graph.add("Unsqueeze", &[&keys, &one]);
        let causal = mask(graph, &keys, &queries)?;
        graph.name("causal_mask", "Identity", &[&causal]);
        let width = graph.integers(&[head_dim as i64])?;
        let groups = (heads / kv_heads) as i64;
        for (name, heads) in [("repeated", &[heads as i64][..]), ("grouped", &[kv_heads as i64, groups])] {
            let heads = graph.integers(heads)?;
            graph.name(name, Operator::onnx("Concat").int("axis", 0), &["batch", &heads, "tokens", &width]);
        }
        Ok(())
    }

    fn norm(&self, decoder: &mut Decoder, rows: &str, norm: Norm) -> anyhow::Result<String> {
        let weight = decoder.norm_weight(norm)?;
        let graph = &mut decoder.graph;
        let (two, axis) = (graph.number(2.0)?, graph.integers(&[-1])?);
        let squares = graph.add("Pow", &[rows, &two]);
        let mean = graph.add("ReduceMean", &[&squares, &axis]);
        let epsilon = graph.number(decoder.architecture.epsilon.into())?;
        let sum = graph.add("Add", &[&mean, &epsilon]);
        let root = graph.add("Sqrt", &[&sum]);
        let one = graph.number(1.0)?;
        let inverse = graph.add("Div", &[&one, &root]);
        let normed = graph.add("Mul", &[rows, &inverse]);
        Ok(graph.add("Mul", &[&weight, &normed]))
    }

    fn add_and_norm(
        &self,
        decoder: &mut Decoder,
        hidden: &str,
        delta: &str,
        norm: Norm,
    ) -> anyhow::Result<(String, String)> {
        let hidden = decoder.graph.add("Add", &[hidden, delta]);
        Ok((self.norm(decoder, &hidden, norm)?, hidden))
    }

    fn silu(&self, decoder: &mut Decoder, rows: &str) -> anyhow::Result<String> {
        let sigmoid = decoder.graph.add("Sigmoid", &[rows]);
        Ok(decoder.graph.add("Mul", &[rows, &sigmoid]))
    }

    /// Returns `[batch, heads, tokens, head_dim]`.
    fn heads(
        &self,
        decoder: &mut Decoder,
        rows: &Product,
        layer: usize,
        side: Side,
    ) -> anyhow::Result<String> {
        let half = (decoder.architecture.head_dim / 2) as i64;
        let count = side.heads(decoder.architecture);
        let split = decoder.graph.add("Reshape", &[rows.unscaled(), &format!("split_{count}")]);
        let normed = self.norm(decoder, &split, side.norm(layer))?;
        let graph = &mut decoder.graph;
        let heads = transposed(graph, &normed, &[0, 2, 1, 3]);
        let halves = graph.integers(&[half, half])?;
        let halves = graph.add_many(Operator::onnx("Split").int("axis", -1), &[&heads, &halves], 2);
        let high = graph.add("Neg", &[&halves[1]]);
        let turned = graph.add(Operator::onnx("Concat").int("axis", -1), &[&high, &halves[0]]);
        let heads = graph.add("Mul", &[&heads, "cosines_here"]);
        let turned = graph.add("Mul", &[&turned, "sines_here"]);
        Ok(graph.add("Add", &[&heads, &turned]))
    }

    fn attend(
        &mut self,
        decoder: &mut Decoder,
        query: &str,
        key: &str,
        value: &str,
        _layer: usize,
    ) -> anyhow::Result<String> {
        let Architecture { kv_heads, head_dim, .. } = *decoder.architecture;
        let graph = &mut decoder.graph;
        let value = graph.add("Reshape", &[value, &format!("split_{kv_heads}")]);
        let value = transposed(graph, &value, &[0, 2, 1, 3]);
        let (key, value) = (repeated(graph, key)?, repeated(graph, &value)?);
        let key = transposed(graph, &key, &[0, 1, 3, 2]);
        let scores = graph.add("MatMul", &[query, &key]);
        #[allow(clippy::cast_precision_loss)] // A head has some hundred dimensions.
        let scale = graph.number(1.0 / (head_dim as f64).sqrt())?;
        let scores = graph.add("Mul", &[&scores, &scale]);
        let scores = graph.add("Add", &[&scores, "causal_mask"]);
        let weights = graph.add(Operator::onnx("Softmax").int("axis", -1), &[&scores]);
        let attended = graph.add("MatMul", &[&weights, &value]);
        Ok(transposed(graph, &attended, &[0, 2, 1, 3]))
    }
}

fn transposed(graph: &mut Graph, tensor: &str, order: &[i64]) -> String {
    graph.add(Operator::onnx("Transpose").ints("perm", order), &[tensor])
}

/// Repeats each head of keys or values for the heads of queries that share it.
fn repeated(graph: &mut Graph, heads: &str) -> anyhow::Result<String> {
    let axis = graph.integers(&[2])?;
    let heads = graph.add("Unsqueeze", &[heads, &axis]);
    let grouped = graph.add("Expand", &[&heads, "grouped"]);
    Ok(graph.add("Reshape", &[&grouped, "repeated"]))
}
