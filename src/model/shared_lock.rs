//! Locks a file of a cache, and waits while another program holds the lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;

/// Locks the file at `path`, and makes the file and its folder if they do not exist. Calls `on_wait` if another program holds
/// the lock. The lock is released when the returned file is closed or the process ends.
///
/// # Errors
/// The file cannot be made or locked.
pub fn lock(path: &Path, on_wait: impl FnOnce()) -> io::Result<File> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            on_wait();
            file.lock()?;
        }
        // If the file system has no locks, the run goes on without a lock.
        Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => {}
        Err(TryLockError::Error(e)) => return Err(e),
    }
    Ok(file)
}
