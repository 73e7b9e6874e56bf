//! Extracts the text of reStructuredText, with the directives of Docutils and Sphinx.
//!
//! The syntax is defined in <https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html>. The file is read line by line:
//! what is indented below a directive is a part of the text like any other, except below those for code and those without words.

use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::LazyLock;

use regex::Regex;

use super::markup::{
    Closers, Paragraph, columns_of, cut_at_columns, head, indent, is_row_of, pattern, without_indent,
    write_row,
};
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Directives without words, or whose words are in another file.
#[rustfmt::skip]
const SILENT: [&str; 47] = [
    "toctree", "include", "literalinclude", "raw", "index", "highlight", "contents", "sectnum", "section-numbering", "module",
    "py:module", "currentmodule", "py:currentmodule", "tabularcolumns", "role", "default-role", "default-domain", "meta",
    "header", "footer", "target-notes", "sectionauthor", "moduleauthor", "codeauthor", "kernel-doc", "kernel-include",
    "kernel-feat", "kernel-abi", "maintainers-include", "graphviz", "digraph", "graph", "uml", "mermaid", "tikz",
    "inheritance-diagram", "blockdiag", "seqdiag", "testsetup", "testcleanup", "bibliography", "autosummary", "plot", "youtube",
    "tags", "cssclass", "kernel-render",
];

/// Directives whose content is code.
#[rustfmt::skip]
const CODE: [&str; 16] = [
    "code-block", "code", "sourcecode", "parsed-literal", "productionlist", "testcode", "testoutput", "doctest", "prompt",
    "ipython", "math", "console", "literal", "jupyter-execute", "code-cell", "highlights-code",
];

/// Directives whose arguments are conditions or classes.
const WITHOUT_ARGUMENTS: [&str; 11] = [
    "only",
    "ifconfig",
    "container",
    "class",
    "rst-class",
    "compound",
    "list-table",
    "flat-table",
    "csv-table",
    "hlist",
    "grid",
];

/// Directives whose argument is the path of a picture.
const PICTURES: [&str; 4] = ["image", "figure", "kernel-image", "kernel-figure"];

/// Fields at the start of a file that are settings of Sphinx.
const SETTINGS: [&str; 5] = ["orphan", "tocdepth", "nocomments", "nosearch", "no-search"];

/// Maximum length of the text of a substitution, in bytes. A longer text is cut.
const VALUE_MAX: usize = 1024;

/// A directive: `.. note:: arguments`.
static DIRECTIVE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\.\. +([A-Za-z0-9][\w.+:-]*?) ?::(?: +(.*))?$"));

/// A footnote or a citation: `.. [1] text`.
static FOOTNOTE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\.\. +\[([^\]]+)\](?: +(.*))?$"));

/// The definition of a substitution: `.. |name| replace:: text`.
static SUBSTITUTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*\.\. +\|([^|]+)\| +([\w-]+)::(?: +(.*))?$"));

/// A target: `.. _name: address`.
static TARGET: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*\.\. +_(?:`([^`]+)`|([^:]+(?::[^ :][^:]*)*)):(?: |$)"));

/// A field: `:name: text`.
static FIELD: LazyLock<Regex> = LazyLock::new(|| pattern(r"^:([^:`\s][^:`]*(?:\\:[^:`]*)*):(?: +(.*))?$"));

