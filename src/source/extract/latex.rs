//! Extracts the text of LaTeX documents.
//!
//! Nothing is typeset: commands for words give their words, commands for layout give nothing, and formulas stay as they are written.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::char::compose;

use super::markup::{bracketed, head, pattern, write_row};
use crate::source::fields::Record;
use crate::text::blocks::{BlockKind, BlockWriter, Structured};

/// Maximum length of an argument that is skipped, in bytes. A longer one is text.
const ARGUMENT_MAX: usize = 64 << 10;

/// How many arguments may have no end. After that, arguments are text.
const FAILURES_MAX: usize = 256;

/// Maximum length of a command that the document defines, in bytes. A longer one gives nothing.
const MACRO_MAX: usize = 1024;

/// Commands of sections with their levels.
#[rustfmt::skip]
const SECTIONS: [(&str, usize); 9] = [
    ("title", 1), ("part", 1), ("chapter", 1), ("section", 2), ("subsection", 3), ("subsubsection", 4), ("paragraph", 5),
    ("subparagraph", 6), ("frametitle", 3),
];

/// Commands and what they stand for.
#[rustfmt::skip]
const SYMBOLS: [(&str, &str); 69] = [
    ("ss", "ß"), ("ae", "æ"), ("AE", "Æ"), ("oe", "œ"), ("OE", "Œ"), ("o", "ø"), ("O", "Ø"), ("l", "ł"), ("L", "Ł"),
    ("aa", "å"), ("AA", "Å"), ("i", "ı"), ("j", "ȷ"), ("dh", "ð"), ("th", "þ"), ("dots", "…"), ("ldots", "…"),
    ("textellipsis", "…"), ("textendash", "–"), ("textemdash", "—"), ("LaTeX", "LaTeX"), ("LaTeXe", "LaTeX2e"),
    ("TeX", "TeX"), ("BibTeX", "BibTeX"), ("XeTeX", "XeTeX"), ("XeLaTeX", "XeLaTeX"), ("LuaTeX", "LuaTeX"),
    ("LuaLaTeX", "LuaLaTeX"), ("pdfTeX", "pdfTeX"), ("MF", "METAFONT"), ("copyright", "©"), ("textcopyright", "©"),
    ("textregistered", "®"), ("texttrademark", "™"), ("S", "§"), ("P", "¶"), ("pounds", "£"), ("euro", "€"),
    ("texteuro", "€"), ("textdegree", "°"), ("textbackslash", "\\"), ("textasciitilde", "~"), ("textasciicircum", "^"),
    ("textbar", "|"), ("textless", "<"), ("textgreater", ">"), ("textunderscore", "_"), ("textbullet", "•"),
    ("textquotesingle", "'"), ("textquotedbl", "\""), ("textquoteleft", "‘"), ("textquoteright", "’"),
    ("textquotedblleft", "“"), ("textquotedblright", "”"), ("guillemotleft", "«"), ("guillemotright", "»"), ("dag", "†"),
    ("ddag", "‡"), ("slash", "/"), ("quad", " "), ("qquad", " "), ("enspace", " "), ("thinspace", " "), ("space", " "),
    ("hfill", " "), ("newline", "\n"), ("linebreak", "\n"), ("textvisiblespace", " "), ("textsterling", "£"),
];

