//! Lists the files below a folder or the objects below a prefix in a bucket, without opening them. The files are sorted by
//! name, so that every run lists them in the same order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::{DirEntry, WalkDir};

use super::document::LeftOut;
use super::filter::{Filter, Patterns};
use super::format::FileFormat;
use super::local_file::LocalFile;
use super::location::Location;
use crate::error::DocumentError;
use crate::storage::object::Listing;

/// A file or an object to read.
pub struct File {
    pub location: Location,
    /// The path relative to the root.
    pub below: PathBuf,
    pub format: FileFormat,
    /// Size in bytes.
    pub size: u64,
}

/// One result of the walk.
pub enum Entry {
    File(File),
    LeftOut(LeftOut),
    Failed(FailedEntry),
}

/// A file or folder that the walk cannot read.
pub struct FailedEntry {
    /// The path relative to the root.
    pub below: PathBuf,
    /// The path including the root.
    pub path: PathBuf,
    pub cause: DocumentError,
}

/// The rules for skipping files and folders below one root.
struct Rules<'a> {
    filter: &'a Filter,
    of_root: &'a Patterns,
}

impl Rules<'_> {
    fn left_out_by_name(&self, below: &Path, is_folder: bool) -> Option<LeftOut> {
        let is_hidden = below.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden && !self.filter.hidden {
            return Some(LeftOut::Hidden);
        }
        self.filter.excludes(self.of_root, below, is_folder).then_some(LeftOut::Excluded)
    }

    /// Returns the format of a file, or the reason why the file is skipped. The caller must check
    /// [`Rules::left_out_by_name`] first.
    fn format(&self, below: &Path) -> Result<FileFormat, LeftOut> {
        match (self.filter.format(below), self.filter.includes(below)) {
            (_, Some(false)) => Err(LeftOut::Excluded),
            (Some(format), _) => Ok(format),
            (None, _) if self.filter.names(below) => Ok(FileFormat::text(below)),
            (None, _) => Err(LeftOut::OtherKind),
        }
    }
}

/// The walk over one folder. The folder itself may be a symlink or hidden.
pub struct Walk<'a> {
    root: Arc<Path>,
    rules: Rules<'a>,
    entries: walkdir::IntoIter,
}

impl<'a> Walk<'a> {
    pub fn new(root: &Path, filter: &'a Filter, of_root: &'a Patterns) -> Self {
        // The root `.` is stored as an empty path.
        let start = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let entries = WalkDir::new(start).sort_by_file_name().follow_links(filter.follow).into_iter();
        Walk { root: start.into(), rules: Rules { filter, of_root }, entries }
    }

    /// Returns the result for an entry. Returns `None` for a folder that the walk enters.
    fn entry(&mut self, entry: DirEntry) -> Option<Entry> {
        let kind = entry.file_type();
        let below = entry.path().strip_prefix(&self.root).unwrap_or(entry.path()).to_owned();
        if entry.depth() > 0
            && let Some(why) = self.rules.left_out_by_name(&below, kind.is_dir())
        {
            if kind.is_dir() {
                self.entries.skip_current_dir();
            }
            return Some(Entry::LeftOut(why));
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
        let format = match self.rules.format(&below) {
            Ok(format) => format,
            Err(why) => return Some(Entry::LeftOut(why)),
        };
        match entry.metadata() {
            Ok(metadata) => {
                let file = LocalFile::below(self.root.clone(), below.clone(), self.rules.filter.follow);
                Some(Entry::File(File {
                    location: Location::File(file),
                    below,
                    format,
                    size: metadata.len(),
                }))
            }
            Err(e) => Some(failed(below, &e)),
        }
    }

    /// Returns the failure of an entry that cannot be read, such as a broken symlink or a loop of symlinks. If the entry is
    /// skipped because of its name, this function returns the reason for skipping instead.
    fn failed(&self, error: &walkdir::Error) -> Entry {
        let below = error.path().and_then(|path| path.strip_prefix(&self.root).ok()).unwrap_or(Path::new(""));
        match self.rules.left_out_by_name(below, false).filter(|_| error.depth() > 0) {
            Some(why) => Entry::LeftOut(why),
            None => failed(below.to_owned(), error),
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            let found = match self.entries.next()? {
                Ok(entry) => self.entry(entry),
                Err(e) => Some(self.failed(&e)),
            };
            if found.is_some() {
                return found;
            }
        }
    }
}

/// The walk over the objects below a prefix, with the same rules as [`Walk`].
pub struct Listed<'a> {
    listing: &'a Listing,
    rules: Rules<'a>,
    at: usize,
    /// The folder of the latest listed object. The path of the folder ends in `/`. The rules do not skip this folder or the
    /// folders above this folder, so these folders are not checked again.
    folder: &'a str,
}

impl<'a> Listed<'a> {
    pub fn new(listing: &'a Listing, filter: &'a Filter, of_root: &'a Patterns) -> Self {
        Listed { listing, rules: Rules { filter, of_root }, at: 0, folder: "" }
    }

    /// Returns the outermost skipped folder on the path of a key, and the reason for skipping the folder. The path of the
    /// folder ends in `/`.
    fn left_out_folder(&self, key: &'a str) -> Option<(&'a str, LeftOut)> {
        let is_new = |end: &usize| !self.folder.starts_with(&key[..=*end]);
        let mut ends = key.match_indices('/').map(|(end, _)| end).filter(is_new);
        ends.find_map(|end| Some((&key[..=end], self.rules.left_out_by_name(Path::new(&key[..end]), true)?)))
    }
}

impl Iterator for Listed<'_> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let at = self.at;
        if at == self.listing.len() {
            return None;
        }
        let key = self.listing.below(at);
        if let Some((folder, why)) = self.left_out_folder(key) {
            let inside =
                (at..self.listing.len()).take_while(|&at| self.listing.below(at).starts_with(folder));
            self.at += inside.count();
            return Some(Entry::LeftOut(why));
        }
        self.at += 1;
        self.folder = key.rfind('/').map_or("", |end| &key[..=end]);
        let below = PathBuf::from(key);
        let format = match self.rules.left_out_by_name(&below, false) {
            Some(why) => Err(why),
            None => self.rules.format(&below),
        };
        let object = self.listing.object(at);
        Some(match format {
            Ok(format) => {
                Entry::File(File { size: object.bytes(), location: Location::Object(object), below, format })
            }
            Err(why) => Entry::LeftOut(why),
        })
    }
}

fn failed(below: PathBuf, error: &walkdir::Error) -> Entry {
    let path = error.path().map_or_else(PathBuf::new, Path::to_owned);
    let cause = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => DocumentError::LinkLoop { ancestor: ancestor.display().to_string() },
        (None, Some(e)) => DocumentError::Unreadable(io::Error::new(e.kind(), e.to_string())),
        (None, None) => DocumentError::Unreadable(io::Error::other(error.to_string())),
    };
    Entry::Failed(FailedEntry { below, path, cause })
}
