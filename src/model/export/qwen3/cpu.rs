//! The graph for ONNX Runtime's CPU kernels. Keys and values may stand before the texts. Only attention sees padding.

use super::decoder::{BATCH, Decoder, Dialect, ROWS, Side, mask, numbers, tokens_of_texts};
use crate::model::export::builder::{Graph, Operator, Size, Tensor, sizes, value_info};
use crate::model::export::linear::{Product, Rows};
use crate::model::export::schema::ValueInfoProto;
use crate::model::export::schema::tensor_proto::DataType;
use crate::model::export::weights::{Architecture, Projection};

/// From this many tokens on, attention is computed in [`BLOCKS`] blocks of queries, each with the keys up to the end of the
/// block, because a token does not attend to later tokens. For fewer tokens, one call is faster.
const BLOCKED_FROM: i64 = 192;

/// The number of blocks of queries in a long text.
const BLOCKS: usize = 4;

/// The number of tokens to return keys and values for.
const KEPT: Size = Size::Named("kept");

/// The type of activations.
const FLOAT: DataType = DataType::Float;

/// The operators of ONNX Runtime's CPU kernels.
pub struct Cpu {
    architecture: Architecture,
    /// The keys and values that the graph returns, two tensors per layer.
    kept: Vec<String>,
}

impl Cpu {
    pub fn new(architecture: &Architecture) -> Self {
        Cpu { architecture: architecture.clone(), kept: Vec::new() }
    }
}

impl Dialect for Cpu {
    const UNPADS: bool = true;

    fn shapes(&mut self, decoder: &mut Decoder) -> anyhow::Result<()> {
        places(&mut decoder.graph)?;
        decoder.shapes(Self::UNPADS)?;
        self.positions(&mut decoder.graph)?;
        masks(&mut decoder.graph)
    }

    /// Returns `[1, rows, heads * head_dim]`.
    fn heads(
        &self,
        decoder: &mut Decoder,
        rows: &Product,
        layer: usize,
        side: Side,
    ) -> anyhow::Result<String> {
        let (count, head_dim) = (side.heads(&self.architecture), self.architecture.head_dim);
        let shape = [ROWS, Size::Fixed(count), Size::Fixed(head_dim)];
        let split = decoder.graph.reshape(rows.unscaled(), FLOAT, &shape)?;
        let normed = self.norm(decoder, &split, side.norm(layer))?;
        let heads = decoder.graph.reshape(&normed, FLOAT, &row(count * head_dim))?;
        rotated(decoder, &heads, side, "positions")
    }

    fn attend(
        &mut self,
        decoder: &mut Decoder,
        query: &str,
        key: &str,
        value: &str,
        layer: usize,
    ) -> anyhow::Result<String> {
        let graph = &mut decoder.graph;
        let value = &self.keep(graph, key, value)?;
        let tensors = [
            (query, self.architecture.heads),
            (key, self.architecture.kv_heads),
            (value, self.architecture.kv_heads),
        ];
        let attended = graph.choose(
            "is_padded",
            |graph| {
                let tensors = tensors.map(|(tensor, heads)| padded(graph, tensor, heads));
                let attended = self.attend_texts(graph, &tensors, layer)?;
                let rows = self.one_row(graph, &attended)?;
                Ok(vec![graph.add(Operator::onnx("Gather").int("axis", 1), &[&rows, "places"])])
            },
            |graph| {
                let tensors = tensors.map(|(tensor, heads)| texts(graph, tensor, heads));
                let attended = self.attend_texts(graph, &tensors, layer)?;
                Ok(vec![self.one_row(graph, &attended)?])
            },
        )?;
        let attended = attended.concat();
        graph.describe(&attended, FLOAT, &row(self.architecture.query_width()));
        Ok(attended)
    }

