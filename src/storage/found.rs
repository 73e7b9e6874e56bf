//! Tells a missing file from a file that cannot be read. `Path::is_file` and `Path::exists` say "no" for both, so after one read
//! error a run would go on without a file that is there.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

/// Returns whether an error says that there is no file. Any other error leaves that open.
pub fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns whether there is a file at a path.
///
/// # Errors
/// The file system does not say what is there.
pub fn is_file(path: &Path) -> io::Result<bool> {
    Ok(found(path)?.is_some_and(|metadata| metadata.is_file()))
}

/// Returns whether there is a folder at a path.
///
/// # Errors
/// The file system does not say what is there.
pub fn is_folder(path: &Path) -> io::Result<bool> {
    Ok(found(path)?.is_some_and(|metadata| metadata.is_dir()))
}

fn found(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Err(e) if is_absent(&e) => Ok(None),
        metadata => metadata.map(Some),
    }
}
