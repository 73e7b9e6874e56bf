//! Rows in, a whole file in place out. A reader sees the old file or the new one, never a part.
//!
//! The new file is written beside the old one, flushed to disk, read again, and renamed over it.

use std::fs::{File, Permissions};
use std::io::Read;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{anyhow, ensure};
use arrow::array::{Array, ArrayRef, AsArray, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::Float32Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::kept::KeptColumn;
use super::{COLUMNS, Metadata, Row, element, schema};

/// A row group ends with the batch in which it comes to so many rows or bytes (16 MiB of vectors at 1024
/// numbers each): enough for a reader to go by, little enough to buffer.
const ROW_GROUP_ROWS: usize = 4096;
const ROW_GROUP_BYTES: usize = 32 << 20;

/// What is compressed, and decompressed by a reader, at a time. A page of vectors is buffered whole, with
/// its levels.
const PAGE_BYTES: usize = 256 << 10;

/// Rows, or bytes of strings, that are passed to the Parquet writer at a time.
const BATCH_ROWS: usize = 256;
const BATCH_STRING_BYTES: usize = 4 << 20;

/// How far from 1 the length of a vector may be: rounding of a thousand floats is far below.
const LENGTH_TOLERANCE: f64 = 1e-4;

/// The first bytes of every Parquet file.
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// A file that has been put in place.
#[derive(Debug)]
pub struct Published {
    /// Rows in it.
    pub rows: usize,
    /// Its size.
    pub bytes: u64,
    /// Columns that were to be kept and that no document has.
    pub empty_columns: Vec<String>,
}

/// Writes one file.
pub struct IndexWriter {
    out: PathBuf,
    dim: usize,
    properties: WriterProperties,
    writer: ArrowWriter<NamedTempFile>,
    rows: usize,
    ids: Vec<String>,
    texts: Vec<String>,
    string_bytes: usize,
    vectors: Vec<f32>,
    kept: Vec<KeptColumn>,
    group_bytes: usize,
}

impl IndexWriter {
    /// Starts a file beside `out`, or beside what `out` is a link to. `keep` names its further columns.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written; `out` is there and is no Parquet file.
    pub fn create(out: &Path, metadata: &Metadata, keep: &[String]) -> anyhow::Result<Self> {
        let out = replaceable(out)?;
        let dim = metadata.fingerprint.dim;
        let kept: Vec<KeptColumn> = keep.iter().map(|name| KeptColumn::new(name)).collect();
        let properties = properties(metadata)?;
        let file = temporary(&out)
            .map_err(|e| anyhow!("output {}: {e}; its folder must exist and be writable", out.display()))?;
        let writer = ArrowWriter::try_new(file, schema(dim, &kept), Some(properties.clone()))?;
        Ok(IndexWriter {
            out,
            dim,
            properties,
            writer,
            rows: 0,
            ids: Vec::new(),
            texts: Vec::new(),
            string_bytes: 0,
            vectors: Vec::new(),
            kept,
            group_bytes: 0,
        })
    }

    /// Adds a row after those before it.
    ///
    /// # Errors
    /// The disk is full, or the like.
    ///
    /// # Panics
    /// If the vector is not of the file's dimension, or there is not a value for each column that is kept.
    pub fn push(&mut self, row: Row) -> anyhow::Result<()> {
        assert_eq!(row.vector.values().len(), self.dim, "a vector of the file's dimension");
        assert_eq!(row.kept.len(), self.kept.len(), "a value a column");
        self.vectors.extend_from_slice(row.vector.values());
        let kept = row.kept.iter().filter_map(Value::as_str).map(str::len);
        self.string_bytes += row.id.len() + row.text.len() + kept.sum::<usize>();
        self.ids.push(row.id);
        self.texts.push(row.text);
        self.kept.iter_mut().zip(row.kept.iter()).for_each(|(column, value)| column.push(value.clone()));
        self.rows += 1;
        if self.ids.len() >= BATCH_ROWS || self.string_bytes >= BATCH_STRING_BYTES {
            self.flush().map_err(|e| cannot_write(&self.out, &e))?;
        }
        Ok(())
    }

    /// Ends the file, checks it, and puts it in the place of the old one.
    ///
    /// # Errors
    /// It cannot be written or reads back differently; the old file is untouched.
    pub fn publish(mut self) -> anyhow::Result<Published> {
        self.flush().map_err(|e| cannot_write(&self.out, &e))?;
        let IndexWriter { out, dim, writer, rows, kept, .. } = self;
        let cannot_write = |e: anyhow::Error| cannot_write(&out, &e);
        let file = writer.into_inner().map_err(|e| cannot_write(e.into()))?;
        file.as_file().sync_all().map_err(|e| cannot_write(e.into()))?;
        verify(file.path(), rows, dim, &kept).map_err(|e| {
            anyhow!("output {}: does not read back as written ({e:#}); check the disk", out.display())
        })?;
        let bytes = file.as_file().metadata().map_err(|e| cannot_write(e.into()))?.len();
        file.persist(&out).map_err(|e| cannot_write(e.error.into()))?;
        // The rename itself is on disk only when the folder is.
        File::open(folder_of(&out)).and_then(|folder| folder.sync_all()).map_err(|e| {
            anyhow!(
                "output {}: is in place, but its folder cannot be flushed ({e}); check the disk",
                out.display()
            )
        })?;
        let empty_columns =
            kept.iter().filter(|column| column.is_empty()).map(|column| column.name().to_owned()).collect();
        Ok(Published { rows, bytes, empty_columns })
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        // All of them, so no short cut.
        let widened = self.kept.iter_mut().filter_map(|column| column.widen().then_some(())).count();
        if widened > 0 {
            self.start_again()?;
        }
        let bytes = mem::take(&mut self.string_bytes) + size_of_val(self.vectors.as_slice());
        let vectors = Float32Array::from(mem::take(&mut self.vectors));
        let vectors = FixedSizeListArray::try_new(element(), self.dim as i32, Arc::new(vectors), None)?;
        let ids = StringArray::from(mem::take(&mut self.ids));
        let texts = StringArray::from(mem::take(&mut self.texts));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(texts), Arc::new(vectors)];
        columns.extend(self.kept.iter_mut().map(KeptColumn::take));
        self.write(columns, bytes)
    }

    fn write(&mut self, columns: Vec<ArrayRef>, bytes: usize) -> anyhow::Result<()> {
        self.writer.write(&RecordBatch::try_new(schema(self.dim, &self.kept), columns)?)?;
        self.group_bytes += bytes;
        if self.group_bytes >= ROW_GROUP_BYTES {
            self.writer.flush()?;
            self.group_bytes = 0;
        }
        Ok(())
    }

    /// Writes what is written already into a new file, since a column of it has got another type. At most
    /// a few times a column.
    fn start_again(&mut self) -> anyhow::Result<()> {
        let schema = schema(self.dim, &self.kept);
        let writer = ArrowWriter::try_new(temporary(&self.out)?, schema, Some(self.properties.clone()))?;
        let old = mem::replace(&mut self.writer, writer).into_inner()?;
        self.group_bytes = 0;
        for_each_batch(old.path(), |batch| {
            let (always, kept) = batch.columns().split_at(COLUMNS.len());
            let kept = kept.iter().zip(&self.kept).map(|(array, column)| column.convert(array));
            let columns = always.iter().cloned().chain(kept).collect();
            self.write(columns, batch.get_array_memory_size())
        })
    }
}

