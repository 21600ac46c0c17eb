//! Flows that their endpoint ends all at once: a process that dies takes its connections with it, and its kernel says so half a
//! round trip later, before any connect is refused. Endpoints end flows in the normal course of things, too, so that what counts is
//! many together that came with no last answer and before their clients had finished, and a good part of all there are.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use portolan_config::signal::SignalKind;

use crate::worker::Worker;

/// Flows that end within this long end together.
const TOGETHER: Duration = Duration::from_millis(50);

/// Fewer are no storm.
const FEWEST: u32 = 3;

/// The part of an endpoint's flows that must have gone.
const PART: u32 = 4;

/// Ends of one endpoint address.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    began: Option<Instant>,
    count: u32,
}

impl Ends {
    /// Counts an end; how many there were together.
    fn count(&mut self, now: Instant) -> u32 {
        let together = self
            .began
            .is_some_and(|began| now.saturating_duration_since(began) <= TOGETHER);
        if !together {
            *self = Self {
                began: Some(now),
                count: 0,
            };
        }
        self.count += 1;
        self.count
    }
}

impl Worker {
    /// The endpoint has ended a flow, by its end or by a reset, before the client had, and not at the end of an answer.
    pub(crate) fn note_left(&self, key: u32) {
        let flow = &self.flows[key as usize];
        let Some(route) = &flow.route else {
            return;
        };
        let mut ends = route.ends.get();
        let together = ends.count(self.now);
        route.ends.set(ends);
        let all = route.stats.active_flows.load(Relaxed);
        // The others see their part of it.
        let gone = together.saturating_mul(self.shared.workers);
        if together >= FEWEST && gone.saturating_mul(PART) >= all {
            self.raise(route, flow.endpoint_port, SignalKind::EndedTogether);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_count_together_within_a_moment() {
        let now = Instant::now();
        let mut ends = Ends::default();
        let at = |millis| now + Duration::from_millis(millis);
        let counts: Vec<u32> = [0, 10, 50, 51, 200].map(|ms| ends.count(at(ms))).to_vec();
        assert_eq!(counts, [1, 2, 3, 1, 1]);
    }
}