/// Commands with arguments that are not words, with the number of these arguments. What follows them is text.
#[rustfmt::skip]
const SKIPPED: [(&str, usize); 101] = [
    ("label", 1), ("ref", 1), ("pageref", 1), ("eqref", 1), ("autoref", 1), ("cref", 1), ("Cref", 1), ("nameref", 1),
    ("vref", 1), ("cite", 1), ("citep", 1), ("citet", 1), ("citealp", 1), ("citeauthor", 1), ("citeyear", 1), ("parencite", 1),
    ("textcite", 1), ("footcite", 1), ("autocite", 1), ("nocite", 1), ("bibliography", 1), ("bibliographystyle", 1),
    ("addbibresource", 1), ("printbibliography", 0), ("includegraphics", 1), ("input", 1), ("include", 1), ("includeonly", 1),
    ("usepackage", 1), ("RequirePackage", 1), ("documentclass", 1), ("documentstyle", 1), ("usetikzlibrary", 1), ("vspace", 1),
    ("hspace", 1), ("setlength", 2), ("addtolength", 2), ("settowidth", 2), ("setcounter", 2), ("addtocounter", 2),
    ("stepcounter", 1), ("refstepcounter", 1), ("newcounter", 1), ("newlength", 1), ("newsavebox", 1), ("newtheorem", 2),
    ("theoremstyle", 1), ("pagestyle", 1), ("thispagestyle", 1), ("pagenumbering", 1), ("index", 1), ("glossary", 1),
    ("hyphenation", 1), ("color", 1), ("definecolor", 3), ("colorlet", 2), ("graphicspath", 1), ("addcontentsline", 3),
    ("addtocontents", 2), ("markboth", 2), ("markright", 1), ("fontsize", 2), ("rule", 2), ("linespread", 1),
    ("setstretch", 1), ("hypersetup", 1), ("geometry", 1), ("lstset", 1), ("sisetup", 1), ("captionsetup", 1),
    ("newenvironment", 3), ("renewenvironment", 3), ("DeclareMathOperator", 2), ("newglossaryentry", 2), ("newacronym", 3),
    ("cline", 1), ("cmidrule", 1), ("columnbreak", 0), ("hypertarget", 1), ("hyperlink", 1), ("phantomsection", 0),
    ("href", 1), ("textcolor", 1), ("colorbox", 1), ("fcolorbox", 2), ("parbox", 1), ("raisebox", 1), ("scalebox", 1),
    ("resizebox", 2), ("rotatebox", 1), ("multicolumn", 2), ("multirow", 2), ("foreignlanguage", 1), ("selectlanguage", 1),
    ("fontfamily", 1), ("fontseries", 1), ("fontshape", 1), ("usefont", 4), ("symbol", 1), ("penalty", 0), ("vskip", 0),
];

/// Environments whose content is code.
#[rustfmt::skip]
const CODE: [&str; 14] = [
    "verbatim", "verbatim*", "Verbatim", "Verbatim*", "BVerbatim", "LVerbatim", "lstlisting", "minted", "macrocode",
    "macrocode*", "Sinput", "Soutput", "code", "lstcode",
];

/// Environments without words.
const SILENT: [&str; 8] =
    ["comment", "tikzpicture", "pgfpicture", "picture", "filecontents", "filecontents*", "axis", "forest"];

/// Environments whose content is a formula.
#[rustfmt::skip]
const FORMULAS: [&str; 17] = [
    "equation", "equation*", "align", "align*", "alignat", "alignat*", "gather", "gather*", "multline", "multline*", "eqnarray",
    "eqnarray*", "displaymath", "math", "flalign", "flalign*", "dmath",
];

/// Environments with rows and cells, and the number of their arguments.
const TABLES: [(&str, usize); 7] = [
    ("tabular", 1),
    ("tabular*", 2),
    ("tabularx", 2),
    ("tabulary", 2),
    ("longtable", 1),
    ("tabu", 1),
    ("supertabular", 1),
];

/// Environments of the standard classes that have arguments, with their number.
const ARGUMENTS: [(&str, usize); 7] = [
    ("minipage", 1),
    ("thebibliography", 1),
    ("multicols", 1),
    ("wrapfigure", 2),
    ("subfigure", 1),
    ("macro", 1),
    ("environment", 1),
];

/// The accents of letters, as combining characters.
#[rustfmt::skip]
const ACCENTS: [(&str, char); 14] = [
    ("'", '\u{301}'), ("`", '\u{300}'), ("^", '\u{302}'), ("\"", '\u{308}'), ("~", '\u{303}'), ("=", '\u{304}'), (".", '\u{307}'),
    ("c", '\u{327}'), ("v", '\u{30C}'), ("u", '\u{306}'), ("H", '\u{30B}'), ("k", '\u{328}'), ("r", '\u{30A}'), ("d", '\u{323}'),
];

