//! Reads paths from environment variables.

use std::env;
use std::path::PathBuf;

/// Returns the absolute path in an environment variable; `None` if the variable is unset, empty or relative. A relative path is
/// ignored, because other users may write into the current folder, and a library or a model from there could do harm.
pub fn folder(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Returns the folder for caches of this user; `None` if neither `XDG_CACHE_HOME` nor `HOME` is an absolute path.
pub fn cache() -> Option<PathBuf> {
    folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))
}

/// Returns the absolute paths in an environment variable with a list of folders, such as `PATH`.
pub fn folders(name: &str) -> Vec<PathBuf> {
    let list = env::var_os(name).unwrap_or_default();
    env::split_paths(&list).filter(|path| path.is_absolute()).collect()
}
