//! Extracts the text of AsciiDoc, as Asciidoctor and older programs read it.
//!
//! The syntax is defined in <https://docs.asciidoctor.org/asciidoc/latest/>. Included files are not read, and all conditions hold.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use super::html;
use super::markup::{
    Bounds, Closers, Paragraph, bracketed, head, indent, is_row_of, pattern, without_indent, write_row,
};
use crate::source::fields::Record;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Maximum length of a macro, in bytes. A longer one is left as it is.
const MACRO_MAX: usize = 4096;

/// Maximum length of the target of a macro, in bytes.
const TARGET_MAX: usize = 1024;

/// Maximum length of the value of an attribute, in bytes. A longer value is cut.
const VALUE_MAX: usize = 1024;

/// How many marks of a paragraph may have no end. After that, marks are left as they are.
const FAILURES_MAX: usize = 256;

/// How deep footnotes and links may be inside each other.
const DEPTH_MAX: usize = 4;

/// Attributes that say something about the document, with the names of the fields.
const FIELDS: [(&str, &str); 6] = [
    ("author", "author"),
    ("authors", "author"),
    ("revdate", "date"),
    ("lang", "language"),
    ("keywords", "keywords"),
    ("description", "subject"),
];

/// The characters that attributes without a definition stand for.
#[rustfmt::skip]
const CHARACTERS: [(&str, &str); 26] = [
    ("nbsp", "\u{A0}"), ("sp", " "), ("empty", ""), ("blank", ""), ("zwsp", ""), ("wj", ""), ("apos", "'"), ("quot", "\""),
    ("lsquo", "‘"), ("rsquo", "’"), ("ldquo", "“"), ("rdquo", "”"), ("deg", "°"), ("plus", "+"), ("brvbar", "¦"), ("vbar", "|"),
    ("amp", "&"), ("lt", "<"), ("gt", ">"), ("startsb", "["), ("endsb", "]"), ("caret", "^"), ("asterisk", "*"), ("tilde", "~"),
    ("backslash", "\\"), ("backtick", "`"),
];

/// A definition: `:name: value`.
static ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^:(!?)([A-Za-z0-9_][\w-]*)!?:(?:\s+(.*))?$"));

/// A line for the preprocessor: `ifdef::name[words]`.
static CONDITION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:ifdef|ifndef|ifeval|endif|include|tag|end)::[^\s\[]*\[(.*)\]$"));

/// A block in one line: `image::path[alt]`.
static BLOCK_MACRO: LazyLock<Regex> = LazyLock::new(|| pattern(r"^([a-z][\w-]*)::([^\s\[]*)\[(.*)\]$"));

/// A line with the attributes of the next block: `[source,sh]`, `[[id]]`.
static BLOCK_ATTRIBUTES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^\[(?:\[[^\[\]]*\]|(?:[\w.#%\x22'{-][^\s\],]*)?(?:,[^\]]*)?|[^\]]*\b[\w-]+=[^\]]*)\]$")
});

/// The mark of an item in a list.
static ITEM: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:\*{1,5}|-|\.{1,5}|[0-9]+\.|<[0-9.]+>)\s+"));

/// A term with its definition: `term:: words`.
static TERM: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\S.*?)(?:::{1,3}|;;)(?:\s+(.*))?$"));

/// The start of a table: `|===`.
static TABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[|,:!]={3,}$"));

/// The specification of a cell before its bar: `2+^.^a`.
static CELL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:^|\s)((?:[0-9]*(?:\.[0-9]+)?[*+])?(?:[<^>](?:\.[<^>])?|\.[<^>])?[adehlmsv]?)$")
});

/// Returns the text of the document, and what the document says about itself. Comments, attributes and anchors are left out.
pub fn asciidoc(source: &str) -> (Structured, Record) {
    let lines: Vec<&str> = source.trim_start_matches('\u{FEFF}').lines().map(str::trim_end).collect();
    let mut reader = AsciiDocReader {
        lines: &lines,
        at: 0,
        text: BlockWriter::default(),
        paragraph: None,
        is_after_term: false,
        style: String::new(),
        attributes: HashMap::new(),
        fields: Record::new(),
    };
    reader.header();
    while reader.at < lines.len() {
        reader.step();
    }
    reader.end_paragraph();
    (reader.text.finish(), reader.fields)
}

