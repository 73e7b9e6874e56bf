//! A file of this tool's, opened: of its rows, only those are read that are asked for.

use super::footer::{self, entry};
use super::schema::MAGIC;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Float32Type};
use bytes::Bytes;
use ndarray::ArrayView2;
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
use super::footer::is_delta;
use super::kept;
use super::metadata::{Metadata, RowKind};
use super::row::{Row, RowId, Vector};
use super::schema::COLUMNS;
use crate::digest::Digest;

/// Rows that are read at a time. Of a whole row group, a batch could hold more text than it can.
const BATCH_ROWS: usize = 256;

/// Why what is there is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is Parquet, but not of this tool.
    #[error("not made by this tool")]
    Foreign,
    /// What changes in an index, and none.
    #[error("a delta")]
    Delta,
    /// It was of this tool, or may have been.
    #[error("{0:#}")]
    Damaged(anyhow::Error),
}

/// An open file, of which the footer has been read.
pub struct Part {
    file: Shared,
    footer: ArrowReaderMetadata,
    metadata: Option<Metadata>,
    kind: RowKind,
    content: String,
    group_ends: Vec<u32>,
}

impl Part {
    /// Reads its footer.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        let open = || -> anyhow::Result<_> {
            let file = Shared(Arc::new(File::open(path)?));
            let mut magic = [0; MAGIC.len()];
            file.0.read_exact_at(&mut magic, 0)?;
            ensure!(magic == *MAGIC, "it does not start as Parquet does");
            let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
            let footer = ArrowReaderMetadata::load(&file, options)?;
            Ok((file, footer))
        };
        let (file, footer) = open().map_err(Unusable::Damaged)?;
        let (metadata, content) = match (entry(&footer, Metadata::KEY), entry(&footer, ContentDigest::KEY)) {
            (Some(metadata), Some(content)) => (metadata, content),
            (None, None) => return Err(Unusable::Foreign),
            _ if is_delta(&footer) => return Err(Unusable::Delta),
            _ => return Err(Unusable::Damaged(anyhow!("one of its two keys is missing"))),
        };
        let is_known = |field: &&Arc<Field>| {
            COLUMNS.contains(&field.name().as_str()) || kept::is_known(field.data_type())
        };
        if let Some(field) = footer.schema().fields().iter().find(|field| !is_known(field)) {
            let (name, kind) = (field.name(), field.data_type());
            return Err(Unusable::Damaged(anyhow!(
                "its column {name} is {kind}, which this tool does not write"
            )));
        }
        let mut group_ends = Vec::new();
        for group in footer.metadata().row_groups() {
            let rows = u32::try_from(group.num_rows()).ok();
            let end = rows.and_then(|rows| group_ends.last().unwrap_or(&0u32).checked_add(rows));
            group_ends.push(end.ok_or_else(|| Unusable::Damaged(anyhow!("more rows than can be counted")))?);
        }
        let (metadata, kind) = (serde_json::from_str(&metadata).ok(), footer::kind(&metadata));
        Ok(Part { file, footer, metadata, kind, content, group_ends })
    }

    /// What it says of itself. `None` where another version of this tool wrote it.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// A digest of all rows in their order.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// What its rows stand for.
    pub fn kind(&self) -> RowKind {
        self.kind
    }

    /// Length of its vectors.
    pub fn dim(&self) -> usize {
        self.metadata.as_ref().map_or(0, |metadata| metadata.fingerprint.dim)
    }

    /// How many rows.
    pub fn rows(&self) -> u32 {
        self.group_ends.last().copied().unwrap_or(0)
    }

    /// In how many groups.
    pub fn groups(&self) -> usize {
        self.group_ends.len()
    }

    /// The number of the first row of a group.
    pub fn start_of(&self, group: usize) -> u32 {
        group.checked_sub(1).map_or(0, |before| self.group_ends[before])
    }

    /// Its columns.
    pub(super) fn fields(&self) -> &Fields {
        self.footer.schema().fields()
    }

    /// Whether its columns are those of this tool.
    pub fn is_well_formed(&self) -> bool {
        let [id, text, vector] =
            COLUMNS.map(|name| self.fields().find(name).map(|(_, field)| field.data_type()));
        let is_text = |column: Option<&DataType>| column == Some(&DataType::Utf8);
        let is_vector = |column: &DataType| match column {
            DataType::FixedSizeList(of, dim) => {
                *of.data_type() == DataType::Float32 && *dim as usize == self.dim()
            }
            _ => false,
        };
        is_text(id) && is_text(text) && vector.is_some_and(is_vector)
    }

    /// Names of the columns that it keeps.
    pub(super) fn kept_names(&self) -> Vec<&str> {
        self.fields().iter().skip(COLUMNS.len()).map(|field| field.name().as_str()).collect()
    }

    /// The type of a column that it keeps.
    pub(super) fn kept_type(&self, name: &str) -> Option<&DataType> {
        self.fields()
            .iter()
            .skip(COLUMNS.len())
            .find(|field| field.name() == name)
            .map(|field| field.data_type())
    }

    /// Bytes of a row group in the file.
    pub(super) fn group_bytes(&self, group: usize) -> u64 {
        self.footer.metadata().row_group(group).compressed_size() as u64
    }

    /// What there is to know of each row of a group.
    pub(super) fn read_digests(&self, group: usize) -> anyhow::Result<Vec<RowDigests>> {
        let mut rows = Vec::new();
        let names = self.kept_names();
        for batch in self.reader(group, None, &[])? {
            let block = Block::new(batch?, self.kind());
            let kept = kept_values(&block.batch, &names);
            let vectors = block.vectors()?;
            let dim = vectors.ncols();
            ensure!(
                self.metadata().is_none_or(|metadata| metadata.fingerprint.dim == dim),
                "its vectors have {dim} numbers, its metadata says otherwise"
            );
            let texts = block.ids()?.zip(block.documents()?).zip(block.texts()?);
            for ((((id, (document, chunk)), text), vector), kept) in texts.zip(vectors.rows()).zip(kept) {
                let (kept, _) = kept::digest(&kept);
                let text = Digest::of(text);
                rows.push(RowDigests {
                    whole: row_digest(id, text, vector.as_slice().unwrap_or_default(), kept),
                    document: chunk.is_none_or(|chunk| chunk == 0).then(|| Digest::of(document)),
                    text,
                    kept,
                });
            }
        }
        Ok(rows)
    }

    /// Its footer with all that it says of pages, for [`Part::splice`].
    pub(super) fn pages(&self) -> anyhow::Result<ParquetMetaData> {
        let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        Ok(reader.parse_and_finish(&self.file)?)
    }

    /// Copies a column of a row group into another file, as it is.
    pub(super) fn splice<W: Write + Send>(
        &self,
        pages: &ParquetMetaData,
        group: usize,
        column: usize,
        into: &mut SerializedRowGroupWriter<W>,
    ) -> parquet::errors::Result<()> {
        let metadata = pages.row_group(group).column(column).clone();
        let index = pages.page_index();
        let close = ColumnCloseResult {
            bytes_written: metadata.compressed_size() as u64,
            rows_written: pages.row_group(group).num_rows() as u64,
            metadata,
            bloom_filter: None,
            column_index: index.and_then(|index| index.column_index(group, column)).cloned(),
            offset_index: index.and_then(|index| index.offset_index(group, column)).cloned(),
        };
        into.append_column(&self.file, close)
    }

    /// The rows with these numbers, ascending, with the values of the columns named.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn rows_with(&self, rows: &[u32], keep: &[&str]) -> anyhow::Result<Vec<Row>> {
        let mut found = Vec::new();
        let mut numbers = rows.iter();
        let columns: Vec<&str> = COLUMNS[..2].iter().chain(keep).copied().collect();
        self.select(rows, &columns, |batch| {
            let (ids, texts) = (batch["id"].as_string::<i32>(), batch["text"].as_string::<i32>());
            for ((at, kept), &row) in kept_values(&batch, keep).into_iter().enumerate().zip(&mut numbers) {
                let (id, text) = (RowId::parse(ids.value(at), self.kind()), texts.value(at).to_owned());
                found.push(Row { id, text, vector: Vector::Old(row), kept });
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// With these columns, or all where none is named. Gives back how many row groups that took.
    pub(super) fn select(
        &self,
        rows: &[u32],
        columns: &[&str],
        mut f: impl FnMut(RecordBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut rows = rows;
        let mut start = 0;
        let mut groups = 0;
        for (group, &end) in self.group_ends.iter().enumerate() {
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

    pub(super) fn reader(
        &self,
        group: usize,
        selection: Option<RowSelection>,
        columns: &[&str],
    ) -> anyhow::Result<ParquetRecordBatchReader> {
        let (file, footer) = (self.file.clone(), self.footer.clone());
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, footer)
            .with_row_groups(vec![group])
            .with_batch_size(BATCH_ROWS);
        if !columns.is_empty() {
            let schema = self.footer.metadata().file_metadata().schema_descr();
            // By place: a kept column may have a dot in its name, which is a path to `ProjectionMask::columns`.
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

/// Some rows, one after the other, with the columns that were asked for.
pub struct Block {
    pub(super) batch: RecordBatch,
    kind: RowKind,
}

impl Block {
    pub(super) fn new(batch: RecordBatch, kind: RowKind) -> Self {
        Block { batch, kind }
    }

    /// How many.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The column `vector`, `[rows, dim]`.
    ///
    /// # Errors
    /// It is not there, or not all of it.
    pub fn vectors(&self) -> anyhow::Result<ArrayView2<'_, f32>> {
        let column = self.batch.column_by_name(COLUMNS[2]).context("no column vector")?;
        let vectors = column.as_fixed_size_list_opt().context("its vectors are no vectors")?;
        let floats = floats(&self.batch)?;
        ensure!(vectors.null_count() + vectors.values().null_count() == 0, "a vector is missing");
        Ok(ArrayView2::from_shape((self.rows(), vectors.value_length() as usize), floats)?)
    }

    /// The column `id`.
    ///
    /// # Errors
    /// It is not there, or not all of it.
    pub fn ids(&self) -> anyhow::Result<impl Iterator<Item = &str>> {
        self.strings(COLUMNS[0])
    }

    /// The document of each row, and the number of the chunk where it is one.
    ///
    /// # Errors
    /// As for [`Block::ids`].
    pub fn documents(&self) -> anyhow::Result<impl Iterator<Item = (&str, Option<u32>)>> {
        Ok(self.ids()?.map(|id| RowId::split(id, self.kind)))
    }

    /// The column `text`.
    ///
    /// # Errors
    /// It is not there, or not all of it.
    pub fn texts(&self) -> anyhow::Result<impl Iterator<Item = &str>> {
        self.strings(COLUMNS[1])
    }

    fn strings(&self, name: &str) -> anyhow::Result<impl Iterator<Item = &str>> {
        let column = self.batch.column_by_name(name).with_context(|| format!("no column {name}"))?;
        let strings =
            column.as_string_opt::<i32>().with_context(|| format!("its column {name} is no text"))?;
        ensure!(strings.null_count() == 0, "a value of its column {name} is missing");
        Ok(strings.iter().flatten())
    }
}

/// A file that several threads read. Of [`File`] itself, clones share the place where they are.
#[derive(Clone)]
struct Shared(Arc<File>);

impl Length for Shared {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for Shared {
    type T = BufReader<At>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<BufReader<At>> {
        Ok(BufReader::new(At { file: self.0.clone(), place: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.0.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A place in it.
struct At {
    file: Arc<File>,
    place: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.place)?;
        self.place += count as u64;
        Ok(count)
    }
}

pub(super) fn floats(batch: &RecordBatch) -> anyhow::Result<&[f32]> {
    let values = batch[COLUMNS[2]].as_fixed_size_list().values();
    Ok(values.as_primitive_opt::<Float32Type>().context("its vectors are no floats")?.values())
}

pub(super) fn kept_values(batch: &RecordBatch, names: &[&str]) -> Vec<Arc<[Value]>> {
    let columns: Vec<Vec<Value>> = names
        .iter()
        .map(|name| match batch.column_by_name(name) {
            Some(column) => kept::values(column),
            None => vec![Value::Null; batch.num_rows()],
        })
        .collect();
    (0..batch.num_rows()).map(|at| columns.iter().map(|column| column[at].clone()).collect()).collect()
}
