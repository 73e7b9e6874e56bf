//! The Parquet file: what is in it, how it is read, written, joined and searched (the only user of arrow; parquet is
//! also read by `source`).

mod content;
mod delta;
mod file;
mod footer;
pub(crate) mod inspect; // the Parquet file -> figures on it, and what is wrong with it
mod join;
mod kept;
mod metadata;
mod part;
mod parts;
mod row;
mod schema;
pub(crate) mod search; // Embeddings of questions -> the rows nearest to them
mod stream;
mod table;
mod writer;

pub use delta::{Changes, OPERATION, write_delta};
pub use file::{IndexFile, Old, Reusable};
pub use join::{Joined, Shards};
pub use metadata::{Fingerprint, Metadata, RowKind};
pub use part::{Block, Part, Unusable};
pub use parts::{Parts, RowAt};
pub use row::{Row, RowId, Vector};
pub use schema::{COLUMNS, DELTA, INDEX};
pub use stream::{
    DocumentStream, ERROR, EmbeddedStream, Made, Packed, RowStream, TextBatch, TextStream, VectorStream,
};
pub use writer::{IndexWriter, Written};