/// The mark of an item in a list.
static ITEM: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:[*+•‣⁃-]|\(?(?:[0-9]+|#)[.)])(?: +|$)"));

/// How many characters of marks at the start of a text may stand before its first word.
const MARKS_MAX: usize = 8;

/// The border of a simple table: `====  ====`.
static SIMPLE_TABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^=+(?: +=+)+ *$"));

/// The border of a table whose cells are drawn: `+---+---+`.
static GRID_TABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\+(?:[-=]+\+)+ *$"));

/// Returns the text of the document. Comments, targets, and settings of the output are left out.
pub fn rst(source: &str) -> Structured {
    // Docutils expands tabs before anything else. The columns of tables depend on it.
    let expanded: String = source.trim_start_matches('\u{FEFF}').lines().map(expand_tabs).collect();
    let lines: Vec<&str> = expanded.lines().map(str::trim_end).collect();
    let names = RstNames::of(&lines);
    let mut reader = RstReader {
        lines: &lines,
        names: &names,
        at: 0,
        text: BlockWriter::default(),
        paragraph: None,
        next: None,
        styles: Vec::new(),
    };
    while reader.at < lines.len() {
        reader.step();
    }
    reader.end_paragraph();
    reader.text.finish()
}

/// Returns a line with spaces in place of tabs, and a line break.
fn expand_tabs(line: &str) -> String {
    let mut expanded = String::with_capacity(line.len() + 1);
    let mut column = 0;
    for c in line.chars() {
        let width = if c == '\t' { 8 - column % 8 } else { columns_of(c) };
        match c {
            '\t' => expanded.extend(iter::repeat_n(' ', width)),
            c => expanded.push(c),
        }
        column += width;
    }
    expanded.push('\n');
    expanded
}

/// What the references of a document can refer to.
struct RstNames {
    /// Targets and titles in lower case.
    targets: HashSet<String>,
    substitutions: HashMap<String, String>,
}

impl RstNames {
    fn of(lines: &[&str]) -> RstNames {
        let mut names = RstNames { targets: HashSet::new(), substitutions: HashMap::new() };
        for (number, line) in lines.iter().enumerate() {
            if line.trim_start().starts_with(".. ") {
                if let Some(found) = SUBSTITUTION.captures(line) {
                    let value = names.value(&found, &lines[number + 1..], indent(line));
                    names.substitutions.insert(found[1].to_lowercase(), head(&value, VALUE_MAX).to_owned());
                } else if let Some(name) =
                    TARGET.captures(line).and_then(|found| found.get(1).or(found.get(2)))
                {
                    names.targets.insert(name.as_str().to_lowercase());
                }
            } else if lines.get(number + 1).is_some_and(|next| adornment(next).is_some())
                && !line.contains(' ')
            {
                names.targets.insert(line.to_lowercase());
            }
        }
        names
    }

    /// Returns the text of a substitution.
    fn value(&self, found: &regex::Captures, next: &[&str], column: usize) -> String {
        let argument = found.get(3).map_or("", |argument| argument.as_str());
        let more = next
            .iter()
            .take_while(|line| !line.trim().is_empty() && indent(line) > column)
            .map(|line| line.trim());
        match &found[2] {
            "replace" => {
                let text: Vec<&str> = [argument].into_iter().chain(more.take(16)).collect();
                inline(&text.join(" "), self)
            }
            "unicode" => {
                let codes = argument.split("..").next().unwrap_or_default().split_whitespace();
                codes.map(|code| character(code).map_or_else(|| code.to_owned(), String::from)).collect()
            }
            _ => more
                .filter_map(|line| line.strip_prefix(":alt:"))
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned(),
        }
    }
}

/// Returns the character of a code such as `0xA9` or `U+00A9`.
fn character(code: &str) -> Option<char> {
    let digits = ["0x", "x", "\\x", "U+", "u", "\\u"].iter().find_map(|start| code.strip_prefix(start))?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

/// Returns the sign of a line that is drawn below or above a title.
fn adornment(line: &str) -> Option<char> {
    let sign = line.chars().next().filter(char::is_ascii_punctuation)?;
    is_row_of(line, sign, 2).then_some(sign)
}

struct RstReader<'a> {
    lines: &'a [&'a str],
    names: &'a RstNames,
    at: usize,
    text: BlockWriter,
    paragraph: Option<Paragraph>,
    /// The column of the next lines of the paragraph, if that is known.
    next: Option<usize>,
    /// The adornments of titles, from the highest level down.
    styles: Vec<(char, bool)>,
}

impl<'a> RstReader<'a> {
    fn line(&self, at: usize) -> &'a str {
        self.lines.get(at).copied().unwrap_or_default()
    }

    /// Reads the next lines that belong together.
    fn step(&mut self) {
        let line = self.line(self.at);
        let body = line.trim_start();
        let column = indent(line);
        if body.is_empty() {
            self.at += 1;
            return self.end_paragraph();
        }
        let continues = self.paragraph.as_ref().is_some_and(|paragraph| match self.next {
            Some(next) => next == column,
            None => column > paragraph.column,
        });
        if continues {
            self.next = Some(column);
        }
        if !continues {
            // The paragraph may have announced this line as code.
            let at = self.at;
            self.end_paragraph();
            if self.at == at {
                self.start(line, body, column);
            }
            return;
        }
        self.paragraph.iter_mut().for_each(|paragraph| paragraph.push(body));
        self.at += 1;
    }

    /// Reads the start of a block.
    fn start(&mut self, line: &'a str, body: &'a str, column: usize) {
        if self.title(line) || self.explicit(body, column) || self.table(body, column) {
            return;
        }
        if body.starts_with(">>>") {
            return self.verbatim(|line| !line.is_empty());
        }
        if let Some(line) = body.strip_prefix("| ").or((body == "|").then_some("")) {
            self.begin(BlockKind::Paragraph, line, column, Some(column + 2));
            self.at += 1;
            return;
        }
        if let Some(mark) = ITEM.find(body) {
            let width = mark.as_str().chars().map(columns_of).sum::<usize>();
            self.begin(BlockKind::Item, &body[mark.end()..], column, Some(column + width));
            // An item may start with another one, or with a directive.
            let rest = &body[mark.end()..];
            if ITEM.is_match(rest) || rest.starts_with(".. ") {
                self.paragraph = None;
                self.text.begin(BlockKind::Item, "- ");
                return self.start_inside(rest, column + width);
            }
            self.at += 1;
            return;
        }
        if let Some(found) = FIELD.captures(body) {
            let value = found.get(2).map_or("", |value| value.as_str());
            if !SETTINGS.contains(&&found[1]) {
                self.begin(BlockKind::Paragraph, &format!("{}: {value}", &found[1]), column, None);
            }
            self.at += 1;
            return;
        }
        let is_option = body.starts_with('-') && body.contains("  ");
        self.begin(BlockKind::Paragraph, body, column, if is_option { None } else { Some(column) });
        self.at += 1;
    }

    /// Reads what follows the mark of an item in its line.
    fn start_inside(&mut self, rest: &'a str, column: usize) {
        if rest.starts_with(".. ") && self.explicit(rest, column) {
            return;
        }
        let Some(mark) = ITEM.find(rest) else { return };
        let width = mark.as_str().chars().count();
        self.begin(BlockKind::Item, &rest[mark.end()..], column, Some(column + width));
        self.at += 1;
    }

    fn begin(&mut self, kind: BlockKind, line: &str, column: usize, next: Option<usize>) {
        self.end_paragraph();
        self.paragraph = Some(Paragraph { kind, lines: line.to_owned(), column });
        self.next = next;
    }

    /// Writes the paragraph. After `::`, also writes the code that follows.
    fn end_paragraph(&mut self) {
        let Some(paragraph) = self.paragraph.take() else { return };
        let lines = paragraph.lines.as_str();
        let announced = lines.strip_suffix("::");
        let words = match announced {
            Some(words) if words.ends_with([' ', '\n']) || words.is_empty() => words,
            Some(_) => &lines[..lines.len() - 1],
            None => lines,
        };
        paragraph.write(&inline(words.trim_end(), self.names), &mut self.text);
        if announced.is_some() {
            self.code_after(paragraph.column);
        }
    }

    /// Writes the code after a paragraph: lines that are indented more than it, or that all start with the same sign.
    fn code_after(&mut self, column: usize) {
        while self.at < self.lines.len() && self.line(self.at).is_empty() {
            self.at += 1;
        }
        let first = self.line(self.at);
        if indent(first) > column {
            return self.indented_code(column);
        }
        let sign = first.trim_start().chars().next().filter(char::is_ascii_punctuation);
        if let Some(sign) = sign.filter(|_| indent(first) == column && !first.trim_start().starts_with(".."))
        {
            self.verbatim(|line| line.trim_start().starts_with(sign));
        }
    }

    /// Writes the lines that are indented by more than `column` as code.
    fn indented_code(&mut self, column: usize) {
        self.verbatim(|line| line.is_empty() || indent(line) > column);
    }

    /// Writes lines as code, as long as they belong to it.
    fn verbatim(&mut self, belongs: impl Fn(&str) -> bool) {
        let start = self.at;
        let base = self.lines[start..].iter().find(|line| !line.is_empty()).map_or(0, |line| indent(line));
        self.text.begin(BlockKind::Code, "");
        while self.at < self.lines.len() && belongs(self.line(self.at)) {
            self.text.push_str(without_indent(self.line(self.at), base));
            self.text.push_str("\n");
            self.at += 1;
        }
        self.text.end();
    }

    /// Skips the lines that are indented by more than `column`.
    fn skip(&mut self, column: usize) {
        while self.at < self.lines.len()
            && (self.line(self.at).is_empty() || indent(self.line(self.at)) > column)
        {
            self.at += 1;
        }
    }

    /// Reads a title or a line between sections. Returns whether there was one.
    fn title(&mut self, line: &str) -> bool {
        let next = self.line(self.at + 1);
        if let Some(sign) = adornment(line).filter(|_| indent(line) == 0) {
            let after = self.line(self.at + 2);
            if !next.is_empty() && is_row_of(after, sign, 2) {
                self.write_title(next, (sign, true));
                self.at += 3;
                return true;
            }
            // Without a title this is a line between sections, unless it belongs to a table.
            let is_line = next.is_empty() && line.len() >= 4;
            self.at += usize::from(is_line);
            return is_line;
        }
        let Some(sign) = adornment(next).filter(|_| indent(line) == 0) else { return false };
        let width = line.chars().map(columns_of).sum::<usize>();
        if next.len() < width && next.len() < 4 || line.starts_with("..") {
            return false;
        }
        self.write_title(line, (sign, false));
        self.at += 2;
        true
    }

    fn write_title(&mut self, title: &str, style: (char, bool)) {
        let level = self.styles.iter().position(|known| *known == style).unwrap_or_else(|| {
            self.styles.push(style);
            self.styles.len() - 1
        });
        self.text.heading(level + 1);
        self.text.push_str(&inline(title.trim(), self.names));
        self.text.end();
    }

    /// Reads a directive, a footnote, a target or a comment. Returns whether there was one.
    fn explicit(&mut self, body: &'a str, column: usize) -> bool {
        if body.starts_with("__ ") {
            self.at += 1;
            self.skip(column);
            return true;
        }
        if !body.starts_with(".. ") && body != ".." {
            return false;
        }
        self.at += 1;
        if body == ".." && self.line(self.at).is_empty() {
            return true;
        }
        if SUBSTITUTION.is_match(body) || TARGET.is_match(body) || body.starts_with(".. __:") {
            self.skip_paragraph(column);
        } else if let Some(found) = FOOTNOTE.captures(body) {
            let words = found.get(2).map_or("", |words| words.as_str());
            self.begin(BlockKind::Paragraph, words, column, None);
        } else if let Some(found) = DIRECTIVE.captures(body) {
            self.directive(&found[1].to_lowercase(), found.get(2).map_or("", |words| words.as_str()), column);
        } else {
            self.skip(column);
        }
        true
    }

    /// Skips the lines up to the next blank line that are indented by more than `column`.
    fn skip_paragraph(&mut self, column: usize) {
        while !self.line(self.at).is_empty() && indent(self.line(self.at)) > column {
            self.at += 1;
        }
    }

    fn directive(&mut self, name: &str, arguments: &'a str, column: usize) {
        self.text.boundary();
        if SILENT.contains(&name) || name.starts_with("auto") {
            for words in self.options(column, true) {
                self.text.block(BlockKind::Paragraph, &inline(words, self.names));
            }
            return self.skip(column);
        }
        let is_signature = name.contains(':') || is_object(name);
        let is_code = CODE.contains(&name);
        let is_picture = PICTURES.contains(&name);
        // Arguments may go on in the next lines.
        let mut arguments = vec![arguments];
        if is_signature {
            while !self.is_end_of_arguments(column) {
                arguments.push(self.line(self.at).trim());
                self.at += 1;
            }
        }
        let words = self.options(column, is_picture);
        if is_signature {
            for signature in arguments {
                self.text.block(BlockKind::Paragraph, &signature.replace('\\', ""));
            }
        } else if !is_code && !is_picture && !WITHOUT_ARGUMENTS.contains(&name) {
            if !arguments[0].is_empty() {
                self.begin(BlockKind::Paragraph, arguments[0], column, None);
            }
        } else if name == "math" || name.ends_with("table") {
            self.begin(BlockKind::Paragraph, arguments[0], column, Some(usize::MAX));
        }
        for words in words {
            if name == "csv-table" {
                self.end_paragraph();
                self.comma_row(words, true);
                continue;
            }
            self.text.block(BlockKind::Paragraph, &inline(words, self.names));
        }
        if is_code {
            self.end_paragraph();
            if self.has_content(column) {
                self.indented_code(column);
            }
        } else if name == "csv-table" {
            self.end_paragraph();
            self.comma_table(column);
        }
    }

    /// Returns whether the next visible line belongs to a directive at this column.
    fn has_content(&self, column: usize) -> bool {
        let next = self.lines[self.at..].iter().find(|line| !line.is_empty());
        next.is_some_and(|line| indent(line) > column)
    }

    fn is_end_of_arguments(&self, column: usize) -> bool {
        let line = self.line(self.at);
        line.is_empty() || indent(line) <= column || FIELD.is_match(line.trim_start())
    }

    /// Skips the options of a directive. Returns the values that a person reads.
    fn options(&mut self, column: usize, is_picture: bool) -> Vec<&'a str> {
        let mut words = Vec::new();
        loop {
            let line = self.line(self.at);
            let Some(found) = FIELD.captures(line.trim_start()).filter(|_| indent(line) > column) else {
                return words;
            };
            if matches!(&found[1], "caption" | "header") || is_picture && &found[1] == "alt" {
                words.extend(found.get(2).map(|value| value.as_str()));
            }
            self.at += 1;
            // The value of an option may go on in lines that are indented more.
            while !self.line(self.at).is_empty() && indent(self.line(self.at)) > indent(line) {
                self.at += 1;
            }
        }
    }

    /// Writes the rows of a table of comma-separated values.
    fn comma_table(&mut self, column: usize) {
        while self.at < self.lines.len()
            && (self.line(self.at).is_empty() || indent(self.line(self.at)) > column)
        {
            let line = self.line(self.at).trim();
            if !line.is_empty() {
                self.comma_row(line, false);
            }
            self.at += 1;
        }
    }

    fn comma_row(&mut self, line: &str, is_header: bool) {
        // What is between two quotes is one value.
        let mut is_quoted = false;
        let values = line.split(|c| {
            is_quoted ^= c == '"';
            c == ',' && !is_quoted
        });
        let cells: Vec<String> =
            values.map(|value| inline(value.trim().trim_matches('"'), self.names)).collect();
        write_row(&mut self.text, is_header, cells);
    }

    /// Reads a table. Returns whether there was one.
    fn table(&mut self, body: &str, column: usize) -> bool {
        if SIMPLE_TABLE.is_match(body) {
            self.simple_table(column);
        } else if GRID_TABLE.is_match(body) {
            self.grid_table(column);
        } else {
            return false;
        }
        true
    }

    /// Reads a table whose columns are below `====  ====`.
    fn simple_table(&mut self, column: usize) {
        let border = without_indent(self.line(self.at), column);
        let starts: Vec<usize> = border
            .char_indices()
            .filter(|&(at, c)| c == '=' && !border[..at].ends_with('='))
            .map(|(at, _)| at)
            .collect();
        self.at += 1;
        let is_border =
            |line: &str| line.starts_with("==") && line.bytes().all(|byte| matches!(byte, b'=' | b' '));
        let is_rule =
            |line: &str| line.starts_with("--") && line.bytes().all(|byte| matches!(byte, b'-' | b' '));
        // More rows follow the border below the header.
        let lines = self.lines;
        let is_last = |at: usize| lines.get(at).is_none_or(|line| line.is_empty() || indent(line) < column);
        let first = (self.at..lines.len()).find(|&at| is_border(without_indent(lines[at], column)));
        let mut has_header = first.is_some_and(|first| !is_last(first + 1));
        let mut row: Vec<String> = Vec::new();
        while self.at < self.lines.len()
            && (self.line(self.at).is_empty() || indent(self.line(self.at)) >= column)
        {
            let line = without_indent(self.line(self.at), column);
            self.at += 1;
            if is_border(line) {
                self.write_cells(&mut row, has_header);
                has_header = false;
                if is_last(self.at) {
                    break;
                }
            } else if line.is_empty() || is_rule(line) {
                self.write_cells(&mut row, has_header);
            } else {
                let cells = cut_at_columns(line, &starts);
                // A row with an empty first cell continues the row before it.
                if !cells[0].trim().is_empty() {
                    self.write_cells(&mut row, has_header);
                }
                add_cells(&mut row, &cells);
            }
        }
        self.write_cells(&mut row, false);
    }

    /// Reads a table whose cells are drawn with `+`, `-` and `|`.
    fn grid_table(&mut self, column: usize) {
        let mut end = self.at;
        while without_indent(self.line(end), column).starts_with(['+', '|']) {
            end += 1;
        }
        let lines: Vec<&str> =
            self.lines[self.at..end].iter().map(|line| without_indent(line, column)).collect();
        let mut has_header = lines.iter().any(|line| line.starts_with("+=") && GRID_TABLE.is_match(line));
        let mut row: Vec<String> = Vec::new();
        for line in lines {
            if line.starts_with('+') && line.contains(['-', '=']) && !line.contains('|') {
                self.write_cells(&mut row, has_header);
                has_header &= !line.starts_with("+=");
            } else {
                // A line of a cell that spans rows may have borders of other cells.
                let line = line.strip_prefix('|').unwrap_or(line);
                let cells = line.strip_suffix('|').unwrap_or(line).split('|');
                let cells = cells.map(|cell| cell.trim_matches([' ', '+', '-']));
                add_cells(&mut row, &cells.collect::<Vec<_>>());
            }
        }
        self.write_cells(&mut row, false);
        self.at = end.max(self.at + 1);
    }

    fn write_cells(&mut self, row: &mut Vec<String>, is_header: bool) {
        if !row.is_empty() {
            let names = self.names;
            write_row(&mut self.text, is_header, row.iter().map(|cell| inline(cell.trim(), names)));
            row.clear();
        }
    }
}

