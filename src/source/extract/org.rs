//! Extracts the text of Org files, the outlines of Emacs.
//!
//! The syntax is defined in <https://orgmode.org/worg/org-syntax.html>.

use std::sync::LazyLock;

use regex::Regex;

use super::markup::{
    Bounds, Closers, Paragraph, bracketed, head, indent, is_row_of, pattern, without_indent, write_row,
};
use crate::source::fields::Record;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Maximum length of a link or a footnote, in bytes. A longer one is left as it is.
const LINK_MAX: usize = 4096;

/// Maximum length of a target or an address in angle brackets, in bytes.
const TARGET_MAX: usize = 256;

/// How many brackets of a paragraph may have no end. After that, brackets are left as they are.
const FAILURES_MAX: usize = 256;

/// The maximum number of lines of a drawer. A longer one is text.
const DRAWER_LINES_MAX: usize = 1000;

/// Keywords of a file that say something about it, with the names of the fields.
const FIELDS: [(&str, &str); 5] = [
    ("title", "title"),
    ("author", "author"),
    ("date", "date"),
    ("language", "language"),
    ("keywords", "keywords"),
];

/// A keyword: `#+TITLE: words`.
static KEYWORD: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^#\+([A-Za-z_][\w-]*)(?:\[[^\]]*\])?:(?:\s+(.*))?$"));

/// The start of a block: `#+BEGIN_SRC python`.
static BLOCK: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)^#\+begin_(\S+)"));

/// A headline, without its stars: a priority, the title and tags.
static TAGS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(.*?)\s+:([\w@#%:]+):\s*$"));

/// The mark of an item in a list, with its number or its counter.
static ITEM: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:[-+]|[0-9]+[.)])(?:\s+(?:\[@[0-9]+\]\s*)?|$)"));

/// The times of a task: `SCHEDULED: <2026-01-02 Fri>`.
static PLANNING: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:(?:SCHEDULED|DEADLINE|CLOSED):\s*[<\[][^>\]]*[>\]]\s*)+$"));

/// Returns the text of the file, and what the file says about itself. Comments, properties and settings are left out.
pub fn org(source: &str) -> (Structured, Record) {
    let lines: Vec<&str> = source.trim_start_matches('\u{FEFF}').lines().map(str::trim_end).collect();
    let mut reader = OrgReader {
        lines: &lines,
        at: 0,
        text: BlockWriter::default(),
        paragraph: None,
        fields: Record::new(),
        has_title: false,
    };
    while reader.at < lines.len() {
        reader.step();
    }
    reader.end_paragraph();
    (reader.text.finish(), reader.fields)
}

struct OrgReader<'a> {
    lines: &'a [&'a str],
    at: usize,
    text: BlockWriter,
    paragraph: Option<Paragraph>,
    fields: Record,
    /// Whether the file has a title, so that headlines are one level below it.
    has_title: bool,
}

