//! Chunks in, batches out: who goes through the model together. Pure.

use ndarray::Array2;

use crate::text::tokenize::Encoding;

/// Which chunk of which document: what a vector is matched up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// The document's number in this run.
    pub document: usize,
    /// The chunk's place in the document.
    pub chunk: usize,
}

/// How much company a text may have in a batch without its vector changing. Found by trying, when the
/// model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Texts of any lengths, padded on the right to round ones, which cost nothing (the graph takes padding out again) or
    /// less than nothing (the engine compiles something for every length it sees, or is slow with odd ones).
    Rounded,
    /// Texts of any lengths, padded on the right.
    AnyLengths,
    /// Texts of the same length.
    EqualLengths,
    /// None.
    Alone,
}

/// Chunks that go through the model together. Not empty.
#[derive(Debug)]
pub struct Batch {
    chunks: Vec<(ChunkKey, Encoding)>,
    /// Tokens of each with padding.
    padded: usize,
}

impl Batch {
    /// Padded to the longest.
    ///
    /// # Panics
    /// If there are no chunks.
    pub fn new(chunks: Vec<(ChunkKey, Encoding)>) -> Self {
        let padded = chunks.iter().map(|(_, encoding)| encoding.len()).max();
        let padded = padded.unwrap_or_else(|| panic!("a batch has chunks"));
        Batch { chunks, padded }
    }

    /// How many chunks.
    #[allow(clippy::len_without_is_empty)] // Never empty, by construction.
    pub fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Tokens of all chunks, padding included.
    pub fn places(&self) -> usize {
        self.len() * self.padded
    }

    /// The first half of the chunks and the others, padded as they were.
    pub fn halves(mut self) -> [Batch; 2] {
        let others = self.chunks.split_off(self.chunks.len() / 2);
        let padded = self.padded;
        [self, Batch { chunks: others, padded }]
    }

    /// One of the chunks, without padding.
    pub fn only(&self, at: usize) -> Batch {
        Batch::new(vec![self.chunks[at].clone()])
    }

    /// Whose rows come out, in order.
    pub fn keys(&self) -> impl Iterator<Item = ChunkKey> {
        self.chunks.iter().map(|(key, _)| *key)
    }

    /// Tokens of each chunk, padding left out.
    pub fn lengths(&self) -> Vec<usize> {
        self.chunks.iter().map(|(_, encoding)| encoding.len()).collect()
    }

    /// Tokens of all chunks, padding left out.
    pub fn tokens(&self) -> usize {
        self.chunks.iter().map(|(_, encoding)| encoding.len()).sum()
    }

    /// Whether every chunk begins with these, and goes on.
    pub fn all_begin_with(&self, ids: &[u32]) -> bool {
        self.chunks.iter().all(|(_, encoding)| encoding.len() > ids.len() && encoding.ids().starts_with(ids))
    }

    /// Token ids `[chunks, tokens with padding]`, zeros to the right of the shorter ones: no token
    /// sees what comes after it (causal attention), or the mask hides it.
    pub fn ids(&self) -> Array2<i64> {
        self.rows(|encoding, at| i64::from(encoding.ids()[at]))
    }

    /// 1 for a token, 0 for padding, in the shape of [`Batch::ids`].
    pub fn mask(&self) -> Array2<i64> {
        self.rows(|_, _| 1)
    }

    fn rows(&self, value: impl Fn(&Encoding, usize) -> i64) -> Array2<i64> {
        Array2::from_shape_fn((self.len(), self.padded), |(row, at)| {
            let encoding = &self.chunks[row].1;
            if at < encoding.len() { value(encoding, at) } else { 0 }
        })
    }
}

/// Sorts the chunks by length, longest first, and puts equal lengths together: as many as `max_tokens`
/// holds, at least one.
///
/// Lengths are not mixed even where the model would bear it ([`Batching::AnyLengths`]): on a CPU padding is pure loss.
/// Where it is none ([`Batching::Rounded`]), equal lengths are those of [`padded`].
pub fn plan(mut chunks: Vec<(ChunkKey, Encoding)>, batching: Batching, max_tokens: usize) -> Vec<Batch> {
    chunks.sort_by_key(|(key, encoding)| (std::cmp::Reverse(encoding.len()), *key));
    let mut batches: Vec<Batch> = Vec::new();
    for chunk in chunks {
        let length = chunk.1.len();
        let padded = if batching == Batching::Rounded { padded(length) } else { length };
        match batches.last_mut() {
            Some(batch)
                if batching != Batching::Alone
                    && batch.padded == padded
                    && (batch.len() + 1) * padded <= max_tokens =>
            {
                batch.chunks.push(chunk);
            }
            _ => batches.push(Batch { chunks: vec![chunk], padded }),
        }
    }
    batches
}

/// So many tokens, and padding to the next multiple of 16, or of a 32nd of the next power of two.
///
/// This depends on the text alone, and not on its company: in attention, sums over another number of places, though they
/// be zeros, would differ in their last bits.
fn padded(tokens: usize) -> usize {
    tokens.next_multiple_of(usize::max(16, tokens.next_power_of_two() / 32))
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
            batching in prop_oneof![Just(Batching::Alone), Just(Batching::EqualLengths), Just(Batching::Rounded)],
        ) {
            let chunks: Vec<_> = lengths.iter().enumerate()
                .map(|(document, &length)| (ChunkKey { document, chunk: 0 }, Encoding::new(vec![document as u32; length])))
                .collect();
            let batches = plan(chunks, batching, max_tokens);
            let mut seen: Vec<usize> = Vec::new();
            for batch in &batches {
                let (ids, mask) = (batch.ids(), batch.mask());
                prop_assert!(batch.len() == 1 || (batching != Batching::Alone && ids.len() <= max_tokens));
                for ((key, length), (ids, mask)) in batch.keys().zip(batch.lengths()).zip(ids.rows().into_iter().zip(mask.rows())) {
                    let whole = if batching == Batching::Rounded { padded(length) } else { length };
                    prop_assert_eq!(ids.len(), whole);
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
    fn little_is_padded() {
        assert_eq!([1, 16, 17, 512, 513, 1000, 1025].map(padded), [16, 16, 32, 512, 544, 1024, 1088]);
        assert!((512..9000).all(|tokens| padded(tokens) - tokens < tokens / 16));
        assert!((1..9000).all(|tokens| padded(padded(tokens)) == padded(tokens)));
    }

    #[test]
    fn large_batches_of_mixed_lengths_are_padded_little() {
        // As many between 5 and 10 tokens as between 500 and 1,000.
        let lengths = (0..4000).map(|n| (5.0 * 200f64.powf(f64::from(n) / 4000.0)) as usize);
        let key = ChunkKey { document: 0, chunk: 0 };
        let chunks: Vec<_> = lengths.map(|length| (key, Encoding::new(vec![0; length]))).collect();
        let batches = plan(chunks, Batching::Rounded, 32 << 10);
        let (places, tokens) = batches.iter().fold((0, 0), |(p, t), b| (p + b.places(), t + b.tokens()));
        assert!(places as f64 <= 1.05 * tokens as f64, "{places} for {tokens}");
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
