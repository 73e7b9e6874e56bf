//! The ignore files in the folders of a tree: `.qwen3ignore`, `.ignore` and `.gitignore`. Each excludes files and folders from the
//! folder it stands in downwards.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filter::{Filter, Patterns, Strictness};
use super::local_file::LocalFile;
use super::location::Location;
use crate::error::{DocumentError, IgnoreFileError};
use crate::storage::object::Listing;

/// Maximum size of an ignore file, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// Maximum number of patterns in the ignore files from the top down to a folder. Compiled, a pattern needs about 10 KB of memory.
const PATTERNS_MAX: usize = 10_000;

/// The kinds of ignore files. A pattern of an earlier kind overrules all patterns of later kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IgnoreFile {
    /// `.qwen3ignore`, which is for this tool only.
    Own,
    /// `.ignore`, which is for all programs that search files.
    Search,
    /// `.gitignore`.
    Git,
}

impl IgnoreFile {
    const ALL: [IgnoreFile; 3] = [IgnoreFile::Own, IgnoreFile::Search, IgnoreFile::Git];

    fn name(self) -> &'static str {
        match self {
            IgnoreFile::Own => ".qwen3ignore",
            IgnoreFile::Search => ".ignore",
            IgnoreFile::Git => ".gitignore",
        }
    }

    /// Other programs wrote the files of the other kinds, so what is wrong in them is left out, as Git does it.
    fn strictness(self) -> Strictness {
        if self == IgnoreFile::Own { Strictness::Strict } else { Strictness::Lenient }
    }
}

/// An ignore file that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// The path or the URL of the file.
    pub path: PathBuf,
    pub cause: DocumentError,
}

/// The patterns of the ignore files in one folder.
#[derive(Debug)]
struct FolderPatterns {
    folder: PathBuf,
    /// The files that the folder has, in the order of [`IgnoreFile::ALL`].
    files: Vec<(IgnoreFile, Patterns)>,
}

/// A pattern of an ignore file that excludes a path.
pub struct Excluding<'a> {
    pub kind: IgnoreFile,
    folder: &'a Path,
    pattern: &'a str,
}

