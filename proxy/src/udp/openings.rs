//! How much of a worker's time new flows may take. Sans-IO: the time is an argument.

use std::time::{Duration, Instant};

/// Keeps a flood of new flows from starving those that are there. While datagrams of known flows wait in the same queues, and the
/// queues do not run empty, new flows get a part of the worker's time and no more.
pub(super) struct Openings {
    credit: Duration,
    filled: Instant,
    /// When a known flow's datagram was last read.
    known: Option<Instant>,
    /// The last read left datagrams waiting.
    backlog: bool,
    /// The flow that is about to begin takes from the credit.
    rationed: bool,
}

impl Openings {
    /// The part of the time: one in this many.
    const PART: u32 = 4;

    /// What may be saved up, so that what waited while the worker was held up may begin: a third of it at once, as long as no client minds.
    const MOST: Duration = Duration::from_millis(60);

    /// What a flow goes on to cost, in times of what its begin took: its endpoint's answer is passed on, its socket closed.
    const IN_ALL: u32 = 3;

    /// How long known flows count as being there after a datagram.
    const KNOWN_FOR: Duration = Duration::from_millis(100);

    pub(super) fn new(now: Instant) -> Self {
        Self {
            credit: Self::MOST,
            filled: now,
            known: None,
            backlog: false,
            rationed: false,
        }
    }

    /// Notes that a known flow's datagram was read.
    pub(super) fn known(&mut self, now: Instant) {
        self.known = Some(now);
    }

    /// Notes whether the last read left datagrams waiting.
    pub(super) fn read(&mut self, backlog: bool) {
        self.backlog = backlog;
    }

    /// Whether a flow may be begun.
    pub(super) fn may_open(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled) / Self::PART;
        if !gained.is_zero() {
            self.credit = (self.credit + gained).min(Self::MOST);
            self.filled = now;
        }
        let known = self
            .known
            .is_some_and(|at| now.saturating_duration_since(at) < Self::KNOWN_FOR);
        self.rationed = self.backlog && known;
        !self.rationed || !self.credit.is_zero()
    }

    /// Whether the flow that was asked for last takes from the credit. Those of a worker that keeps up take nothing from anybody, and
    /// leave a burst its whole credit.
    pub(super) fn is_rationed(&self) -> bool {
        self.rationed
    }

    /// Notes how much of the worker's time beginning a flow took.
    pub(super) fn spent(&mut self, took: Duration) {
        self.credit = self.credit.saturating_sub(took * Self::IN_ALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_flows_get_a_part_of_the_time_only_while_known_ones_wait() {
        let start = Instant::now();
        let mut openings = Openings::new(start);
        let cost = Duration::from_micros(25);
        let opened = |openings: &mut Openings, from: Instant| {
            // One second in steps of a turn that could open a hundred.
            (0..400u32)
                .flat_map(|turn| (0..100).map(move |_| turn))
                .filter(|turn| {
                    let now = from + Duration::from_micros(2500) * *turn;
                    openings.known(now);
                    let may = openings.may_open(now);
                    if may && openings.is_rationed() {
                        openings.spent(cost);
                    }
                    may
                })
                .count()
        };
        assert_eq!(opened(&mut openings, start), 40_000, "nothing waits");
        openings.read(true);
        let limited = opened(&mut openings, start + Duration::from_secs(1));
        // A second's part and what was saved up, at three times 25 µs each.
        assert!((4_000..4_600).contains(&limited), "{limited}");
        openings.known = None;
        assert!(openings.may_open(start + Duration::from_secs(2)));
    }
}