fn cannot_write(out: &Path, cause: &anyhow::Error) -> anyhow::Error {
    anyhow!(
        "output {}: cannot be written: {cause}; make room or choose another place with -o (the old file is untouched)",
        out.display()
    )
}

/// The file to replace: a link is followed. What is there must be Parquet, by its first bytes: a slip of
/// the hand must not cost a document or a device.
fn replaceable(out: &Path) -> anyhow::Result<PathBuf> {
    let refuse = |what: &str| anyhow!("output {}: {what}; name a file that is new or Parquet", out.display());
    if out.file_name().is_none() || out.as_os_str().as_encoded_bytes().ends_with(b"/") || out.is_dir() {
        return Err(refuse("is a folder"));
    }
    let file = match out.symlink_metadata() {
        Err(_) => return Ok(out.to_owned()),
        Ok(there) if there.is_symlink() => {
            out.canonicalize().map_err(|e| refuse(&format!("is a broken link ({e})")))?
        }
        Ok(_) => out.to_owned(),
    };
    if !file.is_file() {
        return Err(refuse("is no regular file"));
    }
    let mut start = Vec::new();
    let read =
        File::open(&file).and_then(|file| file.take(PARQUET_MAGIC.len() as u64).read_to_end(&mut start));
    read.map_err(|e| refuse(&format!("cannot be read ({e})")))?;
    if !start.is_empty() && start != PARQUET_MAGIC {
        return Err(refuse("is no Parquet file and would be lost"));
    }
    Ok(file)
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

fn properties(metadata: &Metadata) -> anyhow::Result<WriterProperties> {
    let vector = ColumnPath::from(vec!["vector".to_owned(), "list".to_owned(), "element".to_owned()]);
    let metadata = KeyValue::new(Metadata::KEY.to_owned(), serde_json::to_string(metadata)?);
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
fn verify(path: &Path, rows: usize, dim: usize, kept: &[KeptColumn]) -> anyhow::Result<()> {
    let mut seen = 0;
    for_each_batch(path, |batch| {
        ensure!(batch.schema().fields() == schema(dim, kept).fields(), "the schema differs");
        seen += batch.num_rows();
        check_vectors(&batch, dim)
    })?;
    ensure!(seen == rows, "{seen} rows instead of {rows}");
    Ok(())
}

/// Reads a file a row group at a time: a batch that spans two could hold more text than a batch can.
fn for_each_batch(path: &Path, mut f: impl FnMut(RecordBatch) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let file = File::open(path)?;
    let footer = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default())?;
    for group in 0..footer.metadata().num_row_groups() {
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone()?, footer.clone());
        for batch in reader.with_row_groups(vec![group]).with_batch_size(BATCH_ROWS).build()? {
            f(batch?)?;
        }
    }
    Ok(())
}

fn check_vectors(batch: &RecordBatch, dim: usize) -> anyhow::Result<()> {
    let vectors = batch["vector"].as_fixed_size_list();
    ensure!(vectors.null_count() == 0, "a vector is missing");
    for vector in vectors.values().as_primitive::<Float32Type>().values().chunks(dim) {
        let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        ensure!((length - 1.0).abs() <= LENGTH_TOLERANCE, "a vector has length {length}");
    }
    Ok(())
}
