//! Splits a text where it is divided: before headings, else between paragraphs, items and rows, else between sentences. Pure.
//!
//! A span that is too long is cut at its boundary of the highest rank, and both parts are cut again. Among boundaries of the same
//! rank, the digest of the words after the boundary decides. So an edit moves only cuts near it: every other cut was chosen by
//! words that the edit did not touch.

use std::iter;
use std::ops::Range;

use icu_segmenter::SentenceSegmenter;

use super::{Atom, Atoms, Chunker, EXTRA_DIVISOR};
use crate::digest::Digest;
use crate::error::DocumentError;
use crate::text::blocks::{BlockKind, Structured};

/// The smallest part that a cut leaves where it can choose, as a divisor of the room of a chunk.
const PART_DIVISOR: usize = 4;

/// How many bytes after a boundary decide between boundaries of the same rank.
const KEY_BYTES: usize = 48;

/// The rank of a boundary between two parts of a sentence, row or line.
pub(super) const WORD: u8 = 1;

/// The rank of a boundary that is below a sentence end: between a heading and its text, or a table header and its first row.
const BOUND: u8 = 2;

/// The rank of a sentence end.
pub(super) const SENTENCE: u8 = 3;

/// The rank of the start of a page.
const PAGE: u8 = 9;

/// The rank of the lowest heading. Higher headings have higher ranks.
const LOWEST_HEADING: u8 = 10;

/// The lowest level of a heading.
const LEVELS: u8 = 6;

/// Returns the rank of the boundary before a block. `before` is the block before it.
fn rank(before: Option<BlockKind>, kind: BlockKind, starts_page: bool) -> u8 {
    use BlockKind::{Code, Heading, Item, Page, Paragraph, TableHeader, TableRow};
    let rank = match (before, kind) {
        (Some(Heading(_)), _) | (Some(TableHeader), TableHeader | TableRow) => return BOUND,
        (_, Heading(level)) => LOWEST_HEADING + LEVELS - level.clamp(1, LEVELS),
        (Some(Item), Item) | (Some(TableRow), TableRow) => 6,
        (Some(Code), Code) => 4,
        // A list, a table or code belongs to the text that introduces it.
        (_, Item | TableHeader | TableRow | Code) => 5,
        // More text of an item.
        (Some(Item), Paragraph) => 7,
        (_, Paragraph | Page(_)) => 8,
    };
    if starts_page { rank.max(PAGE) } else { rank }
}

/// The blocks of a text, with the headings, the page and the table that each is in.
pub(super) struct Outline<'a> {
    text: &'a str,
    blocks: Vec<OutlinedBlock>,
}

struct OutlinedBlock {
    start: usize,
    kind: BlockKind,
    /// The rank of the boundary before the block.
    rank: u8,
    page: Option<u32>,
    /// The nearest heading before this block that is above it, as an index into the blocks. For a heading, a higher one.
    above: Option<usize>,
    /// The header of the table that the row is in, as an index into the blocks.
    header: Option<usize>,
}

impl<'a> Outline<'a> {
    pub fn new(content: &'a Structured) -> Self {
        let mut outline = Outline { text: content.text(), blocks: Vec::new() };
        let (mut page, mut starts_page) = (None, false);
        let (mut above, mut header) = (None::<usize>, None);
        let mut before = None;
        for block in content.blocks() {
            if let BlockKind::Page(number) = block.kind {
                (page, starts_page) = (Some(number), true);
                continue;
            }
            let at = outline.blocks.len();
            if let BlockKind::Heading(level) = block.kind {
                while let Some(other) = above
                    && matches!(outline.blocks[other].kind, BlockKind::Heading(it) if it >= level)
                {
                    above = outline.blocks[other].above;
                }
            }
            match block.kind {
                BlockKind::TableHeader if before != Some(BlockKind::TableHeader) => header = Some(at),
                BlockKind::TableHeader | BlockKind::TableRow => {}
                _ => header = None,
            }
            outline.blocks.push(OutlinedBlock {
                start: block.start,
                kind: block.kind,
                rank: rank(before, block.kind, starts_page),
                page,
                above,
                header: header.filter(|_| block.kind == BlockKind::TableRow),
            });
            if let BlockKind::Heading(_) = block.kind {
                above = Some(at);
            }
            before = Some(block.kind);
            starts_page = false;
        }
        outline
    }

