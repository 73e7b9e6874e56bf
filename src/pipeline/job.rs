//! What a run is to do, and what it works with.

use super::intake::Inputs;
use super::journal::Journal;
use super::tally::{Tally, Work};
use crate::index::{Old, Row, RowKind};
use crate::shard::Shard;
use crate::source::{Reading, Roots};
use crate::text::tokenize::Tokenizer;
use crate::vector::embedder::Embedder;

/// What is to be done, as settled by the command.
pub struct Job {
    /// Where the documents are.
    pub roots: Roots,
    /// How they are read.
    pub reading: Reading,
    /// The model's, with the instruction.
    pub tokenizer: Tokenizer,
    /// Most tokens of a chunk.
    pub max_tokens: usize,
    /// Most tokens of a batch; `None` for what suits the device.
    pub batch_tokens: Option<usize>,
    /// What a row stands for.
    pub rows: RowKind,
    /// Length of the vectors written.
    pub dim: usize,
    /// Which of the documents are taken; `None` for all.
    pub shard: Option<Shard>,
    /// What is in place already.
    pub old: Option<Old>,
    /// Whether that has documents, as far as can be known: it may be damaged.
    pub has_output: bool,
    /// Whether a root may be without documents where the old file has some.
    pub allow_empty: bool,
    /// Whether more than half of the old file's documents may be gone.
    pub allow_shrink: bool,
    /// Whether nothing is to be embedded, beside a trial, or written.
    pub is_dry: bool,
}

impl Job {
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { roots: &self.roots, reading: &self.reading, shard: self.shard }
    }
}

/// What the second half of the stages works with.
pub struct Engine<'a> {
    /// Loads the model, once for each device; called once, and only where something has to be embedded.
    pub load: &'a mut dyn FnMut() -> anyhow::Result<Vec<Box<dyn Embedder>>>,
    /// Vectors made before.
    pub journal: &'a mut Journal,
    /// Takes rows, in the order of the documents.
    pub sink: &'a mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
    /// What became of the documents so far.
    pub documents: &'a mut Tally,
    /// What the model has done so far.
    pub work: &'a mut Work,
}
