//! Everything that a vector of the file depends on, and what made the file: its metadata.

use serde::{Deserialize, Serialize};

use crate::model::ModelFingerprint;
use crate::shard::Shard;

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
#[serde(deny_unknown_fields)]
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

impl Fingerprint {
    /// Why vectors of a file with this fingerprint are of no use where `wanted` is asked for: each part that
    /// differs. Longer vectors are of use, since shorter ones are slices of them; and so are vectors of texts that
    /// came about in another way, since they are looked up by the text.
    pub fn differences(&self, wanted: &Fingerprint) -> Vec<String> {
        let mut parts = Vec::new();
        let mut differ = |is_other: bool, part: String| {
            if is_other {
                parts.push(part);
            }
        };
        let (old, new) = (&self.model, &wanted.model);
        differ(old.weights != new.weights || old.architecture != new.architecture, "the model".into());
        differ(old.tokenizer != new.tokenizer, "the tokenizer".into());
        differ(old.pooling != new.pooling, "the pooling".into());
        differ(old.precision != new.precision, "--device".into());
        differ(self.dim < wanted.dim, format!("--dim ({} before, now {})", self.dim, wanted.dim));
        differ(self.instruction != wanted.instruction, "--instruction".into());
        let (before, now) = (self.max_tokens, wanted.max_tokens);
        differ(before != now, format!("--max-tokens ({before} before, now {now})"));
        differ(self.rows != wanted.rows, "--chunks".into());
        differ(self.chunking != wanted.chunking, "how this version cuts long texts".into());
        parts
    }
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
    /// How many documents could not be read when it was made, and have older rows: the last ones of the file; of a merged
    /// file the last ones of each part.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale: u32,
    /// Which share of the documents it has; `None` for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Metadata {
    /// The key of the file's metadata under which this stands, as JSON.
    pub const KEY: &str = env!("CARGO_PKG_NAME");
}
