//! Writes rows with vectors to a Parquet file.

use std::mem;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::content::ContentDigest;
use super::footer::index_entries;
use super::group_writer::GroupWriter;
use super::kept::{self, KeptColumn};
use super::metadata::Metadata;
use super::row::RowId;
use super::schema::schema;
use super::vector_column::{VectorColumn, list_length};

/// A row group is complete when its strings and vectors have at least this many bytes.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Limit on the rows per batch for the Parquet writer.
const BATCH_ROWS: usize = 256;

/// A batch is complete when its strings have at least this many bytes.
const BATCH_STRING_BYTES: usize = 4 << 20;

/// A row with its vector.
pub struct TableRow {
    pub id: RowId,
    pub text: String,
    pub vector: Box<[f32]>,
    pub kept: Arc<[Value]>,
}

/// A Parquet file that is being written. The rows, the types of the columns and the metadata determine every
/// byte of the file.
pub struct Table {
    writer: GroupWriter,
    schema: Arc<Schema>,
    vectors: VectorColumn,
    kept: Vec<KeptColumn>,
    content: ContentDigest,
    buffer: Vec<TableRow>,
    string_bytes: usize,
    group_bytes: usize,
}

impl Table {
    pub fn new(file: NamedTempFile, vectors: VectorColumn, kept: &[KeptColumn]) -> anyhow::Result<Self> {
        let schema = schema(&vectors, kept);
        Ok(Table {
            writer: GroupWriter::new(file, schema.clone(), vectors.kind)?,
            schema,
            vectors,
            kept: kept.to_vec(),
            content: ContentDigest::default(),
            buffer: Vec::new(),
            string_bytes: 0,
            group_bytes: 0,
        })
    }

    /// # Panics
    /// If the vector does not have the dimensions of the file, or if the row does not have one value per kept column.
    pub fn push(&mut self, mut row: TableRow) -> anyhow::Result<()> {
        assert_eq!(row.vector.len(), self.vectors.dim, "dimensions of a vector");
        // The digest is over the numbers that a reader gets.
        self.vectors.round(&mut row.vector);
        assert_eq!(row.kept.len(), self.kept.len(), "values of kept columns");
        let id = row.id.to_string();
        let (kept, kept_bytes) = kept::digest(&row.kept);
        self.content.push(&id, &row.text, &row.vector, kept);
        self.string_bytes += id.len() + row.text.len() + kept_bytes;
        self.buffer.push(row);
        if self.buffer.len() >= BATCH_ROWS || self.string_bytes >= BATCH_STRING_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes the remaining rows and the footer. The caller has to flush the file to disk.
    pub fn finish(mut self, metadata: &Metadata) -> anyhow::Result<(NamedTempFile, ContentDigest)> {
        self.flush()?;
        let entries = index_entries(metadata, &self.content.to_string())?;
        Ok((self.writer.finish(entries)?, self.content))
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let VectorColumn { kind, dim, .. } = self.vectors;
        let mut vectors = Vec::with_capacity(self.buffer.len() * dim);
        self.buffer.iter().for_each(|row| vectors.extend_from_slice(&row.vector));
        self.group_bytes += mem::take(&mut self.string_bytes) + vectors.len() * kind.bytes();
        let vectors = self.vectors.encode(vectors);
        let ids: StringArray = self.buffer.iter().map(|row| Some(row.id.to_string())).collect();
        let texts: StringArray = self.buffer.iter().map(|row| Some(row.text.as_str())).collect();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(ids),
            Arc::new(texts),
            Arc::new(FixedSizeListArray::try_new(kind.element(), list_length(dim), vectors, None)?),
        ];
        let kept = self.kept.iter().enumerate();
        columns.extend(kept.map(|(at, column)| column.array(self.buffer.iter().map(|row| &row.kept[at]))));
        self.buffer.clear();
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)?;
        if self.group_bytes >= ROW_GROUP_BYTES {
            self.writer.end_group()?;
            self.group_bytes = 0;
        }
        Ok(())
    }
}
