//! The decoder under construction: what the graphs of all engines have in common, and the seam for what differs.

use crate::model::export::builder::{Graph, Operator, Size, Tensor};
use crate::model::export::linear::{Product, Recipe, Rows, multiply};
use crate::model::export::schema::ValueInfoProto;
use crate::model::export::schema::tensor_proto::DataType;
use crate::model::export::weights::{Architecture, Norm, Projection, Weights};

/// Rows of the embedding matrix that are converted at once.
const ROWS_AT_ONCE: usize = 4096;

/// The number of texts.
pub const BATCH: Size = Size::Named("batch");

/// The number of rows of a matrix product. A row is a token, or a position of padding that the graph does not remove.
pub const ROWS: Size = Size::Named("rows");

/// The graph under construction, and the weights in it.
pub struct Decoder<'a> {
    pub graph: Graph<'a>,
    pub architecture: &'a Architecture,
    pub weights: &'a dyn Weights,
    pub recipe: &'a Recipe,
    /// Receives the count of weights after each read.
    pub on_read: &'a mut dyn FnMut(usize),
}

/// Queries or keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Query,
    Key,
}

impl Side {
    pub fn norm(self, layer: usize) -> Norm {
        match self {
            Side::Query => Norm::Query(layer),
            Side::Key => Norm::Key(layer),
        }
    }

    /// Returns the number of heads.
    pub fn heads(self, architecture: &Architecture) -> usize {
        match self {
            Side::Query => architecture.heads,
            Side::Key => architecture.kv_heads,
        }
    }
}

/// The operators of an engine: what its graph does not have in common with the graphs of other engines. From the embeddings to the
/// attention of the last layer, rows are `[batch * tokens, …]`, or fewer if the graph removes padding.
pub trait Dialect {
    /// Whether the graph removes padding before its matrix products.
    const UNPADS: bool = false;

    /// Adds what does not change from layer to layer.
    fn shapes(&mut self, decoder: &mut Decoder) -> anyhow::Result<()> {
        decoder.shapes(Self::UNPADS)
    }

    /// Adds RMSNorm over the last axis.
    fn norm(&self, decoder: &mut Decoder, rows: &str, norm: Norm) -> anyhow::Result<String> {
        let weight = decoder.norm_weight(norm)?;
        // ONNX Runtime has had this operator, in the domain of ONNX, for longer than ONNX has had RMSNormalization.
        let operator = Operator::onnx("SimplifiedLayerNormalization")
            .int("axis", -1)
            .float("epsilon", decoder.architecture.epsilon);
        Ok(decoder.graph.add(operator, &[rows, &weight]))
    }

    /// Adds the sum of two tensors. Returns the norm of the sum, and the sum.
    fn add_and_norm(
        &self,
        decoder: &mut Decoder,
        hidden: &str,
        delta: &str,
        norm: Norm,
    ) -> anyhow::Result<(String, String)> {
        let weight = decoder.norm_weight(norm)?;
        let operator = Operator::contrib("SkipSimplifiedLayerNormalization")
            .float("epsilon", decoder.architecture.epsilon);
        let mut outputs = decoder.graph.add_many(operator, &[hidden, delta, &weight], 4);
        let sum = outputs.swap_remove(3);
        Ok((outputs.swap_remove(0), sum))
    }

    /// Adds the activation of the MLP.
    fn silu(&self, decoder: &mut Decoder, rows: &str) -> anyhow::Result<String> {
        Ok(decoder.graph.add(Operator::contrib("QuickGelu").float("alpha", 1.0), &[rows]))
    }

