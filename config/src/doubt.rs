//! Doubt about an address: grounds that live flows give to send new ones elsewhere for a moment, while the health side asks the endpoint.
//! Set by the data path's threads, read by every pick; nothing is decided here, and whatever is heard from the address ends it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Two grounds further apart than this are two accidents.
const TOGETHER: u64 = 250;

/// What arrives so soon after a ground may have been sent before it: workers take events up in batches.
const OVERTAKEN: u64 = 5;

/// Low bits of a word that hold a flow or a count; the others are milliseconds.
const LOW_BITS: u32 = 16;

/// Doubt about one address. All times are [`crate::clock::millis`].
#[derive(Debug, Default)]
pub struct Doubt {
    /// Of the newest ground while in doubt; 0 is none.
    since: AtomicU64,
    /// The last ground that was not enough by itself, and whose it was.
    ground: AtomicU64,
    /// Ends that came together: of the first, and how many.
    ends: AtomicU64,
}

impl Doubt {
    /// A ground that is enough by itself.
    pub fn found(&self, now: u64) {
        self.since.store(now, Relaxed);
    }

    /// A ground that one flow alone may meet for a reason of its own: two flows must, with nothing `heard` from the address in
    /// between. One is enough to go on doubting.
    pub fn hint(&self, flow: u64, heard: u64, now: u64) {
        let (last, by) = split(self.ground.swap(join(now, flow), Relaxed));
        let is_second = by != flow & low() && heard <= last && now.saturating_sub(last) <= TOGETHER;
        if (last != 0 && is_second) || self.stands(heard) {
            self.found(now);
        }
    }

    /// The endpoint was asked, and answered.
    pub fn lift(&self) {
        self.since.store(0, Relaxed);
    }

    /// Whether new flows should go elsewhere. It lasts for `span` after the newest ground, and ends when anything is `heard`.
    pub fn holds(&self, heard: u64, span: u64, now: impl FnOnce() -> u64) -> bool {
        self.stands(heard) && now().saturating_sub(self.since.load(Relaxed)) <= span
    }

    /// Whether there is any ground to look into, however old.
    pub fn is_raised(&self) -> bool {
        self.since.load(Relaxed) != 0
    }

    /// Whether nothing was `heard` since the newest ground.
    pub fn stands(&self, heard: u64) -> bool {
        let since = self.since.load(Relaxed);
        since != 0 && heard <= since + OVERTAKEN
    }

    /// Counts an end of a flow; how many there were within `span` of the first of them.
    pub fn count_end(&self, span: u64, now: u64) -> u32 {
        let next = |word| {
            let (began, count) = split(word);
            let together = now.saturating_sub(began) <= span && count < low();
            let (began, count) = if together { (began, count) } else { (now, 0) };
            join(began, count + 1)
        };
        let counted = self.ends.update(Relaxed, Relaxed, next);
        split(next(counted)).1 as u32
    }
}

fn low() -> u64 {
    (1 << LOW_BITS) - 1
}

fn join(millis: u64, rest: u64) -> u64 {
    (millis << LOW_BITS) | (rest & low())
}

fn split(word: u64) -> (u64, u64) {
    (word >> LOW_BITS, word & low())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flow_alone_founds_no_doubt_and_two_in_silence_do() {
        let doubt = Doubt::default();
        let holds = |heard| doubt.holds(heard, 100, || 1_020);
        doubt.hint(1, 900, 1_000);
        doubt.hint(1, 900, 1_010);
        assert!(!holds(900));
        doubt.hint(2, 1_015, 1_020);
        assert!(!holds(1_015), "it was heard of in between");
        doubt.hint(1, 1_015, 1_020);
        assert!(holds(1_015));
    }

    #[test]
    fn grounds_far_apart_are_accidents() {
        let doubt = Doubt::default();
        doubt.hint(1, 900, 1_000);
        doubt.hint(2, 900, 1_000 + TOGETHER + 1);
        assert!(!doubt.holds(900, 100, || 1_000 + TOGETHER + 1));
    }

    #[test]
    fn it_ends_by_time_and_by_a_sign_of_life_and_one_more_ground_prolongs_it() {
        let doubt = Doubt::default();
        doubt.found(1_000);
        assert!(doubt.holds(1_000 + OVERTAKEN, 100, || 1_100));
        assert!(!doubt.holds(1_000 + OVERTAKEN + 1, 100, || 1_010));
        assert!(!doubt.holds(1_000, 100, || 1_101));
        doubt.hint(7, 1_000, 1_090);
        assert!(doubt.holds(1_000, 100, || 1_190));
    }

    #[test]
    fn ends_count_together_within_a_moment() {
        let doubt = Doubt::default();
        let counts: Vec<u32> = [0, 10, 50, 51, 200]
            .map(|ms| doubt.count_end(50, 1_000 + ms))
            .to_vec();
        assert_eq!(counts, [1, 2, 3, 1, 1]);
    }
}
