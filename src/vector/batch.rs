//! Groups chunks into batches. The model embeds all chunks of a batch together. Pure.

use std::fmt;

use ndarray::Array2;

use crate::text::tokenize::Encoding;

/// Identifies a chunk, so that the vector of the chunk can be assigned to its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// The position of the document in this run, counted from 0.
    pub document: usize,
    /// The position of the chunk in its document, counted from 0.
    pub chunk: usize,
}

/// The rule that says which texts may share a batch. A batch must not change the vectors of its texts. When [`crate::model`]
/// loads a model, it embeds sample texts to find the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Texts of any lengths may share a batch, padded on the right. [`plan`] rounds the lengths up, and batches texts of equal
    /// rounded length. Rounding saves time if the graph removes the padding again, or if the engine is faster with few distinct
    /// lengths.
    Rounded,
    /// Texts of any lengths may share a batch, padded on the right. [`plan`] still batches only texts of equal length, since
    /// padding costs time.
    AnyLengths,
    /// Only texts of equal length may share a batch.
    EqualLengths,
    /// Each text needs its own batch.
    Alone,
}

impl fmt::Display for Batching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Batching::Rounded | Batching::AnyLengths => "texts of any length",
            Batching::EqualLengths => "texts of equal length",
            Batching::Alone => "one text",
        })
    }
}

/// Chunks that the model embeds together. A batch is never empty.
#[derive(Debug)]
pub struct Batch {
    chunks: Vec<(ChunkKey, Encoding)>,
    /// Tokens per chunk, padding included.
    padded_length: usize,
}

impl Batch {
    /// Makes a batch. Every chunk is padded to the length of the longest chunk.
    ///
    /// # Panics
    /// If `chunks` is empty.
    pub fn new(chunks: Vec<(ChunkKey, Encoding)>) -> Self {
        let longest = chunks.iter().map(|(_, encoding)| encoding.len()).max();
        let padded_length = longest.unwrap_or_else(|| panic!("a batch has at least one chunk"));
        Batch { chunks, padded_length }
    }

    /// Returns the number of chunks.
    #[allow(clippy::len_without_is_empty)] // Never empty, by construction.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Returns the number of tokens in the batch, padding included.
    pub fn padded_tokens(&self) -> usize {
        self.len() * self.padded_length
    }

    /// Splits the batch into two batches. Both batches have the padded length of this batch, because the padding of a text must
    /// not depend on the other texts of its batch.
    ///
    /// # Panics
    /// If the batch has only one chunk.
    pub fn halves(mut self) -> [Batch; 2] {
        assert!(self.len() > 1, "a batch of one chunk has no halves");
        let others = self.chunks.split_off(self.chunks.len() / 2);
        let padded_length = self.padded_length;
        [self, Batch { chunks: others, padded_length }]
    }

    /// Returns a batch with only the chunk at this index, without padding.
    pub fn only(&self, at: usize) -> Batch {
        Batch::new(vec![self.chunks[at].clone()])
    }

    /// Returns the keys of the chunks, in the order of the vectors that the model returns.
    pub fn keys(&self) -> impl Iterator<Item = ChunkKey> {
        self.chunks.iter().map(|(key, _)| *key)
    }

    /// Returns the number of tokens of each chunk, padding excluded.
    pub fn lengths(&self) -> Vec<usize> {
        self.chunks.iter().map(|(_, encoding)| encoding.len()).collect()
    }

    /// Returns the number of tokens in the batch, padding excluded.
    pub fn tokens(&self) -> usize {
        self.chunks.iter().map(|(_, encoding)| encoding.len()).sum()
    }

    /// Returns whether every chunk begins with these ids and has at least one id after them.
    pub fn all_begin_with(&self, ids: &[u32]) -> bool {
        self.chunks.iter().all(|(_, encoding)| encoding.len() > ids.len() && encoding.ids().starts_with(ids))
    }

    /// Returns the token ids `[chunks, padded length]` with 0 as padding on the right. Padding does not change the hidden state
    /// of any token: with causal attention, a token does not see later tokens; without causal attention, the mask hides the
    /// padding.
    pub fn ids(&self) -> Array2<i64> {
        self.rows(|encoding, at| i64::from(encoding.ids()[at]))
    }

    /// Returns the attention mask in the shape of [`Batch::ids`]: 1 for a token, 0 for padding.
    pub fn mask(&self) -> Array2<i64> {
        self.rows(|_, _| 1)
    }

    fn rows(&self, value: impl Fn(&Encoding, usize) -> i64) -> Array2<i64> {
        Array2::from_shape_fn((self.len(), self.padded_length), |(row, at)| {
            let encoding = &self.chunks[row].1;
            if at < encoding.len() { value(encoding, at) } else { 0 }
        })
    }
}