/// Adds a line of each cell to a row.
fn add_cells(row: &mut Vec<String>, cells: &[&str]) {
    row.resize(row.len().max(cells.len()), String::new());
    for (cell, line) in row.iter_mut().zip(cells) {
        if !line.trim().is_empty() {
            cell.push(' ');
            cell.push_str(line.trim());
        }
    }
}

/// Returns whether a directive describes an object of a program, so that its arguments are signatures.
fn is_object(name: &str) -> bool {
    #[rustfmt::skip]
    const OBJECTS: [&str; 24] = [
        "function", "class", "method", "attribute", "data", "exception", "decorator", "classmethod", "staticmethod", "property",
        "cfunction", "cmacro", "ctype", "cvar", "cmember", "option", "cmdoption", "envvar", "describe", "object", "opcode",
        "confval", "program-option", "pdbcommand",
    ];
    OBJECTS.contains(&name) || name.ends_with("method") || name.ends_with("function")
}

/// Returns the words of a paragraph without the marks.
fn inline(text: &str, names: &RstNames) -> String {
    let mut words = String::with_capacity(text.len());
    let mut closers = Closers::default();
    let mut at = 0;
    while let Some(found) = text[at..].find(['\\', '*', '`', '|', '_']) {
        words.push_str(&text[at..at + found]);
        at += found;
        let before = text[..at].chars().next_back();
        let rest = &text[at..];
        let end = match rest.as_bytes()[0] {
            b'\\' => Some(escape(rest, &mut words)),
            b'_' => reference(rest, before, &mut words, names),
            _ if !may_open(before, rest) => None,
            b'*' => emphasis(text, at, &mut closers, &mut words),
            b'|' => substitution(text, at, &mut closers, &mut words, names),
            _ if rest.starts_with("``") => {
                let close = closers.find(text, "``", at + 2, |end| may_close(text, end, 2));
                close.filter(|&close| close > at + 2).map(|close| {
                    words.push_str(&text[at + 2..close]);
                    close + 2 - at
                })
            }
            _ => interpreted(text, at, &mut closers, &mut words),
        };
        // A mark that is none is a character of the text.
        let length = end.unwrap_or_else(|| {
            words.push_str(&rest[..1]);
            1
        });
        at += length;
    }
    words.push_str(&text[at..]);
    words
}