/// A command without parameters that the document defines.
static DEFINITION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\\(?:(?:re|provide)?(?:new)?command\*?|DeclareRobustCommand\*?)\s*\{?\s*\\([A-Za-z]+)\s*\}?\s*\{|\\def\s*\\([A-Za-z]+)\s*\{",
    )
});

/// Returns the text of the document, and what the document says about itself. Comments, labels and references are left out.
pub fn latex(source: &str) -> (Structured, Record) {
    let source = source.trim_start_matches('\u{FEFF}');
    let (preamble, body) = parts(source);
    let macros = macros(source);
    let mut fields = Record::new();
    let mut reader = LatexReader::new(body, &macros);
    reader.has_short_verbatim = preamble.contains("MakeShortVerb") || preamble.contains("{ltxdoc}");
    for name in ["title", "author", "date"] {
        let Some(argument) = argument_of(preamble, name) else { continue };
        let words = words(argument, &macros);
        if words.is_empty() {
            continue;
        }
        if name == "title" {
            reader.text.heading(1);
        }
        reader.text.push_str(&words);
        reader.text.end();
        fields.insert(name.to_owned(), words.into());
    }
    reader.read();
    (reader.text.finish(), fields)
}

/// Returns the preamble and the body of a document. A file that is a part of another one is all body, even if it quotes a whole
/// document as an example.
fn parts(source: &str) -> (&str, &str) {
    static BEGIN: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^[ \t]*\\begin\{document\}"));
    static BODY: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"(?m)^[ \t]*\\(?:(?:chapter|(?:sub)*section)\*?\{|begin\{(?:verbatim|Verbatim|lstlisting|minted|macrocode))",
        )
    });
    let start = BEGIN.find(source).map(|found| found.end()).filter(|&start| !BODY.is_match(&source[..start]));
    let (preamble, body) = source.split_at(start.unwrap_or(0));
    let end = body.rfind("\n\\end{document}").filter(|_| start.is_some());
    (preamble, &body[..end.unwrap_or(body.len())])
}

/// Returns the argument of a command that stands once in a text.
fn argument_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let command = format!("\\{name}");
    let after = text.match_indices(&command).map(|(at, _)| &text[at + command.len()..]);
    let mut rest = after.map(str::trim_start).find(|rest| rest.starts_with(['{', '[']))?;
    if rest.starts_with('[') {
        rest = rest[bracketed(rest, b'[', b']', ARGUMENT_MAX)?..].trim_start();
    }
    let length = bracketed(rest, b'{', b'}', ARGUMENT_MAX)?;
    Some(&rest[1..length - 1])
}

/// Returns the words of each command that the document defines without parameters.
fn macros(source: &str) -> HashMap<String, String> {
    let none = HashMap::new();
    let mut macros = HashMap::new();
    for found in DEFINITION.captures_iter(source) {
        let (Some(whole), Some(name)) = (found.get(0), found.get(1).or(found.get(2))) else { continue };
        let body = &source[whole.end() - 1..];
        if let Some(length) = bracketed(body, b'{', b'}', MACRO_MAX) {
            macros.insert(name.as_str().to_owned(), words(&body[1..length - 1], &none));
        }
    }
    macros
}

/// Returns the words of an argument in one line.
fn words(source: &str, macros: &HashMap<String, String>) -> String {
    let mut reader = LatexReader::new(source, macros);
    reader.read();
    reader.text.finish().clean().text().to_owned()
}

/// What is open: a group in braces, or an environment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LatexGroup {
    Plain,
    /// The title of a section, which ends a block.
    Title,
    /// Words that stand apart, such as a footnote.
    Aside,
    /// The term of an item, in brackets.
    Term,
}

struct LatexReader<'a> {
    source: &'a str,
    at: usize,
    text: BlockWriter,
    groups: Vec<LatexGroup>,
    /// The cells of the current row of each open table.
    tables: Vec<Vec<String>>,
    macros: &'a HashMap<String, String>,
    /// Whether `|code|` is code.
    has_short_verbatim: bool,
    failures: usize,
}

