//! Opens an index file, checks the footer, and reads the rows and columns that the caller names.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Fields};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
    RowSelection,
};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::writer::SerializedRowGroupWriter;
use serde_json::Value;

use super::content::{ContentDigest, RowDigests, row_digest};
use super::footer::{self, entry, is_delta};
use super::kept;
use super::metadata::{Fingerprint, Metadata, RowKind};
use super::provenance::{HEADINGS, TITLE};
use super::row::{Row, RowId, Vector};
use super::row_batch::{RowBatch, kept_values};
use super::row_count::add_rows;
use super::schema::{COLUMNS, ID, MAGIC, TEXT, VECTOR};
use super::seal::{self, Seal};
use super::shared_file::{OpenFile, SharedFile};
use super::vector_column::{SCALE, VectorColumn};
use crate::digest::Digest;
use crate::interrupt::Interrupted;
use crate::storage::place::Place;
use crate::text::chunk::{ChunkContext, context_text};

/// Limit on the rows per batch when a file is read. A whole row group in one batch could have more text than one Arrow array
/// can contain.
const BATCH_ROWS: usize = 256;

/// The reason that a file cannot be used as an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexFileError {
    /// A Parquet file that another program wrote.
    #[error("not made by this tool")]
    Foreign,
    /// A delta: the changes between two index files, written by `--delta`.
    #[error("a delta")]
    Delta,
    /// An index file, where a delta is wanted.
    #[error("an index")]
    Index,
    /// A damaged file, or a file that is not Parquet.
    #[error(transparent)]
    Damaged(Damage),
    /// A read failed, or a signal arrived. The content may be undamaged.
    #[error("cannot be read: {0:#}")]
    Unreadable(anyhow::Error),
}

/// What is wrong with the content of a damaged file.
#[derive(Debug, thiserror::Error)]
#[error("{cause:#}")]
pub struct Damage {
    cause: anyhow::Error,
    /// The number of rows according to the footer, 0 for an empty file; `None` if the footer cannot be parsed.
    pub rows: Option<u64>,
}

impl IndexFileError {
    /// Returns the error for a file whose content cannot be used because of `cause`. A failed read is no damage.
    fn of(file: &SharedFile, footer: Option<&ArrowReaderMetadata>, cause: anyhow::Error) -> Self {
        match file.failure() {
            Some(failure) => IndexFileError::Unreadable(anyhow!("{failure}")),
            None if cause.is::<Interrupted>() => IndexFileError::Unreadable(cause),
            None => {
                // An empty file, which `mktemp` makes, has no rows to lose.
                let rows = footer.map(rows_in).or(file.is_empty().then_some(0));
                IndexFileError::Damaged(Damage { cause, rows })
            }
        }
    }
}

/// Returns the error for a file that this run has written and cannot use.
pub(super) fn cannot_read_back(place: &Place, error: IndexFileError) -> anyhow::Error {
    match error {
        IndexFileError::Unreadable(e) if e.is::<Interrupted>() => e,
        IndexFileError::Unreadable(e) => place.cannot_read_back(&format!("{e:#}")),
        error => place.not_as_written(&error),
    }
}

/// An index file whose footer has been read.
pub struct Part {
    file: SharedFile,
    footer: ArrowReaderMetadata,
    metadata: Option<Metadata>,
    kind: RowKind,
    content: String,
    /// The digests of the bytes of the file; `None` if the file was written before there were such digests.
    seal: Option<Seal>,
    /// For each row group, the total number of rows in this row group and all earlier row groups.
    group_ends: Vec<u32>,
}

impl Part {
    /// Opens a file and checks its footer.
    ///
    /// # Errors
    /// [`IndexFileError`].
    pub fn open(path: &Path) -> Result<Self, IndexFileError> {
        Part::open_as(path, |file, footer| {
            match (entry(footer, Metadata::KEY), entry(footer, ContentDigest::KEY)) {
                (Some(metadata), Some(content)) => Ok((metadata, content)),
                (None, None) => Err(IndexFileError::Foreign),
                _ if is_delta(footer) => Err(IndexFileError::Delta),
                _ => {
                    let cause = anyhow!("one of its metadata keys is missing");
                    Err(IndexFileError::of(file, Some(footer), cause))
                }
            }
        })
    }

