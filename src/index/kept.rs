//! Columns that are kept from the documents: JSON values in, an Arrow array of one type out.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use serde_json::Value;

/// The largest whole number up to which a float has every one.
const FLOAT_WHOLE_MAX: u64 = 1 << 53;

/// The type that holds all values of a column without changing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeptType {
    /// There is none yet.
    Null,
    Boolean,
    /// Whole numbers that a float can have too.
    Whole,
    /// Whole numbers of 64 bits.
    LargeWhole,
    Float,
    /// Strings as they are; anything else as JSON.
    Text,
}

impl KeptType {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => KeptType::Null,
            Value::Bool(_) => KeptType::Boolean,
            Value::Number(number) => match number.as_i64() {
                Some(whole) if whole.unsigned_abs() <= FLOAT_WHOLE_MAX => KeptType::Whole,
                Some(_) => KeptType::LargeWhole,
                // Above 63 bits.
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
            // Arrow's type for nothing is one that few readers know.
            KeptType::Text | KeptType::Null => DataType::Utf8,
        }
    }
}

/// A column, as far as its values are known.
#[derive(Debug, Clone)]
pub struct KeptColumn {
    name: String,
    kind: KeptType,
}

impl KeptColumn {
    pub fn new(name: &str) -> Self {
        KeptColumn { name: name.to_owned(), kind: KeptType::Null }
    }

    /// One that is in a file already.
    pub fn of_type(name: &str, of: &DataType) -> Self {
        let kind = match of {
            DataType::Boolean => KeptType::Boolean,
            DataType::Int64 => KeptType::LargeWhole,
            DataType::Float64 => KeptType::Float,
            _ => KeptType::Text,
        };
        KeptColumn { name: name.to_owned(), kind }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has had no value so far.
    pub fn is_empty(&self) -> bool {
        self.kind == KeptType::Null
    }

    pub fn field(&self) -> Field {
        Field::new(&self.name, self.kind.data_type(), true)
    }

    /// Takes a wider type where this value needs one. Whether that is another type in the file.
    pub fn widen(&mut self, value: &Value) -> bool {
        let before = self.kind.data_type();
        self.kind = self.kind.join(KeptType::of(value));
        self.kind.data_type() != before
    }

    /// What goes into the file.
    pub fn array<'a>(&self, values: impl Iterator<Item = &'a Value>) -> ArrayRef {
        match self.kind {
            KeptType::Boolean => Arc::new(values.map(Value::as_bool).collect::<BooleanArray>()),
            KeptType::Whole | KeptType::LargeWhole => {
                Arc::new(values.map(Value::as_i64).collect::<Int64Array>())
            }
            KeptType::Float => Arc::new(values.map(Value::as_f64).collect::<Float64Array>()),
            KeptType::Text | KeptType::Null => Arc::new(values.map(rendered).collect::<StringArray>()),
        }
    }

    /// A value of a column with the same rendered values and another type, as it would have come from a document.
    pub fn revive(&self, value: &Value) -> Value {
        match rendered(value) {
            Some(text) if self.kind != KeptType::Text => serde_json::from_str(&text).unwrap_or(Value::Null),
            text => text.into(),
        }
    }
}

/// As it stands in a column of text; the same for a value however wide the column's type is.
pub fn rendered(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // A whole number may have been a float's neighbour before, and 1 become 1.0.
        Value::Number(number) => Some(number.to_string().trim_end_matches(".0").to_owned()),
        other => Some(other.to_string()),
    }
}

/// What two rows with equal kept values have in common, whatever the types of the columns; and bytes of text.
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

/// Whether a column of a file has a type that is written here.
pub fn is_known(kind: &DataType) -> bool {
    matches!(kind, DataType::Boolean | DataType::Int64 | DataType::Float64 | DataType::Utf8)
}

/// The values of a column of a file, of a type that [`is_known`].
pub fn values(array: &ArrayRef) -> Vec<Value> {
    let value = |at| match array.data_type() {
        _ if array.is_null(at) => Value::Null,
        DataType::Boolean => array.as_boolean().value(at).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(at).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(at).into(),
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
            // All at once, and each value as late as can be.
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
                let revived: Vec<Value> = written.iter().map(|value| late.revive(value)).collect();
                written = values(&late.array(revived.iter().chain([&rows[at]])));
            }
            assert_eq!(Value::Array(written), expected);
            // A column that was wider yesterday.
            let text = KeptColumn { name: String::new(), kind: KeptType::Text }.array(rows.iter());
            let revived: Vec<Value> = values(&text).iter().map(|value| column.revive(value)).collect();
            assert_eq!(&column.array(revived.iter()), &at_once);
            assert_eq!(digest(&values(&text)), digest(rows));
            assert_eq!(digest(&values(&at_once)), digest(rows));
        }
    }
}
