//! Turns the hidden states of all tokens into one vector per text. Pure.

use std::fmt;

use ndarray::{Array2, ArrayView3, Axis};
use serde::{Deserialize, Serialize};

/// The method that turns the hidden states of a text into one vector. The variants have the names of sentence-transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The hidden state of the last token, which is the end token in Qwen3-Embedding.
    LastToken,
    /// The mean of the hidden states of all tokens.
    Mean,
    /// The hidden state of the first token.
    Cls,
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pooling::LastToken => "the last token",
            Pooling::Mean => "the mean of all tokens",
            Pooling::Cls => "the first token",
        })
    }
}

/// Pools hidden states `[batch, tokens, width]` into vectors `[batch, width]`. The texts are padded on the right; `lengths` has
/// the number of tokens of each text, padding excluded.
///
/// # Panics
/// If `lengths` does not have exactly one length per text, or a length is 0 or more than `tokens`.
pub fn pool<T: Copy + Into<f32>>(hidden: ArrayView3<T>, lengths: &[usize], pooling: Pooling) -> Array2<f32> {
    let (batch, tokens, width) = hidden.dim();
    assert_eq!(batch, lengths.len(), "one length per text");
    let mut pooled = Array2::zeros((batch, width));
    for ((text, &length), mut row) in hidden.outer_iter().zip(lengths).zip(pooled.rows_mut()) {
        assert!(0 < length && length <= tokens, "{length} of {tokens} tokens");
        match pooling {
            Pooling::LastToken => row.assign(&text.row(length - 1).mapv(Into::into)),
            Pooling::Cls => row.assign(&text.row(0).mapv(Into::into)),
            Pooling::Mean => {
                for token in text.axis_iter(Axis(0)).take(length) {
                    row.zip_mut_with(&token, |sum, &x| *sum += x.into());
                }
                row /= length as f32;
            }
        }
    }
    pooled
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn padding_is_never_pooled() {
        let hidden = array![[[1.0f32, 2.0], [3.0, 4.0], [99.0, 99.0]], [[5.0, 6.0], [7.0, 8.0], [9.0, 10.0]]];
        let pooled = |pooling| pool(hidden.view(), &[2, 3], pooling);
        assert_eq!(pooled(Pooling::LastToken), array![[3.0, 4.0], [9.0, 10.0]]);
        assert_eq!(pooled(Pooling::Mean), array![[2.0, 3.0], [7.0, 8.0]]);
        assert_eq!(pooled(Pooling::Cls), array![[1.0, 2.0], [5.0, 6.0]]);
    }
}
