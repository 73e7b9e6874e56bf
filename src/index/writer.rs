//! Rows in, a whole file in place out; or none, where nothing has changed.
//!
//! The new file is written beside the old one, flushed to disk, read again, and renamed over it. As long as the rows
//! are those of the old file, in its order, nothing is written at all.

use anyhow::Context;

use super::delta::{Changes, leads_to, write_delta};
use super::file::{IndexFile, Old, Reusable};
use super::kept::{self, KeptColumn};
use super::metadata::Metadata;
use super::row::{Row, Vector};
use super::table::{Cells, Table};
use crate::storage::place::Place;
use crate::vector::embedding::Embedding;

/// Rows that are copied together.
const COPIED_ROWS: u32 = 1024;

/// What has become of the file.
#[derive(Debug)]
pub struct Written {
    /// Rows in it.
    pub rows: usize,
    /// Its size.
    pub bytes: u64,
    /// Whether it is another than before.
    pub is_new: bool,
    /// What is different from the old one.
    pub changes: Changes,
    /// Columns that were to be kept and that no document has.
    pub empty_columns: Vec<String>,
    /// What is not as it should be, though the file is in place.
    pub warnings: Vec<String>,
}

/// Writes one file.
pub struct IndexWriter<'a> {
    place: &'a Place,
    old: Option<&'a Old>,
    metadata: Metadata,
    kept: Vec<KeptColumn>,
    /// Whether the old file keeps the same columns, whatever their types.
    keeps_the_same: bool,
    /// Where nothing is written yet, all rows so far are those of the old file.
    table: Option<Table>,
    rows: u32,
}

impl<'a> IndexWriter<'a> {
    /// Writes nothing yet. `keep` names its further columns.
    pub fn new(place: &'a Place, old: Option<&'a Old>, metadata: Metadata, keep: &[String]) -> Self {
        let kept = keep.iter().map(|name| KeptColumn::new(name)).collect();
        let keeps_the_same = old.is_some_and(|old| old.file.keeps_names(keep.iter().map(String::as_str)));
        IndexWriter { place, old, metadata, kept, keeps_the_same, table: None, rows: 0 }
    }

    /// Adds rows after those before them.
    ///
    /// # Errors
    /// The disk is full, or the like; the old file cannot be read any more.
    ///
    /// # Panics
    /// If a vector is not of the file's dimension, or there is not a value for each column that is kept.
    pub fn push(&mut self, rows: Vec<Row>) -> anyhow::Result<()> {
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next_if(|row| self.table.is_none() && self.is_as_before(row)) {
            self.widen(&row);
            self.rows += 1;
        }
        if rows.peek().is_none() {
            return Ok(());
        }
        let rows: Vec<Row> = rows.collect();
        // All of them, so no short cut.
        let widened = rows.iter().filter(|row| self.widen(row)).count();
        match self.table.take() {
            None => self.copy_old()?,
            Some(table) if widened > 0 => self.start_again(table)?,
            Some(table) => self.table = Some(table),
        }
        self.rows += rows.len() as u32;
        self.append(rows)
    }

    /// Ends the file, checks it, writes the delta, and puts both in place. So many documents, the last ones, are
    /// `stale`. `was_left` where the last run died.
    ///
    /// # Errors
    /// It cannot be written or reads back differently; the old file is untouched.
    ///
    /// # Panics
    /// If two documents have the same id.
    pub fn publish(mut self, delta: Option<&Place>, stale: u32, was_left: bool) -> anyhow::Result<Written> {
        self.metadata.stale = stale;
        let old = self.old.map(|old| &old.file);
        if self.table.is_none() {
            if let Some(old) = old.filter(|old| self.is_complete(old)) {
                self.place.check_unchanged()?;
                // The last run may have come as far as this, and no further.
                let delta = delta.filter(|delta| !(was_left && leads_to(delta, old)));
                let warnings = delta.map(|delta| write_delta(delta, Some(old), old, &Changes::default()));
                let warnings = warnings.transpose()?.flatten().into_iter().collect();
                let bytes = self.place.path().metadata().map_or(0, |metadata| metadata.len());
                return Ok(self.written(bytes, false, Changes::default(), warnings));
            }
            self.copy_old()?;
        }
        let table = self.table.take().context("a file has been started")?;
        let (file, content) = table.finish(&self.metadata).map_err(|e| self.place.cannot_write(&e))?;
        file.as_file().sync_all().map_err(|e| self.place.cannot_write(&e))?;
        let new = IndexFile::open(file.path()).map_err(|e| self.place.not_as_written(&e))?;
        if new.content() != content.to_string() || new.rows() != self.rows || !new.keeps(&self.kept) {
            return Err(self.place.not_as_written(&"other rows"));
        }
        assert!(new.doubled_id().is_none(), "each document once");
        let is_alike =
            |old: &Old| old.has_vectors() && old.file.dim() == self.dim() && old.file.keeps(&self.kept);
        let is_alike = self.old.is_some_and(is_alike);
        let changes = Changes::between(old, &new, is_alike);
        let bytes = file.as_file().metadata()?.len();
        // First the delta: should the next step fail, it is written again the next time, and to apply it twice does
        // no harm.
        let mut warnings = Vec::new();
        if let Some(delta) = delta {
            warnings.extend(write_delta(delta, old, &new, &changes)?);
        }
        warnings.extend(self.place.publish(file)?);
        Ok(self.written(bytes, true, changes, warnings))
    }

