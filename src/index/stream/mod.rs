//! Arrow IPC streams, which go from one process to another: what `read` writes, `embed --arrow` reads and writes, and `pack`
//! reads. `docs/stream.md` says what is in them.

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
