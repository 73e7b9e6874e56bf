//! The settings of a build, and the model, journal and outputs that a build works with. `command` makes all of them.

use super::intake::Inputs;
use super::journal::Journal;
use super::tally::{Tally, Work};
use crate::index::{Old, Row, RowKind};
use crate::shard::Shard;
use crate::source::{Reading, Roots};
use crate::text::tokenize::Tokenizer;
use crate::vector::embedder::Embedder;

/// The settings of a build. They do not change during the run.
pub struct Job {
    /// The folders, files and objects to find documents in.
    pub roots: Roots,
    /// The settings for reading documents.
    pub reading: Reading,
    /// The tokenizer of the model, which also puts the instruction before each text.
    pub tokenizer: Tokenizer,
    /// Limit on the tokens of a chunk, special tokens included.
    pub max_tokens: usize,
    /// Limit on the tokens of a document. A longer document fails, unless the old file has a vector for its text.
    pub document_tokens: usize,
    /// Limit on the tokens of a batch, padding included; `None` to use the lowest limit of the devices.
    pub batch_tokens: Option<usize>,
    /// Whether a row is a document or a chunk.
    pub rows: RowKind,
    /// Dimensions of the vectors in the new file.
    pub dim: usize,
    /// The shard that this build reads; `None` to read all documents.
    pub shard: Option<Shard>,
    /// The index file that is at the output path when the run begins; `None` if there is no file.
    pub old: Option<Old>,
    /// Whether to embed every document again, even if the old file has a vector for the document's text.
    pub is_rebuild: bool,
    /// Whether the output has documents when the run begins. A damaged output is assumed to have documents.
    pub has_output: bool,
    /// Whether a root may be without documents although the output has documents.
    pub allow_empty: bool,
    /// Whether the build may continue if more than half of the documents of the old file are gone.
    pub allow_shrink: bool,
    /// Whether this is a dry run, which writes nothing, and embeds only for a few seconds to measure the speed.
    pub is_dry: bool,
}

impl Job {
    pub(super) fn inputs(&self) -> Inputs<'_> {
        Inputs { roots: &self.roots, reading: &self.reading, shard: self.shard }
    }
}

/// The parts of a build that only the calling thread uses: the model, the journal, the sink and the counts.
pub struct Engine<'a> {
    /// Loads the model for each device. The run calls this function when a chunk needs the model for the first time.
    pub load: &'a mut dyn FnMut() -> anyhow::Result<Vec<Box<dyn Embedder>>>,
    /// The vectors that were made in this run or in earlier, interrupted runs.
    pub journal: &'a mut Journal,
    /// The function that receives the rows, in their final order.
    pub sink: &'a mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
    /// Counts of documents. The build updates the counts while it runs.
    pub documents: &'a mut Tally,
    /// Counts of the model's work. The build updates the counts while it runs.
    pub work: &'a mut Work,
}
