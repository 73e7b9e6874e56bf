//! Ends a run on Ctrl-C (SIGINT) or SIGTERM, and keeps a limit on file sizes from ending it. Only this module uses signal-hook.

use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

/// How long a run may take to stop after the first signal. The run finishes its current batch before it stops.
const GRACE_PERIOD: Duration = Duration::from_secs(4);

/// How long [`listen`] waits for `tell` to write the message. Then the process ends, even if `tell` has not finished.
const MESSAGE_PERIOD: Duration = Duration::from_millis(100);

/// The time between two looks for a signal while a run waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How many times a limit on processor time is the limit on the time that passes.
const BUSY_MACHINE: u32 = 5;

/// The value of [`RECEIVED`] until a signal arrives. No signal has the number 0.
const NO_SIGNAL: i32 = 0;

/// The signal number of the latest signal, or [`NO_SIGNAL`].
static RECEIVED: AtomicI32 = AtomicI32::new(NO_SIGNAL);

/// What an interrupted run leaves and what to do, in words. [`listen`] sets it.
static CONSEQUENCE: OnceLock<&str> = OnceLock::new();

/// The error of a run that a signal has stopped.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; {consequence}")]
pub struct Interrupted {
    /// The signal number, such as 2 for SIGINT.
    pub signal: i32,
    consequence: &'static str,
}

impl Interrupted {
    fn by(signal: i32) -> Self {
        Interrupted { signal, consequence: CONSEQUENCE.get().copied().unwrap_or("run again") }
    }

    /// Returns whether the signal was SIGTERM.
    pub fn is_terminated(&self) -> bool {
        self.signal == SIGTERM
    }
}

/// Starts to handle SIGINT and SIGTERM. After the first signal, [`check`] returns an error. At a second signal, or if the run
/// has not stopped after [`GRACE_PERIOD`], the handler calls `tell` to write a message and ends the process. Files on disk
/// stay usable. `consequence` says in the message what the run leaves and what to do.
///
/// # Errors
/// The system cannot install the signal handler or start the thread.
pub fn listen(
    consequence: &'static str,
    tell: impl Fn(Interrupted) + Send + Copy + 'static,
) -> io::Result<()> {
    CONSEQUENCE.get_or_init(|| consequence);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let end = move |signal| -> () {
        // Calls `tell` in a separate thread, because writing to stderr may block forever.
        thread::spawn(move || tell(Interrupted::by(signal)));
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
    // Handlers that do nothing. They need no open files.
    [SIGINT, SIGTERM].into_iter().try_for_each(|signal| flag::register(signal, Arc::default()).map(drop))
}

/// Makes a write beyond the limit on file sizes (RLIMIT_FSIZE) fail with an error. By default, SIGXFSZ ends the process without a
/// message.
///
/// # Errors
/// The system cannot install the signal handler.
pub fn survive_file_size_limit() -> io::Result<()> {
    // A handler that does nothing. Unlike an ignored signal, it is reset in programs that this process starts.
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Returns an error once a signal has asked the run to stop.
///
/// # Errors
/// [`Interrupted`] if a signal has arrived.
pub fn check() -> Result<(), Interrupted> {
    match RECEIVED.load(Relaxed) {
        NO_SIGNAL => Ok(()),
        signal => Err(Interrupted::by(signal)),
    }
}

/// Waits for `time`.
///
/// # Errors
/// [`Interrupted`] as soon as a signal arrives.
pub fn sleep(time: Duration) -> Result<(), Interrupted> {
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(LOOK_EVERY));
    }
}

/// Runs `work`, which may wait long for a system call, on a thread of its own. After a signal, the thread is left alone until the
/// process ends.
///
/// # Errors
/// [`Interrupted`] as soon as a signal arrives.
pub fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Interrupted> {
    wait_until(work, || false).map(|done| done.unwrap_or_else(|| unreachable!("there is no limit")))
}

/// Runs `work` as [`run`] does. Returns `None` once this process has used `limit` of processor time, or if `work` takes longer than
/// [`BUSY_MACHINE`] times `limit`: on a busy machine, the time that passes says little about the work.
///
/// # Errors
/// [`Interrupted`] as soon as a signal arrives.
pub fn run_within<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Option<T>, Interrupted> {
    let (end, used) = (Instant::now() + BUSY_MACHINE * limit, processor_time());
    wait_until(work, || Instant::now() >= end || processor_time() >= used + limit)
}

/// Returns the processor time that all threads of this process have used.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.try_into().unwrap_or_default()
}

/// Runs `work` on a thread. Returns `None` if `is_over` becomes true before `work` is done.
fn wait_until<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
    is_over: impl Fn() -> bool,
) -> Result<Option<T>, Interrupted> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || drop(sender.send(work())));
    loop {
        check()?;
        if is_over() {
            return Ok(None);
        }
        match receiver.recv_timeout(LOOK_EVERY) {
            Ok(done) => return Ok(Some(done)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    match thread.join() {
        Err(panic) => resume_unwind(panic),
        Ok(()) => unreachable!("a thread that ends without a panic has sent its result"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_and_the_panic_of_a_thread_are_handed_on() {
        assert_eq!(run(|| 1 + 1).unwrap(), 2);
        assert_eq!(run_within(Duration::from_millis(10), || thread::sleep(GRACE_PERIOD)).unwrap(), None);
        let panic = std::panic::catch_unwind(|| run(|| panic!("this panic is part of the test")));
        assert_eq!(panic.unwrap_err().downcast_ref(), Some(&"this panic is part of the test"));
    }
}
