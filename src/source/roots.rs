//! Roots as the user named them in, one [`Found`] after another out, in a stable order.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};

use super::document::LeftOut;
use super::filter::{Filter, IGNORE_FILE, Patterns};
use super::form::{Form, Kind};
use super::found::Found;
use super::id::{id_below, id_of};
use super::location::Location;
use super::raw::{Raw, Reading};
use super::rows;
use super::rows::source::RowIter;
use super::walk::{self, Entry, Listed, Walk};
use crate::error::{ContentError, DocumentError, Failure, Lost, Usage};
use crate::storage::object::{Listing, Stores, Url};

/// The name that stands for JSONL on standard input.
const STDIN: &str = "-";

/// One root, checked.
#[derive(Debug)]
enum Root {
    Stdin,
    File(Location, Form),
    /// With the patterns of its own ignore file.
    Folder(Tree, Patterns),
    /// It is not there, and that is allowed.
    Missing(PathBuf),
}

/// What files are below.
#[derive(Debug)]
enum Tree {
    Folder(PathBuf),
    Bucket(Listing),
}

impl Tree {
    fn walk<'a>(&'a self, filter: &'a Filter, of_root: &'a Patterns) -> Box<dyn Iterator<Item = Entry> + 'a> {
        match self {
            Tree::Folder(path) => Box::new(Walk::new(path, filter, of_root)),
            Tree::Bucket(listing) => Box::new(Listed::new(listing, filter, of_root)),
        }
    }

    /// As ids begin with it, and as a path that files are below.
    fn name(&self) -> (String, PathBuf) {
        match self {
            Tree::Folder(path) => (id_of(path), path.clone()),
            Tree::Bucket(listing) => (listing.url().to_string(), listing.url().to_string().into()),
        }
    }
}

/// The roots of a run.
#[derive(Debug)]
pub struct Roots {
    roots: Vec<Root>,
    filter: Filter,
}

impl Roots {
    /// Checks that every root exists, unless it `may_be_missing`, and can be a source.
    ///
    /// # Errors
    /// [`Usage`] for a file of an unknown kind or standard input named twice; an error of the run for
    /// a root that does not exist or cannot be read.
    pub fn new(names: &[PathBuf], filter: Filter, may_be_missing: bool) -> anyhow::Result<Self> {
        let root = |name: &PathBuf| match root(name) {
            Err(_) if may_be_missing && is_missing(name) => Ok(Root::Missing(name.clone())),
            root => root,
        };
        Roots::of(names.iter().map(root).collect::<anyhow::Result<_>>()?, filter)
    }

    /// The same where a root may also be the URL of an object, or of a prefix, which is listed now.
    ///
    /// # Errors
    /// As for [`Roots::new`]; a store cannot be reached, or does not allow it.
    pub fn anywhere(
        names: &[PathBuf],
        filter: Filter,
        may_be_missing: bool,
        stores: &mut Stores,
    ) -> anyhow::Result<Self> {
        let mut roots = Vec::new();
        for name in names {
            roots.extend(match Url::of(name)? {
                Some(url) => vec![root_in_bucket(&url, may_be_missing, stores)?],
                None => Roots::new(std::slice::from_ref(name), filter.clone(), may_be_missing)?.roots,
            });
        }
        Roots::of(roots, filter)
    }

    fn of(roots: Vec<Root>, filter: Filter) -> anyhow::Result<Self> {
        if roots.iter().filter(|root| matches!(root, Root::Stdin)).count() > 1 {
            return Err(Usage(format!("`{STDIN}` (standard input) is named twice; name it once")).into());
        }
        Ok(Roots { roots, filter })
    }