impl OrgReader<'_> {
    fn step(&mut self) {
        let line = self.lines[self.at];
        let body = line.trim_start();
        let column = indent(line);
        if body.is_empty() {
            self.at += 1;
            return self.end_paragraph();
        }
        if self.headline(line)
            || self.block(body)
            || self.keyword(body)
            || self.drawer(body)
            || self.table(body)
        {
            return;
        }
        if body.starts_with(": ") || body == ":" {
            return self.fixed_width();
        }
        self.at += 1;
        if is_row_of(body, '-', 5) || PLANNING.is_match(body) {
            return self.end_paragraph();
        }
        let mark = ITEM.find(body).or_else(|| if column > 0 { STAR.find(body) } else { None });
        if let Some(mark) = mark {
            return self.begin(BlockKind::Item, &body[mark.end()..], column);
        }
        if let Some(words) = footnote(line) {
            return self.begin(BlockKind::Paragraph, words, 0);
        }
        match &mut self.paragraph {
            Some(paragraph) if paragraph.kind != BlockKind::Item || column > paragraph.column => {
                paragraph.push(body)
            }
            _ => self.begin(BlockKind::Paragraph, body, column),
        }
    }

    fn begin(&mut self, kind: BlockKind, line: &str, column: usize) {
        self.end_paragraph();
        self.paragraph = Some(Paragraph { kind, lines: line.to_owned(), column });
    }

    fn end_paragraph(&mut self) {
        if let Some(paragraph) = self.paragraph.take() {
            paragraph.write(&inline(&paragraph.lines), &mut self.text);
        }
    }

    /// Reads a headline. Skips the outline below it if that is a comment.
    fn headline(&mut self, line: &str) -> bool {
        let level = line.bytes().take_while(|&byte| byte == b'*').count();
        let Some(title) = line[level..].strip_prefix(' ').filter(|_| level > 0) else { return false };
        self.end_paragraph();
        self.at += 1;
        let (title, tags) = TAGS.captures(title).map_or((title.to_owned(), String::new()), |found| {
            (found[1].to_owned(), found[2].replace(':', " "))
        });
        let is_comment =
            title.trim_start().starts_with("COMMENT ") || tags.split(' ').any(|tag| tag == "noexport");
        if is_comment {
            let is_above = |line: &&str| {
                let stars = line.bytes().take_while(|&byte| byte == b'*').count();
                (1..=level).contains(&stars) && line[stars..].starts_with(' ')
            };
            let length = self.lines[self.at..].iter().position(is_above);
            self.at = length.map_or(self.lines.len(), |length| self.at + length);
            return true;
        }
        self.text.heading(level + usize::from(self.has_title));
        self.text.push_str(&inline(title.trim()));
        self.text.push_str(" ");
        self.text.push_str(tags.trim());
        self.text.end();
        true
    }

    /// Reads a block between `#+BEGIN_…` and `#+END_…`. The marks of a block with text are left out.
    fn block(&mut self, body: &str) -> bool {
        let Some(found) = BLOCK.captures(body) else { return false };
        self.end_paragraph();
        self.at += 1;
        let name = found[1].to_lowercase();
        if !matches!(name.as_str(), "src" | "example" | "comment" | "export" | "html" | "latex") {
            return true;
        }
        let is_code = matches!(name.as_str(), "src" | "example");
        let end = format!("#+end_{name}");
        let base = self.lines[self.at..].first().map_or(0, |line| indent(line));
        if is_code {
            self.text.begin(BlockKind::Code, "");
        }
        while let Some(line) = self.lines.get(self.at) {
            self.at += 1;
            let body = line.trim_start();
            if body.len() >= end.len()
                && body.get(..end.len()).is_some_and(|start| start.eq_ignore_ascii_case(&end))
            {
                break;
            }
            if is_code {
                // A comma protects a line that would be a headline or a keyword.
                let is_protected = [",*", ",#+", ",,"].iter().any(|start| body.starts_with(start));
                let line = without_indent(line, base);
                self.text.push_str(if is_protected { &body[1..] } else { line });
                self.text.push_str("\n");
            }
        }
        self.text.end();
        true
    }

    /// Reads a keyword, the end of a block or a comment.
    fn keyword(&mut self, body: &str) -> bool {
        if body == "#"
            || body.starts_with("# ")
            || body.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("#+end_"))
        {
            self.end_paragraph();
            self.at += 1;
            return true;
        }
        let Some(found) = KEYWORD.captures(body) else { return false };
        self.end_paragraph();
        self.at += 1;
        let name = found[1].to_lowercase();
        let value = found.get(2).map_or("", |value| value.as_str());
        match name.as_str() {
            "title" => {
                self.has_title = true;
                self.text.heading(1);
                self.text.push_str(&inline(value));
                self.text.end();
            }
            "subtitle" | "caption" => self.text.block(BlockKind::Paragraph, &inline(value)),
            _ => {}
        }
        if let Some((_, field)) = FIELDS.iter().find(|(keyword, _)| *keyword == name) {
            self.fields.entry(*field).or_insert_with(|| value.into());
        }
        true
    }

    /// Skips the properties and the log of an outline.
    fn drawer(&mut self, body: &str) -> bool {
        let upper = body.to_ascii_uppercase();
        if upper == ":END:" {
            self.at += 1;
            return true;
        }
        if upper != ":PROPERTIES:" && upper != ":LOGBOOK:" {
            return false;
        }
        let is_end = |line: &&&str| line.is_empty() || line.trim().eq_ignore_ascii_case(":PROPERTIES:");
        let lines = self.lines[self.at + 1..].iter().take(DRAWER_LINES_MAX).take_while(|line| !is_end(line));
        let Some(length) = lines.clone().position(|line| line.trim().eq_ignore_ascii_case(":END:")) else {
            return false;
        };
        self.end_paragraph();
        self.at += length + 2;
        true
    }

    fn fixed_width(&mut self) {
        self.end_paragraph();
        self.text.begin(BlockKind::Code, "");
        while let Some(line) = self.lines.get(self.at).and_then(|line| line.trim_start().strip_prefix(':')) {
            self.text.push_str(line.strip_prefix(' ').unwrap_or(line));
            self.text.push_str("\n");
            self.at += 1;
        }
        self.text.end();
    }

    fn table(&mut self, body: &str) -> bool {
        if !body.starts_with('|') {
            return false;
        }
        self.end_paragraph();
        let rest = &self.lines[self.at..];
        let length = rest.iter().take_while(|line| line.trim_start().starts_with('|')).count();
        let is_rule = |line: &&str| line.trim_start().starts_with("|-");
        let rows = &rest[..length];
        // The rows above the first line are the header, if there are rows below it.
        let rule = rows.iter().position(is_rule).filter(|&rule| rule > 0 && rule + 1 < length);
        for (number, row) in rows.iter().enumerate().filter(|(_, row)| !is_rule(row)) {
            let row = row.trim().trim_start_matches('|');
            let cells = row.strip_suffix('|').unwrap_or(row).split('|');
            // `<l>` and `<10>` set the alignment and the width of a column.
            let cells: Vec<&str> =
                cells.map(str::trim).map(|cell| if WIDTH.is_match(cell) { "" } else { cell }).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                write_row(
                    &mut self.text,
                    rule.is_some_and(|rule| number < rule),
                    cells.iter().map(|cell| inline(cell)),
                );
            }
        }
        self.at += length;
        true
    }
}

