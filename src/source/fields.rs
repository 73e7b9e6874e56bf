//! Reads the id, the text and the kept values of a document from the fields of a row.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{ContentError, DocumentError, FieldRole};

/// A map from the column names of a table to the values in one row, or from the field names of a JSON object to the values
/// of the fields.
pub type Record = Map<String, Value>;

/// The names of the fields to read. `a.b` names the field `b` of the object `a`, unless the row has a field called `a.b`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fields {
    /// The name of the field that contains the id. A row without this field gets the id `file:line`.
    pub id: String,
    /// The names of the fields that contain the text. The values of the fields are joined in this order.
    pub text: Vec<String>,
    /// The names of the fields that become columns of the index.
    pub keep: Vec<String>,
}

/// The id, the text and the kept values of one row.
#[derive(Debug, PartialEq)]
pub struct Parsed {
    /// The id; `None` if the row has no id.
    pub id: Option<String>,
    pub text: String,
    /// The values of the fields in [`Fields::keep`], in the order of that list. The value of a missing field is null.
    pub kept: Arc<[Value]>,
}

impl Fields {
    /// Returns the id, the text and the kept values of a record.
    ///
    /// # Errors
    /// The record has no text field, or the id or the text has the wrong type.
    pub fn of(&self, record: &Record) -> Result<Parsed, DocumentError> {
        Ok(Parsed { id: self.id(record)?, text: self.text(record)?, kept: self.kept(record) })
    }

    /// Returns the values of the fields in [`Fields::keep`], in the order of that list. The value of a missing field is
    /// null. Arrays and objects are converted to JSON text, because an index has no columns of these types.
    pub fn kept(&self, record: &Record) -> Arc<[Value]> {
        let kept = |name: &String| match find(record, name) {
            Some(nested @ (Value::Array(_) | Value::Object(_))) => Value::String(nested.to_string()),
            found => found.cloned().unwrap_or(Value::Null),
        };
        self.keep.iter().map(kept).collect()
    }

    /// Returns the id of a record. Returns `None` if the id field is missing, null or empty. An integer is converted to
    /// text.
    ///
    /// # Errors
    /// The value is not a string or a 64-bit integer.
    pub fn id(&self, record: &Record) -> Result<Option<String>, DocumentError> {
        match find(record, &self.id) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => Ok((!id.is_empty()).then(|| id.clone())),
            // Other numbers, such as 1e2 or 100000000000000000000001, are parsed as floats and may be rounded.
            Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(Some(id.to_string())),
            Some(other) => Err(wrong_type(&self.id, "a string or a 64-bit integer", other, FieldRole::Id)),
        }
    }

    /// Joins the values of all text fields in the record, with a line feed between two values. A null value is an empty
    /// text. The record must have at least one text field.
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
            let fields: Vec<String> = record.keys().cloned().collect();
            let field = self.text.join("` or `");
            return Err(DocumentError::FieldMissing { field, fields: shortened(&fields) });
        }
        Ok(texts.join("\n"))
    }

    /// Returns the indices of the columns to read from a table with this header.
    ///
    /// # Errors
    /// The table has none of the text columns, so no row can be a document.
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

/// Returns the approximate size of a record in memory, in bytes.
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

/// Joins column names with commas. If there are more than 12 columns, returns the first 12 names and says how many more
/// columns there are.
pub fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 12;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

/// Returns the value of the field with exactly this name. If there is no such field, this function splits the name at its
/// dots and searches the nested objects.
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
