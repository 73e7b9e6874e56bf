//! Which files of a folder are taken: patterns as in `.gitignore` (the only user of ignore).

use std::path::Path;

use anyhow::anyhow;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::Usage;

/// A file at the top of a root with patterns of what to leave out.
pub const IGNORE_FILE: &str = ".qwen3ignore";

/// Patterns as in `.gitignore`: `*.md` at any depth, `/notes` at the top, `drafts/` a folder.
#[derive(Debug, Clone)]
pub struct Patterns(Gitignore);

impl Patterns {
    fn from_option(option: &str, globs: &[String]) -> Result<Self, Usage> {
        let mut builder = builder();
        for glob in globs {
            builder
                .add_line(None, glob)
                .map_err(|e| Usage(format!("{option} {glob}: {e}; patterns are those of .gitignore")))?;
        }
        let patterns = builder.build();
        patterns.map(Patterns).map_err(|e| Usage(format!("{option}: {e}; patterns are those of .gitignore")))
    }

    /// The patterns of a root's own file; none where it has no such file.
    ///
    /// # Errors
    /// It is there and cannot be read or understood.
    pub fn of_root(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(IGNORE_FILE);
        let mut builder = builder();
        let error = if path.symlink_metadata().is_ok() { builder.add(&path) } else { None };
        match error {
            Some(e) => Err(anyhow!("{}: {e}; patterns are those of .gitignore", path.display())),
            None => Ok(Patterns(builder.build()?)),
        }
    }

    /// That leave nothing out.
    pub fn none() -> anyhow::Result<Self> {
        Ok(Patterns(builder().build()?))
    }

    /// The patterns of such a file that is elsewhere.
    ///
    /// # Errors
    /// They cannot be understood; `name` is what messages call the file.
    pub fn of_text(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut builder = builder();
        for line in text.trim_start_matches('\u{feff}').lines() {
            let added = builder.add_line(None, line);
            added.map_err(|e| anyhow!("{name}: {e}; patterns are those of .gitignore"))?;
        }
        Ok(Patterns(builder.build()?))
    }

    fn name(&self, below: &Path, is_folder: bool) -> bool {
        self.0.matched(below, is_folder).is_ignore()
    }
}

/// For paths below a root. A bracket that is not closed is a slip, not a name.
fn builder() -> GitignoreBuilder {
    let mut builder = GitignoreBuilder::new("");
    builder.allow_unclosed_class(false);
    builder
}

/// What the walk takes and leaves out, as the user asked.
#[derive(Debug, Clone)]
pub struct Filter {
    include: Option<Patterns>,
    exclude: Patterns,
    /// Take names that start with a dot.
    pub hidden: bool,
    /// Follow links.
    pub follow: bool,
}

impl Filter {
    /// `include` is everything where it is empty.
    ///
    /// # Errors
    /// [`Usage`] for a pattern that cannot be understood.
    pub fn new(include: &[String], exclude: &[String], hidden: bool, follow: bool) -> Result<Self, Usage> {
        let include =
            if include.is_empty() { None } else { Some(Patterns::from_option("--include", include)?) };
        Ok(Filter { include, exclude: Patterns::from_option("--exclude", exclude)?, hidden, follow })
    }

    /// Whether a file or folder below a root is left out by a pattern, of the user's or of the root's own.
    pub fn excludes(&self, of_root: &Patterns, below: &Path, is_folder: bool) -> bool {
        [&self.exclude, of_root].iter().any(|patterns| patterns.name(below, is_folder))
    }

    /// Whether a file is asked for, by its own name or its folder's: `None` where none is.
    pub fn includes(&self, below: &Path) -> Option<bool> {
        Some(self.include.as_ref()?.0.matched_path_or_any_parents(below, false).is_ignore())
    }

    /// Whether a file is asked for by its own name, so that it is taken whatever it ends in.
    pub fn names(&self, below: &Path) -> bool {
        self.include.as_ref().is_some_and(|include| include.name(below, false))
    }
}
