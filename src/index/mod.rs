//! The Parquet file: what is in it, how it is written and put in place (the only user of arrow; parquet is also
//! read by `source`).

mod kept;
mod metadata;
mod writer;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use crate::embed::Embedding;
use kept::KeptColumn;
use serde_json::Value;

pub use metadata::{Fingerprint, Metadata, RowKind};
pub use writer::{IndexWriter, Published};

/// One row of the file.
#[derive(Debug)]
pub struct Row {
    /// Unique in the file.
    pub id: String,
    /// The clean text that the vector stands for.
    pub text: String,
    /// Of the file's dimension.
    pub vector: Embedding,
    /// The values of the columns that are kept.
    pub kept: Arc<[Value]>,
}

/// Columns that every file has.
pub const COLUMNS: [&str; 3] = ["id", "text", "vector"];

/// `id: utf8, text: utf8, vector: fixed_size_list<float32, dim>`, none nullable; then the columns that are kept.
fn schema(dim: usize, kept: &[KeptColumn]) -> Arc<Schema> {
    let [id, text, vector] = COLUMNS;
    let mut fields = vec![
        Field::new(id, DataType::Utf8, false),
        Field::new(text, DataType::Utf8, false),
        Field::new(vector, DataType::FixedSizeList(element(), dim as i32), false),
    ];
    fields.extend(kept.iter().map(KeptColumn::field));
    Arc::new(Schema::new(fields))
}

fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}
