//! Selects files below a folder. The patterns for the selection have the syntax of `.gitignore`. No other module uses the
//! crate `ignore`.

use std::fmt::Display;
use std::path::Path;

use anyhow::anyhow;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Name of a file of patterns at the top of a root. Files and folders that match a pattern are skipped.
pub const IGNORE_FILE: &str = ".qwen3ignore";

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

    /// Reads the patterns of the [`IGNORE_FILE`] in a root. If the root has no such file, the returned patterns match
    /// nothing.
    ///
    /// # Errors
    /// The file exists and cannot be read, or a pattern is not valid.
    pub fn of_root(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(IGNORE_FILE);
        let mut builder = builder();
        let error = if path.symlink_metadata().is_ok() { builder.add(&path) } else { None };
        match error {
            Some(e) => Err(unusable(&path.display(), &e)),
            None => Ok(Patterns(builder.build()?)),
        }
    }

    /// Returns patterns that match nothing.
    pub fn none() -> anyhow::Result<Self> {
        Ok(Patterns(builder().build()?))
    }

    /// Parses the content of an [`IGNORE_FILE`]. `name` is the name of the file in messages.
    ///
    /// # Errors
    /// A pattern is not valid.
    pub fn of_text(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut builder = builder();
        for line in text.trim_start_matches('\u{feff}').lines() {
            builder.add_line(None, line).map_err(|e| unusable(&name, &e))?;
        }
        Ok(Patterns(builder.build()?))
    }

    fn matches(&self, below: &Path, is_folder: bool) -> bool {
        self.0.matched(below, is_folder).is_ignore()
    }
}

fn unusable(file: &dyn Display, error: &ignore::Error) -> anyhow::Error {
    anyhow!("{file}: cannot be read as patterns ({error}); write them as in .gitignore")
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
}

impl Filter {
    /// Parses the patterns of the options `--include` and `--exclude`. If `include` is empty, every file is included.
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
        Ok(Filter { include, exclude: Patterns::of_list(PatternList::Exclude, exclude)?, hidden, follow })
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