impl fmt::Display for Excluding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` in {} excludes it", self.pattern, self.folder.join(self.kind.name()).display())
    }
}

/// The ignore files that count at one place of a walk.
#[derive(Debug, Clone)]
pub struct IgnoreFiles {
    kinds: &'static [IgnoreFile],
    /// The path of the root without symlinks. Empty for a prefix of a bucket.
    top: PathBuf,
    /// From the outermost folder to the innermost one.
    layers: Vec<Arc<FolderPatterns>>,
}

impl IgnoreFiles {
    /// Reads the ignore files at the top of a folder. If the folder lies in a Git repository, also reads `.ignore` and `.gitignore`
    /// of the folders above, up to the top of the repository.
    ///
    /// # Errors
    /// An ignore file cannot be used, or it cannot be said where the repository begins.
    pub fn of_folder(root: &Path, filter: &Filter) -> Result<Self, Unusable> {
        // The path cannot be resolved if this user may not enter a folder above the working directory.
        let top = root.canonicalize().unwrap_or_else(|_| root.to_owned());
        let mut files = IgnoreFiles { kinds: kinds(filter), top: top.clone(), layers: Vec::new() };
        if !filter.no_ignore {
            for folder in in_repository(&top)? {
                files.push(folder.to_owned(), &IgnoreFile::ALL[1..], &|name| {
                    in_folder(folder, name, filter)
                })?;
            }
        }
        files.push(top, files.kinds, &|name| in_folder(root, name, filter))?;
        Ok(files)
    }

    /// Reads the ignore files at the top of a prefix in a bucket.
    ///
    /// # Errors
    /// An ignore file cannot be used.
    pub fn of_prefix(listing: &Listing, filter: &Filter) -> Result<Self, Unusable> {
        let mut files = IgnoreFiles { kinds: kinds(filter), top: PathBuf::new(), layers: Vec::new() };
        files.enter_prefix(listing, "")?;
        Ok(files)
    }

    /// Reads the ignore files of a folder below the root. They count until the walk leaves the folder. `below` is the path of the
    /// folder, relative to the root.
    ///
    /// # Errors
    /// An ignore file cannot be used.
    pub fn enter(&mut self, root: &Arc<Path>, below: &Path, filter: &Filter) -> Result<(), Unusable> {
        self.push(self.top.join(below), self.kinds, &|name| in_root(root, below.join(name), filter))
    }

    /// Reads the ignore files of a folder below a prefix. `folder` is empty or ends in `/`.
    ///
    /// # Errors
    /// An ignore file cannot be used.
    pub fn enter_prefix(&mut self, listing: &Listing, folder: &str) -> Result<(), Unusable> {
        self.push(folder.into(), self.kinds, &|name| {
            Ok(listing.find(&format!("{folder}{name}")).map(Location::Object))
        })
    }

    fn push(
        &mut self,
        folder: PathBuf,
        kinds: &[IgnoreFile],
        find: &dyn Fn(&str) -> Result<Option<Location>, Unusable>,
    ) -> Result<(), Unusable> {
        self.layers.retain(|layer| folder.starts_with(&layer.folder));
        let mut room = PATTERNS_MAX - self.layers.iter().map(|layer| layer.patterns()).sum::<usize>();
        let mut files = Vec::new();
        for &kind in kinds {
            let Some(location) = find(kind.name())? else { continue };
            let unusable = |cause| Unusable { path: location.name(), cause };
            let Some(patterns) = read(&location, kind.strictness(), room).map_err(unusable)? else {
                continue;
            };
            room -= patterns.len();
            files.push((kind, patterns));
        }
        if !files.is_empty() {
            self.layers.push(FolderPatterns { folder, files }.into());
        }
        Ok(())
    }

    /// Returns the pattern that excludes a path. `below` is the path, relative to the root. As in Git, the last pattern that matches
    /// decides, and a deeper file overrules those above it.
    pub fn excludes(&self, below: &Path, is_folder: bool) -> Option<Excluding<'_>> {
        let path = self.top.join(below);
        let verdict = |kind| {
            self.layers.iter().rev().find_map(|layer| {
                let (_, patterns) = layer.files.iter().find(|(there, _)| *there == kind)?;
                let (excludes, pattern) =
                    patterns.verdict(path.strip_prefix(&layer.folder).ok()?, is_folder)?;
                Some((excludes, Excluding { kind, folder: &layer.folder, pattern }))
            })
        };
        let (excludes, excluding) = IgnoreFile::ALL.into_iter().find_map(verdict)?;
        excludes.then_some(excluding)
    }
}

impl FolderPatterns {
    fn patterns(&self) -> usize {
        self.files.iter().map(|(_, patterns)| patterns.len()).sum()
    }
}

fn kinds(filter: &Filter) -> &'static [IgnoreFile] {
    if filter.no_ignore { &IgnoreFile::ALL[..1] } else { &IgnoreFile::ALL }
}

/// Returns the folders above `top` that belong to the same Git repository, from the outermost one. Returns nothing if `top` is the
/// top of a repository, or lies in none.
fn in_repository(top: &Path) -> Result<Vec<&Path>, Unusable> {
    let mut above = Vec::new();
    for folder in top.ancestors() {
        let git = folder.join(".git");
        match git.symlink_metadata() {
            Ok(_) => {
                above.reverse();
                return Ok(above);
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) if e.kind() == ErrorKind::PermissionDenied => break,
            Err(e) => return Err(Unusable { path: git, cause: DocumentError::Unreadable(e) }),
        }
        above.extend(folder.parent());
    }
    Ok(Vec::new())
}

fn in_folder(folder: &Path, name: &str, filter: &Filter) -> Result<Option<Location>, Unusable> {
    in_root(&folder.into(), name.into(), filter)
}

/// Returns the file, or `None` if there is none.
///
/// # Errors
/// It cannot be said whether there is one.
fn in_root(root: &Arc<Path>, below: PathBuf, filter: &Filter) -> Result<Option<Location>, Unusable> {
    let path = root.join(&below);
    match fs::symlink_metadata(&path) {
        // No file of a folder that denies this can be opened, so each of its documents is a failure of its own.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(e) => Err(Unusable { path, cause: DocumentError::Unreadable(e) }),
        Ok(_) => Ok(Some(Location::File(LocalFile::below(root.clone(), below, filter.follow)))),
    }
}

/// Reads an ignore file with at most `room` patterns. Returns `None` for a file of another program that is no ordinary file, which
/// Git does not read either.
fn read(location: &Location, strictness: Strictness, room: usize) -> Result<Option<Patterns>, DocumentError> {
    let file = match (location.open(), strictness) {
        (Err(DocumentError::NotAFile { .. }), Strictness::Lenient) => return Ok(None),
        (Err(DocumentError::NotAFile { found }), Strictness::Strict) => {
            return Err(IgnoreFileError::NotAFile { found }.into());
        }
        (file, _) => file?,
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(IgnoreFileError::TooLarge { max: BYTES_MAX }.into());
    }
    let text = match strictness {
        Strictness::Strict => String::from_utf8(bytes).map_err(|_| IgnoreFileError::NotUtf8)?,
        Strictness::Lenient => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let text = text.trim_start_matches('\u{feff}');
    let is_pattern = |line: &&str| !line.is_empty() && !line.starts_with('#');
    if text.lines().filter(is_pattern).count() > room {
        return Err(IgnoreFileError::TooManyPatterns { max: PATTERNS_MAX }.into());
    }
    Ok(Some(Patterns::of_file(text, strictness)?))
}