/// An item that starts with a star. At the start of a line it would be a headline.
static STAR: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\*(?:\s+|$)"));

static WIDTH: LazyLock<Regex> = LazyLock::new(|| pattern(r"^<(?:[lcr]?[0-9]*)>$"));

/// Returns the text of a footnote at the start of a line: `[fn:1] words`.
fn footnote(line: &str) -> Option<&str> {
    let (_, words) =
        line.strip_prefix("[fn:")?.split_once(']').filter(|(label, _)| !label.contains([':', '[']))?;
    Some(words.trim_start())
}

/// Where emphasis opens and closes.
const BOUNDS: Bounds = Bounds {
    before: |c| c.is_whitespace() || matches!(c, '-' | '(' | '\'' | '"' | '{' | '*' | '/' | '_' | '+'),
    after: |c| {
        c.is_whitespace()
            || matches!(
                c,
                '-' | '.'
                    | ','
                    | ':'
                    | '!'
                    | '?'
                    | ';'
                    | '\''
                    | '"'
                    | ')'
                    | '}'
                    | '['
                    | '\\'
                    | '*'
                    | '/'
                    | '_'
                    | '+'
            )
    },
};

/// Returns the words of a paragraph without the marks.
fn inline(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    let mut closers = Closers::default();
    // The marks that close emphasis, with their positions.
    let mut closing: Vec<usize> = Vec::new();
    let mut failures = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['*', '/', '_', '+', '=', '~', '[', '<', '@', '{', '\\']) {
        words.push_str(&text[at..at + found]);
        at += found;
        let rest = &text[at..];
        let mark = &rest[..1];
        if closing.last() == Some(&at) {
            closing.pop();
            at += 1;
            continue;
        }
        let length = match mark {
            "[" if failures < FAILURES_MAX => {
                let length = link(text, at, &mut closers, &mut words);
                failures +=
                    usize::from(length.is_none() && (rest.starts_with("[fn:") || rest.starts_with("[cite")));
                length
            }
            "<" => target(rest, &mut words),
            "@" if EXPORT.is_match(rest) => {
                closers.find(text, "@@", at + 2, |_| true).map(|end| end + 2 - at)
            }
            "[" | "@" => None,
            "{" => call(text, at, &mut closers, &mut words),
            "\\" => {
                rest.strip_prefix("\\\\").filter(|rest| rest.is_empty() || rest.starts_with('\n')).map(|_| 2)
            }
            "=" | "~" => {
                let mark = if mark == "=" { "=" } else { "~" };
                BOUNDS.close(text, at, mark, &mut closers).map(|end| {
                    words.push_str(&text[at + 1..end]);
                    end + 1 - at
                })
            }
            // Two of a mark are none.
            _ if rest[1..].starts_with(mark) || text[..at].ends_with(mark) => None,
            _ => {
                let mark = ["*", "/", "_", "+"].into_iter().find(|known| *known == mark).unwrap_or("*");
                let end = BOUNDS.close(text, at, mark, &mut closers);
                // Emphasis ends inside of the emphasis around it.
                let end = end.filter(|&end| closing.last().is_none_or(|&around| end < around));
                closing.extend(end);
                end.map(|_| 1)
            }
        };
        let length = length.unwrap_or_else(|| {
            words.push_str(mark);
            1
        });
        at += length;
    }
    words.push_str(&text[at..]);
    words
}

