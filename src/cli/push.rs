//! The arguments of `push`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::style::{self, INPUT, LOGGING, OUTPUT};

pub const EXAMPLES: &str = "  \
  qwen3-index push qdrant http://localhost:6333 vectors.parquet --collection docs";

const QDRANT: &str = "  \
  qwen3-index push qdrant http://localhost:6333 vectors.parquet --collection docs
  qwen3-index push qdrant http://localhost:6333 v.parquet --delta delta.parquet --collection docs
  qwen3-index push qdrant http://localhost:6333 vectors.parquet --collection docs --verify";

const EXIT_CODES: &str = "  \
  0    done
  1    failed, or --verify found a difference; run again to go on
  2    wrong usage";

/// The subcommands of `push`.
#[derive(Debug, Subcommand)]
pub enum PushCommand {
    /// Bring a collection of Qdrant to the state of an index
    ///
    /// Afterwards, the collection has one point per row of the index, and no others. Points that are there already are not sent again,
    /// so a run that was interrupted goes on where it stopped. The command reads the API key from QDRANT_API_KEY.
    #[command(after_help = style::examples(QDRANT))]
    #[command(after_long_help = style::examples_and_exit_codes(QDRANT, EXIT_CODES))]
    Qdrant(QdrantArguments),
}

/// Arguments of `push qdrant`.
#[derive(Debug, Args)]
pub struct QdrantArguments {
    /// Server, such as http://localhost:6333
    ///
    /// Without a port, the port is 6333. The server must have version 1.16 or newer.
    #[arg(value_name = "URL", help_heading = OUTPUT)]
    pub url: String,

    /// Parquet file that the collection is to equal
    #[arg(value_name = "INDEX", help_heading = INPUT, required_unless_present = "delta")]
    pub index: Option<PathBuf>,

    /// Delta of `build --delta` to apply, if it fits
    ///
    /// The delta is applied if it starts from the index that the collection equals. Otherwise, the whole index is compared with the
    /// collection. Without INDEX, a delta that does not fit is an error.
    #[arg(long, value_name = "DELTA.parquet", help_heading = INPUT)]
    pub delta: Option<PathBuf>,

    /// Name of the collection
    ///
    /// A collection that does not exist is created. The command does not change a collection that another program has created.
    #[arg(long, value_name = "NAME", help_heading = OUTPUT)]
    pub collection: String,

    /// Create the collection with its vectors on disk
    #[arg(long, help_heading = OUTPUT)]
    pub on_disk: bool,

    /// Create the collection with 8-bit copies of its vectors in memory
    ///
    /// Qdrant searches the copies first, and compares the best of them with the vectors themselves.
    #[arg(long, help_heading = OUTPUT)]
    pub quantize: bool,

    /// Change nothing, and compare the collection with the index
    ///
    /// The command compares the number of points, the digest of each point, and the payload and the vector of about a thousand points.
    #[arg(long, help_heading = OUTPUT, conflicts_with = "delta", requires = "index")]
    pub verify: bool,

    /// Print only warnings and failures
    #[arg(short, long, help_heading = LOGGING)]
    pub quiet: bool,
}
