//! A row of an index, and the id of a row.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::metadata::RowKind;
use crate::digest::Digest;
use crate::error::NoVector;
use crate::vector::embedding::Embedding;

/// A row of an index file.
#[derive(Debug, Clone)]
pub struct Row {
    /// The id of the row, unique in the file.
    pub id: RowId,
    /// The clean text that was embedded.
    pub text: String,
    /// The vector of the text, or the row of the old file that has this vector.
    pub vector: Vector,
    /// The values of the kept columns, in the order of the columns.
    pub kept: Arc<[Value]>,
}

/// The id of a row: the id of a document, and the number of the chunk if the file has one row per chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowId {
    /// The id of the document.
    pub document: String,
    /// The chunk number, which starts at 0; `None` in a file with one row per document.
    pub chunk: Option<u32>,
}

impl RowId {
    /// Parses an id that [`Display`](fmt::Display) has written.
    pub(super) fn parse(id: &str, rows: RowKind) -> Self {
        let (document, chunk) = RowId::split(id, rows);
        RowId { document: document.to_owned(), chunk }
    }

    /// Splits an id into the id of the document and the number of the chunk.
    pub(super) fn split(id: &str, rows: RowKind) -> (&str, Option<u32>) {
        if rows == RowKind::Chunks
            && let Some((document, number)) = id.rsplit_once('#')
            && let Ok(number) = number.parse()
        {
            return (document, Some(number));
        }
        (id, None)
    }

    /// Returns the digest of the document's id.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.document)
    }

    /// Returns the position of the row among the rows of its document, from 0.
    pub(super) fn place_in_document(&self) -> u32 {
        self.chunk.unwrap_or(0)
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

/// The vector of a row, or the row of the old file that has this vector.
#[derive(Debug, Clone, PartialEq)]
pub enum Vector {
    /// A vector made in this run.
    New(Embedding),
    /// The vector is in the old file, in the row with this row number.
    Old(u32),
}

impl Vector {
    /// Returns the new vector.
    ///
    /// # Panics
    /// If the vector is in the old file.
    pub fn made(self) -> Embedding {
        match self {
            Vector::New(embedding) => embedding,
            Vector::Old(row) => panic!("the vector is still in row {row} of the old file"),
        }
    }

    /// Truncates a new vector to `dim` dimensions and L2-normalizes the result. Returns a vector of the old file unchanged,
    /// because the writer truncates that vector after reading it.
    ///
    /// # Errors
    /// [`NoVector::NotFinite`] if the first `dim` numbers are all zero.
    pub fn truncate(self, dim: usize) -> Result<Self, NoVector> {
        match self {
            Vector::New(embedding) => Ok(Vector::New(embedding.truncate(dim)?)),
            old @ Vector::Old(_) => Ok(old),
        }
    }

    /// Returns the row of the old file that has the vector; `None` for a new vector.
    pub(super) fn old(&self) -> Option<u32> {
        if let Vector::Old(row) = self { Some(*row) } else { None }
    }
}
