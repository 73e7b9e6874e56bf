//! The structure of a text: headings, paragraphs, list items, table rows, code and pages. Pure.

use std::iter;

use serde::{Deserialize, Serialize};

use super::clean::clean;

/// The kind of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockKind {
    /// A heading with its level, 1 for the highest.
    Heading(u8),
    /// Text that is none of the others.
    Paragraph,
    /// An item of a list.
    Item,
    /// A row with the names of the columns.
    TableHeader,
    /// Any other row of a table.
    TableRow,
    /// Lines whose breaks have a meaning, such as source code. In a clean text, one line.
    Code,
    /// The start of a page or slide with its number, counted from 1. This block has no text.
    Page(u32),
}

/// A block of a text. It ends where the next block starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "(usize, BlockKind)", from = "(usize, BlockKind)")]
pub struct Block {
    /// The position in the text, in bytes.
    pub start: usize,
    /// What the block is.
    pub kind: BlockKind,
}

// A text may have millions of blocks. A pair takes fewer bytes of JSON than an object with two names.
impl From<Block> for (usize, BlockKind) {
    fn from(block: Block) -> Self {
        (block.start, block.kind)
    }
}

impl From<(usize, BlockKind)> for Block {
    fn from((start, kind): (usize, BlockKind)) -> Self {
        Block { start, kind }
    }
}

/// A text and its blocks, in the order of the text. There is white space between two blocks, and all visible text is in a block.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Structured {
    text: String,
    blocks: Vec<Block>,
}

/// A [`Structured`] as a worker sent it.
#[derive(Deserialize)]
struct Unchecked {
    text: String,
    blocks: Vec<Block>,
}

impl TryFrom<Unchecked> for Structured {
    type Error = &'static str;

    fn try_from(Unchecked { text, blocks }: Unchecked) -> Result<Self, Self::Error> {
        let is_sorted = blocks.is_sorted_by_key(|block| block.start);
        if !is_sorted || !blocks.iter().all(|block| text.is_char_boundary(block.start)) {
            return Err("a block is not in the text");
        }
        Ok(Structured { text, blocks })
    }
}

impl Structured {
    /// Returns the blocks of a plain text: blank lines separate paragraphs, and form feeds separate pages.
    pub fn plain(text: String) -> Structured {
        let mut blocks = Vec::new();
        let mut start = 0;
        for (number, page) in (1..).zip(text.split_inclusive('\u{C}')) {
            if page.len() < text.len() {
                blocks.push(Block { start, kind: BlockKind::Page(number) });
            }
            let mut was_blank = true;
            for line in page.split_inclusive('\n') {
                let is_blank = line.trim().is_empty();
                if was_blank && !is_blank {
                    blocks.push(Block { start, kind: BlockKind::Paragraph });
                }
                was_blank = is_blank;
                start += line.len();
            }
        }
        Structured { text, blocks }
    }

    /// Returns the text of all blocks.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the text of all blocks.
    pub fn into_text(self) -> String {
        self.text
    }

    /// Returns the blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Returns the blocks as JSON; `None` if the text is one paragraph.
    pub fn blocks_as_json(&self) -> Option<String> {
        let is_paragraph = |block: &Block| block.start == 0 && block.kind == BlockKind::Paragraph;
        let is_plain = self.blocks.len() <= 1 && self.blocks.iter().all(is_paragraph);
        (!is_plain).then(|| serde_json::json!(self.blocks).to_string())
    }

    /// Returns a text with blocks that [`Structured::blocks_as_json`] has written.
    ///
    /// # Errors
    /// The JSON is wrong, or a block is outside of the text.
    pub fn with_json_blocks(text: String, blocks: &str) -> Result<Structured, String> {
        let blocks = serde_json::from_str(blocks).map_err(|e| e.to_string())?;
        Ok(Structured::try_from(Unchecked { text, blocks })?)
    }

    /// Returns the first heading without its mark; `None` if there is no heading.
    pub fn first_heading(&self) -> Option<&str> {
        let (_, text) = self.parts().find(|(block, _)| matches!(block.kind, BlockKind::Heading(_)))?;
        Some(text.trim_start_matches('#').trim())
    }

