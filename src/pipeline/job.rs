//! The settings of a build, and the model, journal and outputs that a build works with. `command` makes all of them.

use super::chunk_store::ChunkStore;
use super::intake::Inputs;
use super::journal::Journal;
use super::tally::{Tally, Work};
use crate::index::provenance::{DocumentColumn, MoreColumns};
use crate::index::{Old, Row, RowKind};
use crate::shard::Shard;
use crate::source::{Reading, Roots};
use crate::text::chunk::ChunkRules;
use crate::text::tokenize::Tokenizer;
use crate::vector::embedder::Embedder;

/// A function that loads a tokenizer.
pub type LoadTokenizer = Box<dyn Fn() -> anyhow::Result<Tokenizer> + Send + Sync>;

/// The settings of a build. They do not change during the run.
pub struct Job {
    /// The folders, files and objects to find documents in.
    pub roots: Roots,
    /// The settings for reading documents.
    pub reading: Reading,
    /// Loads the tokenizer of the model, which also puts the instruction before each text. The run calls this function when a text
    /// has to be split into chunks for the first time.
    pub tokenizer: LoadTokenizer,
    /// How texts are split. A document with more tokens than the limit fails, unless each row is a document and the old file has a
    /// vector for its text.
    pub chunking: ChunkRules,
    /// Limit on the tokens of a batch, padding included; `None` to use the lowest limit of the devices.
    pub batch_tokens: Option<usize>,
    /// Whether a row is a document or a chunk.
    pub rows: RowKind,
    /// The columns of the new file after `vector`.
    pub columns: MoreColumns,
    /// The sizes of the rows in the old file, if the new file has such columns and the old file has them already.
    pub old_sizes: Option<Vec<DocumentSize>>,
    /// Dimensions of the vectors in the new file.
    pub dim: usize,
    /// The shard that this build reads; `None` to read all documents.
    pub shard: Option<Shard>,
    /// The output when the run begins.
    pub old: OldOutput<Old>,
    /// Whether to embed every document again, even if the old file has a vector for the document's text.
    pub is_rebuild: bool,
    /// Whether a root may be without documents although the output has documents.
    pub allow_empty: bool,
    /// Whether the build may continue if more than half of the documents of the old file are gone.
    pub allow_shrink: bool,
    /// Whether this is a dry run, which writes nothing, and embeds only for a few seconds to measure the speed.
    pub is_dry: bool,
}

/// How much the model received for a document.
#[derive(Debug, Clone, Copy, Default)]
pub struct DocumentSize {
    /// The number of tokens, special tokens included.
    pub tokens: u64,
    /// The number of chunks.
    pub chunks: u64,
}

/// The file that is at the output path when the run begins.
pub enum OldOutput<Index> {
    /// There is no file.
    Absent,
    /// An index with damaged content. Its rows are not used, and it is assumed to have documents.
    Damaged {
        /// The number of its rows according to its footer; 0 if it is not known.
        rows: u64,
    },
    /// An undamaged index.
    Index(Index),
}

impl<Index> OldOutput<Index> {
    /// Returns the index, if there is an undamaged one.
    pub fn index(&self) -> Option<&Index> {
        if let OldOutput::Index(index) = self { Some(index) } else { None }
    }

    /// Returns whether there is a damaged index.
    pub fn is_damaged(&self) -> bool {
        matches!(self, OldOutput::Damaged { .. })
    }
}

impl OldOutput<Old> {
    /// Returns whether the old output has documents.
    pub fn has_documents(&self) -> bool {
        match self {
            OldOutput::Absent => false,
            OldOutput::Damaged { .. } => true,
            OldOutput::Index(old) => old.file.documents() > 0,
        }
    }
}

impl Job {
    /// Returns whether the new file says how long its documents are.
    pub(super) fn wants_sizes(&self) -> bool {
        let is_size = |column: &DocumentColumn| *column != DocumentColumn::Title;
        self.columns.of_documents.iter().any(is_size)
    }

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
    /// The vectors of the chunks of long documents, from earlier runs.
    pub chunk_store: &'a mut ChunkStore,
    /// The function that receives the rows, in their final order.
    pub sink: &'a mut dyn FnMut(Vec<Row>) -> anyhow::Result<()>,
    /// Counts of documents. The build updates the counts while it runs.
    pub documents: &'a mut Tally,
    /// Counts of the model's work. The build updates the counts while it runs.
    pub work: &'a mut Work,
}