/// Writes the character after a backslash. White space after a backslash is removed with it.
fn escape(rest: &str, words: &mut String) -> usize {
    let Some(c) = rest[1..].chars().next() else { return 1 };
    if !c.is_whitespace() {
        words.push(c);
    }
    1 + c.len_utf8()
}

/// Returns whether a mark can open between these characters.
fn may_open(before: Option<char>, rest: &str) -> bool {
    // The longest mark has two characters. A limit keeps the time linear for a line of marks only.
    let after = rest.chars().take(MARKS_MAX).find(|c| !matches!(c, '*' | '`' | '|'));
    let is_start = before.is_none_or(|c| {
        c.is_whitespace()
            || matches!(c, '-' | ':' | '/' | '\'' | '"' | '<' | '(' | '[' | '{' | '_')
            || (!c.is_ascii() && !c.is_alphanumeric())
    });
    let is_quoted = matches!(
        (before, after),
        (Some('"'), Some('"'))
            | (Some('\''), Some('\''))
            | (Some('('), Some(')'))
            | (Some('['), Some(']'))
            | (Some('<'), Some('>'))
    );
    is_start && !is_quoted && after.is_some_and(|c| !c.is_whitespace())
}

/// Returns whether a mark of some bytes at a position can close.
fn may_close(text: &str, at: usize, length: usize) -> bool {
    let before = text[..at].chars().next_back();
    let after = text[at + length..].chars().next();
    before.is_some_and(|c| !c.is_whitespace())
        && after.is_none_or(|c| {
            c.is_whitespace()
                || matches!(
                    c,
                    '\'' | '"' | ')' | ']' | '}' | '>' | '-' | '/' | '\\' | ':' | '.' | ',' | ';' | '!' | '?'
                )
                || (!c.is_ascii() && !c.is_alphanumeric())
        })
}

