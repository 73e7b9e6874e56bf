//! The arguments of `search`.

use std::path::PathBuf;

use clap::Args;

use super::setup::ModelArguments;
use super::style::{INPUT, OUTPUT, TEXT};

pub const EXAMPLES: &str = "  \
  qwen3-index search vectors.parquet \"How do I return a station?\"
  qwen3-index search parts/ --questions questions.txt -k 3 --json > hits.jsonl";

/// Arguments of `search`.
#[derive(Debug, Args)]
// The options are numbered from 1, so help lists the positional arguments, number 0, before them.
#[command(next_display_order = 1)]
pub struct SearchArguments {
    /// Parquet file, folder of Parquet files, or pattern
    ///
    /// The files must have been written by `build`, `merge` or `pack`. A pattern names several files, such as 'parts/*.parquet'.
    #[arg(value_name = "INDEX", help_heading = INPUT, display_order = 0)]
    pub index: PathBuf,

    /// Question or other text to search for
    #[arg(required_unless_present = "questions", conflicts_with = "questions", help_heading = INPUT, display_order = 0)]
    pub question: Option<String>,

    /// File with one question per line, or - for stdin
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    pub questions: Option<PathBuf>,

    /// Rows to show per question
    #[arg(short = 'k', long, value_name = "N", default_value = "10", aliases = ["top-k", "n-results", "limit"], help_heading = OUTPUT,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,

    /// Show only the nearest chunk of each document
    ///
    /// This option has an effect only on an index that was built with --chunks.
    #[arg(long, help_heading = OUTPUT)]
    pub by_document: bool,

    /// Instruction to put before the question
    ///
    /// TEXT is the instruction. The model gets `Instruct: TEXT\nQuery:`, followed by the question. The default is the model's own
    /// prompt for questions. For Qwen3-Embedding, this is a retrieval instruction.
    #[arg(long, value_name = "TEXT", conflicts_with = "no_instruction", help_heading = TEXT)]
    pub instruction: Option<String>,

    /// Put no instruction before the question
    #[arg(long, help_heading = TEXT)]
    pub no_instruction: bool,

    /// Print one JSON object per question
    ///
    /// The object has the whole text of each row that was found.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
