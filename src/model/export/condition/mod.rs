//! Changes the weights of a model so that 8 bits hold them and the activations, while the model computes the same function.

mod calibrate; // chooses the scales, and measures what 8 bits change
mod conditioned; // the changed weights
mod noise; // which products stay in fp32
mod rotation; // an orthogonal rotation of the hidden states
mod scales; // the scales inside a layer

pub use calibrate::calibrate;
pub use conditioned::Conditioned;
pub use noise::{Noise, kept_in_fp32};

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use ndarray::Array2;

    use super::noise::ProductGroup;
    use super::*;
    use crate::model::export::check::emulate::{Rounded, rounded};
    use crate::model::export::check::multiply::Multiply;
    use crate::model::export::check::reference::{Layer, Reference};
    use crate::model::export::linear::Recipe;
    use crate::model::export::weights::{Architecture, Norm, Projection, Weights};
    use crate::model::precision::Precision;
    use crate::text::tokenize::Encoding;

    /// The gain of the outlier channels.
    const GAIN: f32 = 512.0;

    /// A model with random weights, and with outlier channels that do not change what it computes.
    struct Planted(Architecture);

    impl Planted {
        fn new() -> Self {
            Planted(Architecture {
                layers: 3,
                width: 96,
                heads: 6,
                kv_heads: 2,
                head_dim: 16,
                inner: 160,
                vocabulary: 64,
                positions: 64,
                epsilon: 1e-6,
                rope_theta: 1e6,
            })
        }
    }

    /// Returns numbers that depend on a seed only, about normally distributed with a variance of 1.
    fn numbers(seed: usize, rows: usize, columns: usize) -> Array2<f32> {
        let mut state = seed as u64 + 1;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            #[allow(clippy::cast_precision_loss)]
            let number = (state >> 40) as f32 / (1 << 24) as f32;
            number - 0.5
        };
        Array2::from_shape_fn((rows, columns), |_| (0..4).map(|_| uniform()).sum::<f32>() * 3_f32.sqrt())
    }

    impl Weights for Planted {
        fn architecture(&self) -> &Architecture {
            &self.0
        }

        fn embeddings(&self, rows: Range<usize>) -> anyhow::Result<Array2<f32>> {
            let all = numbers(1, self.0.vocabulary, self.0.width);
            Ok(all.slice_axis(ndarray::Axis(0), rows.into()).to_owned())
        }

        fn norm(&self, norm: Norm) -> anyhow::Result<Vec<f32>> {
            let width =
                if matches!(norm, Norm::Query(_) | Norm::Key(_)) { self.0.head_dim } else { self.0.width };
            let mut gains = vec![1.0; width];
            if let Norm::Attention(layer) | Norm::Mlp(layer) = norm {
                gains[7 + layer] = GAIN;
            }
            Ok(gains)
        }

        fn projection(&self, layer: usize, projection: Projection) -> anyhow::Result<Array2<f32>> {
            let (inner, outer) = projection.shape(&self.0);
            #[allow(clippy::cast_precision_loss)]
            let unit = 1.0 / (inner as f32).sqrt();
            let mut matrix = numbers(100 * layer + projection as usize, inner, outer) * unit;
            let group = self.0.heads / self.0.kv_heads;
            match projection {
                Projection::Output => {
                    for head in 0..group {
                        matrix.row_mut(head * self.0.head_dim + 5).mapv_inplace(|x| x / GAIN);
                    }
                }
                Projection::Down => matrix.row_mut(11 + layer).mapv_inplace(|x| x / GAIN),
                _ => matrix.row_mut(7 + layer).mapv_inplace(|x| x / GAIN),
            }
            match projection {
                Projection::Value => matrix.column_mut(5).mapv_inplace(|x| x * GAIN),
                Projection::Up => matrix.column_mut(11 + layer).mapv_inplace(|x| x * GAIN),
                _ => {}
            }
            Ok(matrix)
        }

        fn output(&self) -> anyhow::Result<Option<Array2<f32>>> {
            Ok(None)
        }
    }

    fn texts() -> Vec<Encoding> {
        (0..12_u32)
            .map(|text| Encoding::new((0..8 + text).map(|at| (text * 17 + at * at) % 64).collect()))
            .collect()
    }

    struct PlainMultiplier;

    impl Multiply for PlainMultiplier {
        fn multiply(&mut self, rows: &Array2<f32>, matrix: &Array2<f32>) -> anyhow::Result<Array2<f32>> {
            Ok(rows.dot(&matrix.t()))
        }
    }

    fn vectors(weights: &dyn Weights, is_rounded: impl Fn(Projection) -> bool) -> Array2<f32> {
        let mut product = |layer: &Layer, projection, rows: &Array2<f32>| match is_rounded(projection) {
            true => PlainMultiplier.multiply(&rounded(rows), layer.matrix(projection)),
            false => PlainMultiplier.multiply(rows, layer.matrix(projection)),
        };
        Reference::new(weights.architecture()).vectors(weights, &texts(), &mut product, &mut |_| ()).unwrap()
    }

    fn lowest_cosine(vectors: &Array2<f32>, exact: &Array2<f32>) -> f32 {
        vectors.rows().into_iter().zip(exact.rows()).map(|(one, other)| one.dot(&other)).fold(1.0, f32::min)
    }

    #[test]
    fn conditioned_weights_compute_the_same_and_bear_8_bits() {
        let planted = Planted::new();
        let exact = vectors(&planted, |_| false);
        let (conditioned, noise) = calibrate(&planted, &texts(), &mut PlainMultiplier, &mut |_| ()).unwrap();
        assert!(lowest_cosine(&vectors(&conditioned, |_| false), &exact) > 0.9999);

        let recipe = Recipe::new(Precision::Int8);
        let plain = lowest_cosine(&vectors(&Rounded::new(&planted, &recipe), |_| true), &exact);
        let bearing = lowest_cosine(&vectors(&Rounded::new(&conditioned, &recipe), |_| true), &exact);
        assert!(plain < 0.9, "the outliers do no harm: {plain}");
        assert!(bearing > 0.99, "{bearing}");

        // Each group of products was measured in each layer.
        assert_eq!(noise.len(), 3 * ProductGroup::ALL.len());
        assert!(noise.iter().all(|noise| noise.relative > 0.0 && noise.relative < 0.01), "{noise:?}");
    }
}
