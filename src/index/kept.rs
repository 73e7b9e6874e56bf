//! Converts the JSON values of a kept column to an Arrow array of one type, and an Arrow array back to JSON values.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use serde_json::Value;

/// A 64-bit float represents every whole number up to this number exactly.
const FLOAT_WHOLE_MAX: u64 = 1 << 53;

/// The narrowest type that can represent all values of a column unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptType {
    /// All values so far are null.
    Null,
    Boolean,
    /// Whole numbers that a 64-bit float represents exactly.
    Whole,
    /// Whole numbers that fit into a signed 64-bit number. A 64-bit float cannot represent all of these numbers exactly.
    LargeWhole,
    Float,
    /// Strings are stored unchanged, and all other values are stored as JSON.
    Text,
    /// Lists of strings. Only [`KeptColumn::fixed`] makes such a column.
    Texts,
}

impl KeptType {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => KeptType::Null,
            Value::Bool(_) => KeptType::Boolean,
            Value::Number(number) => match number.as_i64() {
                Some(whole) if whole.unsigned_abs() <= FLOAT_WHOLE_MAX => KeptType::Whole,
                Some(_) => KeptType::LargeWhole,
                // The number is too large for an `i64`.
                None if number.is_u64() => KeptType::Text,
                None => KeptType::Float,
            },
            Value::String(_) | Value::Array(_) | Value::Object(_) => KeptType::Text,
        }
    }

    fn join(self, other: Self) -> Self {
        use KeptType::{Float, LargeWhole, Null, Text, Whole};
        match (self, other) {
            (one, two) if one == two => one,
            (Null, some) | (some, Null) => some,
            (Whole, LargeWhole) | (LargeWhole, Whole) => LargeWhole,
            (Whole, Float) | (Float, Whole) => Float,
            _ => Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            KeptType::Boolean => DataType::Boolean,
            KeptType::Whole | KeptType::LargeWhole => DataType::Int64,
            KeptType::Float => DataType::Float64,
            // Few programs can read Arrow's null type.
            KeptType::Text | KeptType::Null => DataType::Utf8,
            KeptType::Texts => texts(),
        }
    }
}

/// The name of a kept column, and a type that can represent all values so far.
#[derive(Debug, Clone)]
pub struct KeptColumn {
    name: String,
    kind: KeptType,
    /// Whether the type is the same in every file.
    is_fixed: bool,
}

impl KeptColumn {
    pub fn new(name: &str) -> Self {
        KeptColumn { name: name.to_owned(), kind: KeptType::Null, is_fixed: false }
    }

    /// Returns a column whose values all have this type.
    pub fn fixed(name: &str, kind: KeptType) -> Self {
        KeptColumn { name: name.to_owned(), kind, is_fixed: true }
    }

    /// Returns a column with this name, and with the type `of` that the column has in a file.
    pub fn of_type(name: &str, of: &DataType) -> Self {
        let kind = match of {
            DataType::Boolean => KeptType::Boolean,
            DataType::Int64 => KeptType::LargeWhole,
            DataType::Float64 => KeptType::Float,
            DataType::List(_) => KeptType::Texts,
            _ => KeptType::Text,
        };
        KeptColumn { name: name.to_owned(), kind, is_fixed: false }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether all values so far are null.
    pub fn is_empty(&self) -> bool {
        self.kind == KeptType::Null
    }

    pub fn field(&self) -> Field {
        Field::new(&self.name, self.kind.data_type(), true)
    }

    /// Widens the type if this value needs a wider type. Returns whether the column's Arrow type has changed.
    pub fn widen(&mut self, value: &Value) -> bool {
        if self.is_fixed {
            return false;
        }
        let before = self.kind.data_type();
        self.kind = self.kind.join(KeptType::of(value));
        self.kind.data_type() != before
    }

    /// Returns the values as an Arrow array of the column's type.
    pub fn array<'a>(&self, values: impl Iterator<Item = &'a Value>) -> ArrayRef {
        match self.kind {
            KeptType::Boolean => Arc::new(values.map(Value::as_bool).collect::<BooleanArray>()),
            KeptType::Whole | KeptType::LargeWhole => {
                Arc::new(values.map(Value::as_i64).collect::<Int64Array>())
            }
            KeptType::Float => Arc::new(values.map(Value::as_f64).collect::<Float64Array>()),
            KeptType::Text | KeptType::Null => Arc::new(values.map(rendered).collect::<StringArray>()),
            KeptType::Texts => {
                let mut lists = ListBuilder::new(StringBuilder::new()).with_field(texts_element());
                for value in values {
                    let texts =
                        value.as_array().map(|list| list.iter().map(Value::as_str).collect::<Vec<_>>());
                    lists.append_option(texts);
                }
                Arc::new(lists.finish())
            }
        }
    }

