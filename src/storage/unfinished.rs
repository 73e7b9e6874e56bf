//! Makes the folders of unfinished work, and removes those that killed runs have left.

use std::fs;
use std::io;
use std::path::Path;

use tempfile::{Builder, TempDir};

use super::lock::Lock;

/// Makes a folder in `parent`. Its name starts with `prefix`. Removes the folders of killed runs with this prefix first, unless
/// there is no lock: then another run may be using them.
///
/// # Errors
/// `parent` cannot be read or written.
pub fn make_folder(parent: &Path, prefix: &str, lock: Option<&Lock>) -> io::Result<TempDir> {
    if lock.is_some() {
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
                && entry.file_type()?.is_dir()
            {
                fs::remove_dir_all(entry.path())?;
            }
        }
    }
    Builder::new().prefix(prefix).tempdir_in(parent)
}
