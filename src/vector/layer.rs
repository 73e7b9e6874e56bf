//! The layers that a model may have after the pooling. Pure.

use ndarray::{Array1, Array2, Axis};

/// A layer between the pooling and the end of a model. It turns one vector per text into another vector per text.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadLayer {
    /// A matrix product, a bias and an activation.
    Dense(Dense),
    /// Divides each vector by its L2 norm.
    Normalize,
}

/// The layer `activation(weights · x + bias)`, the module `Dense` of sentence-transformers.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// The matrix `[out, in]`.
    pub weights: Array2<f32>,
    /// The bias `[out]`; all zero if the layer has none.
    pub bias: Array1<f32>,
    /// The function that is applied to each number at the end.
    pub activation: Activation,
}

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Returns the number itself.
    Identity,
    /// The hyperbolic tangent.
    Tanh,
    /// Returns 0 for a negative number, and the number itself otherwise.
    Relu,
}

impl HeadLayer {
    /// Applies the layer to the vectors `[batch, in]`. Each row is computed on its own, so a vector does not depend on the other
    /// texts of its batch.
    ///
    /// # Panics
    /// If the vectors do not have the width of the layer.
    pub fn apply(&self, vectors: &Array2<f32>) -> Array2<f32> {
        match self {
            HeadLayer::Dense(dense) => {
                let mut results = Array2::zeros((vectors.nrows(), dense.bias.len()));
                for (row, mut result) in vectors.rows().into_iter().zip(results.rows_mut()) {
                    result.assign(&(dense.weights.dot(&row) + &dense.bias));
                }
                results.mapv_into(|x| dense.activation.apply(x))
            }
            HeadLayer::Normalize => {
                let norms = vectors.map_axis(Axis(1), |row| row.dot(&row).sqrt());
                vectors / &norms.insert_axis(Axis(1))
            }
        }
    }
}

impl Activation {
    /// Applies the function. An infinity or a NaN becomes NaN: a finite result, such as tanh(∞) = 1, would hide that the model
    /// failed on the text.
    fn apply(self, x: f32) -> f32 {
        match self {
            _ if !x.is_finite() => f32::NAN,
            Activation::Identity => x,
            Activation::Tanh => x.tanh(),
            Activation::Relu => x.max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn a_dense_layer_is_a_product_a_bias_and_an_activation() {
        let (weights, bias) = (array![[1.0, 2.0], [0.0, -1.0], [1.0, 0.0]], array![0.5, 0.0, -1.0]);
        let apply = |activation| {
            let dense = Dense { weights: weights.clone(), bias: bias.clone(), activation };
            HeadLayer::Dense(dense).apply(&array![[1.0, 1.0], [0.0, 2.0]])
        };
        assert_eq!(apply(Activation::Identity), array![[3.5, -1.0, 0.0], [4.5, -2.0, -1.0]]);
        assert_eq!(apply(Activation::Relu), array![[3.5, 0.0, 0.0], [4.5, 0.0, 0.0]]);
        assert_eq!(apply(Activation::Tanh)[[1, 2]], (-1.0f32).tanh());
    }

    #[test]
    fn a_number_that_is_not_finite_stays_so() {
        for activation in [Activation::Identity, Activation::Tanh, Activation::Relu] {
            for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                assert!(activation.apply(x).is_nan(), "{activation:?} of {x}");
            }
        }
    }

    #[test]
    fn a_normalized_vector_has_the_length_1() {
        assert_eq!(
            HeadLayer::Normalize.apply(&array![[3.0, 4.0], [0.0, 2.0]]),
            array![[0.6, 0.8], [0.0, 1.0]]
        );
    }
}
