//! Selects files below a folder. The patterns for the selection have the syntax of `.gitignore`. No other module uses the
//! crate `ignore`.

use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{anyhow, ensure};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::format::FileFormat;
use super::local_file::LocalFile;
use crate::error::DocumentError;

/// Name of a file of patterns at the top of a root. Files and folders that match a pattern are skipped.
pub const IGNORE_FILE: &str = ".qwen3ignore";

/// Maximum size of an [`IGNORE_FILE`], in bytes.
const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// Maximum number of patterns in an [`IGNORE_FILE`]. Compiled, a pattern needs about 10 KB of memory.
const PATTERNS_MAX: usize = 10_000;

/// Patterns in the syntax of `.gitignore`: `*.md` matches at any depth, `/notes` matches only at the top, and `drafts/`
/// matches only folders.
#[derive(Debug, Clone)]
pub struct Patterns(Gitignore);

impl Patterns {
    fn of_list(list: PatternList, globs: &[String]) -> Result<Self, PatternError> {
        let mut builder = builder();
        for glob in globs {
            builder.add_line(None, glob).map_err(|e| PatternError::new(list, glob, &e))?;
        }
        let patterns = builder.build().map_err(|e| PatternError::new(list, &globs.join(" "), &e))?;
        Ok(Patterns(patterns))
    }

    /// Reads the patterns of the [`IGNORE_FILE`] in a folder. If the folder has no such file, the returned patterns match
    /// nothing. `follow` says whether the file may be a symlink.
    ///
    /// # Errors
    /// The errors of [`Patterns::read`]; the file cannot be opened, or is not an ordinary file.
    pub fn of_folder(folder: &Path, follow: bool) -> anyhow::Result<Self> {
        let file = LocalFile::below(folder.into(), IGNORE_FILE.into(), follow);
        let name = file.path().display().to_string();
        let unreadable = |e| anyhow::Error::new(DocumentError::Unreadable(e)).context(name.clone());
        match file.open() {
            Ok(file) => Patterns::read(&name, file),
            Err(DocumentError::Unreadable(e)) if e.kind() == ErrorKind::NotFound => {
                match file.path().symlink_metadata() {
                    Err(e) if e.kind() == ErrorKind::NotFound => Patterns::none(),
                    // A symlink to nothing: its patterns may be on a disk that is not mounted.
                    Ok(_) => Err(unreadable(e)),
                    Err(e) => Err(unreadable(e)),
                }
            }
            Err(DocumentError::NotAFile { found }) => {
                Err(anyhow!("{name}: is {found}, not a file; replace it by a file of patterns"))
            }
            Err(e) => Err(anyhow::Error::new(e).context(name)),
        }
    }

    /// Returns patterns that match nothing.
    pub fn none() -> anyhow::Result<Self> {
        Ok(Patterns(builder().build()?))
    }

    /// Reads the content of an [`IGNORE_FILE`]. `name` is the name of the file in messages.
    ///
    /// # Errors
    /// The file cannot be read, is too large, is not UTF-8 or has too many patterns, or a pattern is not valid.
    pub fn read(name: &str, file: impl Read) -> anyhow::Result<Self> {
        let mut bytes = Vec::new();
        let read = file.take(IGNORE_FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|e| anyhow::Error::new(DocumentError::from(e)).context(name.to_owned()))?;
        ensure!(
            bytes.len() as u64 <= IGNORE_FILE_BYTES_MAX,
            "{name}: is larger than {} MiB; write fewer patterns",
            IGNORE_FILE_BYTES_MAX >> 20
        );
        let text = String::from_utf8(bytes).map_err(|_| anyhow!("{name}: is not UTF-8; save it as UTF-8"))?;
        let text = text.trim_start_matches('\u{feff}');
        let is_pattern = |line: &&str| !line.is_empty() && !line.starts_with('#');
        ensure!(
            text.lines().filter(is_pattern).count() <= PATTERNS_MAX,
            "{name}: has more than {PATTERNS_MAX} patterns; write fewer"
        );
        let mut builder = builder();
        let invalid = |place: &str, e: &ignore::Error| {
            anyhow!("{name}: {place}{}; write patterns as in .gitignore", cause(e))
        };
        for (at, line) in text.lines().enumerate() {
            builder.add_line(None, line).map_err(|e| invalid(&format!("line {}: ", at + 1), &e))?;
        }
        Ok(Patterns(builder.build().map_err(|e| invalid("", &e))?))
    }

