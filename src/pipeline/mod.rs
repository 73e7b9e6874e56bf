//! Runs the stages of a build. No other module knows the order of the stages, their threads and their bounds.
//!
//! ```text
//! thread "find" │ thread "prepare"                   │ calling thread: run, step                  │ one thread per
//! intake        │ prepare, with rayon                │                                            │ device: queue
//! ──────────────┼────────────────────────────────────┼────────────────────────────────────────────┼───────────────
//! found ─ group ┼─► read, clean ─┬─► in the old file ┼─► account ─► pending ─ complete ─► emit ─► rows
//!      256      │                └─► chunk, tokenize ┼─►   │         ▲  ▲                         │
//!   documents   │                           2 groups │     │ journal ┘  └─────────── vectors ─────┼──┐
//!   or 4 MiB    │                                    │     └─► window ─► plan ─► batches ─────────┼─► embed
//!               │                                    │                                            │  2 batches
//! ```
//!
//! Every number in the diagram is a limit on the documents in memory. No limit depends on the size of the corpus. A window
//! fills while the model embeds the batches of the previous window. Rows are written in the order of the documents. If a
//! document cannot be read in this run, its rows are copied from the old file. These stale rows are written after all other
//! rows.

mod account; // counts documents, reports failures, marks documents of the old file
mod ahead;
mod chunk_store; // vectors of the chunks of long documents, from run to run
mod emit; // makes rows of documents that have all their vectors
mod flush; // writes a file that a thread flushes to disk
mod intake;
mod job;
pub mod journal; // writes each vector to disk immediately
mod origins; // where vectors come from
mod pending; // documents that wait for vectors, in order
mod prepare;
mod queue; // embeds batches, on one thread per device
mod record; // a vector in the journal and in the chunk store
mod run;
mod stale;
mod step; // decides the next step of the run
mod tally;
mod window; // collects chunks until batches are planned

pub use account::TooFewDocuments;
pub use ahead::Ahead;
pub use chunk_store::ChunkStore;
pub use intake::{ReadDocument, read};
pub use job::{DocumentSize, Engine, Job, LoadTokenizer, OldOutput};
pub use run::run;
pub use tally::{Reused, Tally, TallyWording, Work};