/// Sorts the chunks by length, longest first, and batches chunks of equal length. A batch has at most `max_tokens` tokens,
/// padding included, unless it has only one chunk. With [`Batching::Rounded`], chunks of equal [`rounded_length`] share a batch.
///
/// With [`Batching::AnyLengths`], chunks of different lengths may share a batch, but this function still batches only chunks of
/// equal length: on a CPU, padding costs as much time as text.
pub fn plan(mut chunks: Vec<(ChunkKey, Encoding)>, batching: Batching, max_tokens: usize) -> Vec<Batch> {
    chunks.sort_by_key(|(key, encoding)| (std::cmp::Reverse(encoding.len()), *key));
    let mut batches: Vec<Batch> = Vec::new();
    for chunk in chunks {
        let length = chunk.1.len();
        let padded_length = if batching == Batching::Rounded { rounded_length(length) } else { length };
        match batches.last_mut() {
            Some(batch)
                if batching != Batching::Alone
                    && batch.padded_length == padded_length
                    && (batch.len() + 1) * padded_length <= max_tokens =>
            {
                batch.chunks.push(chunk);
            }
            _ => batches.push(Batch { chunks: vec![chunk], padded_length }),
        }
    }
    batches
}

/// Rounds a number of tokens up to a multiple of 16. Above 512 tokens, rounds up to a multiple of 1/32 of the next power of
/// two, so that padding adds at most 1/16 to a long text.
///
/// The padded length of a text must depend only on the text, never on the other texts of its batch. Attention sums over all
/// positions, padding included, and the number of zeros in the sum may change the lowest bits of the sum.
fn rounded_length(tokens: usize) -> usize {
    tokens.next_multiple_of(usize::max(16, tokens.next_power_of_two() / 32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_chunk_is_in_one_batch_with_chunks_of_its_length(
            lengths in proptest::collection::vec(1usize..40, 0..200),
            max_tokens in 1usize..300,
            batching in prop_oneof![Just(Batching::Alone), Just(Batching::EqualLengths), Just(Batching::Rounded)],
        ) {
            let chunks: Vec<_> = lengths.iter().enumerate()
                .map(|(document, &length)| (ChunkKey { document, chunk: 0 }, Encoding::new(vec![u32::try_from(document).unwrap(); length])))
                .collect();
            let batches = plan(chunks, batching, max_tokens);
            let mut seen: Vec<usize> = Vec::new();
            for batch in &batches {
                let (ids, mask) = (batch.ids(), batch.mask());
                prop_assert!(batch.len() == 1 || (batching != Batching::Alone && ids.len() <= max_tokens));
                for ((key, length), (ids, mask)) in batch.keys().zip(batch.lengths()).zip(ids.rows().into_iter().zip(mask.rows())) {
                    let padded_length = if batching == Batching::Rounded { rounded_length(length) } else { length };
                    prop_assert_eq!(ids.len(), padded_length);
                    let id = |at: usize| if at < length { (key.document as i64, 1) } else { (0, 0) };
                    prop_assert!(ids.iter().zip(mask).enumerate().all(|(at, (&ids, &mask))| (ids, mask) == id(at)));
                    seen.push(key.document);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert!(batches.windows(2).all(|pair| pair[0].lengths()[0] >= pair[1].lengths()[0]));
        }
    }

    #[test]
    fn rounding_adds_little_padding() {
        assert_eq!([1, 16, 17, 512, 513, 1000, 1025].map(rounded_length), [16, 16, 32, 512, 544, 1024, 1088]);
        assert!((512..9000).all(|tokens| rounded_length(tokens) - tokens < tokens / 16));
        assert!((1..9000).all(|tokens| rounded_length(rounded_length(tokens)) == rounded_length(tokens)));
    }

    #[test]
    fn mixed_lengths_in_large_batches_get_little_padding() {
        // Lengths from 5 to 1,000 tokens, evenly spread on a logarithmic scale: as many texts have 5 to 10 tokens as have 500 to
        // 1,000.
        #[allow(clippy::cast_possible_truncation)]
        let lengths = (0..4000).map(|n| (5.0 * 200f64.powf(f64::from(n) / 4000.0)) as usize);
        let key = ChunkKey { document: 0, chunk: 0 };
        let chunks: Vec<_> = lengths.map(|length| (key, Encoding::new(vec![0; length]))).collect();
        let batches = plan(chunks, Batching::Rounded, 32 << 10);
        let padded: usize = batches.iter().map(Batch::padded_tokens).sum();
        let tokens: usize = batches.iter().map(Batch::tokens).sum();
        assert!(padded as f64 <= 1.05 * tokens as f64, "{padded} padded tokens for {tokens} tokens");
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
