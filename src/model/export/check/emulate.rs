//! Computes an 8-bit export in fp32: matrices and rows are rounded as the export rounds them, so that an export can be checked on
//! a processor that cannot run it.

use std::ops::Range;

use ndarray::Array2;
use rayon::prelude::*;

use crate::model::export::linear::{LARGEST, ProductEncoding, Recipe, nearest, scale};
use crate::model::export::weights::{Architecture, Norm, Projection, Weights};

/// Weights after their matrices were rounded to 8 bits, where the recipe says so.
pub struct Rounded<'a> {
    base: &'a dyn Weights,
    recipe: &'a Recipe,
}

impl<'a> Rounded<'a> {
    pub fn new(base: &'a dyn Weights, recipe: &'a Recipe) -> Self {
        Rounded { base, recipe }
    }

    /// Returns whether a product is in 8 bits.
    pub fn is_rounded(&self, layer: usize, projection: Projection) -> bool {
        self.recipe.encoding(layer, projection) == ProductEncoding::Tokens
    }
}

impl Weights for Rounded<'_> {
    fn architecture(&self) -> &Architecture {
        self.base.architecture()
    }

    fn embeddings(&self, rows: Range<usize>) -> anyhow::Result<Array2<f32>> {
        self.base.embeddings(rows)
    }

    fn norm(&self, norm: Norm) -> anyhow::Result<Vec<f32>> {
        self.base.norm(norm)
    }

    fn projection(&self, layer: usize, projection: Projection) -> anyhow::Result<Array2<f32>> {
        let matrix = self.base.projection(layer, projection)?;
        if !self.is_rounded(layer, projection) {
            return Ok(matrix);
        }
        Ok(rounded(&matrix.reversed_axes()).reversed_axes())
    }

    fn output(&self) -> anyhow::Result<Option<Array2<f32>>> {
        self.base.output()
    }
}

/// Returns a matrix after each row was rounded to 8 bits with a scale of its own.
pub fn rounded(matrix: &Array2<f32>) -> Array2<f32> {
    let mut matrix = matrix.as_standard_layout().into_owned();
    let length = matrix.ncols();
    if let Some(values) = matrix.as_slice_mut() {
        values.par_chunks_mut(length).for_each(|row| {
            let scale = scale(row, LARGEST);
            for value in row {
                *value = nearest(*value / scale) * scale;
            }
        });
    }
    matrix
}