    fn attend_ends(
        &mut self,
        decoder: &mut Decoder,
        normed: &str,
        _rows: &mut Rows,
        key: &str,
        value: &str,
        layer: usize,
    ) -> anyhow::Result<String> {
        let Architecture { heads, kv_heads, head_dim, .. } = self.architecture;
        let value = &self.keep(&mut decoder.graph, key, value)?;
        let mut rows = Rows::new(decoder.graph.add("Gather", &[normed, "ends"]));
        let shape = [BATCH, Size::Fixed(1), Size::Fixed(heads), Size::Fixed(head_dim)];
        // The digest of an export covers the order of the constants.
        decoder.graph.integers(&sizes(&shape))?;
        let query = decoder.product(&mut rows, layer, Projection::Query)?;
        let query = decoder.graph.reshape(query.unscaled(), FLOAT, &shape)?;
        let query = self.norm(decoder, &query, Side::Query.norm(layer))?;
        let query = decoder.graph.add("Reshape", &[&query, "flat_end"]);
        let query = rotated(decoder, &query, Side::Query, "end_positions")?;
        let graph = &mut decoder.graph;
        let seen = [key, value];
        let seen = graph.choose(
            "is_padded",
            |graph| Ok(seen.map(|tensor| padded(graph, tensor, kv_heads)).into()),
            |graph| Ok(seen.map(|tensor| texts(graph, tensor, kv_heads)).into()),
        )?;
        let seen = graph.choose(
            "has_past",
            |graph| self.with_past(graph, &seen[0], &seen[1], layer),
            |graph| Ok(seen.iter().map(|tensor| graph.add("Identity", &[tensor])).collect()),
        )?;
        let kept: Vec<&str> = self.kept.iter().map(String::as_str).collect();
        graph.name("present_key_values", Operator::onnx("Concat").int("axis", 0), &kept);
        self.attend_all(graph, &query, &seen[0], &seen[1], Some("end_mask"))
    }

    fn more_infos(&self, architecture: &Architecture) -> (Vec<ValueInfoProto>, Vec<ValueInfoProto>) {
        let (tensors, width) = (Size::Fixed(2 * architecture.layers), Size::Fixed(architecture.key_width()));
        let past = [tensors, Size::Named("past"), width];
        let present = [Size::Named("present"), KEPT, width];
        (
            vec![
                value_info("past_key_values", DataType::Float, &past),
                value_info("kept", DataType::Int64, &[Size::Fixed(1)]),
            ],
            vec![value_info("present_key_values", DataType::Float, &present)],
        )
    }
}

impl Cpu {
    /// Adds the positions of tokens, and the edges of the blocks of a long text.
    fn positions(&self, graph: &mut Graph) -> anyhow::Result<()> {
        let concat = || Operator::onnx("Concat").int("axis", 0);
        let (zero, one) = (graph.integers(&[0])?, graph.integers(&[1])?);
        let end = graph.integers(&[1, self.architecture.query_width() as i64])?;
        graph.name("flat_end", concat(), &["batch", &end]);
        graph.name("past", Operator::onnx("Shape").int("end", 2).int("start", 1), &["past_key_values"]);
        let has_past = graph.add("Greater", &["past", &zero]);
        name_scalar(graph, "has_past", &has_past);
        let blocked_from = graph.integers(&[BLOCKED_FROM])?;
        let is_long = graph.add("GreaterOrEqual", &["tokens", &blocked_from]);
        name_scalar(graph, "is_long", &is_long);
        let count = graph.add("Add", &["past", "tokens"]);
        let keys = numbers(graph, &count)?;
        graph.name("keys", "Identity", &[&keys]);
        let tokens = numbers(graph, "tokens")?;
        let positions = graph.add("Add", &[&tokens, "past"]);
        let queries = graph.add("Unsqueeze", &[&positions, &one]);
        graph.name("queries", "Identity", &[&queries]);
        let shape = graph.add(concat(), &["batch", "tokens"]);
        let positions = graph.add("Expand", &[&positions, &shape]);
        let positions = tokens_of_texts(graph, &positions, Self::UNPADS)?;
        let positions = graph.add("Unsqueeze", &[&positions, &zero]);
        graph.name("positions", "Identity", &[&positions]);
        let ends = graph.add("Add", &["last", "past"]);
        let ends = graph.add("Unsqueeze", &[&ends, &one]);
        graph.name("end_positions", "Identity", &[&ends]);
        let blocks = graph.integers(&[BLOCKS as i64])?;
        for number in 0..=BLOCKS {
            let factor = graph.integers(&[number as i64])?;
            let product = graph.add("Mul", &["tokens", &factor]);
            let edge = graph.add("Div", &[&product, &blocks]);
            graph.name(&format!("edge_{number}"), "Identity", &[&edge]);
            graph.name(&format!("key_edge_{number}"), "Add", &[&edge, "past"]);
        }
        Ok(())
    }

