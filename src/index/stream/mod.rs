//! Arrow IPC streams between processes. The command `read` writes a stream, `embed --arrow` reads one stream and writes
//! another stream, and `pack` reads a stream. `docs/stream.md` describes the columns of each stream.

mod documents;
mod input;
mod output;
mod rows;
mod texts;
mod vectors;

pub use documents::DocumentStream;
pub use output::{BLOCKS, ERROR};
pub use rows::{Packed, RowStream};
pub use texts::{EmbeddedStream, Made, TextBatch, TextStream};
pub use vectors::VectorStream;