struct AsciiDocReader<'a> {
    lines: &'a [&'a str],
    at: usize,
    text: BlockWriter,
    paragraph: Option<Paragraph>,
    /// Whether the line before was a term, so that an indented line is its definition and not code.
    is_after_term: bool,
    /// The attributes of the next block.
    style: String,
    attributes: HashMap<String, String>,
    fields: Record,
}

impl<'a> AsciiDocReader<'a> {
    fn line(&self, at: usize) -> &'a str {
        self.lines.get(at).copied().unwrap_or_default()
    }

    /// Reads the title of the document, its authors and its revision.
    fn header(&mut self) {
        while self.at < self.lines.len()
            && (self.line(self.at).is_empty() || self.line(self.at).starts_with("//"))
        {
            if is_row_of(self.line(self.at), '/', 4) {
                return;
            }
            self.at += 1;
        }
        let first = self.line(self.at);
        let title = first
            .strip_prefix("= ")
            .or_else(|| (underlined(first, self.line(self.at + 1)) == Some(1)).then_some(first));
        let Some(title) = title else { return };
        self.at += if first.starts_with("= ") { 1 } else { 2 };
        self.attributes();
        self.write_heading(1, title);
        self.fields.insert("title".to_owned(), self.inline(title.trim()).into());
        let author = self.line(self.at);
        let is_author =
            author.starts_with(char::is_alphabetic) && !author.contains(['[', '=']) && !author.contains("::");
        if is_author {
            self.at += 1;
            let names = author.split(';').map(|name| name.split('<').next().unwrap_or_default().trim());
            let names = names.collect::<Vec<_>>().join(", ");
            self.text.block(BlockKind::Paragraph, &names);
            self.fields.insert("author".to_owned(), names.into());
            let revision = self.line(self.at);
            if revision.starts_with(|c: char| c.is_ascii_digit() || c == 'v') {
                self.text.block(BlockKind::Paragraph, revision);
                self.at += 1;
            }
        }
        self.attributes();
    }

    /// Reads definitions and comments.
    fn attributes(&mut self) {
        loop {
            let line = self.line(self.at);
            let is_comment = line.starts_with("//") && !line.starts_with("///");
            if !is_comment && !self.attribute(line) {
                return;
            }
            self.at += usize::from(is_comment);
        }
    }

    /// Reads a definition. Its value goes on in the next line after a backslash.
    fn attribute(&mut self, line: &str) -> bool {
        let Some(found) = ATTRIBUTE.captures(line) else { return false };
        self.at += 1;
        let mut value = found.get(3).map_or("", |value| value.as_str()).to_owned();
        while let Some(more) =
            value.strip_suffix('\\').map(str::trim_end).filter(|_| self.at < self.lines.len())
        {
            value = format!("{more} {}", head(self.line(self.at).trim(), VALUE_MAX));
            self.at += 1;
            if value.len() > VALUE_MAX {
                break;
            }
        }
        let name = found[2].to_lowercase();
        if let Some((_, field)) = FIELDS.iter().find(|(attribute, _)| *attribute == name) {
            self.fields.insert((*field).to_owned(), value.as_str().into());
        }
        let value = self.inline(head(&value, VALUE_MAX));
        self.attributes.insert(name, head(&value, VALUE_MAX).to_owned());
        true
    }

    fn step(&mut self) {
        let line = self.line(self.at);
        if line.is_empty() {
            self.at += 1;
            self.is_after_term = false;
            return self.end_paragraph();
        }
        if line.starts_with("//") && !line.starts_with("///") {
            self.at += 1;
            return;
        }
        if self.delimited(line) || self.mark_of_block(line) || self.paragraph.is_none() && self.section(line)
        {
            return;
        }
        let body = line.trim_start();
        let is_in_text =
            self.paragraph.as_ref().is_some_and(|paragraph| paragraph.kind == BlockKind::Paragraph);
        if !is_in_text || self.is_after_term {
            if let Some(mark) = ITEM.find(body) {
                self.at += 1;
                return self.begin(BlockKind::Item, &body[mark.end()..]);
            }
            if self.term(body) {
                return;
            }
        }
        if let Some(paragraph) = &mut self.paragraph {
            paragraph.push(line);
        } else if line.starts_with([' ', '\t']) && !self.is_after_term
            || self.is_style(&["source", "listing", "literal"])
        {
            return self.literal_paragraph();
        } else if self.is_style(&["comment"]) {
            return self.skip_paragraph();
        } else {
            self.begin(BlockKind::Paragraph, body);
        }
        self.at += 1;
    }

    /// Returns whether the next block has one of these styles.
    fn is_style(&self, styles: &[&str]) -> bool {
        let style =
            self.style.trim_start_matches('[').split([',', ']', '%', '#', '.']).next().unwrap_or_default();
        styles.contains(&style)
    }

    fn begin(&mut self, kind: BlockKind, line: &str) {
        self.end_paragraph();
        self.style.clear();
        self.paragraph = Some(Paragraph { kind, lines: line.to_owned(), column: 0 });
    }

    fn end_paragraph(&mut self) {
        if let Some(paragraph) = self.paragraph.take() {
            let words = self.inline(&paragraph.lines);
            paragraph.write(&words, &mut self.text);
        }
    }

    fn literal_paragraph(&mut self) {
        let base = indent(self.line(self.at));
        self.text.begin(BlockKind::Code, "");
        while self.at < self.lines.len() && !self.line(self.at).is_empty() {
            self.text.push_str(without_indent(self.line(self.at), base));
            self.text.push_str("\n");
            self.at += 1;
        }
        self.text.end();
        self.style.clear();
    }

    fn skip_paragraph(&mut self) {
        while self.at < self.lines.len() && !self.line(self.at).is_empty() {
            self.at += 1;
        }
        self.style.clear();
    }

    /// Reads a block between two equal lines.
    fn delimited(&mut self, line: &str) -> bool {
        let sign = line.chars().next().unwrap_or_default();
        let is_table = TABLE.is_match(line);
        let is_fence = line.starts_with("```");
        let is_delimiter =
            is_table || is_fence || line == "--" || is_row_of(line, sign, 4) && "-.=*_+/".contains(sign);
        if !is_delimiter {
            return false;
        }
        self.end_paragraph();
        self.at += 1;
        let is_comment = sign == '/' || self.is_style(&["comment"]);
        let is_code = matches!(sign, '-' | '.' | '`') && line != "--";
        if !is_comment && !is_code && !is_table && sign != '+' {
            // The content of the other blocks is text.
            self.style.clear();
            return true;
        }
        let end = if is_fence { "```" } else { line };
        let rest = &self.lines[self.at..];
        let length = rest.iter().position(|line| *line == end).unwrap_or(rest.len());
        let content = &rest[..length];
        self.at += (length + 1).min(rest.len());
        if is_table {
            self.table(sign, content);
        } else if is_code && !is_comment {
            self.text.block(BlockKind::Code, &content.join("\n"));
        } else if sign == '+' {
            let content = content.join("\n");
            if content.contains("</") {
                self.text.append(&html::fragment(&content));
            } else {
                self.text.block(BlockKind::Paragraph, &content);
            }
        }
        self.style.clear();
        true
    }

    /// Reads a line that is about blocks and has no words, or few.
    fn mark_of_block(&mut self, line: &str) -> bool {
        if self.paragraph.is_none() && self.attribute(line) {
            return true;
        }
        if let Some(found) = CONDITION.captures(line) {
            self.at += 1;
            if line.starts_with("ifdef") || line.starts_with("ifndef") {
                let words = self.inline(&found[1]);
                self.text.block(BlockKind::Paragraph, &words);
            }
            return true;
        }
        if let Some(found) = BLOCK_MACRO.captures(line) {
            self.end_paragraph();
            self.at += 1;
            let words = match &found[1] {
                "toc" | "video" | "audio" => String::new(),
                "image" => self.inline(positional(&found[3])),
                _ => self.inline(&found[3]),
            };
            self.text.block(BlockKind::Paragraph, &words);
            return true;
        }
        if BLOCK_ATTRIBUTES.is_match(line) {
            self.end_paragraph();
            self.at += 1;
            line.clone_into(&mut self.style);
            if self.is_style(&["quote", "verse"]) {
                let source =
                    line[1..line.len() - 1].split(',').skip(1).map(|part| part.trim().trim_matches('"'));
                let source = source.collect::<Vec<_>>().join(", ");
                self.text.block(BlockKind::Paragraph, &self.inline(&source));
            }
            return true;
        }
        let is_rule = matches!(line, "'''" | "---" | "***" | "- - -" | "* * *" | "<<<" | "+");
        if is_rule {
            self.end_paragraph();
            self.at += 1;
            self.is_after_term |= line == "+";
            return true;
        }
        let title =
            line.strip_prefix('.').filter(|title| !title.starts_with([' ', '.']) && !title.is_empty());
        if let Some(title) = title.filter(|_| self.paragraph.is_none()) {
            self.at += 1;
            let words = self.inline(title);
            self.text.block(BlockKind::Paragraph, &words);
            return true;
        }
        false
    }

    /// Reads the title of a section, in one line or with a line below it.
    fn section(&mut self, line: &str) -> bool {
        let sign = if line.starts_with('#') { '#' } else { '=' };
        let level = line.len() - line.trim_start_matches(sign).len();
        if let Some(title) = line[level..].strip_prefix(' ').filter(|_| (1..=6).contains(&level)) {
            self.at += 1;
            let closed = format!(" {}", "=".repeat(level));
            self.write_heading(level, title.trim().trim_end_matches(&closed));
            return true;
        }
        let Some(level) = underlined(line, self.line(self.at + 1)) else { return false };
        self.at += 2;
        self.write_heading(level, line);
        true
    }

    fn write_heading(&mut self, level: usize, title: &str) {
        self.style.clear();
        let words = self.inline(title.trim());
        self.text.heading(level);
        self.text.push_str(&words);
        self.text.end();
    }

    fn term(&mut self, body: &str) -> bool {
        let Some(found) = TERM.captures(body) else { return false };
        self.at += 1;
        self.begin(BlockKind::Paragraph, &found[1]);
        self.end_paragraph();
        if let Some(words) = found.get(2).filter(|words| !words.as_str().is_empty()) {
            self.begin(BlockKind::Paragraph, words.as_str());
        }
        self.is_after_term = true;
        true
    }

    /// Writes the rows of a table.
    fn table(&mut self, sign: char, content: &[&str]) {
        let style = self.style.clone();
        let is_separated =
            sign != '|' && sign != '!' || style.contains("format=csv") || style.contains("format=dsv");
        if is_separated {
            let separator = if sign == ':' { ':' } else { ',' };
            for (number, line) in content.iter().filter(|line| !line.is_empty()).enumerate() {
                let cells = line.split(separator).map(|cell| self.inline(cell.trim().trim_matches('"')));
                let cells: Vec<String> = cells.collect();
                write_row(&mut self.text, number == 0 && style.contains("header"), cells);
            }
            return;
        }
        let (cells, first) = cells(content, sign);
        let width = columns(&style).unwrap_or(first).max(1);
        let first_line = content.iter().position(|line| !line.is_empty()).unwrap_or(0);
        let is_followed = content.get(first_line + 1).is_some_and(|line| line.is_empty()) && first_line == 0;
        let has_header =
            style.contains("header") || is_followed && first == width && !style.contains("noheader");
        for (number, row) in cells.chunks(width).enumerate() {
            let words: Vec<String> = row.iter().map(|cell| self.inline(cell.trim())).collect();
            write_row(&mut self.text, number == 0 && has_header, words);
        }
    }

    fn inline(&self, text: &str) -> String {
        inline(text, &self.attributes, 0)
    }
}

