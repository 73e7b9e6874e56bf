//! Two files in, what turns one into the other out.

use super::footer::{FROM, TO};
use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::KeyValue;

use super::file::IndexFile;
use super::footer::entry;
use super::metadata::Metadata;
use super::schema::COLUMNS;
use super::table::properties;
use crate::storage::place::Place;

/// The column of a delta that says what became of a row.
pub const OPERATION: &str = "op";

/// What became of the rows, by their numbers, ascending.
#[derive(Debug, Default)]
pub struct Changes {
    /// In the new file only; rows of it.
    pub added: Vec<u32>,
    /// In both under the same id, with another text, vector or kept value; rows of the new file.
    pub changed: Vec<u32>,
    /// In the old file only; rows of it.
    pub removed: Vec<u32>,
}

impl Changes {
    /// Compares row by row, by id. `is_alike` where equal texts have equal vectors in both, which keep the same columns.
    pub fn between(old: Option<&IndexFile>, new: &IndexFile, is_alike: bool) -> Self {
        let mut changes = Changes::default();
        let mut is_left = vec![true; old.map_or(0, |old| old.rows() as usize)];
        // Documents and chunks are not the same, whatever their ids.
        let alike = old.filter(|old| old.kind() == new.kind());
        for (id, rows) in new.each_document() {
            let mut before = alike.and_then(|old| Some(old.rows_of(old.document(id)?))).unwrap_or_default();
            for row in rows {
                match (before.next(), alike) {
                    (Some(there), Some(old)) => {
                        is_left[there as usize] = false;
                        let (text, kept) = new.row_digests(row);
                        if !is_alike || !old.is_row(there, text, kept) {
                            changes.changed.push(row);
                        }
                    }
                    _ => changes.added.push(row),
                }
            }
        }
        changes.removed = (0..).zip(is_left).filter_map(|(row, is_left)| is_left.then_some(row)).collect();
        changes
    }
}

/// Writes a Parquet file with a row for each change, and puts it in place: `id`, `op` (`removed`, `changed`,
/// `added`), and the text, vector and kept values that the row has now; null for one that is removed.
///
/// # Errors
/// It cannot be written, or one of the files not read.
pub fn write_delta(
    place: &Place,
    old: Option<&IndexFile>,
    new: &IndexFile,
    changes: &Changes,
) -> anyhow::Result<Option<String>> {
    let schema = schema(new);
    let mut writer = ArrowWriter::try_new(place.temporary()?, schema.clone(), Some(properties()?))?;
    let mut write = |batch: &RecordBatch, operation: &str| {
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match (field.name().as_str(), batch.column_by_name(field.name())) {
                (OPERATION, _) => Arc::new(StringArray::from(vec![operation; batch.num_rows()])),
                (id, Some(ids)) if id == COLUMNS[0] => ids.clone(),
                (_, Some(column)) if operation != "removed" => column.clone(),
                _ => new_null_array(field.data_type(), batch.num_rows()),
            }
        });
        let batch = RecordBatch::try_new(schema.clone(), columns.collect())?;
        writer.write(&batch).map_err(|e| place.cannot_write(&e))
    };
    if let Some(old) = old {
        old.batches(&changes.removed, |batch| write(&batch, "removed"))?;
    }
    new.batches(&changes.changed, |batch| write(&batch, "changed"))?;
    new.batches(&changes.added, |batch| write(&batch, "added"))?;
    let mut entry = |key: &str, value| writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    entry(Metadata::KEY, new.metadata().map(serde_json::to_string).transpose()?);
    entry(FROM, old.map(|old| old.content().to_owned()));
    entry(TO, Some(new.content().to_owned()));
    let file = writer.into_inner().map_err(|e| place.cannot_write(&e))?;
    place.publish(file)
}

/// Whether a delta is there that leads to this file.
pub fn leads_to(place: &Place, file: &IndexFile) -> bool {
    let footer = || ArrowReaderMetadata::load(&File::open(place.path()).ok()?, Default::default()).ok();
    footer().and_then(|footer| entry(&footer, TO)).is_some_and(|to| to == file.content())
}

fn schema(new: &IndexFile) -> Arc<Schema> {
    let mut fields: Vec<Field> = Vec::new();
    for field in new.fields().iter() {
        let is_id = field.name() == COLUMNS[0];
        fields.push(field.as_ref().clone().with_nullable(!is_id));
        if is_id {
            fields.push(Field::new(OPERATION, DataType::Utf8, false));
        }
    }
    Arc::new(Schema::new(fields))
}
