//! What the vectors of a model depend on: the bytes of its files and how it is pooled. Two models with
//! the same name are not the same.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use anyhow::{Context, bail};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::device::Precision;
use crate::vector::pool::Pooling;

/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// In an ONNX file the name of an external data file stands after these bytes: a protobuf
/// `StringStringEntryProto` with the key `location`. Searching for them finds the names at any depth
/// (subgraphs have tensors too) without a parser for the whole format.
const LOCATION: &[u8] = b"\x0a\x08location\x12";

/// Bytes of the longest name that a file system takes, and of its length as a protobuf varint.
const NAME_BYTES_MAX: usize = 4096;
const VARINT_BYTES: usize = 2;

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

/// Names of the files that a graph has tensors in, as paths from its folder.
///
/// # Errors
/// It cannot be read, or names what is outside of its folder: such a graph is not made in good faith.
pub fn external_data(onnx: &Path) -> anyhow::Result<BTreeSet<String>> {
    let names = scan(onnx, |_| {})?;
    let is_inside =
        |name: &String| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if let Some(name) = names.iter().find(|name| name.is_empty() || !is_inside(name)) {
        bail!(
            "model file {}: names data outside of its folder ({name}); take another export",
            onnx.display()
        );
    }
    Ok(names)
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
    scan(path, |block| _ = hasher.update(block))
}

/// Reads the file in blocks, and gives back the names of external data that stand in it.
fn scan(path: &Path, mut f: impl FnMut(&[u8])) -> anyhow::Result<BTreeSet<String>> {
    let in_file = || format!("model file {}", path.display());
    let mut file = File::open(path).with_context(in_file)?;
    let mut names = BTreeSet::new();
    // What is kept of the block before, so that a name across the border is found.
    let kept_max = LOCATION.len() + VARINT_BYTES + NAME_BYTES_MAX;
    let mut buffer = vec![0; kept_max + BLOCK];
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..kept + BLOCK]).with_context(in_file)?;
        if count == 0 {
            return Ok(names);
        }
        f(&buffer[kept..kept + count]);
        let filled = kept + count;
        names.extend(locations(&buffer[..filled]));
        let keep_from = filled.saturating_sub(kept_max);
        buffer.copy_within(keep_from..filled, 0);
        kept = filled - keep_from;
    }
}

/// The names that stand behind [`LOCATION`], each after its length.
fn locations(bytes: &[u8]) -> impl Iterator<Item = String> {
    memmem::find_iter(bytes, LOCATION).filter_map(|at| {
        let rest = &bytes[at + LOCATION.len()..];
        let (length, name) = match *rest {
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
    fn data_outside_of_the_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        for (name, is_good) in [
            ("weights", true),
            ("a/weights", true),
            ("../weights", false),
            ("/tmp/weights", false),
            ("a/../../b", false),
        ] {
            std::fs::write(&path, [LOCATION, &[name.len() as u8], name.as_bytes()].concat()).unwrap();
            assert_eq!(external_data(&path).is_ok(), is_good, "{name}");
        }
    }

    #[test]
    fn names_of_external_data_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let (short, long) = ("weights.bin".to_owned(), "w".repeat(200));
        for before in [0, BLOCK - 12, BLOCK - 5, BLOCK, 3 * BLOCK - 100] {
            let mut bytes = vec![7; before];
            for name in [&short, &long] {
                bytes.extend_from_slice(LOCATION);
                let length = name.len() as u8;
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
