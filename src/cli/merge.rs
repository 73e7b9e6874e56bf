//! `merge`.

use std::path::PathBuf;

use clap::Args;

pub const HELP: &str = "\
Examples:
  qwen3-index build ./docs --shard 0/4 -o parts/0.parquet    # and 1/4, 2/4, 3/4: elsewhere, at the same time
  qwen3-index merge parts/ -o vectors.parquet

Exit codes: 0 all done, 1 failed, the old output untouched, 2 wrong usage, 4 another run holds this output";

/// Arguments of `merge`.
#[derive(Debug, Args)]
pub struct MergeArguments {
    /// Parquet files that `build` wrote, folders of them, or patterns such as 'parts/*.parquet'. Shards are put in their
    /// order, other files stay in the order in which they are named
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,

    /// The Parquet file to write; the old one stays in place until the new one is whole
    #[arg(short, long, value_name = "OUT.parquet")]
    pub output: PathBuf,

    /// Print nothing but warnings and failures
    #[arg(short, long)]
    pub quiet: bool,
}
