//! The arguments of `inspect`.

use std::path::PathBuf;

use clap::Args;

use super::style::{INPUT, OUTPUT};

pub const EXAMPLES: &str = "  \
  qwen3-index inspect vectors.parquet
  qwen3-index inspect --verify 'parts/*.parquet'";

pub const EXIT_CODES: &str = "  \
  0    done
  1    failed, or --verify found a damaged row
  2    wrong usage";

/// Arguments of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Parquet files, folders of them, or patterns
    ///
    /// `build`, `merge` and `pack` write such files. A pattern looks like 'parts/*.parquet'.
    #[arg(required = true, value_name = "INDEX", help_heading = INPUT)]
    pub index: Vec<PathBuf>,

    /// Check the rows, and print the damaged ones
    ///
    /// The exit code is 1 if a row is damaged.
    #[arg(long, help_heading = OUTPUT)]
    pub verify: bool,

    /// Print a JSON object
    #[arg(long, help_heading = OUTPUT)]
    pub json: bool,
}