fn emphasis(text: &str, at: usize, closers: &mut Closers, words: &mut String) -> Option<usize> {
    let mark = if text[at..].starts_with("**") { "**" } else { "*" };
    let start = at + mark.len();
    let close = closers.find(text, mark, start + 1, |end| may_close(text, end, mark.len()))?;
    unescape(&text[start..close], words);
    Some(close + mark.len() - at)
}

fn unescape(text: &str, words: &mut String) {
    let mut rest = text;
    while let Some(found) = rest.find('\\') {
        words.push_str(&rest[..found]);
        rest = &rest[found..];
        rest = &rest[escape(rest, words)..];
    }
    words.push_str(rest);
}

/// A name between bars. A name without a definition here may be known to Sphinx, such as `|version|`.
fn substitution(
    text: &str,
    at: usize,
    closers: &mut Closers,
    words: &mut String,
    names: &RstNames,
) -> Option<usize> {
    let is_end = |end: usize| text[end + 1..].starts_with('_') || may_close(text, end, 1);
    let close = closers.find(text, "|", at + 2, |end| !text[..end].ends_with(' ') && is_end(end))?;
    let name = &text[at + 1..close];
    words.push_str(names.substitutions.get(&name.to_lowercase()).map_or(name, String::as_str));
    let underscores = text[close + 1..].bytes().take_while(|byte| *byte == b'_').count();
    Some(close + 1 + underscores - at)
}

