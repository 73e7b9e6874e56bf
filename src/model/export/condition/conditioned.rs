//! The weights of a model, changed so that 8 bits hold them and the activations, while the model computes the same function:
//! the hidden states are rotated, and the dimensions inside a layer are scaled. All changes are folded into the matrices, so
//! they cost nothing at run time, except for one small product per text that rotates its vector back.

use std::ops::Range;

use ndarray::{Array1, Array2};

use super::rotation::Rotation;
use super::scales::Scales;
use crate::model::export::weights::{Architecture, Norm, Projection, Weights};

/// The changed weights of a model.
pub struct Conditioned<'a> {
    base: &'a dyn Weights,
    rotation: Rotation,
    /// The scales per layer. A layer without scales is only rotated.
    scales: Vec<Scales>,
}

impl<'a> Conditioned<'a> {
    pub fn new(base: &'a dyn Weights) -> Self {
        Conditioned { base, rotation: Rotation::new(base.architecture().width), scales: Vec::new() }
    }

    /// Adds the scales of the next layer.
    pub fn push(&mut self, scales: Scales) {
        self.scales.push(scales);
    }
}

impl Weights for Conditioned<'_> {
    fn architecture(&self) -> &Architecture {
        self.base.architecture()
    }

    fn embeddings(&self, rows: Range<usize>) -> anyhow::Result<Array2<f32>> {
        let mut rows = self.base.embeddings(rows)?;
        self.rotation.rotate_rows(&mut rows);
        Ok(rows)
    }

    fn norm(&self, norm: Norm) -> anyhow::Result<Vec<f32>> {
        match norm {
            // The gains are in the matrices that read the normed rows.
            Norm::Attention(_) | Norm::Mlp(_) | Norm::Final => Ok(vec![1.0; self.architecture().width]),
            Norm::Query(_) | Norm::Key(_) => self.base.norm(norm),
        }
    }

    fn projection(&self, layer: usize, projection: Projection) -> anyhow::Result<Array2<f32>> {
        let matrix = self.base.projection(layer, projection)?;
        let norm = match projection {
            Projection::Query | Projection::Key | Projection::Value => Norm::Attention(layer),
            Projection::Gate | Projection::Up => Norm::Mlp(layer),
            Projection::Output | Projection::Down => {
                // Rows [in, out] add to the hidden states.
                let mut matrix = matrix.as_standard_layout().into_owned();
                self.rotation.rotate_rows(&mut matrix);
                let mut matrix = matrix.reversed_axes();
                self.scale(layer, projection, &mut matrix);
                return Ok(matrix.reversed_axes());
            }
        };
        // Columns [in, out] read the hidden states.
        let mut matrix = matrix.reversed_axes().as_standard_layout().into_owned();
        matrix *= &Array1::from(self.base.norm(norm)?);
        self.rotation.rotate_rows(&mut matrix);
        self.scale(layer, projection, &mut matrix);
        Ok(matrix.reversed_axes())
    }

    fn output(&self) -> anyhow::Result<Option<Array2<f32>>> {
        let mut matrix = self.rotation.matrix().reversed_axes();
        matrix *= &Array1::from(self.base.norm(Norm::Final)?);
        Ok(Some(matrix))
    }
}

impl Conditioned<'_> {
    fn scale(&self, layer: usize, projection: Projection, matrix: &mut Array2<f32>) {
        if let Some(scales) = self.scales.get(layer) {
            scales.apply(projection, matrix);
        }
    }
}
