//! Writes to a file. A thread flushes the file to disk every few seconds. If this process dies, all written bytes survive. If the
//! power fails, only the bytes that were flushed before survive.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// The time between two flushes of the file. A power failure loses the bytes that were written after the latest flush.
pub(super) const FLUSH_EVERY: Duration = Duration::from_secs(10);

pub(super) struct FlushedFile {
    file: File,
    status: Arc<Status>,
    /// Dropping this sender stops the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Status {
    is_dirty: AtomicBool,
    has_failed: AtomicBool,
}

impl FlushedFile {
    /// Starts the thread that flushes the file.
    ///
    /// # Errors
    /// The system cannot start a thread, or cannot make a second handle for the file.
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

    /// Writes bytes at the end of the file.
    ///
    /// # Errors
    /// The write failed, or an earlier flush failed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.status.has_failed.load(Relaxed) {
            return Err(io::Error::other("bytes that were written earlier could not be flushed to disk"));
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
            // The thread cannot panic, so there is no panic to pass on.
            let _ = thread.join();
        }
        // An error cannot be reported from here, and does little harm: the next run makes the missing vectors again.
        let _ = self.file.sync_data();
    }
}