    /// Returns each block with its text.
    fn parts(&self) -> impl Iterator<Item = (Block, &str)> {
        let ends = self.blocks.iter().skip(1).map(|block| block.start).chain([self.text.len()]);
        self.blocks.iter().zip(ends).map(|(&block, end)| (block, &self.text[block.start..end]))
    }

    /// Cleans the text with [`clean`]. A block without text is removed, except for the start of a page that has text.
    pub fn clean(&self) -> Structured {
        let mut cleaned = Structured { text: String::with_capacity(self.text.len()), blocks: Vec::new() };
        let mut page = None;
        for (block, text) in self.parts() {
            if let BlockKind::Page(_) = block.kind {
                page = Some(block.kind);
            }
            // Cleaning removes line breaks, so that only blocks show where a line of code starts.
            let is_code = block.kind == BlockKind::Code;
            let lines: &mut dyn Iterator<Item = &str> =
                if is_code { &mut text.lines() } else { &mut iter::once(text) };
            for line in lines {
                cleaned.push(&clean(line), block.kind, &mut page);
            }
        }
        cleaned
    }

    /// Adds a block with this text, and the start of its page before it. Adds nothing if the text is empty.
    fn push(&mut self, text: &str, kind: BlockKind, page: &mut Option<BlockKind>) {
        if text.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push(' ');
        }
        let start = self.text.len();
        self.blocks.extend(page.take().into_iter().chain([kind]).map(|kind| Block { start, kind }));
        self.text.push_str(text);
    }
}

/// Builds a [`Structured`] from left to right. Every block starts on a new line.
#[derive(Debug, Default)]
pub struct BlockWriter {
    written: Structured,
    /// The kind of the block that text is added to; `None` if the next text starts a paragraph.
    open: Option<BlockKind>,
    /// The end of the mark of the latest block, such as `- `, in bytes of the text.
    mark_end: usize,
}

impl BlockWriter {
    /// Starts a block with a mark as in Markdown, such as `- `. A paragraph or an item inside a table row belongs to the row.
    pub fn begin(&mut self, kind: BlockKind, mark: &str) {
        let is_of_row = self.is_in_row() && matches!(kind, BlockKind::Paragraph | BlockKind::Item);
        if !is_of_row {
            self.end();
            self.written.blocks.push(Block { start: self.written.text.len(), kind });
            self.open = Some(kind);
        } else {
            self.end_line();
        }
        self.written.text.push_str(mark);
        self.mark_end = self.written.text.len();
    }

    /// Starts a heading. Levels outside of 1 to 6 become the nearest of these, as Markdown has no others.
    pub fn heading(&mut self, level: usize) {
        const MARKS: [&str; 6] = ["# ", "## ", "### ", "#### ", "##### ", "###### "];
        let level = level.clamp(1, MARKS.len());
        #[allow(clippy::cast_possible_truncation)] // At most 6.
        self.begin(BlockKind::Heading(level as u8), MARKS[level - 1]);
    }

    /// Starts a page.
    pub fn page(&mut self, number: u32) {
        self.end();
        self.written.blocks.push(Block { start: self.written.text.len(), kind: BlockKind::Page(number) });
    }

    /// Ends a line. The next text starts a paragraph, unless the current block has only its mark, or is a table row.
    pub fn boundary(&mut self) {
        if self.written.text.len() == self.mark_end && self.open.is_some() {
            return;
        }
        self.end_line();
        if !self.is_in_row() {
            self.open = None;
        }
    }

    /// Ends the current block. The next text starts a paragraph.
    pub fn end(&mut self) {
        self.end_line();
        self.open = None;
    }

    /// Adds text to the current block.
    pub fn push_str(&mut self, text: &str) {
        if self.open.is_none() && !text.trim_start().is_empty() {
            self.begin(BlockKind::Paragraph, "");
        }
        self.written.text.push_str(text);
    }

    /// Adds a block with this text.
    pub fn block(&mut self, kind: BlockKind, text: &str) {
        self.begin(kind, "");
        self.push_str(text);
        self.end();
    }

    /// Adds the blocks of another text.
    pub fn append(&mut self, other: &Structured) {
        self.end();
        let at = self.written.text.len();
        self.written.text.push_str(&other.text);
        let moved = other.blocks.iter().map(|&Block { start, kind }| Block { start: start + at, kind });
        self.written.blocks.extend(moved);
        self.end();
    }

