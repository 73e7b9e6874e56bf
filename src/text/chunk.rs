//! A clean text and a limit in tokens in, chunks within the limit out, each with its encoding. Pure.
//!
//! Chunks of one text have about the same length. The vector of a document is the mean of their vectors with equal weights, so
//! a last chunk of three words would count as much as a page.

use std::ops::Range;

use icu_segmenter::{GraphemeClusterSegmenter, SentenceSegmenter};

use super::tokenize::{Encoding, Tokenizer};
use crate::error::DocumentError;

/// Version of the chunking rules. Vectors depend on them, so it is part of the fingerprint. Raise it with every change to
/// where [`chunk`] splits.
pub const VERSION: u32 = 2;

/// The least tokens of a chunk that must be left for text. Every character fits: it has at most 12 bytes after NFC, and a
/// token has at least one byte.
pub const ROOM_MIN: usize = 16;

/// Bytes per token up to which a piece of text is encoded to count its tokens. A longer piece nearly always has too many, and
/// is split without encoding it, which bounds the cost.
const BYTES_PER_TOKEN_MAX: usize = 16;

/// Bytes per token up to which a text is first encoded as a whole. Most texts of any script have fewer bytes per token, so a
/// longer text nearly always needs several chunks, and is encoded as a whole only if the counts of its sentences allow it.
const BYTES_PER_TOKEN_LIKELY: usize = 5;

/// A part of a text, and the token ids that the model gets for it.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// Position in the clean text, in bytes.
    pub span: Range<usize>,
    /// Its tokens, with prefix and special tokens; at most as many as the limit.
    pub encoding: Encoding,
}

/// Splits a clean text into as few chunks as possible of at most `max_tokens`, including prefix and special tokens.
///
/// Splits at sentence ends. A sentence over the limit is split between words, and a word over the limit between characters.
/// Chunks are in order and cover the text, except for one space between two of them. A text within the limit is one chunk, and
/// an empty text has none. Takes time linear in the length of the text.
///
/// # Errors
/// The tokenizer refuses the text.
///
/// # Panics
/// If `max_tokens` leaves less than [`ROOM_MIN`] for text.
pub fn chunk(text: &str, max_tokens: usize, tokenizer: &Tokenizer) -> Result<Vec<Chunk>, DocumentError> {
    let room = max_tokens.checked_sub(tokenizer.overhead()).filter(|&room| room >= ROOM_MIN);
    let room = room.unwrap_or_else(|| panic!("max_tokens {max_tokens} leaves no room for text"));
    let chunker = Chunker { text, max_tokens, room, tokenizer };
    let mut chunks = Vec::new();
    let is_likely_to_fit = text.len() <= room * BYTES_PER_TOKEN_LIKELY;
    if is_likely_to_fit && chunker.emit(0..text.len(), &mut chunks)? {
        return Ok(chunks);
    }
    let atoms = chunker.atoms()?;
    // The text may have fewer tokens than its sentences together: one fewer per boundary, where the space may be counted twice.
    let tokens: usize = atoms.iter().map(|atom| atom.tokens).sum();
    if !is_likely_to_fit && tokens <= room + atoms.len() && chunker.emit(0..text.len(), &mut chunks)? {
        return Ok(chunks);
    }
    for span in balance(&atoms, room) {
        chunker.emit_or_halve(span, &mut chunks)?;
    }
    Ok(chunks)
}

/// A piece of text that is not split further, and its number of tokens.
struct Atom {
    span: Range<usize>,
    tokens: usize,
}

struct Chunker<'a> {
    text: &'a str,
    max_tokens: usize,
    /// Tokens per chunk that are left for text.
    room: usize,
    tokenizer: &'a Tokenizer,
}

