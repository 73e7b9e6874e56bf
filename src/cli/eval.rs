//! The arguments of `eval`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::setup::ModelArguments;
use super::style::{self, COMPARISON, DIMS_ALIASES, INPUT, OUTPUT, TEXT};
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
    /// Check how well vectors predict the known scores of text pairs
    ///
    /// Prints the correlation (Spearman, Pearson) between the scores and the cosine similarities of the vectors.
    #[command(after_help = style::examples(PAIRS))]
    Pairs(EvalPairsArguments),
    /// Check how well a search finds the known answers to questions
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
    /// File of text pairs: JSON Lines, CSV, TSV or Parquet
    ///
    /// If the pairs have a field `language` or `lang`, the results are also printed for each language.
    #[arg(value_name = "FILE", help_heading = INPUT, display_order = 0)]
    pub file: PathBuf,

    /// Names of the fields with the two texts and the score
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
    /// TEXT is the instruction. The model gets `Instruct: TEXT\nQuery:`, followed by the text to embed. Without this option,
    /// texts are embedded as `build` embeds documents.
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
    /// The folder has queries.jsonl, corpus.jsonl and qrels/test.tsv. If the questions have a field `language` or `lang`, the
    /// results are also printed for each language.
    #[arg(value_name = "DIR", help_heading = INPUT, display_order = 0)]
    pub folder: PathBuf,

    /// Search this index instead of corpus.jsonl
    ///
    /// The index is a Parquet file that `build` wrote, a folder of such files, or a pattern such as 'parts/*.parquet'. If the
    /// rows of the index are chunks, each document is ranked by its nearest chunk.
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["compare_model", "compare_model_file", "compare_precision"], help_heading = INPUT)]
    pub index: Option<PathBuf>,

    /// Instruction to put before each question
    ///
    /// TEXT is the instruction. The model gets `Instruct: TEXT\nQuery:`, followed by the question. The default is the model's own
    /// prompt for questions. For Qwen3-Embedding, this is a retrieval instruction.
    #[arg(long, value_name = "TEXT", conflicts_with = "no_instruction", help_heading = TEXT)]
    pub instruction: Option<String>,

    /// Put no instruction before the questions
    #[arg(long, help_heading = TEXT)]
    pub no_instruction: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub setups: SetupArguments,
}

/// The models, dimensions and instructions to measure on one test set.
#[derive(Debug, Args)]
pub struct SetupArguments {
    /// Vector lengths to measure with [default: the model's full length]
    ///
    /// N is a number of dimensions. For each N, the vectors are truncated to their first N dimensions and L2-normalized again, and the results are printed.
    /// N is at least 32 and at most the number of dimensions of the model.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', aliases = DIMS_ALIASES, help_heading = COMPARISON)]
    pub dims: Vec<usize>,

    /// Compare with another model
    ///
    /// For each result, the command prints the difference between the two models and the 95 % confidence interval of the
    /// difference.
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
    /// The object also has the result for each single item of the test set: for each pair in `eval pairs`, for each question in
    /// `eval retrieval`.
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
