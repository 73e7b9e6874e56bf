//! Finds the documents below the user's roots. Returns each result as a [`Found`]. Every run returns the results in the same
//! order.
//!
//! A root is a file, a folder, an object in a bucket, a prefix in a bucket, or standard input.

use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::ensure;

use super::filter::Filter;
use super::format::{FileFormat, FormatKind};
use super::found::Found;
use super::id::{IdPrefix, id_below, id_of};
use super::ignore_files::{IgnoreFiles, Unusable};
use super::local_file::LocalFile;
use super::location::Location;
use super::raw::Reading;
use super::raw_file::RawFile;
use super::rows;
use super::rows::source::RowIter;
use super::walk::{self, Entry, FailedEntry, Listed, Walk};
use crate::error::{DocumentError, Failure, Lost, Usage};
use crate::storage::object::{Listing, Stores, Url};

/// The root with this name is standard input. Standard input is read as JSON Lines.
const STDIN: &str = "-";

/// A root that has been checked.
#[derive(Debug)]
enum Root {
    Stdin,
    File(Location, FileFormat),
    /// A folder or a prefix, with the ignore files at its top.
    Folder(Tree, IgnoreFiles),
    /// A root that does not exist. The caller allows missing roots.
    Missing(PathBuf),
}

/// The files below a folder, or the objects below a prefix in a bucket.
#[derive(Debug)]
enum Tree {
    Folder(PathBuf),
    Bucket(Listing),
}

impl Tree {
    /// Walks over the tree. If `is_told`, says what is skipped and why.
    fn walk<'a>(
        &'a self,
        filter: &'a Filter,
        at_top: &IgnoreFiles,
        is_told: bool,
    ) -> Box<dyn Iterator<Item = Entry> + 'a> {
        let (ignore_files, told) = (at_top.clone(), is_told.then(|| self.name().1));
        match self {
            Tree::Folder(path) => Box::new(Walk::new(path, filter, ignore_files, told)),
            Tree::Bucket(listing) => Box::new(Listed::new(listing, filter, ignore_files, told)),
        }
    }

    /// Returns the name of the tree in two forms: as text for the start of ids, and as a path.
    fn name(&self) -> (String, PathBuf) {
        match self {
            Tree::Folder(path) => (id_of(path), path.clone()),
            Tree::Bucket(listing) => (listing.url().to_string(), listing.url().to_string().into()),
        }
    }
}

/// The roots of a run, and the filter for the files below the roots.
#[derive(Debug)]
pub struct Roots {
    roots: Vec<Root>,
    filter: Filter,
    id_prefix: IdPrefix,
}

impl Roots {
    /// Checks the roots. Each file must have a supported format. Each root must exist, unless `may_be_missing` is true.
    ///
    /// # Errors
    /// The error is a [`Usage`] if a file has an unknown format or if standard input is named twice. The error has another
    /// type if a root does not exist or cannot be read.
    pub fn new(names: &[PathBuf], filter: Filter, may_be_missing: bool) -> anyhow::Result<Self> {
        let root = |name: &PathBuf| match root(name, &filter) {
            Err(_) if may_be_missing && is_missing(name) => Ok(Root::Missing(name.clone())),
            root => root,
        };
        let roots = names.iter().map(root).collect::<anyhow::Result<_>>()?;
        Roots::of(roots, filter)
    }

    /// Checks roots like [`Roots::new`], and also accepts URLs of objects and prefixes. Lists the objects below each prefix.
    ///
    /// # Errors
    /// The errors of [`Roots::new`], and an error if object storage cannot be reached or denies access.
    pub fn anywhere(
        names: &[PathBuf],
        filter: Filter,
        may_be_missing: bool,
        stores: &mut Stores,
    ) -> anyhow::Result<Self> {
        let mut roots = Vec::new();
        for name in names {
            roots.extend(match Url::of(name)? {
                Some(url) => vec![root_in_bucket(&url, &filter, may_be_missing, stores)?],
                None => Roots::new(std::slice::from_ref(name), filter.clone(), may_be_missing)?.roots,
            });
        }
        Roots::of(roots, filter)
    }

    fn of(roots: Vec<Root>, filter: Filter) -> anyhow::Result<Self> {
        if roots.iter().filter(|root| matches!(root, Root::Stdin)).count() > 1 {
            return Err(Usage(format!("`{STDIN}` (standard input) is given twice; give it once")).into());
        }
        Ok(Roots { roots, filter, id_prefix: IdPrefix::Auto })
    }

    /// Sets when ids start with the name of their root.
    #[must_use]
    pub fn with_id_prefix(self, id_prefix: IdPrefix) -> Self {
        Roots { id_prefix, ..self }
    }

