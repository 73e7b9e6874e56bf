//! What the vectors of a model depend on: the bytes of its files and how it is pooled. Two models with
//! the same name are not the same.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Precision;
use super::external::search;
use crate::pool::Pooling;

/// The model's part of a fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFingerprint {
    /// `model_type` of its configuration.
    pub architecture: String,
    /// BLAKE3 of the graph and of the external data that it names, in the order of their names.
    pub weights: String,
    /// BLAKE3 of `tokenizer.json`.
    pub tokenizer: String,
    /// How hidden states become a vector; `None` where the graph does that itself.
    pub pooling: Option<Pooling>,
    /// Length of the vectors.
    pub width: usize,
    /// What is computed in, where that is not the graph's own precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

impl ModelFingerprint {
    /// Whether their vectors can be compared: of the same weights, however rounded.
    pub fn is_same_model(&self, other: &ModelFingerprint) -> bool {
        *self == ModelFingerprint { precision: self.precision, ..other.clone() }
    }
}

/// The BLAKE3 digest of the graph and of the external data that it names, in the order of their names.
///
/// # Errors
/// A file that cannot be read. Data that is missing is the engine's to refuse.
pub fn weights(onnx: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for name in hash(onnx, &mut hasher)? {
        let path = onnx.with_file_name(&name);
        if path.is_file() {
            hash(&path, &mut hasher)?;
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The BLAKE3 digest of one file.
///
/// # Errors
/// It cannot be read.
pub fn digest(path: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hash(path, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Hashes the file, and gives back the names of external data that stand in it.
fn hash(path: &Path, hasher: &mut blake3::Hasher) -> anyhow::Result<BTreeSet<String>> {
    search(path, &[], |block| _ = hasher.update(block))
}
