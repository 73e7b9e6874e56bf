//! Says which failed requests may succeed later, and how long to wait before the next attempt.

use std::io;

use ureq::http::{Response, StatusCode};
use ureq::{Body, Error};

/// The pause before each retry, in seconds. If the server names another pause, that pause is used instead.
const PAUSES_SECONDS: [u64; 5] = [1, 2, 4, 8, 16];

/// The longest pause before a retry, in seconds, even if the server names a longer pause.
const PAUSE_MAX_SECONDS: u64 = 300;

/// The beginning of the standard library's error for a host name that has no address.
const NO_ADDRESS: &str = "failed to lookup address information";

/// The pauses that are left for one request.
pub struct Pauses(std::array::IntoIter<u64, { PAUSES_SECONDS.len() }>);

impl Pauses {
    /// The number of attempts, including the first attempt.
    pub const ATTEMPTS: usize = PAUSES_SECONDS.len() + 1;

    pub fn new() -> Self {
        Pauses(PAUSES_SECONDS.into_iter())
    }

    /// Returns the next pause in seconds; `None` if no attempt is left. `retry_after` is the pause that the server names.
    pub fn next(&mut self, retry_after: Option<u64>) -> Option<u64> {
        let pause = self.0.next()?;
        Some(retry_after.unwrap_or(pause).min(PAUSE_MAX_SECONDS))
    }
}

/// Returns the pause that a server names, in seconds.
pub fn retry_after(response: &Response<Body>) -> Option<u64> {
    response.headers().get("retry-after")?.to_str().ok()?.parse().ok()
}

/// Returns whether the same request may get another status later.
pub fn is_transient_status(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500..)
}

/// Returns whether a request without a response may get one later. No server listens where a connection is refused, and most often
/// there is no network if a host has no address.
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::Timeout(_) => true,
        Error::Io(e) => {
            e.kind() != io::ErrorKind::ConnectionRefused && !e.to_string().starts_with(NO_ADDRESS)
        }
        _ => false,
    }
}
