//! Reads, writes, joins, inspects and searches index files in Parquet. Also reads and writes streams in Arrow IPC. Only this
//! module uses arrow. `source` reads Parquet too.

pub(crate) mod best; // selects the best of many items
mod content;
mod delta;
mod file;
mod flat_vectors;
mod footer;
mod group_writer;
pub(crate) mod inspect; // figures and problems of an index
mod join;
mod kept;
mod metadata;
mod part;
mod parts;
mod pattern;
pub mod provenance; // the columns that say where a chunk stands
mod row;
mod row_batch;
mod row_count;
mod row_file;
mod schema;
mod seal;
pub(crate) mod search; // finds the rows that are nearest to questions
mod shared_file;
mod stream;
mod table;
mod vector_column;
mod writer;

pub use delta::{Changes, DeltaOutput, OPERATION, write_delta};
pub use file::{IndexFile, Old, Reusable};
pub use join::{JoinError, Joined, Shards};
pub use metadata::{Effect, Fingerprint, Metadata, OtherTexts, RowKind, Setting, SettingDifference};
pub use part::{IndexFileError, Part};
pub use parts::{Parts, RowAt};
pub use row::{Row, RowId, Vector};
pub use row_batch::RowBatch;
pub use row_count::TooManyRows;
pub use row_file::{FullRow, RowFile, RowPiece};
pub use schema::{COLUMNS, DELTA, INDEX};

pub use stream::{
    BLOCKS, DocumentStream, ERROR, EmbeddedStream, Made, Packed, RowStream, TextBatch, TextStream,
    VectorStream,
};
pub use vector_column::{VectorColumn, VectorType};
pub use writer::{IndexWriter, Written};