    /// Returns the text and its blocks.
    pub fn finish(self) -> Structured {
        self.written
    }

    fn is_in_row(&self) -> bool {
        matches!(self.open, Some(BlockKind::TableHeader | BlockKind::TableRow))
    }

    fn end_line(&mut self) {
        if !self.written.text.is_empty() && !self.written.text.ends_with('\n') {
            self.written.text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the kind and the text of each block.
    fn parts(structured: &Structured) -> Vec<(BlockKind, &str)> {
        structured.parts().map(|(block, text)| (block.kind, text.trim())).collect()
    }

    #[test]
    fn blocks_keep_their_text_through_cleaning() {
        let mut writer = BlockWriter::default();
        writer.push_str("before ");
        writer.page(1);
        writer.page(2);
        writer.heading(2);
        writer.push_str("Returns\u{200B}  &\trefunds");
        writer.boundary();
        writer.push_str("One\nline.");
        writer.begin(BlockKind::Item, "- ");
        writer.boundary();
        writer.push_str("item");
        writer.boundary();
        writer.push_str("more of it");
        writer.begin(BlockKind::TableRow, "");
        writer.push_str("| ");
        writer.begin(BlockKind::Item, "- ");
        writer.push_str("a | ");
        writer.boundary();
        writer.push_str("b");
        writer.end();
        writer.push_str(" \u{200B}");
        writer.page(3);
        let structured = writer.finish();
        let cleaned = structured.clean();
        assert_eq!(cleaned.text(), clean(structured.text()));
        let expected = [
            (BlockKind::Paragraph, "before"),
            (BlockKind::Page(2), ""),
            (BlockKind::Heading(2), "## Returns & refunds"),
            (BlockKind::Paragraph, "One line."),
            (BlockKind::Item, "- item"),
            (BlockKind::Paragraph, "more of it"),
            (BlockKind::TableRow, "| - a | b"),
        ];
        assert_eq!(parts(&cleaned), expected);
    }

    proptest! {
        #[test]
        fn cleaning_blocks_is_cleaning_the_text(steps in proptest::collection::vec((0..7, "[ab \u{200B}\u{200C}\n\u{628}]{0,5}"), 0..40)) {
            let mut writer = BlockWriter::default();
            for (step, text) in steps {
                match step {
                    0 => writer.begin(BlockKind::Item, "- "),
                    1 => writer.begin(BlockKind::TableRow, ""),
                    2 => writer.heading(3),
                    3 => writer.boundary(),
                    4 => writer.page(1),
                    5 => writer.end(),
                    _ => writer.block(BlockKind::Code, &text),
                }
                writer.push_str(&text);
            }
            let structured = writer.finish();
            let cleaned = structured.clean();
            prop_assert_eq!(cleaned.text(), clean(structured.text()));
            prop_assert_eq!(&cleaned.clean(), &cleaned);
        }
    }

    #[test]
    fn plain_text_has_paragraphs_and_pages() {
        let text = "\n one\nline \n \t\n\ntwo\u{C}\n\u{C}three".to_owned();
        let plain = Structured::plain(text);
        let paragraph = BlockKind::Paragraph;
        assert_eq!(
            parts(&plain.clean()),
            [
                (BlockKind::Page(1), ""),
                (paragraph, "one line"),
                (paragraph, "two"),
                (BlockKind::Page(3), ""),
                (paragraph, "three")
            ]
        );
        assert_eq!(plain.clean().text(), clean(plain.text()));
        assert_eq!(parts(&Structured::plain("one".into())), [(paragraph, "one")]);
        assert_eq!(parts(&Structured::plain(" \n".into())), []);
    }

    #[test]
    fn a_block_outside_of_its_text_is_refused() {
        for blocks in ["[[9,\"Code\"]]", "[[1,\"Code\"]]", "[[2,\"Code\"],[0,\"Code\"]]"] {
            let sent = format!("{{\"text\":\"ä\",\"blocks\":{blocks}}}");
            assert!(serde_json::from_str::<Structured>(&sent).is_err(), "{blocks}");
        }
    }
}