/// Returns the level of a title with this line below it. The lines have about the same length.
fn underlined(title: &str, line: &str) -> Option<usize> {
    let sign = line.chars().next()?;
    let level = "=-~^+".find(sign)? + 1;
    let is_title = title.contains(char::is_alphanumeric) && !title.starts_with([' ', '\t', '[']);
    let width: usize = title.chars().map(super::markup::columns_of).sum();
    (is_title && is_row_of(line, sign, 3) && line.len().abs_diff(width) <= 2).then_some(level)
}

/// Returns the first words of the attributes of a picture: its alternative text.
fn positional(attributes: &str) -> &str {
    let first = match attributes.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
        Some((quoted, _)) => quoted,
        None => attributes.split(',').next().unwrap_or_default(),
    };
    match first.split_once('=') {
        Some(("alt", words)) => words.trim_matches('"'),
        Some((name, _)) if name.bytes().all(|byte| byte.is_ascii_alphanumeric()) => "",
        _ => first,
    }
}

/// Returns the cells of a table, and how many of them the first line has.
fn cells(content: &[&str], sign: char) -> (Vec<String>, usize) {
    let mut cells: Vec<String> = Vec::new();
    let mut first = 0;
    for line in content {
        let mut parts = line.split(sign).peekable();
        let mut is_first = true;
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            let is_escaped = !is_last && part.ends_with('\\');
            // The end of a part may be about the cell after the bar.
            let specification =
                if is_last { None } else { CELL.captures(part).and_then(|found| found.get(1)) };
            let words = specification.map_or(part, |found| &part[..found.start()]);
            if !std::mem::take(&mut is_first) {
                cells.push(String::new());
            }
            if let Some(cell) = cells.last_mut() {
                if !cell.is_empty() {
                    cell.push('\n');
                }
                cell.push_str(words.strip_suffix('\\').filter(|_| is_escaped).unwrap_or(words));
            }
        }
        if first == 0 {
            first = cells.len();
        }
    }
    (cells, first)
}

