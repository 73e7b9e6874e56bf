//! Extracts the text of Markdown files. No other module uses pulldown-cmark.

use std::mem;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Returns the text without HTML tags, link targets and the marks of images and emphasis.
///
/// Code is kept. The marks of headings, list items and table cells are kept too. Cleaning replaces line breaks by spaces, so
/// only these marks show readers and the chunker where a block starts.
pub fn markdown(source: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    let mut text = String::with_capacity(source.len());
    // The lines of the current HTML block.
    let mut html = String::new();
    for event in Parser::new_ext(source, options) {
        match event {
            Event::Html(line) => html.push_str(&line),
            Event::End(TagEnd::HtmlBlock) => {
                text.push_str(&super::html::fragment(&mem::take(&mut html)));
                text.push('\n');
            }
            Event::Start(Tag::Heading { level, .. }) => {
                text.extend(std::iter::repeat_n('#', level as usize));
                text.push(' ');
            }
            // The parser reports no end of a paragraph between the text of an item and a list that is nested in the item.
            // Therefore each item starts with a line break.
            Event::Start(Tag::Item) => text.push_str("\n- "),
            Event::Start(Tag::TableCell) => text.push_str("| "),
            Event::End(TagEnd::TableCell) => text.push(' '),
            Event::End(end) if ends_block(end) => text.push('\n'),
            Event::Text(part) | Event::Code(part) => text.push_str(&part),
            // An event of inline HTML is one tag. The text between two tags is an `Event::Text`.
            Event::InlineHtml(tag) if tag.starts_with("<br") => text.push('\n'),
            Event::SoftBreak | Event::HardBreak | Event::Rule => text.push('\n'),
            _ => {}
        }
    }
    text
}

fn ends_block(end: TagEnd) -> bool {
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
        assert_eq!(clean(&markdown(source)), expected);
    }

    proptest! {
        #[test]
        fn plain_words_are_never_lost(words in proptest::collection::vec("[a-zA-Z今天气]{1,8}", 0..60), breaks in proptest::collection::vec("( |\n|\n\n|\n- |\n\n## |\n> )", 60)) {
            let source: String = words.iter().zip(&breaks).flat_map(|(word, gap)| [word.as_str(), gap]).collect();
            let kept = markdown(&source);
            let kept: Vec<&str> = kept.split(|c: char| c.is_whitespace() || matches!(c, '#' | '-')).filter(|word| !word.is_empty()).collect();
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
