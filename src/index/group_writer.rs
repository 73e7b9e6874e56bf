//! Writes batches of rows to a Parquet file, and ends the row groups of its seal.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tempfile::NamedTempFile;

use super::schema::VECTOR;
use super::seal::SealWriter;
use super::vector_column::VectorType;

/// Limit on the rows per row group. With 1,024 dimensions, the vectors of a full row group have 16 MiB. This is large enough for
/// a fast scan, and small enough to buffer.
const ROW_GROUP_ROWS: usize = 4096;

/// Limit on the bytes per page. The writer buffers one page of vectors and compresses whole pages, and a reader reads at least
/// one page.
const PAGE_BYTES: usize = 256 << 10;

/// A sealed Parquet file that is being written.
pub struct GroupWriter {
    writer: ArrowWriter<SealWriter>,
    /// Number of row groups in the file so far.
    groups: usize,
}

impl GroupWriter {
    pub fn new(file: NamedTempFile, schema: Arc<Schema>, vectors: VectorType) -> anyhow::Result<Self> {
        let properties = Some(properties(vectors)?);
        Ok(GroupWriter {
            writer: ArrowWriter::try_new(SealWriter::new(file), schema, properties)?,
            groups: 0,
        })
    }

    /// Writes the rows of a batch. The batch must be too small to fill two row groups.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch)?;
        // The writer may have written a full row group.
        self.take_digest()
    }

    /// Ends the current row group.
    pub fn end_group(&mut self) -> Result<()> {
        self.writer.flush()?;
        self.take_digest()
    }

    /// Writes the remaining rows and the footer with these metadata entries. The caller has to flush the file to disk.
    pub fn finish(mut self, entries: Vec<KeyValue>) -> anyhow::Result<NamedTempFile> {
        self.end_group()?;
        let data_end = self.writer.inner().written();
        for entry in self.writer.inner().entries(entries) {
            self.writer.append_key_value_metadata(entry);
        }
        self.writer.into_inner()?.seal(data_end)
    }

    /// Takes the digest of a row group, if the writer has written one since the latest call.
    fn take_digest(&mut self) -> Result<()> {
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
