//! Parquet in, a row a document out. A damaged file can break its reader in any way, so a worker reads it; in this
//! process are only its rows.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::vec;

use parquet::basic::LogicalType;
use parquet::file::metadata::KeyValue;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;

use super::source::Source;
use crate::error::{ContentError, DocumentError};
use crate::source::document::Limits;
use crate::source::fields::{self, Fields, Record};
use crate::source::found::Found;
use crate::source::location::Location;
use crate::source::raw::{Reading, RowContent};
use crate::source::worker::{Request, Response, Sent, Worker};

/// Its name in messages.
pub const KIND: &str = "Parquet";

/// The rows of one file.
pub struct ParquetRows {
    worker: Option<Worker>,
    sent: vec::IntoIter<Response<Record>>,
    source: Source,
    number: u64,
}

impl ParquetRows {
    pub fn open(
        location: &Location,
        source: Source,
        is_root: bool,
        reading: &Reading,
    ) -> Result<Self, DocumentError> {
        // A worker has neither credentials nor patience. Once it has opened the copy, that needs no name any more.
        let fetched = location.fetch()?;
        let path = fetched.as_deref().unwrap_or(Path::new(source.file.as_ref()));
        // Opened here too, for the reasons that only the system can give.
        let size = File::open(path)?.metadata()?.len();
        // How far the reader is in it is not to be seen.
        source.taken.store(size, Relaxed);
        let (fields, limits) = (reading.fields.clone(), reading.limits);
        let request = Request::Rows { path: path.into(), fields, limits, is_root };
        let (worker, opened) = reading.workers.ask_new::<()>(&request, &[])?;
        opened?;
        Ok(ParquetRows { worker: Some(worker), sent: Vec::new().into_iter(), source, number: 0 })
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

/// What the worker reads: rows with the columns asked for.
pub struct ParquetTable {
    rows: RowIter<'static>,
    /// Names of the columns that hold UUIDs.
    uuids: HashSet<String>,
    bytes_max: u64,
}

impl ParquetTable {
    pub fn open(path: &Path, fields: &Fields, limits: Limits, is_root: bool) -> Result<Self, ContentError> {
        let reader = SerializedFileReader::new(File::open(path).map_err(damaged)?).map_err(damaged)?;
        let metadata = reader.metadata().file_metadata();
        // As the metadata of an index is called.
        let is_own = |pair: &KeyValue| pair.key == env!("CARGO_PKG_NAME");
        if !is_root && metadata.key_value_metadata().is_some_and(|pairs| pairs.iter().any(is_own)) {
            return Err(ContentError::OwnIndex);
        }
        let schema = metadata.schema();
        let columns = schema.get_fields();
        let header: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
        let wanted: Vec<_> = fields.columns(&header)?.into_iter().map(|at| columns[at].clone()).collect();
        let is_uuid =
            |column: &&TypePtr| column.get_basic_info().logical_type_ref() == Some(&LogicalType::Uuid);
        let uuids = wanted.iter().filter(is_uuid).map(|column| column.name().to_owned()).collect();
        let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build();
        let rows = RowIter::from_file_into(Box::new(reader));
        let rows = rows.project(Some(projection.map_err(damaged)?)).map_err(damaged)?;
        Ok(ParquetTable { rows, uuids, bytes_max: limits.document_bytes })
    }

    fn record(&self, row: &Row) -> Response<Record> {
        let record: Record =
            row.get_column_iter().map(|(name, field)| (name.clone(), self.value(name, field))).collect();
        match self.bytes_max {
            max if fields::bytes(&record) as u64 > max => Err(ContentError::TooLarge { max }),
            _ => Ok(record),
        }
    }

    /// Strings that the schema doesn't say are strings are taken as such.
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
        Some(self.rows.next()?.map_err(damaged).and_then(|row| self.record(&row)))
    }
}

/// In groups of 8, 4, 4, 4 and 12 digits, as RFC 9562 writes it.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        text.push_str(if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" });
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn damaged(reason: impl ToString) -> ContentError {
    let reason = reason.to_string();
    let reason = if reason.contains("encrypted") {
        "it is encrypted"
    } else {
        reason.trim_start_matches("Parquet error: ")
    };
    ContentError::Damaged { kind: KIND.to_owned(), reason: reason.to_owned() }
}
