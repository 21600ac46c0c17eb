//! The last step: a flow ends, for one cause of a closed list, and what it was is counted and recorded.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use portolan_config::flow::{EndCause, FlowRecord, RecordedEndpoint};
use portolan_config::model::Protocol;

use crate::accept::reset_on_close;
use crate::flow::{Abreast, Flow, Phase};
use crate::list;
use crate::worker::Worker;

impl Worker {
    /// Ends a flow.
    pub(crate) fn end(&mut self, key: u32, cause: EndCause) {
        self.abandon(key);
        self.leave_route(key);
        self.cancel_receives(key);
        self.wheel.clear(&mut self.flows, key);
        let mut flow = self.flows.remove(key as usize);
        close(&flow, cause);
        self.scratch.forget(&mut flow.inbound);
        self.scratch.forget(&mut flow.outbound);
        let shared = &self.shared;
        shared.gate.leave(&shared.stats, &flow.door.stats);
        flow.door.stats.count_end(cause);
        if shared.records.wants() {
            let lasted = self.now.saturating_duration_since(flow.started);
            shared.records.record(record(&flow, cause, lasted));
        }
    }

    /// Takes a flow off its route's list and out of its endpoint's count. The flow keeps the route, for its record.
    pub(crate) fn leave_route(&mut self, key: u32) {
        let flow = &self.flows[key as usize];
        if !matches!(flow.phase, Phase::Relaying) {
            return;
        }
        let Some(route) = flow.route.as_ref().map(Rc::clone) else {
            return;
        };
        route.flows.set(list::remove::<Flow, Abreast>(
            &mut self.flows,
            route.flows.get(),
            key,
        ));
        route.stats.active_flows.fetch_sub(1, Relaxed);
        // This reference, the flow's and the table's.
        if Rc::strong_count(&route) <= 3 {
            self.routes.remove(&route.address);
        }
    }
}

/// Closes both sockets the way the cause asks: what ended by a reset ends by a reset on the other side, never by a clean end that
/// would pass a cut-off answer for a whole one.
fn close(flow: &Flow, cause: EndCause) {
    let (client, endpoint) = match cause {
        EndCause::ClientFin | EndCause::EndpointFin => (false, false),
        // Whoever was still to get something must not take what it got for all of it.
        EndCause::Idle => (flow.outbound.is_blocked(), flow.inbound.is_blocked()),
        EndCause::HalfClose => (!flow.outbound.shut, !flow.inbound.shut),
        EndCause::ClientRst => (false, true),
        EndCause::EndpointRst | EndCause::ConnectFailed => (true, false),
        EndCause::StrandedReset | EndCause::DrainTimeout | EndCause::Limit | EndCause::Shutdown => {
            (true, true)
        }
    };
    if client {
        reset_on_close(&flow.client);
    }
    if let Some(socket) = flow.endpoint.as_ref().filter(|_| endpoint) {
        reset_on_close(socket);
    }
}

fn record(flow: &Flow, cause: EndCause, lasted: Duration) -> FlowRecord {
    let edge_address = flow
        .endpoint
        .as_ref()
        .and_then(|socket| socket.local_addr().ok());
    FlowRecord {
        id: flow.id,
        protocol: Protocol::Tcp,
        accelerator: flow.door.accelerator.clone(),
        client: flow.client_addr,
        listener: flow.listener_addr,
        endpoint: flow.route.as_ref().map(|route| RecordedEndpoint {
            id: route.endpoint.clone(),
            region: route.region.clone(),
            address: route.addr(flow.endpoint_port),
            edge_address,
            reason: flow.reason,
        }),
        bytes_in: flow.inbound.bytes,
        bytes_out: flow.outbound.bytes,
        packets_in: u64::from(flow.inbound.reads),
        packets_out: u64::from(flow.outbound.reads),
        started: SystemTime::now()
            .checked_sub(lasted)
            .unwrap_or(SystemTime::UNIX_EPOCH),
        lasted,
        connect_took: flow
            .route
            .is_some()
            .then(|| Duration::from_micros(u64::from(flow.connect_micros))),
        attempts: flow.attempts,
        cause,
    }
}
