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

/// A column with the values that are still to be written.
#[derive(Debug)]
pub struct KeptColumn {
    name: String,
    kind: KeptType,
    values: Vec<Value>,
}

impl KeptColumn {
    pub fn new(name: &str) -> Self {
        KeptColumn { name: name.to_owned(), kind: KeptType::Null, values: Vec::new() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn push(&mut self, value: Value) {
        self.values.push(value);
    }

    /// Whether it has had no value so far.
    pub fn is_empty(&self) -> bool {
        self.kind == KeptType::Null
    }

    pub fn field(&self) -> Field {
        Field::new(&self.name, self.kind.data_type(), true)
    }

    /// Takes a wider type where its new values need one. Whether that is another type in the file.
    pub fn widen(&mut self) -> bool {
        let before = self.kind;
        self.kind = self.values.iter().map(KeptType::of).fold(before, KeptType::join);
        self.kind.data_type() != before.data_type()
    }

    /// The values since the last call.
    pub fn take(&mut self) -> ArrayRef {
        array(&std::mem::take(&mut self.values), self.kind)
    }

    /// An array of a narrower type that this column had before.
    pub fn convert(&self, narrow: &ArrayRef) -> ArrayRef {
        if *narrow.data_type() == self.kind.data_type() {
            return narrow.clone();
        }
        array(&values(narrow), self.kind)
    }
}

fn array(values: &[Value], kind: KeptType) -> ArrayRef {
    match kind {
        KeptType::Boolean => Arc::new(values.iter().map(Value::as_bool).collect::<BooleanArray>()),
        KeptType::Whole | KeptType::LargeWhole => {
            Arc::new(values.iter().map(Value::as_i64).collect::<Int64Array>())
        }
        KeptType::Float => Arc::new(values.iter().map(Value::as_f64).collect::<Float64Array>()),
        KeptType::Text | KeptType::Null => Arc::new(values.iter().map(text).collect::<StringArray>()),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        // A whole number may have been a float's neighbour before, and 1 become 1.0.
        Value::Number(number) => Some(number.to_string().trim_end_matches(".0").to_owned()),
        other => Some(other.to_string()),
    }
}

fn values(array: &ArrayRef) -> Vec<Value> {
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
            rows.iter().for_each(|value| column.push(value.clone()));
            column.widen();
            let at_once = column.take();
            let mut late = KeptColumn::new("x");
            let mut arrays: Vec<ArrayRef> = Vec::new();
            for value in rows {
                late.push(value.clone());
                late.widen();
                arrays = arrays.iter().map(|array| late.convert(array)).collect();
                arrays.push(late.take());
            }
            assert_eq!((column.field(), late.field().data_type()), (late.field(), &kind));
            assert_eq!(Value::Array(values(&at_once)), expected);
            assert_eq!(Value::Array(arrays.iter().flat_map(values).collect()), expected);
        }
    }
}