/// A text in backquotes with its role: ``:doc:`words <target>` ``, `` `words <address>`_ ``.
fn interpreted(text: &str, at: usize, closers: &mut Closers, words: &mut String) -> Option<usize> {
    let is_end = |end: usize| {
        let after = &text[end + 1..];
        !text[..end].ends_with(char::is_whitespace)
            && (after.starts_with(['_', ':']) || may_close(text, end, 1))
    };
    let close = closers.find(text, "`", at + 2, is_end)?;
    let content = &text[at + 1..close];
    let role = role_before(&text[..at]);
    if let Some(role) = role {
        words.truncate(words.len() - role.len() - 2);
    }
    let mut shown = String::new();
    unescape(content, &mut shown);
    let title =
        shown.rsplit_once('<').filter(|(_, target)| target.ends_with('>')).map(|(title, _)| title.trim_end());
    match (title, role) {
        (Some(title), _) if !title.is_empty() => words.push_str(title),
        (Some(_), _) => words.push_str(shown.trim_matches(['<', '>'])),
        (None, Some("pep")) => words.push_str(&format!("PEP {shown}")),
        (None, Some("rfc")) => words.push_str(&format!("RFC {shown}")),
        (None, Some(_)) => {
            let shown = shown.trim_start_matches('!');
            // `~package.name` shows only the name.
            let short = shown.strip_prefix('~').map(|name| name.rsplit('.').next().unwrap_or(name));
            words.push_str(short.unwrap_or(shown));
        }
        (None, None) => words.push_str(&shown),
    }
    let after = &text[close + 1..];
    let underscores = after.bytes().take_while(|byte| *byte == b'_').count();
    let role_after =
        after.strip_prefix(':').and_then(|role| role.split_once(':')).filter(|(role, _)| is_role(role));
    Some(close + 1 + underscores + role_after.map_or(0, |(role, _)| role.len() + 2) - at)
}