/// Returns the number of columns that the attributes of a table name: `cols="1,2"`, `cols=3*`.
fn columns(style: &str) -> Option<usize> {
    let (_, columns) = style.split_once("cols=")?;
    let columns = match columns.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => columns.split([',', ']']).next()?,
    };
    let times = |column: &str| {
        column.trim().split_once('*').and_then(|(times, _)| times.parse().ok()).unwrap_or(1_usize)
    };
    let sum = columns.split([',', ';']).map(times).fold(0_usize, usize::saturating_add);
    (1..=1000).contains(&sum).then_some(sum)
}

/// Where marks of one sign open and close.
const BOUNDS: Bounds = Bounds {
    before: |c| !(c.is_alphanumeric() || matches!(c, ';' | ':' | '}')),
    after: |c| !c.is_alphanumeric() && c != '_',
};

/// Where marks of two signs open and close.
const ANYWHERE: Bounds = Bounds { before: |_| true, after: |_| true };

/// The marks of text, the longest first.
const MARKS: [&str; 8] = ["**", "__", "``", "##", "*", "_", "`", "#"];

/// The marks around text that has no other marks.
const PASSED: [&str; 3] = ["+++", "++", "+"];

/// Returns the words of a paragraph without the marks.
fn inline(text: &str, attributes: &HashMap<String, String>, depth: usize) -> String {
    let mut words = String::with_capacity(text.len());
    let mut closers = Closers::default();
    // The marks that close, each with its position and its length.
    let mut closing: Vec<(usize, usize)> = Vec::new();
    let mut failures = 0;
    let mut at = 0;
    while let Some(found) =
        text[at..].find(['*', '_', '`', '#', '^', '~', '+', '{', '<', '[', '(', ':', '\\', ' '])
    {
        words.push_str(&text[at..at + found]);
        at += found;
        let rest = &text[at..];
        if let Some((_, length)) = closing.pop_if(|(end, _)| *end == at) {
            at += length;
            continue;
        }
        let sign = rest.as_bytes()[0];
        let length = match sign {
            b'\\' => escape(rest, &mut words),
            b' ' => hard_break(rest),
            b'{' => reference(rest, &mut words, attributes),
            b'+' => passed(text, at, &mut closers, &mut words),
            b'^' | b'~' => script(rest, sign as char, &mut words),
            b'<' => cross_reference(text, at, &mut closers, &mut words),
            b'[' => anchor(text, at, &mut closers),
            b'(' => index_term(text, at, &mut closers),
            b':' if failures < FAILURES_MAX => {
                let length = inline_macro(text, at, &mut words, attributes, depth);
                failures += usize::from(length == Some(0));
                length.filter(|&length| length > 0)
            }
            b':' => None,
            _ => MARKS.iter().filter(|mark| rest.starts_with(**mark)).find_map(|mark| {
                let bounds = if mark.len() == 2 { &ANYWHERE } else { &BOUNDS };
                let is_part =
                    mark.len() == 1 && (rest[1..].starts_with(*mark) || text[..at].ends_with(*mark));
                let end = if is_part { None } else { bounds.close(text, at, mark, &mut closers) }?;
                let is_inside = closing.last().is_none_or(|&(around, _)| end + mark.len() <= around);
                is_inside.then(|| {
                    closing.push((end, mark.len()));
                    mark.len()
                })
            }),
        };
        let length = length.unwrap_or_else(|| {
            words.push_str(&rest[..1]);
            1
        });
        at += length;
    }
    words.push_str(&text[at..]);
    words
}

