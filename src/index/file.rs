//! An index file that was read whole and is undamaged. Finds rows by the document's id and by text.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, anyhow, ensure};
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Fields;
use rayon::prelude::*;

use super::content::{ContentDigest, RowDigests};
use super::flat_vectors::FlatVectors;
use super::kept::KeptColumn;
use super::metadata::{Metadata, RowKind};
use super::part::{IndexFileError, Part};
use super::row::{Row, RowId};
use super::row_batch::{floats, kept_values};
use super::schema::{COLUMNS, ID, VECTOR, schema};
use super::vector_column::VectorColumn;
use crate::digest::Digest;
use crate::interrupt;

/// Limit on the reads of a row group for its vectors, averaged over all row groups. A build that needs the vectors in the order
/// of the file reads each row group about ten times. A build that exceeds the limit needs the vectors in another order. Then all
/// vectors are copied to a [`FlatVectors`], which is fast in any order.
const READS_PER_GROUP_MAX: usize = 16;

/// The index file at the output path when a run begins, and how much of this file the run can reuse.
pub struct Old {
    /// The file, read whole and undamaged.
    pub file: IndexFile,
    /// How much of the file can be reused. This depends on the settings of the old and the new run, but not on `--rebuild`.
    pub reusable: Reusable,
}

/// How much of an old index file a run can reuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reusable {
    /// Nothing, because the rows are of another kind, or the vectors are those of another model.
    Nothing,
    /// Only the rows of documents that cannot be read in this run. All texts have other vectors now.
    StaleRows,
    /// Only the vectors of texts that are one chunk of at most this many tokens. Other texts are cut in another way now.
    OneChunk(usize),
    /// Only the vectors, which may have to be truncated. The new file will have a different fingerprint.
    Vectors,
    /// The whole file, if no row changes. The settings are the same, so the new file has the same fingerprint.
    File,
}

impl Old {
    /// Returns whether all vectors of the old file can be reused. If so, each text has the same vector in the old file and in the
    /// new file, apart from truncation.
    pub fn has_vectors(&self) -> bool {
        matches!(self.reusable, Reusable::Vectors | Reusable::File)
    }

    /// Returns whether the rows of documents that cannot be read in this run can stay.
    pub fn has_stale_rows(&self) -> bool {
        self.reusable != Reusable::Nothing
    }

    /// Returns the most tokens of a text whose vector can be reused, if that of a longer text cannot.
    pub fn one_chunk(&self) -> Option<usize> {
        if let Reusable::OneChunk(tokens) = self.reusable { Some(tokens) } else { None }
    }
}

/// The digest of a document's id, and the row number of the document's first row.
#[derive(Debug, Clone, Copy)]
struct DocumentStart {
    id: Digest,
    row: u32,
}

/// An index file that was read whole. An `IndexFile` needs 20 bytes of memory per row and 24 bytes per document. If there are
/// kept columns, an `IndexFile` needs 8 more bytes per row, and with contexts 16 more.
pub struct IndexFile {
    part: Part,
    format: VectorColumn,
    texts: Vec<Digest>,
    /// Digests of the contexts and texts that were embedded; `None` if texts are embedded without context.
    embedded: Option<Vec<Digest>>,
    /// Digests of the kept values, one per row; `None` if the file has no kept columns.
    kept: Option<Vec<u64>>,
    documents: Vec<DocumentStart>,
    /// The documents whose vectors were made with other rules than those of the fingerprint.
    outdated: HashSet<Digest>,
    by_text: OnceLock<Vec<u32>>,
    by_id: OnceLock<Vec<u32>>,
    /// Number of times that a row group was read for its vectors, added up over all row groups.
    groups_read: AtomicUsize,
    /// A temporary file with all vectors. The file is written when the reads exceed [`READS_PER_GROUP_MAX`].
    flat: OnceLock<FlatVectors>,
    /// The folder for the temporary file of `flat`.
    folder: PathBuf,
}

