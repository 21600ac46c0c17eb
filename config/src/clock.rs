//! One monotonic millisecond clock for atomics that cross threads.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// How far back the clock reaches: flows come from processes before this one, and are older than it.
const REACH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Some time before this process.
pub fn start() -> Instant {
    *START.get_or_init(|| {
        let now = Instant::now();
        now.checked_sub(REACH).unwrap_or(now)
    })
}

/// Milliseconds from [`start`] to `at`; 0 for an earlier instant.
pub fn millis(at: Instant) -> u64 {
    let since = at.saturating_duration_since(start());
    // Not by `as_millis`, whose 128 bits are a division each: every flow asks several times.
    since.as_secs() * 1000 + u64::from(since.subsec_millis())
}

/// The instant that [`millis`] was taken of, to the millisecond.
pub fn instant(millis: u64) -> Instant {
    start() + Duration::from_millis(millis)
}
