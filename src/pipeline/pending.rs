//! Documents that wait for vectors, in the order in which they were found: prepared documents and vectors come in,
//! complete documents go out.

use std::collections::{HashMap, VecDeque};
use std::iter;
use std::ops::Range;

use crate::digest::Digest;
use crate::error::NoVector;
use crate::index::Vector;
use crate::source::Document;
use crate::vector::batch::ChunkKey;
use crate::vector::embedding::Embedding;

/// The documents, each from its preparation until its rows are written.
#[derive(Default)]
pub(super) struct Pending {
    documents: VecDeque<PendingDocument>,
    /// How many documents have gone out. This is also the number of the first one that is still here.
    gone: usize,
    /// By the digest of their token ids, the chunks that wait for a vector of the model.
    waiting: HashMap<Digest, Vec<ChunkKey>>,
}

pub(super) struct PendingDocument {
    pub document: Document,
    /// The digest of its id.
    pub id: Digest,
    pub vectors: PendingVectors,
    /// Whether a chunk of it is the first in this run with its token ids, and goes through the model.
    pub is_new: bool,
}

pub(super) enum PendingVectors {
    /// The document's vector is in this row of the old file.
    Old(u32),
    Chunks {
        chunks: Vec<PendingChunk>,
        /// Chunks without a vector.
        missing: usize,
    },
}

pub(super) struct PendingChunk {
    /// In bytes of the document's text.
    pub span: Range<usize>,
    /// The digest of its token ids.
    pub digest: Digest,
    /// `None` until the model has run. It stays `None` for chunks that a dry run has counted before.
    pub vector: Option<Result<Vector, NoVector>>,
}

impl PendingDocument {
    fn has_all_vectors(&self) -> bool {
        match self.vectors {
            PendingVectors::Old(_) => true,
            PendingVectors::Chunks { missing, .. } => missing == 0,
        }
    }
}

impl Pending {
    /// Returns the number that the next document will have in this run.
    pub fn next_number(&self) -> usize {
        self.gone + self.documents.len()
    }

    /// Adds the document with the number [`Pending::next_number`]. Returns whether it has all its vectors.
    pub fn push(&mut self, document: PendingDocument) -> bool {
        let has_all = document.has_all_vectors();
        self.documents.push_back(document);
        has_all
    }

    /// Lets a chunk wait for the vector of its token ids. Returns whether no other chunk waits for the same vector.
    pub fn wait(&mut self, key: ChunkKey, digest: Digest) -> bool {
        let waiting = self.waiting.entry(digest).or_default();
        waiting.push(key);
        waiting.len() == 1
    }

    /// Returns whether a chunk waits for the vector of these token ids.
    pub fn is_awaited(&self, digest: &Digest) -> bool {
        self.waiting.contains_key(digest)
    }

    /// Returns the place of a document for messages.
    pub fn place(&self, number: usize) -> String {
        self.documents[number - self.gone].document.place()
    }

    /// Returns the digest of a chunk's token ids.
    pub fn digest(&self, key: ChunkKey) -> Digest {
        match &self.documents[key.document - self.gone].vectors {
            PendingVectors::Chunks { chunks, .. } => chunks[key.chunk].digest,
            PendingVectors::Old(_) => panic!("{key:?} is a document with a vector in the old file"),
        }
    }

    /// Gives the vector of a chunk to all chunks that wait for it. Returns how many documents this gives their last vector.
    pub fn fill(&mut self, key: ChunkKey, vector: Result<Embedding, NoVector>) -> usize {
        let mut completed = 0;
        let waiting = self.waiting.remove(&self.digest(key)).unwrap_or_default();
        // The last of them gets the vector itself, the others a copy.
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

    /// Takes the first document if it has all its vectors.
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