impl Chunker<'_> {
    /// Returns the sentences, with those that are too long split into parts that fit into a chunk.
    fn atoms(&self) -> Result<Vec<Atom>, DocumentError> {
        let mut atoms = Vec::new();
        let mut start = 0;
        for end in SentenceSegmenter::new(Default::default()).segment_str(self.text).skip(1) {
            self.split(start..end, &mut atoms)?;
            start = end;
        }
        Ok(atoms)
    }

    /// Appends a span to the atoms, halved until its parts fit into a chunk.
    fn split(&self, span: Range<usize>, atoms: &mut Vec<Atom>) -> Result<(), DocumentError> {
        if span.len() <= self.room * BYTES_PER_TOKEN_MAX {
            let tokens = self.tokenizer.count(&self.text[span.clone()])?;
            if tokens <= self.room {
                atoms.push(Atom { span, tokens });
                return Ok(());
            }
        }
        let middle = self.middle(&span);
        self.split(span.start..middle, atoms)?;
        self.split(middle..span.end, atoms)
    }

    /// Encodes a span, without the space at either end, and appends it as a chunk. Returns `false` if it is over the limit.
    fn emit(&self, span: Range<usize>, chunks: &mut Vec<Chunk>) -> Result<bool, DocumentError> {
        let text = &self.text[span.clone()];
        let start = span.start + (text.len() - text.trim_start().len());
        let span = start..start + text.trim().len();
        if span.is_empty() {
            return Ok(true);
        }
        let encoding = self.tokenizer.encode(&self.text[span.clone()])?;
        if encoding.len() > self.max_tokens {
            return Ok(false);
        }
        chunks.push(Chunk { span, encoding });
        Ok(true)
    }

    /// Appends a span as a chunk, halved until its parts are within the limit. A span may have more tokens than its atoms
    /// together, where a word begins in one atom and ends in the next.
    fn emit_or_halve(&self, span: Range<usize>, chunks: &mut Vec<Chunk>) -> Result<(), DocumentError> {
        if self.emit(span.clone(), chunks)? {
            return Ok(());
        }
        let middle = self.middle(&span);
        self.emit_or_halve(span.start..middle, chunks)?;
        self.emit_or_halve(middle..span.end, chunks)
    }

    /// Returns where to split a span, near its middle. The first of these that is possible:
    ///
    /// - before a Markdown heading, list item or table row. In a clean text, paragraphs are separated by one space like words,
    ///   so these marks are the only trace of where a block starts
    /// - between words
    /// - between grapheme clusters, the characters that a reader sees
    /// - between code points
    ///
    /// # Panics
    /// If the span is one code point, which is within every limit that is allowed.
    fn middle(&self, span: &Range<usize>) -> usize {
        let text = &self.text[span.clone()];
        let half = text.ceil_char_boundary(text.len() / 2);
        let cut = nearest_space(text, half, starts_block)
            .or_else(|| nearest_space(text, half, |_| true))
            .or_else(|| between_graphemes(text, half))
            .unwrap_or(half);
        let cut = if cut == text.len() { text.floor_char_boundary(text.len() - 1) } else { cut };
        assert!(0 < cut && cut < text.len(), "a limit below one character");
        span.start + cut
    }
}

/// Returns the space nearest to `near`, in the middle half of the text, that is followed by a text that is `wanted`.
fn nearest_space(text: &str, near: usize, wanted: fn(&str) -> bool) -> Option<usize> {
    let start = text.ceil_char_boundary(text.len() / 4).max(1);
    let end = text.ceil_char_boundary(text.len() * 3 / 4).max(start);
    let spaces = text[start..end].match_indices(' ').map(|(at, _)| start + at);
    spaces.filter(|&at| wanted(&text[at + 1..])).min_by_key(|&at| at.abs_diff(near))
}

/// Returns whether a text starts with a Markdown heading, list item or table row.
fn starts_block(text: &str) -> bool {
    let text = match text.trim_start_matches('#') {
        title if title.len() < text.len() => title,
        _ => text.strip_prefix(['-', '*', '+', '|']).unwrap_or("no marker"),
    };
    text.starts_with(' ')
}

/// Returns the first boundary between grapheme clusters at or after `near`, if one is within 128 bytes.
fn between_graphemes(text: &str, near: usize) -> Option<usize> {
    const CLOSE: usize = 128;
    let start = text.floor_char_boundary(near.saturating_sub(CLOSE));
    let end = text.ceil_char_boundary((near + CLOSE).min(text.len()));
    let mut boundaries = GraphemeClusterSegmenter::new().segment_str(&text[start..end]).map(|at| start + at);
    boundaries.find(|&at| at >= near && at < end)
}

