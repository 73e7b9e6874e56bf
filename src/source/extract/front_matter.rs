//! Splits the front matter of a Markdown file from the body, and parses the fields of the front matter. No other module uses
//! serde-saphyr or toml.

use serde_json::Value;

use crate::error::ContentError;
use crate::source::fields::Record;

/// The unparsed text of the front matter.
#[derive(Debug, PartialEq)]
pub enum FrontMatter<'a> {
    /// YAML between two lines of `---`.
    Yaml(&'a str),
    /// TOML between two lines of `+++`.
    Toml(&'a str),
}

/// Splits the front matter from the body.
///
/// The Markdown parser has an option for front matter, but the option also matches any text between two thematic breaks
/// (`---`). A body may start with a thematic break. Therefore this function requires that the front matter is empty or
/// begins with a field. Blank lines and comments may precede the field.
pub fn split(source: &str) -> (Option<FrontMatter<'_>>, &str) {
    find(source).map_or((None, source), |(fields, body)| (Some(fields), body))
}

fn find(source: &str) -> Option<(FrontMatter<'_>, &str)> {
    let source = source.trim_start_matches('\u{FEFF}');
    let mut lines = source.split_inclusive('\n');
    let first = lines.next()?;
    let fence = first.trim_end();
    let sign = match fence {
        "---" => ':',
        "+++" => '=',
        _ => return None,
    };
    let mut end = first.len();
    // Whether the first line that is not blank and not a comment is a field; `None` until that line is found.
    let mut starts_with_field = None;
    for line in lines {
        // A YAML document may also end with the line `...`.
        if line.trim_end() == fence || sign == ':' && line.trim_end() == "..." {
            let fields = &source[first.len()..end];
            let fields = if sign == ':' { FrontMatter::Yaml(fields) } else { FrontMatter::Toml(fields) };
            return starts_with_field.unwrap_or(true).then(|| (fields, &source[end + line.len()..]));
        }
        end += line.len();
        if !line.trim().is_empty() && !line.starts_with('#') {
            starts_with_field.get_or_insert_with(|| is_field(line, sign));
        }
    }
    None
}

/// Returns whether a line is a field with a key of one word (`key: value` or `key = value`), or is the header of a TOML
/// table.
fn is_field(line: &str, sign: char) -> bool {
    let key = line.split_once(sign).map(|(key, _)| key.trim());
    key.is_some_and(|key| !key.is_empty() && !key.contains(char::is_whitespace))
        || (sign == '=' && line.starts_with('['))
}

impl FrontMatter<'_> {
    /// Returns the fields, keyed by name. Returns no fields if the front matter is not a map.
    ///
    /// # Errors
    /// The front matter is not valid YAML or TOML.
    pub fn parse(&self) -> Result<Record, ContentError> {
        let parsed = match self {
            FrontMatter::Yaml(text) if text.trim().is_empty() => Ok(Value::Null),
            FrontMatter::Yaml(text) => {
                // In `country: NO`, the value is a country and not a boolean.
                let options = serde_saphyr::options! { strict_booleans: true };
                serde_saphyr::from_str_with_options(text, options).map_err(|e| ("YAML", e.to_string()))
            }
            FrontMatter::Toml(text) => match text.parse() {
                Ok(table) => Ok(json(toml::Value::Table(table))),
                Err::<_, toml::de::Error>(e) => Err(("TOML", e.message().to_owned())),
            },
        };
        match parsed {
            Ok(Value::Object(record)) => Ok(record),
            Ok(_) => Ok(Record::new()),
            Err((syntax, reason)) => {
                let reason =
                    reason.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(ContentError::FrontMatter { syntax: syntax.to_owned(), reason })
            }
        }
    }
}

/// Converts TOML to JSON. Dates become strings, because JSON has no type for dates.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json).collect(),
        toml::Value::Table(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fields_at_the_top_are_front_matter() {
        for (source, body) in [
            ("---\ntitle: x\n---\ntext", "text"),
            ("\u{FEFF}+++\ntitle = 'x'\n+++\ntext", "text"),
            ("---\n# made by hand\n\ntags:\n- a\n---\r\ntext", "text"),
            ("---\n---\ntext", "text"),
            ("---\ntitle: x\n...\ntext", "text"),
            ("+++\n[a]\nb = 1\n+++\ntext", "text"),
        ] {
            assert_eq!(split(source).1, body, "{source}");
        }
        for source in [
            "---\nA text that starts with a rule: not a setting.\n\n---\n\nmore",
            "text --- not front matter\n\n---\n\nmore",
            "---\ntitle: never ends",
            "",
        ] {
            assert_eq!(split(source), (None, source));
        }
    }

    #[test]
    fn fields_keep_their_types() {
        let parse = |source| split(source).0.unwrap().parse().map(Value::Object);
        let expected = serde_json::json!({"title": "Plan", "draft": false, "n": 3, "tags": ["a", "b"], "date": "2026-01-02"});
        let yaml = "---\ntitle: Plan\ndraft: false\nn: 3\ntags: [a, b]\ndate: 2026-01-02\n---\n";
        assert_eq!(parse(yaml).unwrap(), expected);
        let toml = "+++\ntitle = 'Plan'\ndraft = false\nn = 3\ntags = ['a', 'b']\ndate = 2026-01-02\n+++\n";
        assert_eq!(parse(toml).unwrap(), expected);
        assert_eq!(parse("---\n---\n").unwrap(), serde_json::json!({}));
        assert_eq!(parse("---\ncountry: NO\n---\n").unwrap(), serde_json::json!({"country": "NO"}));
        assert!(parse("---\na: [1\n---\n").is_err());
        assert!(parse("+++\na = \n+++\n").is_err());
    }
}