    /// Every document below the roots, in the order of the roots and, below each, of the names.
    ///
    /// An id is the path or key below the root, or the file's name; with several roots it starts with the
    /// root as it was named, so that they cannot collide. A line of JSONL without an id is `file:line`.
    pub fn documents<'a>(&'a self, reading: &'a Reading) -> impl Iterator<Item = Found> + 'a {
        let prefixed = self.roots.len() > 1;
        self.roots.iter().flat_map(move |root| {
            let documents = Documents::of(root, self, reading, prefixed);
            OrNothing { documents, nothing: Some(Found::Nothing(root.name())) }
        })
    }

    /// Bytes of all files below the roots; `None` where that is not to be known, since standard input is one
    /// of them. A walk of its own, without reading: what progress is measured against.
    pub fn total_bytes(&self) -> Option<u64> {
        let of_entry = |entry| if let Entry::File(file) = entry { file.size } else { 0 };
        self.roots
            .iter()
            .map(|root| match root {
                Root::Stdin => None,
                Root::Missing(_) => Some(0),
                Root::File(location, _) => Some(size(location)),
                Root::Folder(tree, of_root) => Some(tree.walk(&self.filter, of_root).map(of_entry).sum()),
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

fn root(name: &Path) -> anyhow::Result<Root> {
    if name.as_os_str() == STDIN {
        return Ok(Root::Stdin);
    }
    let in_input =
        || format!("input {}: check that it exists and that this user may read it", name.display());
    let metadata = fs::metadata(name).with_context(in_input)?;
    // `./docs/` and `docs` are the same root and give the same ids.
    let path: PathBuf = name.components().filter(|part| *part != Component::CurDir).collect();
    // A root is opened once at the start: one that cannot be read is no folder without documents.
    if metadata.is_dir() {
        fs::read_dir(name).with_context(in_input)?;
        return Ok(Root::Folder(Tree::Folder(path), Patterns::of_root(name)?));
    }
    match Form::of(&path) {
        Some(form) if metadata.is_file() => {
            fs::File::open(name).with_context(in_input)?;
            Ok(Root::File(Location::Path(path), form))
        }
        _ => Err(unknown_kind(name).into()),
    }
}

fn unknown_kind(name: &Path) -> Usage {
    Usage(format!(
        "input {}: unknown kind; give a folder, or a file that ends in {}",
        name.display(),
        Form::ENDINGS
    ))
}

/// An object, or what is below a prefix, which is there as far as something is below it.
fn root_in_bucket(url: &Url, may_be_missing: bool, stores: &mut Stores) -> anyhow::Result<Root> {
    let name = PathBuf::from(url.to_string());
    let form = Form::of(Path::new(url.name())).filter(|_| !url.is_prefix());
    if let Some(form) = form
        && let Some(object) = stores.object(url)?
    {
        return Ok(Root::File(Location::Object(object), form));
    }
    let listing = stores.list(url)?;
    if !listing.is_empty() || url.is_prefix() {
        let patterns = match stores.object(&url.below(IGNORE_FILE))? {
            Some(object) => {
                let name = object.url().to_string();
                let text = io::read_to_string(object.open())
                    .with_context(|| format!("{name}: cannot be read; save it as UTF-8"))?;
                Patterns::of_text(&name, &text)?
            }
            None => Patterns::none()?,
        };
        return Ok(Root::Folder(Tree::Bucket(listing), patterns));
    }
    if form.is_none() && stores.object(url)?.is_some() {
        return Err(unknown_kind(&name).into());
    }
    ensure!(
        may_be_missing,
        "input {url}: nothing is there; check that it exists and that this user may read it"
    );
    Ok(Root::Missing(name))
}

/// In bytes; of what cannot be looked at, none.
fn size(location: &Location) -> u64 {
    match location {
        Location::Path(path) => fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Location::Object(object) => object.bytes(),
    }
}

/// The documents of one root.
enum Documents<'a> {
    One(Option<Found>),
    Rows(RowIter),
    Folder {
        walk: Box<dyn Iterator<Item = Entry> + 'a>,
        base: Arc<Path>,
        /// What ids begin with.
        prefix: String,
        rows: Option<RowIter>,
        reading: &'a Reading,
    },
}

impl<'a> Documents<'a> {
    fn of(root: &'a Root, roots: &'a Roots, reading: &'a Reading, prefixed: bool) -> Self {
        match root {
            Root::Stdin => Documents::Rows(rows::stdin(reading)),
            Root::Missing(_) => Documents::One(None),
            Root::Folder(tree, of_root) => {
                let (name, path) = tree.name();
                let (base, prefix) = if prefixed { (PathBuf::new(), name) } else { (path, String::new()) };
                let walk = tree.walk(&roots.filter, of_root);
                Documents::Folder { walk, base: base.into(), prefix, rows: None, reading }
            }
            Root::File(location, form) => {
                let (parent, name, whole) = match location {
                    Location::Path(path) => {
                        let name = id_of(Path::new(path.file_name().unwrap_or_default()));
                        (path.parent().unwrap_or(Path::new("")).to_owned(), name, id_of(path))
                    }
                    Location::Object(object) => {
                        let url = object.url();
                        (url.parent().into(), url.name().to_owned(), url.to_string())
                    }
                };
                let (base, id) = if prefixed { (PathBuf::new(), whole) } else { (parent, name) };
                match open(location.clone(), size(location), *form, base.into(), id, true, reading) {
                    Ok(rows) => Documents::Rows(rows),
                    Err(found) => Documents::One(Some(found)),
                }
            }
        }
    }
}

/// A file of rows is opened; any other is found, and opened later.
fn open(
    location: Location,
    size: u64,
    form: Form,
    base: Arc<Path>,
    id: String,
    is_root: bool,
    reading: &Reading,
) -> Result<RowIter, Found> {
    match form.kind {
        Kind::Text | Kind::Markup(_) => {
            Err(Found::Raw(Raw::File { id, base, location, begun: None, form, size }))
        }
        Kind::Rows(kind) => {
            rows::open(&location, id, form, kind, is_root, reading).map_err(|failure| match failure.cause {
                DocumentError::Content(ContentError::OwnIndex) => Found::LeftOut(LeftOut::Index),
                _ => Found::Failed(failure),
            })
        }
    }
}

impl Iterator for Documents<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        match self {
            Documents::One(found) => found.take(),
            Documents::Rows(rows) => rows.next(),
            Documents::Folder { walk, base, prefix, rows, reading } => loop {
                if let Some(found) = rows.as_mut().and_then(Iterator::next) {
                    return Some(found);
                }
                match walk.next()? {
                    Entry::File(walk::File { location, below, form, size }) => {
                        let id = id_below(prefix, &below);
                        match open(location, size, form, base.clone(), id, false, reading) {
                            Ok(opened) => *rows = Some(opened),
                            Err(found) => return Some(found),
                        }
                    }
                    Entry::LeftOut(why) => return Some(Found::LeftOut(why)),
                    Entry::Failed(below, place, cause) => {
                        let lost = lost(Path::new(&place), &below, id_below(prefix, &below));
                        return Some(Found::Failed(Failure { place, cause, lost }));
                    }
                }
            },
        }
    }
}

/// The documents of one root; or, where there are none, that.
struct OrNothing<'a> {
    documents: Documents<'a>,
    nothing: Option<Found>,
}

impl Iterator for OrNothing<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let Some(found) = self.documents.next() else { return self.nothing.take() };
        if matches!(found, Found::Raw(_) | Found::Failed(_)) {
            self.nothing = None;
        }
        Some(found)
    }
}

/// What there may have been at a path that cannot be looked at. Its name tells a document from a folder or a file of
/// rows, of which any may have ids of their own.
fn lost(path: &Path, below: &Path, id: String) -> Lost {
    match Form::of(below).map(|form| form.kind) {
        Some(Kind::Text | Kind::Markup(_)) if !path.is_dir() => Lost::Document(id.into()),
        _ if below.as_os_str().is_empty() => Lost::Unknown,
        _ => Lost::Below(id.into()),
    }
}
