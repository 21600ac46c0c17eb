//! Endpoints that fall silent under live flows: data that stands unacknowledged for longer than the path and the endpoint's kernel
//! can explain. It is a suspicion and nothing more; the health side asks the endpoint before anything is decided.
//!
//! The kernel's own timers tell of a dead path after half a second and more, since every write pushes them on; what it knows
//! (`TCP_INFO`) tells after one round trip. Asking is a system call, so it is done seldom: a flow is looked at every [`LOOK_EVERY`] only
//! while it has written something that its endpoint has not answered, and the kernel is asked only when its whole endpoint address
//! has been silent for longer than a connect takes, for a few flows of each address. Flows that are answered within a tick, and
//! idle ones, cost no system call; where nothing is outstanding, nothing runs.
//!
//! **How long is too long.** An acknowledgement is due one round trip after the data; TCP's own estimate of how much that varies,
//! four times, covers a path with jitter ([`patience`]). While a single segment is out, the receiver may keep the acknowledgement
//! back for a moment, hoping for an answer to ride on; from the second one on it may not (RFC 9293, 3.8.6.3).

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use portolan_config::clock;
use portolan_config::signal::SignalKind;

use crate::flow::{Flow, Phase};
use crate::sys::{self, TcpState};
use crate::worker::{Handle, Timer, Worker};

/// How often flows that wait for an answer are looked at: well under the round trip of a region, well above what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Flows looked at in a tick; the rest waits for the next one.
const LOOKS: usize = 1024;

/// Flows of one address that the kernel is asked about in a tick: one that is stuck for a reason of its own must not hide the others.
const ASKED_OF_AN_ADDRESS: u8 = 3;

/// Flows that the kernel is asked about in a tick.
const ASKED: usize = 64;

/// How long Linux keeps an acknowledgement back, hoping for an answer to ride on (`TCP_DELACK_MIN`).
const DELAYED_ACK: Duration = Duration::from_millis(40);

/// Scheduling at both ends, and the kernel's clock of whole milliseconds.
const SLACK: Duration = Duration::from_millis(5);

/// What `TCP_INFO` says about the past is up to a jiffy off, 10 ms on the coarsest configuration.
const JIFFY: Duration = Duration::from_millis(10);

/// Flows that wait for an answer.
#[derive(Default)]
pub(crate) struct Waiting {
    flows: Vec<Handle>,
    /// Where the next tick goes on.
    at: usize,
    /// A tick is due.
    armed: bool,
    /// Counts ticks.
    tick: u32,
}

/// What a look at a flow came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It waits for nothing.
    Answered,
    /// It waits, and nothing is wrong as far as is known.
    Waits,
}

impl Worker {
    /// A flow has moved bytes: `asked` toward its endpoint, `answered` from there.
    pub(crate) fn note_waiting(&mut self, handle: Handle, asked: bool, answered: bool) {
        let flow = &mut self.flows[handle.key as usize];
        if answered {
            flow.asked = 0;
        }
        if !asked || flow.asked != 0 {
            return;
        }
        flow.asked = stamp(self.now);
        if !std::mem::replace(&mut flow.waits, true) {
            self.waiting.flows.push(handle);
            if !std::mem::replace(&mut self.waiting.armed, true) {
                self.arm(self.now + LOOK_EVERY, Timer::Waiting);
            }
        }
    }

    /// Looks at flows that wait, in turn.
    pub(crate) fn look_at_waiting(&mut self) {
        let mut flows = std::mem::take(&mut self.waiting.flows);
        self.waiting.tick = self.waiting.tick.wrapping_add(1);
        let mut asked = 0;
        let mut at = self.waiting.at;
        for _ in 0..flows.len().min(LOOKS) {
            if at >= flows.len() {
                at = 0;
            }
            match self.look_at(flows[at], &mut asked) {
                Look::Waits => at += 1,
                Look::Answered => {
                    flows.swap_remove(at);
                }
            }
        }
        self.waiting.at = at;
        self.waiting.armed = !flows.is_empty();
        // What came meanwhile stands behind.
        flows.append(&mut self.waiting.flows);
        self.waiting.flows = flows;
        if self.waiting.armed {
            self.arm(self.now + LOOK_EVERY, Timer::Waiting);
        }
    }

