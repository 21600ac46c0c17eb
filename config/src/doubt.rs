//! Doubt about an address: grounds that live flows give to send new ones elsewhere for a moment, while the health side asks the endpoint.
//! Set by the data path's threads, read by every pick; nothing is decided here, and whatever is heard from the address ends it, unless it may have
//! been on its way when the ground came.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Two grounds further apart than this are two accidents.
const TOGETHER: u64 = 250;

/// What arrives so soon after a ground may have arrived before it: workers take events up in batches.
const OVERTAKEN: u64 = 5;

/// The longest round trip that is believed: most of the Earth.
const FARTHEST: u64 = 200;

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

/// What was last heard from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When; 0 is never.
    pub at: u64,
    /// The round trip there in milliseconds: for so long after a ground there arrives what was sent or asked for before it.
    pub round_trip: u64,
}

impl Heard {
    /// Whether it was said after `ground` for certain.
    fn follows(self, ground: u64) -> bool {
        self.at > ground + OVERTAKEN.max(self.round_trip.min(FARTHEST))
    }
}

impl Doubt {
    /// A ground that is enough by itself.
    pub fn found(&self, now: u64) {
        self.since.store(now, Relaxed);
    }

    /// A ground that one flow alone may meet for a reason of its own: two flows must, with nothing `heard` from the address in
    /// between. One is enough to go on doubting.
    pub fn hint(&self, flow: u64, heard: Heard, now: u64) {
        let (last, by) = split(self.ground.swap(join(now, flow), Relaxed));
        let is_second =
            by != flow & low() && heard.at <= last && now.saturating_sub(last) <= TOGETHER;
        if (last != 0 && is_second) || self.stands(heard) {
            self.found(now);
        }
    }

    /// The endpoint was asked at `asked`, and answered. What was met later stands.
    pub fn lift(&self, asked: u64) {
        let lifted = |since| if since <= asked { 0 } else { since };
        self.since.update(Relaxed, Relaxed, lifted);
    }

    /// Whether new flows should go elsewhere. It lasts for `span` after the newest ground, and ends when anything is `heard` that follows it.
    pub fn holds(&self, heard: Heard, span: u64, now: impl FnOnce() -> u64) -> bool {
        self.stands(heard) && now().saturating_sub(self.since.load(Relaxed)) <= span
    }

    /// Whether there is any ground to look into, however old.
    pub fn is_raised(&self) -> bool {
        self.since.load(Relaxed) != 0
    }

    /// Whether nothing was `heard` that was said after the newest ground.
    pub fn stands(&self, heard: Heard) -> bool {
        let since = self.since.load(Relaxed);
        since != 0 && !heard.follows(since)
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

    /// Over loopback.
    fn heard(at: u64) -> Heard {
        Heard { at, round_trip: 0 }
    }

    #[test]
    fn one_flow_alone_founds_no_doubt_and_two_in_silence_do() {
        let doubt = Doubt::default();
        let holds = |at| doubt.holds(heard(at), 100, || 1_020);
        doubt.hint(1, heard(900), 1_000);
        doubt.hint(1, heard(900), 1_010);
        assert!(!holds(900));
        doubt.hint(2, heard(1_015), 1_020);
        assert!(!holds(1_015), "it was heard of in between");
        doubt.hint(1, heard(1_015), 1_020);
        assert!(holds(1_015));
    }

    #[test]
    fn grounds_far_apart_are_accidents() {
        let doubt = Doubt::default();
        doubt.hint(1, heard(900), 1_000);
        doubt.hint(2, heard(900), 1_000 + TOGETHER + 1);
        assert!(!doubt.holds(heard(900), 100, || 1_000 + TOGETHER + 1));
    }

    #[test]
    fn it_ends_by_time_and_by_a_sign_of_life_and_one_more_ground_prolongs_it() {
        let doubt = Doubt::default();
        doubt.found(1_000);
        assert!(doubt.holds(heard(1_000 + OVERTAKEN), 100, || 1_100));
        assert!(!doubt.holds(heard(1_000 + OVERTAKEN + 1), 100, || 1_010));
        assert!(!doubt.holds(heard(1_000), 100, || 1_101));
        doubt.hint(7, heard(1_000), 1_090);
        assert!(doubt.holds(heard(1_000), 100, || 1_190));
    }

    #[test]
    fn what_was_on_its_way_before_a_ground_is_no_sign_of_life() {
        let doubt = Doubt::default();
        let far = |at, round_trip| Heard { at, round_trip };
        doubt.found(1_000);
        assert!(doubt.stands(far(1_080, 80)), "asked for before");
        assert!(!doubt.stands(far(1_081, 80)));
        // Whoever answers slowly is not believed to be at the other end of the solar system.
        assert!(!doubt.stands(far(1_000 + FARTHEST + 1, 5_000)));
    }

    #[test]
    fn an_answer_lifts_what_was_met_before_the_question_alone() {
        let doubt = Doubt::default();
        doubt.found(1_000);
        doubt.lift(999);
        assert!(doubt.is_raised());
        doubt.lift(1_000);
        assert!(!doubt.is_raised());
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
