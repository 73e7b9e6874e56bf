//! Extracts the text of Markdown files. No other module uses pulldown-cmark.

use std::mem;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Returns the text without HTML tags, link targets and the marks of images and emphasis.
///
/// Code is kept. The marks of headings, list items and table cells are kept too. Cleaning replaces line breaks by spaces, so
/// only these marks show readers and the chunker where a block starts.
pub fn markdown(source: &str) -> Structured {
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    let mut text = BlockWriter::default();
    // The lines of the current HTML block.
    let mut html = String::new();
    for event in Parser::new_ext(source, options) {
        match event {
            Event::Html(line) => html.push_str(&line),
            Event::End(TagEnd::HtmlBlock) => text.append(&super::html::fragment(&mem::take(&mut html))),
            Event::Start(Tag::Heading { level, .. }) => text.heading(level as usize),
            Event::Start(Tag::Item) => text.begin(BlockKind::Item, "- "),
            Event::Start(Tag::CodeBlock(_)) => text.begin(BlockKind::Code, ""),
            Event::Start(Tag::TableHead) => text.begin(BlockKind::TableHeader, ""),
            Event::Start(Tag::TableRow) => text.begin(BlockKind::TableRow, ""),
            Event::Start(Tag::TableCell) => text.push_str("| "),
            Event::End(TagEnd::TableCell) => text.push_str(" "),
            Event::End(TagEnd::TableHead | TagEnd::TableRow) => text.end(),
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            // An event of inline HTML is one tag. The text between two tags is an `Event::Text`.
            Event::InlineHtml(tag) if tag.starts_with("<br") => text.push_str("\n"),
            Event::SoftBreak | Event::HardBreak => text.push_str("\n"),
            Event::Rule => text.boundary(),
            Event::Start(start) if is_block(start.to_end()) => text.boundary(),
            Event::End(end) if is_block(end) => text.boundary(),
            _ => {}
        }
    }
    text.finish()
}

/// Returns whether the text of an element does not continue the line before or after it.
fn is_block(end: TagEnd) -> bool {
    !matches!(end, TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::clean::clean;
    use proptest::prelude::*;

    #[test]
    fn what_a_person_reads_stays_and_targets_go() {
        let source = "# The *plan*\n\nSee [our **rules**](https://example.org/r?q=1 \"hint\") \
                      or <https://a.example>.\n![A red door](img/door.png)\n\n- one\n- two\n  wrapped\n  - three\n\n\
                      ```rust\nlet x = \"[not](a link)\";\n```\n\n| a | b |\n|---|---|\n| 1 | `2` |\n\n今天[天气](x.md)很好。\n\n[ref]: https://gone.example\n";
        let expected = "# The plan See our rules or https://a.example. A red door - one - two wrapped - three \
                        let x = \"[not](a link)\"; | a | b | 1 | 2 今天天气很好。";
        assert_eq!(clean(markdown(source).text()), expected);
    }

    proptest! {
        #[test]
        fn plain_words_are_never_lost(words in proptest::collection::vec("[a-zA-Z今天气]{1,8}", 0..60), breaks in proptest::collection::vec("( |\n|\n\n|\n- |\n\n## |\n> )", 60)) {
            let source: String = words.iter().zip(&breaks).flat_map(|(word, gap)| [word.as_str(), gap]).collect();
            let kept = markdown(&source);
            let kept: Vec<&str> = kept.text().split(|c: char| c.is_whitespace() || matches!(c, '#' | '-')).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(kept, words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    /// Nested brackets and emphasis take quadratic time in some Markdown parsers.
    #[test]
    fn hostile_markdown_is_read_in_linear_time() {
        for pattern in ["[", "![", "*a_", "> ", "- ", "`", "<a", "[a](", "|\n|-", "\\", "&#"] {
            markdown(&pattern.repeat(300_000 / pattern.len()));
        }
    }
}
