//! The arguments of `pack`.

use std::path::PathBuf;

use clap::Args;

use super::style::{LOGGING, OUTPUT};

pub const EXAMPLES: &str = "  \
  qwen3-index read ./docs | qwen3-index embed --arrow | qwen3-index pack -o vectors.parquet
  qwen3-index pack -o part-0.parquet < rows.arrows";

pub const EXIT_CODES: &str = "  \
  0    done
  1    failed; the old output is untouched
  2    wrong usage
  3    done, but rows with an error were skipped, the old output was damaged, or the disk failed
  4    another run holds this output";

/// Arguments of `pack`.
#[derive(Debug, Args)]
pub struct PackArguments {
    /// Parquet file to write
    ///
    /// The old file stays in place until the new one is complete.
    #[arg(short, long, value_name = "OUT.parquet", help_heading = OUTPUT)]
    pub output: PathBuf,

    /// Accept a stream without rows
    ///
    /// Without this option, the run stops if the stream has no rows.
    #[arg(long, help_heading = OUTPUT)]
    pub allow_empty: bool,

    /// Print only warnings and failures
    #[arg(short, long, help_heading = LOGGING)]
    pub quiet: bool,
}
