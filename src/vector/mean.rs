//! The vectors of a document's chunks in, the document's vector out. Pure.

use super::embedding::Embedding;
use crate::error::NoVector;

/// The mean, normalized: at full width, so that a smaller index is a slice of a bigger one.
///
/// # Errors
/// [`NoVector::NotFinite`] where the vectors cancel out.
///
/// # Panics
/// If there are none.
pub fn mean(chunks: &[Embedding]) -> Result<Embedding, NoVector> {
    let (first, rest) = chunks.split_first().unwrap_or_else(|| panic!("a document has chunks"));
    if rest.is_empty() {
        return Ok(first.clone());
    }
    let mut sum: Vec<f64> = first.values().iter().copied().map(f64::from).collect();
    for chunk in rest {
        for (sum, &value) in sum.iter_mut().zip(chunk.values()) {
            *sum += f64::from(value);
        }
    }
    // The length is divided away, so the sum serves as the mean.
    Embedding::normalized(sum.into_iter().map(|x| x as f32))
}
