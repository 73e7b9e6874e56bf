//! The Parquet file: what is in it, how it is read, written and put in place (the only user of arrow; parquet is
//! also read by `source`).

mod delta;
mod file;
mod join;
mod kept;
mod metadata;
mod part;
mod parts;
mod place;
mod stream;
mod table;
mod writer;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::Value;

use crate::digest::Digest;
use crate::embed::Embedding;
use crate::error::NoVector;
use kept::KeptColumn;

pub use delta::{Changes, OPERATION, write_delta};
pub use file::{IndexFile, Old};
pub use join::{Joined, Shards};
pub use metadata::{Fingerprint, Metadata, RowKind};
pub use part::{Block, Part, Unusable};
pub use parts::{Parts, RowAt};
pub use place::{Kind, Place};
pub use stream::{
    DocumentStream, ERROR, EmbeddedStream, Made, Packed, RowStream, TextBatch, TextStream, VectorStream,
};
pub use writer::{IndexWriter, Written};

/// One row of the file.
#[derive(Debug, Clone)]
pub struct Row {
    /// Unique in the file.
    pub id: RowId,
    /// The clean text that the vector stands for.
    pub text: String,
    /// Its vector.
    pub vector: Vector,
    /// The values of the columns that are kept.
    pub kept: Arc<[Value]>,
}

/// What a row is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowId {
    /// The document.
    pub document: String,
    /// The number of the chunk, from 0, where a row is one.
    pub chunk: Option<u32>,
}

impl RowId {
    /// Takes a row's id apart again.
    fn parse(id: &str, rows: RowKind) -> Self {
        let (document, chunk) = RowId::split(id, rows);
        RowId { document: document.to_owned(), chunk }
    }

    fn split(id: &str, rows: RowKind) -> (&str, Option<u32>) {
        if rows == RowKind::Chunks
            && let Some((document, number)) = id.rsplit_once('#')
            && let Ok(number) = number.parse()
        {
            return (document, Some(number));
        }
        (id, None)
    }

    /// What the document is recognised by.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.document)
    }
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.chunk {
            None => f.write_str(&self.document),
            Some(chunk) => write!(f, "{}#{chunk}", self.document),
        }
    }
}

/// Where a row's vector is.
#[derive(Debug, Clone, PartialEq)]
pub enum Vector {
    /// Here, of the file's dimension.
    New(Embedding),
    /// In that row of the old file.
    Old(u32),
}

impl Vector {
    /// The one that has been made here.
    ///
    /// # Panics
    /// If it is in the old file.
    pub fn made(self) -> Embedding {
        match self {
            Vector::New(embedding) => embedding,
            Vector::Old(row) => panic!("row {row} of the old file where a vector is wanted"),
        }
    }

    /// Its first `dim` numbers, normalized again. Those in the old file are cut when they are read.
    ///
    /// # Errors
    /// [`NoVector::NotFinite`] where those are all zero.
    pub fn cut(self, dim: usize) -> Result<Self, NoVector> {
        match self {
            Vector::New(embedding) => Ok(Vector::New(embedding.cut(dim)?)),
            old @ Vector::Old(_) => Ok(old),
        }
    }

    fn old(&self) -> Option<u32> {
        if let Vector::Old(row) = self { Some(*row) } else { None }
    }
}

/// What the output is.
pub const INDEX: Kind = Kind { name: "Parquet", magic: part::MAGIC, is_kept: true };

/// What a delta is.
pub const DELTA: Kind = Kind { name: "Parquet", magic: part::MAGIC, is_kept: false };

/// Columns that every file has.
pub const COLUMNS: [&str; 3] = ["id", "text", "vector"];

/// `id: utf8, text: utf8, vector: fixed_size_list<float32, dim>`, none nullable; then the columns that are kept.
fn schema(dim: usize, kept: &[KeptColumn]) -> Arc<Schema> {
    let [id, text, vector] = COLUMNS;
    let mut fields = vec![
        Field::new(id, DataType::Utf8, false),
        Field::new(text, DataType::Utf8, false),
        Field::new(vector, vectors(dim), false),
    ];
    fields.extend(kept.iter().map(KeptColumn::field));
    Arc::new(Schema::new(fields))
}

fn vectors(dim: usize) -> DataType {
    DataType::FixedSizeList(element(), dim as i32)
}

fn element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Float32, false))
}
