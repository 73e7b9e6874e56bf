//! Computes the digest of a row, and one digest over all rows of a file.

use std::fmt;

use arrow::datatypes::ToByteSlice;

use crate::digest::Digest;

/// The digest of all rows of a file in their order: BLAKE3 over the BLAKE3 digests of the rows.
#[derive(Debug, Clone, Default)]
pub struct ContentDigest(blake3::Hasher);

impl ContentDigest {
    /// The metadata key under which a file stores this digest.
    pub const KEY: &str = concat!(env!("CARGO_PKG_NAME"), ".content");

    pub fn push(&mut self, id: &str, text: &str, vector: &[f32], kept: u64) {
        self.push_row(&row_digest(id, Digest::of(text), vector, kept));
    }

    /// Adds the next row by its digest.
    pub fn push_row(&mut self, row: &blake3::Hash) {
        self.0.update(row.as_bytes());
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.finalize().to_hex())
    }
}

/// Returns the digest of a row: BLAKE3 over the digests of the text, the vector and the kept values, and over the id. Callers
/// need the digest of the text anyway. The vector is hashed separately, because BLAKE3 is faster on one buffer.
pub fn row_digest(id: &str, text: Digest, vector: &[f32], kept: u64) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(text.as_bytes()).update(blake3::hash(vector.to_byte_slice()).as_bytes());
    hasher.update(&kept.to_le_bytes()).update(id.as_bytes());
    hasher.finalize()
}

/// The digest of a whole row, and the digests of its document id, text and kept values.
pub struct RowDigests {
    /// The digest of the id, text, vector and kept values together.
    pub whole: blake3::Hash,
    /// The digest of the document's id; `None` unless this is the first row of the document.
    pub document: Option<Digest>,
    pub text: Digest,
    /// The digest of the context and the text; `None` if the texts of the file are embedded without context.
    pub embedded: Option<Digest>,
    /// The digest of the kept values.
    pub kept: u64,
}
