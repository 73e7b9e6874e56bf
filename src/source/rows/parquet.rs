//! Reads Parquet files, one document per row.
//!
//! A damaged file may crash the parser. Therefore a worker reads the file and sends the rows to this process.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;
use std::vec;

use parquet::basic::LogicalType;
use parquet::file::metadata::KeyValue;
use parquet::file::reader::{FileReader, Length, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;

use super::source::Source;
use super::stdin::StdinFile;
use crate::error::{ContentError, DocumentError};
use crate::source::document::Limits;
use crate::source::fields::{self, Fields, Record};
use crate::source::format::EXPANSION_FREE_BYTES;
use crate::source::found::Found;
use crate::source::location::Location;
use crate::source::raw::{Reading, RowContent};
use crate::source::worker::{Response, Sent, Worker};

/// The name of the format in messages.
pub const NAME: &str = "Parquet";

/// The rows of one file. This process receives the rows from a worker.
pub struct ParquetRows {
    worker: Option<Worker>,
    sent: vec::IntoIter<Response<Record>>,
    source: Source,
    number: u64,
    /// Size of the file in bytes.
    size: u64,
    /// Number of rows in the file, by its footer.
    rows: u64,
}

impl ParquetRows {
    pub fn open(
        location: &Location,
        source: Source,
        is_root: bool,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        // A worker can open no files and has no credentials for object storage, so it gets an open file.
        let file = location.file()?;
        let size = file.metadata()?.len();
        let (worker, rows) = reading.workers.rows(&file, &reading.fields, is_root)?;
        Ok(ParquetRows { worker: Some(worker), sent: Vec::new().into_iter(), source, number: 0, size, rows })
    }

    /// Returns how many bytes of the file the rows so far stand for, if all rows are equally large.
    fn consumed(&self) -> u64 {
        let bytes = u128::from(self.size) * u128::from(self.number) / u128::from(self.rows.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX).min(self.size)
    }
}

impl Iterator for ParquetRows {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        if self.sent.as_slice().is_empty() {
            let worker = self.worker.as_mut()?;
            match worker.receive::<Sent>().and_then(|sent| Ok(sent?)) {
                Ok(sent) => self.sent = sent.into_iter(),
                Err(cause) => {
                    self.worker = None;
                    return Some(self.source.failed_from(self.number + 1, cause));
                }
            }
        }
        let Some(row) = self.sent.next() else {
            self.worker = None;
            return None;
        };
        self.number += 1;
        self.source.consumed.store(self.consumed(), Relaxed);
        Some(match row {
            Ok(record) => self.source.row(self.number, RowContent::Record(record)),
            Err(too_large @ ContentError::TooLarge { .. }) => {
                self.source.failed(self.number, too_large.into())
            }
            Err(damaged) => {
                self.worker = None;
                self.source.failed_from(self.number, damaged.into())
            }
        })
    }
}

/// The rows of one file. A worker reads the rows and decodes only the requested columns.
pub struct ParquetTable {
    rows: RowIter<'static>,
    /// Names of the columns that contain UUIDs.
    uuids: HashSet<String>,
    bytes_max: u64,
    row_count: u64,
    /// How many bytes the values that follow may have, as counted by [`plain_bytes`].
    bytes_left: u64,
    expansion_max: u64,
}

impl ParquetTable {
    pub fn open(
        file: StdinFile,
        fields: &Fields,
        limits: Limits,
        is_root: bool,
    ) -> Result<Self, ContentError> {
        let size = file.len();
        let no_footer = |e| damaged("its footer is missing or damaged", e);
        let reader = SerializedFileReader::new(file).map_err(no_footer)?;
        let metadata = reader.metadata().file_metadata();
        // The metadata of an index is stored under the name of this program.
        let is_own = |pair: &KeyValue| pair.key == env!("CARGO_PKG_NAME");
        if !is_root && metadata.key_value_metadata().is_some_and(|pairs| pairs.iter().any(is_own)) {
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
        let expansion_max = limits.expansion;
        let bytes_left = size.saturating_mul(expansion_max).max(EXPANSION_FREE_BYTES);
        Ok(ParquetTable {
            rows,
            uuids,
            bytes_max: limits.document_bytes,
            row_count,
            bytes_left,
            expansion_max,
        })
    }

    /// Returns the number of rows, by the footer of the file.
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    fn record(&mut self, row: &Row) -> Response<Record> {
        let record: Record =
            row.get_column_iter().map(|(name, field)| (name.clone(), self.value(name, field))).collect();
        let bytes = record.values().map(plain_bytes).sum();
        let expands = ContentError::Expands { max: self.expansion_max };
        self.bytes_left = self.bytes_left.checked_sub(bytes).ok_or(expands)?;
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

impl Iterator for ParquetTable {
    type Item = Response<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(
            self.rows
                .next()?
                .map_err(|e| damaged("its rows are damaged", e))
                .and_then(|row| self.record(&row)),
        )
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
    ContentError::Damaged { kind: NAME.to_owned(), reason }
}