    /// Returns the span of a block without the space at its end.
    fn span(&self, block: usize) -> Range<usize> {
        let start = self.blocks[block].start;
        let end = self.blocks.get(block + 1).map_or(self.text.len(), |next| next.start);
        start..start + self.text[start..end].trim_end().len()
    }

    /// Returns the index of the block that a position is in.
    pub fn block_at(&self, position: usize) -> usize {
        self.blocks.partition_point(|block| block.start <= position).saturating_sub(1)
    }

    /// Returns the index of the last block.
    pub fn last(&self) -> usize {
        self.blocks.len().saturating_sub(1)
    }

    /// Returns the headings above a block, from the highest level to the lowest. A heading is its own. If more headings follow it
    /// at once, they count too.
    pub fn headings(&self, block: usize) -> Vec<Range<usize>> {
        let mut headings = Vec::new();
        let Some(mut at) = self.blocks.get(block).map(|_| block) else { return headings };
        let is_heading = |at: usize| matches!(self.blocks.get(at), Some(block) if matches!(block.kind, BlockKind::Heading(_)));
        while is_heading(at) && is_heading(at + 1) && self.blocks[at + 1].above == Some(at) {
            at += 1;
        }
        let mut next = if is_heading(at) { Some(at) } else { self.blocks[at].above };
        while let Some(at) = next {
            headings.push(self.span(at));
            next = self.blocks[at].above;
        }
        headings.reverse();
        headings
    }

    /// Returns the headings of a piece: those above its first block, or its own first heading if there are none.
    pub fn headings_of(&self, piece: &Piece) -> Vec<Range<usize>> {
        let above = self.headings(piece.first);
        if !above.is_empty() {
            return above;
        }
        let is_heading = |at: &usize| matches!(self.blocks.get(*at), Some(block) if matches!(block.kind, BlockKind::Heading(_)));
        (piece.first..=piece.last).find(is_heading).map_or(above, |heading| self.headings(heading))
    }

    /// Returns the pages of two blocks.
    pub fn pages(&self, first: usize, last: usize) -> Option<(u32, u32)> {
        let page = |block: usize| self.blocks.get(block)?.page;
        Some((page(first)?, page(last)?))
    }
}

/// A part of a text that becomes a chunk.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub span: Range<usize>,
    /// The index of the block that the piece starts in.
    pub first: usize,
    /// The index of the block that the piece ends in.
    pub last: usize,
    /// The table header that is repeated before the piece.
    pub header: Option<Range<usize>>,
}

