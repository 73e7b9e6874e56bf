//! Reads Parquet files, one document per row. No other module but `stdin` uses the readers of the crate `parquet`.

use std::collections::HashSet;
use std::fmt::Display;
use std::io;
use std::mem;

use parquet::basic::LogicalType;
use parquet::file::metadata::KeyValue;
use parquet::file::reader::{FileReader, Length, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;

use super::expansion::Expansion;
use super::outbox::{Member, Outbox};
use super::reader::{CollectionReader, CollectionRequest};
use super::stdin::StdinFile;
use crate::error::ContentError;
use crate::source::fields::{self, Record};
use crate::source::format::CollectionFormat;

/// The rows of one file. Only the requested columns are decoded.
pub struct ParquetTable {
    rows: RowIter<'static>,
    /// Names of all columns.
    header: Vec<String>,
    /// Names of the columns that contain UUIDs.
    uuids: HashSet<String>,
    bytes_max: u64,
    /// Size of the file in bytes.
    size: u64,
    /// Number of rows in the file, by its footer.
    row_count: u64,
    /// How many bytes the values may have, as counted by [`plain_bytes`].
    expansion: Expansion,
}

impl ParquetTable {
    pub fn open(file: StdinFile, request: &CollectionRequest) -> Result<Self, ContentError> {
        let CollectionRequest { fields, limits, is_root, .. } = request;
        let size = file.len();
        let no_footer = |e| damaged("its footer is missing or damaged", e);
        let reader = SerializedFileReader::new(file).map_err(no_footer)?;
        let metadata = reader.metadata().file_metadata();
        // The metadata of an index is stored under the name of this program.
        let is_own = |pair: &KeyValue| pair.key == env!("CARGO_PKG_NAME");
        if !*is_root && metadata.key_value_metadata().is_some_and(|pairs| pairs.iter().any(is_own)) {
            return Err(ContentError::OwnIndex);
        }
        let row_count = u64::try_from(metadata.num_rows()).unwrap_or(0);
        let schema = metadata.schema();
        let columns = schema.get_fields();
        let header: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        let wanted: Vec<_> = fields.columns(&header)?.into_iter().map(|at| columns[at].clone()).collect();
        let is_uuid =
            |column: &&TypePtr| column.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid);
        let uuids = wanted.iter().filter(is_uuid).map(|column| column.name().to_owned()).collect();
        let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build();
        let no_columns = |e| damaged("its columns cannot be read", e);
        let rows = RowIter::from_file_into(Box::new(reader));
        let rows = rows.project(Some(projection.map_err(no_columns)?)).map_err(no_columns)?;
        Ok(ParquetTable {
            rows,
            header,
            uuids,
            bytes_max: limits.document_bytes,
            size,
            row_count,
            expansion: Expansion::new(size, limits.expansion),
        })
    }

    /// Returns how many bytes of the file this many rows stand for, if all rows are equally large.
    fn consumed(&self, rows: u64) -> u64 {
        let bytes = u128::from(self.size) * u128::from(rows) / u128::from(self.row_count.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX).min(self.size)
    }

    fn record(&mut self, row: &Row) -> Result<Record, ContentError> {
        let record: Record =
            row.get_column_iter().map(|(name, field)| (name.clone(), self.value(name, field))).collect();
        self.expansion.add(record.values().map(plain_bytes).sum())?;
        match self.bytes_max {
            max if fields::bytes(&record) as u64 > max => Err(ContentError::TooLarge { max }),
            _ => Ok(record),
        }
    }

    /// Converts a value to JSON. Bytes that are valid UTF-8 become a string, because some programs do not mark strings in
    /// the schema.
    fn value(&self, name: &str, field: &Field) -> Value {
        match field {
            Field::Bytes(bytes) if self.uuids.contains(name) => uuid(bytes.data()).into(),
            Field::Bytes(bytes) => {
                std::str::from_utf8(bytes.data()).map_or_else(|_| Value::from(bytes.data()), Value::from)
            }
            other => other.to_json_value(),
        }
    }
}

impl CollectionReader for ParquetTable {
    fn read(mut self: Box<Self>, outbox: &mut Outbox) -> io::Result<()> {
        outbox.columns(mem::take(&mut self.header));
        for number in 1.. {
            let Some(row) = self.rows.next() else { break };
            let row = row.map_err(|e| damaged("its rows are damaged", e))?;
            let record = match self.record(&row) {
                Err(e) if !matches!(e, ContentError::TooLarge { .. }) => return Err(e.into()),
                record => record,
            };
            outbox.consumed(self.consumed(number));
            outbox.push(Member::Row(number, record))?;
        }
        Ok(())
    }
}

/// Returns about how many bytes a value has in a Parquet file without compression, dictionaries and run lengths.
fn plain_bytes(value: &Value) -> u64 {
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(_) => 8,
        Value::String(text) => 4 + text.len() as u64,
        Value::Array(values) => values.iter().map(plain_bytes).sum(),
        Value::Object(record) => record.values().map(plain_bytes).sum(),
    }
}

/// Formats a UUID in the text format of RFC 9562: groups of 8, 4, 4, 4 and 12 hexadecimal digits.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        text.push_str(if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" });
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Returns the error for a damaged file. `what` says in plain words what is damaged. The message of the library follows in
/// brackets.
fn damaged(what: &str, error: impl Display) -> ContentError {
    let said = error.to_string();
    let reason = if said.contains("encrypted") {
        "it is encrypted".to_owned()
    } else {
        format!("{what} (parquet: {})", said.trim_start_matches("Parquet error: "))
    };
    ContentError::Damaged { kind: CollectionFormat::Parquet.name().to_owned(), reason }
}
