//! The metadata of an index file: the settings that the vectors depend on, and the version of the tool that made the file.

use std::fmt;
use std::ops::Not;

use serde::{Deserialize, Serialize};

use crate::model::ModelFingerprint;
use crate::model::export::Quality;
use crate::shard::Shard;

/// Whether a row of an index file is a document or a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    /// The row is a document. The vector is the mean of the vectors of the document's chunks.
    Documents,
    /// The row is a chunk. The id of the row is the document's id, `#`, and the chunk number, which starts at 0.
    Chunks,
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RowKind::Documents => "documents",
            RowKind::Chunks => "chunks",
        })
    }
}

/// All settings that the vectors of a file depend on. If two files have equal fingerprints, equal texts have equal vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// The model that made the vectors.
    pub model: ModelFingerprint,
    /// Dimensions of the vectors.
    pub dim: usize,
    /// The instruction that is put before each text; `None` if there is no instruction.
    pub instruction: Option<String>,
    /// The words that are put before each text; `None` if there are no words, or if they are `Instruct: INSTRUCTION`, a line end
    /// and `Query:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Limit on the tokens of a chunk, end token included.
    pub max_tokens: usize,
    /// Whether a row is a document or a chunk.
    pub rows: RowKind,
    /// Whether web pages were read whole, and not only their main content. Missing in indexes of older versions, which knew no such
    /// choice.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub whole_pages: bool,
    /// Version of the rules for extracting text from files.
    pub extraction: u32,
    /// Version of the cleaning rules.
    pub cleaning: u32,
    /// Version of the chunking rules.
    pub chunking: u32,
}

/// A setting that can prevent a run from using old vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The model's files, and what the device makes of them.
    Model,
    /// The dimensions of the vectors.
    Dim,
    /// What is put before each text.
    Instruction,
    /// The limit on the tokens of a chunk.
    MaxTokens,
    /// Whether a row is a document or a chunk.
    Rows,
    /// The rules of this version of the tool.
    Tool,
}

impl Fingerprint {
    /// Returns the settings that prevent a run with the fingerprint `wanted` from using the vectors of this file, with their names.
    /// More dimensions in the file are not a difference, because vectors can be truncated. Different rules for extracting or
    /// cleaning are not a difference either, because vectors are looked up by the clean text.
    pub fn differences(&self, wanted: &Fingerprint) -> Vec<(Setting, String)> {
        let mut parts = Vec::new();
        let mut differ = |is_other: bool, setting: Setting, part: String| {
            if is_other {
                parts.push((setting, part));
            }
        };
        let (old, new) = (&self.model, &wanted.model);
        differ(
            old.weights != new.weights || old.architecture != new.architecture,
            Setting::Model,
            "the model".into(),
        );
        differ(old.tokenizer != new.tokenizer, Setting::Model, "the tokenizer".into());
        differ(old.pooling != new.pooling, Setting::Model, "the pooling".into());
        differ(old.layers != new.layers, Setting::Model, "the layers after the pooling".into());
        differ(old.precision != new.precision, Setting::Model, "the precision of the device".into());
        differ(
            self.dim < wanted.dim,
            Setting::Dim,
            format!("the dimensions ({} before, now {})", self.dim, wanted.dim),
        );
        differ(self.instruction != wanted.instruction, Setting::Instruction, "the instruction".into());
        differ(self.prompt != wanted.prompt, Setting::Instruction, "the prompt before each text".into());
        let (before, now) = (self.max_tokens, wanted.max_tokens);
        differ(
            before != now,
            Setting::MaxTokens,
            format!("the tokens per chunk ({before} before, now {now})"),
        );
        let (before, now) = (self.rows, wanted.rows);
        differ(before != now, Setting::Rows, format!("the rows ({before} before, now {now})"));
        differ(
            self.chunking != wanted.chunking,
            Setting::Tool,
            "the rules for splitting long texts into chunks".into(),
        );
        parts
    }
}

/// The metadata of an index file, stored as JSON in its footer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metadata {
    /// The name `qwen3-index`, and the version that made the file.
    pub tool: String,
    /// File name of the model's graph, for people who read the metadata. The fingerprint identifies the model.
    pub model_file: String,
    /// The model, so that a search and the next build find it: `hf:OWNER/NAME@COMMIT`, or an absolute path. `None` if a version of
    /// this tool made the file that did not store it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How close the vectors of the model are to those of its weights in fp32, as measured when the model was exported. `None` if
    /// this tool did not export the model, or did not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// All settings that the vectors depend on.
    pub fingerprint: Fingerprint,
    /// Number of documents that could not be read, so that their rows were copied from an older file. These documents are at the
    /// end of the file. In a merged file, these documents are at the end of each part.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stale: u32,
    /// The shard that the documents belong to; `None` if the file is not a shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Metadata {
    /// The key under which the footer stores this metadata as JSON.
    pub const KEY: &str = env!("CARGO_PKG_NAME");

    /// Returns the name of the model in messages.
    pub fn model_name(&self) -> String {
        let file = &self.model_file;
        self.model.as_ref().map_or_else(|| file.clone(), |model| format!("{model} ({file})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A vector is looked up by its clean text, so only texts that the other rules clean differently are embedded anew.
    #[test]
    fn vectors_of_texts_cleaned_by_other_rules_are_used() {
        let fingerprint = |cleaning| Fingerprint {
            model: ModelFingerprint::default(),
            dim: 64,
            instruction: None,
            prompt: None,
            max_tokens: 512,
            rows: RowKind::Documents,
            extraction: 1,
            cleaning,
            whole_pages: false,
            chunking: 1,
        };
        assert!(fingerprint(2).differences(&fingerprint(3)).is_empty());
    }
}