impl Chunker<'_> {
    /// Returns the sentences of paragraphs and items, and whole rows, lines and headings. What is too long for a chunk is returned
    /// in parts that fit.
    ///
    /// # Errors
    /// The text has too many tokens, or the tokenizer refuses it.
    pub(super) fn block_atoms(&self) -> Result<Atoms, DocumentError> {
        let mut atoms = Atoms::default();
        for (at, block) in self.outline.blocks.iter().enumerate() {
            let span = self.outline.span(at);
            if !matches!(block.kind, BlockKind::Paragraph | BlockKind::Item) {
                self.split(span, block.rank, at, &mut atoms)?;
                continue;
            }
            let (mut start, mut rank) = (span.start, block.rank);
            for end in
                SentenceSegmenter::new(Default::default()).segment_str(&self.text[span.clone()]).skip(1)
            {
                self.split(start..span.start + end, rank, at, &mut atoms)?;
                (start, rank) = (span.start + end, SENTENCE);
            }
        }
        Ok(atoms)
    }

    /// Returns the pieces of a text that needs several chunks.
    ///
    /// # Errors
    /// The tokenizer refuses a heading.
    pub(super) fn structured(&self, atoms: &[Atom]) -> Result<Vec<Piece>, DocumentError> {
        let cuts = Cuts::new(self.text, atoms);
        let extras = self.extras(atoms)?;
        let mut pieces = Vec::new();
        let mut left: Vec<Range<usize>> = iter::once(0..atoms.len()).collect();
        while let Some(range) = left.pop() {
            let overlap = if range.start > 0 { self.rules.overlap } else { 0 };
            let room = self.room.saturating_sub(extras[atoms[range.start].block].tokens + overlap);
            if cuts.tokens(&range) <= room || range.len() == 1 {
                pieces.push(self.piece(atoms, range, &extras));
            } else {
                let cut = cuts.choose(&range, self.room / PART_DIVISOR);
                left.extend([cut..range.end, range.start..cut]);
            }
        }
        Ok(pieces)
    }

    /// Returns what is put in front of a chunk that starts in a block, for each block.
    fn extras(&self, atoms: &[Atom]) -> Result<Vec<Extra>, DocumentError> {
        let most = self.room / EXTRA_DIVISOR;
        let mut extras: Vec<Extra> = Vec::with_capacity(self.outline.blocks.len());
        extras.resize_with(self.outline.blocks.len().max(1), Extra::default);
        let mut of_headings = (Vec::new(), self.tokenizer.count(&self.context(&[]))?);
        let mut of_header = (None, 0);
        for atom in atoms {
            let headings = self.outline.headings(atom.block);
            if of_headings.0 != headings {
                let tokens = self.tokenizer.count(&self.context(&headings))?;
                of_headings = (headings, tokens);
            }
            let header = self.outline.blocks.get(atom.block).and_then(|block| block.header);
            if of_header.0 != header {
                let text = header.map_or("", |header| &self.text[self.outline.span(header)]);
                of_header = (header, self.tokenizer.count(text)?);
            }
            let is_short = of_header.1 <= most;
            extras[atom.block] = Extra {
                tokens: of_headings.1.min(most) + if is_short { of_header.1 } else { 0 },
                header: header.filter(|_| is_short).map(|header| self.outline.span(header)),
            };
        }
        Ok(extras)
    }

    fn piece(&self, atoms: &[Atom], range: Range<usize>, extras: &[Extra]) -> Piece {
        let mut start = range.start;
        let mut overlap = self.rules.overlap;
        // The overlap ends at a heading.
        while start > 0 && atoms[start].rank < LOWEST_HEADING && atoms[start - 1].tokens <= overlap {
            start -= 1;
            overlap -= atoms[start].tokens;
        }
        let (first, last) = (&atoms[start], &atoms[range.end - 1]);
        let starts_row =
            self.outline.blocks.get(first.block).is_some_and(|block| block.start == first.span.start);
        Piece {
            span: first.span.start..last.span.end,
            first: first.block,
            last: last.block,
            header: extras[first.block].header.clone().filter(|_| starts_row),
        }
    }
}

/// What is put in front of a chunk.
#[derive(Debug, Clone, Default)]
struct Extra {
    /// The tokens of the context and of the table header.
    tokens: usize,
    /// The table header, unless it is too long to be repeated.
    header: Option<Range<usize>>,
}

/// The boundaries between the atoms of a text.
struct Cuts {
    /// The tokens of all atoms before an atom.
    before: Vec<usize>,
    /// The rank of the boundary before each atom, and the digest of the words after the boundary.
    keys: Vec<(u8, u64)>,
    /// A segment tree: node `i` has the atom with the largest key among those of the nodes `2 * i` and `2 * i + 1`. The leaves
    /// are the second half.
    tree: Vec<usize>,
}

impl Cuts {
    fn new(text: &str, atoms: &[Atom]) -> Self {
        let mut before = vec![0];
        before.extend(atoms.iter().scan(0, |sum, atom| {
            *sum += atom.tokens;
            Some(*sum)
        }));
        let key = |atom: &Atom| {
            let words = &text.as_bytes()[atom.span.clone()];
            let digest = Digest::of(&words[..words.len().min(KEY_BYTES)]);
            (atom.rank, digest.as_bytes().iter().take(8).fold(0, |key, &byte| key << 8 | u64::from(byte)))
        };
        let keys: Vec<(u8, u64)> = atoms.iter().map(key).collect();
        let mut cuts = Cuts { before, tree: vec![0; 2 * keys.len()], keys };
        for node in (1..cuts.tree.len()).rev() {
            cuts.tree[node] = match node.checked_sub(cuts.keys.len()) {
                Some(leaf) => leaf,
                None => cuts.larger(cuts.tree[2 * node], cuts.tree[2 * node + 1]),
            };
        }
        cuts
    }

    /// Returns the atom with the larger key, or the first of two with equal keys.
    fn larger(&self, a: usize, b: usize) -> usize {
        let (a, b) = (a.min(b), a.max(b));
        if self.keys[b] > self.keys[a] { b } else { a }
    }

    fn tokens(&self, atoms: &Range<usize>) -> usize {
        self.before[atoms.end] - self.before[atoms.start]
    }

