//! Rows in, a whole file in place out. A reader sees the old file or the new one, never a part.
//!
//! The new file is written beside the old one, flushed to disk, read again, and renamed over it.

use std::fs::{File, Permissions};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{anyhow, ensure};
use arrow::array::{Array, AsArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::Float32Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tempfile::NamedTempFile;

use super::{Fingerprint, Row, element, schema};

/// A row group ends at so many rows or bytes: 16 MiB of vectors at 1024 numbers each, and no more than
/// twice that where texts are long. Enough for a reader to go by, little enough to buffer.
const ROW_GROUP_ROWS: usize = 4096;
const ROW_GROUP_BYTES: usize = 32 << 20;

/// What is compressed, and decompressed by a reader, at a time. A page of vectors is buffered whole, with
/// its levels.
const PAGE_BYTES: usize = 256 << 10;

/// Rows, or bytes of text, that are passed to the Parquet writer at a time.
const BATCH_ROWS: usize = 256;
const BATCH_TEXT_BYTES: usize = 4 << 20;

/// How far from 1 the length of a vector may be: rounding of a thousand floats is far below.
const LENGTH_TOLERANCE: f64 = 1e-4;

/// A file that has been put in place.
#[derive(Debug)]
pub struct Published {
    /// Rows in it.
    pub rows: usize,
    /// Its size.
    pub bytes: u64,
}

/// Writes one file.
pub struct IndexWriter {
    out: PathBuf,
    dim: usize,
    writer: ArrowWriter<NamedTempFile>,
    rows: usize,
    ids: Vec<String>,
    texts: Vec<String>,
    text_bytes: usize,
    vectors: Vec<f32>,
}

impl IndexWriter {
    /// Starts a file beside `out`.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn create(out: &Path, fingerprint: &Fingerprint) -> anyhow::Result<Self> {
        ensure!(!out.is_dir(), "output {}: is a folder; name a file in it", out.display());
        let file = temporary(out)
            .map_err(|e| anyhow!("output {}: {e}; its folder must exist and be writable", out.display()))?;
        let writer = ArrowWriter::try_new(file, schema(fingerprint.dim), Some(properties(fingerprint)?))?;
        Ok(IndexWriter {
            out: out.to_owned(),
            dim: fingerprint.dim,
            writer,
            rows: 0,
            ids: Vec::new(),
            texts: Vec::new(),
            text_bytes: 0,
            vectors: Vec::new(),
        })
    }

    /// Adds a row after those before it.
    ///
    /// # Errors
    /// The disk is full, or the like.
    ///
    /// # Panics
    /// If the vector is not of the file's dimension.
    pub fn push(&mut self, row: Row) -> anyhow::Result<()> {
        assert_eq!(row.vector.values().len(), self.dim, "a vector of the file's dimension");
        self.vectors.extend_from_slice(row.vector.values());
        self.text_bytes += row.text.len();
        self.ids.push(row.id);
        self.texts.push(row.text);
        self.rows += 1;
        if self.ids.len() >= BATCH_ROWS || self.text_bytes >= BATCH_TEXT_BYTES {
            self.flush().map_err(|e| self.cannot_write(&e))?;
        }
        Ok(())
    }

    /// Ends the file, checks it, and puts it in the place of the old one.
    ///
    /// # Errors
    /// It cannot be written or reads back differently; the old file is untouched.
    pub fn publish(mut self) -> anyhow::Result<Published> {
        self.flush().map_err(|e| self.cannot_write(&e))?;
        let IndexWriter { out, dim, writer, rows, .. } = self;
        let cannot_write = |e: anyhow::Error| cannot_write(&out, &e);
        let file = writer.into_inner().map_err(|e| cannot_write(e.into()))?;
        file.as_file().sync_all().map_err(|e| cannot_write(e.into()))?;
        verify(file.path(), rows, dim).map_err(|e| {
            anyhow!("output {}: does not read back as written ({e:#}); check the disk", out.display())
        })?;
        let bytes = file.as_file().metadata().map_err(|e| cannot_write(e.into()))?.len();
        file.persist(&out).map_err(|e| cannot_write(e.error.into()))?;
        // The rename itself is on disk only when the folder is.
        File::open(folder_of(&out))
            .and_then(|folder| folder.sync_all())
            .map_err(|e| cannot_write(e.into()))?;
        Ok(Published { rows, bytes })
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let vectors = Float32Array::from(mem::take(&mut self.vectors));
        let vectors = FixedSizeListArray::try_new(element(), self.dim as i32, Arc::new(vectors), None)?;
        let ids = StringArray::from(mem::take(&mut self.ids));
        let texts = StringArray::from(mem::take(&mut self.texts));
        self.text_bytes = 0;
        let batch =
            RecordBatch::try_new(schema(self.dim), vec![Arc::new(ids), Arc::new(texts), Arc::new(vectors)])?;
        self.writer.write(&batch)?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush()?;
        }
        Ok(())
    }

    fn cannot_write(&self, cause: &anyhow::Error) -> anyhow::Error {
        cannot_write(&self.out, cause)
    }
}

fn cannot_write(out: &Path, cause: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "output {}: cannot be written: {cause:#}; make room or choose another place with -o (the old file is untouched)",
        out.display()
    )
}

fn folder_of(out: &Path) -> &Path {
    out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// In the folder of `out`, since a rename is atomic within one file system only. Gone when dropped.
fn temporary(out: &Path) -> std::io::Result<NamedTempFile> {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(out.file_name().unwrap_or_default());
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As any file that a program makes: the umask takes from it.
        builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder_of(out))
    }
    #[cfg(not(unix))]
    builder.tempfile_in(folder_of(out))
}

fn properties(fingerprint: &Fingerprint) -> anyhow::Result<WriterProperties> {
    let vector = ColumnPath::from(vec!["vector".to_owned(), "list".to_owned(), "element".to_owned()]);
    let metadata = KeyValue::new(Fingerprint::KEY.to_owned(), serde_json::to_string(fingerprint)?);
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        // Ids and texts are all different, and so are vectors: a dictionary only costs memory.
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_column_statistics_enabled(vector, EnabledStatistics::None)
        .set_key_value_metadata(Some(vec![metadata]))
        .build())
}

/// Reads every page back: as many rows, of the same schema, with vectors of length 1.
fn verify(path: &Path, rows: usize, dim: usize) -> anyhow::Result<()> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    ensure!(reader.schema().fields() == schema(dim).fields(), "the schema differs");
    let mut seen = 0;
    for batch in reader.build()? {
        let batch = batch?;
        seen += batch.num_rows();
        let vectors = batch["vector"].as_fixed_size_list();
        ensure!(vectors.null_count() == 0, "a vector is missing");
        for vector in vectors.values().as_primitive::<Float32Type>().values().chunks(dim) {
            let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            ensure!((length - 1.0).abs() <= LENGTH_TOLERANCE, "a vector has length {length}");
        }
    }
    ensure!(seen == rows, "{seen} rows instead of {rows}");
    Ok(())
}
