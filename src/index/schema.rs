//! The columns of an index.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::kept::KeptColumn;
use crate::storage::place::FileKind;

/// The first bytes of every Parquet file.
pub const MAGIC: &[u8] = b"PAR1";

/// What the output is.
pub const INDEX: FileKind = FileKind { name: "Parquet", magic: MAGIC, replaces_damaged: true };

/// What a delta is.
pub const DELTA: FileKind = FileKind { name: "Parquet", magic: MAGIC, replaces_damaged: false };

/// Columns that every file has.
pub const COLUMNS: [&str; 3] = ["id", "text", "vector"];

/// `id: utf8, text: utf8, vector: fixed_size_list<float32, dim>`, none nullable; then the columns that are kept.
pub fn schema(dim: usize, kept: &[KeptColumn]) -> Arc<Schema> {
    let [id, text, vector] = COLUMNS;
    let mut fields = vec![
        Field::new(id, DataType::Utf8, false),
        Field::new(text, DataType::Utf8, false),
        Field::new(vector, vectors(dim), false),
    ];
    fields.extend(kept.iter().map(KeptColumn::field));
    Arc::new(Schema::new(fields))
}

pub fn vectors(dim: usize) -> DataType {
    DataType::FixedSizeList(element(), dim as i32)
}

pub fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}
