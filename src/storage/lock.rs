//! Allows only one run at a time per output. A run locks a file beside the output. The system releases the lock when the
//! process ends, even if the process is killed.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::found::is_absent;
use crate::console::now;

/// How long a process waits before it reads the line of the process that holds the lock. The holder writes the line only after
/// it has locked the file, so an immediate read may find no line.
const HOLDER_DELAY: Duration = Duration::from_millis(100);

/// Limit on the bytes that are read of a lock file.
const BYTES_MAX: u64 = 1000;

/// A lock on an output. Dropping the value releases the lock.
///
/// The first line of the lock file names the holder. A second line is a note for the next holder. A lock file with a note stays
/// when its holder fails or dies.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    holder: String,
    note: Option<String>,
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
    /// Returns the note of this holder or, if it has left none yet, of the holder before it.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Replaces the note. A note is one line.
    ///
    /// # Errors
    /// The lock file cannot be written.
    pub fn set_note(&mut self, note: Option<String>) -> io::Result<()> {
        self.note = note;
        self.write()
    }

    /// Releases the lock and removes the note, because the work is done.
    pub fn release(mut self) {
        self.note = None;
    }

    fn write(&self) -> io::Result<()> {
        let note = self.note.as_ref().map_or(String::new(), |note| format!("{note}\n"));
        let text = format!("{}\n{note}", self.holder);
        // The old text is overwritten before the file is cut, so that no moment loses the note.
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }

    /// Makes the lock file at `path` with `options`, and locks the file. Opens no symlink. If another process holds the lock, this
    /// function fails, and does not wait until the other process releases the lock.
    ///
    /// # Errors
    /// Another process holds the lock, or the lock file cannot be made or locked.
    pub fn take(path: &Path, mut options: OpenOptions) -> Result<Self, LockError> {
        // Another user with access to the folder could have made a symlink with this name.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        loop {
            let file = options.read(true).write(true).create(true).truncate(false).open(path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    // The holder may have locked the file only a moment ago, and may not have written its line yet.
                    thread::sleep(HOLDER_DELAY);
                    // The line is only for the message. The message is correct without the line too.
                    let [holder, _] = lines(&file).unwrap_or_default();
                    return Err(LockError::Held(holder));
                }
                Err(TryLockError::Error(e)) => return Err(e.into()),
            }
            // The previous holder may have removed the lock file after this process opened it. Then the lock is useless, because
            // other processes lock a new file.
            let here = file.metadata()?;
            match path.metadata() {
                Ok(there) if is_same(&there, &here) => {}
                Ok(_) => continue,
                Err(e) if is_absent(&e) => continue,
                Err(e) => return Err(e.into()),
            }
            let [_, note] = lines(&file)?;
            let holder = format!("process {}, since {}", process::id(), now());
            // From this line on, dropping `lock` removes the file, unless there is a note.
            let note = Some(note).filter(|note| !note.is_empty());
            let lock = Lock { path: path.to_owned(), file, holder, note };
            lock.write()?;
            return Ok(lock);
        }
    }
}

/// Returns the first two lines of a lock file.
fn lines(file: &File) -> io::Result<[String; 2]> {
    let mut text = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.trim().to_owned());
    Ok([(); 2].map(|()| lines.next().unwrap_or_default()))
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.note.is_none() {
            // The file is still locked here, so no other process holds this lock. If the file cannot be removed, the next run
            // locks the same file.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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
    fn a_note_stays_until_the_work_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let mut lock = Lock::take(&path, options()).unwrap();
        assert_eq!(lock.note(), None);
        lock.set_note(Some("a long note for the next holder".to_owned())).unwrap();
        lock.set_note(Some("note".to_owned())).unwrap();
        drop(lock);
        // A holder that fails passes the note on.
        drop(Lock::take(&path, options()).unwrap());
        let lock = Lock::take(&path, options()).unwrap();
        assert_eq!(lock.note(), Some("note"));
        let told = Lock::take(&path, options()).unwrap_err().to_string();
        assert!(!told.contains("note"), "{told}");
        lock.release();
        assert!(!path.exists());
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
