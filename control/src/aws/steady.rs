//! The time of day as this process counts it on: a clock that is set while it runs must neither confirm a loss early nor make an old
//! answer look fresh.

use std::time::{Duration, Instant, SystemTime};

/// The time of day at the start, and what has passed since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady {
    wall: SystemTime,
    started: Instant,
}

impl Default for Steady {
    fn default() -> Self {
        Self {
            wall: SystemTime::now(),
            started: Instant::now(),
        }
    }
}

impl Steady {
    /// At this moment.
    pub(crate) fn now(&self) -> SystemTime {
        self.at(Instant::now())
    }

    fn at(&self, now: Instant) -> SystemTime {
        let passed = now.saturating_duration_since(self.started);
        self.wall.checked_add(passed).unwrap_or(self.wall)
    }

    /// How long ago it was; `None` for what would be yet to come.
    pub(crate) fn since(&self, then: SystemTime) -> Option<Duration> {
        self.now().duration_since(then).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passes_counts() {
        let (wall, started) = (SystemTime::UNIX_EPOCH, Instant::now());
        let steady = Steady { wall, started };
        assert_eq!(steady.at(started), wall);
        let hour = Duration::from_secs(3600);
        assert_eq!(steady.at(started + hour), wall + hour, "whatever the day");
        assert_eq!(steady.since(SystemTime::now() + hour), None);
    }
}