impl<'a> LatexReader<'a> {
    fn new(source: &'a str, macros: &'a HashMap<String, String>) -> Self {
        LatexReader {
            source,
            at: 0,
            text: BlockWriter::default(),
            groups: Vec::new(),
            tables: Vec::new(),
            macros,
            has_short_verbatim: false,
            failures: 0,
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// Adds text to the cell of a table or to the current block.
    fn push(&mut self, text: &str) {
        match self.tables.last_mut() {
            Some(row) => match row.last_mut() {
                Some(cell) => cell.push_str(text),
                None => row.push(text.to_owned()),
            },
            None => self.text.push_str(text),
        }
    }

    fn boundary(&mut self) {
        if self.tables.is_empty() {
            self.text.boundary();
        } else {
            self.push("\n");
        }
    }

    fn read(&mut self) {
        const SPECIAL: [char; 12] = ['\\', '{', '}', '%', '~', '$', '&', '-', '`', '\'', '\n', ']'];
        while !self.rest().is_empty() {
            let rest = self.rest();
            let plain = rest
                .find(|c| SPECIAL.contains(&c) || c == '|' && self.has_short_verbatim)
                .unwrap_or(rest.len());
            self.push(&rest[..plain]);
            self.at += plain;
            self.special();
        }
        while !self.tables.is_empty() {
            self.end_table();
        }
    }

    fn special(&mut self) {
        let rest = self.rest();
        let Some(sign) = rest.chars().next() else { return };
        self.at += 1;
        match sign {
            '\\' => self.command(),
            '{' => self.groups.push(LatexGroup::Plain),
            '}' => self.close(),
            ']' if self.groups.last() == Some(&LatexGroup::Term) => {
                self.groups.pop();
                self.push(" ");
            }
            '%' => self.comment(),
            '~' => self.push(" "),
            '$' => self.formula(if rest.starts_with("$$") { "$$" } else { "$" }),
            '&' if !self.tables.is_empty() => self.tables.iter_mut().last().into_iter().for_each(|row| {
                if row.is_empty() {
                    row.push(String::new());
                }
                row.push(String::new());
            }),
            '-' => self.dashes(rest),
            '`' if rest.starts_with("``") => self.quote("“"),
            '`' => self.push("‘"),
            '\'' if rest.starts_with("''") => self.quote("”"),
            '|' => self.verbatim_until('|'),
            '\n' => self.line_end(),
            _ => self.push(&rest[..sign.len_utf8()]),
        }
    }

    fn quote(&mut self, quote: &str) {
        self.push(quote);
        self.at += 1;
    }

    fn dashes(&mut self, rest: &str) {
        let count = rest.bytes().take_while(|&byte| byte == b'-').count();
        self.at += count - 1;
        match count {
            2 => self.push("–"),
            3 => self.push("—"),
            _ => self.push(&rest[..count]),
        }
    }

    /// A comment ends with its line. The white space at the start of the next line belongs to it.
    fn comment(&mut self) {
        let rest = self.rest();
        let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let is_whole_line = self.source[..self.at - 1].ends_with('\n') || self.at == 1;
        let indent = rest[line..].len() - rest[line..].trim_start_matches([' ', '\t']).len();
        self.at += line + indent;
        // A line with only a comment separates no paragraphs, but a blank line after it does.
        if !is_whole_line && self.rest().starts_with('\n') {
            self.push("\n");
        }
    }

    /// A blank line ends a paragraph.
    fn line_end(&mut self) {
        let rest = self.rest();
        let next = rest.trim_start_matches([' ', '\t', '\r']);
        if next.starts_with('\n') {
            self.boundary();
        } else {
            self.push("\n");
        }
    }

    /// Reads the end of a group.
    fn close(&mut self) {
        match self.groups.pop() {
            Some(LatexGroup::Title) if self.tables.is_empty() => self.text.end(),
            Some(LatexGroup::Aside) => self.push(")"),
            _ => {}
        }
    }

    /// Writes the source of a formula, up to its end.
    fn formula(&mut self, end: &str) {
        if end == "$$" {
            self.at += 1;
        }
        let rest = self.rest();
        let is_end = |at: &usize| !rest[..*at].ends_with('\\');
        let is_tried = self.failures < FAILURES_MAX;
        let window = if is_tried { head(rest, ARGUMENT_MAX) } else { "" };
        let found = window.match_indices(end).map(|(at, _)| at).find(is_end);
        // No formula goes on after a blank line.
        let found = found.filter(|&length| !rest[..length].contains("\n\n"));
        let Some(length) = found else {
            self.failures += 1;
            return self.push(&self.source[self.at - end.len()..self.at]);
        };
        self.push_formula(&rest[..length]);
        self.at += length + end.len();
    }

    /// Writes a formula without its labels.
    fn push_formula(&mut self, formula: &str) {
        static LABEL: LazyLock<Regex> =
            LazyLock::new(|| pattern(r"\\label\{[^{}]*\}|\\nonumber\b|(?m:(^|[^\\])%.*$)"));
        self.push(&LABEL.replace_all(formula, "$1"));
    }

    /// Reads a command, after its backslash.
    fn command(&mut self) {
        let rest = self.rest();
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphabetic() || *byte == b'@').count();
        if length == 0 {
            return self.sign_command(rest);
        }
        let name = &rest[..length];
        self.at += length;
        match name {
            "begin" => return self.begin(),
            "end" => return self.end(),
            "verb" | "lstinline" => return self.inline_code(),
            "mintinline" => {
                self.skip_argument();
                return self.inline_code();
            }
            _ => {}
        }
        if self.rest().starts_with('*') {
            self.at += 1;
        }
        if let Some((_, accent)) = ACCENTS.iter().find(|(known, _)| *known == name) {
            return self.accent(*accent);
        }
        // White space after the name of a command belongs to it. A command that is not known here may stand for a word.
        let after = self.rest().trim_start_matches([' ', '\t']);
        let symbol = SYMBOLS.iter().find(|(known, _)| *known == name);
        if symbol.is_some() || after.starts_with(['{', '[']) || name == "item" {
            self.at = self.source.len() - after.len();
        }
        if let Some((_, symbol)) = symbol {
            return self.push(symbol);
        }
        if let Some((_, level)) = SECTIONS.iter().find(|(known, _)| *known == name) {
            return self.section(*level);
        }
        if let Some((_, count)) = SKIPPED.iter().find(|(known, _)| *known == name) {
            self.skip_arguments(*count);
            return;
        }
        match name {
            "item" => self.item(),
            "bibitem" => {
                self.skip_arguments(1);
                self.text.begin(BlockKind::Item, "- ");
            }
            "footnote" | "thanks" | "marginpar" | "footnotetext" => {
                self.skip_option();
                self.open(LatexGroup::Aside, " (");
            }
            "caption" | "captionof" => {
                self.skip_option();
                self.boundary();
                self.open(LatexGroup::Title, "");
            }
            "url" | "nolinkurl" | "path" => self.address(),
            "par" | "newpage" | "clearpage" | "maketitle" | "tableofcontents" | "bigskip" | "medskip" => {
                self.boundary()
            }
            "newcommand" | "renewcommand" | "providecommand" | "DeclareRobustCommand" | "def" | "let" => {
                self.definition(name)
            }
            "iffalse" => {
                let end = self.rest().find("\\fi").map_or(self.rest().len(), |end| end + 3);
                self.at += end;
            }
            name => match self.macros.get(name) {
                Some(words) => {
                    self.push(words);
                    if self.rest().starts_with("{}") {
                        self.at += 2;
                    }
                }
                // A command that is not known here: its options go, and its arguments are words.
                None => self.skip_option(),
            },
        }
    }

    /// Reads a command whose name is one sign.
    fn sign_command(&mut self, rest: &'a str) {
        let Some(sign) = rest.chars().next() else { return };
        self.at += sign.len_utf8();
        let name = &rest[..sign.len_utf8()];
        match sign {
            '\\' => {
                self.at += usize::from(self.rest().starts_with('*'));
                self.skip_option();
                if self.tables.is_empty() { self.push("\n") } else { self.end_row() }
            }
            '(' => self.formula("\\)"),
            '[' => {
                self.boundary();
                self.formula("\\]");
                self.boundary();
            }
            '-' | '/' | '!' | '@' | ')' | ']' => {}
            ',' | ';' | ':' | ' ' | '\n' => self.push(" "),
            _ => match ACCENTS.iter().find(|(known, _)| *known == name) {
                Some((_, accent)) => self.accent(*accent),
                None => self.push(name),
            },
        }
    }

    /// Writes the next letter with an accent.
    fn accent(&mut self, accent: char) {
        let rest = self.rest().trim_start_matches([' ', '\t']);
        let inner = rest.strip_prefix('{').unwrap_or(rest);
        let inner = inner.strip_prefix('\\').filter(|inner| inner.starts_with(['i', 'j'])).unwrap_or(inner);
        let Some(letter) = inner.chars().next().filter(|c| c.is_alphabetic()) else { return };
        let after = &inner[letter.len_utf8()..];
        let after = if rest.starts_with('{') { after.strip_prefix('}') } else { Some(after) };
        let Some(after) = after else { return };
        match compose(letter, accent) {
            Some(letter) => self.push(letter.encode_utf8(&mut [0; 4])),
            None => self.push(&format!("{letter}{accent}")),
        }
        self.at = self.source.len() - after.len();
    }

    /// Reads the start of an environment.
    fn begin(&mut self) {
        let Some(name) = self.name() else { return };
        if CODE.contains(&name) || SILENT.contains(&name) || FORMULAS.contains(&name) {
            return self.raw_environment(name);
        }
        self.boundary();
        self.skip_option();
        if let Some((_, count)) = TABLES.iter().find(|(known, _)| *known == name) {
            self.skip_arguments(*count);
            self.text.boundary();
            self.tables.push(Vec::new());
        } else if let Some((_, count)) = ARGUMENTS.iter().find(|(known, _)| *known == name) {
            self.skip_arguments(*count);
        }
    }

    fn end(&mut self) {
        let Some(name) = self.name() else { return };
        if TABLES.iter().any(|(known, _)| *known == name) && !self.tables.is_empty() {
            self.end_table();
        }
        self.boundary();
    }

    /// Returns the name of an environment in braces.
    fn name(&mut self) -> Option<&'a str> {
        let inner = self.rest().trim_start().strip_prefix('{')?;
        let (name, _) = head(inner, 100).split_once('}')?;
        self.at = self.source.len() - inner.len() + name.len() + 1;
        Some(name.trim())
    }

