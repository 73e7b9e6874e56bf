//! Allows only one run at a time per output. A run locks a file beside the output. The system releases the lock when the
//! process ends, even if the process is killed.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;

use crate::console::now;

/// How long a process waits before it reads the line of the process that holds the lock. The holder writes the line only after
/// it has locked the file, so an immediate read may find no line.
const HOLDER_DELAY: Duration = Duration::from_millis(100);

/// A lock on an output. Dropping the value releases the lock.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    /// `true` if the previous holder left the lock file behind, because the holder died or called [`Lock::leave`].
    pub was_left: bool,
    is_left: bool,
}

/// The reason why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock. The text names the process, and the time when the process took the lock.
    #[error("another run holds it ({0}); wait until it ends, or stop it")]
    Held(String),
    /// The folder of the lock file cannot be written, or the file system has no locks.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl LockError {
    /// Returns whether the file system has no locks.
    pub fn is_unsupported(&self) -> bool {
        let LockError::Failed(e) = self else { return false };
        e.kind() == io::ErrorKind::Unsupported || e.raw_os_error() == Some(Errno::NOLCK.raw_os_error())
    }
}

impl Lock {
    /// Releases the lock but leaves the lock file, as if this process had died. The file tells the next holder that the work is
    /// unfinished.
    pub fn leave(mut self) {
        self.is_left = true;
    }

    /// Makes the lock file at `path` with `options`, and locks the file. If another process holds the lock, this function fails,
    /// and does not wait until the other process releases the lock.
    ///
    /// # Errors
    /// Another process holds the lock, or the lock file cannot be made or locked.
    pub fn take(path: &Path, mut options: OpenOptions) -> Result<Self, LockError> {
        loop {
            let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    // The holder may have locked the file only a moment ago, and may not have written its line yet.
                    thread::sleep(HOLDER_DELAY);
                    let mut holder = String::new();
                    // The line is only for the message. The message is correct without the line too.
                    let _ = file.take(1000).read_to_string(&mut holder);
                    return Err(LockError::Held(holder.trim().to_owned()));
                }
                Err(TryLockError::Error(e)) => return Err(e.into()),
            }
            // The previous holder may have removed the lock file after this process opened it. Then the lock is useless, because
            // other processes lock a new file.
            let here = file.metadata()?;
            match path.metadata() {
                Ok(there) if is_same(&there, &here) => {}
                Ok(_) => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e.into()),
            }
            // From this line on, dropping `lock` removes the file.
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
            // The file is still locked here, so no other process holds this lock. If the file cannot be removed, the next run
            // locks the same file.
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
    fn a_second_process_is_told_who_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "process 1, since long ago, with much to say about it\n").unwrap();
        let lock = Lock::take(&path, options()).unwrap();
        let told = Lock::take(&path, options()).unwrap_err().to_string();
        let says = format!("another run holds it (process {}, since 2", process::id());
        assert!(told.starts_with(&says) && told.ends_with("Z); wait until it ends, or stop it"), "{told}");
        drop(lock);
        assert!(!path.exists());
        drop(Lock::take(&path, options()).unwrap());
    }

    #[test]
    fn a_holder_that_writes_its_line_late_is_named_too() {
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
