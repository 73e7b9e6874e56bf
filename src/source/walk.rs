//! A folder in, its files out, sorted by name so that two runs see the same order (the only user of
//! walkdir). Nothing is opened here.

use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::{Kind, LeftOut};
use crate::error::{DocumentError, Failure};

/// A regular file of a known kind.
pub struct File {
    pub path: PathBuf,
    /// The path below the root.
    pub below: PathBuf,
    pub kind: Kind,
    /// In bytes.
    pub size: u64,
}

/// What the walk comes upon.
pub enum Entry {
    File(File),
    LeftOut(LeftOut),
    Failed(Failure),
}

/// The walk over one root. The root itself may be a link or hidden; below it, links are not followed
/// and hidden names are left out.
pub struct Walk {
    root: PathBuf,
    entries: walkdir::IntoIter,
}

impl Walk {
    pub fn new(root: &Path) -> Self {
        // The empty path is how the current folder looks once `./` is gone from it.
        let start = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        Walk { root: start.to_owned(), entries: WalkDir::new(start).sort_by_file_name().into_iter() }
    }

    /// `None` for a folder, which the walk goes on into.
    fn entry(&mut self, entry: DirEntry) -> Option<Entry> {
        let kind = entry.file_type();
        if entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".") {
            if kind.is_dir() {
                self.entries.skip_current_dir();
            }
            return Some(Entry::LeftOut(LeftOut::Hidden));
        }
        if kind.is_dir() {
            return None;
        }
        if kind.is_symlink() {
            return Some(Entry::LeftOut(LeftOut::Link));
        }
        if !kind.is_file() {
            return Some(Entry::LeftOut(LeftOut::Special));
        }
        let Some(kind) = Kind::of(entry.path()) else { return Some(Entry::LeftOut(LeftOut::OtherKind)) };
        let size = match entry.metadata() {
            Ok(metadata) => metadata.len(),
            Err(e) => return Some(failed(&e)),
        };
        let below = entry.path().strip_prefix(&self.root).unwrap_or(entry.path()).to_owned();
        Some(Entry::File(File { path: entry.into_path(), below, kind, size }))
    }
}

impl Iterator for Walk {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let found = match self.entries.next()? {
                Ok(entry) => self.entry(entry),
                Err(e) => Some(failed(&e)),
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

fn failed(error: &walkdir::Error) -> Entry {
    let place = error.path().map_or_else(String::new, |path| path.display().to_string());
    let cause = match error.io_error() {
        Some(e) => DocumentError::Unreadable(std::io::Error::new(e.kind(), e.to_string())),
        None => DocumentError::Walk(error.to_string()),
    };
    Entry::Failed(Failure { place, cause })
}
