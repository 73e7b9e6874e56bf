//! Lists the files below a folder or the objects below a prefix in a bucket, without opening them. The files are sorted by
//! name, so that every run lists them in the same order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::{DirEntry, WalkDir};

use super::document::LeftOut;
use super::filter::Filter;
use super::format::FileFormat;
use super::ignore_files::{IgnoreFile, IgnoreFiles, Unusable};
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
    /// The path, relative to the root, of a file or folder that a `.ignore` or `.gitignore` excludes.
    Ignored(PathBuf),
    Failed(FailedEntry),
}

/// A file or folder that the walk cannot read.
pub struct FailedEntry {
    /// The path relative to the root.
    pub below: PathBuf,
    /// The path including the root.
    pub path: PathBuf,
    pub is_folder: bool,
    pub cause: DocumentError,
}

/// The rules for skipping files and folders below one root.
struct Rules<'a> {
    filter: &'a Filter,
    ignore_files: IgnoreFiles,
    /// The name of the root, to say what is skipped; `None` to say nothing.
    told: Option<PathBuf>,
}

impl Rules<'_> {
    fn left_out_by_name(&self, below: &Path, is_folder: bool) -> Option<Entry> {
        let is_hidden = below.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden && !self.filter.hidden {
            return Some(self.left_out(below, LeftOut::Hidden));
        }
        if let Some(pattern) = self.filter.excludes(below, is_folder) {
            self.tell(below, LeftOut::Excluded, || format!("the pattern `{pattern}` excludes it"));
            return Some(Entry::LeftOut(LeftOut::Excluded));
        }
        let excluding = self.ignore_files.excludes(below, is_folder)?;
        self.tell(below, LeftOut::Excluded, || excluding.to_string());
        Some(match excluding.kind {
            IgnoreFile::Own => Entry::LeftOut(LeftOut::Excluded),
            IgnoreFile::Search | IgnoreFile::Git => Entry::Ignored(below.to_owned()),
        })
    }

    fn left_out(&self, below: &Path, why: LeftOut) -> Entry {
        self.tell(below, why, || why.reason().to_owned());
        Entry::LeftOut(why)
    }

    fn tell(&self, below: &Path, why: LeftOut, reason: impl FnOnce() -> String) {
        if let Some(root) = &self.told {
            why.tell(|| (root.join(below).display().to_string(), reason()));
        }
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
    /// Begins the walk. Says what is skipped if `told` is the name of the root.
    pub fn new(root: &Path, filter: &'a Filter, ignore_files: IgnoreFiles, told: Option<PathBuf>) -> Self {
        // The root `.` is stored as an empty path.
        let start = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let entries = WalkDir::new(start).sort_by_file_name().follow_links(filter.follow).into_iter();
        Walk { root: start.into(), rules: Rules { filter, ignore_files, told }, entries }
    }

    /// Returns the result for an entry. Returns `None` for a folder that the walk enters.
    fn entry(&mut self, entry: DirEntry) -> Option<Entry> {
        let kind = entry.file_type();
        let below = entry.path().strip_prefix(&self.root).unwrap_or(entry.path()).to_owned();
        if entry.depth() > 0
            && let Some(left_out) = self.rules.left_out_by_name(&below, kind.is_dir())
        {
            if kind.is_dir() {
                self.entries.skip_current_dir();
            }
            return Some(left_out);
        }
        if kind.is_dir() {
            if entry.depth() > 0
                && let Err(unusable) = self.rules.ignore_files.enter(&self.root, &below, self.rules.filter)
            {
                self.entries.skip_current_dir();
                return Some(without_patterns(below, unusable));
            }
            return None;
        }
        if kind.is_symlink() {
            return Some(self.rules.left_out(&below, LeftOut::Link));
        }
        if !kind.is_file() {
            return Some(self.rules.left_out(&below, LeftOut::Special));
        }
        let format = match self.rules.format(&below) {
            Ok(format) => format,
            Err(why) => return Some(self.rules.left_out(&below, why)),
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
        let left_out = self.rules.left_out_by_name(below, false).filter(|_| error.depth() > 0);
        left_out.unwrap_or_else(|| failed(below.to_owned(), error))
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
    /// Begins the walk. Says what is skipped if `told` is the URL of the prefix.
    pub fn new(
        listing: &'a Listing,
        filter: &'a Filter,
        ignore_files: IgnoreFiles,
        told: Option<PathBuf>,
    ) -> Self {
        Listed { listing, rules: Rules { filter, ignore_files, told }, at: 0, folder: "" }
    }

    /// Enters the folders on the path of a key that the walk is not in yet. Returns the outermost folder that is skipped, and the
    /// entry for it. The path of the folder ends in `/`.
    fn left_out_folder(&mut self, key: &'a str) -> Option<(&'a str, Entry)> {
        let entered = self.folder;
        let is_new = |end: &usize| !entered.starts_with(&key[..=*end]);
        let mut ends = key.match_indices('/').map(|(end, _)| end).filter(is_new);
        ends.find_map(|end| {
            let (folder, below) = (&key[..=end], Path::new(&key[..end]));
            let left_out = self.rules.left_out_by_name(below, true).or_else(|| {
                let entered = self.rules.ignore_files.enter_prefix(self.listing, folder);
                Some(without_patterns(below.to_owned(), entered.err()?))
            });
            Some((folder, left_out?))
        })
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
        if let Some((folder, left_out)) = self.left_out_folder(key) {
            let inside =
                (at..self.listing.len()).take_while(|&at| self.listing.below(at).starts_with(folder));
            self.at += inside.count();
            // The folders above the skipped one are entered.
            let above = folder[..folder.len() - 1].rfind('/').map_or("", |end| &folder[..=end]);
            self.folder = above;
            return Some(left_out);
        }
        self.at += 1;
        self.folder = key.rfind('/').map_or("", |end| &key[..=end]);
        let below = PathBuf::from(key);
        if let Some(left_out) = self.rules.left_out_by_name(&below, false) {
            return Some(left_out);
        }
        let object = self.listing.object(at);
        Some(match self.rules.format(&below) {
            Ok(format) => {
                Entry::File(File { size: object.bytes(), location: Location::Object(object), below, format })
            }
            Err(why) => self.rules.left_out(&below, why),
        })
    }
}

/// Returns the failure of a folder with an ignore file that cannot be used. The folder is not read, because it may have documents
/// that the file excludes.
fn without_patterns(below: PathBuf, Unusable { path, cause }: Unusable) -> Entry {
    Entry::Failed(FailedEntry { below, path, is_folder: true, cause })
}

fn failed(below: PathBuf, error: &walkdir::Error) -> Entry {
    let path = error.path().map_or_else(PathBuf::new, Path::to_owned);
    let cause = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => DocumentError::LinkLoop { ancestor: ancestor.display().to_string() },
        (None, Some(e)) => DocumentError::Unreadable(io::Error::new(e.kind(), e.to_string())),
        (None, None) => DocumentError::Unreadable(io::Error::other(error.to_string())),
    };
    let is_folder = path.is_dir();
    Entry::Failed(FailedEntry { below, path, is_folder, cause })
}
