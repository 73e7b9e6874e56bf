//! A batch in, an [`Embedding`] a chunk out; what stands between pipeline and engine.

use ndarray::Array2;

use crate::batch::{Batch, Batching, ChunkKey};
use crate::error::DocumentError;

/// An engine that runs a model.
pub trait Embedder {
    /// Length of the vectors.
    fn width(&self) -> usize;

    /// How much company its texts may have.
    fn batching(&self) -> Batching;

    /// Pooled hidden states `[chunks of the batch, width]`, in the order of the batch, of any length.
    ///
    /// # Errors
    /// The engine failed; the run cannot go on.
    fn forward(&mut self, batch: &Batch) -> anyhow::Result<Array2<f32>>;
}

/// A vector of finite numbers with Euclidean length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Box<[f32]>);

impl Embedding {
    /// Divides by the Euclidean length.
    ///
    /// # Errors
    /// [`DocumentError::NotFinite`] for a NaN, an infinity, or a vector of zeros.
    pub fn normalized(values: impl IntoIterator<Item = f32>) -> Result<Self, DocumentError> {
        let mut values: Box<[f32]> = values.into_iter().collect();
        // In double precision: the sum of 1024 squares is then exact to more than a float holds.
        let length = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return Err(DocumentError::NotFinite);
        }
        for value in &mut values {
            *value = (f64::from(*value) / length) as f32;
        }
        Ok(Embedding(values))
    }

    /// The first `dim` numbers, normalized again (Matryoshka).
    ///
    /// # Errors
    /// [`DocumentError::NotFinite`] where those are all zero.
    pub fn cut(self, dim: usize) -> Result<Self, DocumentError> {
        if dim == self.0.len() { Ok(self) } else { Embedding::normalized(self.0[..dim].iter().copied()) }
    }

    /// The numbers.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// The numbers alone.
    pub fn into_values(self) -> Box<[f32]> {
        self.0
    }

    /// One that was stored as it was made: finite and of length 1, as whoever stored it has to see to.
    pub fn stored(values: Box<[f32]>) -> Self {
        Embedding(values)
    }

    /// Cosine similarity, from -1 to 1.
    pub fn cosine(&self, other: &Embedding) -> f64 {
        self.0.iter().zip(&other.0).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }
}

/// What became of a chunk.
pub type Embedded = (ChunkKey, Result<Embedding, DocumentError>);

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
