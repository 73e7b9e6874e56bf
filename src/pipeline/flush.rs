//! A file that a thread flushes to disk now and then: bytes come in, and survive this process at once.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often the file is flushed. A power failure costs what was written after the last flush.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(10);

pub(super) struct FlushedFile {
    file: File,
    status: Arc<Status>,
    /// The thread ends when this is dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Status {
    is_dirty: AtomicBool,
    has_failed: AtomicBool,
}

impl FlushedFile {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system starts no thread, or gives no second handle of the file.
    pub fn start(file: File) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let status = Arc::<Status>::default();
        let flush = {
            let (file, status) = (file.try_clone()?, status.clone());
            move || {
                while stopped.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
                    if status.is_dirty.swap(false, Relaxed) && file.sync_data().is_err() {
                        status.has_failed.store(true, Relaxed);
                    }
                }
            }
        };
        let thread = thread::Builder::new().spawn(flush)?;
        Ok(FlushedFile { file, status, stop: Some(stop), thread: Some(thread) })
    }

    /// Writes at the end of the file.
    ///
    /// # Errors
    /// The write failed, or the last flush did.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.status.has_failed.load(Relaxed) {
            return Err(io::Error::other("what was written before could not be flushed to disk"));
        }
        self.file.write_all(bytes)?;
        self.status.is_dirty.store(true, Relaxed);
        Ok(())
    }
}

impl Drop for FlushedFile {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
        // Nobody is left to report an error to. What is not on disk is made again.
        let _ = self.file.sync_data();
    }
}
