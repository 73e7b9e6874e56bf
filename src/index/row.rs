//! One row of an index.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::metadata::RowKind;
use crate::digest::Digest;
use crate::error::NoVector;
use crate::vector::embedding::Embedding;

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
    pub(super) fn parse(id: &str, rows: RowKind) -> Self {
        let (document, chunk) = RowId::split(id, rows);
        RowId { document: document.to_owned(), chunk }
    }

    pub(super) fn split(id: &str, rows: RowKind) -> (&str, Option<u32>) {
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
    pub fn truncate(self, dim: usize) -> Result<Self, NoVector> {
        match self {
            Vector::New(embedding) => Ok(Vector::New(embedding.truncate(dim)?)),
            old @ Vector::Old(_) => Ok(old),
        }
    }

    pub(super) fn old(&self) -> Option<u32> {
        if let Vector::Old(row) = self { Some(*row) } else { None }
    }
}
