//! Computes the fingerprint of a model from its files. A model's name cannot serve as its fingerprint, because two models of
//! the same name may have different weights.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use anyhow::{anyhow, bail};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::device::DevicePrecision;
use crate::vector::pool::Pooling;

/// Bytes per read of a file.
const BLOCK: usize = 1 << 20;

/// The bytes in an ONNX file that precede the length and the name of an external data file. These bytes are the start of a
/// protobuf `StringStringEntryProto` with the key `location`. A search for these bytes finds the names in subgraphs too, and
/// needs no parser for the format.
const LOCATION: &[u8] = b"\x0a\x08location\x12";

/// The length of the longest path that Linux accepts, in bytes.
const NAME_BYTES_MAX: usize = 4096;

/// The length of a protobuf varint that can represent [`NAME_BYTES_MAX`], in bytes.
const VARINT_BYTES: usize = 2;

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
}

/// Returns the BLAKE3 digest of the graph and its external data files. The hash covers the graph first, and then the external
/// data files in the order of their names. This function skips a missing data file, because ONNX Runtime reports the missing
/// file when it loads the graph.
///
/// # Errors
/// A file cannot be read.
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

/// Returns the paths of the external data files of a graph, relative to the folder of the graph.
///
/// # Errors
/// The graph cannot be read, or names a file outside the folder of the graph. Only a malicious graph names such a file.
pub fn external_data(onnx: &Path) -> anyhow::Result<BTreeSet<String>> {
    let names = scan(onnx, |_| {})?;
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

/// Returns the BLAKE3 digest of a file.
///
/// # Errors
/// The file cannot be read.
pub fn digest(path: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hash(path, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Hashes a file, and returns the names of the external data files that the file refers to.
fn hash(path: &Path, hasher: &mut blake3::Hasher) -> anyhow::Result<BTreeSet<String>> {
    scan(path, |block| _ = hasher.update(block))
}

/// Calls `take` with each block of a file, and returns the names of the external data files that the file refers to.
fn scan(path: &Path, mut take: impl FnMut(&[u8])) -> anyhow::Result<BTreeSet<String>> {
    let cannot_read = |e| {
        anyhow!(
            "model file {}: cannot be read: {e}; check that it exists and that this user may read it",
            path.display()
        )
    };
    let mut file = File::open(path).map_err(cannot_read)?;
    let mut names = BTreeSet::new();
    // The buffer also keeps the end of the previous block, so that a name is found even if the name begins in one block and
    // ends in the next block.
    let kept_max = LOCATION.len() + VARINT_BYTES + NAME_BYTES_MAX;
    let mut buffer = vec![0; kept_max + BLOCK];
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..kept + BLOCK]).map_err(cannot_read)?;
        if count == 0 {
            return Ok(names);
        }
        take(&buffer[kept..kept + count]);
        let filled = kept + count;
        names.extend(locations(&buffer[..filled]));
        let keep_from = filled.saturating_sub(kept_max);
        buffer.copy_within(keep_from..filled, 0);
        kept = filled - keep_from;
    }
}

/// Returns the name after each [`LOCATION`] in `bytes`. The length of the name is stored between [`LOCATION`] and the name.
fn locations(bytes: &[u8]) -> impl Iterator<Item = String> {
    memmem::find_iter(bytes, LOCATION).filter_map(|at| {
        let (length, name) = match bytes[at + LOCATION.len()..] {
            [low @ 0..0x80, ref name @ ..] => (usize::from(low), name),
            [low, high @ 0..0x80, ref name @ ..] => (usize::from(low & 0x7F) | usize::from(high) << 7, name),
            _ => return None,
        };
        Some(std::str::from_utf8(name.get(..length)?).ok()?.to_owned())
    })
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
            std::fs::write(&path, [LOCATION, &[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat())
                .unwrap();
            assert_eq!(external_data(&path).is_ok(), is_good, "{name}");
        }
    }

    #[test]
    fn names_of_external_data_are_found_at_any_position() {
        let folder = tempfile::tempdir().unwrap();
        let (short, long) = ("weights.bin".to_owned(), "w".repeat(200));
        for before in [0, BLOCK - 12, BLOCK - 5, BLOCK, 3 * BLOCK - 100] {
            let mut bytes = vec![7; before];
            for name in [&short, &long] {
                bytes.extend_from_slice(LOCATION);
                let length = u8::try_from(name.len()).unwrap();
                if name.len() < 0x80 {
                    bytes.push(length)
                } else {
                    bytes.extend([length | 0x80, 1])
                }
                bytes.extend_from_slice(name.as_bytes());
            }
            let path = folder.path().join("model.onnx");
            std::fs::write(&path, &bytes).unwrap();
            let mut hasher = blake3::Hasher::new();
            let names = hash(&path, &mut hasher).unwrap();
            assert_eq!(
                names.into_iter().collect::<Vec<_>>(),
                [long.clone(), short.clone()].into_iter().rev().collect::<Vec<_>>()
            );
            assert_eq!(hasher.finalize(), blake3::hash(&bytes));
        }
    }
}