    /// Opens a delta and checks its footer. The content digest is that of the new index file.
    ///
    /// # Errors
    /// [`IndexFileError`].
    pub(super) fn open_delta(path: &Path) -> Result<Self, IndexFileError> {
        Part::open_as(path, |_, footer| {
            let entries = entry(footer, Metadata::KEY).zip(entry(footer, footer::TO));
            let is_index = entry(footer, ContentDigest::KEY).is_some();
            entries.ok_or(if is_index { IndexFileError::Index } else { IndexFileError::Foreign })
        })
    }

    /// Opens a file and checks its footer. `entries` returns the metadata and the content digest in the footer.
    fn open_as(
        path: &Path,
        entries: impl FnOnce(&SharedFile, &ArrowReaderMetadata) -> Result<(String, String), IndexFileError>,
    ) -> Result<Self, IndexFileError> {
        let file = SharedFile::open(path).map_err(|e| IndexFileError::Unreadable(e.into()))?;
        let opened = file.get().map_err(|e| IndexFileError::Unreadable(e.into()))?;
        let tail = check_start(&opened).and_then(|()| seal::check_tail(&opened));
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let footer = ArrowReaderMetadata::load(&opened, options).map_err(|e| {
            IndexFileError::of(&file, None, tail.as_ref().err().map_or(e.into(), |e| anyhow!("{e:#}")))
        })?;
        let damaged = |e| IndexFileError::of(&file, Some(&footer), e);
        let seal = tail.and_then(|tail| Seal::new(tail, footer.metadata())).map_err(damaged)?;
        let (metadata, content) = entries(&file, &footer)?;
        let group_ends = check_types(footer.schema().fields()).and_then(|()| group_ends(&footer));
        let group_ends = group_ends.map_err(damaged)?;
        let (metadata, kind) = (serde_json::from_str(&metadata).ok(), footer::kind(&metadata));
        Ok(Part { file, footer, metadata, kind, content, seal, group_ends })
    }

    /// Closes the file. Each read opens the file again, and fails if another file has its path by then.
    pub(super) fn close(&mut self) {
        self.file.close();
    }