/// Returns the role that ends a text: `doc` of `:doc:`.
fn role_before(text: &str) -> Option<&str> {
    let inner = text.strip_suffix(':')?;
    let is_of_role = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '.' | ':');
    let start = inner
        .rfind(|c: char| !is_of_role(c))
        .map_or(0, |at| at + inner[at..].chars().next().map_or(1, char::len_utf8));
    let role = inner[start..].strip_prefix(':')?;
    is_role(role).then_some(role)
}

fn is_role(role: &str) -> bool {
    role.starts_with(|c: char| c.is_ascii_alphabetic())
        && role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+.:".contains(&byte))
}

/// A reference (`name_`, `[1]_`) or a target (``_`words` ``). Returns its length without the words before it.
fn reference(rest: &str, before: Option<char>, words: &mut String, names: &RstNames) -> Option<usize> {
    let length = rest.bytes().take_while(|byte| *byte == b'_').count();
    let after = rest[length..].chars().next();
    if after == Some('`') && length == 1 && before.is_none_or(|c| !c.is_alphanumeric()) {
        return Some(1);
    }
    let is_end = after.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '*' | '`' | '|' | '(' | '['));
    if length > 2 || !is_end {
        return push_underscores(words, length);
    }
    if before == Some(']') {
        let start = words.rfind('[')?;
        // The number of an automatic footnote is not known here.
        if words[start + 1..].starts_with(['#', '*']) {
            words.truncate(start);
        }
        return Some(length);
    }
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | ':');
    let name_start =
        words.char_indices().rev().take(100).take_while(|(_, c)| is_of_name(*c)).last().map(|(at, _)| at);
    let name = words[name_start?..].to_lowercase();
    let is_anonymous = length == 2 && !name.starts_with('_') && before.is_some_and(char::is_alphanumeric);
    if names.targets.contains(&name) || is_anonymous {
        return Some(length);
    }
    push_underscores(words, length)
}