    /// Stores the keys and values that the graph returns: of one text, as many as the input `kept` says. Returns the values as
    /// `[1, rows, heads * head_dim]`.
    fn keep(&mut self, graph: &mut Graph, key: &str, value: &str) -> anyhow::Result<String> {
        let value = graph.reshape(value, FLOAT, &row(self.architecture.key_width()))?;
        let (zero, axis) = (graph.integers(&[0])?, graph.integers(&[1])?);
        let shape = [Size::Fixed(1), KEPT, Size::Fixed(self.architecture.key_width())];
        for tensor in [key, &value] {
            let kept = graph.add("Slice", &[tensor, &zero, "kept", &axis]);
            graph.describe(&kept, FLOAT, &shape);
            self.kept.push(kept);
        }
        Ok(value)
    }

    /// Adds the attention of queries, keys and values `[batch, tokens, heads * head_dim]`.
    fn attend_texts(&self, graph: &mut Graph, tensors: &[String; 3], layer: usize) -> anyhow::Result<String> {
        let [query, key, value] = tensors;
        let attended = graph.choose(
            "has_past",
            |graph| {
                let seen = self.with_past(graph, key, value, layer)?;
                self.attend_by_length(graph, query, &seen[0], &seen[1], Some("whole_mask"))
            },
            |graph| self.attend_by_length(graph, query, key, value, None),
        )?;
        Ok(attended.concat())
    }

    fn attend_by_length(
        &self,
        graph: &mut Graph,
        query: &str,
        key: &str,
        value: &str,
        mask: Option<&str>,
    ) -> anyhow::Result<Vec<String>> {
        graph.choose(
            "is_long",
            |graph| Ok(vec![self.attend_blocks(graph, query, key, value)?]),
            |graph| Ok(vec![self.attend_all(graph, query, key, value, mask)?]),
        )
    }

    fn attend_blocks(
        &self,
        graph: &mut Graph,
        query: &str,
        key: &str,
        value: &str,
    ) -> anyhow::Result<String> {
        let (zero, axis) = (graph.integers(&[0])?, graph.integers(&[1])?);
        let mut blocks = Vec::new();
        for number in 0..BLOCKS {
            let edges = [format!("edge_{number}"), format!("edge_{}", number + 1)];
            let queries = graph.add("Slice", &[query, &edges[0], &edges[1], &axis]);
            let mut seen = [key, value].map(str::to_owned);
            if number < BLOCKS - 1 {
                let end = format!("key_edge_{}", number + 1);
                seen = seen.map(|tensor| graph.add("Slice", &[&tensor, &zero, &end, &axis]));
            }
            let mask = format!("mask_{number}");
            blocks.push(self.attend_all(graph, &queries, &seen[0], &seen[1], Some(&mask))?);
        }
        let blocks: Vec<&str> = blocks.iter().map(String::as_str).collect();
        Ok(graph.add(Operator::onnx("Concat").int("axis", 1), &blocks))
    }

    /// Adds attention with a mask, or without one the attention of each token to itself and to earlier tokens.
    fn attend_all(
        &self,
        graph: &mut Graph,
        query: &str,
        key: &str,
        value: &str,
        mask: Option<&str>,
    ) -> anyhow::Result<String> {
        let Architecture { heads, kv_heads, .. } = self.architecture;
        // Shape inference has lost the width, and `Attention` takes an unknown width for 0.
        let shape = graph.integers(&[0, 0, self.architecture.key_width() as i64])?;
        let value = graph.add("Reshape", &[value, &shape]);
        let operator = match mask {
            Some(_) => Operator::onnx("Attention"),
            None => Operator::onnx("Attention").int("is_causal", 1),
        };
        let operator = operator.int("kv_num_heads", kv_heads as i64).int("q_num_heads", heads as i64);
        let inputs: Vec<&str> = [query, key, &value].into_iter().chain(mask).collect();
        Ok(graph.add(operator, &inputs))
    }

    /// Puts the keys and values that all texts share before those of each text.
    fn with_past(
        &self,
        graph: &mut Graph,
        key: &str,
        value: &str,
        layer: usize,
    ) -> anyhow::Result<Vec<String>> {
        let size = graph.integers(&[1, self.architecture.key_width() as i64])?;
        let shape = graph.add(Operator::onnx("Concat").int("axis", 0), &["batch", &size]);
        let mut whole = Vec::new();
        for (number, tensor) in [key, value].into_iter().enumerate() {
            let number = graph.integers(&[(2 * layer + number) as i64])?;
            let past = graph.add("Gather", &["past_key_values", &number]);
            let past = graph.add("Expand", &[&past, &shape]);
            whole.push(graph.add(Operator::onnx("Concat").int("axis", 1), &[&past, tensor]));
        }
        Ok(whole)
    }

