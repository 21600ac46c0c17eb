//! Which endpoints answer to their clients' own addresses by way of this host, and when each is asked. Sans-IO: the controller
//! asks, and lays out anew when an answer changes what is known.
//!
//! A group that wants transparent clients gets them only where that was proved, and loses them when it is no longer so: two tests
//! in a row, since one may have been lost. Until then, and from then on, its flows come from the edge's own address.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use portolan_config::address::EndpointAddr;
use portolan_healthcheck::NoWayBack;

/// From one test to the next.
const EVERY: Duration = Duration::from_secs(10);

/// From a test that failed to the one that confirms it, and how often it is looked whether an endpoint is up that is not.
const SOON: Duration = Duration::from_secs(1);

/// Failures in a row that close a way.
const FAILURES: u8 = 2;

/// Tests under way at once; one descriptor each.
const UNDER_WAY: usize = 64;

/// What is known of one endpoint address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing yet.
    Untested,
    /// Answers come back.
    Open,
    /// They do not.
    Closed(NoWayBack),
}

#[derive(Debug)]
struct Tested {
    way: Way,
    failures: u8,
    next: Instant,
    under_way: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct WaysBack {
    tested: HashMap<EndpointAddr, Tested>,
    under_way: usize,
}

impl WaysBack {
    /// Tests exactly these from now on.
    pub(crate) fn want(&mut self, wanted: &HashSet<EndpointAddr>, now: Instant) {
        self.tested.retain(|to, _| wanted.contains(to));
        for to in wanted {
            self.tested.entry(*to).or_insert(Tested {
                way: Way::Untested,
                failures: 0,
                next: now,
                under_way: false,
            });
        }
    }

    /// What is to be asked now. One that is not up is asked when it is.
    pub(crate) fn take_due(
        &mut self,
        is_up: impl Fn(EndpointAddr) -> bool,
        now: Instant,
    ) -> Vec<EndpointAddr> {
        let mut due = Vec::new();
        for (to, tested) in &mut self.tested {
            if tested.under_way || tested.next > now || self.under_way >= UNDER_WAY {
                continue;
            }
            if is_up(*to) {
                tested.under_way = true;
                self.under_way += 1;
                due.push(*to);
            } else {
                tested.next = now + SOON;
            }
        }
        due
    }

    /// When [`WaysBack::take_due`] has something to give.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let waiting = self.tested.values().filter(|tested| !tested.under_way);
        let next = waiting.map(|tested| tested.next).min();
        next.filter(|_| self.under_way < UNDER_WAY)
    }

    /// Takes what a test found. Whether that changes what is known.
    pub(crate) fn answered(
        &mut self,
        to: EndpointAddr,
        found: Result<(), NoWayBack>,
        is_up: bool,
        now: Instant,
    ) -> bool {
        self.under_way = self.under_way.saturating_sub(1);
        let Some(tested) = self.tested.get_mut(&to) else {
            return false;
        };
        tested.under_way = false;
        let before = tested.way.clone();
        match found {
            Ok(()) => {
                (tested.way, tested.failures) = (Way::Open, 0);
                tested.next = now + EVERY;
            }
            // An endpoint that has gone answers nobody.
            Err(NoWayBack::NoAnswer | NoWayBack::Unreachable) if !is_up => {
                tested.next = now + SOON;
            }
            Err(why) => {
                tested.failures = tested.failures.saturating_add(1);
                let confirmed = tested.failures >= FAILURES || why == NoWayBack::NoRight;
                tested.next = now + if confirmed { EVERY } else { SOON };
                if confirmed {
                    tested.way = Way::Closed(why);
                }
            }
        }
        tested.way != before
    }

    /// What is known.
    pub(crate) fn of(&self, to: EndpointAddr) -> Way {
        self.tested
            .get(&to)
            .map_or(Way::Untested, |tested| tested.way.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(host: u8) -> EndpointAddr {
        EndpointAddr(([192, 0, 2, host], 80).into())
    }

    const NO_ANSWER: Result<(), NoWayBack> = Err(NoWayBack::NoAnswer);

    #[test]
    fn a_way_opens_at_the_first_answer_and_closes_at_the_second_silence() {
        let mut now = Instant::now();
        let mut ways = WaysBack::default();
        ways.want(&[to(1)].into(), now);
        assert_eq!(ways.take_due(|_| true, now), [to(1)]);
        assert_eq!(ways.take_due(|_| true, now), [], "it is being asked");
        assert!(ways.answered(to(1), Ok(()), true, now));
        assert_eq!(ways.of(to(1)), Way::Open);
        for (changes, pause) in [(false, EVERY), (true, SOON), (false, EVERY)] {
            assert_eq!(ways.next_due(), Some(now + pause));
            now += pause;
            assert_eq!(ways.take_due(|_| true, now), [to(1)]);
            assert_eq!(ways.answered(to(1), NO_ANSWER, true, now), changes);
        }
        assert_eq!(ways.of(to(1)), Way::Closed(NoWayBack::NoAnswer));
    }

    #[test]
    fn an_endpoint_that_is_down_closes_no_way() {
        let mut now = Instant::now();
        let mut ways = WaysBack::default();
        ways.want(&[to(1)].into(), now);
        ways.take_due(|_| true, now);
        ways.answered(to(1), Ok(()), true, now);
        for _ in 0..5 {
            now += EVERY;
            ways.take_due(|_| true, now);
            assert!(!ways.answered(to(1), NO_ANSWER, false, now));
        }
        now += EVERY;
        assert_eq!(ways.take_due(|_| false, now), []);
        assert_eq!(ways.of(to(1)), Way::Open);
    }

    #[test]
    fn without_the_right_nothing_has_to_be_confirmed_and_who_leaves_is_forgotten() {
        let now = Instant::now();
        let mut ways = WaysBack::default();
        ways.want(&[to(1), to(2)].into(), now);
        assert_eq!(ways.take_due(|_| true, now).len(), 2);
        assert!(ways.answered(to(1), Err(NoWayBack::NoRight), true, now));
        ways.want(&[to(1)].into(), now);
        assert!(!ways.answered(to(2), Ok(()), true, now));
        assert_eq!(ways.of(to(2)), Way::Untested);
    }
}
