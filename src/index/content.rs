//! Digests of rows, and of all rows of a file.

use std::fmt;

use arrow::datatypes::ToByteSlice;

use crate::digest::Digest;

/// Identifies all rows of a file in their order: the BLAKE3 digest of the BLAKE3 digests of the rows.
#[derive(Debug, Clone, Default)]
pub struct ContentDigest(blake3::Hasher);

impl ContentDigest {
    /// The key of the file's metadata with this digest.
    pub const KEY: &str = concat!(env!("CARGO_PKG_NAME"), ".content");

    pub fn push(&mut self, id: &str, text: &str, vector: &[f32], kept: u64) {
        self.push_row(&row_digest(id, Digest::of(text), vector, kept));
    }

    /// Adds a row by its digest.
    pub fn push_row(&mut self, row: &blake3::Hash) {
        self.0.update(row.as_bytes());
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.finalize().to_hex())
    }
}

/// Returns the digest of a row. It digests the text and the vector first: the digest of the text is needed anyway, and
/// BLAKE3 is faster with the vector in one buffer.
pub fn row_digest(id: &str, text: Digest, vector: &[f32], kept: u64) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes()).update(blake3::hash(vector.to_byte_slice()).as_bytes());
    hasher.update(&kept.to_le_bytes()).update(id.as_bytes());
    hasher.finalize()
}

/// The digests of a row.
pub struct RowDigests {
    /// The id, text, vector and kept values.
    pub whole: blake3::Hash,
    /// The id of the document if this is its first row.
    pub document: Option<Digest>,
    pub text: Digest,
    /// The kept values.
    pub kept: u64,
}
