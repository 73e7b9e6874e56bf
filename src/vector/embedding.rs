//! A vector.

use crate::error::NoVector;

/// A vector of finite numbers with Euclidean length 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding(Box<[f32]>);

impl Embedding {
    /// Divides by the Euclidean length.
    ///
    /// # Errors
    /// [`NoVector::NotFinite`] for a NaN, an infinity, or a vector of zeros.
    pub fn normalized(values: impl IntoIterator<Item = f32>) -> Result<Self, NoVector> {
        let mut values: Box<[f32]> = values.into_iter().collect();
        // In double precision: the sum of 1024 squares is then exact to more than a float holds.
        let length = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return Err(NoVector::NotFinite);
        }
        for value in &mut values {
            *value = (f64::from(*value) / length) as f32;
        }
        Ok(Embedding(values))
    }

    /// The first `dim` numbers, normalized again (Matryoshka).
    ///
    /// # Errors
    /// [`NoVector::NotFinite`] where those are all zero.
    pub fn cut(self, dim: usize) -> Result<Self, NoVector> {
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
