//! The one place that knows the order of the stages, the threads and the bounds.
//!
//! ```text
//! thread "find" │ thread "prepare"                       │ calling thread               │ a thread a device
//! found ─ group ─► read, clean ─┬─► in the old file ─────┼─► pending ◄───── vectors ────┼──┐
//!       256     │    (rayon)    └─► chunk, tokenize ─────┼─►   │ ├─► in the journal      │  │
//!   documents   │                              2 groups  │     │ └─► window ─► plan ─────┼─► embed
//!   or 4 MiB    │                                        │     └─► merge ─► rows         │  2 batches
//! ```
//!
//! Every bound is on documents in memory; none depends on how many there are: a window is filled while the one before it
//! goes through the model, and rows come out when all before them have.

mod consume;
mod intake;
mod prepare;
mod queue;

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::bounded;

use crate::embed::Embedder;
use crate::index::{Old, Row, RowKind};
use crate::journal::Journal;
use crate::report::{Documents, Reporter, Work};
use crate::shard::Shard;
use crate::source::{Reading, Roots};
use crate::stale::Missing;
use crate::tokenize::Tokenizer;
use consume::Run;
use intake::Inputs;

pub use intake::{Read, read};

/// Groups of documents that wait to be embedded.
const QUEUE_GROUPS: usize = 2;

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
    fn inputs(&self) -> Inputs<'_> {
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
    pub documents: &'a mut Documents,
    /// What the model has done so far.
    pub work: &'a mut Work,
}

/// Takes every document below the roots through all stages; rows go to the sink in the order in which
/// the documents were found, and behind them those of the old file that stand for what cannot be read today.
///
/// # Errors
/// The engine or the sink failed, a root is empty that may not be, or the run was interrupted. What is wrong with one
/// document is counted and told instead.
pub fn run(job: &Arc<Job>, engine: Engine, reporter: &Arc<Reporter>) -> anyhow::Result<()> {
    let (sender, receiver) = bounded(QUEUE_GROUPS);
    let producer = {
        let (job, reporter) = (job.clone(), reporter.clone());
        thread::spawn(move || prepare::prepare(&job, &reporter, &sender))
    };
    let missing = job.old.as_ref().map_or(Missing::new(0, 0), |old| {
        Missing::new(old.file.documents(), old.file.metadata().map_or(0, |metadata| metadata.stale))
    });
    let run = Run::new(job, engine, reporter, missing);
    // After an error the producer is left behind: it may wait for standard input, for as long as it takes.
    run.consume(&receiver)?;
    // It has hung up, so it is done; if by a panic, then not all documents have come.
    producer.join().unwrap_or_else(|panic| resume_unwind(panic));
    Ok(())
}
