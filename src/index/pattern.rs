//! Finds the paths that match a pattern such as `parts/*.parquet`. Only this module uses globset.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Component::CurDir;
use std::path::{Path, PathBuf};

use anyhow::Context;
use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use crate::error::Usage;

/// The part of a pattern between two slashes.
enum PatternPart {
    /// The exact name of a file or folder, or `/` or `..`.
    Name(PathBuf),
    /// A pattern for names, such as `*.parquet`.
    Names(GlobMatcher),
    /// `**`, which matches a folder and all folders below it.
    Folders,
}

/// Returns whether a name contains a character that has a special meaning in a pattern.
pub fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// Returns the sorted paths that match a pattern. `*`, `?` and `[…]` match within a name; `**` matches a folder and the folders
/// at any depth below it.
///
/// # Errors
/// [`Usage`] if the pattern is invalid; an I/O error if a folder cannot be read.
pub fn matching(pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let components = Path::new(pattern).components().filter(|component| *component != CurDir);
    let components = components.map(|component| parse(component.as_ref())).collect::<Result<Vec<_>, _>>();
    let components = components.map_err(|e| {
        Usage(format!("index {pattern}: is not a pattern ({}); close each [ with a ]", e.kind()))
    })?;
    let mut found = vec![PathBuf::new()];
    for component in &components {
        let next = found.iter().map(|folder| component.below(folder));
        let next: anyhow::Result<Vec<Vec<PathBuf>>> = next.collect();
        found = next.with_context(|| format!("index {pattern}"))?.concat();
    }
    found.retain(|path| path.exists());
    found.sort();
    found.dedup();
    Ok(found)
}

fn parse(component: &Path) -> Result<PatternPart, globset::Error> {
    match component.to_str().filter(|text| is_pattern(text)) {
        None => Ok(PatternPart::Name(component.to_owned())),
        Some("**") => Ok(PatternPart::Folders),
        Some(text) => {
            // These characters have a special meaning for globset, but not in the patterns of this tool.
            let text = text.replace('\\', r"\\").replace('{', r"\{").replace('}', r"\}");
            Ok(PatternPart::Names(GlobBuilder::new(&text).backslash_escape(true).build()?.compile_matcher()))
        }
    }
}

impl PatternPart {
    /// Returns the matching paths in a folder. An empty `folder` means the current folder.
    fn below(&self, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
        let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        match self {
            PatternPart::Name(name) => Ok(vec![folder.join(name)]),
            _ if !listed.is_dir() => Ok(Vec::new()),
            PatternPart::Names(names) => {
                let entries = fs::read_dir(listed).and_then(Iterator::collect::<io::Result<Vec<_>>>);
                let entries = entries.with_context(|| format!("folder {}", listed.display()))?;
                let found = entries.iter().map(DirEntry::file_name).filter(|name| names.is_match(name));
                Ok(found.map(|name| folder.join(name)).collect())
            }
            PatternPart::Folders => {
                let mut found = Vec::new();
                for entry in WalkDir::new(listed).follow_links(true) {
                    match entry {
                        Ok(entry) if entry.file_type().is_dir() => {
                            found.push(folder.join(entry.path().strip_prefix(listed)?));
                        }
                        // A symlink to a folder that contains the symlink is skipped, and so is a broken symlink.
                        Err(e) if e.loop_ancestor().is_some() || e.path().is_some_and(Path::is_symlink) => {}
                        other => drop(other?),
                    }
                }
                Ok(found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.parquet",
            ".b.parquet",
            "[ab].parquet",
            "{c}1.parquet",
            "notes.txt",
            "p/x.parquet",
            "p/q/x.parquet",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(".", folder.path().join("p/up")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("p/broken")).unwrap();
        for (pattern, expected) in [
            ("*.parquet", &[".b.parquet", "[ab].parquet", "a.parquet", "{c}1.parquet"][..]),
            ("[ab].parquet", &["a.parquet"]),
            ("[!b].parquet", &["a.parquet"]),
            ("[[]ab].*", &["[ab].parquet"]),
            ("{c}?.parquet", &["{c}1.parquet"]),
            ("?.parquet", &["a.parquet"]),
            ("**/x.parquet", &["p/q/x.parquet", "p/x.parquet"]),
            ("p/**/x.parquet", &["p/q/x.parquet", "p/x.parquet"]),
            ("*/*.parquet", &["p/x.parquet"]),
            ("p/../[a]*", &["p/../a.parquet"]),
            ("a.parquet/*", &[]),
            ("none/*.parquet", &[]),
            ("*.txt/x", &[]),
        ] {
            let found = matching(folder.path().join(pattern).to_str().unwrap()).unwrap();
            let expected: Vec<PathBuf> = expected.iter().map(|name| folder.path().join(name)).collect();
            assert_eq!(found, expected, "{pattern}");
        }
        // If the pattern is relative, the paths are relative too, without a leading `./`.
        for pattern in ["src/index/[p]attern.rs", "./src/index/[p]attern.rs", "s*/**/[p]attern.rs"] {
            assert_eq!(matching(pattern).unwrap(), [Path::new("src/index/pattern.rs")], "{pattern}");
        }
        let error = matching("parts/[ab.parquet").unwrap_err().to_string();
        assert!(error.starts_with("index parts/[ab.parquet: is not a pattern (unclosed"), "{error}");
    }
}
