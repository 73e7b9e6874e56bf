//! Computes the fingerprint of a model from its files. A model's name cannot serve as its fingerprint, because two models of
//! the same name may have different weights.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use anyhow::{anyhow, bail};
use serde::{Deserialize, Serialize};

use super::device::DevicePrecision;
use super::digests::{FilesState, RememberedDigests};
use super::{export_digest, external};
use crate::console::debug;
use crate::interrupt;
use crate::storage::found::is_file;
use crate::vector::pool::Pooling;

/// Bytes per read of a file. A block is large enough for all cores to hash parts of it.
const BLOCK: usize = 8 << 20;

/// The fingerprint of a model, which is a part of the fingerprint of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFingerprint {
    /// The value of `model_type` in config.json.
    pub architecture: String,
    /// The BLAKE3 digest of the graph and its external data files, in hexadecimal. The hash covers the graph first, and then
    /// the external data files in the order of their names.
    pub weights: String,
    /// The BLAKE3 digest of `tokenizer.json`, in hexadecimal.
    pub tokenizer: String,
    /// The pooling of the hidden states; `None` if the graph itself pools.
    pub pooling: Option<Pooling>,
    /// The BLAKE3 digest of the layers after the pooling, in hexadecimal. `None` if there are none, or if the graph itself pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<String>,
    /// Dimensions of the vectors that the model returns.
    pub width: usize,
    /// The precision that the device computes in, if it differs from the precision of the graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<DevicePrecision>,
}

impl ModelFingerprint {
    /// Returns whether vectors of this model can be compared with vectors of `other`. The two fingerprints may differ only in the
    /// precision.
    pub fn is_same_model(&self, other: &ModelFingerprint) -> bool {
        *self == ModelFingerprint { precision: self.precision, ..other.clone() }
    }

    /// Returns what makes the vectors of two models with the same weights different on the same device; `None` if nothing does.
    pub fn difference(&self, other: &ModelFingerprint) -> Option<&'static str> {
        if self.tokenizer != other.tokenizer {
            Some("another tokenizer")
        } else if self.architecture != other.architecture {
            Some("another architecture")
        } else if self.pooling != other.pooling {
            Some("another pooling")
        } else if self.layers != other.layers {
            Some("other layers after the pooling")
        } else {
            None
        }
    }
}

/// Returns the BLAKE3 digest of the graph and its external data files. The hash covers the graph first, and then the external
/// data files in the order of their names. This function skips a missing data file, because ONNX Runtime reports the missing
/// file when it loads the graph. If the files have not changed since an earlier run, the digest comes from `remembered`.
///
/// # Errors
/// A file cannot be read, or a signal has arrived.
pub fn weights(onnx: &Path, remembered: &RememberedDigests) -> anyhow::Result<String> {
    let files = || {
        let mut paths = vec![onnx.to_owned()];
        for path in external_names(onnx)?.into_iter().map(|name| onnx.with_file_name(name)) {
            // If the file system fails once, the digest must not leave the file out.
            if is_file(&path).map_err(|e| cannot_read(&path, &e))? {
                paths.push(path);
            }
        }
        Ok(paths)
    };
    if let Some(digest) = remembered.find(onnx) {
        debug(|| format!("digest of {}: remembered from an earlier run", onnx.display()));
        return Ok(digest);
    }
    debug(|| {
        format!("digest of {}: computed, because no earlier run has read the same files", onnx.display())
    });
    digest(onnx, remembered, files, |onnx, hasher| {
        let graph = fs::read(onnx).map_err(|e| cannot_read(onnx, &e))?;
        hasher.update_rayon(&export_digest::covered(&graph).unwrap_or(graph));
        Ok(())
    })
}

/// Returns the BLAKE3 digest of a `tokenizer.json`. If the file has not changed since an earlier run, the digest comes from
/// `remembered`, and the file is not opened.
///
/// # Errors
/// The file cannot be read, or a signal has arrived.
pub fn tokenizer(path: &Path, remembered: &RememberedDigests) -> anyhow::Result<String> {
    match remembered.find(path) {
        Some(digest) => Ok(digest),
        None => digest(path, remembered, || Ok(vec![path.to_owned()]), hash),
    }
}

/// Computes the BLAKE3 digest of some files, in their order, and remembers it. `first` is the first of them, which `hash_first` hashes.
fn digest(
    first: &Path,
    remembered: &RememberedDigests,
    files: impl FnOnce() -> anyhow::Result<Vec<PathBuf>>,
    hash_first: impl FnOnce(&Path, &mut blake3::Hasher) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let paths = files()?;
    let state = FilesState::read(&paths);
    let mut hasher = blake3::Hasher::new();
    hash_first(first, &mut hasher)?;
    for path in &paths[1..] {
        hash(path, &mut hasher)?;
    }
    let digest = hasher.finalize().to_hex().to_string();
    remembered.store(first, state, &digest);
    Ok(digest)
}

/// Returns the paths of the external data files of a graph, relative to the folder of the graph.
///
/// # Errors
/// The graph cannot be read, or names a file outside the folder of the graph. Only a malicious graph names such a file.
pub fn external_data(onnx: &Path) -> anyhow::Result<BTreeSet<String>> {
    let names = external_names(onnx)?;
    let is_inside =
        |name: &String| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if let Some(name) = names.iter().find(|name| name.is_empty() || !is_inside(name)) {
        bail!(
            "model file {}: names the data file {name}, which is outside the model folder; use an export from a source that you trust",
            onnx.display()
        );
    }
    Ok(names)
}

fn external_names(onnx: &Path) -> anyhow::Result<BTreeSet<String>> {
    Ok(external::names(&fs::read(onnx).map_err(|e| cannot_read(onnx, &e))?))
}

/// Hashes a file on all cores.
fn hash(path: &Path, hasher: &mut blake3::Hasher) -> anyhow::Result<()> {
    let mut file = File::open(path).map_err(|e| cannot_read(path, &e))?;
    let mut block = vec![0; BLOCK];
    loop {
        interrupt::check()?;
        let count = file.read(&mut block).map_err(|e| cannot_read(path, &e))?;
        if count == 0 {
            return Ok(());
        }
        hasher.update_rayon(&block[..count]);
    }
}

fn cannot_read(path: &Path, e: &io::Error) -> anyhow::Error {
    anyhow!(
        "model file {}: cannot be read: {e}; check that it exists and that this user may read it",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_outside_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        for (name, is_good) in [
            ("weights", true),
            ("a/weights", true),
            ("../weights", false),
            ("/tmp/weights", false),
            ("a/../../b", false),
        ] {
            fs::write(&path, external::graph_with(name)).unwrap();
            assert_eq!(external_data(&path).is_ok(), is_good, "{name}");
        }
    }

    #[test]
    fn the_digest_of_a_file_is_that_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        for length in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            fs::write(&path, &bytes).unwrap();
            assert_eq!(
                tokenizer(&path, &RememberedDigests::none()).unwrap(),
                blake3::hash(&bytes).to_hex().to_string()
            );
        }
    }
}