#[allow(clippy::unnecessary_wraps)] // So that each mark has the same result.
fn push_underscores(words: &mut String, length: usize) -> Option<usize> {
    words.extend(iter::repeat_n('_', length));
    Some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::clean::clean;

    fn read(source: &str) -> String {
        rst(source).clean().text().to_owned()
    }

    #[test]
    fn words_stay_and_marks_go() {
        let cases = [
            (
                "=====\nTitle\n=====\n\nOne\n===\n\nTwo *of*\n------\n\nThree\n=====\n",
                "# Title ## One ### Two of ## Three",
            ),
            (
                "A *b* **c d** ``e *f*`` `g`_ `h <https://x.example>`_ :ref:`i <j>` :func:`~a.b` :pep:`8` k_ l\\ m \\*n* [1]_ [#]_.\n\n.. _k: https://k.example\n\n.. [1] A note.\n",
                "A b c d e *f* g h i b PEP 8 k lm *n* [1] . A note.",
            ),
            ("- one\n  more\n- two\n\n  three\n\n1. four\n#. five\n", "- one more - two three - four - five"),
            (
                "term\n    Its definition.\n\n:Field: its value\n:orphan:\n\n-a, --all  Shows all.\n-b         More.\n",
                "term Its definition. Field: its value -a, --all Shows all. -b More.",
            ),
            (
                "Code::\n\n    a *b*\n\n      c\n\ntext::\n\n> quoted\n\n>>> 1 + 1\n2\n\n| line\n| two\n",
                "Code: a *b* c text: > quoted >>> 1 + 1 2 line two",
            ),
            (
                ".. note:: Some\n   words.\n\n   More.\n\n.. code-block:: sh\n   :linenos:\n\n   ls *a*\n\n.. toctree::\n   :maxdepth: 2\n\n   intro\n\n.. a comment\n   of two lines\n\n.. figure:: a.png\n   :alt: A bird\n   :width: 3\n\n   A *caption*.\n\n.. py:function:: f(x, *args)\n                 g(y)\n   :noindex:\n\n   Does it.\n",
                "Some words. More. ls *a* A bird A caption. f(x, *args) g(y) Does it.",
            ),
            (
                ".. |us| replace:: Petrel *Co*\n.. |c| unicode:: 0xA9 .. sign\n.. _a:\n\n|us| |c| |version|\n\n----\n\n.. image:: b.png\n",
                "Petrel Co \u{a9} version",
            ),
            (
                "=====  =====\na      b\n=====  =====\n1 *x*  2\n       3\n今天   4\n=====  =====\n\nafter",
                "| a | b | 1 x | 2 3 | 今天 | 4 after",
            ),
            (
                "+---+-----+\n| a | b   |\n+===+=====+\n| 1 | two |\n|   | 3   |\n+---+-----+\n",
                "| a | b | 1 | two 3",
            ),
            (
                ".. csv-table:: Title\n   :header: \"a\", \"b\"\n\n   \"1, 2\", 3\n\n.. list-table::\n\n   * - x\n     - y\n",
                "Title | a | b | 1, 2 | 3 - - x - y",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(read(source), expected, "{source}");
        }
    }

    #[test]
    fn what_only_looks_like_a_mark_stays() {
        for text in [
            "2 * 3 * 4 and 5*6*7",
            "__init__ and _private and a_b_c",
            "f(*args, **kwargs)",
            "a | b || c",
            "'*' and \"**\" or (*)",
            "A. Einstein",
            "word_ and `open",
            "C:/x::y",
            "12:30:45",
            "..not a directive",
        ] {
            assert_eq!(read(text), text);
        }
    }

    proptest! {
        #[test]
        fn plain_words_are_never_lost(words in proptest::collection::vec("[a-zA-Z今天气]{1,8}", 0..60), breaks in proptest::collection::vec("( |\n|\n\n|\n\n  |\n    |\n- |\n\n| \\* | \\*\\*|:: |\n=====\n|_ |\n\n\\| |`| ``)", 60)) {
            let source: String = words.iter().zip(&breaks).flat_map(|(word, gap)| [word.as_str(), gap]).collect();
            let kept = read(&source);
            let kept: Vec<&str> = kept.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation()).filter(|word| !word.is_empty()).collect();
            prop_assert_eq!(kept, words.iter().map(String::as_str).collect::<Vec<_>>(), "{}", source);
        }
    }

    #[test]
    fn hostile_documents_are_read_in_linear_time() {
        for part in [
            "*",
            "`",
            "|",
            "_",
            "=",
            "*a ",
            "``a ",
            "`a",
            "|a",
            "a_ ",
            ":a:`",
            "- ",
            ".. a::\n",
            "== ==\n",
            "+-+\n",
            "::\n\n a\n\n",
            "a\n=\n",
            "[#a]_",
            ".. |a| replace:: b\n",
            "\\",
            " - a\n",
            "| ",
        ] {
            let kept = rst(&part.repeat(300_000 / part.len()));
            assert!(clean(kept.text()).len() < 1_000_000);
        }
    }
}
