//! The columns of an index file and their Arrow types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::kept::KeptColumn;
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

/// The column with the L2-normalized vector of the text.
pub const VECTOR: &str = "vector";

/// The columns of every index file, in their order. The kept columns come after these columns.
pub const COLUMNS: [&str; 3] = [ID, TEXT, VECTOR];

/// Returns the schema `id: utf8, text: utf8, vector: fixed_size_list<float32, dim>`, followed by the kept columns. Only
/// the kept columns are nullable.
pub fn schema(dim: usize, kept: &[KeptColumn]) -> Arc<Schema> {
    let mut fields = vec![
        Field::new(ID, DataType::Utf8, false),
        Field::new(TEXT, DataType::Utf8, false),
        Field::new(VECTOR, vector_type(dim), false),
    ];
    fields.extend(kept.iter().map(KeptColumn::field));
    Arc::new(Schema::new(fields))
}

/// Returns the type of a column with vectors of `dim` floats.
pub fn vector_type(dim: usize) -> DataType {
    DataType::FixedSizeList(element(), list_length(dim))
}

/// Returns the dimensions of a column of vectors, or `None` if the column has another type.
pub fn vector_dim(column: &DataType) -> Option<usize> {
    match column {
        DataType::FixedSizeList(of, length) if *of.data_type() == DataType::Float32 => {
            usize::try_from(*length).ok()
        }
        _ => None,
    }
}

/// Converts a number of dimensions to the type that Arrow uses for the length of a list.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // no model has 2^31 dimensions
pub fn list_length(dim: usize) -> i32 {
    dim as i32
}

pub fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}
