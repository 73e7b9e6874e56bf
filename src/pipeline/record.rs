//! The records of a file of vectors: one or more digests, a vector, and a checksum. All records of a file have the same length.

use crate::digest::Digest;
use crate::vector::embedding::Embedding;

/// Length of the checksum at the end of each record, in bytes.
const CHECKSUM_BYTES: usize = 8;

/// The length of the records of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordFormat {
    /// Number of digests.
    pub digests: usize,
    /// Dimensions of the vectors.
    pub width: usize,
}

impl RecordFormat {
    /// Returns the length of a record, in bytes.
    pub fn bytes(self) -> usize {
        self.digests * Digest::BYTES + size_of::<f32>() * self.width + CHECKSUM_BYTES
    }

    /// Returns a record.
    pub fn record(self, digests: &[Digest], vector: &Embedding) -> Vec<u8> {
        let mut record = Vec::with_capacity(self.bytes());
        digests.iter().for_each(|digest| record.extend(digest.as_bytes()));
        record.extend(vector.values().iter().flat_map(|number| number.to_le_bytes()));
        record.extend(checksum(&record));
        record
    }

    /// Returns a digest of a record by its position.
    pub fn digest(self, record: &[u8], at: usize) -> Digest {
        let mut digest = [0; Digest::BYTES];
        digest.copy_from_slice(&record[at * Digest::BYTES..][..Digest::BYTES]);
        Digest::from_bytes(digest)
    }

    /// Returns the vector of a record.
    pub fn vector(self, record: &[u8]) -> Embedding {
        let bytes = &record[self.digests * Digest::BYTES..record.len() - CHECKSUM_BYTES];
        Embedding::stored(bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect())
    }
}

/// Returns whether the checksum of a record is right.
pub(super) fn is_whole(record: &[u8]) -> bool {
    let (content, sum) = record.split_at(record.len() - CHECKSUM_BYTES);
    checksum(content) == sum
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut checksum = [0; CHECKSUM_BYTES];
    checksum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES]);
    checksum
}
