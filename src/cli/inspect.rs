//! `inspect`.

use std::path::PathBuf;

use clap::Args;

pub const HELP: &str = "\
Examples:
  qwen3-index inspect vectors.parquet
  qwen3-index inspect --verify 'parts/*.parquet'";

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// The index: Parquet files that `build` wrote, folders of them, or patterns such as 'parts/*.parquet'
    #[arg(required = true, value_name = "INDEX")]
    pub index: Vec<PathBuf>,

    /// Say what is wrong with which row, if anything is, and end with exit code 1
    #[arg(long)]
    pub verify: bool,

    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}
