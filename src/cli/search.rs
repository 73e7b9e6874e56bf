//! `search`.

use std::path::PathBuf;

use clap::Args;

use super::setup::ModelArguments;

pub const HELP: &str = "\
Examples:
  qwen3-index search vectors.parquet \"How do I return a station?\"
  qwen3-index search parts/ --questions questions.txt -k 3 --json > hits.jsonl";

/// Arguments of `search`.
#[derive(Debug, Args)]
pub struct SearchArguments {
    /// The index: a Parquet file that `build` wrote, a folder of them, or a pattern such as 'parts/*.parquet'
    #[arg(value_name = "INDEX")]
    pub index: PathBuf,

    /// What to look for
    #[arg(required_unless_present = "questions", conflicts_with = "questions")]
    pub question: Option<String>,

    /// A file with a question a line, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub questions: Option<PathBuf>,

    /// How many rows to show for each question
    #[arg(short = 'k', long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,

    /// Show only the nearest chunk of each document, where rows are chunks
    #[arg(long)]
    pub by_document: bool,

    /// What the question is put after, as `Instruct: TEXT\nQuery:` [default: the one that Qwen3-Embedding was trained
    /// with for retrieval]
    #[arg(long, value_name = "TEXT", conflicts_with = "no_instruction")]
    pub instruction: Option<String>,

    /// Embed the question as it is
    #[arg(long)]
    pub no_instruction: bool,

    /// Print a JSON object for each question, with the whole text of each row
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
