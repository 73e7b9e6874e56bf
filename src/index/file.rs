//! A file of this tool's: read whole once, to see that it is undamaged and what is in it; then by row.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, ensure};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Fields, ToByteSlice};
use rayon::prelude::*;

use super::content::{ContentDigest, RowDigests};
use super::kept::KeptColumn;
use super::metadata::{Metadata, RowKind};
use super::part::{Part, Unusable, floats};
use super::row::{Row, RowId};
use super::schema::{COLUMNS, schema};
use crate::digest::Digest;

/// In the order of the file, a row group is read some ten times, for as many windows of rows. Where more is read than
/// so many times all of them, rows are wanted in another order.
const READ_AGAIN: usize = 16;

/// The index that the output has when a run begins, and how much of it the run can reuse.
pub struct Old {
    /// Read whole, and undamaged.
    pub file: IndexFile,
    /// Depends on the settings of both runs; `--rebuild` does not count here.
    pub reusable: Reusable,
}

/// How much of an old index a run can reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reusable {
    /// Nothing: the vectors were made with other settings.
    Nothing,
    /// The vectors, truncated to the new length. The new file has another fingerprint.
    Vectors,
    /// The whole file, if its rows stay the same: the fingerprint is the same.
    File,
}

impl Old {
    /// Returns whether an equal text has the same vector in the new file, before truncation.
    pub fn has_vectors(&self) -> bool {
        self.reusable != Reusable::Nothing
    }
}

/// A document's first row.
#[derive(Debug, Clone, Copy)]
struct First {
    id: Digest,
    row: u32,
}

/// A file that has been read whole. In memory are, for each row, 20 bytes, and 24 for each document; 8 more for a row
/// that keeps columns.
pub struct IndexFile {
    part: Part,
    texts: Vec<Digest>,
    /// Empty where there are no such columns.
    kept: Vec<u64>,
    documents: Vec<First>,
    by_text: OnceLock<Vec<u32>>,
    by_id: OnceLock<Vec<u32>>,
    /// Row groups that were read for their vectors.
    groups_read: AtomicUsize,
    /// Once that has been too many.
    flat: OnceLock<File>,
    /// Where that is.
    folder: PathBuf,
}