    /// Returns the atom before which the atoms of this range, at least two, are cut. Both parts have at least `least` tokens if
    /// there is such a cut.
    fn choose(&self, atoms: &Range<usize>, least: usize) -> usize {
        let inner = atoms.start + 1..atoms.end;
        let from = self.before.partition_point(|&before| before < self.before[atoms.start] + least);
        let end = self.before.partition_point(|&before| before + least <= self.before[atoms.end]);
        let (from, end) = (from.max(inner.start), end.min(inner.end));
        if from < end { self.largest(from..end) } else { self.largest(inner) }
    }

    /// Returns the atom with the largest key in a range, which is not empty.
    fn largest(&self, atoms: Range<usize>) -> usize {
        let (mut from, mut end) = (atoms.start + self.keys.len(), atoms.end + self.keys.len());
        let mut largest = atoms.start;
        while from < end {
            if from % 2 == 1 {
                largest = self.larger(largest, self.tree[from]);
                from += 1;
            }
            if end % 2 == 1 {
                end -= 1;
                largest = self.larger(largest, self.tree[end]);
            }
            (from, end) = (from / 2, end / 2);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use super::super::tests::TOKENIZER;
    use super::super::{Chunk, ChunkContext, ChunkRules, chunk, heading_text};
    use super::*;
    use crate::text::blocks::BlockWriter;

    fn rules(tokens: usize) -> ChunkRules {
        ChunkRules::of_documents(tokens + TOKENIZER.overhead(), usize::MAX)
    }

    fn chunks(content: &Structured, rules: ChunkRules) -> Vec<Chunk> {
        chunk(content, None, rules, &TOKENIZER).unwrap()
    }

    fn texts(content: &Structured, rules: ChunkRules) -> Vec<String> {
        chunks(content, rules).iter().map(|chunk| chunk.place.text(content.text())).collect()
    }

    fn paragraph(words: usize) -> String {
        ["Parcels come back within thirty days."].repeat(words.div_ceil(6)).join(" ")
    }

    #[test]
    fn cuts_before_headings_and_never_after_one() {
        let mut writer = BlockWriter::default();
        for (level, title) in [(1, "Handbook"), (2, "Returns"), (3, "Refunds"), (3, "Repairs"), (2, "Stores")]
        {
            writer.heading(level);
            writer.push_str(title);
            writer.block(BlockKind::Paragraph, &paragraph(40));
        }
        let content = writer.finish().clean();
        let tokens = TOKENIZER.count(&paragraph(40)).unwrap();
        let chunks = chunks(&content, rules(tokens + tokens / 2));
        let headings: Vec<Vec<&str>> = chunks
            .iter()
            .map(|chunk| {
                chunk.place.headings.iter().map(|span| heading_text(&content.text()[span.clone()])).collect()
            })
            .collect();
        assert_eq!(
            headings,
            [
                vec!["Handbook"],
                vec!["Handbook", "Returns"],
                vec!["Handbook", "Returns", "Refunds"],
                vec!["Handbook", "Returns", "Repairs"],
                vec!["Handbook", "Stores"]
            ]
        );
        assert!(chunks.iter().all(|chunk| content.text()[chunk.place.span.clone()].starts_with('#')));
    }

    #[test]
    fn a_table_that_is_cut_repeats_its_header_and_cuts_between_rows() {
        let mut writer = BlockWriter::default();
        writer.block(BlockKind::TableHeader, "| Station | Repairs of the year");
        for row in 0..60 {
            writer.block(BlockKind::TableRow, &format!("| Station {row}. It is old. | {} repairs", row * 7));
        }
        writer.block(BlockKind::Paragraph, &paragraph(60));
        let content = writer.finish().clean();
        let texts = texts(&content, rules(120));
        assert!(texts.len() > 3);
        for text in texts.iter().filter(|text| text.contains("old.")) {
            assert!(text.starts_with("| Station | Repairs of the year | Station "), "{text}");
            assert_eq!(text.matches("| Station ").count(), 1 + text.matches(" repairs").count(), "{text}");
        }
        assert!(!texts.last().unwrap().contains('|'));
    }

    #[test]
    fn pages_are_those_of_the_first_and_the_last_word() {
        let mut writer = BlockWriter::default();
        for page in 1..=6 {
            writer.page(page);
            writer.block(BlockKind::Paragraph, &paragraph(30));
            writer.block(BlockKind::Paragraph, &paragraph(12));
        }
        let content = writer.finish().clean();
        let pages: Vec<_> = chunks(&content, rules(2 * TOKENIZER.count(&paragraph(42)).unwrap()))
            .iter()
            .map(|chunk| chunk.place.pages.unwrap())
            .collect();
        assert!(pages.len() >= 3, "{pages:?}");
        for pair in pages.windows(2) {
            assert_eq!(pair[0].1 + 1, pair[1].0, "a chunk ends with its page: {pages:?}");
        }
    }

    #[test]
    fn context_and_overlap_are_embedded_and_counted() {
        let mut writer = BlockWriter::default();
        writer.heading(1);
        writer.push_str("Returns");
        for part in 0..9 {
            writer.block(BlockKind::Paragraph, &format!("Part {part}. {}", paragraph(30)));
        }
        let content = writer.finish().clean();
        let context = ChunkContext { title: true, headings: true };
        let rules = ChunkRules { context, overlap: 30, ..rules(150) };
        let chunks = chunk(&content, Some("Handbook"), rules, &TOKENIZER).unwrap();
        assert!(chunks.len() > 2);
        for pair in chunks.windows(2) {
            let (before, after) = (&pair[0].place.span, &pair[1].place.span);
            assert!(after.start < before.end && after.end > before.end, "an overlap");
        }
        for chunk in &chunks {
            let text = format!("Handbook > Returns\n{}", chunk.place.text(content.text()));
            assert_eq!(chunk.encoding, TOKENIZER.encode(&text).unwrap());
            assert!(chunk.encoding.len() <= rules.tokens);
        }
    }

    /// A document: blocks of a kind with a text.
    fn document() -> impl Strategy<Value = Vec<(u8, String)>> {
        proptest::collection::vec((0..12u8, "([a-z]{2,7}[ .]){4,40}"), 100..240)
    }

    fn written(blocks: &[(u8, String)]) -> Structured {
        let mut writer = BlockWriter::default();
        for (kind, text) in blocks {
            match kind {
                0 => {
                    writer.heading(2);
                    writer.push_str(&text[..12]);
                }
                1 => writer.begin(BlockKind::Item, "- "),
                2 => writer.begin(BlockKind::TableRow, "| "),
                3 => writer.begin(BlockKind::Code, ""),
                _ => writer.begin(BlockKind::Paragraph, ""),
            }
            writer.push_str(if *kind == 0 { "" } else { text });
            writer.end();
        }
        writer.finish().clean()
    }

    /// Edits: the kind of edit, the place and the new block.
    fn edits() -> impl Strategy<Value = Vec<(u8, usize, (u8, String))>> {
        proptest::collection::vec((0..3u8, 0..1000usize, (4..12u8, "([a-z]{2,7}[ .]){4,40}")), 60)
    }

    /// The figures hold for these documents. docs/design/reading.md shows that no rule can promise a bound for all documents.
    #[test]
    fn an_edit_changes_few_chunks() {
        let mut runner = TestRunner::deterministic();
        let mut changed = Vec::new();
        for _ in 0..10 {
            let blocks = document().new_tree(&mut runner).unwrap().current();
            let ids = |blocks: &[(u8, String)]| -> Vec<Vec<u32>> {
                let chunks = chunks(&written(blocks), rules(150));
                chunks.iter().map(|chunk| chunk.encoding.ids().to_vec()).collect()
            };
            let known: HashSet<_> = ids(&blocks).into_iter().collect();
            for (edit, at, block) in edits().new_tree(&mut runner).unwrap().current() {
                let mut edited = blocks.clone();
                let at = at % blocks.len();
                match edit {
                    0 => edited.insert(at, block),
                    1 => drop(edited.remove(at)),
                    _ => edited[at].1 = block.1,
                }
                changed.push(ids(&edited).iter().filter(|ids| !known.contains(*ids)).count());
            }
        }
        let more = changed.iter().filter(|&&count| count > 3).count();
        assert!(
            more * 100 <= changed.len() && changed.iter().all(|&count| count <= 5),
            "{more}: {changed:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn chunks_cover_the_text(blocks in document()) {
            let rules = rules(150);
            let content = written(&blocks);
            let mut end = 0;
            for chunk in chunks(&content, rules) {
                prop_assert!(matches!(&content.text()[end..chunk.place.span.start], "" | " "));
                prop_assert!(chunk.encoding.len() <= rules.tokens);
                end = chunk.place.span.end;
            }
            prop_assert_eq!(end, content.text().len());
        }
    }
}
