//! One run at a time for each output: a lock on a file beside it, which the system gives back when its process ends,
//! however it ends.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;

use crate::report::now;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another run has it.
    #[error("another run holds it ({0}); wait for its end, or stop it")]
    Held(String),
    /// The folder cannot be written, or its file system knows no locks.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl Lock {
    /// Takes the lock, or fails at once.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(path: &Path, mut options: OpenOptions) -> Result<Self, LockError> {
        loop {
            let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    // It is there for people; that it is held is known without it.
                    let _ = file.take(1000).read_to_string(&mut holder);
                    return Err(LockError::Held(holder.trim().to_owned()));
                }
                Err(TryLockError::Error(e)) => return Err(e.into()),
            }
            // Whoever held it may have removed the file since it was opened: then it is another file's lock.
            if !path.metadata().is_ok_and(|there| file.metadata().is_ok_and(|here| is_same(&there, &here))) {
                continue;
            }
            file.set_len(0)?;
            file.write_all(format!("process {}, since {}\n", process::id(), now()).as_bytes())?;
            return Ok(Lock { path: path.to_owned(), _file: file });
        }
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held. A file that stays is no lock.
        let _ = fs::remove_file(&self.path);
    }
}