    /// `[batch, tokens, …]` to `[1, batch * tokens, …]`.
    fn one_row(&self, graph: &mut Graph, attended: &str) -> anyhow::Result<String> {
        let shape = graph.integers(&[1, -1, self.architecture.query_width() as i64])?;
        Ok(graph.add("Reshape", &[attended, &shape]))
    }
}

/// Adds the places of the tokens among all positions, and the row of each position. A position of padding has the last row of
/// its text, which no token of the text sees there.
fn places(graph: &mut Graph) -> anyhow::Result<()> {
    let mask = graph.reshape("attention_mask", DataType::Int64, &[Size::Named("positions")])?;
    let places = graph.add("NonZero", &[&mask]);
    let axis = graph.integers(&[0])?;
    let places = graph.add("Squeeze", &[&places, &axis]);
    graph.name("places", "Identity", &[&places]);
    graph.describe("places", DataType::Int64, &[ROWS]);
    let zero = graph.constant("scalar_0", Tensor::scalar(0_i64))?;
    let rows = graph.add("CumSum", &[&mask, &zero]);
    let one = graph.integers(&[1])?;
    graph.name("rows", "Sub", &[&rows, &one]);
    let tokens = graph.add("Shape", &["places"]);
    let positions = graph.add("Shape", &["rows"]);
    let is_padded = graph.add("Less", &[&tokens, &positions]);
    name_scalar(graph, "is_padded", &is_padded);
    Ok(())
}

/// Adds the masks of attention, which all layers share.
fn masks(graph: &mut Graph) -> anyhow::Result<()> {
    let nothing = graph.constant("nothing", Tensor::new::<f32>(&[0, 0], &[]))?;
    let nothing = |graph: &mut Graph| graph.add("Identity", &[&nothing]);
    // Of the end tokens, `[batch, 1, 1, keys]`. Positions after an end token are padding.
    let axes = graph.integers(&[2, 3])?;
    let ends = graph.add("Unsqueeze", &["end_positions", &axes]);
    let ends = mask(graph, "keys", &ends)?;
    graph.name("end_mask", "Identity", &[&ends]);
    let whole = graph.choose(
        "has_past",
        |graph| Ok(vec![mask(graph, "keys", "queries")?]),
        |graph| Ok(vec![nothing(graph)]),
    )?;
    graph.name("whole_mask", "Identity", &[&whole.concat()]);
    let blocks = graph.choose(
        "is_long",
        |graph| (0..BLOCKS).map(|number| block_mask(graph, number)).collect(),
        |graph| Ok((0..BLOCKS).map(|_| nothing(graph)).collect()),
    )?;
    for (number, mask) in blocks.iter().enumerate() {
        graph.name(&format!("mask_{number}"), "Identity", &[mask]);
    }
    Ok(())
}

fn block_mask(graph: &mut Graph, number: usize) -> anyhow::Result<String> {
    let zero = graph.integers(&[0])?;
    let keys = graph.add("Slice", &["keys", &zero, &format!("key_edge_{}", number + 1), &zero]);
    let edges = [format!("edge_{number}"), format!("edge_{}", number + 1)];
    let queries = graph.add("Slice", &["queries", &edges[0], &edges[1], &zero]);
    mask(graph, &keys, &queries)
}

/// Returns the shape of all rows as one text.
fn row(width: usize) -> [Size; 3] {
    [Size::Fixed(1), ROWS, Size::Fixed(width)]
}

/// Names a tensor of one element, without its dimension.
fn name_scalar(graph: &mut Graph, name: &str, value: &str) {
    let scalar = graph.add("Squeeze", &[value]);
    graph.name(name, "Identity", &[&scalar]);
}

/// Turns heads by their positions.
fn rotated(decoder: &mut Decoder, heads: &str, side: Side, positions: &str) -> anyhow::Result<String> {
    let [cosines, sines] = decoder.rotary()?;
    let count = side.heads(decoder.architecture) as i64;
    let operator = Operator::onnx("RotaryEmbedding").int("num_heads", count);
    Ok(decoder.graph.add(operator, &[heads, &cosines, &sines, positions]))
}

/// `[1, batch * tokens, …]` to `[batch, tokens, …]`.
fn texts(graph: &mut Graph, tensor: &str, heads: usize) -> String {
    graph.add("Reshape", &[tensor, &format!("flat_{heads}")])
}

/// `[1, rows, …]` to `[batch, tokens, …]`.
fn padded(graph: &mut Graph, tensor: &str, heads: usize) -> String {
    let padded = graph.add(Operator::onnx("Gather").int("axis", 1), &[tensor, "rows"]);
    texts(graph, &padded, heads)
}