impl IndexFile {
    /// Reads all of it.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn open(path: &Path) -> Result<Self, Unusable> {
        let mut index = IndexFile {
            part: Part::open(path)?,
            texts: Vec::new(),
            kept: Vec::new(),
            documents: Vec::new(),
            by_text: OnceLock::new(),
            by_id: OnceLock::new(),
            groups_read: AtomicUsize::new(0),
            flat: OnceLock::new(),
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        };
        index.read_whole().map_err(Unusable::Damaged)?;
        Ok(index)
    }

    /// What it says of itself. `None` where another version of this tool wrote it.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.part.metadata()
    }

    /// A digest of all rows in their order.
    pub fn content(&self) -> &str {
        self.part.content()
    }

    /// How many rows.
    pub fn rows(&self) -> u32 {
        self.texts.len() as u32
    }

    /// How many documents.
    pub fn documents(&self) -> u32 {
        self.documents.len() as u32
    }

    /// The document of this id.
    pub fn document(&self, id: Digest) -> Option<u32> {
        let by_id = self.by_id();
        let found = by_id.partition_point(|&at| self.documents[at as usize].id < id);
        by_id.get(found).copied().filter(|&at| self.documents[at as usize].id == id)
    }

    fn by_id(&self) -> &[u32] {
        self.by_id.get_or_init(|| sorted_by(self.documents.len(), |at| self.documents[at].id))
    }

    /// A row of this text; where there are several, one of this document rather than another.
    pub fn row_of_text(&self, text: Digest, document: Option<u32>) -> Option<u32> {
        let mut own = document.map(|document| self.rows_of(document)).unwrap_or_default();
        own.find(|&row| self.texts[row as usize] == text).or_else(|| {
            let by_text = self.by_text.get_or_init(|| sorted_by(self.texts.len(), |at| self.texts[at]));
            let found = by_text.partition_point(|&at| self.texts[at as usize] < text);
            by_text.get(found).copied().filter(|&at| self.texts[at as usize] == text)
        })
    }

    /// The rows of a document.
    pub fn rows_of(&self, document: u32) -> Range<u32> {
        let first = |at: u32| self.documents.get(at as usize).map_or(self.rows(), |first| first.row);
        first(document)..first(document + 1)
    }

    /// The document of a row.
    pub fn document_of(&self, row: u32) -> u32 {
        self.documents.partition_point(|first| first.row <= row) as u32 - 1
    }

    /// Whether a row has this text and these kept values.
    pub fn is_row(&self, row: u32, text: Digest, kept: u64) -> bool {
        let row = row as usize;
        self.texts[row] == text && self.kept.get(row).is_none_or(|&there| there == kept)
    }

    /// What a row's text and kept values are recognised by.
    pub fn row_digests(&self, row: u32) -> (Digest, u64) {
        (self.texts[row as usize], self.kept.get(row as usize).copied().unwrap_or_default())
    }

    /// What the documents are recognised by, and the rows of each.
    pub fn each_document(&self) -> impl Iterator<Item = (Digest, Range<u32>)> {
        (0..self.documents()).map(|at| (self.documents[at as usize].id, self.rows_of(at)))
    }

    /// Whether its kept columns are these, with these types.
    pub fn keeps(&self, columns: &[KeptColumn]) -> bool {
        let expected = schema(self.dim(), columns);
        self.fields() == expected.fields()
    }

    /// Whether its kept columns have these names.
    pub fn keeps_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        self.fields().iter().skip(COLUMNS.len()).map(|field| field.name().as_str()).eq(names)
    }

    /// The vectors of these rows, which may come in any order, one after the other.
    ///
    /// # Errors
    /// It cannot be read any more; or, where rows are wanted in another order than theirs, no temporary file written.
    pub fn vectors(&self, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
        if let Some(flat) = self.flat.get() {
            return self.vectors_of(flat, rows);
        }
        let mut wanted = rows.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut vectors = Vec::with_capacity(wanted.len() * self.dim());
        let read = self.part.select(&wanted, &[COLUMNS[2]], |batch| {
            vectors.extend_from_slice(floats(&batch)?);
            Ok(())
        })?;
        let read = self.groups_read.fetch_add(read, Relaxed) + read;
        if read > READ_AGAIN * self.part.groups() {
            let _ = self.flat.set(self.flatten()?);
        }
        let place = |row: &u32| wanted.binary_search(row).map_or(0, |at| at * self.dim());
        Ok(rows.iter().flat_map(|row| &vectors[place(row)..][..self.dim()]).copied().collect())
    }

    /// All vectors, in a file that is gone when it is closed. In that of Parquet, 256 KiB are read for each.
    fn flatten(&self) -> anyhow::Result<File> {
        let flat = || -> anyhow::Result<File> {
            let mut file = BufWriter::new(tempfile::tempfile_in(&self.folder)?);
            let all: Vec<u32> = (0..self.rows()).collect();
            self.part.select(&all, &[COLUMNS[2]], |batch| {
                file.write_all(floats(&batch)?.to_byte_slice())?;
                Ok(())
            })?;
            Ok(file.into_inner()?)
        };
        flat().with_context(|| {
            format!("a temporary file in {}: cannot be written; make room", self.folder.display())
        })
    }

    fn vectors_of(&self, flat: &File, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
        let mut bytes = vec![0; self.dim() * size_of::<f32>()];
        let mut vectors = Vec::with_capacity(rows.len() * self.dim());
        for &row in rows {
            let place = u64::from(row) * bytes.len() as u64;
            flat.read_exact_at(&mut bytes, place)?;
            vectors.extend(bytes.as_chunks().0.iter().map(|&number| f32::from_ne_bytes(number)));
        }
        Ok(vectors)
    }

    /// As [`Part::rows_with`].
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn rows_with(&self, rows: &[u32], keep: &[&str]) -> anyhow::Result<Vec<Row>> {
        self.part.rows_with(rows, keep)
    }

    /// The ids of these documents, ascending.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn document_ids(&self, documents: &[u32]) -> anyhow::Result<Vec<String>> {
        let rows: Vec<u32> =
            documents.iter().map(|&document| self.documents[document as usize].row).collect();
        let mut found = Vec::new();
        self.part.select(&rows, &COLUMNS[..1], |batch| {
            let ids = batch[COLUMNS[0]].as_string::<i32>();
            found.extend(ids.iter().flatten().map(|id| RowId::parse(id, self.kind()).document));
            Ok(())
        })?;
        Ok(found)
    }

    /// The whole rows with these numbers, ascending.
    pub(super) fn batches(
        &self,
        rows: &[u32],
        f: impl FnMut(RecordBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.part.select(rows, &[], f).map(drop)
    }

    pub(super) fn fields(&self) -> &Fields {
        self.part.fields()
    }

    /// What a document is recognised by.
    pub fn document_digest(&self, document: u32) -> Digest {
        self.documents[document as usize].id
    }

    /// What its rows stand for.
    pub fn kind(&self) -> RowKind {
        self.part.kind()
    }

    /// The first row of a document whose id an earlier one has, if there is one.
    pub fn doubled_id(&self) -> Option<u32> {
        let first = |at: u32| &self.documents[at as usize];
        let doubled = self.by_id().windows(2).find(|pair| first(pair[0]).id == first(pair[1]).id)?;
        Some(first(doubled[1]).row)
    }

    /// Length of its vectors.
    pub fn dim(&self) -> usize {
        self.part.dim()
    }

    /// Every page: the columns that there should be, and the content that was written.
    fn read_whole(&mut self) -> anyhow::Result<()> {
        let mut content = ContentDigest::default();
        let groups: Vec<usize> = (0..self.part.groups()).collect();
        for together in groups.chunks(rayon::current_num_threads()) {
            let read: Vec<Vec<RowDigests>> = together
                .par_iter()
                .map(|&group| self.part.read_digests(group))
                .collect::<anyhow::Result<_>>()?;
            for row in read.into_iter().flatten() {
                content.push_row(&row.whole);
                if let Some(id) = row.document {
                    self.documents.push(First { id, row: self.texts.len() as u32 });
                }
                self.texts.push(row.text);
                if self.fields().len() > COLUMNS.len() {
                    self.kept.push(row.kept);
                }
            }
        }
        ensure!(self.documents.first().is_none_or(|first| first.row == 0), "its ids are not in order");
        ensure!(content.to_string() == self.content(), "its content is not what was written");
        Ok(())
    }
}

fn sorted_by(count: usize, digest: impl Fn(usize) -> Digest) -> Vec<u32> {
    let mut sorted: Vec<u32> = (0..count as u32).collect();
    sorted.sort_unstable_by_key(|&at| (digest(at as usize), at));
    sorted
}
