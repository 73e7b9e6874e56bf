//! Ends a run on Ctrl-C (SIGINT) or SIGTERM. Only this module uses signal-hook.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a run may take to stop after the first signal. The run finishes its current batch before it stops.
const GRACE_PERIOD: Duration = Duration::from_secs(4);

/// How long [`listen`] waits for `tell` to write the message. Then the process ends, even if `tell` has not finished.
const MESSAGE_PERIOD: Duration = Duration::from_millis(100);

/// The value of [`RECEIVED`] until a signal arrives. No signal has the number 0.
const NO_SIGNAL: i32 = 0;

/// The signal number of the latest signal, or [`NO_SIGNAL`].
static RECEIVED: AtomicI32 = AtomicI32::new(NO_SIGNAL);

/// The error of a run that a signal has stopped.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; finished work is kept, and the next run resumes")]
pub struct Interrupted {
    /// The signal number, such as 2 for SIGINT.
    pub signal: i32,
}

impl Interrupted {
    /// Returns whether the signal was SIGTERM.
    pub fn is_terminated(&self) -> bool {
        self.signal == SIGTERM
    }
}

/// Starts to handle SIGINT and SIGTERM. After the first signal, [`check`] returns an error. At a second signal, or if the run
/// has not stopped after [`GRACE_PERIOD`], the handler calls `tell` to write a message and ends the process. Files on disk
/// stay usable.
///
/// # Errors
/// The system cannot install the signal handler or start the thread.
pub fn listen(tell: impl Fn(Interrupted) + Send + Copy + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let end = move |signal| -> () {
        // Calls `tell` in a separate thread, because writing to stderr may block forever.
        thread::spawn(move || tell(Interrupted { signal }));
        thread::sleep(MESSAGE_PERIOD);
        // This exit skips the exit handlers, because threads of ONNX Runtime are still running.
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

/// Ignores SIGINT and SIGTERM in a worker process. Ctrl-C in a terminal also sends SIGINT to the workers, but the main
/// process decides when a worker ends.
///
/// # Errors
/// The system cannot install the signal handler.
pub fn ignore() -> io::Result<()> {
    Signals::new([SIGINT, SIGTERM]).map(std::mem::forget)
}

/// Returns an error once a signal has asked the run to stop.
///
/// # Errors
/// [`Interrupted`] if a signal has arrived.
pub fn check() -> Result<(), Interrupted> {
    match RECEIVED.load(Relaxed) {
        NO_SIGNAL => Ok(()),
        signal => Err(Interrupted { signal }),
    }
}