    /// Finds every document below the roots. The results are in the order of the roots. Below each root, the files are
    /// sorted by path.
    ///
    /// The id of a file is the path of the file, relative to the root. If the file itself is the root, the id is the name of
    /// the file. If there are several roots, every id starts with the name of the root, so that files with the same path
    /// below two roots have different ids; [`Roots::with_id_prefix`] changes that. A row without an id gets the id `file:line`.
    pub fn documents<'a>(&'a self, reading: &'a Reading) -> impl Iterator<Item = Found> + 'a {
        let prefixed = self.id_prefix.applies(self.roots.len());
        self.roots.iter().flat_map(move |root| {
            let documents = Documents::of(root, self, reading, prefixed);
            WithNothing { documents, nothing: Some(Found::Nothing(root.name())) }
        })
    }

    /// Returns the total size of all files below the roots, in bytes, for the progress bar. Returns `None` if a root is
    /// standard input. This function walks the folders, but opens only ignore files.
    pub fn total_bytes(&self) -> Option<u64> {
        let of_entry = |entry| if let Entry::File(file) = entry { file.size } else { 0 };
        self.roots
            .iter()
            .map(|root| match root {
                Root::Stdin => None,
                Root::Missing(_) => Some(0),
                Root::File(location, _) => Some(size(location)),
                Root::Folder(tree, at_top) => {
                    Some(tree.walk(&self.filter, at_top, false).map(of_entry).sum())
                }
            })
            .sum()
    }
}

impl Root {
    fn name(&self) -> String {
        match self {
            Root::Stdin => STDIN.to_owned(),
            Root::Folder(Tree::Folder(path), _) if path.as_os_str().is_empty() => ".".to_owned(),
            Root::Folder(tree, _) => tree.name().1.display().to_string(),
            Root::File(location, _) => location.to_string(),
            Root::Missing(path) => path.display().to_string(),
        }
    }
}

fn is_missing(name: &Path) -> bool {
    name.as_os_str() != STDIN && name.metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound)
}

fn root(name: &Path, filter: &Filter) -> anyhow::Result<Root> {
    if name.as_os_str() == STDIN {
        return Ok(Root::Stdin);
    }
    let unreadable = |e: DocumentError| anyhow::Error::new(e).context(format!("input {}", name.display()));
    let metadata = fs::metadata(name).map_err(|e| unreadable(e.into()))?;
    // The paths `./docs/` and `docs` name the same root, so the ids of the documents must be the same for both paths.
    let path: PathBuf = name.components().filter(|part| *part != Component::CurDir).collect();
    // The root is opened now, so that a missing read permission ends the run before any document is read.
    if metadata.is_dir() {
        fs::read_dir(name).map_err(|e| unreadable(e.into()))?;
        let ignore_files = IgnoreFiles::of_folder(name, filter).map_err(unusable)?;
        return Ok(Root::Folder(Tree::Folder(path), ignore_files));
    }
    match filter.format(&path) {
        Some(format) if metadata.is_file() => {
            let file = LocalFile::named(path);
            file.open().map_err(unreadable)?;
            Ok(Root::File(Location::File(file), format))
        }
        _ => Err(unknown_format(name).into()),
    }
}

fn unusable(Unusable { path, cause }: Unusable) -> anyhow::Error {
    anyhow::Error::new(cause).context(path.display().to_string())
}

fn unknown_format(name: &Path) -> Usage {
    if FileFormat::picture(name).is_some() {
        return Usage(format!(
            "input {}: is a picture, and this run has no command to read pictures",
            name.display()
        ));
    }
    Usage(format!(
        "input {}: unknown format; give a folder, or a file with one of the extensions {}",
        name.display(),
        FileFormat::EXTENSIONS
    ))
}

/// Checks a root in object storage. A URL that does not end in `/` is a prefix only if at least one object lies below the
/// URL.
fn root_in_bucket(
    url: &Url,
    filter: &Filter,
    may_be_missing: bool,
    stores: &mut Stores,
) -> anyhow::Result<Root> {
    let name = PathBuf::from(url.to_string());
    let format = filter.format(Path::new(url.name())).filter(|_| !url.is_prefix());
    if let Some(format) = format
        && let Some(object) = stores.object(url)?
    {
        return Ok(Root::File(Location::Object(object), format));
    }
    let listing = stores.list(url)?;
    if !listing.is_empty() || url.is_prefix() {
        let ignore_files = IgnoreFiles::of_prefix(&listing, filter).map_err(unusable)?;
        return Ok(Root::Folder(Tree::Bucket(listing), ignore_files));
    }
    if format.is_none() && stores.object(url)?.is_some() {
        return Err(unknown_format(&name).into());
    }
    ensure!(
        may_be_missing,
        "input {url}: nothing is found there; check that it exists and that this user may read it"
    );
    Ok(Root::Missing(name))
}

