//! `eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::setup::ModelArguments;

pub const HELP: &str = "\
Examples:
  qwen3-index eval retrieval my-test
  qwen3-index eval retrieval my-test --index vectors.parquet --dims 1024,512,256
  qwen3-index eval pairs sts.tsv --compare-model-file model_int8.onnx";

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Pairs of texts and how alike they are: correlation of that score with the cosine (Spearman, Pearson)
    Pairs(EvalPairsArguments),
    /// Questions, documents, and which of them answer which: nDCG@10, Recall@10 and MRR
    Retrieval(EvalRetrievalArguments),
}

/// Arguments of `eval pairs`.
#[derive(Debug, Args)]
pub struct EvalPairsArguments {
    /// The pairs: JSON Lines, CSV, TSV or Parquet. A field `language` or `lang` gives figures for each language too
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Fields or columns with the first text, the second, and the score
    #[arg(
        long,
        value_name = "A,B,SCORE",
        value_delimiter = ',',
        default_value = "sentence1,sentence2,score"
    )]
    pub fields: Vec<String>,

    /// Put `Instruct: TEXT\nQuery:` before both texts [default: no instruction]
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub setups: SetupArguments,
}

/// Arguments of `eval retrieval`.
#[derive(Debug, Args)]
pub struct EvalRetrievalArguments {
    /// A folder as BEIR has them, with queries.jsonl, corpus.jsonl and qrels/test.tsv. A field `language` or `lang` of
    /// questions gives figures for each language too
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Look for documents in this index, instead of embedding corpus.jsonl: a Parquet file that `build` wrote, a folder of
    /// them, or a pattern such as 'parts/*.parquet'. Chunks count as their document
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["compare_model", "compare_model_file"])]
    pub index: Option<PathBuf>,

    /// What questions are put after, as `Instruct: TEXT\nQuery:` [default: the one that Qwen3-Embedding was trained
    /// with for retrieval]
    #[arg(long, value_name = "TEXT", conflicts_with = "no_instruction")]
    pub instruction: Option<String>,

    /// Embed questions as they are
    #[arg(long)]
    pub no_instruction: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub setups: SetupArguments,
}

/// What is measured beside each other.
#[derive(Debug, Args)]
pub struct SetupArguments {
    /// Numbers in a vector, from 32 to the model's width: the first so many, normalized again; several give a line each
    /// [default: the model's width]
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    pub dims: Vec<usize>,

    /// Compare with another model, and say whether the difference could be chance
    #[arg(long, value_name = "DIR|FILE.onnx")]
    pub compare_model: Option<PathBuf>,

    /// Compare with another ONNX file
    #[arg(long, value_name = "NAME")]
    pub compare_model_file: Option<String>,

    /// Compare with vectors of so many numbers
    #[arg(long, value_name = "N")]
    pub compare_dim: Option<usize>,

    /// Compare with another instruction
    #[arg(long, value_name = "TEXT")]
    pub compare_instruction: Option<String>,

    /// Print a JSON object, with the figures of each question or pair
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
