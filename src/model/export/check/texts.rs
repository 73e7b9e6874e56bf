//! The texts in ten languages and in code that exports are calibrated and checked with. No text is in both lists.

use anyhow::Context;
use serde::Deserialize;

use crate::text::tokenize::{Encoding, Tokenizer};

/// One JSON object per line, with the fields `language` and `text`.
const CALIBRATION: &str = include_str!("calibration.jsonl");
const CHECK: &str = include_str!("check.jsonl");

/// The most tokens that calibration uses of one text.
const CALIBRATION_TOKENS_MAX: usize = 32;

/// The most tokens that the check uses of most texts, so that it takes a minute and not three.
const CHECK_TOKENS_MAX: usize = 32;

/// The check uses more of every eighth text, from the second text on.
const LONG_STEP: usize = 8;
const LONG_FIRST: usize = 1;

/// The most tokens that the check uses of these texts.
const LONG_CHECK_TOKENS_MAX: usize = 2048;

/// The most tokens that the short check uses of one text. The graphs compute attention in blocks from fewer tokens on.
const SHORT_CHECK_TOKENS_MAX: usize = 256;

/// The short check uses every tenth text.
const SHORT_CHECK_STEP: usize = 10;

#[derive(Deserialize)]
struct BuiltInText {
    text: String,
}

/// Returns the token ids of the calibration texts.
///
/// # Errors
/// The tokenizer failed.
pub fn calibration(tokenizer: &Tokenizer) -> anyhow::Result<Vec<Encoding>> {
    encoded(CALIBRATION, tokenizer, |_| CALIBRATION_TOKENS_MAX)
}

/// Returns the token ids of the check's texts.
///
/// # Errors
/// The tokenizer failed.
pub fn check(tokenizer: &Tokenizer) -> anyhow::Result<Vec<Encoding>> {
    let is_long = |number| number % LONG_STEP == LONG_FIRST;
    encoded(CHECK, tokenizer, |number| if is_long(number) { LONG_CHECK_TOKENS_MAX } else { CHECK_TOKENS_MAX })
}

/// Returns some of the check's texts, for exports whose only error can be a wrong graph.
///
/// # Errors
/// The tokenizer failed.
pub fn short_check(tokenizer: &Tokenizer) -> anyhow::Result<Vec<Encoding>> {
    let texts = encoded(CHECK, tokenizer, |_| SHORT_CHECK_TOKENS_MAX)?;
    Ok(texts.into_iter().step_by(SHORT_CHECK_STEP).collect())
}

/// Returns the token ids of texts, one per line. Texts are truncated: `tokens_max` returns the most tokens of a text by its number.
fn encoded(
    lines: &str,
    tokenizer: &Tokenizer,
    tokens_max: impl Fn(usize) -> usize,
) -> anyhow::Result<Vec<Encoding>> {
    let encode = |(number, line): (usize, &str)| {
        let BuiltInText { text } = serde_json::from_str(line).context("a built-in text")?;
        let encoding = tokenizer.encode(&text)?;
        let ids = encoding.ids();
        // The end token stays.
        let kept = ids.len().min(tokens_max(number)) - 1;
        Ok(Encoding::new([&ids[..kept], &ids[ids.len() - 1..]].concat()))
    };
    lines.lines().enumerate().map(encode).collect()
}
