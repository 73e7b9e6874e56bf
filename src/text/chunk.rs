//! Splits a clean text into chunks, each with a limited number of tokens, and encodes each chunk. Pure.
//!
//! All chunks of a text have about the same length. The vector of a document is the unweighted mean of the vectors of its
//! chunks, so a final chunk of only three words would weigh as much as a chunk of a whole page.

use std::ops::Range;

use icu_segmenter::{GraphemeClusterSegmenter, SentenceSegmenter};

use super::tokenize::{Encoding, Tokenizer};
use crate::error::DocumentError;

/// Version of the chunking rules. Vectors depend on these rules, so the version is part of the fingerprint. Raise it with
/// every change that makes [`chunk`] split a text at a different position.
pub const VERSION: u32 = 2;

/// The smallest room for text in a chunk, in tokens: the limit of a chunk minus its prefix and special tokens. Every
/// character fits into 16 tokens: a character has at most 12 bytes after NFC, and a token covers at least one byte.
pub const ROOM_MIN: usize = 16;

/// The largest piece of text that is tokenized to count its tokens, in bytes per token of [`Chunker::room`]. A larger piece
/// nearly always has too many tokens, so the piece is split without counting. This bounds the cost.
const BYTES_PER_TOKEN_MAX: usize = 16;

/// The largest text to encode as a whole right away, in bytes per token of [`Chunker::room`]. In every script, most texts
/// have fewer bytes per token, so a larger text nearly always needs several chunks. A larger text is encoded as a whole only
/// if the token counts of its sentences add up to about one chunk.
const BYTES_PER_TOKEN_LIKELY: usize = 5;

/// Limits on tokens.
#[derive(Debug, Clone, Copy)]
pub struct TokenLimits {
    /// The most tokens per chunk, including prefix and special tokens.
    pub chunk: usize,
    /// The most tokens per text, without the prefixes and special tokens of its chunks.
    pub text: usize,
}

/// A part of a text, and the token ids that the model receives for this part.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The range of bytes in the clean text.
    pub span: Range<usize>,
    /// The token ids of the chunk, including prefix and special tokens: at most [`TokenLimits::chunk`].
    pub encoding: Encoding,
}

/// Splits a clean text into as few chunks as possible, within the limits.
///
/// Splits at sentence ends. A sentence over the limit is split between words, and a word over the limit between characters.
/// The chunks are in the order of the text. They cover the whole text, except for one space between two chunks. A text within
/// the limit becomes one chunk, and an empty text becomes an empty list. The time is linear in the length of the text.
///
/// # Errors
/// The text has more tokens than the limit, or the tokenizer refuses the text.
///
/// # Panics
/// If the limit per chunk leaves fewer than [`ROOM_MIN`] tokens for text.
pub fn chunk(text: &str, limits: TokenLimits, tokenizer: &Tokenizer) -> Result<Vec<Chunk>, DocumentError> {
    let max_tokens = limits.chunk;
    let room = max_tokens.checked_sub(tokenizer.overhead()).filter(|&room| room >= ROOM_MIN);
    let room = room.unwrap_or_else(|| panic!("max_tokens {max_tokens} leaves no room for text"));
    let chunker = Chunker { text, max_tokens, room, text_max: limits.text, tokenizer };
    let chunks = chunker.chunks()?;
    let tokens: usize =
        chunks.iter().map(|chunk| chunk.encoding.len().saturating_sub(tokenizer.overhead())).sum();
    if tokens > limits.text { Err(chunker.too_long()) } else { Ok(chunks) }
}

/// A sentence that fits into a chunk, or a part of a longer sentence.
struct Atom {
    span: Range<usize>,
    tokens: usize,
}

/// The atoms of a text.
#[derive(Default)]
struct Atoms {
    list: Vec<Atom>,
    /// The sum over all atoms. The whole text may have fewer tokens, because a space between two sentences may be counted
    /// twice.
    tokens: usize,
}

struct Chunker<'a> {
    text: &'a str,
    max_tokens: usize,
    /// The most tokens of text per chunk: `max_tokens` minus the prefix and the special tokens.
    room: usize,
    /// The most tokens per text.
    text_max: usize,
    tokenizer: &'a Tokenizer,
}

