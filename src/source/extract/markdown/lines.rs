//! Reduces the dialects of Markdown that work on whole lines: modules and components of MDX, admonitions, containers,
//! directives, callouts and comments. The words stay, as plain CommonMark.

use std::sync::LazyLock;

use regex::Regex;

use super::jsx::{self, TagKind};
use crate::source::extract::markup::{first_line, indent, pattern};

/// How many searches for the end of a tag or a statement may fail. After that, tags and statements are left as they are. A
/// search that fails takes time, and no document that is meant to be read has many such tags.
const FAILURES_MAX: usize = 256;

/// How many containers may be inside each other. Deeper ones are left as they are.
const DEPTH_MAX: usize = 64;

/// How many columns the content of an admonition is indented by.
const ADMONITION_INDENT: usize = 4;

/// Directives of MyST without words.
#[rustfmt::skip]
const SILENT_DIRECTIVES: [&str; 9] = [
    "toctree", "include", "literalinclude", "contents", "bibliography", "raw", "tableofcontents", "mermaid", "index",
];

/// Directives of MyST with Markdown as their content.
#[rustfmt::skip]
const DIRECTIVES: [&str; 29] = [
    "note", "warning", "tip", "important", "caution", "danger", "error", "hint", "attention", "seealso", "admonition",
    "dropdown", "margin", "sidebar", "topic", "epigraph", "card", "tab-item", "tab-set", "grid", "grid-item",
    "grid-item-card", "figure", "versionadded", "versionchanged", "deprecated", "todo", "exercise", "solution",
];

/// Reduces the lines of a document.
pub fn reduce(source: &str) -> String {
    let mut lines = LineReducer {
        text: String::with_capacity(source.len()),
        is_start: true,
        has_fragments: source.contains("</>"),
        ..LineReducer::default()
    };
    let mut rest = source;
    while !rest.is_empty() {
        rest = lines.step(rest);
    }
    lines.text
}

/// A container whose content loses its indentation, because CommonMark takes indented lines for code.
enum LineContainer {
    /// An admonition. Its content has at least this indentation.
    Admonition(usize),
    /// A component with the column of its tag, and the indentation of its content if that is known.
    Component(usize, Option<usize>),
}

/// The fence of a code block.
struct Fence {
    sign: char,
    length: usize,
    /// Whether the fence is in a block quote, whose end ends the block.
    is_quoted: bool,
    /// Whether the block is a cell whose first lines may be options (`#| echo: false`).
    has_options: bool,
}

#[derive(Default)]
struct LineReducer {
    text: String,
    containers: Vec<LineContainer>,
    fence: Option<Fence>,
    /// The fences of the open directives: sign and length.
    directives: Vec<(char, usize)>,
    /// Whether the next line may start a block.
    is_start: bool,
    /// Whether the next line may be an option of a directive.
    is_in_options: bool,
    failures: usize,
    /// Whether a fragment of components (`<>`) is closed somewhere.
    has_fragments: bool,
    /// Whether a comment of lines was not closed.
    has_open_comment: bool,
}

/// The title of an admonition (`!!! note "Title"`), of a collapsible one (`??? note`) or of a tab (`=== "Title"`).
static ADMONITION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"^(?:!!!|\?\?\?\+?) *([\w-]+(?: +[\w-]+)*)(?: +"(.*)")?\s*$|^===[!+]? +"(.*)"\s*$"#)
});

/// The start of a container: `:::note Title`, `::: {.note}`, `:::{note} Title` or `:::note[Title]{attributes}`.
static CONTAINER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"^:{3,}\s*(?:\{([\w:-]+)\}|[A-Za-z][\w.-]*)?\s*(\{[^}]*\})?\s*(.*?)\s*:*\s*$"#)
});

/// A callout: `[!NOTE]`, `[!tip]- Title`.
static CALLOUT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^[\s>]*>\s*(\[!(?-u:[\w-]+)(?:\|[^\]\n]*)?\][+-]? ?)"));

/// A directive of MyST in a fence: `{note} Title`.
static DIRECTIVE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\{([\w:-]+)\}\s*(.*?)\s*$"));

