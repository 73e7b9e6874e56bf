//! Selects files below a folder. The patterns for the selection have the syntax of `.gitignore`. No other module uses the
//! crate `ignore`.

use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::format::FileFormat;
use crate::error::IgnoreFileError;

/// What happens to a line of an ignore file that is no valid pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// The line is an error.
    Strict,
    /// The line matches nothing.
    Lenient,
}

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

    /// Parses the content of an ignore file.
    ///
    /// # Errors
    /// A pattern is not valid, and `strictness` does not leave it out.
    pub fn of_file(text: &str, strictness: Strictness) -> Result<Self, IgnoreFileError> {
        let is_strict = strictness == Strictness::Strict;
        let mut builder = builder();
        builder.allow_unclosed_class(!is_strict);
        for (at, line) in text.lines().enumerate() {
            match builder.add_line(None, line) {
                Err(e) if is_strict => return Err(IgnoreFileError::Line { line: at + 1, cause: cause(&e) }),
                _ => {}
            }
        }
        Ok(Patterns(builder.build().map_err(|e| IgnoreFileError::Patterns { cause: cause(&e) })?))
    }

    /// Returns the number of patterns.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the patterns exclude a path, and the pattern that decides. Returns `None` if no pattern matches it.
    pub fn verdict(&self, path: &Path, is_folder: bool) -> Option<(bool, &str)> {
        match self.0.matched(path, is_folder) {
            Match::Ignore(pattern) => Some((true, pattern.original())),
            Match::Whitelist(pattern) => Some((false, pattern.original())),
            Match::None => None,
        }
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
    /// Whether `.ignore` and `.gitignore` are left unread.
    pub no_ignore: bool,
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
        Ok(Filter { include, exclude, hidden, follow, no_ignore: false, pictures: false })
    }

    /// Returns the format of a file that is read. Returns `None` for an unknown file extension.
    pub fn format(&self, path: &Path) -> Option<FileFormat> {
        FileFormat::of(path).or_else(|| FileFormat::picture(path).filter(|_| self.pictures))
    }

    /// Returns the `--exclude` pattern that excludes a path. `below` is the path, relative to the root.
    pub fn excludes(&self, below: &Path, is_folder: bool) -> Option<&str> {
        let (excludes, pattern) = self.exclude.verdict(below, is_folder)?;
        excludes.then_some(pattern)
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
