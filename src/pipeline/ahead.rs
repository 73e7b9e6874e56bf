//! A thread of its own that makes one thing after the other, one ahead of whoever takes them.

use std::panic::resume_unwind;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::interrupt::{self, Interrupted};

/// While nothing comes, so often is looked whether to go on.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The thread, and what comes from it. While one thing is worked on, the next is made, and no more than that. Where it is
/// dropped, the thread is left behind: it may wait for standard input, for as long as it takes.
pub struct Ahead<T> {
    made: Receiver<T>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Ahead<anyhow::Result<T>> {
    /// Starts to take what comes next, up to the end or the first error.
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
    /// Starts `make`, which is to end when nobody takes what it sends any more.
    pub fn start(make: impl FnOnce(&Sender<T>) + Send + 'static) -> Self {
        let (sender, made) = bounded(0);
        Ahead { made, thread: Some(thread::spawn(move || make(&sender))) }
    }

    /// Waits for what comes next; `None` at the end.
    ///
    /// # Errors
    /// [`Interrupted`].
    ///
    /// # Panics
    /// If the thread did.
    pub fn take(&mut self) -> Result<Option<T>, Interrupted> {
        loop {
            interrupt::check()?;
            match self.made.recv_timeout(LOOK_EVERY) {
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
