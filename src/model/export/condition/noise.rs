//! How much the products of a layer would change the hidden states if they were computed in 8 bits, and which of them therefore
//! stay in fp32.

use std::collections::HashSet;

use crate::model::export::weights::Projection;

/// The most noise that the products in 8 bits may add together: the square of the change of a vector, relative to the square of its
/// length. With random weights of the real shape, the mean cosine to fp32 is below 1 by about three quarters of it.
const NOISE_MAX: f64 = 0.0015;

/// The products that read the same rows. They are in 8 bits together, or in fp32 together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProductGroup {
    Attention,
    Output,
    Mlp,
    Down,
}

impl ProductGroup {
    pub const ALL: [ProductGroup; 4] =
        [ProductGroup::Attention, ProductGroup::Output, ProductGroup::Mlp, ProductGroup::Down];

    /// Returns the products of the group.
    pub fn projections(self) -> &'static [Projection] {
        match self {
            ProductGroup::Attention => &[Projection::Query, Projection::Key, Projection::Value],
            ProductGroup::Output => &[Projection::Output],
            ProductGroup::Mlp => &[Projection::Gate, Projection::Up],
            ProductGroup::Down => &[Projection::Down],
        }
    }
}

/// How much a group of products would change the hidden states if it were in 8 bits.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    pub layer: usize,
    pub group: ProductGroup,
    /// The square of the change, relative to the square of the hidden state after the layer, as a mean over tokens.
    pub relative: f64,
    /// Weights of the group.
    pub weights: usize,
}

/// Returns the products that stay in fp32, by layer, so that the others add at most [`NOISE_MAX`]. Groups that save the most noise
/// per weight come first.
pub fn kept_in_fp32(noise: &[Noise]) -> HashSet<(usize, Projection)> {
    let per_weight = |noise: &Noise| noise.relative / noise.weights as f64;
    let mut sorted: Vec<&Noise> = noise.iter().collect();
    sorted.sort_by(|one, other| per_weight(other).total_cmp(&per_weight(one)));
    let mut rest: f64 = sorted.iter().map(|noise| noise.relative).sum();
    let is_kept = |noise: &&Noise| {
        let is_kept = rest > NOISE_MAX;
        rest -= noise.relative;
        is_kept
    };
    let kept = sorted.into_iter().take_while(is_kept);
    kept.flat_map(|noise| noise.group.projections().iter().map(|&projection| (noise.layer, projection)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_noisiest_products_per_weight_stay_until_the_rest_is_below_the_limit() {
        let noise = |layer, group, relative, weights| Noise { layer, group, relative, weights };
        let all = [
            noise(0, ProductGroup::Attention, 0.0005, 4000),
            noise(0, ProductGroup::Output, 0.0004, 1000),
            noise(0, ProductGroup::Mlp, 0.0009, 6000),
            noise(0, ProductGroup::Down, 0.0006, 3000),
        ];
        // 0.0024 in all: without the output 0.0020, without down 0.0014.
        let kept = HashSet::from([(0, Projection::Output), (0, Projection::Down)]);
        assert_eq!(kept_in_fp32(&all), kept);
        // 0.0009 is below the limit.
        assert_eq!(kept_in_fp32(&all[..2]), HashSet::new());
    }
}
