//! The metadata of an index file: the settings that the vectors depend on, and the version of the tool that made the file.

use std::fmt;
use std::ops::Not;

use serde::{Deserialize, Serialize};

use super::vector_column::{VectorColumn, VectorType};
use crate::model::ModelFingerprint;
use crate::model::export::Quality;
use crate::shard::Shard;
use crate::text::chunk::{ChunkBy, ChunkContext};

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
    /// Whether a command read scanned pages and pictures. Which command it was is not stored, because a text that another command
    /// reads differently is another text.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub scans: bool,
    /// Version of the rules for extracting text from files.
    pub extraction: u32,
    /// Version of the cleaning rules.
    pub cleaning: u32,
    /// Version of the chunking rules.
    pub chunking: u32,
    /// Where texts are cut.
    #[serde(default, skip_serializing_if = "is_default")]
    pub chunk_by: ChunkBy,
    /// The most tokens that a chunk repeats from the end of the chunk before it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub overlap: usize,
    /// What is embedded in front of each chunk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub context: ChunkContext,
    /// The type of the numbers in the column `vector`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub vector_type: VectorType,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A setting that differs between an old file and a run.
#[derive(Debug)]
pub struct SettingDifference {
    /// The setting.
    pub setting: Setting,
    /// The name of the setting in messages, and its values.
    pub name: String,
    /// What the difference does to the old vectors.
    pub effect: Effect,
}

/// What a different setting does to the old vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// A text that has a vector in the old file has the same vector in this run. The file may get other rows.
    Rows,
    /// Only texts of one chunk have the same vector.
    LongTexts,
    /// No text has the same vector. But old and new vectors can be compared with each other.
    AllTexts,
    /// No row of the old file can stand beside the rows of this run.
    AllRows,
}

/// A setting that can prevent a run from using old vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// The model's files, and what the device makes of them.
    Model,
    /// The dimensions of the vectors.
    Dim,
    /// The type of the vectors' numbers.
    VectorType,
    /// What is put before each text.
    Instruction,
    /// The limit on the tokens of a chunk.
    MaxTokens,
    /// Whether a row is a document or a chunk.
    Rows,
    /// Where texts are cut.
    ChunkBy,
    /// What chunks repeat of the chunk before.
    Overlap,
    /// What is embedded in front of chunks.
    Context,
    /// The rules of this version of the tool.
    Tool,
}

/// What is read or left out, by choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherTexts {
    /// The parts of web pages beside the main content.
    WebPages,
    /// Scanned pages and pictures.
    Scans,
}

impl fmt::Display for OtherTexts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OtherTexts::WebPages => "the part of web pages",
            OtherTexts::Scans => "whether scans and pictures are read",
        })
    }
}

impl Fingerprint {
    /// Returns how a new file with this fingerprint stores its vectors.
    pub(super) fn vectors(&self) -> VectorColumn {
        VectorColumn::new(self.vector_type, self.dim)
    }

    /// Returns whether vectors that are stored in this way have the dimensions and the type of this fingerprint.
    pub(super) fn has(&self, stored: VectorColumn) -> bool {
        (stored.dim, stored.kind) == (self.dim, self.vector_type)
    }

    /// Returns which parts of documents only one of two fingerprints reads. This is no difference for the vectors, because vectors are
    /// looked up by the clean text. But many documents have other texts.
    pub fn other_texts(&self, other: &Fingerprint) -> Vec<OtherTexts> {
        let pages = (self.whole_pages != other.whole_pages).then_some(OtherTexts::WebPages);
        let scans = (self.scans != other.scans).then_some(OtherTexts::Scans);
        pages.into_iter().chain(scans).collect()
    }

    /// Returns the settings in which a run with the fingerprint `wanted` differs from this file, and what that does to the vectors.
    /// More dimensions or a wider type in the file are not a difference, because vectors can be truncated and rounded. Different rules for extracting or
    /// cleaning are not a difference either, because vectors are looked up by the clean text.
    pub fn differences(&self, wanted: &Fingerprint) -> Vec<SettingDifference> {
        let mut found = Vec::new();
        let mut differ = |is_other: bool, setting: Setting, effect: Effect, name: String| {
            if is_other {
                found.push(SettingDifference { setting, name, effect });
            }
        };
        let all = Effect::AllRows;
        let (old, new) = (&self.model, &wanted.model);
        let is_other = old.weights != new.weights || old.architecture != new.architecture;
        differ(is_other, Setting::Model, all, "the model".into());
        differ(old.tokenizer != new.tokenizer, Setting::Model, all, "the tokenizer".into());
        differ(old.pooling != new.pooling, Setting::Model, all, "the pooling".into());
        differ(old.layers != new.layers, Setting::Model, all, "the layers after the pooling".into());
        let is_other = old.precision != new.precision;
        differ(is_other, Setting::Model, Effect::AllTexts, "the precision of the device".into());
        let (before, now) = (self.dim, wanted.dim);
        let name = format!("the dimensions ({before} before, now {now})");
        differ(before < now, Setting::Dim, all, name);
        let (before, now) = (self.vector_type, wanted.vector_type);
        let name = format!("the type of the vectors ({before} before, now {now})");
        differ(before < now, Setting::VectorType, all, name);
        differ(self.instruction != wanted.instruction, Setting::Instruction, all, "the instruction".into());
        differ(self.prompt != wanted.prompt, Setting::Instruction, all, "the prompt before each text".into());
        let (before, now) = (self.rows, wanted.rows);
        differ(before != now, Setting::Rows, all, format!("the rows ({before} before, now {now})"));
        let cut = match wanted.rows {
            RowKind::Documents => Effect::LongTexts,
            // The vector of a chunk depends on its own text only, unless a context that is too long was left out.
            RowKind::Chunks if is_default(&wanted.context) => Effect::Rows,
            RowKind::Chunks => Effect::AllTexts,
        };
        let is_other = self.chunking != wanted.chunking;
        differ(is_other, Setting::Tool, cut, "the rules for splitting long texts into chunks".into());
        // Chunks have another length too if the rows or the rules of this tool are other ones.
        let cause = |setting| match (self.rows == wanted.rows, is_other) {
            (false, _) => Setting::Rows,
            (true, true) => Setting::Tool,
            (true, false) => setting,
        };
        let (before, now) = (self.context, wanted.context);
        let name = format!("the context of chunks ({before} before, now {now})");
        differ(before != now, cause(Setting::Context), Effect::AllTexts, name);
        let (before, now) = (self.max_tokens, wanted.max_tokens);
        differ(
            before != now,
            cause(Setting::MaxTokens),
            cut,
            format!("the tokens per chunk ({before} before, now {now})"),
        );
        differ(self.chunk_by != wanted.chunk_by, Setting::ChunkBy, cut, "where texts are cut".into());
        let (before, now) = (self.overlap, wanted.overlap);
        differ(
            before != now,
            Setting::Overlap,
            cut,
            format!("the overlap ({before} before, now {now} tokens)"),
        );
        found
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
    /// The ids of stale documents whose vectors were made with other rules for long texts than those of the fingerprint. No run
    /// reuses these vectors for a text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outdated: Vec<String>,
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
            scans: false,
            chunking: 1,
            chunk_by: ChunkBy::default(),
            overlap: 0,
            context: ChunkContext::default(),
            vector_type: VectorType::default(),
        };
        assert!(fingerprint(2).differences(&fingerprint(3)).is_empty());
    }
}