    /// Adds queries or keys, with a norm per head.
    fn heads(
        &self,
        decoder: &mut Decoder,
        rows: &Product,
        layer: usize,
        side: Side,
    ) -> anyhow::Result<String> {
        let count = side.heads(decoder.architecture);
        // The norm removes the factors of the rows.
        let split = decoder.graph.add("Reshape", &[rows.unscaled(), &format!("split_{count}")]);
        let head_dim = decoder.architecture.head_dim;
        decoder.describe_texts(&split, &[count, head_dim]);
        let normed = self.norm(decoder, &split, side.norm(layer))?;
        let flat = decoder.graph.add("Reshape", &[&normed, &format!("flat_{count}")]);
        decoder.describe_texts(&flat, &[count * head_dim]);
        Ok(flat)
    }

    /// Adds attention.
    fn attend(
        &mut self,
        decoder: &mut Decoder,
        query: &str,
        key: &str,
        value: &str,
        layer: usize,
    ) -> anyhow::Result<String>;

    /// Adds the attention of the last layer, for the end tokens only. `normed` are the rows before the products, also as
    /// `rows`.
    fn attend_ends(
        &mut self,
        decoder: &mut Decoder,
        _normed: &str,
        rows: &mut Rows,
        key: &str,
        value: &str,
        layer: usize,
    ) -> anyhow::Result<String> {
        let query = self.query(decoder, rows, layer)?;
        let attended = self.attend(decoder, &query, key, value, layer)?;
        let shape = [ROWS, Size::Fixed(decoder.architecture.query_width())];
        let rows = decoder.graph.reshape(&attended, decoder.recipe.activations.in_onnx(), &shape)?;
        Ok(decoder.graph.add("Gather", &[&rows, "ends"]))
    }

    /// Adds the queries of a layer.
    fn query(&self, decoder: &mut Decoder, rows: &mut Rows, layer: usize) -> anyhow::Result<String> {
        let product = decoder.product(rows, layer, Projection::Query)?;
        self.heads(decoder, &product, layer, Side::Query)
    }

    /// Returns the inputs and the outputs that not every graph has.
    fn more_infos(&self, _architecture: &Architecture) -> (Vec<ValueInfoProto>, Vec<ValueInfoProto>) {
        (Vec::new(), Vec::new())
    }
}