/// A backslash before a mark. The mark is then a character.
fn escape(rest: &str, words: &mut String) -> Option<usize> {
    let mark = rest[1..].chars().next().filter(|c| "*_`#^~+{<[(".contains(*c))?;
    words.push(mark);
    Some(1 + mark.len_utf8())
}

/// A plus sign at the end of a line that breaks the line.
fn hard_break(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(" +")?;
    (after.is_empty() || after.starts_with('\n')).then_some(2)
}

/// The value of an attribute. A name without a value stays.
fn reference(rest: &str, words: &mut String, attributes: &HashMap<String, String>) -> Option<usize> {
    let (name, _) = head(&rest[1..], 100).split_once('}')?;
    let character = CHARACTERS.iter().find(|(known, _)| *known == name).map(|(_, character)| *character);
    let value = attributes.get(&name.to_lowercase()).map(String::as_str).or(character)?;
    words.push_str(value);
    Some(name.len() + 2)
}

/// Text between plus signs, which has no marks.
fn passed(text: &str, at: usize, closers: &mut Closers, words: &mut String) -> Option<usize> {
    let mark = PASSED.into_iter().find(|mark| text[at..].starts_with(mark))?;
    let bounds = if mark == "+" { &BOUNDS } else { &ANYWHERE };
    let end = bounds.close(text, at, mark, closers)?;
    // A plus sign between numbers is none.
    let content = &text[at + mark.len()..end];
    if mark == "+" && content.contains('\n') {
        return None;
    }
    words.push_str(content);
    Some(end + mark.len() - at)
}

