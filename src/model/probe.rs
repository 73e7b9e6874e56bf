//! Finds out by trying how texts may be batched: some exports look batchable and are not.
//!
//! A dynamic int8 graph has one activation scale a tensor, so a vector changes with its batch mates; a
//! graph that pools inside may take the last column, so a vector changes with padding; another has a
//! batch of one written into a reshape. All three declare the same dynamic shapes.

use std::fmt;

use crate::text::tokenize::{Encoding, Tokenizer};
use crate::vector::batch::{Batch, Batching, ChunkKey};
use crate::vector::embedder::{Embedder, embed};
use crate::vector::embedding::Embedding;

/// Two vectors of one text are the same from this cosine on. Rounding in another order moves a vector by 1e-7 or less;
/// what is caught here moves it by 1e-3 or more.
pub const SAME: f64 = 0.99999;

/// The same in 16 bits: with 28 layers, float16 moves a vector by 3e-6, and OpenVINO's bfloat16 by 2e-5.
pub const SAME_IN_16_BITS: f64 = 0.9999;

/// The same in bfloat16 where each operator rounds what it gives, which moves a vector by 3e-4.
pub const SAME_IN_BF16: f64 = 0.9995;

/// Texts in several scripts.
const TEXTS: [&str; 3] = [
    "The committee approved the new budget on Tuesday, but asked for a second report on travel costs before the end of March.",
    "図書館は月曜日を除いて毎日午前九時から午後八時まで開いており、貸し出しは一人十冊まで、期間は二週間です。返却は入口の箱へどうぞ。",
    "fn main() { let total: u64 = (1..=100).filter(|n| n % 3 == 0).sum(); println!(\"{total}\"); } // 1683, checked by hand",
];

/// Tokens that are taken of each, end token included.
const TOKENS_MAX: usize = 24;

/// What became of a text that had company.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Company {
    /// It has the same vector.
    Harmless,
    /// The lowest cosine between a vector from a batch and the same text's vector alone.
    Cosine(f64),
    /// The engine refused the batch.
    Refused,
}

impl fmt::Display for Company {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Company::Harmless => {
                write!(f, "a text's vector does not change with the other texts of its batch")
            }
            Company::Cosine(cosine) => {
                write!(f, "a text's vector changes with the other texts of its batch (cosine {cosine:.4})")
            }
            Company::Refused => write!(f, "it runs with one text at a time only"),
        }
    }
}

/// The result of the trial.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// With texts of the same length.
    pub equal_lengths: Company,
    /// With texts of different lengths, padded on the right.
    pub padded: Company,
}

impl Probe {
    /// The most company that does no harm.
    pub fn batching(&self) -> Batching {
        match (self.equal_lengths, self.padded) {
            (_, Company::Harmless) => Batching::AnyLengths,
            (Company::Harmless, _) => Batching::EqualLengths,
            _ => Batching::Alone,
        }
    }
}

/// Embeds two texts of equal length and a shorter one alone, and together. Each run costs as much as reading all weights,
/// so there are few. Vectors are the same from the cosine `same` on.
///
/// # Errors
/// The model does not run with one text, or gives no finite vector for it.
pub fn probe(embedder: &mut dyn Embedder, tokenizer: &Tokenizer, same: f64) -> anyhow::Result<Probe> {
    let texts = TEXTS.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
    // A tokenizer with long tokens may have fewer for one of them.
    let most = texts.iter().map(Encoding::len).fold(TOKENS_MAX, usize::min);
    let texts = texts.iter().zip([most, most, most / 2]);
    let texts: Vec<_> =
        texts.map(|(text, tokens)| alone(embedder, first(text, tokens))).collect::<anyhow::Result<_>>()?;
    let padded = company(embedder, &texts, same);
    // There was company of equal length in it.
    let equal_lengths =
        if padded == Company::Harmless { padded } else { company(embedder, &texts[..2], same) };
    Ok(Probe { equal_lengths, padded })
}

/// So many tokens: the first of the text, and its own last one.
fn first(text: &Encoding, tokens: usize) -> Encoding {
    let (start, end) = text.ids().split_at(text.len() - 1);
    Encoding::new([&start[..tokens.max(1) - 1], end].concat())
}

fn alone(embedder: &mut dyn Embedder, text: Encoding) -> anyhow::Result<(Encoding, Embedding)> {
    let vector = vectors(embedder, std::slice::from_ref(&text))?.remove(0);
    Ok((text, vector))
}

/// Of texts with their vectors alone.
fn company(embedder: &mut dyn Embedder, texts: &[(Encoding, Embedding)], same: f64) -> Company {
    let encodings: Vec<Encoding> = texts.iter().map(|(text, _)| text.clone()).collect();
    let Ok(together) = vectors(embedder, &encodings) else { return Company::Refused };
    let cosine = texts.iter().zip(&together).map(|((_, a), b)| a.cosine(b)).fold(1.0, f64::min);
    if cosine >= same { Company::Harmless } else { Company::Cosine(cosine) }
}

fn vectors(embedder: &mut dyn Embedder, texts: &[Encoding]) -> anyhow::Result<Vec<Embedding>> {
    let keyed =
        texts.iter().enumerate().map(|(document, text)| (ChunkKey { document, chunk: 0 }, text.clone()));
    let embedded = embed(embedder, &Batch::new(keyed.collect()))?;
    embedded.into_iter().map(|(_, vector)| Ok(vector?)).collect()
}
