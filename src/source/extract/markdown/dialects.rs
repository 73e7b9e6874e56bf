//! Reduces the dialects of Markdown to CommonMark: MDX, Obsidian, Liquid and Jinja, Hugo, kramdown, Pandoc. The words stay;
//! tags, marks and private comments go. Code stays as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem;
use pulldown_cmark::{Event, Options, Parser, Tag as Element};
use regex::Regex;

use super::jsx;
use super::lines;
use crate::source::extract::markup::{Closers, head, pattern};

/// Maximum length of a tag, a link or a list of attributes, in bytes. A longer one is left as it is.
const TAG_MAX: usize = 4096;

/// A document without any of these is CommonMark. Most documents are, and are parsed only once.
#[rustfmt::skip]
const MARKS: [&str; 24] = [
    "{%", "{{<", "{#", "{:", "{.", "{/*", "{ .", "{ #", "%%", "[[", "[!", "^[", "==", ":::", "!!! ", "!!!", "??? ", "???+", "<!--",
    "import ", "export ", "import{", "<>", "`{",
];

/// Returns the document as CommonMark.
pub fn reduce(source: &str, options: Options) -> Cow<'_, str> {
    if !MARKS.iter().any(|mark| memmem::find(source.as_bytes(), mark.as_bytes()).is_some())
        && !COMPONENT.is_match(source)
    {
        return Cow::Borrowed(source);
    }
    let lined = lines::reduce(source);
    let code = code(&lined, options);
    Cow::Owned(
        Inline {
            source: &lined,
            code: &code,
            text: String::with_capacity(lined.len()),
            failures: 0,
            closers: Closers::default(),
            end_tags: None,
        }
        .reduce(),
    )
}

/// The start of a tag that can be one of a component.
static COMPONENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?-u:</?[A-Z])"));

/// Returns the ranges of code and formulas, in order.
fn code(source: &str, options: Options) -> Vec<Range<usize>> {
    let events = Parser::new_ext(source, options).into_offset_iter();
    let is_code = |event: &Event| {
        matches!(
            event,
            Event::Code(_)
                | Event::InlineMath(_)
                | Event::DisplayMath(_)
                | Event::Start(Element::CodeBlock(_))
        )
    };
    let mut ranges: Vec<Range<usize>> =
        events.filter(|(event, _)| is_code(event)).map(|(_, range)| range).collect();
    // The definition of a footnote is an event in its place, so the order is that of the document.
    ranges.sort_by_key(|range| range.start);
    ranges
}

/// The reduction of marks inside of lines.
struct Inline<'a> {
    source: &'a str,
    code: &'a [Range<usize>],
    text: String,
    failures: usize,
    closers: Closers,
    /// The tags of Liquid that end a block, by the name of the block. They are found when the first one is needed.
    end_tags: Option<BTreeMap<&'a str, Vec<Range<usize>>>>,
}

/// What stands in place of a mark: the end of the mark, and the text.
type Reduced = Option<(usize, String)>;

