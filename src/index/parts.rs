//! Reads several index files as one index: the files that the user names, the files of a folder, or the files that match a
//! pattern.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};

use super::metadata::{Fingerprint, Metadata, RowKind};
use super::part::{IndexFileError, Part};
use super::pattern::{is_pattern, matching};
use super::row::Row;
use super::row_batch::RowBatch;
use super::row_count::{add_rows, row_count};
use super::shared_file::open_files_max;
use crate::storage::found::is_folder;
use crate::storage::object::Url;

/// The position of a row in one of several files. Positions are ordered by file, then by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowAt {
    /// The index of the file in the list of files, from 0.
    pub part: usize,
    /// The index of the row in the file, from 0.
    pub row: u32,
}

/// One or more index files that were made with the same model, dimensions, instruction and kind of rows.
pub struct Parts {
    parts: Vec<(PathBuf, Part)>,
    /// For each file, the total number of rows in this file and all earlier files.
    ends: Vec<u64>,
    metadata: Metadata,
    /// The names of the kept columns of all files, without duplicates.
    kept: Vec<String>,
}

impl Parts {
    /// Opens index files. Each name is a file, a folder, or a pattern such as `parts/*.parquet`. For a folder, this function
    /// opens the `.parquet` files in the folder. For a pattern, this function opens the files that match. The first files stay
    /// open, up to [`open_files_max`]. All other files are opened again for each read.
    ///
    /// # Errors
    /// A file is missing, damaged or not an index; the model, dimensions, instruction or kind of rows of a file
    /// differ from those of the first file.
    pub fn open(names: &[PathBuf]) -> anyhow::Result<Self> {
        let mut parts = Vec::new();
        let open_max = open_files_max();
        for name in names {
            let before = parts.len();
            for path in files(name)? {
                let part = open(&path, name.is_dir()).with_context(|| format!("index {}", path.display()))?;
                let Some(mut part) = part else { continue };
                if parts.len() >= open_max {
                    part.close();
                }
                parts.push((path, part));
            }
            ensure!(
                parts.len() > before,
                "index {}: there is no .parquet file in this folder; name the folder or file that `qwen3-index build` wrote to",
                name.display()
            );
        }
        let (first, rest) = parts.split_first().context("no index is named")?;
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
        Ok(Parts { ends: ends(&parts), kept: kept(&parts), parts, metadata })
    }

    /// Returns each file with its path, in the order of the list.
    pub(super) fn each(&self) -> impl Iterator<Item = (&Path, &Part)> {
        self.parts.iter().map(|(path, part)| (path.as_path(), part))
    }

    /// Sorts the files by `key`. The order of files with equal keys does not change.
    pub(super) fn sort_by_key<K: Ord>(&mut self, key: impl Fn(&Part) -> K) {
        self.parts.sort_by_key(|(_, part)| key(part));
        self.ends = ends(&self.parts);
    }

    /// Returns the metadata of the first file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the number of stale documents in all files. A stale document could not be read when its file was made, so
    /// its rows were copied from an older file.
    pub fn stale(&self) -> u32 {
        self.each_metadata().map(|metadata| metadata.stale).fold(0, u32::saturating_add)
    }

    /// Returns the ids of the documents in all files whose vectors were made with other rules.
    pub fn outdated(&self) -> Vec<String> {
        self.each_metadata().flat_map(|metadata| metadata.outdated.iter().cloned()).collect()
    }

    fn each_metadata(&self) -> impl Iterator<Item = &Metadata> {
        self.parts.iter().filter_map(|(_, part)| part.metadata())
    }

