//! Changes the weights of a model so that 8 bits hold them and the activations, while the model computes the same function.

mod calibrate; // chooses the scales, and measures what 8 bits change
mod conditioned; // the changed weights
mod noise; // which products stay in fp32
mod rotation; // an orthogonal rotation of the hidden states
mod scales; // the scales inside a layer

pub use calibrate::calibrate;
pub use conditioned::Conditioned;
pub use noise::{Noise, kept_in_fp32};
