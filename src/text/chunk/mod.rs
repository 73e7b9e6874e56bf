//! Splits a clean text into chunks, each with a limited number of tokens, and encodes each chunk. Pure.
//!
//! [`structure`] cuts where the text itself is divided, and [`length`] into chunks of about the same length. Both see a text as
//! a list of atoms: sentences, rows, lines, or parts of these that fit into a chunk.

mod length;
mod structure;

use std::fmt;
use std::ops::Range;

use icu_segmenter::GraphemeClusterSegmenter;
use serde::{Deserialize, Serialize};

use super::blocks::Structured;
use super::tokenize::{Encoding, Tokenizer};
use crate::error::DocumentError;
use structure::Outline;

/// Version of the chunking rules. Vectors depend on these rules, so the version is part of the fingerprint. Raise it with
/// every change that makes [`chunk`] split a text at a different position.
pub const VERSION: u32 = 3;

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

/// The largest part of a chunk that repeats a table header, and the largest part that is context, as a divisor of its room.
const EXTRA_DIVISOR: usize = 4;

/// Where a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkBy {
    /// Before headings, else between paragraphs, items and rows, else between sentences.
    #[default]
    Structure,
    /// At the sentence ends that make chunks of about the same length.
    Length,
}

/// What is embedded in front of each chunk, and is not part of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkContext {
    /// The title of the document.
    pub title: bool,
    /// The headings above the chunk.
    pub headings: bool,
}

impl fmt::Display for ChunkContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.title, self.headings) {
            (false, false) => "none",
            (true, false) => "title",
            (false, true) => "headings",
            (true, true) => "title and headings",
        })
    }
}

/// How texts are split.
#[derive(Debug, Clone, Copy)]
pub struct ChunkRules {
    /// Where a text is cut.
    pub by: ChunkBy,
    /// The most tokens per chunk, including prefix and special tokens.
    pub tokens: usize,
    /// The most tokens per text, without the prefixes and special tokens of its chunks.
    pub text_tokens: usize,
    /// The most tokens that a chunk repeats from the end of the chunk before it.
    pub overlap: usize,
    /// What is embedded in front of each chunk.
    pub context: ChunkContext,
}

impl ChunkRules {
    /// Returns the rules for texts of which each becomes one vector: chunks of at most `tokens` tokens.
    pub fn of_documents(tokens: usize, text_tokens: usize) -> Self {
        ChunkRules {
            by: ChunkBy::Structure,
            tokens,
            text_tokens,
            overlap: 0,
            context: ChunkContext::default(),
        }
    }
}

/// A part of a text, and the token ids that the model receives for this part.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The place of the chunk in the text.
    pub place: ChunkPlace,
    /// The token ids of the chunk, including prefix, context and special tokens: at most [`ChunkRules::tokens`].
    pub encoding: Encoding,
}

/// The place of a chunk in its text.
#[derive(Debug, Clone, Default)]
pub struct ChunkPlace {
    /// The range of bytes in the clean text.
    pub span: Range<usize>,
    /// The header of the table that the chunk starts in. The header is a part of the chunk's text, before the span.
    pub table_header: Option<Range<usize>>,
    /// The headings above the start of the chunk, from the highest level to the lowest, and those that the chunk starts with. If
    /// there are none, the first heading in the chunk.
    pub headings: Vec<Range<usize>>,
    /// The pages of the first and the last block of the chunk, counted from 1.
    pub pages: Option<(u32, u32)>,
    /// The number of tokens that the model receives.
    pub tokens: usize,
}

impl ChunkPlace {
    /// Returns the text of the chunk. `text` is the text that was split.
    pub fn text(&self, text: &str) -> String {
        with_header(text, self.table_header.as_ref(), self.span.clone())
    }
}

/// Returns a heading without its mark.
pub fn heading_text(heading: &str) -> &str {
    heading.trim_start_matches('#').trim()
}

