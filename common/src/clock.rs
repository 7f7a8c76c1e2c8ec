//! The one reader of the wall clock, and how a time is written. Everything else takes the time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 if the clock stands before it.
pub fn now_millis() -> u64 {
    since_epoch()
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        .saturating_add_signed(crate::fault::clock_offset())
}

/// Nanoseconds since the Unix epoch; 0 if the clock stands before it.
pub fn now_nanos() -> u64 {
    since_epoch()
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        .saturating_add_signed(crate::fault::clock_offset().saturating_mul(1_000_000))
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn since_epoch() -> Option<Duration> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok()
}
