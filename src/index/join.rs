//! Joins index files that were built with the same settings into one index file. The encoded pages are copied. All
//! pages are also decoded, so that a damaged file is refused.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use arrow::array::ArrayRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::writer::SerializedFileWriter;
use rayon::prelude::*;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::content::{ContentDigest, RowDigests};
use super::file::IndexFile;
use super::footer::index_entries;
use super::group_writer::properties;
use super::kept::{self, KeptColumn};
use super::metadata::Metadata;
use super::part::{IndexFileError, Part, cannot_read_back};
use super::parts::Parts;
use super::row_count::row_count;
use super::schema::{COLUMNS, schema};
use super::seal::SealWriter;
use super::vector_column::VectorColumn;
use crate::interrupt::{self, Interrupted};
use crate::shard::Shard;
use crate::storage::place::{Place, Published};

/// Limit on the missing shards that an error names.
const MISSING_NAMED: usize = 10;

/// Index files that fit together, in the order in which [`Shards::join`] joins them.
pub struct Shards {
    parts: Parts,
    metadata: Metadata,
}

impl Shards {
    /// Checks that the files fit together. The files are either all shards of one build, or files without a shard number.
    /// Shards are sorted by shard number.
    ///
    /// # Errors
    /// The settings or kept columns of a file differ from those of the first file; a shard is missing, occurs twice, or belongs
    /// to a build with a different shard count; the rows of all files do not fit into one file.
    pub fn new(mut parts: Parts) -> anyhow::Result<Self> {
        check_settings(&parts)?;
        let shards: Vec<(Option<Shard>, &Path)> = parts
            .each()
            .map(|(path, part)| (part.metadata().and_then(|metadata| metadata.shard), path))
            .collect();
        check_shards(&shards)?;
        let metadata = Metadata {
            stale: parts.stale(),
            outdated: parts.outdated(),
            shard: None,
            ..parts.metadata().clone()
        };
        parts.sort_by_key(|part| part.metadata().and_then(|metadata| metadata.shard).map(Shard::index));
        row_count(parts.rows())?;
        Ok(Shards { parts, metadata })
    }

    /// Returns the files.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Writes one file with all rows, checks the file, and puts it in place. Passes the number of bytes copied so far to
    /// `progress`.
    ///
    /// # Errors
    /// A part is damaged, a document occurs in more than one part, or the file cannot be written. After an error, the old file is
    /// untouched.
    pub fn join(&self, place: &Place, progress: impl FnMut(u64)) -> anyhow::Result<Joined> {
        let columns = self.columns()?;
        let (file, content) = self.copy(&columns, place, progress)?;
        file.as_file().sync_all().map_err(|e| place.cannot_write(&e))?;
        let new = IndexFile::open(file.path()).map_err(|e| cannot_read_back(place, e))?;
        ensure!(
            new.content() == content && u64::from(new.rows()) == self.parts.rows() && new.keeps(&columns),
            place.not_as_written(&"it has other rows")
        );
        if let Some(row) = new.doubled_id() {
            bail!(self.doubled(&new, row)?);
        }
        let bytes = file.as_file().metadata()?.len();
        Ok(Joined { rows: new.rows(), bytes, published: place.publish(file)? })
    }

    /// Returns the kept columns of the joined file. The type of each column can represent the column's values in all parts.
    fn columns(&self) -> anyhow::Result<Vec<KeptColumn>> {
        let column = |name: &String| {
            let mut kinds = self.parts.each().map(|(_, part)| part.kept_type(name));
            let first = kinds.next().flatten();
            match first.filter(|first| kinds.all(|other| other == Some(first))) {
                Some(kind) => Ok(KeptColumn::of_type(name, kind)),
                None => self.widest(name),
            }
        };
        self.parts.kept().iter().map(column).collect()
    }

    /// Reads one kept column of all parts. Returns the column with the type that a single build of all documents would have
    /// chosen.
    fn widest(&self, name: &str) -> anyhow::Result<KeptColumn> {
        let mut column = KeptColumn::new(name);
        for group in self.parts.groups() {
            self.parts.read(group, &[name], |_, batch| {
                kept::values(&batch.batch[name]).iter().for_each(|value| _ = column.widen(value));
                Ok(())
            })?;
        }
        Ok(column)
    }

