//! What the vectors of a model depend on: the bytes of its files and how it is pooled. Two models with
//! the same name are not the same.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::ModelFolder;
use crate::pool::Pooling;

/// Bytes read at a time.
const BLOCK: usize = 1 << 20;

/// In an ONNX file the name of an external data file stands after these bytes: a protobuf
/// `StringStringEntryProto` with the key `location`. Searching for them finds the names at any depth
/// (subgraphs have tensors too) without a parser for the whole format.
const LOCATION: &[u8] = b"\x0a\x08location\x12";

/// Longest name of an external data file that is found: one byte of protobuf length.
const NAME_BYTES_MAX: usize = 127;

/// The model's part of a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFingerprint {
    /// `model_type` of its configuration.
    pub architecture: String,
    /// Name of the graph file; for people, since the digest says more.
    pub file: String,
    /// BLAKE3 of the graph and of the external data that it names, in the order of their names.
    pub weights: String,
    /// BLAKE3 of `tokenizer.json`.
    pub tokenizer: String,
    /// How hidden states become a vector.
    pub pooling: Pooling,
    /// Length of the vectors.
    pub width: usize,
}

impl ModelFingerprint {
    /// Reads every byte of the files.
    ///
    /// # Errors
    /// A file that cannot be read; external data that is missing.
    pub fn of(folder: &ModelFolder) -> anyhow::Result<Self> {
        Ok(ModelFingerprint {
            architecture: folder.architecture.clone(),
            file: folder.onnx.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            weights: weights(&folder.onnx)?,
            tokenizer: digest(&folder.tokenizer)?,
            pooling: folder.pooling,
            width: folder.width,
        })
    }
}

fn weights(onnx: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for name in hash(onnx, &mut hasher)? {
        let path = onnx.with_file_name(&name);
        if !path.is_file() {
            bail!(
                "model {}: its external data {} is missing; copy it into the same folder, under that name",
                onnx.display(),
                path.display()
            );
        }
        hash(&path, &mut hasher)?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

fn digest(path: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hash(path, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Hashes the file in blocks, and gives back the names of external data that stand in it.
fn hash(path: &Path, hasher: &mut blake3::Hasher) -> anyhow::Result<BTreeSet<String>> {
    let in_file = || format!("model file {}", path.display());
    let mut file = File::open(path).with_context(in_file)?;
    let mut names = BTreeSet::new();
    // What is kept of the block before, so that a name across the border is found.
    let kept_max = LOCATION.len() + 1 + NAME_BYTES_MAX;
    let mut buffer = vec![0; kept_max + BLOCK];
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..kept + BLOCK]).with_context(in_file)?;
        if count == 0 {
            return Ok(names);
        }
        hasher.update(&buffer[kept..kept + count]);
        let filled = kept + count;
        names.extend(locations(&buffer[..filled]));
        let keep_from = filled.saturating_sub(kept_max);
        buffer.copy_within(keep_from..filled, 0);
        kept = filled - keep_from;
    }
}

fn locations(bytes: &[u8]) -> impl Iterator<Item = String> {
    memmem::find_iter(bytes, LOCATION).filter_map(|at| {
        let (&length, rest) = bytes[at + LOCATION.len()..].split_first()?;
        Some(std::str::from_utf8(rest.get(..usize::from(length))?).ok()?.to_owned())
    })
}
