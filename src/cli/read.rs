//! The arguments of `read`.

use clap::Args;

use super::setup::ReadingArguments;

pub const EXAMPLES: &str = "  \
  qwen3-index read ./docs | qwen3-index embed --arrow | qwen3-index pack -o vectors.parquet
  qwen3-index read ./docs --shard 0/4 > texts.arrows";

pub const EXIT_CODES: &str = "  \
  0    done
  1    failed
  2    wrong usage
  3    done, but some documents failed; each is named on stderr";

/// Arguments of `read`.
#[derive(Debug, Args)]
pub struct ReadArguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub reading: ReadingArguments,
}
