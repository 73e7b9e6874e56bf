//! A folder in, its files out, sorted by name so that two runs see the same order (the only user of
//! walkdir). Nothing is opened here.

use std::io;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::filter::{Filter, Patterns};
use super::{Form, LeftOut};
use crate::error::DocumentError;

/// A regular file of a known kind.
pub struct File {
    pub path: PathBuf,
    /// The path below the root.
    pub below: PathBuf,
    pub form: Form,
    /// In bytes.
    pub size: u64,
}

/// What the walk comes upon.
pub enum Entry {
    File(File),
    LeftOut(LeftOut),
    /// With the path below the root.
    Failed(PathBuf, String, DocumentError),
}

/// The walk over one root. The root itself may be a link or hidden.
pub struct Walk<'a> {
    root: PathBuf,
    filter: &'a Filter,
    of_root: &'a Patterns,
    entries: walkdir::IntoIter,
}

impl<'a> Walk<'a> {
    pub fn new(root: &Path, filter: &'a Filter, of_root: &'a Patterns) -> Self {
        // The empty path is how the current folder looks once `./` is gone from it.
        let start = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let entries = WalkDir::new(start).sort_by_file_name().follow_links(filter.follow).into_iter();
        Walk { root: start.to_owned(), filter, of_root, entries }
    }

    /// `None` for a folder, which the walk goes on into.
    fn entry(&mut self, entry: DirEntry) -> Option<Entry> {
        let kind = entry.file_type();
        let below = entry.path().strip_prefix(&self.root).unwrap_or(entry.path()).to_owned();
        if entry.depth() > 0
            && let Some(why) = self.left_out_by_name(&below, kind.is_dir())
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
        let form = match (Form::of(&below), self.filter.includes(&below)) {
            (_, Some(false)) => return Some(Entry::LeftOut(LeftOut::Excluded)),
            (Some(form), _) => form,
            (None, _) if self.filter.names(&below) => Form::text(&below),
            (None, _) => return Some(Entry::LeftOut(LeftOut::OtherKind)),
        };
        match entry.metadata() {
            Ok(metadata) => {
                Some(Entry::File(File { path: entry.into_path(), below, form, size: metadata.len() }))
            }
            Err(e) => Some(failed(below, &e)),
        }
    }

    /// A broken link or a loop, unless its name is left out anyway.
    fn failed(&self, error: &walkdir::Error) -> Entry {
        let below = error.path().and_then(|path| path.strip_prefix(&self.root).ok()).unwrap_or(Path::new(""));
        match self.left_out_by_name(below, false).filter(|_| error.depth() > 0) {
            Some(why) => Entry::LeftOut(why),
            None => failed(below.to_owned(), error),
        }
    }

    fn left_out_by_name(&self, below: &Path, is_folder: bool) -> Option<LeftOut> {
        let is_hidden = below.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if is_hidden && !self.filter.hidden {
            return Some(LeftOut::Hidden);
        }
        self.filter.excludes(self.of_root, below, is_folder).then_some(LeftOut::Excluded)
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

fn failed(below: PathBuf, error: &walkdir::Error) -> Entry {
    let place = error.path().map_or_else(String::new, |path| path.display().to_string());
    let cause = match (error.loop_ancestor(), error.io_error()) {
        (Some(ancestor), _) => DocumentError::LinkLoop { ancestor: ancestor.display().to_string() },
        (None, Some(e)) => DocumentError::Unreadable(io::Error::new(e.kind(), e.to_string())),
        (None, None) => DocumentError::Unreadable(io::Error::other(error.to_string())),
    };
    Entry::Failed(below, place, cause)
}
