//! The texts in ten languages and in code that exports are calibrated and checked with. No text is in both lists.

use anyhow::Context;
use serde::Deserialize;

use crate::text::tokenize::{Encoding, Tokenizer};

/// One JSON object per line, with the fields `language` and `text`.
const CALIBRATION: &str = include_str!("calibration.jsonl");
const CHECK: &str = include_str!("check.jsonl");

/// The most tokens that calibration uses of one text.
const CALIBRATION_TOKENS_MAX: usize = 48;

/// The most tokens that the check uses of one text.
const CHECK_TOKENS_MAX: usize = 2048;

/// The most tokens that the short check uses of one text. More than the tokens from which attention is computed in blocks.
const SHORT_CHECK_TOKENS_MAX: usize = 256;

/// The short check uses the first of so many texts.
const SHORT_CHECK_STEP: usize = 10;

#[derive(Deserialize)]
struct Line {
    text: String,
}

/// Returns the token ids of the calibration texts.
///
/// # Errors
/// The tokenizer failed.
pub fn calibration(tokenizer: &Tokenizer) -> anyhow::Result<Vec<Encoding>> {
    encoded(CALIBRATION, CALIBRATION_TOKENS_MAX, tokenizer)
}

/// Returns the token ids of the check's texts.
///
/// # Errors
/// The tokenizer failed.
pub fn check(tokenizer: &Tokenizer) -> anyhow::Result<Vec<Encoding>> {
    encoded(CHECK, CHECK_TOKENS_MAX, tokenizer)
}

/// Returns some of the check's texts, for exports whose only error can be a wrong graph.
///
/// # Errors
/// The tokenizer failed.
pub fn short_check(tokenizer: &Tokenizer) -> anyhow::Result<Vec<Encoding>> {
    let texts = encoded(CHECK, SHORT_CHECK_TOKENS_MAX, tokenizer)?;
    Ok(texts.into_iter().step_by(SHORT_CHECK_STEP).collect())
}

fn encoded(lines: &str, tokens_max: usize, tokenizer: &Tokenizer) -> anyhow::Result<Vec<Encoding>> {
    let encode = |line: &str| {
        let Line { text } = serde_json::from_str(line).context("a built-in text")?;
        let encoding = tokenizer.encode(&text)?;
        let ids = encoding.ids();
        // The end token stays.
        let kept = ids.len().min(tokens_max) - 1;
        Ok(Encoding::new([&ids[..kept], &ids[ids.len() - 1..]].concat()))
    };
    lines.lines().map(encode).collect()
}
