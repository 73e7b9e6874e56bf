//! Arrow IPC streams between processes: `read` writes one, `embed --arrow` reads and writes one, and `pack` reads one.
//! `docs/stream.md` describes their columns.

mod documents;
mod input;
mod output;
mod rows;
mod texts;
mod vectors;

pub use documents::DocumentStream;
pub use output::ERROR;
pub use rows::{Packed, RowStream};
pub use texts::{EmbeddedStream, Made, TextBatch, TextStream};
pub use vectors::VectorStream;