/// A superscript or a subscript, which has no white space.
fn script(rest: &str, sign: char, words: &mut String) -> Option<usize> {
    let (content, _) = head(&rest[1..], 100).split_once(sign)?;
    if content.is_empty() || content.contains(char::is_whitespace) {
        return None;
    }
    words.push_str(content);
    Some(content.len() + 2)
}

/// A reference (`<<id,words>>`) or an address in angle brackets.
fn cross_reference(text: &str, at: usize, closers: &mut Closers, words: &mut String) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with("<http") {
        let (address, _) = head(&rest[1..], MACRO_MAX)
            .split_once('>')
            .filter(|(address, _)| !address.contains(char::is_whitespace))?;
        words.push_str(address);
        return Some(address.len() + 2);
    }
    if !rest.starts_with("<<") {
        return None;
    }
    let end = closers.find(text, ">>", at + 2, |_| true).filter(|end| end - at <= MACRO_MAX)?;
    let content = &text[at + 2..end];
    if content.is_empty() || content.starts_with([' ', '<']) || content.contains("<<") {
        return None;
    }
    let (id, shown) = content.split_once(',').unwrap_or((content, content));
    words.push_str(if shown.trim().is_empty() { id.trim() } else { shown.trim().trim_start_matches('#') });
    Some(end + 2 - at)
}

/// An anchor (`[[id]]`) or the role of a text (`[.role]#words#`).
fn anchor(text: &str, at: usize, closers: &mut Closers) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with("[[") {
        let end = closers.find(text, "]]", at + 2, |_| true)?;
        let id = &text[at + 2..end];
        let is_id = end - at <= MACRO_MAX
            && id.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | ':'))
            && !id.contains(['[', '\n']);
        return is_id.then_some(end + 2 - at);
    }
    let (attributes, after) = head(&rest[1..], MACRO_MAX).split_once(']')?;
    let is_role = attributes.starts_with(['.', '#', '%'])
        || attributes.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_role && !attributes.is_empty() && after.starts_with('#')).then_some(attributes.len() + 2)
}

