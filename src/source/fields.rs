//! Which columns of a row are the document: a record in, id, text and kept values out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ContentError, DocumentError, FieldRole};

/// A row's columns, or a line's fields, by name.
pub type Record = Map<String, Value>;

/// Which columns of a row are the document. `a.b` is the field `b` of the object `a`, unless there is a
/// column of that whole name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fields {
    /// The one with the id; a row without it is called `file:line`.
    pub id: String,
    /// Those with the text, in the order in which they are joined.
    pub text: Vec<String>,
    /// Those that become columns of the index.
    pub keep: Vec<String>,
}

/// What a row says of its document.
#[derive(Debug, PartialEq)]
pub struct Parsed {
    /// Its id, where there is one.
    pub id: Option<String>,
    /// Its text.
    pub text: String,
    /// The values of [`Fields::keep`], null where there is none.
    pub kept: Arc<[Value]>,
}

impl Fields {
    /// A whole number is taken as its digits.
    pub fn of(&self, record: &Record) -> Result<Parsed, DocumentError> {
        Ok(Parsed { id: self.id(record)?, text: self.text(record)?, kept: self.kept(record) })
    }

    /// The values of [`Fields::keep`].
    pub fn kept(&self, record: &Record) -> Arc<[Value]> {
        let kept = |name: &String| match find(record, name) {
            // No column has a type for these.
            Some(nested @ (Value::Array(_) | Value::Object(_))) => Value::String(nested.to_string()),
            found => found.cloned().unwrap_or(Value::Null),
        };
        self.keep.iter().map(kept).collect()
    }

    /// The id, where there is one.
    pub fn id(&self, record: &Record) -> Result<Option<String>, DocumentError> {
        match find(record, &self.id) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => Ok((!id.is_empty()).then(|| id.clone())),
            // Only these have one way to be written: 1e2 and 100000000000000000000001 would be rounded.
            Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(Some(id.to_string())),
            Some(other) => {
                Err(wrong_type(&self.id, "a string or a whole number of 64 bits", other, FieldRole::Id))
            }
        }
    }

    /// The fields that are there, each in a line of its own; one of them must be. Null is an empty text.
    fn text(&self, record: &Record) -> Result<String, DocumentError> {
        let mut texts = Vec::new();
        for field in &self.text {
            match find(record, field) {
                None => {}
                Some(Value::Null) => texts.push(""),
                Some(Value::String(text)) => texts.push(text.as_str()),
                Some(other) => return Err(wrong_type(field, "a string", other, FieldRole::Text)),
            }
        }
        if texts.is_empty() {
            return Err(DocumentError::FieldMissing { field: self.text.join("` or `") });
        }
        Ok(texts.join("\n"))
    }

    /// The columns to read of a table that has these, by their place in it.
    ///
    /// # Errors
    /// None of them holds text: no row could be a document.
    pub fn columns(&self, header: &[String]) -> Result<Vec<usize>, ContentError> {
        let is_asked = |name: &str, asked: &String| {
            asked == name || asked.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
        };
        if !header.iter().any(|name| self.text.iter().any(|asked| is_asked(name, asked))) {
            return Err(ContentError::ColumnMissing {
                column: self.text.join("` or `"),
                columns: shortened(header),
            });
        }
        let asked = || self.text.iter().chain([&self.id]).chain(&self.keep);
        let is_wanted = |name: &String| asked().any(|asked| is_asked(name, asked));
        Ok((0..header.len()).filter(|&at| is_wanted(&header[at])).collect())
    }
}

/// Bytes that a record has in memory, about.
pub fn bytes(record: &Record) -> usize {
    fn of(value: &Value) -> usize {
        size_of::<Value>()
            + match value {
                Value::String(text) => text.len(),
                Value::Array(values) => values.iter().map(of).sum(),
                Value::Object(record) => bytes(record),
                Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            }
    }
    record.iter().map(|(name, value)| name.len() + of(value)).sum()
}

/// The names of the columns, the first of very many.
fn shortened(names: &[String]) -> String {
    const MOST: usize = 12;
    match names.len().checked_sub(MOST) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..MOST].join(", ")),
    }
}

/// The field of that whole name, or else the one at the end of a path of objects.
fn find<'a>(record: &'a Record, name: &str) -> Option<&'a Value> {
    record.get(name).or_else(|| {
        name.match_indices('.')
            .find_map(|(at, _)| find(record.get(&name[..at])?.as_object()?, &name[at + 1..]))
    })
}

fn wrong_type(field: &str, expected: &'static str, value: &Value, role: FieldRole) -> DocumentError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    DocumentError::FieldType { field: field.to_owned(), role, expected, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_lie_deep_and_be_several() {
        let parse = |line: &str, id: &str, text: &[&str]| {
            let text = text.iter().map(|&name| name.into()).collect();
            let fields = Fields { id: id.into(), text, keep: vec!["k".into(), "k.id".into(), "none".into()] };
            fields.of(&serde_json::from_str(line).unwrap()).map_err(|e| e.to_string())
        };
        let line =
            r#"{"a": {"b": {"c": "deep"}, "n": null}, "a.b.c": "whole", "t": "title", "k": {"id": -3}}"#;
        let kept = vec!["{\"id\":-3}".into(), serde_json::json!(-3), Value::Null];
        let parsed = |id: Option<&str>, text: &str| {
            Ok(Parsed { id: id.map(str::to_owned), text: text.into(), kept: kept.clone().into() })
        };
        assert_eq!(parse(line, "k.id", &["a.b.c"]), parsed(Some("-3"), "whole"));
        assert_eq!(parse(line, "a.n", &["t", "a.b.d", "a.n"]), parsed(None, "title\n"));
        assert_eq!(
            parse(&line.replace("a.b.c", "x"), "x", &["t", "a.b.c"]),
            parsed(Some("whole"), "title\ndeep")
        );
        assert!(parse(line, "x", &["a.b.d", "n"]).unwrap_err().starts_with("no field `a.b.d` or `n`"));
        assert_eq!(parse(line, "x", &["a.b.d", "a.n"]), parsed(None, ""));
        assert!(parse(line, "a", &["t"]).unwrap_err().starts_with("field `a` is an object,"));
        let line = line.replace("a.b.c", "a.b").replace("\"whole\"", "{\"x\": \"behind a dot\"}");
        assert_eq!(parse(&line, "x", &["a.b.x"]), parsed(None, "behind a dot"));
    }
}
