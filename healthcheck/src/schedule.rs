//! When a target is asked: a fixed schedule, so that a slow probe does not delay the next. No clock: `now` and the random
//! generator are arguments. Called by the checker alone.
//!
//! The first probe is due at once. The second falls 0.5 to 1.5 intervals later, which spreads targets that began together evenly
//! over the interval. From there each is due one interval after the last was, less a random part of up to `jitter` of it: never
//! more than an interval passes, so that N failures are found within N intervals and a timeout. While a change is being counted
//! towards, probes go every fast interval.

use std::time::{Duration, Instant};

use portolan_config::model::HealthCheck;
use rand::{Rng, RngExt};

use crate::machine::Pace;

/// The most probes of one target under way, however long the timeout is beside the interval.
const OVERLAP: u32 = 4;

/// The schedule of one target.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    fast_interval: Duration,
    timeout: Duration,
    jitter: f64,
    pace: Pace,
    /// When the next probe is due.
    due: Instant,
    /// When the one after is due, if the next is besides the schedule.
    then: Option<Instant>,
    /// When the last one was due.
    last: Option<Instant>,
}

impl Schedule {
    /// Due at once, whatever was known before.
    pub(crate) fn new(check: &HealthCheck, rng: &mut impl Rng, now: Instant) -> Self {
        Self {
            interval: check.interval,
            fast_interval: check.fast_interval.min(check.interval),
            timeout: check.timeout,
            jitter: check.jitter,
            pace: Pace::Regular,
            due: now,
            then: Some(now + check.interval.mul_f64(rng.random_range(0.5..1.5))),
            last: None,
        }
    }

    /// When the next probe is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The due probe begins, or is skipped; sets the next.
    pub(crate) fn advance(&mut self, rng: &mut impl Rng, now: Instant) {
        let due = self.due;
        self.last = Some(due);
        self.due = match self.then.take() {
            Some(then) => then,
            // From the time it was due, not from now: a late probe does not shift the rest. What was slept through is not made up.
            None => (due + self.gap(rng)).max(now),
        };
    }

    /// The machine wants another pace.
    pub(crate) fn set_pace(&mut self, pace: Pace, rng: &mut impl Rng, now: Instant) {
        let (false, Some(last)) = (self.pace == pace, self.last) else {
            return;
        };
        self.pace = pace;
        let next = (last + self.gap(rng)).max(now);
        let slot = self.then.as_mut().unwrap_or(&mut self.due);
        *slot = match pace {
            Pace::Regular => next,
            Pace::Fast => next.min(*slot),
        };
    }

    /// Asks at once, besides the schedule.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if self.due > now {
            self.then.get_or_insert(self.due);
            self.due = now;
        }
    }

    /// From one probe to the next.
    fn gap(&self, rng: &mut impl Rng) -> Duration {
        match self.pace {
            Pace::Regular => self
                .interval
                .mul_f64(1.0 - self.jitter * rng.random::<f64>()),
            Pace::Fast => self.fast_interval,
        }
    }

    /// The most probes of this target that may be under way.
    pub(crate) fn overlap(&self) -> u32 {
        let interval = match self.pace {
            Pace::Regular => self.interval,
            Pace::Fast => self.fast_interval,
        };
        let lasts = self.timeout.as_nanos().div_ceil(interval.as_nanos().max(1)) + 1;
        u32::try_from(lasts).unwrap_or(OVERLAP).min(OVERLAP)
    }
}

#[cfg(test)]
mod tests;
