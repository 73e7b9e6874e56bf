//! The settings at the top of a Markdown file (the only user of serde-saphyr and toml).

use serde_json::Value;

use crate::error::ContentError;
use crate::source::fields::Record;

/// The block of settings at the top, as it stands there.
#[derive(Debug, PartialEq)]
pub enum FrontMatter<'a> {
    /// Between lines of `---`.
    Yaml(&'a str),
    /// Between lines of `+++`.
    Toml(&'a str),
}

/// Parts the settings from the text. The Markdown parser's own option would take text between two rules anywhere
/// for settings; so may a text that starts with a rule, unless its first line is a setting.
pub fn split(source: &str) -> (Option<FrontMatter<'_>>, &str) {
    find(source).map_or((None, source), |(settings, body)| (Some(settings), body))
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
    let mut has_setting = None;
    for line in lines {
        // YAML has an end of its own.
        if line.trim_end() == fence || sign == ':' && line.trim_end() == "..." {
            let settings = &source[first.len()..end];
            let settings =
                if sign == ':' { FrontMatter::Yaml(settings) } else { FrontMatter::Toml(settings) };
            return has_setting.unwrap_or(true).then(|| (settings, &source[end + line.len()..]));
        }
        end += line.len();
        if !line.trim().is_empty() && !line.starts_with('#') {
            has_setting.get_or_insert_with(|| is_setting(line, sign));
        }
    }
    None
}

/// `key: value` or `key = value`, the key one word, or a table of TOML.
fn is_setting(line: &str, sign: char) -> bool {
    let key = line.split_once(sign).map(|(key, _)| key.trim());
    key.is_some_and(|key| !key.is_empty() && !key.contains(char::is_whitespace))
        || (sign == '=' && line.starts_with('['))
}

impl FrontMatter<'_> {
    /// The settings by name.
    pub fn parse(&self) -> Result<Record, ContentError> {
        let parsed = match self {
            FrontMatter::Yaml(text) if text.trim().is_empty() => Ok(Value::Null),
            FrontMatter::Yaml(text) => {
                // `country: NO` is a country.
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
                let reason = reason.lines().next().unwrap_or_default().to_owned();
                Err(ContentError::FrontMatter { syntax: syntax.to_owned(), reason })
            }
        }
    }
}

/// Dates have no type in JSON, so they become strings.
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
    fn only_settings_at_the_top_are_front_matter() {
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
    fn settings_keep_their_types() {
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
