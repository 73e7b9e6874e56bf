//! Runs a loaded graph on sample texts to find out which texts may share a batch.
//!
//! The shapes that a graph declares do not answer this question: a graph that works only with one text per batch may still
//! declare a dynamic batch size. A dynamic int8 graph has one activation scale per tensor, so a vector depends on the other
//! texts of its batch. Some graphs that pool read every vector at the last position of the batch, where a shorter text has
//! padding. Some graphs reshape to a fixed batch size of 1.

use std::fmt;

use super::session::{GraphSession, HeadDifference};
use crate::text::tokenize::{Encoding, Tokenizer};
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedding::Embedding;

/// The lowest cosine at which two vectors are treated as equal, for models in f32. Another order of summation lowers the cosine
/// by 1e-7 or less; the faults that the probe looks for lower the cosine by 1e-3 or more.
pub const MIN_COSINE: f64 = 0.99999;

/// The lowest cosine at which two vectors are treated as equal, for models in 16 bits. Over 28 layers, float16 lowers the
/// cosine by 3e-6, and OpenVINO's bfloat16 lowers the cosine by 2e-5.
pub const MIN_COSINE_16_BITS: f64 = 0.9999;

/// The lowest cosine at which two vectors are treated as equal, for models in which every operator rounds its result to
/// bfloat16. The rounding lowers the cosine by 3e-4.
pub const MIN_COSINE_BF16: f64 = 0.9995;

/// Sample texts in several scripts.
const TEXTS: [&str; 3] = [
    "The committee approved the new budget on Tuesday, but asked for a second report on travel costs before the end of March.",
    "図書館は月曜日を除いて毎日午前九時から午後八時まで開いており、貸し出しは一人十冊まで、期間は二週間です。返却は入口の箱へどうぞ。",
    "fn main() { let total: u64 = (1..=100).filter(|n| n % 3 == 0).sum(); println!(\"{total}\"); } // 1683, checked by hand",
];

/// The most tokens per sample text, end token included.
const TOKENS_MAX: usize = 24;

/// The effect of a batch on the vectors of its texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BatchEffect {
    /// Each text has the same vector in the batch as in a batch of one.
    Unchanged,
    /// At least one text has different vectors in the batch and in a batch of one.
    Changed {
        /// The lowest cosine of any text in the batch. Each cosine compares the vector of a text in the batch with the vector
        /// of the same text in a batch of one.
        cosine: f64,
    },
    /// The model failed on the batch.
    Refused,
}

impl fmt::Display for BatchEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchEffect::Unchanged => {
                write!(f, "the vector of a text does not change with the other texts of its batch")
            }
            BatchEffect::Changed { cosine } => {
                write!(
                    f,
                    "the vector of a text changes with the other texts of its batch (cosine {cosine:.4})"
                )
            }
            BatchEffect::Refused => write!(f, "the graph runs with one text at a time only"),
        }
    }
}

/// The results of the trial with sample texts.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// The effect of a batch of texts with equal lengths.
    pub equal_lengths: BatchEffect,
    /// The effect of a batch of texts with different lengths, padded on the right.
    pub padded: BatchEffect,
}

impl Probe {
    /// Returns the rule that says which texts may share a batch without a change to their vectors.
    pub fn batching(&self) -> Batching {
        match (self.equal_lengths, self.padded) {
            (_, BatchEffect::Unchanged) => Batching::AnyLengths,
            (BatchEffect::Unchanged, _) => Batching::EqualLengths,
            _ => Batching::Alone,
        }
    }
}

/// Embeds two texts of equal length and a shorter text: first each text in a batch of one, then the texts together. Treats two
/// vectors as equal if their cosine is at least `min_cosine`. There are only three texts, because each run of the graph reads all
/// weights, which is slow.
///
/// # Errors
/// The model fails on a batch of one text, or the vector of a text is not finite.
pub fn probe(session: &mut GraphSession, tokenizer: &Tokenizer, min_cosine: f64) -> anyhow::Result<Probe> {
    let texts = TEXTS.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
    // With a large vocabulary, a sample text may have fewer than `TOKENS_MAX` tokens.
    let length = texts.iter().map(Encoding::len).fold(TOKENS_MAX, usize::min);
    let texts = texts.iter().zip([length, length, length / 2]).map(|(text, tokens)| shortened(text, tokens));
    let texts: Vec<Encoding> = texts.collect();
    let mut alone = Vec::new();
    for text in &texts {
        alone.extend(session.vectors(&batch(std::slice::from_ref(text)))?);
    }
    let padded = effect(session, &texts, &alone, min_cosine);
    let equal_lengths = match padded {
        // The padded batch contains two texts of equal length, so it has tested equal lengths too.
        BatchEffect::Unchanged => padded,
        _ => effect(session, &texts[..2], &alone, min_cosine),
    };
    Ok(Probe { equal_lengths, padded })
}

/// Compares the vectors that the graph itself has pooled with those that the model's files describe, as
/// [`GraphSession::check_head`] does, on one sample text.
///
/// # Errors
/// The errors of [`GraphSession::check_head`].
pub fn check_head(
    session: &mut GraphSession,
    tokenizer: &Tokenizer,
    min_cosine: f64,
) -> anyhow::Result<Option<HeadDifference>> {
    let text = tokenizer.encode(TEXTS[0])?;
    session.check_head(&batch(&[shortened(&text, text.len().min(TOKENS_MAX))]), min_cosine)
}

/// Shortens a text to this many tokens. The shortened text ends with the end token too.
fn shortened(text: &Encoding, tokens: usize) -> Encoding {
    let (start, end) = text.ids().split_at(text.len() - 1);
    Encoding::new([&start[..tokens.max(1) - 1], end].concat())
}

/// Embeds the texts in one batch, and compares their vectors with the vectors in `alone`, which were made in batches of one text.
fn effect(
    session: &mut GraphSession,
    texts: &[Encoding],
    alone: &[Embedding],
    min_cosine: f64,
) -> BatchEffect {
    let Ok(together) = session.vectors(&batch(texts)) else { return BatchEffect::Refused };
    let cosine = together.iter().zip(alone).map(|(a, b)| a.cosine(b)).fold(1.0, f64::min);
    if cosine >= min_cosine { BatchEffect::Unchanged } else { BatchEffect::Changed { cosine } }
}

fn batch(texts: &[Encoding]) -> Batch {
    let key = |document| ChunkKey { document, chunk: 0 };
    Batch::new(texts.iter().enumerate().map(|(document, text)| (key(document), text.clone())).collect())
}
