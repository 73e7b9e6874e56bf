//! `build`.

use std::path::PathBuf;

use clap::Args;

use super::setup::{ModelArguments, ReadingArguments};

pub const HELP: &str = "\
Examples:
  qwen3-index build ./docs -o vectors.parquet --model ./Qwen3-Embedding-0.6B-ONNX
  zcat crawl.jsonl.gz | qwen3-index build - -o crawl.parquet --text-field body --dim 256

Exit codes:
  0    all done
  1    failed, the old output untouched
  2    wrong usage
  3    done, but some documents failed; each is named on stderr
  4    another run holds this output
  130  interrupted (143: terminated); what is done is kept, and the next run goes on from there";

/// Arguments of `build`.
#[derive(Debug, Args)]
pub struct BuildArguments {
    /// The Parquet file to write, or the URL of an object; the old one stays in place until the new one is whole
    #[arg(short, long, value_name = "OUT.parquet")]
    pub output: PathBuf,

    /// Numbers in a vector, from 32 to the model's width: the first so many, normalized again
    /// [default: the model's width]
    #[arg(long, value_name = "N")]
    pub dim: Option<usize>,

    /// Put `Instruct: TEXT\nQuery:` before each text; Qwen3-Embedding wants it for queries, not for
    /// documents
    #[arg(long, value_name = "TEXT")]
    pub instruction: Option<String>,

    /// Tokens in one chunk, the end token included; longer texts are cut at sentence ends and the
    /// vectors of their chunks averaged [default: 2048, or less where the model takes less]
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<usize>,

    /// Write a row for each chunk (ids `doc#0`, `doc#1`, …) instead of one for each document
    #[arg(long)]
    pub chunks: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub reading: ReadingArguments,

    /// Make all vectors anew, instead of taking those of unchanged texts from the old output
    #[arg(long)]
    pub rebuild: bool,

    /// Go on where an input is missing or has no documents, though the old output has some
    #[arg(long)]
    pub allow_empty: bool,

    /// Go on where more than half of the old output's documents are gone
    #[arg(long)]
    pub allow_shrink: bool,

    /// Write what changes in the output to a Parquet file, or the URL of an object, too: id, op (added, changed, removed), text, vector
    #[arg(long, value_name = "FILE.parquet")]
    pub delta: Option<PathBuf>,

    /// Write what the run did to a JSON file, or the URL of an object, however it ends
    #[arg(long, value_name = "FILE.json")]
    pub report: Option<PathBuf>,

    /// Only read and count: say what a run would embed and how long that takes, and write nothing
    #[arg(long, conflicts_with = "delta")]
    pub dry_run: bool,

    /// Most tokens that go through the model together, 131072 at most [default: 1536 on a CPU, on a GPU what its memory
    /// holds, 32768 at most]
    // With more, kernels of CUDA would count beyond 31 bits in the widest layers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    pub batch_tokens: Option<u32>,

    /// Print nothing but warnings and failures
    #[arg(short, long)]
    pub quiet: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
