//! The seam between the graph of an export and the weights in it.

use std::ops::Range;

use ndarray::Array2;

/// The shape and the constants of a Qwen3 model.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    pub layers: usize,
    /// Dimensions of the hidden states.
    pub width: usize,
    /// Heads of the queries per layer.
    pub heads: usize,
    /// Heads of the keys and of the values per layer.
    pub kv_heads: usize,
    /// Dimensions per head.
    pub head_dim: usize,
    /// Dimensions between the two products of the MLP.
    pub inner: usize,
    /// Rows of the embedding matrix.
    pub vocabulary: usize,
    /// The largest number of tokens that a text may have.
    pub positions: usize,
    /// The number that RMSNorm adds to the mean square.
    pub epsilon: f32,
    /// The base of the frequencies of rotary position embeddings.
    pub rope_theta: f32,
}

impl Architecture {
    /// Returns the dimensions of the queries of all heads.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Returns the dimensions of the keys of all heads. Values have as many.
    pub fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Returns the cosines and the sines of rotary position embeddings, each `[positions, head_dim / 2]` (RoFormer,
    /// arXiv:2104.09864). As in transformers, frequencies and angles are rounded to 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)] // The rounding is meant.
    pub fn rotary(&self) -> [Vec<f32>; 2] {
        let exponents = (0..self.head_dim).step_by(2).map(|at| at as f32 / self.head_dim as f32);
        let frequencies: Vec<f32> =
            exponents.map(|exponent| 1.0 / f64::from(self.rope_theta).powf(exponent.into()) as f32).collect();
        [f64::cos, f64::sin].map(|function| {
            let of = |position: usize| {
                frequencies
                    .iter()
                    .map(move |frequency| function(f64::from(position as f32 * frequency)) as f32)
            };
            (0..self.positions).flat_map(of).collect()
        })
    }
}

/// The seven products of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// All products, in the order in which a layer computes them.
    pub const ALL: [Projection; 7] = [
        Projection::Query,
        Projection::Key,
        Projection::Value,
        Projection::Output,
        Projection::Gate,
        Projection::Up,
        Projection::Down,
    ];

    /// Returns the name in the checkpoint, such as `self_attn.q_proj`.
    pub fn name(self) -> &'static str {
        match self {
            Projection::Query => "self_attn.q_proj",
            Projection::Key => "self_attn.k_proj",
            Projection::Value => "self_attn.v_proj",
            Projection::Output => "self_attn.o_proj",
            Projection::Gate => "mlp.gate_proj",
            Projection::Up => "mlp.up_proj",
            Projection::Down => "mlp.down_proj",
        }
    }

    /// Returns the name in a layer, such as `layers.0.self_attn.q_proj`.
    pub fn name_in(self, layer: usize) -> String {
        format!("layers.{layer}.{}", self.name())
    }

    /// Returns the shape of the matrix: input dimensions and output dimensions.
    pub fn shape(self, architecture: &Architecture) -> (usize, usize) {
        let Architecture { width, inner, .. } = *architecture;
        match self {
            Projection::Query => (width, architecture.query_width()),
            Projection::Key | Projection::Value => (width, architecture.key_width()),
            Projection::Output => (architecture.query_width(), width),
            Projection::Gate | Projection::Up => (width, inner),
            Projection::Down => (inner, width),
        }
    }
}

/// The norms of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Norm {
    /// Before the attention of a layer.
    Attention(usize),
    /// Before the MLP of a layer.
    Mlp(usize),
    /// Of the queries of a layer, per head.
    Query(usize),
    /// Of the keys of a layer, per head.
    Key(usize),
    /// After the last layer.
    Final,
}

impl Norm {
    /// Returns the name in the checkpoint, without `.weight`.
    pub fn name(self) -> String {
        match self {
            Norm::Attention(layer) => format!("layers.{layer}.input_layernorm"),
            Norm::Mlp(layer) => format!("layers.{layer}.post_attention_layernorm"),
            Norm::Query(layer) => format!("layers.{layer}.self_attn.q_norm"),
            Norm::Key(layer) => format!("layers.{layer}.self_attn.k_norm"),
            Norm::Final => "norm".to_owned(),
        }
    }
}

/// What the graph of an export asks for, matrix by matrix. Each call may read from the disk and compute.
pub trait Weights: Sync {
    /// Returns the shape of the model.
    fn architecture(&self) -> &Architecture;

    /// Returns rows of the embedding matrix, `[rows, width]`.
    ///
    /// # Errors
    /// The rows cannot be read.
    fn embeddings(&self, rows: Range<usize>) -> anyhow::Result<Array2<f32>>;

    /// Returns the gains of a norm: `[width]`, or `[head_dim]` for a norm of heads.
    ///
    /// # Errors
    /// The gains cannot be read.
    fn norm(&self, norm: Norm) -> anyhow::Result<Vec<f32>>;

    /// Returns the matrix of a product, `[in, out]`.
    ///
    /// # Errors
    /// The matrix cannot be read.
    fn projection(&self, layer: usize, projection: Projection) -> anyhow::Result<Array2<f32>>;

    /// Returns the matrix `[width, width]` that the normed row of the end token is multiplied with before the L2 normalization.
    /// Returns `None` if there is no such product.
    ///
    /// # Errors
    /// The matrix cannot be computed.
    fn output(&self) -> anyhow::Result<Option<Array2<f32>>>;
}
