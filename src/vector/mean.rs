//! Turns the vectors of a document's chunks into the vector of the document. Pure.

use super::embedding::Embedding;
use crate::error::NoVector;

/// Returns the mean of the chunk vectors, each weighted by the tokens of its chunk, L2-normalized. A chunk of one line counts for
/// less than a chunk of a page. The caller must truncate the mean, not the chunk vectors, so that a document gets the same vector
/// whether `build` truncates it or somebody truncates it after the build.
///
/// # Errors
/// [`NoVector::NotFinite`] if the vectors add up to zero.
///
/// # Panics
/// If `chunks` is empty.
pub fn mean(chunks: &[(Embedding, usize)]) -> Result<Embedding, NoVector> {
    let ((first, _), rest) =
        chunks.split_first().unwrap_or_else(|| panic!("a document has at least one chunk"));
    if rest.is_empty() {
        return Ok(first.clone());
    }
    let mut sum = vec![0.0; first.values().len()];
    for (chunk, tokens) in chunks {
        for (sum, &value) in sum.iter_mut().zip(chunk.values()) {
            *sum += *tokens as f64 * f64::from(value);
        }
    }
    // Normalizing the sum gives the same vector as normalizing the mean, so the sum is not divided.
    #[allow(clippy::cast_possible_truncation)] // A sum of at most 2^40 tokens fits into an f32.
    Embedding::normalized(sum.into_iter().map(|x| x as f32))
}
