//! The arguments of `merge`.

use std::path::PathBuf;

use clap::Args;

use super::style::{INPUT, LOGGING, OUTPUT};

pub const EXAMPLES: &str = "  \
  qwen3-index build ./docs --shard 0/2 -o parts/0.parquet
  qwen3-index build ./docs --shard 1/2 -o parts/1.parquet
  qwen3-index merge parts/ -o vectors.parquet";

pub const EXIT_CODES: &str = "  \
  0    done
  1    failed; the old output is untouched
  2    wrong usage
  3    done, but the old output was damaged, or the disk failed
  4    another run holds this output";

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArguments {
    /// Parquet files, folders of Parquet files, or patterns
    ///
    /// The files must have been written by `build`. A pattern names several files, such as 'parts/*.parquet'. Shards are joined in the
    /// order of their shard numbers. Other files are joined in the order of the arguments.
    #[arg(required = true, value_name = "PART", help_heading = INPUT)]
    pub parts: Vec<PathBuf>,

    /// Parquet file to write
    ///
    /// The old file stays in place until the new one is complete.
    #[arg(short, long, value_name = "OUT.parquet", help_heading = OUTPUT)]
    pub output: PathBuf,

    /// Print only warnings and failures
    #[arg(short, long, help_heading = LOGGING)]
    pub quiet: bool,
}
