//! Stores documents until all their vectors exist, and returns the documents in the order in which they were found.

use std::collections::{HashMap, VecDeque};
use std::iter;

use super::job::DocumentSize;
use crate::digest::Digest;
use crate::error::NoVector;
use crate::index::{RowKind, Vector};
use crate::source::Document;
use crate::text::chunk::ChunkPlace;
use crate::vector::batch::ChunkKey;
use crate::vector::embedding::Embedding;

/// The documents that have been added and not yet removed. A document is removed only when this document and all earlier
/// documents have all their vectors.
#[derive(Default)]
pub(super) struct Pending {
    documents: VecDeque<PendingDocument>,
    /// Number of documents that have been removed. This is also the document number of the first document in `documents`.
    gone: usize,
    /// The chunks that wait for a vector of the model, keyed by the digest of their token ids.
    waiting: HashMap<Digest, Vec<ChunkKey>>,
}

pub(super) struct PendingDocument {
    pub document: Document,
    /// The digest of the document's id.
    pub id: Digest,
    pub vectors: PendingVectors,
    /// Whether the model has to make a vector for this document. False if each vector of the document exists already, or is a
    /// vector that an earlier chunk waits for.
    pub is_new: bool,
}

pub(super) enum PendingVectors {
    /// The row of the old file that has the document's vector, and the size of the document if the new file has it.
    Old(u32, DocumentSize),
    Chunks {
        chunks: Vec<PendingChunk>,
        /// Number of chunks that do not have a vector yet.
        missing: usize,
    },
}

pub(super) struct PendingChunk {
    /// The place of the chunk in the document.
    pub place: ChunkPlace,
    /// The digest of the chunk's token ids.
    pub digest: Digest,
    /// `None` until the model has made the vector. In a dry run, the vector stays `None` if an earlier chunk with the same token
    /// ids has been completed.
    pub vector: Option<Result<Vector, NoVector>>,
}

impl PendingVectors {
    /// Returns the number of rows that the document has in the new file.
    pub fn rows(&self, kind: RowKind) -> usize {
        match self {
            PendingVectors::Chunks { chunks, .. } if kind == RowKind::Chunks => chunks.len(),
            PendingVectors::Old(..) | PendingVectors::Chunks { .. } => 1,
        }
    }
}

impl PendingDocument {
    fn has_all_vectors(&self) -> bool {
        match self.vectors {
            PendingVectors::Old(..) => true,
            PendingVectors::Chunks { missing, .. } => missing == 0,
        }
    }
}

impl Pending {
    /// Returns the document number of the next document that will be added.
    pub fn next_number(&self) -> usize {
        self.gone + self.documents.len()
    }

    /// Adds the document with the number [`Pending::next_number`]. Returns whether the document has all its vectors.
    pub fn push(&mut self, document: PendingDocument) -> bool {
        let has_all = document.has_all_vectors();
        self.documents.push_back(document);
        has_all
    }

    /// Records that a chunk waits for the vector of its token ids. Returns whether this chunk is the first that waits for this
    /// vector.
    pub fn wait(&mut self, key: ChunkKey, digest: Digest) -> bool {
        let waiting = self.waiting.entry(digest).or_default();
        waiting.push(key);
        waiting.len() == 1
    }

    /// Returns whether a chunk waits for the vector of the token ids with this digest.
    pub fn is_awaited(&self, digest: &Digest) -> bool {
        self.waiting.contains_key(digest)
    }

    /// Returns the place of a document, for messages.
    pub fn place(&self, number: usize) -> String {
        self.documents[number - self.gone].document.place()
    }

    /// Returns the digest of a chunk's token ids.
    pub fn digest(&self, key: ChunkKey) -> Digest {
        match &self.documents[key.document - self.gone].vectors {
            PendingVectors::Chunks { chunks, .. } => chunks[key.chunk].digest,
            PendingVectors::Old(..) => panic!("{key:?} is a document with a vector in the old file"),
        }
    }

    /// Gives the vector of a chunk to all chunks that wait for the same vector. Returns how many documents now have all their
    /// vectors.
    pub fn fill(&mut self, key: ChunkKey, vector: Result<Embedding, NoVector>) -> usize {
        let mut completed = 0;
        let waiting = self.waiting.remove(&self.digest(key)).unwrap_or_default();
        // `repeat_n` copies the vector for each waiting chunk except the final chunk, which receives the vector itself.
        let vectors = iter::repeat_n(vector.map(Vector::New), waiting.len());
        for (key, vector) in waiting.into_iter().zip(vectors) {
            let PendingVectors::Chunks { chunks, missing } =
                &mut self.documents[key.document - self.gone].vectors
            else {
                panic!("{key:?} waits for a vector, but its document has one in the old file")
            };
            let slot = &mut chunks[key.chunk].vector;
            assert!(slot.is_none(), "one vector per chunk: {key:?}");
            *slot = Some(vector);
            *missing -= 1;
            completed += usize::from(*missing == 0);
        }
        completed
    }

    /// Returns whether the first document has all its vectors.
    pub fn is_first_ready(&self) -> bool {
        self.documents.front().is_some_and(PendingDocument::has_all_vectors)
    }

    /// Removes the first document if it has all its vectors, and returns this document.
    pub fn pop_ready(&mut self) -> Option<PendingDocument> {
        if !self.is_first_ready() {
            return None;
        }
        self.gone += 1;
        self.documents.pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }
}