impl Inline<'_> {
    fn reduce(mut self) -> String {
        let source = self.source;
        let mut copied = 0;
        let mut at = 0;
        while let Some(next) = source[at..].find(['{', '%', '[', '!', '=', '<', '^']) {
            at += next;
            let code = self.code;
            let passed = code.partition_point(|range| range.end <= at);
            if let Some(range) = code.get(passed).filter(|range| range.start <= at) {
                at = range.end;
                continue;
            }
            if source[..at].ends_with('\\') {
                at += 1;
                continue;
            }
            match self.mark(at) {
                Some((end, words)) => {
                    self.text.push_str(&source[copied..at]);
                    self.text.push_str(&words);
                    (copied, at) = (end, end);
                }
                None => at += 1,
            }
        }
        self.text.push_str(&source[copied..]);
        self.text
    }

    /// Reduces the mark at a position. Returns `None` if there is no mark.
    fn mark(&mut self, at: usize) -> Reduced {
        let rest = &self.source[at..];
        match rest.as_bytes() {
            [b'{', b'%', ..] => self.liquid(at),
            [b'{', b'{', b'<' | b'%', ..] => self.shortcode(at),
            [b'{', b'/', b'*', ..] => self.until(at, "*/}").map(|end| (end, String::new())),
            [b'{', b'#', b' ' | b'-' | b'\n', ..] => self.until(at, "#}").map(|end| (end, String::new())),
            [b'{', b':', b':', ..] => self.kramdown(at),
            [b'{', ..] => self.attributes(at),
            [b'%', b'%', ..] => self.private(at),
            [b'!', b'[', b'[', ..] => self.link(at + 1).map(|(end, words)| (end, embedded(&words))),
            [b'[', b'[', ..] => self.link(at).map(|(end, words)| (end, shown(&words))),
            [b'=', b'=', ..] => self.highlight(at),
            [b'^', b'[', ..] => self.footnote(at),
            [b'<', b'!', b'-', b'-', ..] => self.html_comment(at),
            [b'<', ..] => self.component(at),
            _ => None,
        }
    }

    /// Returns the end of what starts at `at` and ends with `mark`.
    fn until(&mut self, at: usize, mark: &'static str) -> Option<usize> {
        self.closers.find(self.source, mark, at + 2, |_| true).map(|found| found + mark.len())
    }

    /// A tag of Liquid or Jinja (`{% if x %}`). The text between `raw` and `endraw` stays as it is.
    fn liquid(&mut self, at: usize) -> Reduced {
        let end = self.until(at, "%}").filter(|end| end - at <= TAG_MAX)?;
        let tag = &self.source[at..end];
        let found = LIQUID.captures(tag)?;
        let name = &found[1];
        match name {
            "comment" => {
                if let Some(close) = self.end_tag(name, end) {
                    return Some((close.end, String::new()));
                }
            }
            "raw" | "verbatim" => {
                if let Some(close) = self.end_tag(name, end) {
                    return Some((close.end, self.source[end..close.start].to_owned()));
                }
            }
            "highlight" => {
                if let Some(Range { start, end: close }) = self.end_tag(name, end) {
                    let code = self.source[end..start].trim_matches(['\n', '\r']);
                    return Some((close, format!("\n~~~~~\n{code}\n~~~~~\n")));
                }
            }
            _ => {}
        }
        Some((end, titles(tag)))
    }

    /// Returns the tag that ends the block of a tag (`{% endraw %}`), after a position.
    fn end_tag(&mut self, name: &str, from: usize) -> Option<Range<usize>> {
        let source = self.source;
        let tags = self.end_tags.get_or_insert_with(|| {
            let mut tags: BTreeMap<&str, Vec<Range<usize>>> = BTreeMap::new();
            for found in END.captures_iter(source) {
                let (Some(tag), Some(name)) = (found.get(0), found.get(1)) else { continue };
                tags.entry(name.as_str()).or_default().push(tag.range());
            }
            tags
        });
        let tags = tags.get(name)?;
        tags.get(tags.partition_point(|tag| tag.start < from)).cloned()
    }

    /// A shortcode of Hugo or Quarto (`{{< figure title="x" >}}`).
    fn shortcode(&mut self, at: usize) -> Reduced {
        let mark = if self.source[at..].starts_with("{{<") { ">}}" } else { "%}}" };
        let end = self.until(at, mark).filter(|end| end - at <= TAG_MAX)?;
        Some((end, titles(&self.source[at..end])))
    }

    /// An extension of kramdown (`{::comment}`).
    fn kramdown(&mut self, at: usize) -> Reduced {
        let end = self.until(at, "}").filter(|end| end - at <= TAG_MAX)?;
        if &self.source[at..end] == "{::comment}" {
            return self.until(at, "{:/comment}").map(|end| (end, String::new()));
        }
        Some((end, String::new()))
    }

    /// A list of attributes, such as `{#id .class}`. A list belongs to what it touches, to a heading, or to a line of its own.
    fn attributes(&mut self, at: usize) -> Reduced {
        let source = self.source;
        let found = ATTRIBUTES.find(head(&source[at..], TAG_MAX))?;
        let end = at + found.end();
        let before = line_before(source, at);
        let is_last = line_after(source, end).trim().is_empty();
        let is_heading = || {
            let next = head(&source[end..], TAG_MAX).split('\n').nth(1).unwrap_or_default().trim();
            before.trim_start().starts_with('#')
                || !next.is_empty() && (next.bytes().all(|b| b == b'=') || next.bytes().all(|b| b == b'-'))
        };
        let is_alone = before.trim_matches([' ', '\t', '>', '#']).is_empty();
        let is_of_line = is_last && (is_alone || found.as_str().starts_with("{:") || is_heading());
        let is_of_link = before.ends_with(']') && !before.ends_with("]]");
        if is_of_link && before.contains('[') {
            // `[words]{.class}` becomes a link without a target, so that its brackets go.
            return Some((end, "()".to_owned()));
        }
        (is_of_line || before.ends_with([')', '`', '*', '_', ']'])).then(|| (end, String::new()))
    }

    /// A comment of Obsidian (`%%private%%`). `100%% of it` and `%%i` are none.
    fn private(&mut self, at: usize) -> Reduced {
        let source = self.source;
        let close = self.closers.find(source, "%%", at + 2, |_| true)?;
        let (comment, end) = (&source[at + 2..close], close + 2);
        let before = source[..at].chars().next_back();
        let after = source[end..].chars().next();
        let is_outside =
            |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || (c.is_ascii_punctuation() && c != '%'));
        let is_comment = !comment.is_empty()
            && comment.len() <= TAG_MAX
            && !comment.contains("\n\n")
            && is_outside(before)
            && is_outside(after);
        let is_spaced = comment.starts_with(char::is_whitespace) || comment.ends_with(char::is_whitespace);
        let ends_line = line_after(source, end).trim().is_empty();
        let is_beside_text = !ends_line && !line_before(source, at).trim().is_empty();
        let is_one_line = !comment.contains('\n');
        (is_comment && (is_one_line || ends_line) && !(is_spaced && is_beside_text))
            .then(|| (end, String::new()))
    }

    /// A link of a wiki (`[[target|words]]`). Returns its end and its content.
    fn link(&mut self, at: usize) -> Option<(usize, String)> {
        let source = self.source;
        let close = self.closers.find(source, "]]", at + 2, |_| true)?;
        let content = &source[at + 2..close];
        let end = close + 2;
        let is_link = !content.is_empty()
            && content.len() <= TAG_MAX
            && !content.contains(['\n', '[', ']'])
            && !content.starts_with(char::is_whitespace)
            && !content.ends_with(char::is_whitespace)
            && !is_attribute_of_cpp(content);
        // `x[[1]]` is an index, and `[[1]](target)` a link of CommonMark.
        let is_index =
            source[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ')' | ']'));
        let is_text = source[end..].starts_with(['(', '[', ']', ':']);
        (is_link && !is_index && !is_text).then(|| (end, content.to_owned()))
    }

    /// A highlight (`==words==`).
    fn highlight(&mut self, at: usize) -> Reduced {
        let source = self.source;
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '=';
        let starts =
            !source[..at].ends_with(is_word) && !source[at + 2..].starts_with(['=', ' ', '\n', '\t']);
        if !starts {
            return None;
        }
        let close = self.closers.find(source, "==", at + 2, |_| true)?;
        let words = &source[at + 2..close];
        let is_closed = !words.is_empty()
            && !words.contains('\n')
            && !words.ends_with([' ', '\t', '!', '<', '>'])
            && !source[close + 2..].starts_with(is_word);
        is_closed.then(|| (close + 2, words.to_owned()))
    }

    /// A footnote in its place (`^[words]`).
    fn footnote(&mut self, at: usize) -> Reduced {
        let rest = head(&self.source[at + 2..], TAG_MAX);
        if rest.starts_with(char::is_whitespace) || self.failures >= FAILURES_MAX {
            return None;
        }
        let mut depth = 1;
        for (close, byte) in rest.bytes().enumerate() {
            match byte {
                b'[' => depth += 1,
                b']' => depth -= 1,
                b'\n' if rest[close + 1..].starts_with('\n') => break,
                _ => {}
            }
            if depth == 0 {
                return Some((at + 3 + close, format!(" {} ", &rest[..close])));
            }
        }
        self.failures += 1;
        None
    }

    /// A comment of HTML. Inside of a line, CommonMark ends it at a blank line.
    fn html_comment(&mut self, at: usize) -> Reduced {
        let is_of_line = line_before(self.source, at).trim().is_empty();
        if is_of_line || self.source[at..].starts_with("<!-->") || self.source[at..].starts_with("<!--->") {
            return None;
        }
        let end = self.closers.find(self.source, "-->", at + 4, |_| true)? + 3;
        let comment = &self.source[at + 4..end];
        // A comment that is closed by mistake (`-- >`) ends at the start of the next one.
        (comment.contains("\n\n") && !comment.contains("<!--")).then(|| (end, String::new()))
    }

    /// The tag of a component inside of a line.
    fn component(&mut self, at: usize) -> Reduced {
        let rest = &self.source[at + 1..];
        // The tags of a fragment. In `a <> b`, this is a sign.
        if rest.starts_with("/>") {
            return Some((at + 3, String::new()));
        }
        if rest.starts_with('>') && !rest[1..].starts_with(char::is_whitespace) {
            return self.closers.find(self.source, "</>", at + 2, |_| true).map(|_| (at + 2, String::new()));
        }
        let is_likely = rest.strip_prefix('/').unwrap_or(rest).starts_with(|c: char| c.is_ascii_uppercase());
        // `Vec<Path<T>>` has no components.
        let is_type =
            !rest.starts_with('/') && self.source[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
        if !is_likely || is_type || self.failures >= FAILURES_MAX {
            return None;
        }
        let Some(tag) = jsx::tag(&self.source[at..]) else {
            self.failures += 1;
            return None;
        };
        let words = jsx::shown(tag.source).join(" ");
        let words = if words.is_empty() { words } else { format!(" {words} ") };
        Some((at + tag.source.len(), words))
    }
}

