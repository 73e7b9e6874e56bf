//! Makes items in order on a separate thread. While the caller works on one item, the thread makes the next item.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::interrupt::{self, Interrupted};

/// How often to check for an interrupt while waiting for an item.
const CHECK_EVERY: Duration = Duration::from_millis(200);

/// A thread that makes items. While the caller works on one item, the thread makes the next item and then waits. Dropping an
/// `Ahead` does not wait for the thread, because the thread may wait for standard input forever.
pub struct Ahead<T> {
    made: Receiver<T>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Ahead<anyhow::Result<T>> {
    /// Starts a thread that calls `next` until `next` returns `None` or an error.
    pub fn of(mut next: impl FnMut() -> anyhow::Result<Option<T>> + Send + 'static) -> Self {
        Ahead::start(move |sender| {
            while let Some(made) = next().transpose() {
                let is_last = made.is_err();
                if sender.send(made).is_err() || is_last {
                    return;
                }
            }
        })
    }
}

impl<T: Send + 'static> Ahead<T> {
    /// Starts a thread that runs `make`. `make` must return when sending an item fails, because then the caller takes no more
    /// items.
    pub fn start(make: impl FnOnce(&Sender<T>) + Send + 'static) -> Self {
        let (sender, made) = bounded(0);
        Ahead { made, thread: Some(thread::spawn(move || make(&sender))) }
    }

    /// Waits for the next item. Returns `None` when there are no more items.
    ///
    /// # Errors
    /// [`Interrupted`], if the run was interrupted.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub fn take(&mut self) -> Result<Option<T>, Interrupted> {
        loop {
            interrupt::check()?;
            match self.made.recv_timeout(CHECK_EVERY) {
                Ok(next) => return Ok(Some(next)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
                    ended.unwrap_or_else(|panic| resume_unwind(panic));
                    return Ok(None);
                }
            }
        }
    }
}
