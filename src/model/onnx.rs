//! A loaded graph and what it is to embed in; an [`Embedder`] that knows its batching, shared prefix and batch size out.

use ndarray::Array2;

use super::cuda::Gpu;
use super::feed::SharedPrefix;
use super::graph::Export;
use super::session::GraphSession;
use super::workload::Workload;
use crate::text::tokenize::Encoding;
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedder, OutOfMemory};

/// Tokens per batch on a CPU: larger batches do not make matrix products faster, but their activations no longer fit into
/// the caches.
const BATCH_TOKENS_CPU: usize = 1536;

/// Most tokens per batch on a GPU: enough to use any GPU fully.
const BATCH_TOKENS_GPU: usize = 32 << 10;

/// Embeds batches with one graph on one device.
pub struct OnnxEmbedder {
    session: GraphSession,
    batching: Batching,
    batch_tokens: usize,
    prefix: Option<SharedPrefix>,
}

impl OnnxEmbedder {
    /// Computes the shared prefix and, on a GPU, finds the largest batch that fits into memory.
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
            Some(_) => largest_batch(&mut session, workload)?,
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

    /// Returns what the graph says about its export, if `scripts/export_onnx.py` made it.
    pub fn export(&self) -> Option<&Export> {
        self.session.export()
    }

    /// Tells whether the prefix of the workload is computed once instead of with every text.
    pub(super) fn shares_prefix(&self) -> bool {
        self.prefix.is_some()
    }

    /// Returns the GPU that the graph runs on.
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

/// Finds by trying how many tokens of the longest texts fit into the free memory of a GPU, in one batch.
///
/// ONNX Runtime allocates memory in pieces of the sizes that a batch needs, and keeps them. The largest batch runs first, so
/// later batches fit into its pieces.
fn largest_batch(session: &mut GraphSession, workload: &Workload) -> anyhow::Result<usize> {
    let max_tokens = workload.max_tokens;
    let mut texts = (workload.batch_tokens.unwrap_or(BATCH_TOKENS_GPU) / max_tokens).max(1);
    while !fits(session, texts, max_tokens)? {
        if texts == 1 {
            // The texts of this run may all be shorter.
            return Ok(max_tokens / 2);
        }
        texts /= 2;
    }
    Ok(texts * max_tokens)
}

/// Tells whether a batch of this many texts of this many tokens each fits into memory.
fn fits(session: &mut GraphSession, texts: usize, tokens: usize) -> anyhow::Result<bool> {
    let key = ChunkKey { document: 0, chunk: 0 };
    let batch = Batch::new(vec![(key, Encoding::new(vec![0; tokens])); texts]);
    match session.forward(&batch, None) {
        Ok(_) => Ok(true),
        // Any error, since some exports take one text at a time, and some kernels have a limit on the size of a batch.
        Err(_) if texts > 1 => Ok(false),
        Err(error) if error.is::<OutOfMemory>() => Ok(false),
        Err(error) => Err(error),
    }
}