impl Decoder<'_> {
    /// Adds the number of texts and of tokens, the places of the end tokens, and the shapes of heads.
    pub fn shapes(&mut self, unpads: bool) -> anyhow::Result<()> {
        let graph = &mut self.graph;
        graph.name("batch", Operator::onnx("Shape").int("end", 1).int("start", 0), &["input_ids"]);
        graph.name("tokens", Operator::onnx("Shape").int("end", 2).int("start", 1), &["input_ids"]);
        // Where the end token of each text is, in the text, and among the rows.
        let axis = graph.integers(&[1])?;
        let lengths = graph.add(Operator::onnx("ReduceSum").int("keepdims", 0), &["attention_mask", &axis]);
        graph.name("last", "Sub", &[&lengths, &axis]);
        let texts = numbers(graph, "batch")?;
        let starts = graph.add("Mul", &[&texts, "tokens"]);
        let mut ends = graph.add("Add", &[&starts, "last"]);
        if unpads {
            ends = graph.add("Gather", &["rows", &ends]);
        }
        graph.name("ends", "Identity", &[&ends]);
        graph.describe("ends", DataType::Int64, &[BATCH]);
        let Architecture { heads, kv_heads, head_dim, .. } = *self.architecture;
        for heads in [heads, kv_heads] {
            let concat = || Operator::onnx("Concat").int("axis", 0);
            let split = graph.integers(&[heads as i64, head_dim as i64])?;
            graph.name(&format!("split_{heads}"), concat(), &["batch", "tokens", &split]);
            let flat = graph.integers(&[(heads * head_dim) as i64])?;
            graph.name(&format!("flat_{heads}"), concat(), &["batch", "tokens", &flat]);
        }
        Ok(())
    }

    /// Describes activations `[batch, tokens, …]`.
    pub fn describe_texts(&mut self, name: &str, more: &[usize]) {
        let more = more.iter().map(|&size| Size::Fixed(size));
        let shape: Vec<Size> = [BATCH, Size::Named("tokens")].into_iter().chain(more).collect();
        self.graph.describe(name, self.recipe.activations.in_onnx(), &shape);
    }

    /// Adds the embeddings of the tokens of all texts.
    pub fn embedded(&mut self, unpads: bool) -> anyhow::Result<String> {
        let (weights, recipe) = (self.weights, self.recipe);
        let Architecture { vocabulary, width, .. } = *self.architecture;
        let on_read = &mut self.on_read;
        let blocks = (0..vocabulary).step_by(ROWS_AT_ONCE).map(|first| {
            let rows = weights.embeddings(first..vocabulary.min(first + ROWS_AT_ONCE))?;
            on_read(rows.len());
            let rows = rows.as_standard_layout();
            Ok(recipe.embeddings.tensor(&[rows.nrows(), width], rows.as_slice().unwrap_or_default()))
        });
        let embeddings = self.graph.constant_in_parts("embed_tokens", &[vocabulary, width], blocks)?;
        let ids = tokens_of_texts(&mut self.graph, "input_ids", unpads)?;
        Ok(self.graph.add("Gather", &[&embeddings, &ids]))
    }

    /// Adds the gains of a norm.
    pub fn norm_weight(&mut self, norm: Norm) -> anyhow::Result<String> {
        let weight = self.weights.norm(norm)?;
        (self.on_read)(weight.len());
        let tensor = self.recipe.activations.tensor(&[weight.len()], &weight);
        self.graph.constant(&format!("{}.weight", norm.name()), tensor)
    }

    /// Adds a product of rows.
    pub fn product(
        &mut self,
        rows: &mut Rows,
        layer: usize,
        projection: Projection,
    ) -> anyhow::Result<Product> {
        let weight = self.weights.projection(layer, projection)?;
        (self.on_read)(weight.len());
        let encoding = self.recipe.encoding(layer, projection);
        multiply(&mut self.graph, rows, &projection.name_in(layer), &weight, encoding)
    }

    /// Adds the cosines and sines of rotary position embeddings, each `[positions, head_dim / 2]`.
    pub fn rotary(&mut self) -> anyhow::Result<[String; 2]> {
        let names = ["cosines", "sines"].map(str::to_owned);
        if !self.graph.has(&names[0]) {
            let shape = [self.architecture.positions, self.architecture.head_dim / 2];
            let tables = self.architecture.rotary();
            for (name, table) in names.iter().zip(tables) {
                self.graph.constant(name, self.recipe.activations.tensor(&shape, &table))?;
            }
        }
        Ok(names)
    }
}

/// Adds values `[batch, tokens]`, one per row.
pub fn tokens_of_texts(graph: &mut Graph, values: &str, unpads: bool) -> anyhow::Result<String> {
    if !unpads {
        return graph.reshape(values, DataType::Int64, &[ROWS]);
    }
    let flat = graph.reshape(values, DataType::Int64, &[Size::Named("positions")])?;
    Ok(graph.add("Gather", &[&flat, "places"]))
}

/// Adds the numbers from 0 to `count` - 1.
pub fn numbers(graph: &mut Graph, count: &str) -> anyhow::Result<String> {
    let zero = graph.constant("scalar_0", Tensor::scalar(0_i64))?;
    let one = graph.constant("scalar_1", Tensor::scalar(1_i64))?;
    let count = graph.add("Squeeze", &[count]);
    Ok(graph.add("Range", &[&zero, &count, &one]))
}

/// Adds a mask for attention: 0 where a query sees a key, which is its own or an earlier one, and otherwise the lowest number.
pub fn mask(graph: &mut Graph, keys: &str, queries: &str) -> anyhow::Result<String> {
    let lowest = graph.constant("lowest", Tensor::scalar(f32::MIN))?;
    let is_seen = graph.add("LessOrEqual", &[keys, queries]);
    let zero = graph.number(0.0)?;
    Ok(graph.add("Where", &[&is_seen, &zero, &lowest]))
}
