//! Measures how far the vectors of an export are from those of the model in fp32.

mod comparison; // compares an export with fp32 on the built-in texts
pub mod emulate; // computes an 8-bit export in fp32
pub mod multiply; // multiplies matrices with ONNX Runtime
pub mod quality; // the cosines and the neighbors
pub mod reference; // computes the model in fp32, layer by layer
pub mod texts; // the built-in texts

pub use comparison::Comparison;
pub use quality::Quality;