    /// Returns the paths of the files.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.parts.iter().map(|(path, _)| path.as_path())
    }

    /// Returns the path of the file with this row.
    pub fn path(&self, row: RowAt) -> &Path {
        &self.parts[row.part].0
    }

    /// Returns the position of the row with this row number. Row numbers start at 0 and continue from file to file.
    ///
    /// # Panics
    /// If no file has a row with this row number.
    pub fn row(&self, number: u64) -> RowAt {
        let part = self.ends.partition_point(|&end| end <= number);
        match row_count(number - self.start(part)) {
            Ok(row) if part < self.parts.len() => RowAt { part, row },
            _ => panic!("row {number} of {}", self.rows()),
        }
    }

    /// Returns the row number of the row at this position. Row numbers start at 0 and continue from file to file.
    pub fn number(&self, at: RowAt) -> u64 {
        self.start(at.part) + u64::from(at.row)
    }

    fn start(&self, part: usize) -> u64 {
        part.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Returns the number of rows in all files together.
    pub fn rows(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Returns the size of all row groups of all files, in bytes.
    pub fn bytes(&self) -> u64 {
        let of = |part: &Part| (0..part.groups()).map(|group| part.group_bytes(group)).sum::<u64>();
        self.parts.iter().map(|(_, part)| of(part)).sum()
    }

    /// Returns the names of the kept columns of all files, without duplicates.
    pub fn kept(&self) -> &[String] {
        &self.kept
    }

    /// Returns all row groups. Each pair is the index of a file, and the index of a row group in that file.
    pub fn groups(&self) -> Vec<(usize, usize)> {
        let groups =
            |(at, (_, part)): (usize, &(PathBuf, Part))| (0..part.groups()).map(move |group| (at, group));
        self.parts.iter().enumerate().flat_map(groups).collect()
    }

    /// Reads some columns of a row group in batches. Passes each batch to `f`, with the position of the batch's first row.
    ///
    /// # Errors
    /// The file cannot be read, or `f` fails.
    pub fn read(
        &self,
        (part, group): (usize, usize),
        columns: &[&str],
        mut f: impl FnMut(RowAt, &RowBatch) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let (path, file) = &self.parts[part];
        let mut row = file.start_of(group);
        let mut read = || -> anyhow::Result<()> {
            for batch in file.reader(group, None, columns)? {
                let batch = file.batch(batch?)?;
                f(RowAt { part, row }, &batch)?;
                row = add_rows(row, batch.rows())?;
            }
            Ok(())
        };
        read().map_err(|e| unreadable(path, file, &format!("cannot be read from row {row} on"), e))
    }

    /// Reads these rows without their vectors, and returns them in the order of `rows`.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn rows_at(&self, rows: &[RowAt]) -> anyhow::Result<Vec<Row>> {
        let kept: Vec<&str> = self.kept.iter().map(String::as_str).collect();
        let mut sorted = rows.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut found = Vec::with_capacity(sorted.len());
        for here in sorted.chunk_by(|one, other| one.part == other.part) {
            let (path, part) = &self.parts[here[0].part];
            let numbers: Vec<u32> = here.iter().map(|at| at.row).collect();
            found.extend(
                part.rows_with(&numbers, &kept).map_err(|e| unreadable(path, part, "cannot be read", e))?,
            );
        }
        let row = |at: &RowAt| {
            let found = sorted.binary_search(at).ok().and_then(|place| found.get(place)).cloned();
            found.context("a requested row was not read, which is an error of this program")
        };
        rows.iter().map(row).collect()
    }
}

/// Returns the error for a file that was opened, but cannot be read. A file that the system cannot read need not be damaged.
pub(super) fn unreadable(path: &Path, part: &Part, what: &str, error: anyhow::Error) -> anyhow::Error {
    let advice = if part.failure().is_some() { "" } else { "; build it again" };
    error.context(format!("index {}: {what}{advice}", path.display()))
}

fn ends(parts: &[(PathBuf, Part)]) -> Vec<u64> {
    let mut end = 0;
    let ends = parts.iter().map(|(_, part)| {
        end += u64::from(part.rows());
        end
    });
    ends.collect()
}