    fn look_at(&mut self, handle: Handle, asked: &mut usize) -> Look {
        let (now, tick) = (self.now, self.waiting.tick);
        let Some(flow) = self.flow(handle) else {
            return Look::Answered;
        };
        if flow.asked == 0 || !matches!(flow.phase, Phase::Relaying) {
            (flow.waits, flow.asked) = (false, 0);
            return Look::Answered;
        }
        let waited = since(flow.asked, now);
        let Some(route) = flow.route.clone() else {
            return Look::Waits;
        };
        let usual = route.live.connect_time().unwrap_or_default();
        let last_heard = route.live.last_heard.load(Relaxed);
        let heard = Duration::from_millis(clock::millis(now).saturating_sub(last_heard));
        // Whoever has just been heard of is alive, whatever this flow waits for.
        if waited <= usual + SLACK || heard <= LOOK_EVERY || *asked >= ASKED {
            return Look::Waits;
        }
        if !route.may_ask(tick, ASKED_OF_AN_ADDRESS) {
            return Look::Waits;
        }
        *asked += 1;
        let (port, id) = (flow.endpoint_port, flow.id);
        let Some(state) = tcp_state(flow) else {
            return Look::Waits;
        };
        let acknowledged = state.unacked == 0;
        if acknowledged {
            (flow.waits, flow.asked) = (false, 0);
        }
        if acknowledged || waited.min(state.heard) <= patience(&state) {
            // An acknowledgement is a sign of life as good as a byte.
            if let Some(at) = now.checked_sub(state.heard + JIFFY) {
                route.live.heard(clock::millis(at));
            }
            route.ask_no_more(tick);
        } else {
            self.raise(&route, port, SignalKind::Unacknowledged, id);
        }
        if acknowledged {
            Look::Answered
        } else {
            Look::Waits
        }
    }
}

fn tcp_state(flow: &Flow) -> Option<TcpState> {
    let endpoint = flow.endpoint.as_ref()?;
    sys::tcp_state(endpoint.as_fd()).ok()
}

/// How long data may stand unacknowledged.
fn patience(state: &TcpState) -> Duration {
    let TcpState {
        srtt,
        variation,
        unacked,
        ..
    } = *state;
    let due = (srtt + variation * 4).max(srtt + srtt / 4) + SLACK;
    if unacked == 1 { due + DELAYED_ACK } else { due }
}

/// A moment of a flow's life: milliseconds of the worker's clock, never 0, which is none.
fn stamp(now: Instant) -> u32 {
    (clock::millis(now) as u32).max(1)
}

fn since(stamped: u32, now: Instant) -> Duration {
    Duration::from_millis(u64::from(stamp(now).wrapping_sub(stamped)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(srtt: u64, variation: u64, unacked: u32) -> TcpState {
        TcpState {
            open: true,
            unacked,
            heard: Duration::ZERO,
            srtt: Duration::from_millis(srtt),
            variation: Duration::from_millis(variation),
        }
    }

    #[test]
    fn patience_goes_by_path_jitter_and_delayed_acknowledgements() {
        // srtt, its variation, segments out, how long they may be
        let table = [
            (2, 0, 2, 7),
            (2, 0, 1, 47),
            (68, 1, 5, 90),
            (68, 30, 5, 193),
            (80, 0, 2, 105),
        ];
        for (srtt, variation, unacked, millis) in table {
            let found = patience(&state(srtt, variation, unacked)).as_millis();
            assert_eq!(found, millis, "{srtt} {variation} {unacked}");
        }
    }

    #[test]
    fn a_stamp_lasts_over_the_end_of_its_numbers() {
        let now = Instant::now();
        let later = now + Duration::from_millis(70);
        assert_eq!(since(stamp(now), later), Duration::from_millis(70));
        assert_eq!(
            since(u32::MAX, now) + Duration::from_millis(1),
            since(u32::MAX - 1, now)
        );
    }
}
