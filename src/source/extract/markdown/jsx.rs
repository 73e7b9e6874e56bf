//! Finds the JavaScript of MDX: imports, exports and the tags of components.

use std::sync::LazyLock;

use regex::Regex;

use crate::source::extract::markup::{head, pattern};

/// Maximum length of a tag or a statement, in bytes. A longer one is left as it is.
const LENGTH_MAX: usize = 64 << 10;

/// A tag of a component, such as `<Tabs>`. The names of components start with a capital letter.
pub struct Tag<'a> {
    /// The tag with its brackets.
    pub source: &'a str,
    /// The name; empty for a fragment (`<>`).
    pub name: &'a str,
    /// Whether the tag opens an element, closes one or is an element of its own.
    pub kind: TagKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    Open,
    Close,
    Single,
}

/// Returns the tag of a component at the start of a text. Returns `None` if the text starts with anything else.
pub fn tag(source: &str) -> Option<Tag<'_>> {
    let source = head(source, LENGTH_MAX);
    let inner = source.strip_prefix('<')?;
    let (is_close, inner) = inner.strip_prefix('/').map_or((false, inner), |inner| (true, inner));
    let name = inner.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.')).next()?;
    let end = |rest: &str| source.len() - rest.len();
    if name.is_empty() {
        let rest = inner.strip_prefix('>')?;
        let kind = if is_close { TagKind::Close } else { TagKind::Open };
        return Some(Tag { source: &source[..end(rest)], name, kind });
    }
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        return None;
    }
    let mut rest = &inner[name.len()..];
    loop {
        let next = rest.trim_start();
        let tag = |rest: &str, kind| Some(Tag { source: &source[..end(rest)], name, kind });
        if let Some(rest) = next.strip_prefix('>') {
            return tag(rest, if is_close { TagKind::Close } else { TagKind::Open });
        }
        if let Some(rest) = next.strip_prefix("/>") {
            return tag(rest, TagKind::Single);
        }
        if next.len() == rest.len() {
            return None;
        }
        rest = attribute(next)?;
    }
}

/// Returns what follows the attribute at the start of a text.
fn attribute(source: &str) -> Option<&str> {
    if source.starts_with('{') {
        return Some(&source[braces(source)?..]);
    }
    let is_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ':' | '-' | '.');
    let rest = source.trim_start_matches(is_of_name);
    if rest.len() == source.len() || source.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let Some(value) = rest.trim_start().strip_prefix('=') else { return Some(rest) };
    let value = value.trim_start();
    match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].find(quote).map(|end| &value[end + 2..]),
        '{' => Some(&value[braces(value)?..]),
        _ => None,
    }
}

