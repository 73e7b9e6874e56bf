//! The vector of a text or a chunk.

use crate::error::NoVector;

/// A vector of finite numbers, L2-normalized.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Box<[f32]>);

impl Embedding {
    /// Divides the values by their L2 norm.
    ///
    /// # Errors
    /// [`NoVector::NotFinite`] if a value is NaN or infinite, or all values are zero.
    pub fn normalized(values: impl IntoIterator<Item = f32>) -> Result<Self, NoVector> {
        let mut values: Box<[f32]> = values.into_iter().collect();
        // In f64, the rounding error of a sum of 1,024 squares is too small to change an f32.
        let norm = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err(NoVector::NotFinite);
        }
        #[allow(clippy::cast_possible_truncation)]
        // The cast rounds each number to the precision of f32. Every number is between -1 and 1, so no number is out of range.
        for value in &mut values {
            *value = (f64::from(*value) / norm) as f32;
        }
        Ok(Embedding(values))
    }

    /// Returns the first `dim` dimensions, normalized again. The vectors of Matryoshka models can be truncated in this way.
    ///
    /// # Errors
    /// [`NoVector::NotFinite`] if the first `dim` values are all zero.
    ///
    /// # Panics
    /// If the vector has fewer than `dim` dimensions.
    pub fn truncate(self, dim: usize) -> Result<Self, NoVector> {
        if dim == self.0.len() { Ok(self) } else { Embedding::normalized(self.0[..dim].iter().copied()) }
    }

    /// Returns the numbers, one per dimension.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// Returns the numbers and consumes the vector.
    pub fn into_values(self) -> Box<[f32]> {
        self.0
    }

    /// Makes an embedding from stored numbers, which must be the numbers of an earlier `Embedding`. This function does not
    /// check or normalize the numbers again.
    pub fn stored(values: Box<[f32]>) -> Self {
        Embedding(values)
    }

    /// Returns the cosine similarity to another vector, from -1 to 1.
    pub fn cosine(&self, other: &Embedding) -> f64 {
        self.0.iter().zip(&other.0).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    }
}
