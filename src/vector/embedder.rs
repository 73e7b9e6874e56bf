//! Turns a batch into one [`Embedding`] per chunk. The trait [`Embedder`] separates the pipeline from the engine that runs the
//! model.

use ndarray::Array2;

use super::batch::{Batch, Batching, ChunkKey};
use super::embedding::Embedding;
use crate::error::NoVector;

/// An engine that runs a model on a device.
pub trait Embedder: Send {
    /// Returns the dimensions of the vectors.
    fn width(&self) -> usize;

    /// Returns the rule that says which texts may share a batch.
    fn batching(&self) -> Batching;

    /// Returns the batch size that suits the device, in tokens, padding included.
    fn batch_tokens(&self) -> usize;

    /// Returns the pooled vectors `[chunks, width]`, one per chunk, in the order of the batch. The vectors are not normalized.
    ///
    /// # Errors
    /// [`OutOfMemory`] or [`TooLargeForKernel`] if a smaller batch may work. After any other error the run cannot go on.
    fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>>;
}

/// The device has too little memory for a batch or a model.
#[derive(Debug, thiserror::Error)]
#[error("not enough memory on the device")]
pub struct OutOfMemory;

/// A batch of several texts is larger than a kernel of the device can compute.
#[derive(Debug, thiserror::Error)]
#[error("the batch is too large for the device: {0}")]
pub struct TooLargeForKernel(pub String);

/// Returns whether a smaller batch may work after this error.
pub fn may_fit_halved(error: &anyhow::Error) -> bool {
    error.is::<OutOfMemory>() || error.is::<TooLargeForKernel>()
}

/// The key of a chunk, together with the vector of the chunk or the reason why the chunk has no vector.
pub type Embedded = (ChunkKey, Result<Embedding, NoVector>);

/// Embeds the batch and returns one vector per chunk. If the vector of a chunk is not finite, this chunk has an error in place
/// of the vector.
///
/// # Errors
/// The engine failed.
///
/// # Panics
/// If [`Embedder::forward`] returns another shape than `[chunks, width]`.
pub fn embed(embedder: &mut dyn Embedder, batch: &Batch) -> anyhow::Result<Vec<Embedded>> {
    let pooled = embedder.forward(batch)?;
    assert_eq!(pooled.dim(), (batch.len(), embedder.width()), "one row per chunk");
    let vectors = pooled.rows().into_iter().map(|row| Embedding::normalized(row.iter().copied()));
    Ok(batch.keys().zip(vectors).collect())
}

/// Embeds batches with two fallbacks. If a batch is too large for the device, the batch is split into halves. If the vector of a
/// text is not finite, the text is embedded again in its own batch, without padding.
pub struct FallbackEmbedder {
    embedder: Box<dyn Embedder>,
    /// The most tokens per batch, padding included; `None` as long as no batch is too large for the device.
    batch_limit: Option<usize>,
}

impl FallbackEmbedder {
    /// Wraps an engine. There is no limit on batches until a batch is too large for the device.
    pub fn new(embedder: Box<dyn Embedder>) -> Self {
        FallbackEmbedder { embedder, batch_limit: None }
    }

    /// Returns the most tokens per batch, padding included; `None` as long as no batch is too large for the device.
    pub fn batch_limit(&self) -> Option<usize> {
        self.batch_limit
    }

    /// Embeds a batch as [`embed`] does, but with the two fallbacks. If a single text does not fit into memory, this text has
    /// an error in place of the vector.
    ///
    /// # Errors
    /// The engine failed; the run cannot go on.
    pub fn embed(&mut self, batch: Batch) -> anyhow::Result<Vec<Embedded>> {
        let is_too_large = self.batch_limit.is_some_and(|limit| batch.padded_tokens() > limit);
        if batch.len() > 1 && is_too_large {
            return self.embed_halves(batch);
        }
        match embed(&mut *self.embedder, &batch) {
            Ok(embedded) => self.retry_alone(&batch, embedded),
            Err(error) if batch.len() > 1 && may_fit_halved(&error) => {
                self.batch_limit = Some(batch.padded_tokens() / 2);
                self.embed_halves(batch)
            }
            Err(error) if error.is::<OutOfMemory>() => {
                let tokens = batch.tokens();
                Ok(batch.keys().map(|key| (key, Err(NoVector::OutOfMemory { tokens }))).collect())
            }
            Err(error) => Err(error),
        }
    }

    fn embed_halves(&mut self, batch: Batch) -> anyhow::Result<Vec<Embedded>> {
        let mut embedded = Vec::with_capacity(batch.len());
        for half in batch.halves() {
            embedded.extend(self.embed(half)?);
        }
        Ok(embedded)
    }

    /// Embeds each text without a vector a second time, in its own batch and without padding. In the first attempt, some
    /// numbers may have become too large for 16 bits because of the padding, or because of the kernel that the engine chose for
    /// the shape of the batch.
    fn retry_alone(&mut self, batch: &Batch, mut embedded: Vec<Embedded>) -> anyhow::Result<Vec<Embedded>> {
        if batch.len() > 1 || batch.padded_tokens() > batch.tokens() {
            for (at, (_, vector)) in
                embedded.iter_mut().enumerate().filter(|(_, (_, vector))| vector.is_err())
            {
                *vector = self.embed(batch.only(at))?.remove(0).1;
            }
        }
        Ok(embedded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tokenize::Encoding;
    use crate::vector::batch::Batch;

    /// An engine that returns NaN for every text with padding.
    struct SpoiledByPadding;

    impl Embedder for SpoiledByPadding {
        fn width(&self) -> usize {
            1
        }

        fn batching(&self) -> Batching {
            Batching::AnyLengths
        }

        fn batch_tokens(&self) -> usize {
            64
        }

        fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>> {
            let padded = batch.ids().ncols();
            let value = |length: usize| if length < padded { f32::NAN } else { 1.0 };
            let values = batch.lengths().into_iter().map(value).collect();
            Ok(Array2::from_shape_vec((batch.len(), 1), values)?)
        }
    }

    #[test]
    fn a_text_whose_padding_makes_nan_is_tried_again_without_padding() {
        let text = |document, tokens| (ChunkKey { document, chunk: 0 }, Encoding::new(vec![1; tokens]));
        let batch = || Batch::new(vec![text(0, 5), text(1, 3)]);
        let [_, alone] = batch().halves();
        for batch in [batch(), alone] {
            let embedded = FallbackEmbedder::new(Box::new(SpoiledByPadding)).embed(batch).unwrap();
            assert!(embedded.iter().all(|(_, vector)| vector.is_ok()), "{embedded:?}");
        }
    }
}
