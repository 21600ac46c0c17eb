//! Drift and fights: names that somebody else changes behind our back, and names that two writers keep changing. Pure; `now` is an
//! argument. A fight is not won by writing faster: from the third flip on a name is put right ever more seldom, and told of.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So many flips of one name are a fight.
const FIGHT: u32 = 3;

/// A name in a fight is put right at least so often.
const SLOWEST: Duration = Duration::from_secs(3600);

/// Flips so far apart have nothing to do with each other.
const FORGET: Duration = Duration::from_secs(6 * 3600);

/// Names that were settled, and how often each was found otherwise.
#[derive(Debug, Default)]
pub struct Fights {
    settled: HashMap<String, String>,
    flips: HashMap<String, Flips>,
    /// Names found changed behind our back, ever.
    pub drifts: u64,
}

#[derive(Clone, Copy, Debug)]
struct Flips {
    count: u32,
    last: Instant,
    not_before: Instant,
}

/// What to do about a name that is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is our own change.
    Ours,
    /// Somebody changed it: put it right.
    Drift,
    /// Two writers: leave it until its wait is over.
    Fight,
}

impl Fights {
    /// The name is as `wish` says, or was just made so.
    pub fn settle(&mut self, name: &str, wish: &str) {
        self.settled.insert(name.to_owned(), wish.to_owned());
    }

    /// The name is not as `wish` says.
    pub fn differs(&mut self, name: &str, wish: &str, interval: Duration, now: Instant) -> Verdict {
        if let Some(flips) = self.flips.get(name)
            && flips.not_before > now
        {
            return Verdict::Fight;
        }
        let was_settled = self
            .settled
            .get(name)
            .is_some_and(|settled| settled == wish);
        if !was_settled {
            return Verdict::Ours;
        }
        self.drifts += 1;
        let before = self.flips.get(name).copied();
        let count = before
            .filter(|before| now.duration_since(before.last) < FORGET)
            .map_or(1, |before| before.count + 1);
        let mut not_before = now;
        if count >= FIGHT {
            let times = 1_u32 << (count - FIGHT + 1).min(16);
            not_before = now + interval.saturating_mul(times).min(SLOWEST.max(interval));
        }
        let flips = Flips {
            count,
            last: now,
            not_before,
        };
        self.flips.insert(name.to_owned(), flips);
        // Until it is put right it is not settled, and found again it is the same drift.
        self.settled.remove(name);
        Verdict::Drift
    }

    /// Names in a fight, and how often each has flipped.
    pub fn fighting(&self, now: Instant) -> Vec<(String, u32)> {
        let mut fighting: Vec<(String, u32)> = self
            .flips
            .iter()
            .filter(|(_, flips)| flips.count >= FIGHT && now.duration_since(flips.last) < FORGET)
            .map(|(name, flips)| (name.clone(), flips.count))
            .collect();
        fighting.sort();
        fighting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    #[test]
    fn our_own_changes_are_no_drift() {
        let mut fights = Fights::default();
        let now = Instant::now();
        assert_eq!(fights.differs("app", "1", INTERVAL, now), Verdict::Ours);
        fights.settle("app", "1");
        assert_eq!(fights.differs("app", "2", INTERVAL, now), Verdict::Ours);
        assert_eq!(fights.drifts, 0);
    }

    #[test]
    fn the_third_flip_is_a_fight_and_slows_us_down() {
        let mut fights = Fights::default();
        let mut now = Instant::now();
        let mut corrected = Vec::new();
        let start = now;
        for _ in 0..60 {
            fights.settle("app", "1");
            now += INTERVAL;
            if fights.differs("app", "1", INTERVAL, now) == Verdict::Drift {
                corrected.push((now - start).as_secs() / INTERVAL.as_secs());
            }
        }
        assert_eq!(corrected[..3], [1, 2, 3]);
        let gaps: Vec<u64> = corrected.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted() && gaps.last() == Some(&12), "{gaps:?}");
        assert_eq!(fights.fighting(now).len(), 1);
        assert!(fights.fighting(now + FORGET).is_empty());
    }

    #[test]
    fn a_drift_that_could_not_be_put_right_is_one_drift() {
        let mut fights = Fights::default();
        let now = Instant::now();
        fights.settle("app", "1");
        assert_eq!(fights.differs("app", "1", INTERVAL, now), Verdict::Drift);
        assert_eq!(fights.differs("app", "1", INTERVAL, now), Verdict::Ours);
        assert_eq!(fights.drifts, 1);
    }
}