/// A term for the index. One in three parentheses is not shown.
fn index_term(text: &str, at: usize, closers: &mut Closers) -> Option<usize> {
    if !text[at..].starts_with("(((") {
        return None;
    }
    let end = closers.find(text, ")))", at + 3, |_| true)?;
    (!text[at..end].contains('\n')).then_some(end + 3 - at)
}

/// Macros whose brackets hold words.
#[rustfmt::skip]
const WORDS_IN_BRACKETS: [&str; 14] = [
    "link", "mailto", "xref", "kbd", "btn", "footnote", "footnoteref", "pass", "stem", "latexmath", "asciimath", "indexterm2",
    "http", "https",
];

/// A macro such as `link:target[words]`, at its colon. Returns its length, or 0 if a macro of this name has no end.
fn inline_macro(
    text: &str,
    at: usize,
    words: &mut String,
    attributes: &HashMap<String, String>,
    depth: usize,
) -> Option<usize> {
    let name_length =
        text[..at].bytes().rev().take(12).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let name = &text[at - name_length..at];
    let is_known = WORDS_IN_BRACKETS.contains(&name)
        || matches!(name, "image" | "icon" | "menu" | "anchor" | "indexterm");
    if !is_known {
        return None;
    }
    let rest = &text[at + 1..];
    let is_of_target = |c: char| !c.is_whitespace() && !matches!(c, '[' | ']' | '<' | '>');
    let target = head(rest, MACRO_MAX).split(|c| !is_of_target(c)).next().unwrap_or_default();
    let brackets = &rest[target.len()..];
    if !brackets.starts_with('[') {
        return (target.len() > TARGET_MAX).then_some(0);
    }
    let Some(length) = bracketed(brackets, b'[', b']', MACRO_MAX) else { return Some(0) };
    let content = brackets[1..length - 1].replace("\\]", "]");
    let shown = |content: &str| {
        if depth < DEPTH_MAX { inline(content, attributes, depth + 1) } else { content.to_owned() }
    };
    words.truncate(words.len() - name_length);
    match name {
        "icon" | "anchor" | "indexterm" => {}
        "image" => words.push_str(&shown(positional(&content))),
        "menu" => words.push_str(&format!("{target} {}", content.replace('>', " "))),
        "pass" | "stem" | "latexmath" | "asciimath" => words.push_str(&content),
        "footnote" | "footnoteref" => {
            words.push_str(" (");
            words.push_str(&shown(&content));
            words.push(')');
        }
        "kbd" | "btn" | "indexterm2" => words.push_str(&content),
        _ => {
            let link = link_words(&content);
            let address =
                if matches!(name, "http" | "https") { format!("{name}:{target}") } else { target.to_owned() };
            words.push_str(&if link.is_empty() { address } else { shown(link) });
        }
    }
    Some(1 + target.len() + length)
}

