//! Writes rows with vectors to a Parquet file.

use std::mem;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::content::ContentDigest;
use super::kept::{self, KeptColumn};
use super::metadata::Metadata;
use super::row::RowId;
use super::schema::{VECTOR, schema};
use super::seal::SealWriter;
use super::vector_column::{VectorColumn, VectorType, list_length};

/// Limit on the rows per row group. With 1,024 dimensions, the vectors of a full row group have 16 MiB. This is large enough for
/// a fast scan, and small enough to buffer.
const ROW_GROUP_ROWS: usize = 4096;

/// A row group is complete when its strings and vectors have at least this many bytes.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Limit on the bytes per page. The writer buffers one page of vectors and compresses whole pages, and a reader reads at least
/// one page.
const PAGE_BYTES: usize = 256 << 10;

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
    writer: ArrowWriter<SealWriter>,
    schema: Arc<Schema>,
    vectors: VectorColumn,
    kept: Vec<KeptColumn>,
    content: ContentDigest,
    buffer: Vec<TableRow>,
    string_bytes: usize,
    group_bytes: usize,
    /// Number of row groups in the file so far.
    groups: usize,
}

impl Table {
    pub fn new(file: NamedTempFile, vectors: VectorColumn, kept: &[KeptColumn]) -> anyhow::Result<Self> {
        let schema = schema(&vectors, kept);
        Ok(Table {
            writer: ArrowWriter::try_new(
                SealWriter::new(file),
                schema.clone(),
                Some(properties(vectors.kind)?),
            )?,
            schema,
            vectors,
            kept: kept.to_vec(),
            content: ContentDigest::default(),
            buffer: Vec::new(),
            string_bytes: 0,
            group_bytes: 0,
            groups: 0,
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
        self.writer.flush()?;
        self.end_group()?;
        let data_end = self.writer.inner().written();
        for entry in self.writer.inner().entries(metadata, &self.content.to_string())? {
            self.writer.append_key_value_metadata(entry);
        }
        Ok((self.writer.into_inner()?.seal(data_end)?, self.content))
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
        // The writer may have written a full row group. A batch is too small to fill two.
        self.end_group()?;
        if self.group_bytes >= ROW_GROUP_BYTES {
            self.writer.flush()?;
            self.end_group()?;
            self.group_bytes = 0;
        }
        Ok(())
    }

    /// Takes the digest of a row group, if the writer has written one since the latest call.
    fn end_group(&mut self) -> anyhow::Result<()> {
        let written = self.writer.flushed_row_groups().len();
        if written > self.groups {
            self.groups = written;
            self.writer.sync()?;
            self.writer.inner_mut().end_group();
        }
        Ok(())
    }
}

/// Returns the settings of a file with vectors of the type `vectors`.
pub fn properties(vectors: VectorType) -> anyhow::Result<WriterProperties> {
    let vector = ColumnPath::from([VECTOR, "list", "element"].map(str::to_owned).to_vec());
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        // Few ids, texts and vectors occur more than once, so a dictionary would only cost memory.
        .set_dictionary_enabled(false)
        // Parquet has no type for bytes: an integer takes 4 bytes, but its number in a dictionary of 255 integers takes 1 byte.
        .set_column_dictionary_enabled(vector.clone(), vectors == VectorType::I8)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        // Vectors are too random to compress.
        .set_column_compression(vector.clone(), Compression::UNCOMPRESSED)
        .set_column_statistics_enabled(vector, EnabledStatistics::None)
        .build())
}
