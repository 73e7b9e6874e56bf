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

mod ahead;
mod intake;
mod job;
pub mod journal; // Embedding -> disk, at once
mod prepare;
mod queue;
mod run;
mod stale;
mod tally;

pub use ahead::Ahead;
pub use intake::{ReadDocument, read};
pub use job::{Engine, Job};
pub use run::run;
pub use tally::{Reused, Tally, TallyWording, Work};
