//! `embed`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::setup::ModelArguments;

pub const HELP: &str = "\
Examples:
  qwen3-index embed --query \"How do I return a station?\"
  qwen3-index embed --format npy < lines.txt > vectors.npy
  qwen3-index read ./docs | qwen3-index embed --arrow > rows.arrows

Of lines on standard input, each is answered before the next has to be there, so that another
program can keep this one open; and with --arrow, each batch.

Exit codes: 0 all done, 1 failed, 2 wrong usage, 3 done, but some texts have an error instead of a vector";

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub struct EmbedArguments {
    /// The texts [default: the lines of standard input]
    #[arg(value_name = "TEXT")]
    pub texts: Vec<String>,

    /// Embed questions, not documents: after the instruction that Qwen3-Embedding was trained with for retrieval
    #[arg(long)]
    pub query: bool,

    /// Put `Instruct: TEXT\nQuery:` before each text
    #[arg(long, value_name = "TEXT", conflicts_with = "query")]
    pub instruction: Option<String>,

    /// Read an Arrow IPC stream with a column `text` on standard input, and write it with vectors: each batch is answered
    /// before more than two others are read
    #[arg(long, conflicts_with_all = ["texts", "format"])]
    pub arrow: bool,

    /// What to write: jsonl (objects with text and vector, or text and error), npy (a NumPy array [texts, numbers]), or
    /// arrow (an Arrow IPC stream with the columns text and vector)
    #[arg(long, value_name = "FORMAT", default_value = "jsonl",
          value_parser = PossibleValuesParser::new(["jsonl", "npy", "arrow"]).map(|name| vector_format(&name)))]
    pub format: VectorFormat,

    /// Numbers in a vector, from 32 to the model's width: the first so many, normalized again
    /// [default: the model's width]
    #[arg(long, value_name = "N")]
    pub dim: Option<usize>,

    /// Tokens in one chunk, as for `build` [default: 2048, or less where the model takes less]
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// How vectors are written to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorFormat {
    /// A JSON object a line.
    JsonLines,
    /// A NumPy array.
    Npy,
    /// An Arrow IPC stream.
    Arrow,
}

fn vector_format(name: &str) -> VectorFormat {
    match name {
        "npy" => VectorFormat::Npy,
        "arrow" => VectorFormat::Arrow,
        _ => VectorFormat::JsonLines,
    }
}
