//! JSON Lines in, a [`Raw`] a line out; a line in, id and text out (the only user of `serde_json` for
//! documents).

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{DOCUMENT_BYTES_MAX, Found, Raw};
use crate::error::{DocumentError, Failure};

/// Which fields of a line are the document. `a.b` is the field `b` of the object `a`, unless there is a field
/// of that whole name.
#[derive(Debug, Clone)]
pub struct Fields {
    /// The field with the id; a line without it is called `file:line`.
    pub id: String,
    /// The fields with the text, in the order in which they are joined.
    pub text: Vec<String>,
}

impl Fields {
    /// Id, where there is one, and text of one line. A whole number is taken as its digits.
    pub fn parse(&self, line: &[u8]) -> Result<(Option<String>, String), DocumentError> {
        let not_text = |e: std::str::Utf8Error| DocumentError::NotUtf8 { offset: e.valid_up_to() };
        let line = std::str::from_utf8(line).map_err(not_text)?;
        let object: Map<String, Value> =
            serde_json::from_str(line).map_err(|e| DocumentError::NotJson(reason(&e)))?;
        Ok((self.id(&object)?, self.text(&object)?))
    }

    fn id(&self, object: &Map<String, Value>) -> Result<Option<String>, DocumentError> {
        match find(object, &self.id) {
            None => Ok(None),
            Some(Value::String(id)) => Ok(Some(id.clone())),
            // Only these have one way to be written: 1e2 and 100000000000000000000001 would be rounded.
            Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(Some(id.to_string())),
            Some(other) => {
                Err(wrong_type(&self.id, "a string or a whole number of 64 bits", other, "--id-field"))
            }
        }
    }

    /// The fields that are there, each in a line of its own; one of them must be.
    fn text(&self, object: &Map<String, Value>) -> Result<String, DocumentError> {
        let mut texts = Vec::new();
        for field in &self.text {
            match find(object, field) {
                None => {}
                Some(Value::String(text)) => texts.push(text.as_str()),
                Some(other) => return Err(wrong_type(field, "a string", other, "--text-field")),
            }
        }
        if texts.is_empty() {
            return Err(DocumentError::FieldMissing {
                field: self.text.join("` or `"),
                option: "--text-field",
            });
        }
        Ok(texts.join("\n"))
    }
}

/// A field that is there and is not null.
fn find<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = object.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(object.get(first)?.as_object()?, rest)
    });
    found.filter(|value| !value.is_null())
}

/// The parser's words, without its line number: for one line that is always 1.
fn reason(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

fn wrong_type(field: &str, expected: &'static str, value: &Value, option: &'static str) -> DocumentError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    DocumentError::FieldType { field: field.to_owned(), expected, found, option }
}

/// The lines of one file or stream. Blank lines are no documents.
pub struct Lines {
    reader: Option<BufReader<Box<dyn Read + Send>>>,
    file: Arc<Path>,
    file_id: Arc<str>,
    number: u64,
}

impl Lines {
    pub fn new(reader: Box<dyn Read + Send>, file: &Path, file_id: String) -> Self {
        Lines {
            reader: Some(BufReader::with_capacity(1 << 16, reader)),
            file: file.into(),
            file_id: file_id.into(),
            number: 0,
        }
    }

    /// The next line, or the error that ends the file: after a failed read nothing more is known of it.
    fn line(&mut self) -> Option<Result<Vec<u8>, DocumentError>> {
        let reader = self.reader.as_mut()?;
        match read_line(reader) {
            Ok(Some(line)) => Some(line),
            Ok(None) => {
                self.reader = None;
                None
            }
            Err(e) => {
                self.reader = None;
                Some(Err(e.into()))
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let line = self.line()?;
            self.number += 1;
            let place = || format!("{}:{}", self.file.display(), self.number);
            match line {
                Ok(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => {}
                Ok(bytes) => {
                    let (file_id, file) = (self.file_id.clone(), self.file.clone());
                    return Some(Found::Raw(Raw::Line { file_id, file, number: self.number, bytes }));
                }
                Err(cause) => return Some(Found::Failed(Failure { place: place(), cause })),
            }
        }
    }
}

/// One line without its end, a byte order mark at its start removed; `None` at the end of the file.
/// Of a line over the limit no more than the limit is held.
fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, DocumentError>>> {
    let mut line = Vec::new();
    if reader.take(DOCUMENT_BYTES_MAX + 1).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
    } else if line.len() as u64 > DOCUMENT_BYTES_MAX {
        reader.skip_until(b'\n')?;
        return Ok(Some(Err(DocumentError::TooLarge { max: DOCUMENT_BYTES_MAX })));
    }
    if line.starts_with(b"\xEF\xBB\xBF") {
        line.drain(..3);
    }
    Ok(Some(Ok(line)))
}

#[cfg(test)]
mod tests {
    use super::super::Reading;
    use super::*;

    #[test]
    fn every_line_is_a_document_or_a_failure_with_its_number() {
        let input = b"\xEF\xBB\xBF{\"id\":\"a\",\"text\":\"1\"}\r\n\n  \n{\"id\":7,\"text\":\"2\"}\n{\"text\":\"3\"}\nnope".to_vec();
        let lines = Lines::new(Box::new(io::Cursor::new(input)), Path::new("f.jsonl"), "f.jsonl".into());
        let fields = Fields { id: "id".into(), text: vec!["text".into()] };
        let reading = Reading { fields, encoding: None };
        let found: Vec<String> = lines
            .map(|found| match found {
                Found::Raw(raw) => raw
                    .read(&reading)
                    .map_or_else(|f| format!("{}: {}", f.place, f.cause), |d| format!("{}={}", d.id, d.text)),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(found[..3], ["a=1", "7=2", "f.jsonl:5=3"]);
        assert!(
            found[3].starts_with("f.jsonl:6: not a JSON object: expected ident at column 2;"),
            "{}",
            found[3]
        );
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn fields_may_lie_deep_and_be_several() {
        let parse = |line: &str, id: &str, text: &[&str]| {
            let fields = Fields { id: id.into(), text: text.iter().map(|&name| name.into()).collect() };
            fields.parse(line.as_bytes()).map_err(|e| e.to_string())
        };
        let line =
            r#"{"a": {"b": {"c": "deep"}, "n": null}, "a.b.c": "whole", "t": "title", "k": {"id": -3}}"#;
        assert_eq!(parse(line, "k.id", &["a.b.c"]), Ok((Some("-3".into()), "whole".into())));
        assert_eq!(parse(line, "a.n", &["t", "a.b.d", "a.n"]), Ok((None, "title".into())));
        assert_eq!(
            parse(&line.replace("a.b.c", "x"), "x", &["t", "a.b.c"]),
            Ok((Some("whole".into()), "title\ndeep".into()))
        );
        assert!(parse(line, "x", &["a.b.d", "a.n"]).unwrap_err().starts_with("no field `a.b.d` or `a.n`;"));
        assert!(parse(line, "a", &["t"]).unwrap_err().starts_with("field `a` is an object,"));
    }
}
