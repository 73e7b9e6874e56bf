//! Formats counts, sizes and times for people.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use indicatif::HumanDuration;

/// Formats of numbers with separators, as in `2,315`, and of sizes, as in `9.51 MB`.
pub use indicatif::{DecimalBytes, HumanCount};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Returns a number with its noun, as in `1 document` and `2,315 documents`.
pub fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", HumanCount(count), if count == 1 { "" } else { "s" })
}

/// Returns a speed, as in `8,123 tokens/s`.
#[allow(clippy::cast_possible_truncation)] // `as` saturates, and no speed comes near 2^64.
pub fn tokens_per_second(speed: f64) -> String {
    format!("{} tokens/s", HumanCount(speed as u64))
}

/// Returns an estimated time, rounded to one unit, as in `3 hours`.
pub fn human_seconds(seconds: f64) -> String {
    HumanDuration(Duration::from_secs_f64(seconds.clamp(0.0, 1e12))).to_string()
}

/// Returns a measured time in two units, as in `0.4 s`, `12 min 34 s` and `3 d 4 h`.
pub fn human_elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{seconds}.{} s", time.subsec_millis() / 100),
        10..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min {} s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{} h {} min", seconds / HOUR, seconds % HOUR / MINUTE),
        _ => format!("{} d {} h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// Returns the present time in UTC, in the format of RFC 3339.
pub fn now() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_easy_to_read() {
        assert_eq!(counted(1, "document"), "1 document");
        assert_eq!(counted(2315, "document"), "2,315 documents");
        let elapsed = |seconds| human_elapsed(Duration::from_secs_f64(seconds));
        assert_eq!([elapsed(0.04), elapsed(9.96), elapsed(10.0)], ["0.0 s", "9.9 s", "10 s"]);
        assert_eq!([elapsed(59.9), elapsed(754.0)], ["59 s", "12 min 34 s"]);
        assert_eq!([elapsed(3600.0), elapsed(273_600.0)], ["1 h 0 min", "3 d 4 h"]);
    }
}
