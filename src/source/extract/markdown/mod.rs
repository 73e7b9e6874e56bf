//! Extracts the text of Markdown files. No other module uses pulldown-cmark.

mod dialects;
mod jsx;
mod lines;

use std::mem;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Returns the text without HTML tags, link targets and the marks of images and emphasis.
///
/// Code is kept. The marks of headings, list items and table cells are kept too. Cleaning replaces line breaks by spaces, so
/// only these marks show readers and the chunker where a block starts.
pub fn markdown(source: &str) -> Structured {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_MATH
        | Options::ENABLE_DEFINITION_LIST;
    let source = dialects::reduce(source, options);
    let mut text = BlockWriter::default();
    // The lines of the current HTML block.
    let mut html = String::new();
    for (event, range) in Parser::new_ext(&source, options).into_offset_iter() {
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
            // `$5-$10` is money and not a formula.
            Event::InlineMath(_) if source[range.end..].starts_with(|c: char| c.is_ascii_digit()) => {
                text.push_str(&source[range]);
            }
            Event::Text(part) | Event::Code(part) | Event::InlineMath(part) => text.push_str(&part),
            Event::DisplayMath(part) => {
                text.push_str("\n");
                text.push_str(&part);
                text.push_str("\n");
            }
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

    fn read(source: &str) -> String {
        clean(markdown(source).text())
    }

    #[test]
    fn marks_of_dialects_go_and_their_words_stay() {
        let cases = [
            // MDX.
            (
                "import Tabs from '@theme/Tabs';\nimport {\n  A\n} from \"a\";\n\nexport const x = { a: 1 };\n\n# One",
                "# One",
            ),
            ("one {/* private\n\nwords */} two", "one two"),
            (
                "<Tabs items={['a > b']}>\n  <TabItem label=\"Linux\">\n\n    **bold** words\n\n    ```sh\n    ls <Foo/>\n    ```\n  </TabItem>\n</Tabs>\nafter",
                "Linux bold words ls <Foo/> after",
            ),
            ("<Note>Some **words**</Note> and <Badge text={x > 1}/>more <>x</>.", "Some words and more x."),
            ("<Card\n  title=\"One\"\n  href=\"/x\"\n/>\n\ntext", "One text"),
            // Headings, attributes, containers, admonitions, callouts.
            (
                "# One {#id}\n\n## Two {#id .class}\n\ntext\n{: .note }\n\n[link](x){.button} [span]{.small} ![alt](x){ width=50% }",
                "# One ## Two text link span alt",
            ),
            (
                ":::tip Title words\nbody\n:::\n\n::: {.callout-note title=\"Of it\"}\nmore\n:::\n\n:::note[In brackets]{icon=x}\nlast\n:::",
                "Title words body Of it more In brackets last",
            ),
            (
                "!!! warning \"Title\"\n    body\n\n    ```\n    code !!! note\n    ```\n\n??? note\n    more\n\n=== \"Tab\"\n\n    - item\n\ntext",
                "Title body code !!! note more Tab - item text",
            ),
            ("> [!NOTE]\n> words\n\n> [!tip]- A title\n> more", "words A title more"),
            (
                "````{note} Title\n:class: x\nbody\n```sh\nls\n```\n````\n\n```{toctree}\na\n```\n\n:::{tip}\nmore\n:::",
                "Title body ls more",
            ),
            ("```{r, echo=FALSE}\n#| label: a\n#| fig-cap: \"A figure\"\nplot(x)\n```", "A figure plot(x)"),
            // Obsidian.
            (
                "[[Page|its words]], [[Page two]], ![[plan.png]] ![[plan.png|300]] ![[plan.png|A plan]] ==marked==",
                "its words, Page two, A plan marked",
            ),
            ("one %%private%% two %% private %%\n\n%%\nall\n\nprivate\n%%\n\nthree", "one two three"),
            // Liquid, Jinja, Hugo, kramdown.
            (
                "{% if x %}one{% endif %} {% raw %}{{ a }} {% b %}{% endraw %}{% comment %}no{% endcomment %}{# no #}",
                "one {{ a }} {% b %}",
            ),
            (
                "{% hint title=\"Read this\" %}\none\n{% endhint %}\n\n{{< figure src=\"a.png\" caption=\"A bird\" >}} {{% note %}}two{{% /note %}}",
                "Read this one A bird two",
            ),
            (
                "{% highlight rust %}\nlet a = b_c_d;\n{% endhighlight %}\n\n* TOC\n{:toc}",
                "let a = b_c_d; - TOC",
            ),
            // Footnotes, formulas, definitions, comments of HTML.
            ("one[^1] two^[in *place*] three\n\n[^1]: The note.", "one two in place three The note."),
            ("area $a_1 * b_2$ is\n\n$$\nx^2\n$$", "area a_1 * b_2 is x^2"),
            ("Term\n: Its definition", "Term Its definition"),
            ("one <!-- private\n\nprivate --> two\n\n<!-- private\n\nprivate -->\nthree", "one two three"),
        ];
        for (source, expected) in cases {
            assert_eq!(read(source), expected, "{source}");
        }
    }

    #[test]
    fn what_only_looks_like_a_mark_of_a_dialect_stays() {
        for source in [
            "C++ has [[nodiscard]] and [[gnu::pure]], a shell [[ -f x ]] and [[ $a == b ]], R x[[1]] and x[[\"a|b\"]].",
            "It costs $5 and $10, or $5-$10, and 100%% of 50%% is %% or %%i.",
            "use %% to escape, and %% again",
            "import taxes from China rose, and export const is not JavaScript.",
            "a == b and c == d; a ==b or c ==d; ====",
            "Maps: {a: 1}, {b}, {name}, f{x}, {} and {{ name }}.",
            "!!! really\n??? what\n!!! danger ahead",
            ":: and : and a::b",
            "a <> b, a < B > c, 2 <3, Map<K, V>",
            "{% not closed, 5 {% of, {# not closed",
            "^ [a], a ^b, 2^[3",
        ] {
            assert_eq!(read(source), source.replace('\n', " "), "{source}");
        }
        let code = "[[a|b]] ![[c]] %%d%% {% if %} {/* e */} {#id} :::note ==f== <Tabs> {{< g >}} ^[h]";
        assert_eq!(read(&format!("`{code}`")), code);
        for lines in [
            format!("```\n{code}\n!!! note\n    x\nimport a from 'b'\n> [!NOTE]\n:::\n```"),
            format!("    {code}"),
        ] {
            let kept = lines.replace("```", "").split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(read(&lines), kept, "{lines}");
        }
        // CommonMark takes `<T>` for HTML, and only that.
        assert_eq!(read("AsRef<Path<T>> for Cow"), "AsRef<Path> for Cow");
        assert_eq!(read("[[1]](https://a.example) [[2]][ref]\n\n[ref]: https://b.example"), "[1] [2]");
    }

    proptest! {
        /// The marks of dialects in code, and with words around them in prose, cost no word.
        #[test]
        fn no_word_beside_a_mark_is_lost(pieces in proptest::collection::vec(("[a-z]{1,6}", 0..22_usize, 0..4_usize), 0..30)) {
            const MARKS: [&str; 22] = ["{%", "%}", "%%", "[[", "]]", "![[", "{/*", ":::", "!!!", "==", "{#", "#}", "{:", "^[", "{{<", ">}}", "<T", "[!", "|", "> ", "$", "{"];
            const GAPS: [&str; 4] = [" ", "\n", "\n\n", "\n\n    "];
            // In a code block everything stays.
            let code: String = pieces.iter().map(|(word, mark, _)| format!("{word} {} ", MARKS[*mark])).collect();
            let kept = read(&format!("```\n{code}\n```"));
            prop_assert_eq!(kept, clean(&code));
            // Marks that open nothing: no mark of these ends another one.
            let open: String = pieces.iter().map(|(word, mark, gap)| format!("{word}{}{}", GAPS[*gap], if mark % 2 == 0 { "{% " } else { "{/* " })).collect();
            let kept = read(&open);
            for (word, ..) in &pieces {
                prop_assert!(kept.contains(word.as_str()), "{} in {}", word, kept);
            }
        }

        /// A block ends at white space, whatever it is nested in.
        #[test]
        fn blocks_are_never_glued(blocks in proptest::collection::vec((0..4_usize, 0..8_usize), 1..12)) {
            const STARTS: [&str; 8] = ["* ", "> ", "1. ", "# ", "```\n", "    ", "| ", "- > "];
            const ENDS: [&str; 8] = ["", "", "", "", "\n```", "", " |\n|---|\n", ""];
            let mut source = String::new();
            for (number, (depth, kind)) in blocks.iter().enumerate() {
                let indent = "  ".repeat(*depth);
                source += &format!("{}x{number}x{}\n", STARTS[*kind].replace('\n', &format!("\n{indent}")), ENDS[*kind]).lines().map(|line| format!("{indent}{line}\n")).collect::<String>();
            }
            let kept = read(&source);
            let words: Vec<&str> = kept.split_whitespace().filter(|word| word.contains('x')).collect();
            prop_assert_eq!(words, (0..blocks.len()).map(|n| format!("x{n}x")).collect::<Vec<_>>(), "{}", source);
        }

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
        for pattern in [
            "[",
            "![",
            "*a_",
            "> ",
            "- ",
            "`",
            "<a",
            "[a](",
            "|\n|-",
            "\\",
            "&#",
            "=",
            "%",
            "^",
            "{",
            ":",
            "!",
            "{% raw %}",
            "{%",
            "%%",
            "[[",
            "![[a",
            "{/*",
            ":::a\n",
            "!!! a\n    ",
            "==a",
            "{#a}",
            "^[",
            "<A ",
            "<A a={",
            "<A>\n",
            "import a\n\n",
            "export const a = {\n\n",
            "%%\n",
            "<!--",
            "```{note}\n",
            "> [!a]",
            "{{<",
            "{::comment}",
            "[a]{.b}",
            "$",
            "a\n: ",
        ] {
            markdown(&pattern.repeat(300_000 / pattern.len()));
        }
    }
}
