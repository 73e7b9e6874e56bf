//! Writes rows to an index file and puts the file in place.
//!
//! The new file is written beside the old file, flushed to disk, read again for a check, and renamed over the old file. The new
//! file is not started until a row differs from the row at the same position in the old file, so a run without changes leaves the
//! old file untouched.

use anyhow::Context;

use super::delta::{Changes, DeltaOutput, Likeness};
use super::file::{IndexFile, Old, Reusable};
use super::kept::{self, KeptColumn};
use super::metadata::Metadata;
use super::part::cannot_read_back;
use super::provenance::MoreColumns;
use super::row::{Row, Vector};
use super::row_count::add_rows;
use super::table::{Table, TableRow};
use crate::storage::place::{Place, Published};
use crate::vector::embedding::Embedding;

/// Limit on the rows that are copied from another file at a time.
const COPIED_ROWS: u32 = 1024;

/// The outcome of [`IndexWriter::publish`].
#[derive(Debug)]
pub struct Written {
    /// Number of rows in the file.
    pub rows: usize,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Whether the run wrote a new file. If false, the old file is untouched.
    pub is_new: bool,
    /// The digest of the file's rows.
    pub content: String,
    /// The rows that differ from the old file.
    pub changes: Changes,
    /// Names of the kept columns for which no document has a value.
    pub empty_columns: Vec<String>,
    /// What could not be done for the file and the delta, which are in place.
    pub published: Published,
}

/// Writes one index file.
pub struct IndexWriter<'a> {
    place: &'a Place,
    old: Option<&'a Old>,
    metadata: Metadata,
    kept: Vec<KeptColumn>,
    /// Whether the kept columns have the same names in the old file and in the new file.
    keeps_the_same: bool,
    /// The new file; `None` as long as all rows so far are equal to the first rows of the old file.
    table: Option<Table>,
    rows: u32,
}

