//! A folder in, or what is below a prefix of a bucket, its files out, sorted by name so that two runs see the same order
//! (the only user of walkdir). Nothing is opened here.

use std::io;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

use super::document::LeftOut;
use super::filter::{Filter, Patterns};
use super::form::Form;
use super::location::Location;
use crate::error::DocumentError;
use crate::storage::object::Listing;

/// A regular file of a known kind.
pub struct File {
    pub location: Location,
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

/// What is taken and what is left out below one root.
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

    /// Of a file that its name does not leave out.
    fn form(&self, below: &Path) -> Result<Form, LeftOut> {
        match (Form::of(below), self.filter.includes(below)) {
            (_, Some(false)) => Err(LeftOut::Excluded),
            (Some(form), _) => Ok(form),
            (None, _) if self.filter.names(below) => Ok(Form::text(below)),
            (None, _) => Err(LeftOut::OtherKind),
        }
    }
}

/// The walk over one root. The root itself may be a link or hidden.
pub struct Walk<'a> {
    root: PathBuf,
    rules: Rules<'a>,
    entries: walkdir::IntoIter,
}

impl<'a> Walk<'a> {
    pub fn new(root: &Path, filter: &'a Filter, of_root: &'a Patterns) -> Self {
        // The empty path is how the current folder looks once `./` is gone from it.
        let start = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let entries = WalkDir::new(start).sort_by_file_name().follow_links(filter.follow).into_iter();
        Walk { root: start.to_owned(), rules: Rules { filter, of_root }, entries }
    }

    /// `None` for a folder, which the walk goes on into.
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
        let form = match self.rules.form(&below) {
            Ok(form) => form,
            Err(why) => return Some(Entry::LeftOut(why)),
        };
        match entry.metadata() {
            Ok(metadata) => {
                let location = Location::Path(entry.into_path());
                Some(Entry::File(File { location, below, form, size: metadata.len() }))
            }
            Err(e) => Some(failed(below, &e)),
        }
    }

    /// A broken link or a loop, unless its name is left out anyway.
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

/// The same over a prefix of a bucket, as if it were a folder.
pub struct Listed<'a> {
    listing: &'a Listing,
    rules: Rules<'a>,
    at: usize,
    /// The folder of the last key, which is not left out itself.
    folder: &'a str,
}

impl<'a> Listed<'a> {
    pub fn new(listing: &'a Listing, filter: &'a Filter, of_root: &'a Patterns) -> Self {
        Listed { listing, rules: Rules { filter, of_root }, at: 0, folder: "" }
    }

    /// The outermost folder of a key that is left out, with the `/` at its end.
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
        let form = match self.rules.left_out_by_name(&below, false) {
            Some(why) => Err(why),
            None => self.rules.form(&below),
        };
        let object = self.listing.object(at);
        Some(match form {
            Ok(form) => {
                Entry::File(File { size: object.bytes(), location: Location::Object(object), below, form })
            }
            Err(why) => Entry::LeftOut(why),
        })
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
