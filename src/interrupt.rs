//! Ctrl-C and the like (the only user of signal-hook).

use std::io;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// So long may the batch that is under way take to end.
const PATIENCE: Duration = Duration::from_secs(4);

/// And so long may it take to say so.
const LAST_WORDS: Duration = Duration::from_millis(100);

static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// The run was asked to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; what is done is kept, and the next run goes on from there")]
pub struct Interrupted {
    /// By this signal.
    pub signal: i32,
}

impl Interrupted {
    /// Whether it was SIGTERM.
    pub fn is_terminated(&self) -> bool {
        self.signal == SIGTERM
    }
}

/// From now on, the first SIGINT or SIGTERM makes [`check`] fail, and ends the process if that is not heard soon;
/// the second ends it at once. All that is on disk bears that. `tell` says so before.
///
/// # Errors
/// The system does not allow it.
pub fn listen(tell: impl Fn(Interrupted) + Send + Copy + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let end = move |signal| -> () {
        // Who should read it may be what the run waits for.
        thread::spawn(move || tell(Interrupted { signal }));
        thread::sleep(LAST_WORDS);
        // Without what the engine does at the end of a process: its threads are still at work.
        signal_hook::low_level::exit(128 + signal)
    };
    thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            if RECEIVED.swap(signal, Relaxed) != 0 {
                end(signal);
            }
            thread::spawn(move || {
                thread::sleep(PATIENCE);
                end(signal);
            });
        }
    })?;
    Ok(())
}

/// For the processes of a run, which end when it does, and whom the same signals reach.
///
/// # Errors
/// The system does not allow it.
pub fn ignore() -> io::Result<()> {
    Signals::new([SIGINT, SIGTERM]).map(std::mem::forget)
}

/// Whether to go on.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    match RECEIVED.load(Relaxed) {
        0 => Ok(()),
        signal => Err(Interrupted { signal }),
    }
}
