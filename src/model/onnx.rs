//! Turns a loaded graph and a workload into an [`Embedder`] with a rule for batches, a batch size and a shared prefix.

use ndarray::Array2;

use super::cuda::Gpu;
use super::feed::SharedPrefix;
use super::graph::Export;
use super::session::GraphSession;
use super::workload::Workload;
use crate::text::tokenize::Encoding;
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedder, may_fit_halved};

/// The most tokens per batch on a CPU. In a larger batch, matrix products are not faster, and the activations do not fit into
/// the caches of the CPU.
const BATCH_TOKENS_CPU: usize = 1536;

/// The most tokens per batch on a GPU. Batches of this size keep every GPU busy.
const BATCH_TOKENS_GPU: usize = 32 << 10;

/// Embeds batches with one graph on one device.
pub struct OnnxEmbedder {
    session: GraphSession,
    batching: Batching,
    batch_tokens: usize,
    prefix: Option<SharedPrefix>,
}

impl OnnxEmbedder {
    /// Computes the keys and values of the shared prefix. On a GPU, also finds the largest batch that fits into memory.
    ///
    /// # Errors
    /// ONNX Runtime failed.
    pub(super) fn new(
        mut session: GraphSession,
        batching: Batching,
        workload: &Workload,
    ) -> anyhow::Result<Self> {
        let prefix = session.compute_prefix(&workload.prefix)?;
        let batch_tokens = match session.gpu() {
            Some(_) => largest_batch(&mut session, batching, workload)?,
            None => BATCH_TOKENS_CPU,
        };
        Ok(OnnxEmbedder { session, batching, batch_tokens, prefix })
    }

    /// Returns the names of the inputs of the graph.
    pub fn inputs(&self) -> Vec<&str> {
        self.session.inputs()
    }

    /// Returns the name of the output that vectors are read from.
    pub fn output(&self) -> &str {
        self.session.output()
    }

    /// Returns the description of the export, if `model export` made the graph.
    pub fn export(&self) -> Option<&Export> {
        self.session.export()
    }

    /// Returns whether the keys and values of the workload's prefix are computed only once, for all texts.
    pub(super) fn shares_prefix(&self) -> bool {
        self.prefix.is_some()
    }

    /// Returns the GPU that the graph runs on; `None` on a CPU.
    pub(super) fn gpu(&self) -> Option<&Gpu> {
        self.session.gpu()
    }
}

impl Embedder for OnnxEmbedder {
    fn width(&self) -> usize {
        self.session.width()
    }

    fn batching(&self) -> Batching {
        self.batching
    }

    fn batch_tokens(&self) -> usize {
        self.batch_tokens
    }

    fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>> {
        self.session.forward(batch, self.prefix.as_ref())
    }
}

/// Returns the most tokens per batch that fit into the free memory of a GPU. Runs batches of texts with `max_tokens` tokens
/// each, from the largest batch to smaller batches, until a batch fits.
///
/// ONNX Runtime allocates memory in pieces of the sizes that a batch needs, and does not free these pieces after the batch. The
/// largest batch runs first, so that all later batches fit into the same pieces.
fn largest_batch(
    session: &mut GraphSession,
    batching: Batching,
    workload: &Workload,
) -> anyhow::Result<usize> {
    let max_tokens = workload.max_tokens;
    let mut texts = match batching {
        Batching::Alone => 1,
        _ => (workload.batch_tokens.unwrap_or(BATCH_TOKENS_GPU) / max_tokens).max(1),
    };
    while !fits(session, texts, max_tokens)? {
        if texts == 1 {
            // A text of `max_tokens` tokens does not fit, but all texts of this run may be shorter.
            return Ok(max_tokens / 2);
        }
        texts /= 2;
    }
    Ok(texts * max_tokens)
}

/// Returns whether a batch of `texts` texts, with `tokens` tokens each, fits into memory.
fn fits(session: &mut GraphSession, texts: usize, tokens: usize) -> anyhow::Result<bool> {
    let key = ChunkKey { document: 0, chunk: 0 };
    let batch = Batch::new(vec![(key, Encoding::new(vec![0; tokens])); texts]);
    match session.forward(&batch, None) {
        Ok(_) => Ok(true),
        Err(error) if may_fit_halved(&error) => Ok(false),
        Err(error) => Err(error),
    }
}
