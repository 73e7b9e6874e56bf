//! The arguments of `eval`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::setup::ModelArguments;
use super::style::{self, COMPARISON, INPUT, OUTPUT, TEXT};
use crate::model::precision_choice::PrecisionChoice;

pub const EXAMPLES: &str = "  \
  qwen3-index eval retrieval my-test
  qwen3-index eval retrieval my-test --index vectors.parquet --dims 1024,512,256
  qwen3-index eval pairs sts.tsv --compare-model-file model_int8.onnx";

const PAIRS: &str = "  \
  qwen3-index eval pairs sts.tsv
  qwen3-index eval pairs sts.tsv --compare-model-file model_int8.onnx";

const RETRIEVAL: &str = "  \
  qwen3-index eval retrieval my-test
  qwen3-index eval retrieval my-test --index vectors.parquet --dims 1024,512,256";

/// Kinds of test sets.
#[derive(Debug, Subcommand)]
pub enum EvalCommand {
    /// Compare the similarity of pairs of texts with known scores
    ///
    /// Prints the correlation (Spearman, Pearson) of the scores with the cosine similarity of the vectors.
    #[command(after_help = style::examples(PAIRS))]
    Pairs(EvalPairsArguments),
    /// Search for the known answers to questions
    ///
    /// Prints nDCG@10, Recall@10 and MRR.
    #[command(after_help = style::examples(RETRIEVAL))]
    Retrieval(EvalRetrievalArguments),
}

/// Arguments of `eval pairs`.
#[derive(Debug, Args)]
// The options are numbered from 1, so help lists the positional argument, number 0, before them.
#[command(next_display_order = 1)]
pub struct EvalPairsArguments {
    /// Pairs as JSON Lines, CSV, TSV or Parquet
    ///
    /// If the file has a field `language` or `lang`, figures for each language are printed too.
    #[arg(value_name = "FILE", help_heading = INPUT, display_order = 0)]
    pub file: PathBuf,

    /// Fields of the two texts and the score
    #[arg(
        long,
        value_name = "A,B,SCORE",
        value_delimiter = ',',
        default_value = "sentence1,sentence2,score",
        help_heading = INPUT
    )]
    pub fields: Vec<String>,

    /// Instruction to put before both texts
    ///
    /// The model gets `Instruct: TEXT\nQuery:` and then the text. Without this option, texts are embedded as `build` embeds
    /// documents.
    #[arg(long, value_name = "TEXT", help_heading = TEXT)]
    pub instruction: Option<String>,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub setups: SetupArguments,
}

/// Arguments of `eval retrieval`.
#[derive(Debug, Args)]
// The options are numbered from 1, so help lists the positional argument, number 0, before them.
#[command(next_display_order = 1)]
pub struct EvalRetrievalArguments {
    /// Folder with a test set in the format of BEIR
    ///
    /// The folder has queries.jsonl, corpus.jsonl and qrels/test.tsv. If questions have a field `language` or `lang`, figures for
    /// each language are printed too.
    #[arg(value_name = "DIR", help_heading = INPUT, display_order = 0)]
    pub folder: PathBuf,

    /// Search this index instead of corpus.jsonl
    ///
    /// The index is a Parquet file that `build` wrote, a folder of such files, or a pattern such as 'parts/*.parquet'. If the rows
    /// are chunks, a document is as near to a question as its nearest chunk.
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["compare_model", "compare_model_file", "compare_precision"], help_heading = INPUT)]
    pub index: Option<PathBuf>,

    /// Instruction to put before each question
    ///
    /// The model gets `Instruct: TEXT\nQuery:` and then the question. The default is the model's own prompt for questions; for
    /// Qwen3-Embedding, this is a retrieval instruction.
    #[arg(long, value_name = "TEXT", conflicts_with = "no_instruction", help_heading = TEXT)]
    pub instruction: Option<String>,

    /// Put no instruction before questions
    #[arg(long, help_heading = TEXT)]
    pub no_instruction: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub setups: SetupArguments,
}

/// The set-ups to measure on one test set.
#[derive(Debug, Args)]
pub struct SetupArguments {
    /// Dimensions to measure [default: all of the model]
    ///
    /// Vectors are truncated to their first N dimensions and L2-normalized again. N is at least 32 and at most the number of
    /// dimensions of the model. The figures are printed for each N.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', help_heading = COMPARISON)]
    pub dims: Vec<usize>,

    /// Compare with another model
    ///
    /// The output has the difference of each figure with its 95 % confidence interval.
    #[arg(long, value_name = "MODEL", help_heading = COMPARISON)]
    pub compare_model: Option<PathBuf>,

    /// Compare with another ONNX file of the model
    #[arg(long, value_name = "NAME", help_heading = COMPARISON)]
    pub compare_model_file: Option<String>,

    /// Compare with another precision of the model
    #[arg(long, value_name = "NAME", value_parser = PrecisionChoice::from_str, conflicts_with = "compare_model_file",
          help_heading = COMPARISON)]
    pub compare_precision: Option<PrecisionChoice>,

    /// Compare with vectors of N dimensions
    #[arg(long, value_name = "N", help_heading = COMPARISON)]
    pub compare_dim: Option<usize>,

    /// Compare with another instruction
    #[arg(long, value_name = "TEXT", help_heading = COMPARISON)]
    pub compare_instruction: Option<String>,

    /// Print a JSON object
    ///
    /// The object also has the figures of every single question or pair.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
