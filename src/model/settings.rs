//! Reads the JSON files of a model.

use std::fs;
use std::path::Path;

use anyhow::anyhow;
use serde::de::DeserializeOwned;

/// Reads a JSON file of a model.
///
/// # Errors
/// The file cannot be read or parsed.
pub fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path)
        .map_err(|e| anyhow!("{}: cannot be read: {e}; check that this user may read it", path.display()))?;
    serde_json::from_str(&text).map_err(|e| {
        anyhow!("{}: cannot be parsed: {e}; use the file from the model's own repository", path.display())
    })
}
