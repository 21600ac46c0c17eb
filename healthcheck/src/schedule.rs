//! When a target is asked: a fixed schedule, so that a slow probe does not delay the next. No clock: `now` and the random
//! generator are arguments. Called by the checker alone.
//!
//! The first probe is due at once. The second falls 0.5 to 1.5 intervals later, which spreads targets that began together evenly
//! over the interval; from there the ticks of the grid lie one interval apart, each late by up to `jitter` of it. While a change
//! is being counted towards, probes go every fast interval; after it the grid goes on where it always was.

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
    /// The next tick of the grid, without its jitter.
    tick: Instant,
    /// When the next probe is due.
    due: Instant,
    /// When the one after is due, if the next is besides the grid.
    then: Option<Instant>,
    /// When the last one was due.
    last: Option<Instant>,
}

impl Schedule {
    /// Due at once, whatever was known before.
    pub(crate) fn new(check: &HealthCheck, rng: &mut impl Rng, now: Instant) -> Self {
        let mut schedule = Self {
            interval: check.interval,
            fast_interval: check.fast_interval.min(check.interval),
            timeout: check.timeout,
            jitter: check.jitter,
            pace: Pace::Regular,
            tick: now + check.interval.mul_f64(rng.random_range(0.5..1.5)),
            due: now,
            then: None,
            last: None,
        };
        schedule.then = Some(schedule.jittered(rng));
        schedule
    }

    /// When the next probe is due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// The due probe begins, or is skipped; sets the next.
    pub(crate) fn advance(&mut self, rng: &mut impl Rng, now: Instant) {
        self.last = Some(self.due);
        self.due = match (self.then.take(), self.pace) {
            (Some(then), Pace::Regular | Pace::Fast) => then,
            (None, Pace::Regular) => {
                // Ticks that were slept through are not made up, but the grid stays.
                self.tick += self.interval * self.ticks_until(now).max(1);
                self.jittered(rng)
            }
            // From the time it was due, not from now: a late probe does not shift the rest.
            (None, Pace::Fast) => (self.due + self.fast_interval).max(now),
        };
    }

    /// The machine wants another pace. True when the next probe is due at another time for it.
    pub(crate) fn set_pace(&mut self, pace: Pace, rng: &mut impl Rng, now: Instant) -> bool {
        let (false, Some(last)) = (self.pace == pace, self.last) else {
            return false;
        };
        self.pace = pace;
        let next = match pace {
            Pace::Regular => {
                if self.tick <= now {
                    self.tick += self.interval * (self.ticks_until(now) + 1);
                }
                self.jittered(rng)
            }
            Pace::Fast => (last + self.fast_interval).max(now),
        };
        let slot = self.then.as_mut().unwrap_or(&mut self.due);
        let old = *slot;
        *slot = match pace {
            Pace::Regular => next,
            Pace::Fast => next.min(old),
        };
        *slot != old && self.then.is_none()
    }

    /// Asks at once, besides the schedule.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if self.due > now {
            self.then.get_or_insert(self.due);
            self.due = now;
        }
    }

    /// Whole intervals that have passed since the tick.
    fn ticks_until(&self, now: Instant) -> u32 {
        let behind = now.saturating_duration_since(self.tick).as_nanos();
        u32::try_from(behind / self.interval.as_nanos().max(1)).unwrap_or(u32::MAX)
    }

    fn jittered(&self, rng: &mut impl Rng) -> Instant {
        self.tick + self.interval.mul_f64(self.jitter * rng.random::<f64>())
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