impl Chunker<'_> {
    fn chunks(&self) -> Result<Vec<Chunk>, DocumentError> {
        let mut chunks = Vec::new();
        let is_likely_to_fit = self.text.len() <= self.room * BYTES_PER_TOKEN_LIKELY;
        if is_likely_to_fit && self.emit(0..self.text.len(), &mut chunks)? {
            return Ok(chunks);
        }
        let atoms = self.atoms()?;
        let may_fit = !is_likely_to_fit && atoms.tokens <= self.room + atoms.list.len();
        if may_fit && self.emit(0..self.text.len(), &mut chunks)? {
            return Ok(chunks);
        }
        for span in balance(&atoms.list, self.room) {
            self.emit_or_halve(span, &mut chunks)?;
        }
        Ok(chunks)
    }

    fn too_long(&self) -> DocumentError {
        DocumentError::TooManyTokens { max: self.text_max }
    }

    /// Returns the sentences of the text. A sentence that is too long for a chunk is returned in parts that fit.
    ///
    /// # Errors
    /// The errors of [`chunk`].
    fn atoms(&self) -> Result<Atoms, DocumentError> {
        let mut atoms = Atoms::default();
        let mut start = 0;
        for end in SentenceSegmenter::new(Default::default()).segment_str(self.text).skip(1) {
            self.split(start..end, &mut atoms)?;
            start = end;
        }
        Ok(atoms)
    }

    /// Appends a span to the atoms. Halves the span until each part fits into a chunk. Fails as soon as the atoms have too many
    /// tokens for a text, so that the rest of the text need not be tokenized.
    fn split(&self, span: Range<usize>, atoms: &mut Atoms) -> Result<(), DocumentError> {
        if span.len() <= self.room * BYTES_PER_TOKEN_MAX {
            let tokens = self.tokenizer.count(&self.text[span.clone()])?;
            if tokens <= self.room {
                atoms.list.push(Atom { span, tokens });
                atoms.tokens += tokens;
                let is_too_long = atoms.tokens > self.text_max.saturating_add(atoms.list.len());
                return if is_too_long { Err(self.too_long()) } else { Ok(()) };
            }
        }
        let middle = self.middle(&span);
        self.split(span.start..middle, atoms)?;
        self.split(middle..span.end, atoms)
    }

    /// Encodes a span without the spaces at its ends, and appends it as a chunk. Returns `false`, and appends nothing, if the
    /// span has too many tokens.
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

    /// Appends a span as one chunk, or as several chunks if the span has too many tokens. A span of atoms may have too many
    /// tokens if a word begins in one atom and ends in the next: the whole word may have more tokens than its two parts
    /// together.
    fn emit_or_halve(&self, span: Range<usize>, chunks: &mut Vec<Chunk>) -> Result<(), DocumentError> {
        if self.emit(span.clone(), chunks)? {
            return Ok(());
        }
        let middle = self.middle(&span);
        self.emit_or_halve(span.start..middle, chunks)?;
        self.emit_or_halve(middle..span.end, chunks)
    }

    /// Chooses where to split a span, near its middle, and returns the byte offset in the text. Prefers, in this order, to
    /// split:
    ///
    /// - before a Markdown heading, list item or table row. A clean text has one space between paragraphs, as between words,
    ///   so only these marks show that a block starts
    /// - between words
    /// - between grapheme clusters, the characters that a reader sees
    /// - between code points
    ///
    /// # Panics
    /// If the span is one code point. This cannot happen: every limit that [`chunk`] accepts has room for a code point.
    fn middle(&self, span: &Range<usize>) -> usize {
        let text = &self.text[span.clone()];
        let half = text.ceil_char_boundary(text.len() / 2);
        let cut = nearest_space(text, half, starts_block)
            .or_else(|| nearest_space(text, half, |_| true))
            .or_else(|| between_graphemes(text, half))
            .unwrap_or(half);
        let cut = if cut == text.len() { text.floor_char_boundary(text.len() - 1) } else { cut };
        assert!(0 < cut && cut < text.len(), "a character must fit into a chunk");
        span.start + cut
    }
}

/// Returns the position of the space nearest to `near`, within the middle half of the text. Skips a space if `wanted` rejects
/// the text after the space.
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

/// Returns the first boundary between grapheme clusters at or after `near`. Returns `None` if the next 128 bytes have no
/// boundary.
fn between_graphemes(text: &str, near: usize) -> Option<usize> {
    const CLOSE: usize = 128;
    let start = text.floor_char_boundary(near.saturating_sub(CLOSE));
    let end = text.ceil_char_boundary((near + CLOSE).min(text.len()));
    let mut boundaries = GraphemeClusterSegmenter::new().segment_str(&text[start..end]).map(|at| start + at);
    boundaries.find(|&at| at >= near && at < end)
}

/// Joins consecutive atoms into as few spans as possible. Each span has at most `room` tokens, and all spans have about the
/// same length.
fn balance(atoms: &[Atom], room: usize) -> Vec<Range<usize>> {
    let mut left: usize = atoms.iter().map(|atom| atom.tokens).sum();
    let mut spans: Vec<Range<usize>> = Vec::new();
    let (mut tokens, mut target) = (0, 0);
    for atom in atoms {
        // The span is full if this atom does not fit, or if the span is closer to the target length without this atom.
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

    /// Chunks a text, and checks that the chunks are in order, within the limit, encoded from their own text, and at most one
    /// space apart.
    fn check(text: &str, max_tokens: usize) -> Vec<Chunk> {
        let limits = TokenLimits { chunk: max_tokens, text: usize::MAX };
        let chunks = chunk(text, limits, &TOKENIZER).unwrap();
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
    fn a_text_over_the_limit_is_refused() {
        let sentences = "The parcel comes back within thirty days. ".repeat(40);
        for text in [clean(&sentences), "a".repeat(2000), "今天天气".repeat(300)] {
            for max_tokens in [64, 4096] {
                let chunks = check(&text, max_tokens);
                let tokens: usize =
                    chunks.iter().map(|chunk| chunk.encoding.len() - TOKENIZER.overhead()).sum();
                let of =
                    |text_max| chunk(&text, TokenLimits { chunk: max_tokens, text: text_max }, &TOKENIZER);
                assert_eq!(of(tokens).unwrap().len(), chunks.len());
                let error = of(tokens - 1).unwrap_err();
                assert_eq!(error.to_string(), format!("has more than {} tokens", tokens - 1));
            }
        }
    }

    #[test]
    fn characters_stay_whole() {
        let text = "👩🏽".repeat(200);
        for chunk in texts(&text, &check(&text, 64)) {
            assert!(chunk.len().is_multiple_of("👩🏽".len()), "{chunk}");
        }
    }

    /// The test takes seconds if chunking takes linear time. With quadratic time it would take hours.
    #[test]
    fn long_texts_without_a_place_to_cut_are_linear() {
        let bytes = 500_000;
        for pattern in ["a", "今天天气", ".((((", ". 1", "e\u{301}\u{301}\u{301}", "🇯🇵"] {
            let text = clean(&pattern.repeat(bytes / pattern.len()));
            check(&text, 2048);
        }
    }
}