    /// Converts a value that was read from a file to a value of this column. The file may store the column with another type.
    pub fn convert(&self, value: &Value) -> Value {
        match rendered(value) {
            Some(text) if self.kind != KeptType::Text => serde_json::from_str(&text).unwrap_or(Value::Null),
            text => text.into(),
        }
    }
}

/// Returns the type of a column of lists of strings.
fn texts() -> DataType {
    DataType::List(texts_element())
}

fn texts_element() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, true))
}

/// Returns the string that a text column stores for a value; `None` for null. If the value was read from a file, the result does
/// not depend on the column's type in that file.
pub fn rendered(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // From a column of floats, the whole number 1 is read as 1.0.
        Value::Number(number) => Some(number.to_string().trim_end_matches(".0").to_owned()),
        other => Some(other.to_string()),
    }
}

/// Returns a digest of the kept values of a row, and the size of these values as text, in bytes. The types of the columns change
/// neither the digest nor the size.
pub fn digest(values: &[Value]) -> (u64, usize) {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    for text in values.iter().map(rendered) {
        hasher.update(&[text.is_some().into()]);
        let text = text.unwrap_or_default();
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        bytes += text.len();
    }
    let [a, b, c, d, e, f, g, h, ..] = *hasher.finalize().as_bytes();
    (u64::from_le_bytes([a, b, c, d, e, f, g, h]), bytes)
}

/// Returns whether this tool writes kept columns of this type.
pub fn is_known(kind: &DataType) -> bool {
    matches!(kind, DataType::Boolean | DataType::Int64 | DataType::Float64 | DataType::Utf8)
        || *kind == texts()
}

/// Returns the values of a kept column. [`is_known`] must return true for the column's type.
pub fn values(array: &ArrayRef) -> Vec<Value> {
    let value = |at| match array.data_type() {
        _ if array.is_null(at) => Value::Null,
        DataType::Boolean => array.as_boolean().value(at).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(at).into(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(at);
            list.as_string::<i32>().iter().map(Value::from).collect()
        }
        _ => array.as_string::<i32>().value(at).into(),
    };
    (0..array.len()).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_column_has_the_type_that_changes_no_value() {
        let large = 1i64 << 60;
        for (rows, kind, expected) in [
            (json!([true, null]), DataType::Boolean, json!([true, null])),
            (json!([1, large]), DataType::Int64, json!([1, large])),
            (json!([1, 2.5, null]), DataType::Float64, json!([1.0, 2.5, null])),
            (json!([large, 2.5]), DataType::Utf8, json!([large.to_string(), "2.5"])),
            (json!([1, 2.5, "x"]), DataType::Utf8, json!(["1", "2.5", "x"])),
            (json!([u64::MAX]), DataType::Utf8, json!([u64::MAX.to_string()])),
            (json!([true, 1]), DataType::Utf8, json!(["true", "1"])),
            (json!(["1", {"a": [1]}]), DataType::Utf8, json!(["1", "{\"a\":[1]}"])),
            (json!([null]), DataType::Utf8, json!([null])),
        ] {
            // First, one column receives all values at once. Then another column is written and read again after each value.
            let rows = rows.as_array().unwrap();
            let mut column = KeptColumn::new("x");
            rows.iter().for_each(|value| _ = column.widen(value));
            assert_eq!(column.field().data_type(), &kind);
            let at_once = column.array(rows.iter());
            assert_eq!(Value::Array(values(&at_once)), expected);
            let mut late = KeptColumn::new("x");
            let mut written: Vec<Value> = Vec::new();
            for (at, value) in rows.iter().enumerate() {
                late.widen(value);
                let converted: Vec<Value> = written.iter().map(|value| late.convert(value)).collect();
                written = values(&late.array(converted.iter().chain([&rows[at]])));
            }
            assert_eq!(Value::Array(written), expected);
            // In an older file, the column may have a wider type.
            let text = KeptColumn::fixed("", KeptType::Text).array(rows.iter());
            let converted: Vec<Value> = values(&text).iter().map(|value| column.convert(value)).collect();
            assert_eq!(&column.array(converted.iter()), &at_once);
            assert_eq!(digest(&values(&text)), digest(rows));
            assert_eq!(digest(&values(&at_once)), digest(rows));
        }
    }
}
