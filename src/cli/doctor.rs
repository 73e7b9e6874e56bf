//! `doctor`.

use clap::Args;

use super::setup::ModelArguments;

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub model: ModelArguments,
}
