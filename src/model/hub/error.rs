//! The reasons why the hub gives no model, if the advice depends on them.

use std::path::PathBuf;

use super::repository::Repository;

/// The cache lacks a file that is wanted, and the run is offline.
#[derive(Debug, thiserror::Error)]
#[error(
    "model {repository}: is not in the cache {}, and this run is offline; download it with `qwen3-index model pull {repository}` while online",
    cache.display()
)]
pub struct NotCached {
    /// The model.
    pub(super) repository: Repository,
    /// The folder of the cache.
    pub(super) cache: PathBuf,
}

/// The reason why nothing is downloaded.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Downloads are forbidden.
    #[error("model {repository}: cannot be downloaded, because this run is offline")]
    Offline {
        /// The model.
        repository: Repository,
        /// Whether the environment forbids downloads.
        by_environment: bool,
    },
    /// The hub sends no response.
    #[error("{cause}")]
    Unreachable {
        /// The endpoint and the error of the connection.
        cause: String,
        /// The environment variable that names the proxy.
        proxy_variable: &'static str,
    },
}