    /// Reads an environment whose content has no commands.
    fn raw_environment(&mut self, name: &str) {
        if CODE.contains(&name) {
            self.skip_option();
            if name == "minted" {
                self.skip_argument();
            }
        }
        let rest = self.rest();
        let end = format!("\\end{{{name}}}");
        let length = rest.find(&end).unwrap_or(rest.len());
        let content = &rest[..length];
        self.at += (length + end.len()).min(rest.len());
        if CODE.contains(&name) {
            if self.tables.is_empty() {
                self.text.block(BlockKind::Code, content.trim_matches('\n'));
            } else {
                self.push(content);
            }
        } else if FORMULAS.contains(&name) {
            self.boundary();
            self.push_formula(content);
            self.boundary();
        }
    }

    fn end_row(&mut self) {
        let Some(row) = self.tables.last_mut().map(std::mem::take) else { return };
        if row.iter().all(|cell| cell.trim().is_empty()) {
            return;
        }
        // A table inside of a cell is a part of the cell.
        if self.tables.len() > 1 {
            let outer = self.tables.len() - 2;
            let words = row.join(" ");
            match self.tables[outer].last_mut() {
                Some(cell) => cell.push_str(&words),
                None => self.tables[outer].push(words),
            }
        } else {
            write_row(&mut self.text, false, row);
        }
    }

