//! How often a name was seen within the second that runs, counted by all workers at once. Over pingora-limits' sketch, with windows of our
//! own: its `Rate` takes for granted that no thread is held up between the clock and the counter, and panics where a machine stood still
//! (0.9.1, `maybe_reset`).

use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::AcqRel;
use std::time::Instant;

use pingora_limits::estimator::Estimator;
use portolan_config::clock;

/// Of the sketches: four rows of 1,024, 32 KiB each. A name is overcounted only where it shares a counter with others in every row.
const HASHES: usize = 4;
const SLOTS: usize = 1024;

/// A second, in milliseconds.
const WINDOW: u64 = 1000;

pub(crate) struct Rate {
    /// That of even windows, and that of odd ones. The one that is not counted in is empty.
    counts: [Estimator; 2],
    /// The newest window that any worker has seen.
    newest: AtomicU64,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self {
            counts: [(); 2].map(|()| Estimator::new(HASHES, SLOTS)),
            newest: AtomicU64::new(0),
        }
    }

    /// Counts a name, and says how often it has been counted within this second. A worker whose clock is behind counts into the second
    /// that the others have reached; while a second begins, a count may be lost, so that a cap lets one more in.
    pub(crate) fn observe<T: Hash>(&self, name: &T, now: Instant) -> isize {
        let window = clock::millis(now) / WINDOW;
        let before = self.newest.fetch_max(window, AcqRel);
        if before < window {
            if window - before > 1 {
                self.of(window).reset();
            }
            self.of(window + 1).reset();
        }
        self.of(window.max(before)).incr(name, 1)
    }

    fn of(&self, window: u64) -> &Estimator {
        let [even, odd] = &self.counts;
        if window.is_multiple_of(2) { even } else { odd }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The beginning of a window some time from now.
    fn beginning() -> Instant {
        clock::instant((clock::millis(Instant::now()) / WINDOW + 5) * WINDOW)
    }

    #[test]
    fn counts_begin_anew_with_each_second_however_many_have_passed() {
        let (rate, start) = (Rate::new(), beginning());
        let mut second = 0;
        for pause in [1, 1, 2, 3, 1, 7, 60] {
            let at = start + Duration::from_secs(second);
            for expected in 1..=3 {
                assert_eq!(
                    rate.observe(&"one", at + Duration::from_millis(999)),
                    expected
                );
            }
            assert_eq!(rate.observe(&"another", at), 1);
            second += pause;
        }
    }

    #[test]
    fn a_worker_that_stood_still_counts_with_the_others() {
        let (rate, start) = (Rate::new(), beginning());
        let later = start + Duration::from_secs(5);
        assert_eq!(rate.observe(&"one", later), 1);
        assert_eq!(rate.observe(&"one", start), 2);
        assert_eq!(rate.observe(&"one", later), 3);
    }

    #[test]
    fn workers_that_race_over_the_seconds_lose_next_to_nothing() {
        let (rate, start) = (Rate::new(), beginning());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for milli in 0..20_000 {
                        rate.observe(&"one", start + Duration::from_millis(milli));
                    }
                });
            }
        });
        // At least what one of them counted in it; whoever was behind counted with it.
        let last = rate.observe(&"one", start + Duration::from_millis(19_999));
        assert!(last >= 900, "{last}");
    }
}
