//! `expect_first_byte`: endpoints that take what a client says and answer nothing. The kernel accepts and acknowledges for a process
//! that hangs, so that nothing else of a flow ever shows it. One timer a flow, and only where a listener asks for it.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use portolan_config::clock;
use portolan_config::signal::SignalKind;

use crate::flow::Phase;
use crate::sys;
use crate::wheel::TICK;
use crate::worker::{Handle, Timer, Worker};

impl Worker {
    /// The first bytes of a flow's client have gone to its endpoint.
    pub(crate) fn expect_first_byte(&mut self, handle: Handle) {
        let flow = &self.flows[handle.key as usize];
        let expected = flow.door.settings().expect_first_byte;
        if let Some(within) = expected.filter(|_| flow.outbound.reads == 0) {
            self.arm(self.now + within, Timer::FirstByte(handle));
        }
    }

    /// The answer should have begun by now.
    pub(crate) fn on_first_byte_due(&mut self, handle: Handle) {
        let (now, tick) = (self.now, self.wheel.tick(self.now));
        let Some(flow) = self.flow(handle) else {
            return;
        };
        let Some(within) = flow.door.settings().expect_first_byte else {
            return;
        };
        if flow.outbound.reads != 0 || !matches!(flow.phase, Phase::Relaying) {
            return;
        }
        // Who is still asking cannot be answered yet.
        let quiet = TICK * tick.saturating_sub(flow.active);
        if quiet < within {
            self.arm(now + (within - quiet).max(TICK), Timer::FirstByte(handle));
            return;
        }
        let (source, port) = (flow.client_addr.0.ip(), flow.endpoint_port);
        let delivered = flow.endpoint.as_ref().is_some_and(|endpoint| {
            sys::tcp_state(endpoint.as_fd()).is_ok_and(|state| state.open && state.unacked == 0)
        });
        let Some(route) = flow.route.clone().filter(|_| delivered) else {
            return;
        };
        // Whoever answers others is slow with this one.
        let last_answered = route.live.last_answered.load(Relaxed);
        let mute = Duration::from_millis(clock::millis(now).saturating_sub(last_answered));
        if last_answered == 0 || mute >= within {
            self.raise_each(&route, port, SignalKind::NeverAnswers { source });
        }
    }
}
