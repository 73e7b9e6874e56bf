//! The limit on what a worker makes of a file.

use crate::error::ContentError;
use crate::source::format::EXPANSION_FREE_BYTES;

/// Counts the bytes of all documents of a file.
pub struct Expansion {
    /// How many bytes the documents that follow may have.
    left: u64,
    /// Maximum ratio of the bytes of the documents to the size of the file.
    max: u64,
}

impl Expansion {
    /// `size` is the size of the file in bytes.
    pub fn new(size: u64, max: u64) -> Self {
        Expansion { left: size.saturating_mul(max).max(EXPANSION_FREE_BYTES), max }
    }

    /// Counts more bytes.
    ///
    /// # Errors
    /// The documents have more bytes than allowed.
    pub fn add(&mut self, bytes: u64) -> Result<(), ContentError> {
        self.left = self.left.checked_sub(bytes).ok_or(ContentError::Expands { max: self.max })?;
        Ok(())
    }
}