/// How many searches for a closing mark may fail. After that, marks are left as they are.
const FAILURES_MAX: usize = 256;

static END: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\{%[-+~]?\s*end(comment|raw|verbatim|highlight)\s*[-+~]?%\}"));

static LIQUID: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\{%[-+~]?\s*([A-Za-z_][\w.-]*)"));

static ATTRIBUTES: LazyLock<Regex> = LazyLock::new(|| {
    let value = r#"(?:"[^"\n]*"|'[^'\n]*'|[^\s"'}]+)"#;
    let attribute = format!(r"(?:[#.][A-Za-z_][\w:.-]*|[A-Za-z_][\w:.-]*={value})");
    pattern(&format!(
        r"^\{{(?::[ \t]*(?:[\w-]+[ \t]*|{attribute}[ \t]*)+|[ \t]*{attribute}(?:[ \t]+{attribute})*[ \t]*)\}}"
    ))
});

/// The attributes of tags that a person reads.
static TITLES: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"\b(?:title|caption|alt|label|summary)\s*=\s*(?:"([^"\n]*)"|'([^'\n]*)')"#));

/// Returns the part of a line before a position, or the last bytes of it.
fn line_before(source: &str, at: usize) -> &str {
    let mut start = at.saturating_sub(TAG_MAX);
    while !source.is_char_boundary(start) {
        start += 1;
    }
    let before = &source[start..at];
    before.rsplit('\n').next().unwrap_or(before)
}

/// Returns the part of a line from a position on, or the first bytes of it.
fn line_after(source: &str, at: usize) -> &str {
    let after = head(&source[at..], TAG_MAX);
    after.split('\n').next().unwrap_or(after)
}

/// Returns the words that the attributes of a tag show.
fn titles(tag: &str) -> String {
    let found = TITLES.captures_iter(tag).filter_map(|found| found.get(1).or(found.get(2)));
    let words: Vec<&str> = found.map(|words| words.as_str()).filter(|words| !words.is_empty()).collect();
    if words.is_empty() { String::new() } else { format!(" {} ", words.join(" ")) }
}

/// Returns what a link of a wiki shows: the words after the last `|`, or the target.
fn shown(content: &str) -> String {
    let words = content.rsplit_once('|').map_or(content, |(_, words)| words);
    words.trim_start_matches('#').trim().to_owned()
}

/// Returns what an embedded page or picture shows here: its words, but not its size (`640x480`).
fn embedded(content: &str) -> String {
    let words = content.rsplit_once('|').map_or("", |(_, words)| words).trim();
    let is_size = words.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x');
    if is_size { String::new() } else { words.to_owned() }
}

/// Returns whether double brackets hold an attribute of C++ and not a link.
fn is_attribute_of_cpp(content: &str) -> bool {
    const STANDARD: [&str; 9] = [
        "nodiscard",
        "noreturn",
        "deprecated",
        "fallthrough",
        "likely",
        "unlikely",
        "maybe_unused",
        "no_unique_address",
        "carries_dependency",
    ];
    content.contains("::") || STANDARD.contains(&content.split('(').next().unwrap_or_default())
}
