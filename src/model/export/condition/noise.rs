//! How much the products of a layer would change the hidden states if they were computed in 8 bits, and which of them therefore
//! stay in fp32.

use std::collections::HashSet;

use crate::model::export::weights::Projection;

/// The most noise that the products in 8 bits may add together: the square of the change of a vector, relative to its length. Half
/// of it is the expected distance of the cosine from 1.
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
