//! The arguments of `embed`.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::setup::ModelArguments;
use super::style::{DIM_ALIASES, INPUT, LIMITS, OUTPUT, TEXT};

pub const EXAMPLES: &str = "  \
  qwen3-index embed --query \"How do I return a station?\"
  qwen3-index embed --format npy < lines.txt > vectors.npy
  qwen3-index read ./docs | qwen3-index embed --arrow > rows.arrows";

pub const EXIT_CODES: &str = "  \
  0    done
  1    failed
  2    wrong usage
  3    done, but some texts have an error instead of a vector";

/// Arguments of `embed`.
#[derive(Debug, Args)]
pub struct EmbedArguments {
    /// Texts to embed [default: the lines of stdin]
    ///
    /// Each line of stdin is answered without waiting for the next line, so another program can send one line at a time. Only
    /// with --format npy, all vectors are written at the end.
    #[arg(value_name = "TEXT", help_heading = INPUT, display_order = 0)]
    pub texts: Vec<String>,

    /// Embed the texts as questions, not as documents
    ///
    /// The command puts the model's own prompt for questions before each text. For Qwen3-Embedding, this is a retrieval
    /// instruction.
    #[arg(long, help_heading = TEXT)]
    pub query: bool,

    /// Instruction to put before each text
    ///
    /// TEXT is the instruction. The model gets `Instruct: TEXT\nQuery:`, followed by the text to embed.
    #[arg(long, value_name = "TEXT", conflicts_with = "query", help_heading = TEXT)]
    pub instruction: Option<String>,

    /// Read and write Arrow IPC streams
    ///
    /// The stream on standard input must have a column `text`. The stream on standard output has the same rows, with vectors.
    /// While the model embeds one batch, the command reads the next batch. It reads no further batch until the vectors of the
    /// current batch are written.
    #[arg(long, conflicts_with_all = ["texts", "format"], help_heading = INPUT)]
    pub arrow: bool,

    /// Output format: jsonl, npy or arrow
    ///
    /// jsonl is one JSON object per text, with the text and its vector, or with the text and an error. npy is one NumPy array of
    /// shape [texts, dimensions]. arrow is an Arrow IPC stream with the columns text and vector.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", hide_possible_values = true, help_heading = OUTPUT,
          value_parser = PossibleValuesParser::new(["jsonl", "npy", "arrow"]).map(|name| vector_column(&name)))]
    pub format: VectorFormat,

    /// Same as --format jsonl
    #[arg(long, conflicts_with_all = ["format", "arrow"], help_heading = OUTPUT, hide_short_help = true)]
    pub json: bool,

    /// Dimensions per vector [default: all]
    ///
    /// Each vector is truncated to its first N dimensions and L2-normalized again. N is at least 32 and at most the number of
    /// dimensions of the model.
    #[arg(long, value_name = "N", aliases = DIM_ALIASES, help_heading = OUTPUT)]
    pub dim: Option<usize>,

    /// Maximum tokens per chunk [default: 2048]
    ///
    /// A text with more than N tokens is split into chunks at sentence ends. The vector of the text is the mean of the vectors of
    /// the chunks. N includes the end token. The default is smaller if the model accepts fewer tokens.
    #[arg(long, value_name = "N", help_heading = TEXT)]
    pub max_tokens: Option<usize>,

    /// Maximum tokens per text
    ///
    /// A text with more tokens gets an error instead of a vector.
    #[arg(long, value_name = "N", default_value = "1000000", help_heading = LIMITS, hide_short_help = true,
          value_parser = clap::value_parser!(u64).range(1..))]
    pub max_document_tokens: u64,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}

/// The format of vectors on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorFormat {
    /// One JSON object per line.
    JsonLines,
    /// A NumPy array.
    Npy,
    /// An Arrow IPC stream.
    Arrow,
}

fn vector_column(name: &str) -> VectorFormat {
    match name {
        "npy" => VectorFormat::Npy,
        "arrow" => VectorFormat::Arrow,
        _ => VectorFormat::JsonLines,
    }
}
