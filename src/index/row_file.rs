//! Reads all rows of an index file, or all changes of a delta, for a copy of the index elsewhere.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use arrow::array::{AsArray, RecordBatch};
use serde_json::{Map, Value};

use super::delta::OPERATION;
use super::metadata::{Metadata, RowKind};
use super::part::{IndexFileError, Part};
use super::parts::{check_file, known, unreadable, usable};
use super::row::RowId;
use super::row_batch::kept_values;
use super::schema::{ID, TEXT, VECTOR};
use crate::interrupt::{self, Interrupted};
use crate::storage::object::Url;

/// An index file or a delta whose footer has been read.
pub struct RowFile {
    path: PathBuf,
    part: Part,
    metadata: Metadata,
    is_delta: bool,
}

/// Consecutive rows of a file.
pub enum RowPiece {
    /// The ids of rows that a delta removes.
    Removed(Vec<String>),
    /// Rows of an index, or rows that a delta adds or changes.
    Present(Vec<FullRow>),
}

/// A row with all its columns.
pub struct FullRow {
    /// The id, unique in the file.
    pub id: String,
    /// The id, the text and the kept columns, by the names of the columns.
    pub fields: Map<String, Value>,
    /// The L2-normalized vector.
    pub vector: Vec<f32>,
}

impl RowFile {
    /// Opens an index file.
    ///
    /// # Errors
    /// The file is missing, damaged or not an index.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        RowFile::new(path, Part::open, false)
    }

    /// Opens a delta.
    ///
    /// # Errors
    /// The file is missing, damaged or not a delta.
    pub fn open_delta(path: &Path) -> anyhow::Result<Self> {
        RowFile::new(path, Part::open_delta, true)
    }

    fn new(
        path: &Path,
        open: fn(&Path) -> Result<Part, IndexFileError>,
        is_delta: bool,
    ) -> anyhow::Result<Self> {
        let what = if is_delta { "delta" } else { "index" };
        Url::refuse(what, path)?;
        let part = check_file(path).and_then(|()| match open(path) {
            Err(IndexFileError::Damaged(e)) if is_delta => Err(damaged_delta(&e)),
            opened => usable(opened),
        });
        let part = part.and_then(|part| Ok((known(&part)?.clone(), part)));
        let (metadata, part) = part.with_context(|| format!("{what} {}", path.display()))?;
        Ok(RowFile { path: path.to_owned(), part, metadata, is_delta })
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the content digest of the index, or of the index that the delta leads to.
    pub fn content(&self) -> &str {
        self.part.content()
    }

    /// Returns the content digest of the index that the delta starts from; `None` for an index, and for the delta of the first run.
    pub fn start(&self) -> Option<String> {
        self.part.delta_start().filter(|_| self.is_delta)
    }

    /// Returns the number of rows or changes.
    pub fn rows(&self) -> u32 {
        self.part.rows()
    }

    /// Returns the size of the rows in the file, in bytes.
    pub fn bytes(&self) -> u64 {
        (0..self.part.groups()).map(|group| self.part.group_bytes(group)).sum()
    }

    /// Returns whether the file has a column of this name beside its id, its text and its vector.
    pub fn keeps(&self, name: &str) -> bool {
        self.kept().contains(&name)
    }

    /// Returns the names of the kept columns, and their types.
    pub fn kept_types(&self) -> BTreeMap<String, String> {
        let kept = self.kept();
        let fields = self.part.fields().iter().filter(|field| kept.contains(&field.name().as_str()));
        fields.map(|field| (field.name().clone(), field.data_type().to_string())).collect()
    }

    /// Reads all rows in the order of the file, and passes them to `f` in pieces of at most 256 rows.
    ///
    /// # Errors
    /// The file is damaged or cannot be read, `f` fails, or a signal arrived.
    pub fn each(&self, mut f: impl FnMut(RowPiece) -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.each_batch(&[], |batch| {
            if !self.is_delta {
                return f(RowPiece::Present(self.full_rows(batch)?));
            }
            let operations = batch[OPERATION].as_string::<i32>();
            let is_removed: Vec<bool> = operations.iter().map(|op| op == Some("removed")).collect();
            let mut at = 0;
            for run in is_removed.chunk_by(|one, other| one == other) {
                let rows = batch.slice(at, run.len());
                at += run.len();
                f(match run[0] {
                    true => RowPiece::Removed(ids(&rows).map(str::to_owned).collect()),
                    false => RowPiece::Present(self.full_rows(&rows)?),
                })?;
            }
            Ok(())
        })
    }

    /// Passes the id of each row to `f`.
    ///
    /// # Errors
    /// The file cannot be read, or a signal arrived.
    pub fn each_id(&self, mut f: impl FnMut(&str)) -> anyhow::Result<()> {
        self.each_batch(&[ID], |batch| {
            ids(batch).for_each(&mut f);
            Ok(())
        })
    }

    /// Reads some columns of all rows, or all columns if `columns` is empty.
    fn each_batch(
        &self,
        columns: &[&str],
        mut f: impl FnMut(&RecordBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for group in 0..self.part.groups() {
            interrupt::check()?;
            let read = self.part.check_group(group).and_then(|()| self.part.reader(group, None, columns));
            for batch in read.map_err(|e| self.unreadable(e))? {
                f(&batch.map_err(|e| self.unreadable(e.into()))?)?;
            }
        }
        Ok(())
    }

    fn unreadable(&self, error: anyhow::Error) -> anyhow::Error {
        if self.is_delta && self.part.failure().is_none() && !error.is::<Interrupted>() {
            return damaged_delta(&error).context(format!("delta {}", self.path.display()));
        }
        unreadable(&self.path, &self.part, "cannot be read", error)
    }

    /// Returns rows of this file. None of the rows may be removed.
    fn full_rows(&self, batch: &RecordBatch) -> anyhow::Result<Vec<FullRow>> {
        let names: Vec<&str> = [ID, TEXT].into_iter().chain(self.kept()).collect();
        let fields = kept_values(batch, &names);
        let batch = self.part.batch(batch.clone())?;
        let vectors = batch.unit_vectors()?;
        // Version 0.1 wrote no such columns.
        let adds_place = self.part.kind() == RowKind::Chunks && !self.keeps("document");
        let rows = batch.ids()?.zip(fields).zip(vectors.rows()).map(|((id, values), vector)| {
            let mut fields: Map<String, Value> =
                names.iter().map(|&name| name.to_owned()).zip(values.iter().cloned()).collect();
            if adds_place {
                let RowId { document, chunk } = RowId::parse(id, RowKind::Chunks);
                fields.insert("document".to_owned(), document.into());
                fields.insert("chunk".to_owned(), chunk.into());
            }
            FullRow { id: id.to_owned(), fields, vector: vector.to_vec() }
        });
        Ok(rows.collect())
    }

    fn kept(&self) -> Vec<&str> {
        let is_kept = |name: &&str| {
            let is_own = [ID, TEXT, VECTOR].contains(name) || self.is_delta && *name == OPERATION;
            !is_own
        };
        self.part.fields().iter().map(|field| field.name().as_str()).filter(is_kept).collect()
    }
}

/// Returns the error for a delta with a wrong content. Another build makes another delta, so only the index helps.
fn damaged_delta(cause: &dyn Display) -> anyhow::Error {
    anyhow!("is damaged: {cause:#}; use the whole index instead")
}

/// Returns the column `id`, which is never null.
fn ids(batch: &RecordBatch) -> impl Iterator<Item = &str> {
    batch[ID].as_string::<i32>().iter().flatten()
}
