//! Chunks in, batches out: who goes through the model together. Pure.

use ndarray::Array2;

use crate::tokenize::Encoding;

/// Which chunk of which document: what a vector is matched up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// The document's place in its window.
    pub document: usize,
    /// The chunk's place in the document.
    pub chunk: usize,
}

/// How much company a text may have in a batch without its vector changing. Found by trying, when the
/// model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Texts of any lengths, padded on the right.
    AnyLengths,
    /// Texts of the same length.
    EqualLengths,
    /// None.
    Alone,
}

/// Chunks that go through the model together. Not empty.
#[derive(Debug)]
pub struct Batch(Vec<(ChunkKey, Encoding)>);

impl Batch {
    /// # Panics
    /// If there are no chunks.
    pub fn new(chunks: Vec<(ChunkKey, Encoding)>) -> Self {
        assert!(!chunks.is_empty(), "a batch has chunks");
        Batch(chunks)
    }

    /// How many chunks.
    #[allow(clippy::len_without_is_empty)] // Never empty, by construction.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whose rows come out, in order.
    pub fn keys(&self) -> impl Iterator<Item = ChunkKey> {
        self.0.iter().map(|(key, _)| *key)
    }

    /// Tokens of each chunk, padding left out.
    pub fn lengths(&self) -> Vec<usize> {
        self.0.iter().map(|(_, encoding)| encoding.len()).collect()
    }

    /// Tokens of all chunks, padding left out.
    pub fn tokens(&self) -> usize {
        self.0.iter().map(|(_, encoding)| encoding.len()).sum()
    }

    /// Whether every chunk begins with these, and goes on.
    pub fn all_begin_with(&self, ids: &[u32]) -> bool {
        self.0.iter().all(|(_, encoding)| encoding.len() > ids.len() && encoding.ids().starts_with(ids))
    }

    /// Token ids `[chunks, tokens of the longest]`, zeros to the right of the shorter ones: no token
    /// sees what comes after it (causal attention), or the mask hides it.
    pub fn ids(&self) -> Array2<i64> {
        self.rows(|encoding, at| i64::from(encoding.ids()[at]))
    }

    /// 1 for a token, 0 for padding, in the shape of [`Batch::ids`].
    pub fn mask(&self) -> Array2<i64> {
        self.rows(|_, _| 1)
    }

    fn rows(&self, value: impl Fn(&Encoding, usize) -> i64) -> Array2<i64> {
        let longest = self.0.iter().map(|(_, encoding)| encoding.len()).max().unwrap_or(0);
        Array2::from_shape_fn((self.len(), longest), |(row, at)| {
            let encoding = &self.0[row].1;
            if at < encoding.len() { value(encoding, at) } else { 0 }
        })
    }
}

/// Sorts the chunks by length, longest first, and puts equal lengths together: as many as `max_tokens`
/// holds, at least one.
///
/// Lengths are not mixed even where the model would bear it ([`Batching::AnyLengths`]): on a CPU a batch
/// of 256 tokens costs as little per token as one of 4096, so padding is pure loss.
pub fn plan(mut chunks: Vec<(ChunkKey, Encoding)>, batching: Batching, max_tokens: usize) -> Vec<Batch> {
    chunks.sort_by_key(|(key, encoding)| (std::cmp::Reverse(encoding.len()), *key));
    let mut batches: Vec<Batch> = Vec::new();
    for chunk in chunks {
        let length = chunk.1.len();
        match batches.last_mut() {
            Some(Batch(batch))
                if batching != Batching::Alone
                    && batch[0].1.len() == length
                    && (batch.len() + 1) * length <= max_tokens =>
            {
                batch.push(chunk);
            }
            _ => batches.push(Batch::new(vec![chunk])),
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_chunk_is_in_one_batch_with_its_like(
            lengths in proptest::collection::vec(1usize..40, 0..200),
            max_tokens in 1usize..300,
            alone in any::<bool>(),
        ) {
            let chunks: Vec<_> = lengths.iter().enumerate()
                .map(|(document, &length)| (ChunkKey { document, chunk: 0 }, Encoding::new(vec![document as u32; length])))
                .collect();
            let batching = if alone { Batching::Alone } else { Batching::EqualLengths };
            let batches = plan(chunks, batching, max_tokens);
            let mut seen: Vec<usize> = Vec::new();
            for batch in &batches {
                prop_assert!(batch.lengths().windows(2).all(|pair| pair[0] == pair[1]));
                prop_assert!(batch.len() == 1 || (!alone && batch.tokens() <= max_tokens));
                for (key, ids) in batch.keys().zip(batch.ids().rows()) {
                    prop_assert!(ids.iter().all(|&id| id == key.document as i64));
                    seen.push(key.document);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert!(batches.windows(2).all(|pair| pair[0].lengths()[0] >= pair[1].lengths()[0]));
        }
    }

    #[test]
    fn shorter_texts_are_padded_on_the_right() {
        let key = |document| ChunkKey { document, chunk: 0 };
        let batch =
            Batch::new(vec![(key(0), Encoding::new(vec![5, 6])), (key(1), Encoding::new(vec![7, 8, 9]))]);
        assert_eq!(batch.ids(), ndarray::array![[5, 6, 0], [7, 8, 9]]);
        assert_eq!(batch.mask(), ndarray::array![[1, 1, 0], [1, 1, 1]]);
    }
}