/// Text that is only for one format of output: `@@html:<b>@@`.
static EXPORT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^@@[A-Za-z][\w-]*:"));

/// A link (`[[target][words]]`), a footnote (`[fn:1]`, `[fn:: words]`) or a citation. Returns its length.
fn link(text: &str, at: usize, closers: &mut Closers, words: &mut String) -> Option<usize> {
    let rest = &text[at..];
    if rest.starts_with("[[") {
        let end = closers.find(text, "]]", at + 2, |_| true).filter(|end| end - at <= LINK_MAX)?;
        let inner = &text[at + 2..end];
        if inner.is_empty() || inner.contains("[[") {
            return None;
        }
        let shown = inner.split_once("][").map_or(inner, |(_, shown)| shown);
        if !is_picture(shown) {
            words.push_str(plain_emphasis(shown.strip_prefix("file:").unwrap_or(shown)));
        }
        return Some(end + 2 - at);
    }
    let is_likely = ["[fn:", "[cite:", "[cite/"].iter().any(|start| rest.starts_with(start));
    let length = if is_likely { bracketed(rest, b'[', b']', LINK_MAX) } else { None }?;
    let note = rest[1..length - 1].strip_prefix("fn:").and_then(|note| note.split_once(':'));
    if let Some((_, note)) = note {
        words.push_str(" (");
        words.push_str(&plain_links(note.trim()));
        words.push(')');
    }
    Some(length)
}

/// Returns the words of a footnote, whose links are without their targets.
fn plain_links(note: &str) -> String {
    let mut words = String::new();
    let mut rest = note;
    while let Some(at) = rest.find("[[") {
        words.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = bracketed(rest, b'[', b']', LINK_MAX).unwrap_or(2);
        let inner = rest[..length].trim_matches(['[', ']']);
        words.push_str(inner.split_once("][").map_or(inner, |(_, shown)| shown));
        rest = &rest[length..];
    }
    words.push_str(rest);
    words
}

/// Returns the words of a link without marks of code around all of them.
fn plain_emphasis(words: &str) -> &str {
    let mark = words.chars().next().filter(|c| "=~*/_+".contains(*c));
    let inner = mark.and_then(|mark| words.strip_prefix(mark)?.strip_suffix(mark));
    inner.filter(|inner| !inner.is_empty()).unwrap_or(words)
}

fn is_picture(target: &str) -> bool {
    let end = target.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    !target.contains(' ')
        && target.contains('.')
        && matches!(end.as_str(), "png" | "jpg" | "jpeg" | "gif" | "svg" | "webp")
}

/// A target (`<<name>>`, `<<<words>>>`) or an address (`<https://…>`). Returns its length.
fn target(rest: &str, words: &mut String) -> Option<usize> {
    let line = head(rest, TARGET_MAX);
    if let Some(inner) = line.strip_prefix("<<<") {
        let (shown, _) = inner.split_once(">>>").filter(|(shown, _)| !shown.contains(['\n', '<']))?;
        words.push_str(shown);
        return Some(shown.len() + 6);
    }
    if let Some(inner) = line.strip_prefix("<<") {
        let (name, _) = inner.split_once(">>").filter(|(name, _)| !name.contains(['\n', '<']))?;
        return Some(name.len() + 4);
    }
    let (address, _) = line[1..]
        .split_once('>')
        .filter(|(address, _)| address.contains(':') && !address.contains(char::is_whitespace))?;
    words.push_str(address);
    Some(address.len() + 2)
}

