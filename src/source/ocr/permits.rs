//! Limits how many commands run at the same time.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// A number of permits, each for one running command.
#[derive(Debug)]
pub struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

/// A permit. It is returned when it is dropped.
pub struct Permit<'a>(&'a Permits);

impl Permits {
    /// Returns one permit per CPU that this process may use.
    pub fn per_cpu() -> Self {
        let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Permits { free: Mutex::new(cpus), returned: Condvar::new() }
    }

    /// Waits for a free permit and takes it.
    pub fn take(&self) -> Permit<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            self.returned.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}