/// Returns what is embedded in front of a chunk; empty if there is nothing.
pub fn context_text<'a>(
    context: ChunkContext,
    title: Option<&'a str>,
    headings: impl Iterator<Item = &'a str>,
) -> String {
    let title = title.filter(|_| context.title);
    let mut parts: Vec<&str> = title.into_iter().collect();
    parts.extend(headings.filter(|heading| context.headings && Some(*heading) != title));
    let mut text = parts.join(" > ");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

fn with_header(text: &str, header: Option<&Range<usize>>, span: Range<usize>) -> String {
    match header {
        Some(header) => format!("{} {}", &text[header.clone()], &text[span]),
        None => text[span].to_owned(),
    }
}

/// Splits a clean text into chunks, within the limits. `title` is the title of the document, for [`ChunkContext::title`].
///
/// A sentence over the limit is split between words, and a word over the limit between characters. The chunks are in the order
/// of the text. Without overlap, they cover the whole text, except for one space between two chunks. A text within the limit
/// becomes one chunk, and an empty text becomes an empty list. The time is linear in the length of the text, apart from a
/// logarithm.
///
/// # Errors
/// The text has more tokens than the limit, or the tokenizer refuses the text.
///
/// # Panics
/// If the limit per chunk leaves fewer than [`ROOM_MIN`] tokens for text.
pub fn chunk(
    content: &Structured,
    title: Option<&str>,
    rules: ChunkRules,
    tokenizer: &Tokenizer,
) -> Result<Vec<Chunk>, DocumentError> {
    let max_tokens = rules.tokens;
    let room = max_tokens.checked_sub(tokenizer.overhead()).filter(|&room| room >= ROOM_MIN);
    let room = room.unwrap_or_else(|| panic!("{max_tokens} tokens per chunk leave no room for text"));
    let text = content.text();
    let chunker = Chunker { text, outline: Outline::new(content), title, room, rules, tokenizer };
    let chunks = chunker.chunks()?;
    let tokens: usize =
        chunks.iter().map(|chunk| chunk.encoding.len().saturating_sub(tokenizer.overhead())).sum();
    if tokens > rules.text_tokens.saturating_add(chunks.len() * rules.overlap) {
        return Err(chunker.too_long());
    }
    Ok(chunks)
}

/// A sentence, row or line that fits into a chunk, or a part of a longer one.
struct Atom {
    span: Range<usize>,
    tokens: usize,
    /// How much the text is divided before this atom; the highest rank is cut first.
    rank: u8,
    /// The index of the block that the atom is in.
    block: usize,
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
    outline: Outline<'a>,
    title: Option<&'a str>,
    /// The most tokens of text per chunk: the limit minus the prefix and the special tokens.
    room: usize,
    rules: ChunkRules,
    tokenizer: &'a Tokenizer,
}

impl Chunker<'_> {
    fn chunks(&self) -> Result<Vec<Chunk>, DocumentError> {
        let mut chunks = Vec::new();
        let whole = || structure::Piece {
            span: 0..self.text.len(),
            first: 0,
            last: self.outline.last(),
            header: None,
        };
        let is_likely_to_fit = self.text.len() <= self.room * BYTES_PER_TOKEN_LIKELY;
        if is_likely_to_fit && self.emit(&whole(), &mut chunks)? {
            return Ok(chunks);
        }
        let atoms = match self.rules.by {
            ChunkBy::Structure => self.block_atoms()?,
            ChunkBy::Length => self.sentence_atoms()?,
        };
        let may_fit = !is_likely_to_fit && atoms.tokens <= self.room + atoms.list.len();
        if may_fit && self.emit(&whole(), &mut chunks)? {
            return Ok(chunks);
        }
        let pieces = match self.rules.by {
            ChunkBy::Structure => self.structured(&atoms.list)?,
            ChunkBy::Length => length::balance(&atoms.list, self.room),
        };
        for piece in pieces {
            self.emit_or_halve(piece, &mut chunks)?;
        }
        Ok(chunks)
    }

    fn too_long(&self) -> DocumentError {
        DocumentError::TooManyTokens { max: self.rules.text_tokens }
    }

    /// Appends a sentence, row or line to the atoms. Halves it until each part fits into a chunk. Fails as soon as the atoms have
    /// too many tokens for a text, so that the rest of the text need not be tokenized.
    fn split(
        &self,
        span: Range<usize>,
        rank: u8,
        block: usize,
        atoms: &mut Atoms,
    ) -> Result<(), DocumentError> {
        if span.len() <= self.room * BYTES_PER_TOKEN_MAX {
            let tokens = self.tokenizer.count(&self.text[span.clone()])?;
            if tokens <= self.room {
                atoms.list.push(Atom { span, tokens, rank, block });
                atoms.tokens += tokens;
                let is_too_long = atoms.tokens > self.rules.text_tokens.saturating_add(atoms.list.len());
                return if is_too_long { Err(self.too_long()) } else { Ok(()) };
            }
        }
        let middle = self.middle(&span);
        self.split(span.start..middle, rank, block, atoms)?;
        self.split(middle..span.end, structure::WORD, block, atoms)
    }

    /// Encodes a piece without the spaces at its ends, and appends it as a chunk. Returns `false`, and appends nothing, if the
    /// piece has too many tokens. Leaves out the table header and the context if the piece fits only without them.
    fn emit(&self, piece: &structure::Piece, chunks: &mut Vec<Chunk>) -> Result<bool, DocumentError> {
        let text = &self.text[piece.span.clone()];
        let start = piece.span.start + (text.len() - text.trim_start().len());
        let span = start..start + text.trim().len();
        if span.is_empty() {
            return Ok(true);
        }
        let headings = self.outline.headings_of(piece);
        let context = self.context(&headings);
        let mut table_header = piece.header.clone();
        let body = with_header(self.text, table_header.as_ref(), span.clone());
        let mut encoding = self.tokenizer.encode(&format!("{context}{body}"))?;
        if encoding.len() > self.rules.tokens && !(context.is_empty() && table_header.is_none()) {
            table_header = None;
            encoding = self.tokenizer.encode(&self.text[span.clone()])?;
        }
        if encoding.len() > self.rules.tokens {
            return Ok(false);
        }
        let pages = self.outline.pages(piece.first, piece.last);
        let place = ChunkPlace { span, table_header, headings, pages, tokens: encoding.len() };
        chunks.push(Chunk { place, encoding });
        Ok(true)
    }

    fn context(&self, headings: &[Range<usize>]) -> String {
        let headings = headings.iter().map(|heading| heading_text(&self.text[heading.clone()]));
        context_text(self.rules.context, self.title, headings)
    }

    /// Appends a piece as one chunk, or as several chunks if the piece has too many tokens. A piece of atoms may have too many
    /// tokens if a word begins in one atom and ends in the next: the whole word may have more tokens than its two parts
    /// together.
    fn emit_or_halve(&self, piece: structure::Piece, chunks: &mut Vec<Chunk>) -> Result<(), DocumentError> {
        if self.emit(&piece, chunks)? {
            return Ok(());
        }
        let middle = self.middle(&piece.span);
        self.emit_or_halve(structure::Piece { span: piece.span.start..middle, ..piece.clone() }, chunks)?;
        self.emit_or_halve(structure::Piece { span: middle..piece.span.end, header: None, ..piece }, chunks)
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::text::clean::clean;

    pub static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/qwen3-tiny/tokenizer.json");
        Tokenizer::load(&path, Some("<|endoftext|>")).unwrap()
    });

    fn texts<'a>(text: &'a str, chunks: &[Chunk]) -> Vec<&'a str> {
        chunks.iter().map(|chunk| &text[chunk.place.span.clone()]).collect()
    }

    /// Chunks a text in both ways, and checks that the chunks are in order, within the limit, encoded from their own text, and at
    /// most one space apart. Returns the chunks of about the same length.
    fn check(text: &str, max_tokens: usize) -> Vec<Chunk> {
        let content = Structured::plain(text.to_owned());
        let [by_length, _] = [ChunkBy::Length, ChunkBy::Structure].map(|by| {
            let rules = ChunkRules { by, ..ChunkRules::of_documents(max_tokens, usize::MAX) };
            let chunks = chunk(&content, None, rules, &TOKENIZER).unwrap();
            let mut end = 0;
            for Chunk { place, encoding } in &chunks {
                let gap = &text[end..place.span.start];
                assert!(matches!(gap, "" | " "), "lost {gap:?}");
                assert!(encoding.len() <= max_tokens);
                assert_eq!(*encoding, TOKENIZER.encode(&text[place.span.clone()]).unwrap());
                end = place.span.end;
            }
            assert_eq!(end, text.len());
            chunks
        });
        by_length
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
                let content = Structured::plain(text.clone());
                let of = |text_max| {
                    let rules =
                        ChunkRules { by: ChunkBy::Length, ..ChunkRules::of_documents(max_tokens, text_max) };
                    chunk(&content, None, rules, &TOKENIZER)
                };
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
        let bytes = 100_000;
        for pattern in ["a", "今天天气", ".((((", ". 1", "e\u{301}\u{301}\u{301}", "🇯🇵"] {
            let text = clean(&pattern.repeat(bytes / pattern.len()));
            check(&text, 2048);
        }
    }
}