/// Returns the length of the expression in braces at the start of a text. Braces in strings and comments do not count.
fn braces(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = source.as_bytes().get(at) {
        at += 1;
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.checked_sub(1)?,
            b'"' | b'\'' | b'`' => at += string(&source.as_bytes()[at..], *byte),
            b'/' => at += comment(&source[at..]),
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Returns the length of a string after its opening quote, with the closing quote. Returns 0 if the quote is an apostrophe: the
/// line has no other one.
fn string(source: &[u8], quote: u8) -> usize {
    let mut is_escaped = false;
    for (at, &byte) in source.iter().enumerate() {
        match byte {
            b'\n' if quote != b'`' => break,
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    0
}

/// Returns the length of a comment after its first slash. Returns 0 if the slash starts no comment.
fn comment(source: &str) -> usize {
    let end = match source.as_bytes().first() {
        Some(b'*') => source.find("*/").map(|end| end + 2),
        // `//` in an address, such as `https://example.org`, is inside a string.
        Some(b'/') => source.find('\n'),
        _ => None,
    };
    end.unwrap_or(0)
}

/// An import with its path in quotes. Prose such as "import taxes" has no path.
static IMPORT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"^import(?:\s+(?:type\s+)?[\w$*{},\s]+?\s*\bfrom)?\s*(?:"[^"\n]+"|'[^'\n]+')[ \t]*;?[ \t]*(?://[^\n]*)?(?:\r?\n|$)"#,
    )
});

/// The start of an export, up to the sign that no prose has.
static EXPORT: LazyLock<Regex> = LazyLock::new(|| {
    let declared = r"(?:const|let|var)\s+[\w$]+\s*(?::[^=\n]+)?=|(?:const|let|var)\s*[\{\[]";
    let function = r"(?:async\s+)?function\s*\*?\s*[\w$]*\s*[(<]|class\s+[\w$]+(?:\s+extends\s+[\w$.]+)?\s*\{|(?:type|interface)\s+[\w$]+\s*[={<]";
    let default = r"default\s+(?:(?:async\s+)?function\b[^\n]*\(|class\b[^\n]*\{|[({\[]|[\w$.]+(?:\([^\n]*\))?;?[ \t]*(?:\r?\n|$))";
    let listed = r"\{[\w$,\s]*\}\s*(?:from\b|;|\r?\n|$)|\*\s+(?:as\s+[\w$]+\s+)?from\s";
    pattern(&format!(r"^export\s+(?:{declared}|{function}|{default}|{listed})"))
});

/// Returns the length of the import or export at the start of a text, with the end of its line. Returns `None` if the text
/// starts with anything else.
pub fn module_statement(source: &str) -> Option<usize> {
    let source = head(source, LENGTH_MAX);
    if source.starts_with("import") {
        return IMPORT.find(source).map(|found| found.end());
    }
    if source.starts_with("export") && EXPORT.is_match(source) {
        return export(source);
    }
    None
}

/// Returns the length of an export. The export ends with its line, unless a bracket is open there.
fn export(source: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = source.as_bytes().get(at) {
        at += 1;
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => depth = depth.checked_sub(1)?,
            b'"' | b'\'' | b'`' => at += string(&source.as_bytes()[at..], *byte),
            b'/' => at += comment(&source[at..]),
            // An expression may go on in the next line, but not after a semicolon or a blank line.
            b'\n' if depth == 0 => {
                let next = source[at..].lines().next().unwrap_or_default();
                if source[..at].trim_end().ends_with(';') || next.trim().is_empty() || !is_continued(next) {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    (depth == 0).then_some(at)
}

/// Returns whether a line continues the expression of the line before it.
fn is_continued(line: &str) -> bool {
    line.starts_with([' ', '\t', ')', '}', ']', '.', '?', ':', '|', '&'])
}

/// The properties of components whose values a person reads on the page.
static SHOWN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"\b(?:title|label|heading|description|caption|summary|alt)["']?\s*[=:]\s*\{?\s*(?:"([^"\n]*)"|'([^'\n]*)'|`([^`$\n]*)`)"#,
    )
});

/// Returns the words that a tag shows, such as the title of a card.
pub fn shown(tag: &str) -> Vec<&str> {
    let words = SHOWN.captures_iter(tag);
    words.filter_map(|found| found.iter().skip(1).flatten().next().map(|words| words.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_components_are_found_with_their_values() {
        for source in [
            "<Tabs>",
            "</Tabs>",
            "<Card title=\"a > b\" />",
            "<Tabs.Item value='x' {...rest}>",
            "<Card items={[{ title: 'it }' }]} render={() => <p>x</p>}\n  open/>",
            "<>",
            "</>",
        ] {
            assert_eq!(tag(&format!("{source} more")).map(|tag| tag.source), Some(source), "{source}");
        }
        for source in ["<tabs>", "<K, V>", "< Tabs>", "<Tabs", "<Card title={`>", "<A=b>", "a"] {
            let found = tag(source).map(|tag| tag.source);
            assert_eq!(found, None, "{source}");
        }
        assert_eq!(shown("<Card title=\"One\" items={[{ label: 'Two' }]} href='/x' />"), ["One", "Two"]);
    }

    #[test]
    fn imports_and_exports_are_statements_and_prose_is_not() {
        for source in [
            "import Tabs from '@theme/Tabs';\n",
            "import {\n  A,\n  B,\n} from \"x\"\n",
            "import * as x from 'x'; // why\n",
            "import './style.css';\n",
            "import A, { B } from 'x';\n",
            "export const meta = { title: 'x' };\n",
            "export const A = ({ b }) => {\n  const c = \"}\";\n\n  return <p>don't</p>;\n};\n",
            "export default function Layout({ children }) {\n  return children;\n}\n",
            "export default Layout;\n",
            "export { a, b };\n",
            "export * from './x';\n",
            "export const x = [1,\n  2];\n",
        ] {
            assert_eq!(module_statement(&format!("{source}\ntext")), Some(source.len()), "{source}");
            assert_eq!(module_statement(source.trim_end()), Some(source.len() - 1), "{source}");
        }
        for source in [
            "import taxes from China rose.\n",
            "import os\n",
            "importing from \"x\"\n",
            "export default settings first.\n",
            "export const is a keyword.\n",
            "export class action suits {all} year.",
            "exports \"x\"",
        ] {
            assert_eq!(module_statement(source), None, "{source}");
        }
    }
}
