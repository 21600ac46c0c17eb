//! Flows that their endpoint ends all at once: a process that dies takes its connections with it, and its kernel says so half a
//! round trip later, before any connect is refused. Endpoints end flows in the normal course of things, too, so that what counts is
//! many together that came with no last answer and before their clients had finished, and a good part of all there are.

use std::sync::atomic::Ordering::Relaxed;

use portolan_config::clock;
use portolan_config::signal::SignalKind;

use crate::worker::Worker;

/// Flows that end within this long end together, milliseconds.
const TOGETHER: u64 = 50;

/// Fewer are no storm.
const FEWEST: u32 = 2;

/// The part of an endpoint's flows that must have gone.
const PART: u32 = 4;

impl Worker {
    /// The endpoint has ended a flow, by its end or by a reset, before the client had, and not at the end of an answer.
    pub(crate) fn note_left(&self, key: u32) {
        let flow = &self.flows[key as usize];
        let Some(route) = &flow.route else {
            return;
        };
        // Counted over all workers.
        let together = route
            .live
            .doubt
            .count_end(TOGETHER, clock::millis(self.now));
        let all = route.stats.active_flows.load(Relaxed);
        if together >= FEWEST && together.saturating_mul(PART) >= all {
            self.raise(
                route,
                flow.endpoint_port,
                SignalKind::EndedTogether,
                flow.id,
            );
        }
    }
}
