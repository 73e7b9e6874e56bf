//! The arguments of `doctor`.

use clap::Args;

use super::setup::ModelArguments;
use super::style::OUTPUT;

pub const EXAMPLES: &str = "  \
  qwen3-index doctor
  qwen3-index doctor --model ./Qwen3-Embedding-0.6B-ONNX --device cuda";

pub const EXIT_CODES: &str = "  \
  0    no failure found; there may be warnings
  1    a check failed
  2    wrong usage";

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Print the findings as a JSON array
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,

    /// Compare the vectors of 200 built-in texts with those in fp32
    ///
    /// The texts are in ten languages and in code. The vectors in fp32 come from the model's own weights, or from the export
    /// `model.onnx` beside the export in use. The comparison takes about a minute.
    #[arg(long, help_heading = OUTPUT)]
    pub quality: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
