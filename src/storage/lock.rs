//! One run at a time for each output: a lock on a file beside it, which the system gives back when its process ends,
//! however it ends.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use crate::console::now;

/// Longer than it takes from the lock to the line in it.
const MOMENT: Duration = Duration::from_millis(100);

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    /// Whether a process has had it that died before its end.
    pub was_left: bool,
    is_left: bool,
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
    /// Gives it back as a process does that dies: the next one is to know that the end was not reached.
    pub fn leave(mut self) {
        self.is_left = true;
    }

    /// Takes the lock, or fails at once.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(path: &Path, mut options: OpenOptions) -> Result<Self, LockError> {
        loop {
            let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    // Whoever has just taken it has yet to write who it is.
                    thread::sleep(MOMENT);
                    let mut holder = String::new();
                    // It is there for people; that it is held is known without it.
                    let _ = file.take(1000).read_to_string(&mut holder);
                    return Err(LockError::Held(holder.trim().to_owned()));
                }
                Err(TryLockError::Error(e)) => return Err(e.into()),
            }
            // Whoever held it may have removed the file since it was opened: then it is another file's lock.
            let here = file.metadata()?;
            if !path.metadata().is_ok_and(|there| is_same(&there, &here)) {
                continue;
            }
            // Removed from here on, whatever comes.
            let mut lock = Lock { path: path.to_owned(), file, was_left: here.len() > 0, is_left: false };
            lock.file.set_len(0)?;
            lock.file.write_all(format!("process {}, since {}\n", process::id(), now()).as_bytes())?;
            return Ok(lock);
        }
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.is_left {
            // While it is still held. A file that stays is no lock.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> OpenOptions {
        OpenOptions::new()
    }

    #[test]
    fn one_has_it_and_another_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "process 1, since long ago, with much to say about it\n").unwrap();
        let lock = Lock::take(&path, options()).unwrap();
        let told = Lock::take(&path, options()).unwrap_err().to_string();
        let says = format!("another run holds it (process {}, since 2", process::id());
        assert!(told.starts_with(&says) && told.ends_with("Z); wait for its end, or stop it"), "{told}");
        drop(lock);
        assert!(!path.exists());
        drop(Lock::take(&path, options()).unwrap());
    }

    #[test]
    fn who_has_just_taken_it_is_told_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut file = File::create(&path).unwrap();
        file.lock().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(10));
                file.write_all(b"process 7, since today\n").unwrap();
            });
            let told = Lock::take(&path, options()).unwrap_err();
            assert!(matches!(&told, LockError::Held(holder) if holder == "process 7, since today"), "{told}");
        });
    }
}