impl IndexFile {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`IndexFileError`].
    pub fn open(path: &Path) -> Result<Self, IndexFileError> {
        let part = Part::open(path)?;
        let format = part
            .vectors()
            .ok_or_else(|| part.error(anyhow!("it has no column vector that this tool writes")))?;
        let outdated = part.metadata().map_or(&[][..], |metadata| &metadata.outdated);
        let mut index = IndexFile {
            format,
            outdated: outdated.iter().map(|id| Digest::of(id.as_bytes())).collect(),
            texts: Vec::new(),
            embedded: None,
            kept: (part.fields().len() > COLUMNS.len()).then(Vec::new),
            documents: Vec::new(),
            by_text: OnceLock::new(),
            by_id: OnceLock::new(),
            groups_read: AtomicUsize::new(0),
            flat: OnceLock::new(),
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            part,
        };
        index.read_whole().map_err(|e| index.part.error(e))?;
        Ok(index)
    }

    /// Returns the metadata; `None` if another version of this tool wrote the file.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.part.metadata()
    }

    /// Returns the digest of all rows in their order.
    pub fn content(&self) -> &str {
        self.part.content()
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u32 {
        self.part.rows()
    }

    /// Returns the number of documents.
    pub fn documents(&self) -> u32 {
        number(self.documents.len())
    }

    /// Finds a document by the digest of its id. Returns the document's index in the file, from 0.
    pub fn document(&self, id: Digest) -> Option<u32> {
        let by_id = self.by_id();
        let found = by_id.partition_point(|&at| self.documents[at as usize].id < id);
        by_id.get(found).copied().filter(|&at| self.documents[at as usize].id == id)
    }

    fn by_id(&self) -> &[u32] {
        self.by_id.get_or_init(|| sorted_by(self.documents(), |at| self.documents[at].id))
    }

    /// Finds a row by the digest of what was embedded for it: its text, after its context if the file has contexts. If `document`
    /// has such a row, returns that row. Otherwise, returns the first such row of the file.
    pub fn row_of_text(&self, text: Digest, document: Option<u32>) -> Option<u32> {
        let mut own = document.map(|document| self.rows_of(document)).unwrap_or_default();
        let embedded = self.embedded();
        own.find(|&row| embedded[row as usize] == text).or_else(|| {
            let by_text = self.by_text();
            let found = by_text.partition_point(|&at| embedded[at as usize] < text);
            by_text.get(found).copied().filter(|&at| embedded[at as usize] == text)
        })
    }

    /// Finds a row with [`IndexFile::row_of_text`]. Returns `None` if its vector was made with other rules than those of the
    /// fingerprint.
    pub fn row_with_vector(&self, text: Digest, document: Option<u32>) -> Option<u32> {
        self.row_of_text(text, document).filter(|&row| !self.is_outdated(self.document_of(row)))
    }

    /// Returns whether the vectors of a document were made with other rules than those of the fingerprint.
    pub fn is_outdated(&self, document: u32) -> bool {
        self.outdated.contains(&self.document_digest(document))
    }

    /// Returns whether equal texts may have other vectors in this file than its fingerprint says.
    pub fn has_outdated(&self) -> bool {
        !self.outdated.is_empty()
    }

    fn embedded(&self) -> &[Digest] {
        self.embedded.as_ref().unwrap_or(&self.texts)
    }

    /// Distributes sightings over rows with equal texts. On entry, `counts` has the sightings found for each row. On return, a row
    /// has 1 if a sighting is left for it, else 0.
    pub fn spread(&self, counts: &mut [u32]) {
        let embedded = self.embedded();
        for rows in self.by_text().chunk_by(|&a, &b| embedded[a as usize] == embedded[b as usize]) {
            let seen = rows.iter().map(|&row| counts[row as usize]).fold(0, u32::saturating_add);
            let own = rows.iter().filter(|&&row| counts[row as usize] > 0).count();
            let mut more = seen - number(own);
            for &row in rows {
                let count = &mut counts[row as usize];
                if *count == 0 && more > 0 {
                    more -= 1;
                    *count = 1;
                }
                *count = (*count).min(1);
            }
        }
    }

    fn by_text(&self) -> &[u32] {
        self.by_text.get_or_init(|| sorted_by(self.rows(), |at| self.embedded()[at]))
    }

    /// Returns the rows of a document.
    pub fn rows_of(&self, document: u32) -> Range<u32> {
        let start = |at: u32| self.documents.get(at as usize).map_or(self.rows(), |start| start.row);
        start(document)..start(document + 1)
    }

    /// Returns the index of the document that a row belongs to.
    pub fn document_of(&self, row: u32) -> u32 {
        // Document 0 starts at row 0. So the index of the document is the number of documents after document 0 that start at or
        // before the given row.
        let others = self.documents.get(1..).unwrap_or_default();
        number(others.partition_point(|start| start.row <= row))
    }

    /// Returns whether a row has the text and the kept values with these digests. If the file has no kept columns, only the text
    /// is compared.
    pub fn is_row(&self, row: u32, text: Digest, kept: Option<u64>) -> bool {
        self.texts[row as usize] == text && self.kept_digest(row).is_none_or(|there| Some(there) == kept)
    }

    /// Returns the digest of a row's text, and the digest of its kept values if the file has kept columns.
    pub fn row_digests(&self, row: u32) -> (Digest, Option<u64>) {
        (self.texts[row as usize], self.kept_digest(row))
    }

    fn kept_digest(&self, row: u32) -> Option<u64> {
        self.kept.as_ref().map(|kept| kept[row as usize])
    }

    /// Returns, for each document, the digest of the document's id and the document's row numbers.
    pub fn each_document(&self) -> impl Iterator<Item = (Digest, Range<u32>)> {
        (0..self.documents()).map(|at| (self.documents[at as usize].id, self.rows_of(at)))
    }

    /// Returns whether the kept columns have these names and types.
    pub fn keeps(&self, columns: &[KeptColumn]) -> bool {
        let expected = schema(&self.format, columns);
        self.fields() == expected.fields()
    }

    /// Returns whether the kept columns have these names.
    pub fn keeps_names<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        self.part.kept_names().into_iter().eq(names)
    }

    /// Reads columns of whole numbers, and returns their values row by row. Returns `None` if the file lacks one of the columns, or
    /// a value.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn whole_numbers<const N: usize>(&self, names: [&str; N]) -> anyhow::Result<Option<Vec<[u64; N]>>> {
        let kept = self.part.kept_names();
        if !names.iter().all(|name| kept.contains(name)) {
            return Ok(None);
        }
        let rows: Vec<u32> = (0..self.rows()).collect();
        let mut found = Vec::with_capacity(rows.len());
        self.part.select(&rows, &names, |batch| {
            for row in kept_values(&batch, &names) {
                found.push(std::array::from_fn(|at| row[at].as_u64()));
            }
            Ok(())
        })?;
        let whole = |row: [Option<u64>; N]| {
            row.iter().all(Option::is_some).then(|| row.map(Option::unwrap_or_default))
        };
        Ok(found.into_iter().map(whole).collect())
    }

    /// Returns the vectors of these rows in one list, in the order of `rows`. The row numbers may be in any order.
    ///
    /// # Errors
    /// The file cannot be read, or the temporary file for vectors cannot be written.
    pub fn vectors(&self, rows: &[u32]) -> anyhow::Result<Vec<f32>> {
        if let Some(flat) = self.flat.get() {
            return flat.read(rows);
        }
        let mut wanted = rows.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let dim = self.dim();
        let mut vectors = Vec::with_capacity(wanted.len() * dim);
        let groups = self.part.select(&wanted, &[VECTOR], |batch| {
            vectors.extend_from_slice(&floats(&batch, &self.format)?);
            Ok(())
        })?;
        let groups_read = self.groups_read.fetch_add(groups, Relaxed) + groups;
        if groups_read > READS_PER_GROUP_MAX * self.part.groups() {
            let _ = self.flat.set(FlatVectors::write(&self.part, &self.format, &self.folder)?);
        }
        let start = |row: &u32| wanted.binary_search(row).map_or(0, |at| at * dim);
        Ok(rows.iter().flat_map(|row| &vectors[start(row)..][..dim]).copied().collect())
    }

    /// Reads the id, the text and the kept columns `keep` of these rows, but no vectors. The row numbers must be in ascending
    /// order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn rows_with(&self, rows: &[u32], keep: &[&str]) -> anyhow::Result<Vec<Row>> {
        self.part.rows_with(rows, keep).with_context(|| self.cannot_read_again())
    }

    /// Reads the ids of these documents. `documents` must be in ascending order.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn document_ids(&self, documents: &[u32]) -> anyhow::Result<Vec<String>> {
        let rows: Vec<u32> =
            documents.iter().map(|&document| self.documents[document as usize].row).collect();
        let mut found = Vec::new();
        let read = self.part.select(&rows, &[ID], |batch| {
            let ids = batch[ID].as_string::<i32>();
            found.extend(ids.iter().flatten().map(|id| RowId::parse(id, self.kind()).document));
            Ok(())
        });
        read.with_context(|| self.cannot_read_again())?;
        Ok(found)
    }

    /// Reads all columns of these rows, and passes them to `f` in batches. The row numbers must be in ascending order.
    pub(super) fn batches(
        &self,
        rows: &[u32],
        f: impl FnMut(RecordBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.part.select(rows, &[], f).map(drop).with_context(|| self.cannot_read_again())
    }

    /// Returns the message about a read that failed after the whole file was read once.
    fn cannot_read_again(&self) -> String {
        let path = self.part.path().display();
        format!(
            "{path}: could be read earlier in this run, but cannot be read any more; check the disk and run again"
        )
    }

    pub(super) fn fields(&self) -> &Fields {
        self.part.fields()
    }

    /// Returns the digest of a document's id.
    pub fn document_digest(&self, document: u32) -> Digest {
        self.documents[document as usize].id
    }

    /// Returns whether a row is a document or a chunk.
    pub fn kind(&self) -> RowKind {
        self.part.kind()
    }

    /// Looks for two documents with the same id. Returns the first row of the second document; `None` if all ids are unique.
    pub fn doubled_id(&self) -> Option<u32> {
        let document = |at: u32| &self.documents[at as usize];
        let doubled = self.by_id().windows(2).find(|pair| document(pair[0]).id == document(pair[1]).id)?;
        Some(document(doubled[1]).row)
    }

    /// Returns the dimensions of the vectors.
    pub fn dim(&self) -> usize {
        self.format.dim
    }

    /// Returns how the vectors are stored.
    pub fn format(&self) -> VectorColumn {
        self.format
    }

    /// Reads every page, and checks the columns and the content digest.
    fn read_whole(&mut self) -> anyhow::Result<()> {
        let mut content = ContentDigest::default();
        let groups: Vec<usize> = (0..self.part.groups()).collect();
        for together in groups.chunks(rayon::current_num_threads()) {
            interrupt::check()?;
            let read: Vec<Vec<RowDigests>> = together
                .par_iter()
                .map(|&group| self.part.read_digests(group))
                .collect::<anyhow::Result<_>>()?;
            for row in read.into_iter().flatten() {
                content.push_row(&row.whole);
                if let Some(id) = row.document {
                    self.documents.push(DocumentStart { id, row: number(self.texts.len()) });
                }
                self.texts.push(row.text);
                if let Some(embedded) = row.embedded {
                    self.embedded.get_or_insert_default().push(embedded);
                }
                if let Some(kept) = &mut self.kept {
                    kept.push(row.kept);
                }
            }
        }
        ensure!(self.texts.len() == self.rows() as usize, "it does not have as many rows as its footer says");
        ensure!(
            self.documents.first().map_or(self.rows(), |first| first.row) == 0,
            "its ids are not in order"
        );
        ensure!(content.to_string() == self.content(), "its content has changed since it was written");
        Ok(())
    }
}

/// Returns the indices from 0 to `count` - 1, sorted by `digest`.
fn sorted_by(count: u32, digest: impl Fn(usize) -> Digest) -> Vec<u32> {
    let mut sorted: Vec<u32> = (0..count).collect();
    sorted.sort_unstable_by_key(|&at| (digest(at as usize), at));
    sorted
}

/// Converts an index or count to 32 bits. 32 bits are enough, because [`Part::open`] refuses a file with more rows.
#[allow(clippy::cast_possible_truncation)]
fn number(index: usize) -> u32 {
    index as u32
}
