//! Counts where the vectors of a run come from, and says it for each document.

use std::fmt;
use std::ops::AddAssign;

use serde::Serialize;
use serde_json::{Value, json};

use super::pending::PendingVectors;
use crate::console::counted;
use crate::source::Document;

/// How many chunks have a vector from where. A document that keeps its row of the old output counts as one chunk.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(super) struct VectorOrigins {
    /// Vectors of the old output.
    pub old_output: u64,
    /// Vectors that an interrupted run has made.
    pub interrupted_run: u64,
    /// Vectors of long documents that have changed since.
    pub chunk_store: u64,
    /// Vectors of equal chunks in this run.
    pub equal_text: u64,
    /// Vectors that the model makes in this run.
    pub model: u64,
}

impl AddAssign for VectorOrigins {
    fn add_assign(&mut self, other: Self) {
        self.old_output += other.old_output;
        self.interrupted_run += other.interrupted_run;
        self.chunk_store += other.chunk_store;
        self.equal_text += other.equal_text;
        self.model += other.model;
    }
}

impl fmt::Display for VectorOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VectorOrigins { old_output, interrupted_run, chunk_store, equal_text, model } = *self;
        let parts = [
            (old_output, "from the old output"),
            (interrupted_run, "from an interrupted run"),
            (chunk_store, "from the chunk store"),
            (equal_text, "from an equal text"),
            (model, "by the model"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, of)| format!("{count} {of}"));
        let parts: Vec<String> = parts.collect();
        if parts.is_empty() { f.write_str("none") } else { f.write_str(&parts.join(", ")) }
    }
}

/// Why the old output does not have all vectors of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NotReused {
    /// The old output was made with other settings, or every text is embedded again.
    OtherSettings,
    /// The old output has no document with this id.
    NewId,
    /// The old output has another text for this id.
    OtherText,
}

impl fmt::Display for NotReused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NotReused::OtherSettings => "the vectors of the old output are not used",
            NotReused::NewId => "the old output does not have this id",
            NotReused::OtherText => "the old output has another text for this id",
        })
    }
}

/// Returns the line about a document with a text, and its details for programs.
pub(super) fn told(
    document: &Document,
    vectors: &PendingVectors,
    origins: VectorOrigins,
    why: Option<NotReused>,
) -> (String, Value) {
    let mut details = document.details();
    details["vectors"] = json!(origins);
    let mut line = format!("{}: {}; ", document.place(), document.told());
    match vectors {
        PendingVectors::Old(..) => line += "keeps its vector from the old output",
        PendingVectors::Chunks { chunks, .. } => {
            details["chunks"] = chunks.len().into();
            line += &format!("{}: {origins}", counted(chunks.len() as u64, "chunk"));
            if let Some(why) = why.filter(|_| origins.old_output < chunks.len() as u64) {
                details["not_reused"] = json!(why);
                line += &format!("; {why}");
            }
        }
    }
    (line, details)
}
