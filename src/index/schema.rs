//! The columns of an index file and their Arrow types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::kept::KeptColumn;
use super::vector_column::VectorColumn;
use crate::storage::place::FileKind;

/// The first bytes of every Parquet file.
pub const MAGIC: &[u8] = b"PAR1";

/// The kind of file that `build`, `merge` and `pack` write.
pub const INDEX: FileKind = FileKind { name: "Parquet", magic: MAGIC, replaces_damaged: true };

/// The kind of file that `--delta` writes.
pub const DELTA: FileKind = FileKind { name: "Parquet", magic: MAGIC, replaces_damaged: false };

/// The column with the id of a document or chunk, unique in a file.
pub const ID: &str = "id";

/// The column with the clean text that was embedded.
pub const TEXT: &str = "text";

/// The column with the L2-normalized vector of the text, rounded to the type of the column.
pub const VECTOR: &str = "vector";

/// The columns of every index file, in their order. The kept columns come after these columns.
pub const COLUMNS: [&str; 3] = [ID, TEXT, VECTOR];

/// Returns the schema `id: utf8, text: utf8, vector: fixed_size_list`, followed by the kept columns. Only the kept columns are
/// nullable.
pub fn schema(vectors: &VectorColumn, kept: &[KeptColumn]) -> Arc<Schema> {
    let mut fields = vec![
        Field::new(ID, DataType::Utf8, false),
        Field::new(TEXT, DataType::Utf8, false),
        Field::new(VECTOR, vectors.column(), false),
    ];
    fields.extend(kept.iter().map(KeptColumn::field));
    Arc::new(Schema::new(fields))
}
