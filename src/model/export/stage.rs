//! Puts exports in place: a folder for unfinished exports, and a lock, since one run at a time exports into a model folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;
use tempfile::TempDir;

use super::event::{ExportEvent, OnExport};
use crate::interrupt;
use crate::storage::lock::{Lock, LockError};
use crate::storage::unfinished;

/// The folder of the graphs in a model folder, as in repositories of the hub.
const GRAPHS: &str = "onnx";

/// The name of the lock file in the folder of the graphs.
const LOCK: &str = ".export.lock";

/// The start of the name of a folder for unfinished exports.
const UNFINISHED: &str = ".export-";

/// How long a run waits before it tries again to take the lock.
const RETRY_EVERY: Duration = Duration::from_millis(200);

/// The folder for the unfinished exports of a run. Dropping the value removes the folder and releases the lock.
pub struct Stage {
    unfinished: TempDir,
    /// The folder of the graphs.
    folder: PathBuf,
    _lock: Option<Lock>,
}

/// An unfinished file, and the place where it will be put.
pub struct StagedFile {
    pub path: PathBuf,
    place: PathBuf,
}

impl Stage {
    /// Waits for the lock on a model folder, and removes the unfinished exports of killed runs.
    ///
    /// # Errors
    /// The folder cannot be made or written, or a signal has arrived.
    pub fn open(folder: &Path, on_event: OnExport) -> anyhow::Result<Self> {
        let graphs = folder.join(GRAPHS);
        let not_writable = |e| anyhow!("{}: cannot be written: {e}; name another folder", graphs.display());
        fs::create_dir_all(&graphs).map_err(not_writable)?;
        let lock = take_lock(&graphs, on_event)?;
        let unfinished = unfinished::make_folder(&graphs, UNFINISHED, lock.as_ref()).map_err(not_writable)?;
        Ok(Stage { unfinished, folder: graphs, _lock: lock })
    }

    /// Returns a file that will be put in place under `name`.
    pub fn file(&self, name: &str) -> StagedFile {
        StagedFile { path: self.unfinished.path().join(name), place: self.folder.join(name) }
    }

    /// Puts an export in place. The data file comes first, so that a graph in place always has its data. An old graph is removed
    /// before its data file is replaced.
    ///
    /// # Errors
    /// A file cannot be flushed or moved.
    pub fn publish(&self, graph: &StagedFile, data: &StagedFile) -> anyhow::Result<()> {
        let publish = || -> io::Result<()> {
            if graph.place.exists() {
                fs::remove_file(&graph.place)?;
            }
            fs::rename(&data.path, &data.place)?;
            fs::rename(&graph.path, &graph.place)?;
            File::open(&self.folder)?.sync_all()
        };
        publish().map_err(|e| graph.cannot_write(&e))
    }

    /// Copies a file to a path in the model folder.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn copy(&self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let copy = || -> io::Result<()> {
            let unfinished = self.unfinished.path().join("copied");
            fs::copy(from, &unfinished)?;
            fs::create_dir_all(to.parent().unwrap_or(to))?;
            fs::rename(&unfinished, to)
        };
        copy().map_err(|e| {
            anyhow!(
                "{}: cannot be copied to {}: {e}; check the disk and the permissions",
                from.display(),
                to.display()
            )
        })
    }
}

impl StagedFile {
    /// Returns whether a file is in place already.
    pub fn is_in_place(&self) -> bool {
        self.place.is_file()
    }

    /// Writes the whole file, and flushes it to disk.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let write = || {
            let mut file = File::create(&self.path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|e| self.cannot_write(&e))
    }

    /// Returns the name of the file.
    pub fn name(&self) -> String {
        self.place.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the error for a file that cannot be written.
    pub fn cannot_write(&self, e: &io::Error) -> anyhow::Error {
        anyhow!("{}: cannot be written: {e}; make room or name another folder", self.place.display())
    }
}

/// Takes the lock, or waits until the other run ends. Returns `None` if the file system has no locks.
fn take_lock(graphs: &Path, on_event: OnExport) -> anyhow::Result<Option<Lock>> {
    let mut is_told = false;
    loop {
        match Lock::take(&graphs.join(LOCK), OpenOptions::new()) {
            Ok(lock) => return Ok(Some(lock)),
            Err(LockError::Held(holder)) => {
                if !is_told {
                    let folder = graphs.display();
                    on_event(ExportEvent::Waiting(format!(
                        "waiting for another run that exports into {folder} ({holder})"
                    )));
                    is_told = true;
                }
                interrupt::check()?;
                thread::sleep(RETRY_EVERY);
            }
            Err(error) if error.is_unsupported() => return Ok(None),
            Err(LockError::Failed(e)) => {
                return Err(anyhow!("{}: cannot be written: {e}; name another folder", graphs.display()));
            }
        }
    }
}