/// An option of a directive: `:class: tip`.
static OPTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"^:[\w-]+:(?:\s|$)"));

/// The option of a code cell that a person reads.
static CAPTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"^\s*(?:#|//|--|%%)\|\s*(?:[\w-]*cap|title):\s*["']?(.*?)["']?\s*$"#));

/// Any option of a code cell.
static CELL_OPTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*(?:#|//|--|%%)\|"));

/// A placeholder for the table of contents.
static CONTENTS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*(?:\[TOC\]|\[\[_?(?:TOC|toc)_?\]\]|\{:toc\})\s*$"));

/// The value of an attribute `title`.
static TITLE: LazyLock<Regex> = LazyLock::new(|| pattern(r#"\btitle=(?:"([^"]*)"|'([^']*)')"#));

impl LineReducer {
    /// Reduces the first lines of a text. Returns the text after them.
    fn step<'a>(&mut self, source: &'a str) -> &'a str {
        let (line, rest) = first_line(source);
        let line = self.dedented(line);
        if self.fence.is_some() && self.in_fence(line) {
            return rest;
        }
        if self.opens_fence(line) {
            return self.after_opening(line, rest);
        }
        if line.trim().is_empty() {
            self.push_blank();
            return rest;
        }
        if self.is_in_options && OPTION.is_match(line.trim_start()) {
            return rest;
        }
        self.is_in_options = false;
        let is_start = std::mem::take(&mut self.is_start);
        if let Some(rest) = self.module(source, is_start).or_else(|| self.component(source, line, is_start)) {
            return rest;
        }
        if let Some(rest) = self.comment(line, rest) {
            return rest;
        }
        if !self.container(line) && !self.admonition(line, rest) && !CONTENTS.is_match(line) {
            self.push_line(line);
        }
        rest
    }

    /// Removes the indentation that a line has because it is in a container. Ends the containers that end before the line.
    fn dedented<'a>(&mut self, line: &'a str) -> &'a str {
        let columns = indent(line);
        let is_blank = line.trim().is_empty();
        while !is_blank
            && matches!(self.containers.last(), Some(LineContainer::Admonition(least)) if columns < *least)
        {
            self.containers.pop();
            if self.fence.is_none() {
                self.push_blank();
            }
        }
        if let Some(LineContainer::Component(column, content @ None)) = self.containers.last_mut()
            && !is_blank
        {
            *content = Some(columns.saturating_sub(*column));
        }
        let surplus = self.containers.iter().map(|container| match container {
            LineContainer::Admonition(_) => ADMONITION_INDENT,
            LineContainer::Component(_, content) => content.unwrap_or(0),
        });
        let mut left = surplus.sum::<usize>();
        line.trim_start_matches(|c| {
            let width = if c == '\t' { 4 } else { 1 };
            let is_surplus = matches!(c, ' ' | '\t') && left > 0;
            left = left.saturating_sub(width);
            is_surplus
        })
    }

    /// Handles a line inside a code block. Returns whether the line belongs to the block.
    fn in_fence(&mut self, line: &str) -> bool {
        let Some(fence) = &mut self.fence else { return false };
        if fence.is_quoted && !line.trim_start().starts_with('>') {
            self.fence = None;
            return false;
        }
        let body = line.trim_start_matches([' ', '\t', '>']).trim_end();
        if body.len() >= fence.length && body.chars().all(|c| c == fence.sign) {
            self.fence = None;
            self.is_start = true;
        } else if fence.has_options && CELL_OPTION.is_match(line) {
            if let Some(caption) = CAPTION.captures(line) {
                self.push_line(&caption[1]);
            }
            return true;
        } else {
            fence.has_options = false;
        }
        self.push_line(line);
        true
    }

    /// Returns whether a line opens or closes a fence, and keeps the fence in mind.
    fn opens_fence(&mut self, line: &str) -> bool {
        let is_marker = |c: char| matches!(c, ' ' | '\t' | '>' | '-' | '*' | '+');
        let body = line.trim_start_matches(is_marker);
        // The fence of a numbered item: `1. ```sh`.
        let after_number =
            body.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(['.', ')']);
        let body =
            if body.starts_with(|c: char| c.is_ascii_digit()) { after_number.trim_start() } else { body };
        let Some(sign @ ('`' | '~' | ':')) = body.chars().next() else { return false };
        let info = body.trim_start_matches(sign);
        let length = body.len() - info.len();
        let is_closed = info.trim().is_empty()
            && self.directives.last().is_some_and(|&(open, least)| sign == open && length >= least);
        if is_closed {
            self.directives.pop();
            return true;
        }
        if length < 3 || sign == ':' || (sign == '`' && info.contains('`')) {
            return false;
        }
        let is_quoted = line.trim_start().starts_with('>');
        self.fence = Some(Fence { sign, length, is_quoted, has_options: info.trim_start().starts_with('{') });
        true
    }

    /// Handles a line that opened or closed a fence. Returns the text after it.
    fn after_opening<'a>(&mut self, line: &str, rest: &'a str) -> &'a str {
        let Some(fence) = &self.fence else {
            self.push_blank();
            return rest;
        };
        let (sign, length) = (fence.sign, fence.length);
        let info = line.rsplit(sign).next().unwrap_or_default().trim();
        let Some((name, title)) = directive(info) else {
            self.push_line(line);
            return rest;
        };
        self.fence = None;
        self.open_directive(sign, length, name, title, rest)
    }

    /// Starts a directive. Returns the text after its start, or after its end if it has no words.
    fn open_directive<'a>(
        &mut self,
        sign: char,
        length: usize,
        name: &str,
        title: &str,
        rest: &'a str,
    ) -> &'a str {
        let mut rest = rest;
        if SILENT_DIRECTIVES.contains(&name) {
            while !rest.is_empty() {
                let (line, after) = first_line(rest);
                rest = after;
                let body = line.trim();
                if body.len() >= length && body.chars().all(|c| c == sign) {
                    break;
                }
            }
            self.push_blank();
            return rest;
        }
        self.directives.push((sign, length));
        // The argument of a figure is a path.
        self.push_title(if name == "figure" { "" } else { title });
        self.is_in_options = true;
        rest
    }

    /// Skips the imports and exports at the start of a text. Returns the text after them.
    fn module<'a>(&mut self, source: &'a str, is_start: bool) -> Option<&'a str> {
        let is_likely =
            ["import ", "import{", "import\n", "export "].iter().any(|start| source.starts_with(start));
        if !is_start || !is_likely || self.failures >= FAILURES_MAX {
            return None;
        }
        let Some(length) = jsx::module_statement(source) else {
            self.failures += 1;
            return None;
        };
        self.push_blank();
        Some(&source[length..])
    }

    /// Replaces the tag of a component at the start of a line by the words that it shows. Returns the text after the tag.
    fn component<'a>(&mut self, source: &'a str, line: &str, is_start: bool) -> Option<&'a str> {
        if self.failures >= FAILURES_MAX || !line.trim_start().starts_with('<') {
            return None;
        }
        let at = source.len() - source.trim_start_matches([' ', '\t']).len();
        if !source[at + 1..].starts_with(|c: char| c.is_ascii_uppercase() || matches!(c, '>' | '/')) {
            return None;
        }
        let Some(tag) = jsx::tag(&source[at..]) else {
            self.failures += 1;
            return None;
        };
        let (behind, after) = first_line(&source[at + tag.source.len()..]);
        let is_alone = behind.trim().is_empty();
        if !is_alone && (!is_start || tag.name.is_empty()) || tag.name.is_empty() && !self.has_fragments {
            return None;
        }
        if tag.kind == TagKind::Close && matches!(self.containers.last(), Some(LineContainer::Component(..)))
        {
            self.containers.pop();
        }
        let words = jsx::shown(tag.source);
        words.iter().for_each(|words| self.push_title(words));
        if !is_alone {
            return Some(&source[at + tag.source.len()..]);
        }
        self.push_blank();
        if tag.kind == TagKind::Open && self.containers.len() < DEPTH_MAX {
            self.containers.push(LineContainer::Component(indent(source), None));
        }
        Some(after)
    }

    /// Skips a comment between two lines of `%%`. Returns the text after the comment.
    fn comment<'a>(&mut self, line: &str, rest: &'a str) -> Option<&'a str> {
        if line.trim() != "%%" || self.has_open_comment {
            return None;
        }
        let mut left = rest;
        while !left.is_empty() {
            let (line, after) = first_line(left);
            if line.trim() == "%%" {
                self.push_blank();
                return Some(after);
            }
            left = after;
        }
        self.has_open_comment = true;
        None
    }

    /// Handles the start or the end of a container (`:::`). Returns whether the line is one.
    fn container(&mut self, line: &str) -> bool {
        let body = line.trim_start_matches([' ', '\t', '>']);
        if !body.starts_with(":::") {
            return false;
        }
        let Some(found) = CONTAINER.captures(body) else { return false };
        let group = |n| found.get(n).map_or("", |group| group.as_str());
        let (directive, attributes, title) = (group(1), group(2), group(3));
        if !directive.is_empty() {
            let length = body.len() - body.trim_start_matches(':').len();
            // A container without words, such as a table of contents, has no lines that a person reads either.
            self.open_directive(':', length, directive, title, "");
            return true;
        }
        let own = TITLE.captures(attributes).or_else(|| TITLE.captures(title));
        let own = own.and_then(|own| own.get(1).or(own.get(2)));
        let title = own.map_or_else(|| plain_title(title), |own| own.as_str());
        self.push_title(title);
        true
    }

    /// Handles the start of an admonition or a tab. Returns whether the line is one.
    fn admonition(&mut self, line: &str, rest: &str) -> bool {
        let body = line.trim_start();
        if !body.starts_with(['!', '?', '=']) || self.containers.len() >= DEPTH_MAX {
            return false;
        }
        let Some(found) = ADMONITION.captures(body) else { return false };
        let title = found.get(2).or(found.get(3)).map(|title| title.as_str());
        let column = self.containers.iter().map(|container| match container {
            LineContainer::Admonition(_) => ADMONITION_INDENT,
            LineContainer::Component(_, content) => content.unwrap_or(0),
        });
        let least = column.sum::<usize>() + indent(line) + ADMONITION_INDENT;
        let next = rest.lines().take(8).find(|line| !line.trim().is_empty());
        let has_content = next.is_some_and(|next| indent(next) >= least);
        if title.is_none() && !has_content {
            return false;
        }
        self.push_title(title.unwrap_or_default());
        if has_content {
            self.containers.push(LineContainer::Admonition(least));
        }
        true
    }

    /// Writes a line, without the mark of a callout.
    fn push_line(&mut self, line: &str) {
        let mark = if self.fence.is_none() && line.contains("[!") { CALLOUT.captures(line) } else { None };
        match mark.and_then(|found| found.get(1)) {
            Some(mark) => {
                self.text.push_str(&line[..mark.start()]);
                self.text.push_str(&line[mark.end()..]);
                // A title is a paragraph of its own.
                let prefix = line[..mark.start()].trim_end();
                self.text.push('\n');
                self.text.push_str(prefix);
            }
            None => self.text.push_str(line),
        }
        self.text.push('\n');
    }

    /// Writes a title as a paragraph.
    fn push_title(&mut self, title: &str) {
        self.push_blank();
        if !title.trim().is_empty() {
            self.text.push_str(title.trim());
            self.text.push('\n');
            self.push_blank();
        }
    }

    fn push_blank(&mut self) {
        self.text.push('\n');
        self.is_start = true;
    }
}

/// Returns the name and the title of a directive with words, or without any.
fn directive(info: &str) -> Option<(&str, &str)> {
    let found = DIRECTIVE.captures(info)?;
    let (name, title) = (found.get(1)?.as_str(), found.get(2)?.as_str());
    (DIRECTIVES.contains(&name) || SILENT_DIRECTIVES.contains(&name)).then_some((name, title))
}

/// Returns a title without its brackets (`[Title]`) and attributes (`{.class}`).
fn plain_title(title: &str) -> &str {
    let title =
        title.rsplit_once('{').filter(|(_, end)| end.ends_with('}')).map_or(title, |(title, _)| title);
    let title = title.trim();
    title.strip_prefix('[').and_then(|title| title.strip_suffix(']')).unwrap_or(title)
}
