//! How much a worker may add to the load of endpoints that do not answer: hedges, and retries after a timeout.

use std::collections::VecDeque;
use std::time::Instant;

/// How many hedges and retries after a timeout a worker allows itself: under a tenth of the connects of ten seconds, and at least
/// [`Budget::FLOOR`].
pub(crate) struct Budget {
    started: Instant,
    /// This worker's part of [`Budget::FLOOR`].
    floor: u32,
    /// Connects and extras of the last ten seconds, the newest last.
    seconds: VecDeque<(u64, u32, u32)>,
}

impl Budget {
    const WINDOW: u64 = 10;
    const FLOOR: u32 = 10;

    pub(crate) fn new(now: Instant, workers: u32) -> Self {
        Self {
            started: now,
            floor: Self::FLOOR.div_ceil(workers.max(1)),
            seconds: VecDeque::new(),
        }
    }

    fn second(&mut self, now: Instant) -> &mut (u64, u32, u32) {
        let second = now.saturating_duration_since(self.started).as_secs();
        while self
            .seconds
            .front()
            .is_some_and(|(at, ..)| at + Self::WINDOW <= second)
        {
            self.seconds.pop_front();
        }
        if self.seconds.back().is_none_or(|(at, ..)| *at != second) {
            self.seconds.push_back((second, 0, 0));
        }
        let last = self.seconds.len() - 1;
        &mut self.seconds[last]
    }

    pub(crate) fn count_connect(&mut self, now: Instant) {
        self.second(now).1 += 1;
    }

    /// Whether one extra connect is left.
    pub(crate) fn has_extra(&mut self, now: Instant) -> bool {
        self.second(now);
        let (connects, extras) = self
            .seconds
            .iter()
            .fold((0, 0), |(c, e), (_, connects, extras)| {
                (c + connects, e + extras)
            });
        extras < self.floor.max(connects / 10)
    }

    /// Takes one extra connect, if there is one.
    pub(crate) fn take_extra(&mut self, now: Instant) -> bool {
        let granted = self.has_extra(now);
        if granted {
            self.second(now).2 += 1;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_budget_has_a_floor_and_then_a_tenth() {
        let now = Instant::now();
        let mut budget = Budget::new(now, 1);
        assert_eq!((0..50).filter(|_| budget.take_extra(now)).count(), 10);
        for _ in 0..500 {
            budget.count_connect(now);
        }
        assert_eq!((0..100).filter(|_| budget.take_extra(now)).count(), 40);
        let later = now + Duration::from_secs(10);
        assert_eq!((0..50).filter(|_| budget.take_extra(later)).count(), 10);
    }
}
