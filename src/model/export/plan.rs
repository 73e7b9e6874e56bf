//! Chooses which products of an 8-bit export stay in fp32.

use super::calibrate::Noise;

/// The most noise that the products in 8 bits may add together: the square of the change of a vector, relative to its length. Half
/// of it is the expected distance of the cosine from 1.
const NOISE_MAX: f64 = 0.003;

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
