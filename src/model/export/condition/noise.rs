//! How much the products of a layer would change the hidden states if they were computed in 8 bits, and which of them stay in
//! fp32 for that.

use crate::model::export::weights::Projection;

/// The most noise that the products in 8 bits may add together: the square of the change of a vector, relative to its length. Half
/// of it is the expected distance of the cosine from 1.
const NOISE_MAX: f64 = 0.0015;

/// The products that read the same rows. They are in 8 bits together, or in fp32 together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    Attention,
    Output,
    Mlp,
    Down,
}

impl Group {
    pub const ALL: [Group; 4] = [Group::Attention, Group::Output, Group::Mlp, Group::Down];

    /// Returns the products of the group.
    pub fn projections(self) -> &'static [Projection] {
        match self {
            Group::Attention => &[Projection::Query, Projection::Key, Projection::Value],
            Group::Output => &[Projection::Output],
            Group::Mlp => &[Projection::Gate, Projection::Up],
            Group::Down => &[Projection::Down],
        }
    }
}

/// How much a group of products would change the hidden states if it were in 8 bits.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    pub layer: usize,
    pub group: Group,
    /// The square of the change, relative to the square of the hidden state after the layer, as a mean over tokens.
    pub relative: f64,
    /// Weights of the group.
    pub weights: usize,
}

/// Returns the groups of products that stay in fp32, so that the others add at most [`NOISE_MAX`]. Groups that save the most noise
/// per weight come first.
pub fn kept_in_fp32(mut noise: Vec<Noise>) -> Vec<Noise> {
    let per_weight = |noise: &Noise| noise.relative / noise.weights as f64;
    noise.sort_by(|one, other| per_weight(other).total_cmp(&per_weight(one)));
    let mut rest: f64 = noise.iter().map(|noise| noise.relative).sum();
    let count = noise.iter().take_while(|noise| {
        let is_kept = rest > NOISE_MAX;
        rest -= noise.relative;
        is_kept
    });
    let count = count.count();
    noise.truncate(count);
    noise
}
