//! Everything that a vector of the file depends on, and what made the file: its metadata.

use serde::{Deserialize, Serialize};

use crate::model::ModelFingerprint;

/// What a row stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    /// A document, the vectors of its chunks merged.
    Documents,
    /// A chunk; its id is the document's, `#`, and its number from 0.
    Chunks,
}

/// Two files with equal fingerprints have equal vectors for equal texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The model.
    pub model: ModelFingerprint,
    /// Length of the vectors in the file.
    pub dim: usize,
    /// The instruction before each text, if any.
    pub instruction: Option<String>,
    /// Most tokens of a chunk, end token included.
    pub max_tokens: usize,
    /// What a row stands for.
    pub rows: RowKind,
    /// Version of the rules by which text is taken out of files.
    pub extraction: u32,
    /// Version of the cleaning rules.
    pub cleaning: u32,
    /// Version of the chunking rules.
    pub chunking: u32,
}

/// What the file says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metadata {
    /// `qwen3-index` and its version.
    pub tool: String,
    /// Name of the model's graph, for people: the fingerprint has its digest.
    pub model_file: String,
    /// What the vectors depend on.
    pub fingerprint: Fingerprint,
}

impl Metadata {
    /// The key of the file's metadata under which this stands, as JSON.
    pub const KEY: &str = env!("CARGO_PKG_NAME");
}
