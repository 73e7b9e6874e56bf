//! Compares two index files and writes a delta: a Parquet file with the rows that were added, changed or removed.

use std::sync::Arc;

use anyhow::anyhow;
use arrow::array::{ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};

use super::file::IndexFile;
use super::footer::{FROM, TO, new_entry};
use super::group_writer::GroupWriter;
use super::metadata::Metadata;
use super::part::{IndexFileError, Part};
use super::schema::ID;
use super::vector_column::SCALE;
use crate::storage::place::{Place, Published};

/// The column of a delta that says what happened to the row: `removed`, `changed` or `added`.
pub const OPERATION: &str = "op";

/// Limit on the rows whose vectors are compared at a time.
const COMPARED_ROWS: usize = 8192;

/// The row numbers of all rows that differ between two files. Each list is in ascending order.
#[derive(Debug, Default)]
pub struct Changes {
    /// Rows of the new file with an id that is not in the old file.
    pub added: Vec<u32>,
    /// Rows of the new file with an id that is also in the old file, but with a different text, vector or kept value.
    pub changed: Vec<u32>,
    /// Rows of the old file with an id that is not in the new file.
    pub removed: Vec<u32>,
}

/// When a row of the new file is equal to a row of the old file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// Never, because the files have other columns.
    None,
    /// If text, kept values and vector are equal.
    ByVector,
    /// If text and kept values are equal, because then the vectors are equal too.
    ByText,
}

impl Changes {
    /// Compares the rows with equal ids.
    ///
    /// # Errors
    /// The vectors cannot be read.
    pub fn between(old: Option<&IndexFile>, new: &IndexFile, likeness: Likeness) -> anyhow::Result<Self> {
        let mut changes = Changes::default();
        let mut of_equal_texts = Vec::new();
        let mut is_left = vec![true; old.map_or(0, |old| old.rows() as usize)];
        // If one file has one row per document and the other file has one row per chunk, the two files have no rows in common,
        // even if ids are equal.
        let same_kind = old.filter(|old| old.kind() == new.kind());
        for (id, rows) in new.each_document() {
            let mut before =
                same_kind.and_then(|old| Some(old.rows_of(old.document(id)?))).unwrap_or_default();
            for row in rows {
                match (before.next(), same_kind) {
                    (Some(there), Some(old)) => {
                        is_left[there as usize] = false;
                        let (text, kept) = new.row_digests(row);
                        if likeness == Likeness::None || !old.is_row(there, text, kept) {
                            changes.changed.push(row);
                        } else if likeness == Likeness::ByVector {
                            of_equal_texts.push((there, row));
                        }
                    }
                    _ => changes.added.push(row),
                }
            }
        }
        if let Some(old) = same_kind {
            changes.changed.extend(with_other_vectors(old, new, &of_equal_texts)?);
            changes.changed.sort_unstable();
        }
        changes.removed = (0..).zip(is_left).filter_map(|(row, is_left)| is_left.then_some(row)).collect();
        Ok(changes)
    }
}

/// Returns those rows of the new file that have another vector than their row of the old file.
fn with_other_vectors(old: &IndexFile, new: &IndexFile, pairs: &[(u32, u32)]) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for pairs in pairs.chunks(COMPARED_ROWS) {
        let (before, now): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
        let (before, vectors) = (old.vectors(&before)?, new.vectors(&now)?);
        let vectors = before.chunks(new.dim()).zip(vectors.chunks(new.dim()));
        found.extend(now.iter().zip(vectors).filter(|(_, (before, now))| before != now).map(|(row, _)| row));
    }
    Ok(found)
}

/// Writes a delta with one row per change and puts the delta in place. The columns are `id`, [`OPERATION`], and the other columns
/// of the new file. If a row was removed, these other columns are null.
///
/// # Errors
/// The delta cannot be written, or an index file cannot be read.
pub fn write_delta(
    place: &Place,
    old: Option<&IndexFile>,
    new: &IndexFile,
    changes: &Changes,
) -> anyhow::Result<Published> {
    let schema = schema(new);
    let mut writer = GroupWriter::new(place.temporary()?, schema.clone(), new.format().kind)?;
    let mut write = |batch: &RecordBatch, operation: &str| {
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            match (field.name().as_str(), batch.column_by_name(field.name())) {
                (OPERATION, _) => Arc::new(StringArray::from(vec![operation; batch.num_rows()])),
                (ID, Some(ids)) => ids.clone(),
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
    let mut entries = Vec::new();
    let mut entry =
        |key: &str, value: Option<String>| entries.extend(value.map(|value| new_entry(key, value)));
    entry(Metadata::KEY, new.metadata().map(serde_json::to_string).transpose()?);
    entry(SCALE, new.format().scale());
    entry(FROM, old.map(|old| old.content().to_owned()));
    entry(TO, Some(new.content().to_owned()));
    let file = writer.finish(entries).map_err(|e| place.cannot_write(&e))?;
    place.publish(file)
}

/// Returns whether the file at `place` is a delta that turns another index file into `file`.
///
/// # Errors
/// The file at `place` cannot be read.
fn leads_to(place: &Place, file: &IndexFile) -> anyhow::Result<bool> {
    if !place.is_taken() {
        return Ok(false);
    }
    match Part::open_delta(place.path()) {
        Ok(delta) => {
            let content = file.content();
            Ok(delta.content() == content && delta.delta_start().as_deref() != Some(content))
        }
        Err(IndexFileError::Unreadable(e)) => {
            Err(anyhow!("{place}: cannot be read: {e}; check the disk and run again"))
        }
        Err(_) => Ok(false),
    }
}

/// The place of a delta, and what a run remembers beside the output until it has ended.
pub struct DeltaOutput<'a> {
    /// Where the delta is written.
    pub place: &'a Place,
    /// The content of the index that an earlier run put in place, if that run did not come to its end. Nobody has been told of
    /// its delta.
    pub unreported: Option<String>,
    /// Remembers the content of the index that is about to be put in place.
    pub remember: &'a mut dyn FnMut(&str) -> anyhow::Result<()>,
}

impl DeltaOutput<'_> {
    /// Writes the delta of a run that changes nothing, unless nobody has been told of the delta in place.
    ///
    /// # Errors
    /// The delta cannot be read or written.
    pub(super) fn write_unchanged(&self, file: &IndexFile) -> anyhow::Result<Published> {
        if self.unreported.as_deref() == Some(file.content()) && leads_to(self.place, file)? {
            return Ok(Published::default());
        }
        write_delta(self.place, Some(file), file, &Changes::default())
    }

    /// Writes the delta from `old` to `new`, which is about to be put in place.
    ///
    /// # Errors
    /// The delta cannot be written, or an index file cannot be read.
    pub(super) fn write(
        &mut self,
        old: Option<&IndexFile>,
        new: &IndexFile,
        changes: &Changes,
    ) -> anyhow::Result<Published> {
        (self.remember)(new.content())?;
        write_delta(self.place, old, new, changes)
    }
}

fn schema(new: &IndexFile) -> Arc<Schema> {
    let mut fields: Vec<Field> = Vec::new();
    for field in new.fields().iter() {
        let is_id = field.name() == ID;
        fields.push(field.as_ref().clone().with_nullable(!is_id));
        if is_id {
            fields.push(Field::new(OPERATION, DataType::Utf8, false));
        }
    }
    Arc::new(Schema::new(fields))
}