/// The call of a macro (`{{{name(words)}}}`), whose arguments are its words. Returns its length.
fn call(text: &str, at: usize, closers: &mut Closers, words: &mut String) -> Option<usize> {
    if !text[at..].starts_with("{{{") {
        return None;
    }
    let end = closers.find(text, "}}}", at + 3, |_| true)?;
    let inner =
        text[at + 3..end].split_once('(').map_or("", |(_, arguments)| arguments.trim_end_matches(')'));
    words.push_str(inner);
    Some(end + 3 - at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::clean::clean;

    fn read(source: &str) -> String {
        org(source).0.clean().text().to_owned()
    }

    #[test]
    fn words_stay_and_marks_go() {
        let cases = [
            (
                "#+TITLE: The /plan/\n#+OPTIONS: toc:nil\n# private\n* TODO [#A] One :a:b:\nSCHEDULED: <2026-01-02 Fri>\n:PROPERTIES:\n:ID: 5\n:END:\ntext\n** Two\n* COMMENT private\nx\n** y\n* Three\n",
                "# The plan ## TODO [#A] One a b text ### Two ## Three",
            ),
            (
                "*a* /b *c*/ _d_ =e *f*= ~g~ +h+, [[https://x.example][i]] [[https://j.example]] [[file:k.png]] <<l>> <https://m.example> n[fn:1] o[fn:: in /place/] p[cite:@q] {{{kbd(RET)}}} @@html:<b>@@r\\\\\n\n[fn:1] The note.",
                "a b c d e *f* g h, i https://j.example https://m.example n o (in /place/) p RET r The note.",
            ),
            (
                "- one\n  more\n- [X] two :: its text\n  1. three\n  * four\nafter\n",
                "- one more - [X] two :: its text - three - four after",
            ),
            (
                "#+CAPTION: Some code\n#+BEGIN_SRC sh\n  ls *a*\n  ,* b\n#+END_SRC\n#+begin_quote\nquoted\n#+end_quote\n: fixed *c*\n#+BEGIN_COMMENT\nprivate\n#+END_COMMENT\n-----\nend",
                "Some code ls *a* * b quoted fixed *c* end",
            ),
            ("| a | b |\n|---+---|\n| <l> | <10> |\n| 1 | *2* |\n#+TBLFM: $1=2\n", "| a | b | 1 | 2"),
        ];
        for (source, expected) in cases {
            assert_eq!(read(source), expected, "{source}");
        }
        let fields = org("#+TITLE: A\n#+AUTHOR: B\n#+DATE: <2026-01-02>\n").1;
        assert_eq!(
            serde_json::Value::Object(fields),
            serde_json::json!({"title": "A", "author": "B", "date": "<2026-01-02>"})
        );
    }

    #[test]
    fn what_only_looks_like_a_mark_stays() {
        for text in [
            "2*3*4 and a/b/c",
            "a_b_c and __init__",
            "x = y = z",
            "~/.emacs and ~",
            "1 + 2 + 3",
            "[1] and a[2]",
            "a < b > c",
            "#hashtag",
            "*not closed and /usr/bin",
            "{a} {{b}}",
        ] {
            assert_eq!(read(text), text);
        }
    }

    proptest! {
        #[test]
        fn plain_words_are_never_lost(words in proptest::collection::vec("[a-zA-Z今天气]{1,8}", 0..60), breaks in proptest::collection::vec("( |\n|\n\n|\n- |\n\n\\* |\n\\*\\* | \\*|\\* | /|/ | =|= |_|\\+|\n: |\n\\| |\\[|\\]|\\]\\]|<|>|@@ |\\{\\{)", 60)) {
            let source: String = words.iter().zip(&breaks).flat_map(|(word, gap)| [word.as_str(), gap]).collect();
            let kept = read(&source);
            let kept: Vec<&str> = kept.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation()).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(kept, words.iter().map(String::as_str).collect::<Vec<_>>(), "{}", source);
        }
    }

    #[test]
    fn hostile_files_are_read_in_linear_time() {
        for part in [
            "*",
            "/",
            "=",
            "~",
            "+",
            "_",
            "<",
            "{",
            "[",
            "*a ",
            "=a",
            "/a/ ",
            "[[",
            "[[a][",
            "[fn:",
            "<<",
            "<<<",
            "@@",
            "{{{",
            "* a\n",
            "- ",
            "| a\n",
            ":PROPERTIES:\n",
            "#+begin_src\n",
            "\\",
            "* COMMENT a\n",
            ": \n",
        ] {
            let kept = org(&part.repeat(300_000 / part.len()));
            assert!(clean(kept.0.text()).len() < 1_000_000);
        }
    }
}