    /// Copies all row groups into a new file. Returns the file and the content digest of its rows.
    fn copy(
        &self,
        columns: &[KeptColumn],
        place: &Place,
        mut progress: impl FnMut(u64),
    ) -> anyhow::Result<(NamedTempFile, String)> {
        let mut writer = JoinWriter::new(place, self.metadata.fingerprint.vectors(), columns)?;
        let mut content = ContentDigest::default();
        let mut done = 0;
        for (path, part) in self.parts.each() {
            let mut own = ContentDigest::default();
            let footer = part.page_index().map_err(|e| damaged(path, part.error(e)))?;
            let groups: Vec<usize> = (0..part.groups()).collect();
            for together in groups.chunks(rayon::current_num_threads()) {
                interrupt::check()?;
                let read: Vec<Vec<RowDigests>> = together
                    .par_iter()
                    .map(|&group| part.read_digests(group))
                    .collect::<anyhow::Result<_>>()
                    .map_err(|e| damaged(path, part.error(e)))?;
                for row in read.iter().flatten() {
                    own.push_row(&row.whole);
                    content.push_row(&row.whole);
                }
                for &group in together {
                    writer
                        .append(part, &footer, group)
                        .with_context(|| format!("part {}", path.display()))?;
                    done += part.group_bytes(group);
                    progress(done);
                }
            }
            ensure!(
                own.to_string() == part.content(),
                damaged(path, part.error(anyhow!("its content has changed since it was written")))
            );
        }
        let content = content.to_string();
        Ok((writer.finish(&self.metadata, &content)?, content))
    }

    /// Returns the message about a document that occurs in more than one part. `row` is a row of this document in the joined
    /// file.
    fn doubled(&self, new: &IndexFile, row: u32) -> anyhow::Result<String> {
        let id = new.document_ids(&[new.document_of(row)])?.remove(0);
        let part = self.parts.path(self.parts.row(u64::from(row))).display();
        Ok(format!(
            "part {part}: the document {id} is in another part too; name each part once, and only parts that share no document"
        ))
    }
}

/// The outcome of [`Shards::join`].
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Joined {
    pub rows: u32,
    pub bytes: u64,
    pub published: Published,
}

/// The reason why parts do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A part has other kept columns than the first part.
    #[error("part {part}: has other kept columns ({columns}) than {first} ({of_first})")]
    OtherKeptColumns {
        /// The path of the part.
        part: String,
        /// The kept columns of the part.
        columns: String,
        /// The path of the first part.
        first: String,
        /// The kept columns of the first part.
        of_first: String,
    },
    /// Shards of the build are missing.
    #[error("missing shards: {named} ({missing} of {count})")]
    MissingShards {
        /// The first missing shards.
        named: String,
        /// How many shards are missing.
        missing: usize,
        /// The number of shards of the build.
        count: u32,
    },
}

fn damaged(path: &Path, error: IndexFileError) -> anyhow::Error {
    let path = path.display();
    match error {
        IndexFileError::Unreadable(e) if e.is::<Interrupted>() => e,
        IndexFileError::Unreadable(e) => {
            anyhow!("part {path}: cannot be read: {e:#}; check the disk and run again")
        }
        error => anyhow!("part {path}: is damaged ({error}); build it again"),
    }
}

fn check_settings(parts: &Parts) -> anyhow::Result<()> {
    let expected = &parts.metadata().fingerprint;
    let mut first = None;
    for (path, part) in parts.each() {
        let (first, kept) = first.get_or_insert((path, part.kept_names()));
        let (path, first) = (path.display(), first.display());
        if let Some(metadata) = part.metadata().filter(|metadata| metadata.fingerprint != *expected) {
            let differences = metadata.fingerprint.differences(expected);
            let mut parts: Vec<String> = differences.into_iter().map(|difference| difference.name).collect();
            parts.extend(metadata.fingerprint.other_texts(expected).iter().map(ToString::to_string));
            let parts =
                if parts.is_empty() { "the version of this tool".to_owned() } else { parts.join(", ") };
            bail!(
                "part {path}: was built with other settings than {first} ({parts}); build it again with the same settings"
            );
        }
        let own = part.kept_names();
        ensure!(
            own == *kept,
            JoinError::OtherKeptColumns {
                part: path.to_string(),
                columns: own.join(", "),
                first: first.to_string(),
                of_first: kept.join(", "),
            }
        );
    }
    Ok(())
}