    fn matches(&self, below: &Path, is_folder: bool) -> bool {
        self.0.matched(below, is_folder).is_ignore()
    }
}

/// Returns the cause of an error without the pattern, which may be as long as a file.
fn cause(error: &ignore::Error) -> String {
    match error {
        ignore::Error::Glob { err, .. } => err.clone(),
        error => error.to_string(),
    }
}

/// A list of patterns in a [`Filter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatternList {
    /// The patterns of the files to read.
    Include,
    /// The patterns of the files and folders to skip.
    Exclude,
}

/// The error for a pattern that is not valid.
#[derive(Debug, thiserror::Error)]
#[error("{pattern}: not a valid pattern ({cause})")]
pub struct PatternError {
    /// The list that has the pattern.
    pub list: PatternList,
    pattern: String,
    cause: String,
}

impl PatternError {
    fn new(list: PatternList, pattern: &str, cause: &ignore::Error) -> Self {
        PatternError { list, pattern: pattern.to_owned(), cause: cause.to_string() }
    }
}

/// Returns a builder of patterns for paths relative to a root. An unclosed bracket in a pattern is an error, because the
/// bracket is more likely a typing mistake than part of a file name.
fn builder() -> GitignoreBuilder {
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(false);
    builder
}

/// The options that select files and folders below a root.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<Patterns>,
    exclude: Patterns,
    /// Whether files and folders are read even if their names start with a dot.
    pub hidden: bool,
    /// Whether symlinks are followed.
    pub follow: bool,
    /// Whether pictures are read.
    pub pictures: bool,
}

impl Filter {
    /// Parses the patterns of the options `--include` and `--exclude`. If `include` is empty, every file is included. Pictures are
    /// not read.
    ///
    /// # Errors
    /// A pattern is not valid.
    pub fn new(
        include: &[String],
        exclude: &[String],
        hidden: bool,
        follow: bool,
    ) -> Result<Self, PatternError> {
        let has_include = !include.is_empty();
        let include = has_include.then(|| Patterns::of_list(PatternList::Include, include)).transpose()?;
        let exclude = Patterns::of_list(PatternList::Exclude, exclude)?;
        Ok(Filter { include, exclude, hidden, follow, pictures: false })
    }

    /// Returns the format of a file that is read. Returns `None` for an unknown file extension.
    pub fn format(&self, path: &Path) -> Option<FileFormat> {
        FileFormat::of(path).or_else(|| FileFormat::picture(path).filter(|_| self.pictures))
    }

    /// Returns whether an `--exclude` pattern or a pattern in `of_root` excludes a path. `of_root` contains the patterns of
    /// the root's `.qwen3ignore`. `below` is the path, relative to the root.
    pub fn excludes(&self, of_root: &Patterns, below: &Path, is_folder: bool) -> bool {
        [&self.exclude, of_root].iter().any(|patterns| patterns.matches(below, is_folder))
    }

    /// Returns whether an `--include` pattern matches a file or a folder that contains the file. Returns `None` if there are
    /// no `--include` patterns.
    pub fn includes(&self, below: &Path) -> Option<bool> {
        Some(self.include.as_ref()?.0.matched_path_or_any_parents(below, false).is_ignore())
    }

    /// Returns whether an `--include` pattern matches the file itself. A file that a pattern matches is read even if the
    /// file extension is unknown.
    pub fn names(&self, below: &Path) -> bool {
        self.include.as_ref().is_some_and(|include| include.matches(below, false))
    }
}