impl<'a> IndexWriter<'a> {
    /// Creates a writer. The file is created later. `columns` are the columns after `vector`.
    pub fn new(place: &'a Place, old: Option<&'a Old>, metadata: Metadata, columns: &MoreColumns) -> Self {
        let kept = columns.columns();
        let keeps_the_same = old.is_some_and(|old| old.file.keeps_names(columns.names().into_iter()));
        IndexWriter { place, old, metadata, kept, keeps_the_same, table: None, rows: 0 }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// The new file cannot be written or has too many rows; the old file cannot be read.
    ///
    /// # Panics
    /// If a vector does not have the dimensions of the file, or if a row does not have one value per kept column.
    pub fn push(&mut self, rows: Vec<Row>) -> anyhow::Result<()> {
        let mut rows = rows.into_iter().peekable();
        while let Some(row) = rows.next_if(|row| self.table.is_none() && self.is_as_before(row)) {
            self.widen(&row);
            self.count(1)?;
        }
        if rows.peek().is_none() {
            return Ok(());
        }
        let rows: Vec<Row> = rows.collect();
        // Every row has to widen the columns, so this must not be `any`, which stops at the first match.
        let widened = rows.iter().filter(|row| self.widen(row)).count();
        match self.table.take() {
            None => self.copy_old()?,
            Some(table) if widened > 0 => self.rewrite(table)?,
            Some(table) => self.table = Some(table),
        }
        self.count(rows.len())?;
        self.append(rows)
    }

    fn count(&mut self, rows: usize) -> anyhow::Result<()> {
        self.rows = add_rows(self.rows, rows).with_context(|| self.place.to_string())?;
        Ok(())
    }

    /// Completes the file, checks it, and puts it in place. If `delta` is given, also writes a delta. `stale` is the number of
    /// documents that could not be read, so that their rows are copied from the old file. These rows must be pushed after all
    /// other rows. `outdated` are the ids of those documents whose vectors were made with other rules.
    ///
    /// # Errors
    /// The file cannot be written, or has other content when it is read again. After an error, the old file is untouched, and no
    /// delta leads to a file that is not in place.
    ///
    /// # Panics
    /// If two documents have the same id.
    pub fn publish(
        mut self,
        delta: Option<DeltaOutput>,
        stale: u32,
        outdated: Vec<String>,
    ) -> anyhow::Result<Written> {
        (self.metadata.stale, self.metadata.outdated) = (stale, outdated);
        let old = self.old.map(|old| &old.file);
        if self.table.is_none() {
            if let Some(old) = old.filter(|old| self.is_complete(old)) {
                self.place.check_unchanged()?;
                let published = delta.map_or(Ok(Published::default()), |delta| delta.write_unchanged(old))?;
                let bytes = self.place.path().metadata().map_or(0, |metadata| metadata.len());
                return Ok(self.written(bytes, None, old.content().to_owned(), published));
            }
            self.copy_old()?;
        }
        let table = self.table.take().context("a file has been started")?;
        let (file, content) = table.finish(&self.metadata).map_err(|e| self.place.cannot_write(&e))?;
        file.as_file().sync_all().map_err(|e| self.place.cannot_write(&e))?;
        let new = IndexFile::open(file.path()).map_err(|e| cannot_read_back(self.place, e))?;
        if new.content() != content.to_string() || new.rows() != self.rows || !new.keeps(&self.kept) {
            return Err(self.place.not_as_written(&"it has other rows"));
        }
        assert!(new.doubled_id().is_none(), "two documents have the same id");
        let changes = Changes::between(old, &new, self.likeness(&new))?;
        let bytes = file.as_file().metadata()?.len();
        // The delta is written before the file is put in place. If the file then cannot be put in place, the next run writes the
        // delta again, and applying a delta twice does no harm.
        let published = match delta {
            None => self.place.publish(file)?,
            Some(mut delta) => {
                let of_delta = delta.write(old, &new, &changes)?;
                // A delta that leads to a file that was never put in place would mislead its readers.
                self.place.publish(file).inspect_err(|_| delta.place.retract())?.and(of_delta)
            }
        };
        Ok(self.written(bytes, Some(changes), content.to_string(), published))
    }

    fn likeness(&self, new: &IndexFile) -> Likeness {
        match self.old {
            Some(old) if old.file.format() != new.format() || !old.file.keeps(&self.kept) => Likeness::None,
            Some(old) if old.has_vectors() && !old.file.has_outdated() => Likeness::ByText,
            _ => Likeness::ByVector,
        }
    }

    /// Returns the outcome. `changes` are those of a new file.
    fn written(self, bytes: u64, changes: Option<Changes>, content: String, published: Published) -> Written {
        let empty = self.kept.iter().filter(|column| column.is_empty());
        let empty_columns = empty.map(|column| column.name().to_owned()).collect();
        let (rows, is_new, changes) = (self.rows as usize, changes.is_some(), changes.unwrap_or_default());
        Written { rows, bytes, is_new, content, changes, empty_columns, published }
    }

    fn is_as_before(&self, row: &Row) -> bool {
        let Some(Old { file, reusable: Reusable::File }) = self.old else { return false };
        let Vector::Old(there) = row.vector else { return false };
        if self.rows >= file.rows() || !self.keeps_the_same {
            return false;
        }
        // Row `there` of the old file has the same text as `row`, so the digest of the text need not be computed again.
        let (text, _) = file.row_digests(there);
        let document = file.document_of(self.rows);
        let place = self.rows - file.rows_of(document).start;
        file.document_digest(document) == row.id.digest()
            && row.id.place_in_document() == place
            && file.is_row(self.rows, text, Some(kept::digest(&row.kept).0))
    }

    /// Returns whether the old file has exactly the pushed rows, and the columns and metadata that a new file would have. If so,
    /// no new file is written.
    fn is_complete(&self, old: &IndexFile) -> bool {
        let is_same = self.old.is_some_and(|old| old.reusable == Reusable::File) && old.keeps(&self.kept);
        let stale = |metadata: &Metadata| (metadata.stale, metadata.outdated.clone());
        is_same && self.rows == old.rows() && old.metadata().map(stale) == Some(stale(&self.metadata))
    }

    /// Widens the types of the kept columns for the values of a row. Returns whether the Arrow type of a column has changed.
    fn widen(&mut self, row: &Row) -> bool {
        let columns = self.kept.iter_mut().zip(row.kept.iter());
        columns.fold(false, |is_changed, (column, value)| column.widen(value) || is_changed)
    }

    /// Starts the new file, and copies the rows pushed so far from the old file.
    fn copy_old(&mut self) -> anyhow::Result<()> {
        let mut table = self.new_table()?;
        if let Some(old) = self.old {
            self.copy(&old.file, self.rows, &mut table)?;
        }
        self.table = Some(table);
        Ok(())
    }

    /// Copies the rows written so far into a new file, because the type of a column has changed. A type can only widen, so this
    /// happens at most a few times per column.
    fn rewrite(&mut self, table: Table) -> anyhow::Result<()> {
        let (file, _) = table.finish(&self.metadata).map_err(|e| self.place.cannot_write(&e))?;
        let written = IndexFile::open(file.path()).map_err(|e| cannot_read_back(self.place, e))?;
        let mut table = self.new_table()?;
        self.copy(&written, self.rows, &mut table)?;
        self.table = Some(table);
        Ok(())
    }

    fn new_table(&self) -> anyhow::Result<Table> {
        Table::new(self.place.temporary()?, self.metadata.fingerprint.vectors(), &self.kept)
    }

    /// Copies the first `count` rows of `from`. The kept columns of `from` and of the new file must have the same names.
    fn copy(&self, from: &IndexFile, count: u32, table: &mut Table) -> anyhow::Result<()> {
        let names: Vec<&str> = self.kept.iter().map(KeptColumn::name).collect();
        for start in (0..count).step_by(COPIED_ROWS as usize) {
            let rows: Vec<u32> = (start..count.min(start + COPIED_ROWS)).collect();
            let vectors = from.vectors(&rows)?;
            for (row, vector) in from.rows_with(&rows, &names)?.into_iter().zip(vectors.chunks(self.dim())) {
                let Row { id, text, kept, .. } = row;
                let kept = kept.iter().zip(&self.kept).map(|(value, column)| column.convert(value)).collect();
                self.write(table, TableRow { id, text, vector: vector.into(), kept })?;
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
                Vector::Old(_) => vectors.next().context("a row has no vector")?,
            };
            self.write(&mut table, TableRow { id, text, vector, kept })?;
        }
        self.table = Some(table);
        Ok(())
    }

    /// Reads vectors of the old file and truncates them to the dimensions of the new file.
    fn old_vectors(&self, rows: &[u32]) -> anyhow::Result<Vec<Box<[f32]>>> {
        let Some(Old { file, .. }) = self.old.filter(|_| !rows.is_empty()) else { return Ok(Vec::new()) };
        let vectors = file.vectors(rows).with_context(|| self.place.cannot_read_again())?;
        let truncate =
            |vector: &[f32]| Ok(Embedding::stored(vector.into()).truncate(self.dim())?.into_values());
        vectors.chunks(file.dim()).map(truncate).collect()
    }

    fn write(&self, table: &mut Table, row: TableRow) -> anyhow::Result<()> {
        table.push(row).map_err(|e| self.place.cannot_write(&e))
    }

    fn dim(&self) -> usize {
        self.metadata.fingerprint.dim
    }
}
