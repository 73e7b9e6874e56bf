//! Reads the JSON files of a model.

use std::path::Path;
use std::{fs, io};

use serde::de::DeserializeOwned;

use crate::storage::found::is_file;

/// The error for a file of a model that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BrokenFile(pub String);

/// Reads a JSON file of a model.
///
/// # Errors
/// [`BrokenFile`] if the file cannot be read or parsed.
pub fn json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).map_err(|e| cannot_read(path, &e))?;
    let parsed = serde_json::from_str(&text).map_err(|e| {
        BrokenFile(format!(
            "{}: cannot be parsed: {e}; use the file from the model's own repository",
            path.display()
        ))
    });
    Ok(parsed?)
}

/// Returns whether a model has a file at a path.
///
/// # Errors
/// [`BrokenFile`] if the file system does not say whether the file is there.
pub fn has_file(path: &Path) -> anyhow::Result<bool> {
    is_file(path).map_err(|e| cannot_read(path, &e))
}

/// Returns the error for a file or a folder of a model that cannot be read.
pub fn cannot_read(path: &Path, e: &io::Error) -> anyhow::Error {
    BrokenFile(format!("{}: cannot be read: {e}; check that this user may read it", path.display())).into()
}