    /// Returns the error of the first read that failed.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.file.failure()
    }

    /// Returns the error for rows that cannot be used because of `cause`.
    pub(super) fn error(&self, cause: anyhow::Error) -> IndexFileError {
        IndexFileError::of(&self.file, Some(&self.footer), cause)
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the metadata; `None` if another version of this tool wrote the file.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// Returns the content digest that is stored in the footer.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// Returns whether a row is a document or a chunk.
    pub fn kind(&self) -> RowKind {
        self.kind
    }

    /// Returns the content digest of the old index file of a delta; `None` if there was no old file.
    pub(super) fn delta_start(&self) -> Option<String> {
        entry(&self.footer, footer::FROM)
    }

    /// Returns how the column `vector` is stored; `None` if this column is missing or has another type, or if its scale is missing.
    pub(super) fn vectors(&self) -> Option<VectorColumn> {
        let (_, field) = self.fields().find(VECTOR)?;
        VectorColumn::of(field.data_type(), entry(&self.footer, SCALE).as_deref())
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.group_ends.last().copied().unwrap_or(0)
    }

    /// Returns the number of row groups.
    pub(super) fn groups(&self) -> usize {
        self.group_ends.len()
    }

    /// Returns the row number of the first row of a row group.
    pub(super) fn start_of(&self, group: usize) -> u32 {
        group.checked_sub(1).map_or(0, |before| self.group_ends[before])
    }

    pub(super) fn fields(&self) -> &Fields {
        self.footer.schema().fields()
    }

    /// Returns whether the file has the columns `id`, `text`, and `vector` as `fingerprint` describes them.
    pub(super) fn has_columns(&self, fingerprint: &Fingerprint) -> bool {
        let is_text =
            |name| self.fields().find(name).is_some_and(|(_, field)| *field.data_type() == DataType::Utf8);
        is_text(ID) && is_text(TEXT) && self.vectors().is_some_and(|format| fingerprint.has(format))
    }

    /// Returns the names of the kept columns.
    pub(super) fn kept_names(&self) -> Vec<&str> {
        self.fields().iter().skip(COLUMNS.len()).map(|field| field.name().as_str()).collect()
    }

    /// Returns the type of a kept column.
    pub(super) fn kept_type(&self, name: &str) -> Option<&DataType> {
        let mut kept = self.fields().iter().skip(COLUMNS.len());
        kept.find(|field| field.name() == name).map(|field| field.data_type())
    }

    /// Returns the size of a row group in the file, in bytes.
    pub(super) fn group_bytes(&self, group: usize) -> u64 {
        self.footer.metadata().row_group(group).compressed_size() as u64
    }

    /// Checks the bytes of a row group. Then decodes it and returns the digests of its rows.
    pub(super) fn read_digests(&self, group: usize) -> anyhow::Result<Vec<RowDigests>> {
        let mut rows = Vec::new();
        let names = self.kept_names();
        let context = self.metadata().map(|metadata| metadata.fingerprint.context).unwrap_or_default();
        let place = |name| names.iter().position(|&other| other == name);
        let (title, headings) = (place(TITLE), place(HEADINGS));
        self.check_group(group)?;
        for batch in self.reader(group, None, &[])? {
            let batch = self.batch(batch?)?;
            let kept = kept_values(&batch.batch, &names);
            let vectors = batch.vectors()?;
            ensure!(
                self.metadata().is_none_or(|metadata| metadata.fingerprint.has(batch.format())),
                "its vectors have other dimensions or another type than its metadata says"
            );
            let texts = batch.ids()?.zip(batch.documents()?).zip(batch.texts()?);
            for ((((id, (document, chunk)), text), vector), kept) in texts.zip(vectors.rows()).zip(kept) {
                let embedded = (context != ChunkContext::default()).then(|| {
                    let title = title.and_then(|at| kept[at].as_str());
                    let headings = headings.and_then(|at| kept[at].as_array()).into_iter().flatten();
                    Digest::of(context_text(context, title, headings.filter_map(Value::as_str)) + text)
                });
                let (kept, _) = kept::digest(&kept);
                let text = Digest::of(text);
                rows.push(RowDigests {
                    whole: row_digest(id, text, vector.as_slice().unwrap_or_default(), kept),
                    document: chunk.is_none_or(|chunk| chunk == 0).then(|| Digest::of(document)),
                    text,
                    embedded,
                    kept,
                });
            }
        }
        Ok(rows)
    }

    /// Checks the bytes of a row group. The decoder may panic on a damaged page, so a caller that reads a whole file checks each
    /// row group before it decodes the pages.
    pub(super) fn check_group(&self, group: usize) -> anyhow::Result<()> {
        let Some(seal) = &self.seal else { return Ok(()) };
        seal.check_group(&self.file.get()?, self.footer.metadata(), group)
    }

    /// Converts a batch of rows of this file.
    ///
    /// # Errors
    /// This tool writes no column `vector` of the file's type.
    pub(super) fn batch(&self, batch: RecordBatch) -> anyhow::Result<RowBatch> {
        let format = self.vectors().context("it has no column vector that this tool writes")?;
        Ok(RowBatch::new(batch, self.kind(), format))
    }

    /// Reads the footer again, with the page index that [`Part::copy_column`] needs.
    pub(super) fn page_index(&self) -> anyhow::Result<ParquetMetaData> {
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        Ok(reader.parse_and_finish(&self.file.get()?)?)
    }

    /// Copies the encoded pages of one column, in one row group, into another file.
    pub(super) fn copy_column<W: Write + Send>(
        &self,
        footer: &ParquetMetaData,
        group: usize,
        column: usize,
        into: &mut SerializedRowGroupWriter<W>,
    ) -> parquet::errors::Result<()> {
        let metadata = footer.row_group(group).column(column).clone();
        let index = footer.page_index();
        let close = ColumnCloseResult {
            bytes_written: metadata.compressed_size() as u64,
            rows_written: footer.row_group(group).num_rows() as u64,
            metadata,
            bloom_filter: None,
            column_index: index.and_then(|index| index.column_index(group, column)).cloned(),
            offset_index: index.and_then(|index| index.offset_index(group, column)).cloned(),
        };
        into.append_column(&self.file.get()?, close)
    }

    /// Reads the id, the text and the kept columns `keep` of these rows, but no vectors. The row numbers must be in ascending
    /// order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn rows_with(&self, rows: &[u32], keep: &[&str]) -> anyhow::Result<Vec<Row>> {
        let mut found = Vec::new();
        let mut numbers = rows.iter();
        let columns: Vec<&str> = [ID, TEXT].iter().chain(keep).copied().collect();
        self.select(rows, &columns, |batch| {
            let (ids, texts) = (batch[ID].as_string::<i32>(), batch[TEXT].as_string::<i32>());
            for ((at, kept), &row) in kept_values(&batch, keep).into_iter().enumerate().zip(&mut numbers) {
                let (id, text) = (RowId::parse(ids.value(at), self.kind()), texts.value(at).to_owned());
                found.push(Row { id, text, vector: Vector::Old(row), kept });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Reads these rows, and passes them to `f` in batches. The row numbers must be in ascending order. Reads only the columns in
    /// `columns`, or all columns if the list is empty. Returns how many row groups were read.
    pub(super) fn select(
        &self,
        rows: &[u32],
        columns: &[&str],
        mut f: impl FnMut(RecordBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut rows = rows;
        let mut groups = 0;
        // A caller that reads a large file in many calls must not pay for all row groups in each call.
        let first = rows.first().map_or(0, |&first| self.group_ends.partition_point(|&end| end <= first));
        let mut start = self.start_of(first);
        for (group, &end) in self.group_ends.iter().enumerate().skip(first) {
            if rows.is_empty() {
                break;
            }
            let count = rows.partition_point(|&row| row < end);
            let (here, rest) = rows.split_at(count);
            if !here.is_empty() {
                groups += 1;
                let ranges = here.iter().map(|&row| (row - start) as usize..(row - start) as usize + 1);
                let selection = RowSelection::from_consecutive_ranges(ranges, (end - start) as usize);
                for batch in self.reader(group, Some(selection), columns)? {
                    f(batch?)?;
                }
            }
            (rows, start) = (rest, end);
        }
        Ok(groups)
    }

    /// Returns a reader of a row group. If `selection` is `None`, all rows are read. If `columns` is empty, all columns are read.
    pub(super) fn reader(
        &self,
        group: usize,
        selection: Option<RowSelection>,
        columns: &[&str],
    ) -> anyhow::Result<ParquetRecordBatchReader> {
        let (file, footer) = (self.file.get()?, self.footer.clone());
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer)
            .with_row_groups(vec![group])
            .with_batch_size(BATCH_ROWS);
        if !columns.is_empty() {
            let schema = self.footer.metadata().file_metadata().schema_descr();
            // The columns are selected by index, because `ProjectionMask::columns` would read a dot in the name of a kept column
            // as a path.
            let is_wanted = |at: &usize| columns.contains(&self.fields()[*at].name().as_str());
            reader = reader
                .with_projection(ProjectionMask::roots(schema, (0..self.fields().len()).filter(is_wanted)));
        }
        if let Some(selection) = selection {
            reader = reader.with_row_selection(selection);
        }
        Ok(reader.build()?)
    }
}

fn check_start(file: &OpenFile) -> anyhow::Result<()> {
    let starts_with_magic = file.len() >= MAGIC.len() as u64 && file.get_bytes(0, MAGIC.len())? == MAGIC;
    ensure!(starts_with_magic, "it does not start with PAR1, so it is not a Parquet file");
    Ok(())
}

/// Returns the number of rows that a footer names. It names them twice, and damage can make either number too small.
fn rows_in(footer: &ArrowReaderMetadata) -> u64 {
    let groups =
        footer.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0));
    let whole = u64::try_from(footer.metadata().file_metadata().num_rows()).unwrap_or(0);
    groups.fold(0, u64::saturating_add).max(whole)
}

fn check_types(fields: &Fields) -> anyhow::Result<()> {
    for field in fields {
        let (name, kind) = (field.name(), field.data_type());
        if !COLUMNS.contains(&name.as_str()) && !kept::is_known(kind) {
            bail!("its column {name} has the type {kind}, but this tool writes no columns of this type");
        }
    }
    Ok(())
}

fn group_ends(footer: &ArrowReaderMetadata) -> anyhow::Result<Vec<u32>> {
    let mut end = 0;
    let groups = footer.metadata().row_groups().iter();
    let ends = groups.map(|group| {
        let rows = usize::try_from(group.num_rows()).context("a row group has a negative number of rows")?;
        end = add_rows(end, rows)?;
        Ok(end)
    });
    ends.collect()
}