fn check_shards(shards: &[(Option<Shard>, &Path)]) -> anyhow::Result<()> {
    let Some((shard, first)) = shards.iter().find_map(|(shard, path)| Some(((*shard)?, path))) else {
        return Ok(());
    };
    let count = shard.count();
    let mut there: BTreeMap<u32, &Path> = BTreeMap::new();
    for (other, path) in shards {
        let (first, path_shown) = (first.display(), path.display());
        let Some(other) = other else {
            bail!(
                "part {path_shown}: is not a shard, but {first} is shard {shard}; name only the shards of one build"
            );
        };
        ensure!(
            other.count() == count,
            "part {path_shown}: is shard {other}, but {first} is shard {shard}; name only the shards of one build"
        );
        if let Some(before) = there.insert(other.index(), path) {
            bail!(
                "part {path_shown}: is shard {other}, and so is {}; name each shard once",
                before.display()
            );
        }
    }
    let missing = count as usize - there.len();
    let named = (0..count).filter(|at| !there.contains_key(at)).take(MISSING_NAMED);
    let named: Vec<String> = named.map(|at| format!("{at}/{count}")).collect();
    let more = if missing > MISSING_NAMED { ", …" } else { "" };
    ensure!(missing == 0, JoinError::MissingShards { named: named.join(", ") + more, missing, count });
    Ok(())
}

/// Writes the joined file, one row group at a time.
struct JoinWriter<'a> {
    file: SerializedFileWriter<SealWriter>,
    encoders: ArrowRowGroupWriterFactory,
    columns: &'a [KeptColumn],
    place: &'a Place,
}

impl<'a> JoinWriter<'a> {
    fn new(place: &'a Place, vectors: VectorColumn, columns: &'a [KeptColumn]) -> anyhow::Result<Self> {
        let file = SealWriter::new(place.temporary()?);
        let properties = properties(vectors.kind)?;
        let writer = ArrowWriter::try_new(file, schema(&vectors, columns), Some(properties))?;
        let (file, encoders) = writer.into_serialized_writer()?;
        Ok(JoinWriter { file, encoders, columns, place })
    }

    /// Copies a row group. A column is converted and encoded again if its type differs in the new file.
    fn append(&mut self, part: &Part, footer: &ParquetMetaData, group: usize) -> anyhow::Result<()> {
        let changed: Vec<Option<ArrayRef>> = self
            .columns
            .iter()
            .map(|column| converted(part, group, column))
            .collect::<anyhow::Result<_>>()?;
        let at = self.file.flushed_row_groups().len();
        let cannot_write = |e| self.place.cannot_write(&e);
        let mut encoders = self.encoders.create_column_writers(at)?;
        let mut written = self.file.next_row_group().map_err(cannot_write)?;
        // Each column of an index is exactly one leaf column of Parquet, so a column and its leaf column have the same index.
        for (number, mut encoder) in encoders.drain(..).enumerate() {
            let kept = number.checked_sub(COLUMNS.len());
            match kept.and_then(|kept| Some((&self.columns[kept], changed[kept].as_ref()?))) {
                Some((column, array)) => {
                    for leaf in compute_leaves(&column.field(), array)? {
                        encoder.write(&leaf)?;
                    }
                    encoder.close()?.append_to_row_group(&mut written).map_err(cannot_write)?;
                }
                None => part.copy_column(footer, group, number, &mut written).map_err(|e| {
                    match part.failure() {
                        Some(e) => anyhow!("cannot be read: {e}; check the disk and run again"),
                        None => cannot_write(e),
                    }
                })?,
            }
        }
        written.close().map_err(cannot_write)?;
        self.file.flush().map_err(|e| self.place.cannot_write(&e))?;
        self.file.inner_mut().end_group();
        Ok(())
    }

    fn finish(mut self, metadata: &Metadata, content: &str) -> anyhow::Result<NamedTempFile> {
        let entries = self.file.inner().entries(index_entries(metadata, content)?);
        entries.into_iter().for_each(|entry| self.file.append_key_value_metadata(entry));
        let data_end = self.file.inner().written();
        let file = self.file.into_inner().map_err(|e| self.place.cannot_write(&e))?;
        file.seal(data_end).map_err(|e| self.place.cannot_write(&e))
    }
}

/// Converts the values of a kept column to the column's type in the new file. Returns `None` if the types are equal.
fn converted(part: &Part, group: usize, column: &KeptColumn) -> anyhow::Result<Option<ArrayRef>> {
    if part.kept_type(column.name()) == Some(column.field().data_type()) {
        return Ok(None);
    }
    let mut values: Vec<Value> = Vec::new();
    for batch in part.reader(group, None, &[column.name()])? {
        values.extend(kept::values(&batch?[column.name()]).iter().map(|value| column.convert(value)));
    }
    Ok(Some(column.array(values.iter())))
}