fn kept(parts: &[(PathBuf, Part)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in parts.iter().flat_map(|(_, part)| part.kept_names()) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Returns the paths for a name that the user gave: a file, the index files of a folder, or the files that match a pattern.
fn files(name: &Path) -> anyhow::Result<Vec<PathBuf>> {
    Url::refuse("index", name)?;
    let is_folder = is_folder(name).map_err(|e| {
        anyhow!("index {}: cannot be read: {e}; check the disk and the permissions", name.display())
    })?;
    if is_folder {
        return files_of(name).with_context(|| format!("index {}", name.display()));
    }
    // If a file with this very name exists, the name is not a pattern, even if it contains brackets.
    match name.to_str().filter(|text| !name.exists() && is_pattern(text)) {
        None => Ok(vec![name.to_owned()]),
        Some(pattern) => {
            let paths = matching(pattern)?;
            ensure!(
                !paths.is_empty(),
                "index {pattern}: no file matches this pattern; check the pattern and the folder"
            );
            Ok(paths)
        }
    }
}

fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths = Vec::new();
    for path in entries.into_iter().map(|entry| entry.path()).filter(|path| has_part_name(path)) {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => paths.push(path),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // A part that is left out because of a failed call would be a gap that nobody sees.
            Err(e) => return Err(e),
        }
    }
    paths.sort();
    Ok(paths)
}

/// Returns whether a file in a folder is opened as an index. Only `.parquet` files are opened, and no hidden files.
fn has_part_name(path: &Path) -> bool {
    let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let is_parquet = path.extension().is_some_and(|end| end == "parquet");
    !is_hidden && is_parquet
}

/// Opens an index file. Returns `None` for a delta that was found in a folder, because a folder may contain both an index and a
/// delta.
fn open(path: &Path, is_in_folder: bool) -> anyhow::Result<Option<Part>> {
    check_file(path)?;
    match Part::open(path) {
        Err(IndexFileError::Delta) if is_in_folder => Ok(None),
        opened => usable(opened).map(Some),
    }
}

/// Checks that a path names a file that can be opened.
pub(super) fn check_file(path: &Path) -> anyhow::Result<()> {
    ensure!(!path.is_dir(), "is a folder; name this folder without a pattern, or name files in the folder");
    File::open(path).map_err(|e| anyhow!("cannot be opened: {e}; check the path"))?;
    Ok(())
}

/// Explains why a file cannot be used, and checks that a file has the columns of its metadata.
pub(super) fn usable(opened: Result<Part, IndexFileError>) -> anyhow::Result<Part> {
    let part = opened.map_err(|e| match e {
        IndexFileError::Delta => {
            anyhow!("is a delta, not an index; name the file that `qwen3-index build` wrote with -o")
        }
        IndexFileError::Index => {
            anyhow!("is an index, not a delta; name the delta that `qwen3-index build` wrote")
        }
        IndexFileError::Foreign => {
            anyhow!("was not made by this tool; name a file that `qwen3-index build` wrote")
        }
        IndexFileError::Damaged(e) => anyhow!("cannot be read as an index: {e}; build it again"),
        IndexFileError::Unreadable(e) => e.context("cannot be read; check the disk"),
    })?;
    let fingerprint = &known(&part)?.fingerprint;
    ensure!(
        part.has_columns(fingerprint),
        "does not have the columns id, text and vector with {} dimensions of the type {}; name the file that `qwen3-index build` wrote",
        fingerprint.dim,
        fingerprint.vector_type
    );
    Ok(part)
}

pub(super) fn known(part: &Part) -> anyhow::Result<&Metadata> {
    part.metadata().context("was made by another version of this tool; build it again")
}

/// Compares the settings of two files. Returns the reason that one search cannot cover both files; `None` if one search can cover
/// both files.
fn difference(first: &Fingerprint, other: &Fingerprint) -> Option<String> {
    if first.dim != other.dim {
        return Some(format!("its vectors have {} dimensions instead of {}", other.dim, first.dim));
    }
    if first.vector_type != other.vector_type {
        return Some(format!("its vectors are {} instead of {}", other.vector_type, first.vector_type));
    }
    if !first.model.is_same_model(&other.model) {
        return Some("its vectors were made with another model".to_owned());
    }
    if (&first.instruction, &first.prompt) != (&other.instruction, &other.prompt) {
        return Some("its texts were embedded with another instruction".to_owned());
    }
    match other.rows {
        rows if rows == first.rows => None,
        RowKind::Chunks => Some("its rows are chunks, not documents".to_owned()),
        RowKind::Documents => Some("its rows are documents, not chunks".to_owned()),
    }
}
