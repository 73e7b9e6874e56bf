//! The precisions that an export may have.

use std::fmt;
use std::str::FromStr;

use crate::error::Usage;

/// The precision of the weights and of the products in an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// The weights as they are, in 32 bits.
    Fp32,
    /// 8-bit weights with one scale per column, and 8-bit activations with one scale per token.
    Int8,
    /// 8-bit weights with one scale per block of 32 weights.
    Q8,
    /// 4-bit weights with one scale per block of 32 weights.
    Q4,
    /// 16-bit floats with 10 bits of fraction, for CUDA.
    F16,
    /// 16-bit floats with 7 bits of fraction, for CUDA.
    Bf16,
    /// The weights as they are, in operators of the oldest ONNX versions, for OpenVINO.
    Plain,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Precision; 7] = [
        Precision::Fp32,
        Precision::Int8,
        Precision::Q8,
        Precision::Q4,
        Precision::F16,
        Precision::Bf16,
        Precision::Plain,
    ];

    /// Returns the name in options, in file names and in the metadata of an export.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Int8 => "int8",
            Precision::Q8 => "q8",
            Precision::Q4 => "q4",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
            Precision::Plain => "plain",
        }
    }

    /// Returns the name of the graph file in the folder `onnx` of a model folder.
    pub fn file_name(self) -> String {
        match self {
            Precision::Fp32 => "model.onnx".to_owned(),
            other => format!("model_{}.onnx", other.name()),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = Usage;

    fn from_str(name: &str) -> Result<Self, Usage> {
        Precision::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Precision::ALL.iter().map(|precision| precision.name()).collect();
            Usage(format!("use {}", names.join(", ")))
        })
    }
}