/// Returns the size of a file in bytes. Returns 0 if the size is unknown. The size is used only to estimate progress and
/// memory, so a wrong size does no harm.
fn size(location: &Location) -> u64 {
    match location {
        Location::File(file) => file.size(),
        Location::Object(object) => object.bytes(),
        Location::Inside(inside) => inside.content.len() as u64,
    }
}

/// The documents of one root.
enum Documents<'a> {
    None,
    Of(RowIter),
    Folder {
        walk: Box<dyn Iterator<Item = Entry> + 'a>,
        base: Arc<Path>,
        /// The text at the start of every id.
        prefix: String,
        /// The documents of the latest file; `None` before the first file.
        of_file: Option<RowIter>,
        reading: &'a Reading,
    },
}

impl<'a> Documents<'a> {
    fn of(root: &'a Root, roots: &'a Roots, reading: &'a Reading, prefixed: bool) -> Self {
        match root {
            Root::Stdin => Documents::Of(rows::stdin(reading)),
            Root::Missing(_) => Documents::None,
            Root::Folder(tree, at_top) => {
                let (name, path) = tree.name();
                let (base, prefix) = if prefixed { (PathBuf::new(), name) } else { (path, String::new()) };
                let walk = tree.walk(&roots.filter, at_top, true);
                Documents::Folder { walk, base: base.into(), prefix, of_file: None, reading }
            }
            Root::File(location, format) => {
                let (parent, name, whole) = match location {
                    Location::Object(object) => {
                        let url = object.url();
                        (url.parent().into(), url.name().to_owned(), url.to_string())
                    }
                    Location::File(_) | Location::Inside(_) => {
                        let path = location.name();
                        let name = id_of(Path::new(path.file_name().unwrap_or_default()));
                        (path.parent().unwrap_or(Path::new("")).to_owned(), name, id_of(&path))
                    }
                };
                let (base, id) = if prefixed { (PathBuf::new(), whole) } else { (parent, name) };
                let (location, size) = (location.clone(), size(location));
                let file = RawFile { id, base: base.into(), location, download: None, format: *format, size };
                Documents::Of(rows::documents(file, true, reading))
            }
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        match self {
            Documents::None => None,
            Documents::Of(documents) => documents.next(),
            Documents::Folder { walk, base, prefix, of_file, reading } => loop {
                if let Some(found) = of_file.as_mut().and_then(Iterator::next) {
                    return Some(found);
                }
                match walk.next()? {
                    Entry::File(walk::File { location, below, format, size }) => {
                        let (id, base) = (id_below(prefix, &below), base.clone());
                        let file = RawFile { id, base, location, download: None, format, size };
                        *of_file = Some(rows::documents(file, false, reading));
                    }
                    Entry::LeftOut(why) => return Some(Found::LeftOut(why)),
                    Entry::Ignored(below) => return Some(Found::Ignored(id_below(prefix, &below))),
                    Entry::Failed(entry) => return Some(Found::Failed(failure(entry, prefix))),
                }
            },
        }
    }
}

/// The results of one root. If the root has neither documents nor failures, the final item is [`Found::Nothing`].
struct WithNothing<'a> {
    documents: Documents<'a>,
    /// The final item; `None` once a document or a failure has been found.
    nothing: Option<Found>,
}

impl Iterator for WithNothing<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let Some(found) = self.documents.next() else { return self.nothing.take() };
        if matches!(found, Found::Raw(_) | Found::Failed(_)) {
            self.nothing = None;
        }
        Some(found)
    }
}

/// Returns the failure for a file or folder that the walk cannot read. The ids of the root start with `prefix`.
fn failure(entry: FailedEntry, prefix: &str) -> Failure {
    let FailedEntry { below, path, is_folder, cause } = entry;
    let id = id_below(prefix, &below);
    let is_one_document = FileFormat::of(&below)
        .or_else(|| FileFormat::picture(&below))
        .is_some_and(|format| !matches!(format.kind, FormatKind::Rows(_)));
    // A folder may also have a name like `notes.txt`, so the name alone does not show that the path is one document. A
    // folder or a file of rows may contain many documents.
    let lost = if is_one_document && !is_folder {
        Lost::Document(id.into())
    } else if below.as_os_str().is_empty() {
        Lost::Unknown
    } else {
        Lost::Below(id.into())
    };
    Failure { place: path.display().to_string(), cause, lost }
}
