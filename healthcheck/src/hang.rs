//! An endpoint that accepts and never answers, as live flows found out: for how long it stays down though connects are accepted.
//! No clock: `now` is an argument. Called by the checker alone.
//!
//! Nothing that a connect finds can bring it back, and somebody must try whether it answers. So after a while it may come up
//! again by its check; found hanging again soon, it stays away for twice as long, up to a minute. A byte that arrives on one of its
//! old flows meanwhile proves that it answers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portolan_config::clock;
use portolan_config::snapshot::AddressLive;

/// How long it stays down the first time.
const FIRST: Duration = Duration::from_secs(10);

/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// For how long an earlier time is remembered.
const MEMORY: Duration = Duration::from_secs(300);

/// What the check says of it, in the words of state and events.
pub(crate) const WORDS: &str = "accepts connections, never answers";

/// One time that it was found hanging.
#[derive(Clone, Debug)]
pub(crate) struct Hang {
    live: Arc<AddressLive>,
    found: Instant,
    lasts: Duration,
}

impl Hang {
    /// Found at `now`, `before` being the last time.
    pub(crate) fn found(before: Option<&Hang>, live: Arc<AddressLive>, now: Instant) -> Self {
        let recent =
            before.filter(|hang| now.saturating_duration_since(hang.found) < MEMORY + hang.lasts);
        Self {
            live,
            found: now,
            lasts: recent.map_or(FIRST, |hang| (hang.lasts * 2).min(LONGEST)),
        }
    }

    /// Whether it is still to be kept down.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        let answered = self.live.last_answered.load(Ordering::Relaxed) > clock::millis(self.found);
        !answered && now.saturating_duration_since(self.found) < self.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_config::snapshot::AddressId;

    #[test]
    fn it_lasts_longer_each_time_and_ends_with_an_answer() {
        let live = Arc::new(AddressLive::new(AddressId(1)));
        let mut now = clock::start() + Duration::from_secs(100);
        let mut hang = Hang::found(None, Arc::clone(&live), now);
        for seconds in [10, 20, 40, 60, 60] {
            assert!(hang.holds(now + Duration::from_secs(seconds) - Duration::from_millis(1)));
            now += Duration::from_secs(seconds);
            assert!(!hang.holds(now));
            hang = Hang::found(Some(&hang), Arc::clone(&live), now);
        }
        live.answered(clock::millis(now + Duration::from_millis(5)));
        assert!(!hang.holds(now + Duration::from_millis(5)));
        let much_later = now + MEMORY + LONGEST;
        let hang = Hang::found(Some(&hang), live, much_later);
        assert!(!hang.holds(much_later + FIRST), "the past is forgotten");
    }
}
