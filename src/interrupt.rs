//! Ends a run on Ctrl-C (SIGINT) or SIGTERM (the only user of signal-hook).

use std::io;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long the run may take to stop after the first signal. A batch that is being embedded ends first.
const GRACE_PERIOD: Duration = Duration::from_secs(4);

/// How long the last message may take to be written before the process ends.
const MESSAGE_PERIOD: Duration = Duration::from_millis(100);

/// The value of [`RECEIVED`] before a signal. No signal has this number.
const NO_SIGNAL: i32 = 0;

/// The signal received last.
static RECEIVED: AtomicI32 = AtomicI32::new(NO_SIGNAL);

/// A signal asked the run to stop.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; what is done is kept, and the next run goes on from there")]
pub struct Interrupted {
    /// The number of the signal.
    pub signal: i32,
}

impl Interrupted {
    /// Whether the signal was SIGTERM.
    pub fn is_terminated(&self) -> bool {
        self.signal == SIGTERM
    }
}

/// Handles SIGINT and SIGTERM from now on. The first signal makes [`check`] fail, and ends the process after
/// [`GRACE_PERIOD`]; the second signal ends it at once. `tell` is called before the process ends. Files on disk stay usable.
///
/// # Errors
/// The system refuses the handler or the thread.
pub fn listen(tell: impl Fn(Interrupted) + Send + Copy + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let end = move |signal| -> () {
        // In a thread, since the reader of stderr may be stuck.
        thread::spawn(move || tell(Interrupted { signal }));
        thread::sleep(MESSAGE_PERIOD);
        // Skips exit handlers: the threads of ONNX Runtime are still running.
        signal_hook::low_level::exit(128 + signal)
    };
    thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            if RECEIVED.swap(signal, Relaxed) != NO_SIGNAL {
                end(signal);
            }
            thread::spawn(move || {
                thread::sleep(GRACE_PERIOD);
                end(signal);
            });
        }
    })?;
    Ok(())
}

/// Ignores SIGINT and SIGTERM in a worker process. The terminal sends them to workers too, but a worker ends when the run
/// does.
///
/// # Errors
/// The system refuses the handler.
pub fn ignore() -> io::Result<()> {
    Signals::new([SIGINT, SIGTERM]).map(std::mem::forget)
}

/// Returns an error once a signal has asked the run to stop.
///
/// # Errors
/// [`Interrupted`].
pub fn check() -> Result<(), Interrupted> {
    match RECEIVED.load(Relaxed) {
        NO_SIGNAL => Ok(()),
        signal => Err(Interrupted { signal }),
    }
}
