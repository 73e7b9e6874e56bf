//! Files of this tool's that are read as one index: a file, the Parquet files of a folder, or those of a pattern.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::metadata::{Fingerprint, Metadata};
use super::part::{Block, Part, Unusable};
use super::row::Row;
use super::schema::COLUMNS;
use crate::error::Usage;
use crate::storage::object::Url;

/// A row of one of the files. Ordered as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowAt {
    /// Which file.
    pub part: usize,
    /// The row's number in it.
    pub row: u32,
}

/// The files. At least one; their vectors are of one model and length.
pub struct Parts {
    parts: Vec<(PathBuf, Part)>,
    metadata: Metadata,
}

impl Parts {
    /// Opens files, of folders those that end in `.parquet`, and of patterns such as `parts/*.parquet` those that they fit.
    ///
    /// # Errors
    /// One of them is not there, damaged, not of this tool, or of another model or length than the first.
    pub fn open(names: &[PathBuf]) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        for name in names {
            let before = parts.len();
            for path in files(name)? {
                let part = open(&path, name.is_dir()).with_context(|| format!("index {}", path.display()))?;
                parts.extend(part.map(|part| (path, part)));
            }
            ensure!(parts.len() > before, "index {}: no .parquet file in this folder", name.display());
        }
        let (first, rest) = parts.split_first().context("an index has files")?;
        let metadata = known(&first.1)?.clone();
        for (path, part) in rest {
            let difference = difference(&metadata.fingerprint, &known(part)?.fingerprint);
            if let Some(difference) = difference {
                bail!(
                    "index {}: {difference}; name files that were built with the same settings as {}",
                    path.display(),
                    first.0.display()
                );
            }
        }
        Ok(Parts { parts, metadata })
    }

    /// The files, in their order.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Path, &Part)> {
        self.parts.iter().map(|(path, part)| (path.as_path(), part))
    }

    /// Puts them in another order; those of equal keys stay in theirs.
    pub(super) fn sort_by_key<K: Ord>(&mut self, key: impl Fn(&Part) -> K) {
        self.parts.sort_by_key(|(_, part)| key(part));
    }

    /// What the first of them says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Documents that could not be read when the files were made, and have older rows.
    pub fn stale(&self) -> u32 {
        self.parts.iter().filter_map(|(_, part)| part.metadata()).map(|metadata| metadata.stale).sum()
    }

    /// Where they are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().map(|(path, _)| path.as_path())
    }

    /// The file of a row.
    pub fn path(&self, row: RowAt) -> &Path {
        &self.parts[row.part].0
    }

    /// The row with this number, counted through all files.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn row(&self, number: u64) -> RowAt {
        let mut left = number;
        for (part, (_, file)) in self.parts.iter().enumerate() {
            match u32::try_from(left).ok().filter(|&row| row < file.rows()) {
                Some(row) => return RowAt { part, row },
                None => left -= u64::from(file.rows()),
            }
        }
        panic!("row {number} of {}", self.rows())
    }

    /// The number of a row, counted through all files.
    pub fn number(&self, at: RowAt) -> u64 {
        let before = self.parts[..at.part].iter().map(|(_, part)| u64::from(part.rows()));
        before.sum::<u64>() + u64::from(at.row)
    }

    /// Rows of all of them.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(|(_, part)| u64::from(part.rows())).sum()
    }

    /// Bytes of their row groups.
    pub fn bytes(&self) -> u64 {
        let of = |part: &Part| (0..part.groups()).map(|group| part.group_bytes(group)).sum::<u64>();
        self.parts.iter().map(|(_, part)| of(part)).sum()
    }

    /// Names of the columns that they keep, each once.
    pub fn kept(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for field in self.parts.iter().flat_map(|(_, part)| part.fields().iter()) {
            if !COLUMNS.contains(&field.name().as_str()) && !names.contains(&field.name().as_str()) {
                names.push(field.name());
            }
        }
        names
    }

    /// Every row group: the number of its file, and its own.
    pub fn groups(&self) -> Vec<(usize, usize)> {
        let groups =
            |(at, (_, part)): (usize, &(PathBuf, Part))| (0..part.groups()).map(move |group| (at, group));
        self.parts.iter().enumerate().flat_map(groups).collect()
    }

    /// Reads some columns of a row group, some rows at a time.
    ///
    /// # Errors
    /// They cannot be read, or `f` fails.
    pub fn read(
        &self,
        (part, group): (usize, usize),
        columns: &[&str],
        mut f: impl FnMut(RowAt, &Block) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (path, file) = &self.parts[part];
        let mut row = file.start_of(group);
        let mut read = || -> anyhow::Result<()> {
            for batch in file.reader(group, None, columns)? {
                let block = Block::new(batch?, file.kind());
                f(RowAt { part, row }, &block)?;
                row += block.rows() as u32;
            }
            Ok(())
        };
        read().with_context(|| {
            format!("index {}: cannot be read from row {row} on; build it again", path.display())
        })
    }

    /// These rows, in this order; their vectors stay where they are.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn rows_at(&self, rows: &[RowAt]) -> anyhow::Result<Vec<Row>> {
        let (kept, mut found) = (self.kept(), Vec::new());
        for (at, (path, part)) in self.parts.iter().enumerate() {
            let mut here: Vec<u32> = rows.iter().filter(|row| row.part == at).map(|row| row.row).collect();
            here.sort_unstable();
            here.dedup();
            let read = part.rows_with(&here, &kept);
            let read =
                read.with_context(|| format!("index {}: cannot be read; build it again", path.display()))?;
            found.extend(here.into_iter().map(|row| RowAt { part: at, row }).zip(read));
        }
        let place = |row: &RowAt| found.binary_search_by_key(row, |(at, _)| *at);
        let row = |row| Ok(found[place(row).map_err(|_| anyhow!("a row that was read is there"))?].1.clone());
        rows.iter().map(row).collect()
    }
}

