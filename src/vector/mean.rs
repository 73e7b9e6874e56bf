//! Turns the vectors of a document's chunks into the vector of the document. Pure.

use super::embedding::Embedding;
use crate::error::NoVector;

/// Returns the mean of the chunk vectors, L2-normalized. The caller must truncate the mean, not the chunk vectors, so that a
/// document gets the same vector whether `build` truncates it or somebody truncates it after the build.
///
/// # Errors
/// [`NoVector::NotFinite`] if the vectors add up to zero.
///
/// # Panics
/// If `chunks` is empty.
pub fn mean(chunks: &[Embedding]) -> Result<Embedding, NoVector> {
    let (first, rest) = chunks.split_first().unwrap_or_else(|| panic!("a document has at least one chunk"));
    if rest.is_empty() {
        return Ok(first.clone());
    }
    let mut sum: Vec<f64> = first.values().iter().copied().map(f64::from).collect();
    for chunk in rest {
        for (sum, &value) in sum.iter_mut().zip(chunk.values()) {
            *sum += f64::from(value);
        }
    }
    // Normalizing the sum gives the same vector as normalizing the mean, so the sum is not divided.
    #[allow(clippy::cast_possible_truncation)] // A sum of some thousand numbers below 1 fits into an f32.
    Embedding::normalized(sum.into_iter().map(|x| x as f32))
}