    fn written(self, bytes: u64, is_new: bool, changes: Changes, warnings: Vec<String>) -> Written {
        let empty = self.kept.iter().filter(|column| column.is_empty());
        let empty_columns = empty.map(|column| column.name().to_owned()).collect();
        Written { rows: self.rows as usize, bytes, is_new, changes, empty_columns, warnings }
    }

    fn is_as_before(&self, row: &Row) -> bool {
        let Some(Old { file, reusable: Reusable::File }) = self.old else { return false };
        let Vector::Old(there) = row.vector else { return false };
        if self.rows >= file.rows() || !self.keeps_the_same {
            return false;
        }
        // Its text is that of the row that it takes its vector from.
        let (text, _) = file.row_digests(there);
        let document = file.document_of(self.rows);
        let chunk = self.rows - file.rows_of(document).start;
        file.document_digest(document) == row.id.digest()
            && row.id.chunk.unwrap_or(0) == chunk
            && file.is_row(self.rows, text, kept::digest(&row.kept).0)
    }

    /// Whether no row has changed, been added or removed, and no column has another type.
    fn is_complete(&self, old: &IndexFile) -> bool {
        let is_same = self.old.is_some_and(|old| old.reusable == Reusable::File) && old.keeps(&self.kept);
        is_same
            && self.rows == old.rows()
            && old.metadata().map(|metadata| metadata.stale) == Some(self.metadata.stale)
    }

    fn widen(&mut self, row: &Row) -> bool {
        let columns = self.kept.iter_mut().zip(row.kept.iter());
        columns.filter_map(|(column, value)| column.widen(value).then_some(())).count() > 0
    }

    /// Starts the file with the rows so far, which are those of the old one.
    fn copy_old(&mut self) -> anyhow::Result<()> {
        let mut table = self.new_table()?;
        if let Some(old) = self.old {
            self.copy(&old.file, self.rows, &mut table)?;
        }
        self.table = Some(table);
        Ok(())
    }

    /// Writes what is written already into a new file, since a column of it has got another type. At most
    /// a few times a column.
    fn start_again(&mut self, table: Table) -> anyhow::Result<()> {
        let (file, _) = table.finish(&self.metadata).map_err(|e| self.place.cannot_write(&e))?;
        let written = IndexFile::open(file.path()).map_err(|e| self.place.not_as_written(&e))?;
        let mut table = self.new_table()?;
        self.copy(&written, self.rows, &mut table)?;
        self.table = Some(table);
        Ok(())
    }

    fn new_table(&self) -> anyhow::Result<Table> {
        Table::new(self.place.temporary()?, self.dim(), &self.kept)
    }

    /// The first so many rows of a file whose kept columns have the same names.
    fn copy(&self, from: &IndexFile, count: u32, table: &mut Table) -> anyhow::Result<()> {
        let names: Vec<&str> = self.kept.iter().map(KeptColumn::name).collect();
        for start in (0..count).step_by(COPIED_ROWS as usize) {
            let rows: Vec<u32> = (start..count.min(start + COPIED_ROWS)).collect();
            let vectors = from.vectors(&rows)?;
            for (row, vector) in from.rows_with(&rows, &names)?.into_iter().zip(vectors.chunks(self.dim())) {
                let Row { id, text, kept, .. } = row;
                let kept = kept.iter().zip(&self.kept).map(|(value, column)| column.revive(value)).collect();
                self.write(table, Cells { id, text, vector: vector.into(), kept })?;
            }
        }
        Ok(())
    }

    fn append(&mut self, rows: Vec<Row>) -> anyhow::Result<()> {
        let Some(mut table) = self.table.take() else { return Ok(()) };
        let old: Vec<u32> = rows.iter().filter_map(|row| row.vector.old()).collect();
        let mut vectors = self.old_vectors(&old)?.into_iter();
        for Row { id, text, vector, kept } in rows {
            let vector = match vector {
                Vector::New(vector) => vector.into_values(),
                Vector::Old(_) => vectors.next().context("a vector for each row")?,
            };
            self.write(&mut table, Cells { id, text, vector, kept })?;
        }
        self.table = Some(table);
        Ok(())
    }

    /// Vectors of the old file, in the length of the new one.
    fn old_vectors(&self, rows: &[u32]) -> anyhow::Result<Vec<Box<[f32]>>> {
        let Some(Old { file, .. }) = self.old.filter(|_| !rows.is_empty()) else { return Ok(Vec::new()) };
        let vectors = file.vectors(rows).with_context(|| self.place.cannot_read_again())?;
        let truncate =
            |vector: &[f32]| Ok(Embedding::stored(vector.into()).truncate(self.dim())?.into_values());
        vectors.chunks(file.dim()).map(truncate).collect()
    }

    fn write(&self, table: &mut Table, row: Cells) -> anyhow::Result<()> {
        table.push(row).map_err(|e| self.place.cannot_write(&e))
    }

    fn dim(&self) -> usize {
        self.metadata.fingerprint.dim
    }
}
