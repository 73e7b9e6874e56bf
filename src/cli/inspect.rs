//! The arguments of `inspect`.

use std::path::PathBuf;

use clap::Args;

use super::style::{INPUT, OUTPUT};

pub const EXAMPLES: &str = "  \
  qwen3-index inspect vectors.parquet
  qwen3-index inspect --verify 'parts/*.parquet'";

pub const EXIT_CODES: &str = "  \
  0    done
  1    failed, or --verify found a problem
  2    wrong usage";

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Parquet files, folders of Parquet files, or patterns
    ///
    /// The files must have been written by `build`, `merge` or `pack`. A pattern names several files, such as 'parts/*.parquet'.
    #[arg(required = true, value_name = "INDEX", help_heading = INPUT)]
    pub index: Vec<PathBuf>,

    /// Check the files, and print all problems
    ///
    /// The command reports duplicate ids, invalid vectors, empty texts, and files that have changed since they were written. The
    /// exit code is 1 if there is a problem.
    #[arg(long, help_heading = OUTPUT)]
    pub verify: bool,

    /// Print a JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}
