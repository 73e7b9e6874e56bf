//! Opens files on this machine. No other module opens a path from a folder of documents.
//!
//! Somebody else may write to that folder while the run reads it. A file that was an ordinary file when the walk found it may
//! be a pipe now, which would block the run forever, or a symlink to a file that must not be read. Therefore the type of the
//! file is checked after the file is open.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::DocumentError;

/// Flags for files. `NONBLOCK` lets the call return at once if the file is a pipe, or if another program has a lease on the
/// file.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// How often a file with a lease is opened again. The first try tells the program with the lease to give it back.
const LEASE_RETRIES: usize = 100;

/// The pause before a file with a lease is opened again.
const LEASE_WAIT: Duration = Duration::from_millis(50);

/// Flags for folders on the way to a file. On Linux, the user needs no right to list such a folder.
#[cfg(target_os = "linux")]
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A file that the user named, or a file below a folder that the user named.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// The folder; empty if the user named the file itself. Symlinks in the path of the folder are always followed.
    folder: Arc<Path>,
    /// The path of the file, relative to the folder.
    below: PathBuf,
    /// Whether symlinks in `below` are followed.
    follow: bool,
}

impl LocalFile {
    /// Returns a file that the user named. Symlinks in its path are followed.
    pub fn named(path: PathBuf) -> Self {
        LocalFile { folder: Path::new("").into(), below: path, follow: true }
    }

    /// Returns a file below a folder.
    pub fn below(folder: Arc<Path>, below: PathBuf, follow: bool) -> Self {
        LocalFile { folder, below, follow }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.below)
    }

    /// Opens the file. This function never waits for a writer of a pipe. It waits a limited time for another program that has a
    /// lease on the file, such as Samba.
    ///
    /// # Errors
    /// The error is [`DocumentError::NotAFile`] if the path names a pipe, a folder or another special file, or a symlink that
    /// must not be followed. The error is [`DocumentError::Unreadable`] if the file cannot be opened.
    pub fn open(&self) -> Result<File, DocumentError> {
        let mut opened = self.try_open();
        for _ in 0..LEASE_RETRIES {
            if !matches!(opened, Err(Errno::AGAIN)) {
                break;
            }
            thread::sleep(LEASE_WAIT);
            opened = self.try_open();
        }
        let file = File::from(opened.map_err(|e| match e {
            Errno::LOOP if !self.follow => DocumentError::NotAFile { found: "a symlink" },
            // Only sockets, and devices without a driver, give this error.
            Errno::NXIO => DocumentError::NotAFile { found: "a socket or a device" },
            e => DocumentError::Unreadable(e.into()),
        })?);
        let kind = file.metadata()?.file_type();
        let found = match () {
            () if kind.is_file() => return Ok(file),
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a pipe",
            () => "a device",
        };
        Err(DocumentError::NotAFile { found })
    }

    fn try_open(&self) -> rustix::io::Result<OwnedFd> {
        if self.follow {
            return rustix::fs::open(self.path(), FILE, Mode::empty());
        }
        self.open_without_symlinks()
    }

    /// Opens the file step by step from the folder, so that no component of `below` can be a symlink.
    fn open_without_symlinks(&self) -> rustix::io::Result<OwnedFd> {
        let parent = self.below.parent().unwrap_or(Path::new(""));
        let name = self.below.file_name().ok_or(Errno::ISDIR)?;
        let mut folder = rustix::fs::openat(CWD, &*self.folder, FOLDER, Mode::empty())?;
        for part in parent {
            folder = rustix::fs::openat(&folder, part, FOLDER | OFlags::NOFOLLOW, Mode::empty())?;
        }
        rustix::fs::openat(&folder, name, FILE | OFlags::NOFOLLOW, Mode::empty())
    }

    /// Returns the size of the file in bytes, without opening it. Returns 0 if the size is unknown.
    pub fn size(&self) -> u64 {
        self.path().metadata().map_or(0, |metadata| metadata.len())
    }
}
