//! The Parquet file: what is in it, how it is written and put in place (the only user of arrow and
//! parquet).

mod metadata;
mod writer;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use crate::embed::Embedding;

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
}

/// `id: utf8, text: utf8, vector: fixed_size_list<float32, dim>`, nothing nullable.
fn schema(dim: usize) -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("text", DataType::Utf8, false),
        Field::new("vector", DataType::FixedSizeList(element(), dim as i32), false),
    ]))
}

fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}