    fn end_table(&mut self) {
        self.end_row();
        self.tables.pop();
        self.push(" ");
    }

    fn section(&mut self, level: usize) {
        self.skip_option();
        if !self.rest().starts_with('{') || !self.tables.is_empty() {
            return;
        }
        self.text.heading(level);
        self.open(LatexGroup::Title, "");
    }

    /// Opens the group of an argument.
    fn open(&mut self, group: LatexGroup, start: &str) {
        if self.rest().starts_with('{') {
            self.at += 1;
            self.push(start);
            self.groups.push(group);
        }
    }

    fn item(&mut self) {
        self.text.begin(BlockKind::Item, "- ");
        if self.rest().starts_with('[') {
            self.at += 1;
            self.groups.push(LatexGroup::Term);
        }
    }

    /// Writes an address as it is.
    fn address(&mut self) {
        let rest = self.rest();
        if let Some(length) = self.length(rest, b'{', b'}') {
            self.push(&rest[1..length - 1].replace("\\%", "%").replace("\\_", "_").replace("\\#", "#"));
            self.at += length;
        }
    }

    /// Writes code between two equal signs or in braces.
    fn inline_code(&mut self) {
        self.at += usize::from(self.rest().starts_with('*'));
        self.skip_option();
        let rest = self.rest();
        let Some(sign) = rest.chars().next() else { return };
        if sign == '{' {
            return self.address();
        }
        self.at += sign.len_utf8();
        self.verbatim_until(sign);
    }

