//! Digests of rows, and of all rows of a file.

use std::fmt;

use arrow::datatypes::ToByteSlice;

use crate::digest::Digest;

/// What stands for the rows of a file, each whole: the BLAKE3 digest of their BLAKE3 digests.
#[derive(Debug, Clone, Default)]
pub struct ContentDigest(blake3::Hasher);

impl ContentDigest {
    /// The key of the file's metadata under which it stands.
    pub const KEY: &str = concat!(env!("CARGO_PKG_NAME"), ".content");

    pub fn push(&mut self, id: &str, text: &str, vector: &[f32], kept: u64) {
        self.push_row(&row_digest(id, Digest::of(text), vector, kept));
    }

    /// A row by its digest.
    pub fn push_row(&mut self, row: &blake3::Hash) {
        self.0.update(row.as_bytes());
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.finalize().to_hex())
    }
}

/// Of the digests of its parts, since those of text and vector are wanted apart, or made faster so: BLAKE3 takes
/// several blocks of one buffer at a time.
pub fn row_digest(id: &str, text: Digest, vector: &[f32], kept: u64) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes()).update(blake3::hash(vector.to_byte_slice()).as_bytes());
    hasher.update(&kept.to_le_bytes()).update(id.as_bytes());
    hasher.finalize()
}

/// What is known of a row.
pub struct RowDigests {
    pub whole: blake3::Hash,
    /// Of a document's first row, the document's.
    pub document: Option<Digest>,
    pub text: Digest,
    pub kept: u64,
}