/// Returns the words of a link without its attributes: `words,window=_blank`, `"words, more",role=x`, `words^`.
fn link_words(content: &str) -> &str {
    static NAMED: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:^|,)\s*[a-z]+=.*$"));
    let content = NAMED.find(content).map_or(content, |named| &content[..named.start()]);
    content.trim().trim_end_matches('^').trim_matches('"')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::clean::clean;

    fn read(source: &str) -> String {
        asciidoc(source).0.clean().text().to_owned()
    }

    #[test]
    fn words_stay_and_marks_go() {
        let cases = [
            (
                "= The *plan*\nAnn Lee <ann@x.example>; Bo\nv1.0, 2026-01-02\n:lang: en\n:us: Petrel\n// private\n\n== One\n\ntext of {us} {nbsp}{unknown}\n\n=== Two ===\n\nThree\n~~~~~\n",
                "# The plan Ann Lee, Bo v1.0, 2026-01-02 ## One text of Petrel {unknown} ### Two ### Three",
            ),
            (
                "*a* _b_ `c` #d# **e**f __g__ H~2~O x^2^ +i*j*+ [.role]#k# \\*l* https://m.example[n^] link:o.html[p,window=_blank] <<q,r>> <<s>> xref:t[u] image:v.png[w,100] x[[id]] y footnote:[z *a*] kbd:[Ctrl] https://b.example (((private,term))) ((c)) d +\ne",
                "a b c d ef g H2O x2 i*j* k *l* n p r s u w x y (z a) Ctrl https://b.example ((c)) d e",
            ),
            (
                "* one\nmore\n** two\n+\n--\nin two\n--\n. three\n<1> four\n\nterm:: its text\nother::\n  indented text\n\n- [x] five\n",
                "- one more - two in two - three - four term its text other indented text - [x] five",
            ),
            (
                ".A title\n[source,sh]\n----\nls *a*\n----\n\n[source]\nls b\n\n....\nc _d_\n....\n\n  literal *e*\n\n////\nprivate\n////\n\n++++\n<b>raw</b>\n++++\n\n```rust\nlet f;\n```\n",
                "A title ls *a* ls b c _d_ literal *e* raw let f;",
            ),
            (
                "[NOTE]\n====\nSome *words*.\n====\n\n[quote, Ann, A book]\n____\nQuoted.\n____\n\nNOTE: more\n\n[[anchor]]\nimage::a.png[A bird, 300]\n\ninclude::b.adoc[]\nifdef::c[]\nd\nendif::[]\n'''\ntoc::[]\n[see below for more]\n",
                "Some words. Ann, A book Quoted. NOTE: more A bird d [see below for more]",
            ),
            (
                "[,ruby]\n----\nputs 1\n----\n\n[-x, b=c]\n[role=note]\n[{attributes}]\ntwo\n\n[the 5% rule]\n[a = b]\n",
                "puts 1 two [the 5% rule] [a = b]",
            ),
            (
                "[cols=\"1,2\",options=\"header\"]\n|===\n|a |b\n\n|1\n|*2*\nmore\n2+|both a|x\n|===\n\n,===\nc,d\n,===\n",
                "| a | b | 1 | 2 more | both | x | c | d",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(read(source), expected, "{source}");
        }
        let fields = asciidoc("= A\nAnn Lee <ann@x.example>\n:keywords: b, c\n:lang: en\n").1;
        assert_eq!(
            serde_json::Value::Object(fields),
            serde_json::json!({"title": "A", "author": "Ann Lee", "keywords": "b, c", "language": "en"})
        );
    }

    #[test]
    fn what_only_looks_like_a_mark_stays() {
        for text in [
            "2*3*4 and a_b_c",
            "__init__x and C++ and a + b",
            "x << 1 >> y",
            "{a} {b: 1}",
            "a[0] b[[1]]",
            "12:30:45 and std::vector",
            "f(x) ((y))",
            "5 ^ 2 ~ 3",
            "not:a[macro]",
            "#1 and #2",
            "C:\\temp",
        ] {
            let expected = text.replace("__init__x", "initx");
            assert_eq!(read(text), expected);
        }
    }

    proptest! {
        #[test]
        fn plain_words_are_never_lost(words in proptest::collection::vec("[a-zA-Z今天气]{1,8}", 0..60), breaks in proptest::collection::vec("( |\n|\n\n|\n\\* |\n\\. |\n== |\\* | \\*|_ | _|`|``|#|\\*\\*|\\+|\n\n  |\\{|\\}|<<|>>|:: |\n\n\\[| \\]|\\(\\(\\(|\\^|~|:)", 60)) {
            let source: String = words.iter().zip(&breaks).flat_map(|(word, gap)| [word.as_str(), gap]).collect();
            let kept = read(&source);
            let kept: Vec<&str> = kept.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation()).filter(|word| !word.is_empty()).collect();
            let kept: String = kept.concat();
            prop_assert_eq!(kept, words.concat(), "{}", source);
        }
    }

    #[test]
    fn hostile_documents_are_read_in_linear_time() {
        for part in [
            "*",
            "_",
            "`",
            "#",
            "^",
            "~",
            "+",
            "{",
            "<",
            "(",
            ":",
            "[",
            "*a ",
            "**a",
            "`a ",
            "+a ",
            "{a",
            "<<",
            "<<a",
            "[[a",
            "(((",
            "link:a[",
            "footnote:[",
            "a:: b\n",
            "* a\n",
            "|===\n|a\n",
            "----\n",
            "a\n-\n",
            ":a: {a}{a}\n",
            "^a",
            "\\",
            "[a]\n",
            "http:",
            "[a",
        ] {
            let kept = asciidoc(&part.repeat(300_000 / part.len()));
            assert!(clean(kept.0.text()).len() < 1_000_000);
        }
    }
}
