//! The only place that knows the order of the stages of a build, their threads and their bounds.
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
//! Every bound is on documents in memory, and none depends on the size of the corpus. A window fills while the batches of
//! the window before it go through the model. The rows of a document are written after those of all documents before it.
//! Documents that cannot be read today keep their rows of the old file, which come last (stale).

mod account; // what was found -> counts, failures, marks in Missing
mod ahead;
mod emit; // complete documents -> rows
mod flush; // bytes -> a file, flushed now and then
mod intake;
mod job;
pub mod journal; // Embedding -> disk, at once
mod pending; // prepared documents, Embeddings -> complete documents, in order
mod prepare;
mod queue; // Batch -> Embeddings, on one thread per device
mod run;
mod stale;
mod step; // State -> the next step of the run
mod tally;
mod window; // chunks -> what one plan is made over

pub use ahead::Ahead;
pub use intake::{ReadDocument, read};
pub use job::{Engine, Job};
pub use run::run;
pub use tally::{Reused, Tally, TallyWording, Work};
