//! Rotates hidden states by an orthogonal matrix. In a trained decoder, a few dimensions have values that are tens to thousands
//! of times larger than the rest, and 8 bits cannot hold both. After a rotation every dimension has a share of every value, so
//! no dimension is much larger than the others (QuaRot, arXiv:2404.00456).
//!
//! The matrix is a Hadamard matrix with random signs. If the width is not a power of two, the matrix is the Kronecker product of
//! a Hadamard matrix and a matrix of the discrete cosine transform, whose size is the odd factor of the width.

use std::f64::consts::PI;

use ndarray::Array2;
use rayon::prelude::*;

/// Where the random signs start. Every export has the same signs, so that an export can be made again.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// An orthogonal matrix `[width, width]`.
pub struct Rotation {
    /// 1 or -1 per dimension, divided by the norm of a row of the Hadamard matrix.
    factors: Vec<f32>,
    /// The matrix of the discrete cosine transform, `[odd, odd]` in rows, where `odd` is the odd factor of the width.
    cosines: Vec<f32>,
    odd: usize,
}

impl Rotation {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // Rounding to 32 bits is meant.
    pub fn new(width: usize) -> Self {
        let odd = width >> width.trailing_zeros();
        let unit = 1.0 / ((width / odd) as f32).sqrt();
        let mut state = SEED;
        let factors = (0..width).map(|_| if random_bit(&mut state) { unit } else { -unit }).collect();
        let cosine = |row: usize, column: usize| {
            let scale = if row == 0 { 1.0 } else { 2.0 } / odd as f64;
            (scale.sqrt() * (PI * (column as f64 + 0.5) * row as f64 / odd as f64).cos()) as f32
        };
        let cosines = (0..odd).flat_map(|row| (0..odd).map(move |column| cosine(row, column))).collect();
        Rotation { factors, cosines, odd }
    }

    /// Returns the matrix `[width, width]`.
    pub fn matrix(&self) -> Array2<f32> {
        let mut matrix = Array2::eye(self.factors.len());
        self.rotate_rows(&mut matrix);
        matrix
    }

    /// Multiplies each row of `[rows, width]` with the matrix.
    ///
    /// # Panics
    /// If the rows do not lie one after the other in memory.
    pub fn rotate_rows(&self, rows: &mut Array2<f32>) {
        let width = self.factors.len();
        assert!(rows.is_standard_layout() && rows.ncols() == width);
        if let Some(values) = rows.as_slice_mut() {
            values.par_chunks_mut(width).for_each(|row| self.rotate(row));
        }
    }

    fn rotate(&self, row: &mut [f32]) {
        for (value, factor) in row.iter_mut().zip(&self.factors) {
            *value *= factor;
        }
        let mut half = self.odd;
        while half < row.len() {
            for pair in row.chunks_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (low, high) in low.iter_mut().zip(high) {
                    (*low, *high) = (*low + *high, *low - *high);
                }
            }
            half *= 2;
        }
        if self.odd > 1 {
            for part in row.chunks_mut(self.odd) {
                let product = |column| -> f32 {
                    part.iter().zip(self.cosines.chunks(self.odd)).map(|(x, row)| x * row[column]).sum()
                };
                let rotated: Vec<f32> = (0..self.odd).map(product).collect();
                part.copy_from_slice(&rotated);
            }
        }
    }
}

/// Returns the next bit of SplitMix64.
fn random_bit(state: &mut u64) -> bool {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_is_orthogonal_and_spreads_every_dimension() {
        for width in [64, 96, 320, 1280] {
            let matrix = Rotation::new(width).matrix();
            let product = matrix.dot(&matrix.t());
            let distance =
                (&product - &Array2::<f32>::eye(width)).iter().fold(0.0, |a: f32, b| a.max(b.abs()));
            assert!(distance < 1e-5, "{width}: {distance}");
            let largest = matrix.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
            #[allow(clippy::cast_precision_loss)]
            let even = 1.0 / (width as f32).sqrt();
            assert!(largest < 1.5 * even, "{width}: {largest}");
        }
    }
}