    /// Writes the text up to a sign in the same line.
    fn verbatim_until(&mut self, sign: char) {
        let rest = self.rest();
        let end = rest.find([sign, '\n']).unwrap_or(rest.len());
        self.push(&rest[..end]);
        self.at += end;
        if self.rest().starts_with(sign) {
            self.at += sign.len_utf8();
        }
    }

    /// Skips the definition of a command.
    fn definition(&mut self, kind: &str) {
        let rest = self.rest();
        let name = rest.trim_start_matches(['{', ' ']).trim_start_matches('\\');
        let name = name.trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '@');
        let after = name.trim_start_matches(['}', ' ', '=']);
        self.at = self.source.len() - after.len();
        if kind == "let" {
            let target = after
                .trim_start_matches('\\')
                .trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '@');
            self.at = self.source.len() - target.len();
            return;
        }
        self.skip_option();
        self.skip_option();
        // The parameters of `\def`: `#1#2`.
        let after = self.rest().trim_start_matches(|c: char| c == '#' || c.is_ascii_digit());
        self.at = self.source.len() - after.len();
        self.skip_argument();
    }

    fn skip_arguments(&mut self, count: usize) {
        for _ in 0..count {
            self.skip_option();
            self.skip_argument();
        }
    }

    /// Skips an argument in braces.
    fn skip_argument(&mut self) {
        let rest = self.rest();
        let next = rest.trim_start_matches([' ', '\t']);
        if let Some(length) = self.length(next, b'{', b'}') {
            self.at += rest.len() - next.len() + length;
        }
    }

    /// Skips an argument in brackets that directly follows.
    fn skip_option(&mut self) {
        while let Some(length) = self.length(self.rest(), b'[', b']') {
            self.at += length;
        }
    }

    /// Returns the length of the argument at the start of a text.
    fn length(&mut self, text: &str, open: u8, close: u8) -> Option<usize> {
        if text.as_bytes().first() != Some(&open) || self.failures >= FAILURES_MAX {
            return None;
        }
        let length = bracketed(text, open, close, ARGUMENT_MAX);
        self.failures += usize::from(length.is_none());
        length
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::clean::clean;

    fn read(source: &str) -> String {
        latex(source).0.clean().text().to_owned()
    }

    #[test]
    fn words_stay_and_commands_go() {
        let cases = [
            (
                "\\documentclass[a4paper]{article}\n\\usepackage{x}\n\\title{The \\emph{plan}}\\author{Ann \\and Bo}\\newcommand{\\us}{Petrel \\& Co}\n\\begin{document}\n\\maketitle\n\\section*{One}\\label{a}\ntext of \\us{} % private\nmore\n\n\\subsection[x]{Two \\textbf{of}}\nend\n\\end{document}\nignored",
                "# The plan Ann Bo ## One text of Petrel & Co more ### Two of end",
            ),
            (
                "\\textbf{a} {\\it b} c~d ``e'' f--g---h \\'e\\\"{o}\\c{c}\\~n\\i{} \\ss{} 5\\% \\_ \\{i\\} j\\footnote{k \\emph{l}}. m\\cite[p.~3]{n} \\ref{o} \\href{https://p.example}{q} \\url{https://r.example/a_b} \\verb|s_{t}| u\\,v w\\\\x \\LaTeX\\ y \\includegraphics[width=3cm]{z}",
                "a b c d “e” f–g—h éöçñı ß 5% _ {i} j (k l). m q https://r.example/a_b s_{t} u v w x LaTeX y",
            ),
            (
                "\\begin{itemize}\n\\item one\n\\item[two] three\n\\begin{enumerate}\\item four\\end{enumerate}\n\\end{itemize}\nafter",
                "- one - two three - four after",
            ),
            (
                "\\begin{tabular}{l|r}\n\\hline\na & \\textbf{b} \\\\ \\hline\n1 & 2\\\\[2pt]\n\\multicolumn{2}{c}{both}\n\\end{tabular}\n\\begin{figure}[ht]\\centering\\caption{A bird}\\end{figure}",
                "| a | b | 1 | 2 | both A bird",
            ),
            (
                "\\begin{verbatim}\n\\ls % {a}\n\\end{verbatim}\n\\begin{lstlisting}[language=C]\nint a;\n\\end{lstlisting}\n$x^2$ and \\(y\\) and \\begin{equation}\\label{e}\n\\frac{a}{b}\n\\end{equation}\n\\begin{comment}private\\end{comment}\\begin{tikzpicture}\\draw;\\end{tikzpicture}",
                "\\ls % {a} int a; x^2 and y and \\frac{a}{b}",
            ),
            (
                "\\def\\a#1{x#1}\\let\\b=\\c \\newcommand{\\d}[2]{y}\\renewcommand\\e{z}one \\unknown[opt]{two} \\iffalse private\\fi three",
                "one two three",
            ),
        ];
        for (source, expected) in cases {
            assert_eq!(read(source), expected, "{source}");
        }
        let fields = latex("\\title{A}\\author{B}\\date{2026}\n\\begin{document}\n").1;
        assert_eq!(
            serde_json::Value::Object(fields),
            serde_json::json!({"title": "A", "author": "B", "date": "2026"})
        );
    }

    proptest! {
        #[test]
        fn plain_words_are_never_lost(words in proptest::collection::vec("[a-zA-Z今天气]{1,8}", 0..60), breaks in proptest::collection::vec("( |\n|\n\n|\\{| \\}|\\[|~|\\\\\\$|& |--|`|'|\\\\\\\\|\\\\textbf\\{|\\\\item |\\\\section\\{|\\\\begin\\{tabular\\}|\\\\footnote\\{|\\\\end\\{tabular\\}|\\\\& )", 60)) {
            let source: String = words.iter().zip(&breaks).flat_map(|(word, gap)| [word.as_str(), gap]).collect();
            let kept = read(&source);
            let kept: String = kept.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation() || "–“”‘".contains(c)).collect();
            prop_assert_eq!(kept, words.concat(), "{}", source);
        }
    }

    #[test]
    fn hostile_documents_are_read_in_linear_time() {
        for part in [
            "-",
            "`",
            "'",
            "~",
            "{",
            "}",
            "$",
            "\\a[",
            "\\section{",
            "\\cite{",
            "\\footnote{a",
            "\\begin{tabular}{",
            "\\begin{verbatim}",
            "&",
            "\\\\",
            "%\n",
            "\\verb|",
            "\\newcommand{\\a}{",
            "\\def\\a{b}\\a ",
            "\\item[",
            "\\(",
            "\\'",
            "\\title{",
            "\\begin{a",
        ] {
            let kept = latex(&part.repeat(300_000 / part.len()));
            assert!(clean(kept.0.text()).len() < 1_000_000);
        }
    }
}