fn files(name: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Url::refuse("index", name)?;
    let shown = name.display();
    if name.is_dir() {
        let entries = fs::read_dir(name).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let entries = entries.with_context(|| format!("index {shown}"))?;
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.retain(|path| is_part(path));
        paths.sort();
        return Ok(paths);
    }
    // A name may have brackets in it.
    let pattern = name.to_str().filter(|text| !name.exists() && text.contains(['*', '?', '[']));
    let Some(pattern) = pattern else { return Ok(vec![name.to_owned()]) };
    let matching = glob::glob(pattern).map_err(|e| Usage(format!("index {pattern}: no pattern: {e}")))?;
    let paths = matching.collect::<Result<Vec<_>, _>>().with_context(|| format!("index {pattern}"))?;
    ensure!(!paths.is_empty(), "index {pattern}: no file fits this pattern");
    Ok(paths)
}

/// Of the files of a folder, hidden ones are none, as for `build`.
fn is_part(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_parquet = path.extension().is_some_and(|end| end == "parquet");
    !is_hidden && is_parquet && path.is_file()
}

/// `None` for a delta that lies beside its index in a folder.
fn open(path: &Path, is_in_folder: bool) -> anyhow::Result<Option<Part>> {
    ensure!(!path.is_dir(), "is a folder; name a file");
    File::open(path)?;
    let opened = Part::open(path);
    if is_in_folder && matches!(opened, Err(Unusable::Delta)) {
        return Ok(None);
    }
    let part = opened.map_err(|e| match e {
        Unusable::Delta => {
            anyhow!("is a delta, not an index; name the file that `qwen3-index build` wrote with -o")
        }
        Unusable::Foreign => anyhow!("was not made by this tool; name a file that `qwen3-index build` wrote"),
        Unusable::Damaged(e) => e.context("cannot be opened; build it again"),
    })?;
    let dim = known(&part)?.fingerprint.dim;
    ensure!(
        part.is_well_formed(),
        "has not the columns id, text and vector of {dim} numbers; name the file as `qwen3-index build` wrote it"
    );
    Ok(Some(part))
}

fn known(part: &Part) -> anyhow::Result<&Metadata> {
    part.metadata().context("was made by another version of this tool; build it again")
}

/// Why rows of the one cannot be compared with those of the other.
fn difference(first: &Fingerprint, other: &Fingerprint) -> Option<String> {
    if first.dim != other.dim {
        return Some(format!("its vectors have {} numbers instead of {}", other.dim, first.dim));
    }
    if !first.model.is_same_model(&other.model) {
        return Some("its vectors are of another model".to_owned());
    }
    if first.instruction != other.instruction {
        return Some("its texts were embedded after another instruction".to_owned());
    }
    (first.rows != other.rows).then(|| "its rows are chunks, or those of the other are".to_owned())
}