/// Joins neighbouring atoms into as few spans of at most `room` tokens as possible, all of about the same length.
fn balance(atoms: &[Atom], room: usize) -> Vec<Range<usize>> {
    let mut left: usize = atoms.iter().map(|atom| atom.tokens).sum();
    let mut spans: Vec<Range<usize>> = Vec::new();
    let (mut tokens, mut target) = (0, 0);
    for atom in atoms {
        // Ends the span if the next atom would exceed the target by more than the span falls short of it.
        let full = tokens + atom.tokens > room || tokens + atom.tokens / 2 > target;
        match spans.last_mut() {
            Some(span) if !full => {
                span.end = atom.span.end;
                tokens += atom.tokens;
            }
            _ => {
                target = left.div_ceil(left.div_ceil(room).max(1));
                spans.push(atom.span.clone());
                tokens = atom.tokens;
            }
        }
        left -= atom.tokens;
    }
    spans
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::text::clean::clean;

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qwen3-tiny/tokenizer.json");
        Tokenizer::load(&path, Some("<|endoftext|>")).unwrap()
    });

    fn texts<'a>(text: &'a str, chunks: &[Chunk]) -> Vec<&'a str> {
        chunks.iter().map(|chunk| &text[chunk.span.clone()]).collect()
    }

    /// Checks that the chunks are in order, within the limit, encoded from their own text, and apart by at most one space.
    fn check(text: &str, max_tokens: usize) -> Vec<Chunk> {
        let chunks = chunk(text, max_tokens, &TOKENIZER).unwrap();
        let mut end = 0;
        for chunk in &chunks {
            assert!(
                matches!(&text[end..chunk.span.start], "" | " "),
                "lost {:?}",
                &text[end..chunk.span.start]
            );
            assert!(chunk.encoding.len() <= max_tokens);
            assert_eq!(chunk.encoding, TOKENIZER.encode(&text[chunk.span.clone()]).unwrap());
            end = chunk.span.end;
        }
        assert_eq!(end, text.len());
        chunks
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn chunks_cover_the_text_within_the_limit(
            text in "([a-zA-Z0-9]{1,12}|[ .!?,()]|[今天气很好。！？、]|[\\PC]|👩🏽|🇯🇵|e\u{301}|\u{1D160}|-{40}){0,300}",
            max_tokens in 17usize..200,
        ) {
            check(&clean(&text), max_tokens);
        }
    }

    #[test]
    fn cuts_at_sentence_ends_in_every_script() {
        for (sentence, joint) in [
            ("The parcel comes back within thirty days.", " "),
            ("包裹在三十天内退回。", ""),
            ("荷物は三十日以内に返送されます。", ""),
        ] {
            let text = vec![sentence; 24].join(joint);
            let chunks = check(&text, 200);
            assert!(chunks.len() > 1);
            for chunk in texts(&text, &chunks) {
                assert!(chunk.starts_with(sentence) && chunk.ends_with(sentence), "{chunk}");
            }
        }
    }

    #[test]
    fn cuts_before_headings_and_list_items_where_sentences_do_not_end() {
        for marker in ["## ", "- ", "| "] {
            let text = format!("{marker}Heading of the chapter on parcels and what is in them ").repeat(20);
            let text = clean(&text);
            for chunk in texts(&text, &check(&text, 200)) {
                assert!(chunk.starts_with(marker) && chunk.ends_with("in them"), "{chunk}");
            }
        }
    }

    #[test]
    fn chunks_of_one_text_are_about_as_long() {
        let text = vec!["A short one."; 400].join(" ");
        let tokens = TOKENIZER.encode(&text).unwrap().len();
        let chunks = check(&text, tokens - 2);
        assert_eq!(chunks.len(), 2);
        let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.encoding.len()).collect();
        assert!(lengths[0].abs_diff(lengths[1]) <= 16, "{lengths:?}");
    }

    #[test]
    fn a_text_that_fits_is_one_chunk_and_an_empty_one_none() {
        assert_eq!(check("Hello. World.", 64).len(), 1);
        assert_eq!(check("", 64).len(), 0);
    }

    #[test]
    fn characters_stay_whole() {
        let text = "👩🏽".repeat(200);
        for chunk in texts(&text, &check(&text, 64)) {
            assert!(chunk.len().is_multiple_of("👩🏽".len()), "{chunk}");
        }
    }

    /// Takes seconds in linear time. It would take hours in quadratic time.
    #[test]
    fn long_texts_without_a_place_to_cut_are_linear() {
        let bytes = 500_000;
        for pattern in ["a", "今天天气", ".((((", ". 1", "e\u{301}\u{301}\u{301}", "🇯🇵"] {
            let text = clean(&pattern.repeat(bytes / pattern.len()));
            check(&text, 2048);
        }
    }
}
