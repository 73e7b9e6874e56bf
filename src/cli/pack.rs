//! `pack`.

use std::path::PathBuf;

use clap::Args;

pub const HELP: &str = "\
Examples:
  qwen3-index read ./docs | qwen3-index embed --arrow | qwen3-index pack -o vectors.parquet
  qwen3-index pack -o part-0.parquet < rows.arrows

The file is that of `build`, but that all rows are new: put in place when it is whole, checked and read back.

Exit codes: 0 all done, 1 failed, the old output untouched, 2 wrong usage, 3 done, but some rows came with an error and
are left out, 4 another run holds this output";

/// Arguments of `pack`.
#[derive(Debug, Args)]
pub struct PackArguments {
    /// The Parquet file to write; the old one stays in place until the new one is whole
    #[arg(short, long, value_name = "OUT.parquet")]
    pub output: PathBuf,

    /// Print nothing but warnings and failures
    #[arg(short, long)]
    pub quiet: bool,
}
