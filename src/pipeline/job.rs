//! What a build does and what it works with, as the command has settled it.

use super::intake::Inputs;
use super::journal::Journal;
use super::tally::{Tally, Work};
use crate::index::{Old, Row, RowKind};
use crate::shard::Shard;
use crate::source::{Reading, Roots};
use crate::text::tokenize::Tokenizer;
use crate::vector::embedder::Embedder;

/// The settings of a build. They do not change while it runs.
pub struct Job {
    /// The folders, files and objects to find documents in.
    pub roots: Roots,
    /// How documents are read.
    pub reading: Reading,
    /// The tokenizer of the model; it puts the instruction before each text.
    pub tokenizer: Tokenizer,
    /// The most tokens of a chunk, special tokens included.
    pub max_tokens: usize,
    /// The most tokens of a batch, padding included. `None` for the number that suits the device.
    pub batch_tokens: Option<usize>,
    /// Whether a row is a document or a chunk.
    pub rows: RowKind,
    /// Dimensions of the vectors in the new file.
    pub dim: usize,
    /// The share of the documents that this build takes. `None` for all of them.
    pub shard: Option<Shard>,
    /// The index that the output has now.
    pub old: Option<Old>,
    /// Whether every document is embedded again, although the old file may have its vector.
    pub is_rebuild: bool,
    /// Whether the output has documents now. A damaged output counts as having some.
    pub has_output: bool,
    /// Whether a root may contain no documents although the output has some.
    pub allow_empty: bool,
    /// Whether more than half of the documents of the old file may be gone.
    pub allow_shrink: bool,
    /// Whether to write nothing, and to embed only as much as a trial of the speed needs.
    pub is_dry: bool,
}

impl Job {
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { roots: &self.roots, reading: &self.reading, shard: self.shard }
    }
}

/// What the calling thread works with.
pub struct Engine<'a> {
    /// Loads the model for each device. It is called at most once, when a chunk needs the model.
    pub load: &'a mut dyn FnMut() -> anyhow::Result<Vec<Box<dyn Embedder>>>,
    /// The vectors of this run, and of one that was interrupted.
    pub journal: &'a mut Journal,
    /// Takes the rows, in their final order.
    pub sink: &'a mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
    /// Counts of documents, kept up to date while the build runs.
    pub documents: &'a mut Tally,
    /// Counts of the model's work, kept up to date while the build runs.
    pub work: &'a mut Work,
}
