//! Parquet in, a row a document out. A damaged file can break its reader in any way, so a worker reads it; in this
//! process are only its rows.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::Value;

use super::super::raw::Content;
use super::super::worker::{Request, Worker};
use super::{Fields, Found, Reading, Record, Source};
use crate::error::{ContentError, DocumentError};

/// The rows of one file.
pub struct Rows {
    worker: Option<Worker>,
    source: Source,
    number: u64,
}

impl Rows {
    pub fn open(path: &Path, source: Source, reading: &Reading) -> Result<Self, DocumentError> {
        // Opened here too, for the reasons that only the system can give.
        let size = File::open(path)?.metadata()?.len();
        // How far the reader is in it is not to be seen.
        source.taken.store(size, Relaxed);
        let mut worker = reading.workers.take()?;
        worker.send(&Request::Rows { path: path.into(), fields: reading.fields.clone() }, &[])?;
        worker.receive::<()>()??;
        Ok(Rows { worker: Some(worker), source, number: 0 })
    }
}

impl Iterator for Rows {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let worker = self.worker.as_mut()?;
        self.number += 1;
        let cause = match worker.receive::<Option<Record>>() {
            Ok(Ok(Some(record))) => return Some(self.source.row(self.number, Content::Record(record))),
            Ok(Ok(None)) => None,
            Ok(Err(damaged)) => Some(DocumentError::from(damaged)),
            Err(broken) => Some(broken),
        };
        self.worker = None;
        cause.map(|cause| self.source.failed(self.number, cause))
    }
}

/// What the worker reads: rows with the columns asked for.
pub fn open(path: &Path, fields: &Fields) -> Result<RowIter<'static>, ContentError> {
    let reader = SerializedFileReader::new(File::open(path).map_err(damaged)?).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = schema.get_fields();
    let header: Vec<String> = columns.iter().map(|column| column.name().to_owned()).collect();
    let wanted = fields.columns(&header)?.into_iter().map(|at| Arc::clone(&columns[at])).collect();
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build().map_err(damaged)?;
    RowIter::from_file_into(Box::new(reader)).project(Some(projection)).map_err(damaged)
}

/// The record of a row. Strings that the schema doesn't say are strings are taken as such.
pub fn record(row: parquet::errors::Result<Row>) -> Result<Record, ContentError> {
    let row = row.map_err(damaged)?;
    let value = |field: &Field| match field {
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from(bytes.data()),
        },
        other => other.to_json_value(),
    };
    Ok(row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect())
}

fn damaged(reason: impl ToString) -> ContentError {
    ContentError::Damaged { kind: "Parquet".to_owned(), reason: reason.to_string() }
}
