//! A batch in, an [`Embedding`] a chunk out; what stands between pipeline and engine.

use super::embedding::Embedding;
use ndarray::Array2;

use super::batch::{Batch, Batching, ChunkKey};
use crate::error::NoVector;

/// An engine that runs a model on a device.
pub trait Embedder: Send {
    /// Length of the vectors.
    fn width(&self) -> usize;

    /// How much company its texts may have.
    fn batching(&self) -> Batching;

    /// Most tokens of a batch, padding included, that suit the device.
    fn batch_tokens(&self) -> usize;

    /// Pooled hidden states `[chunks of the batch, width]`, in the order of the batch, of any length.
    ///
    /// # Errors
    /// [`OutOfMemory`], after which a smaller batch may do; with any other the run cannot go on.
    fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>>;
}

/// The device has not the memory for a batch.
#[derive(Debug, thiserror::Error)]
#[error(
    "the memory of the device is too small for it: free some, raise --gpu-memory, take a smaller export (f16), or use --device cpu"
)]
pub struct OutOfMemory;

/// What became of a chunk.
pub type Embedded = (ChunkKey, Result<Embedding, NoVector>);

/// Runs the batch and gives each chunk its own vector back.
///
/// # Errors
/// The engine failed. A vector that is not finite is its chunk's own error.
///
/// # Panics
/// If the engine gives another number of rows than the batch has chunks, or of another width.
pub fn embed(embedder: &mut dyn Embedder, batch: &Batch) -> anyhow::Result<Vec<Embedded>> {
    let hidden = embedder.forward(batch)?;
    assert_eq!(hidden.dim(), (batch.len(), embedder.width()), "one row a chunk");
    Ok(batch
        .keys()
        .zip(hidden.rows())
        .map(|(key, row)| (key, Embedding::normalized(row.iter().copied())))
        .collect())
}

/// An embedder that is given what it can bear: batches for which the memory is too small are halved, and a text whose
/// vector is not finite is tried again without the others.
pub struct Patient {
    embedder: Box<dyn Embedder>,
    /// Most tokens of a batch, padding included; less, once that was too much.
    places_max: usize,
}

impl Patient {
    /// With batches of any size at first.
    pub fn new(embedder: Box<dyn Embedder>) -> Self {
        Patient { embedder, places_max: usize::MAX }
    }

    /// Most tokens of a batch, padding included.
    pub fn places_max(&self) -> usize {
        self.places_max
    }

    /// As [`embed`].
    ///
    /// # Errors
    /// The engine failed; the run cannot go on.
    pub fn embed(&mut self, batch: Batch) -> anyhow::Result<Vec<Embedded>> {
        if batch.len() > 1 && batch.places() > self.places_max {
            return self.embed_halves(batch);
        }
        match embed(&mut *self.embedder, &batch) {
            Ok(embedded) => self.again_alone(&batch, embedded),
            Err(error) if error.is::<OutOfMemory>() => {
                if batch.len() > 1 {
                    self.places_max = batch.places() / 2;
                    return self.embed_halves(batch);
                }
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

    /// Numbers that are too large for 16 bits can come of the kernel that the shape of the batch has chosen, or of padding.
    fn again_alone(&mut self, batch: &Batch, mut embedded: Vec<Embedded>) -> anyhow::Result<Vec<Embedded>> {
        if batch.len() > 1 || batch.places() > batch.tokens() {
            for (at, made) in embedded.iter_mut().enumerate().filter(|(_, (_, vector))| vector.is_err()) {
                made.1 = self.embed(batch.only(at))?.remove(0).1;
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

    /// Where there is padding, it gets into the vector.
    struct Padded;

    impl Embedder for Padded {
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
    fn a_text_that_its_padding_has_spoiled_is_tried_without() {
        let text = |document, tokens| (ChunkKey { document, chunk: 0 }, Encoding::new(vec![1; tokens]));
        let batch = || Batch::new(vec![text(0, 5), text(1, 3)]);
        let [_, alone] = batch().halves();
        for batch in [batch(), alone] {
            let embedded = Patient::new(Box::new(Padded)).embed(batch).unwrap();
            assert!(embedded.iter().all(|(_, vector)| vector.is_ok()), "{embedded:?}");
        }
    }
}
