//! The last step: a flow, or what it was with one endpoint, ends for a cause of the closed list, is counted and recorded.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use portolan_config::address::{ClientAddr, ListenerAddr, canonical};
use portolan_config::clock;
use portolan_config::flow::{EndCause, FlowRecord, RecordedEndpoint};
use portolan_config::model::Protocol;

use super::open::Ends;
use super::table::{Flow, FlowId};
use super::{Carried, Turn, Udp};

impl Udp {
    /// Ends a flow.
    pub(super) fn end(&mut self, turn: &Turn<'_>, id: FlowId, cause: EndCause) {
        self.count_lost(id);
        let Some(flow) = self.table.remove(id) else {
            return;
        };
        let path = Rc::clone(&flow.carried.path);
        let (shared, door) = (turn.shared, &path.route.door);
        path.route.stats.active_flows.fetch_sub(1, Relaxed);
        door.stats.count_end(cause);
        shared.gate.leave_datagrams(&shared.stats, &door.stats);
        self.record(turn, &flow, id, cause);
        self.sockets[id as usize] = None;
        drop(flow);
        self.forget_path(&path);
    }

    /// Ends what a flow was with one endpoint; with the next one it is another flow of the same client.
    pub(super) fn end_part(&mut self, turn: &mut Turn<'_>, id: FlowId, cause: EndCause) {
        let next = turn.id();
        if let Some(flow) = self.table.get(id) {
            self.record(turn, flow, id, cause);
        }
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        let carried = &mut flow.carried;
        carried.path.route.door.stats.count_end(cause);
        carried.id = next;
        carried.started = clock::millis(turn.now);
        carried.attempts = 0;
        (carried.bytes_in, carried.bytes_out) = (0, 0);
        (carried.packets_in, carried.packets_out) = (0, 0);
    }

    fn record(&self, turn: &Turn<'_>, flow: &Flow<Carried>, id: FlowId, cause: EndCause) {
        if !turn.shared.records.wants() {
            return;
        }
        let Flow { carried, .. } = flow;
        let ends = Ends::of(&flow.tuple, flow.declared.as_deref());
        let route = &carried.path.route;
        let lasted = Duration::from_millis(clock::millis(turn.now).saturating_sub(carried.started));
        let socket = self.sockets.get(id as usize).and_then(Option::as_ref);
        let edge_address = socket
            .and_then(|socket| socket2::SockRef::from(socket).local_addr().ok())
            .and_then(|address| address.as_socket());
        turn.shared.records.record(FlowRecord {
            id: carried.id,
            protocol: Protocol::Udp,
            accelerator: route.door.accelerator.clone(),
            client: ClientAddr(canonical(ends.client.0)),
            listener: ListenerAddr(canonical(ends.local.0)),
            endpoint: Some(RecordedEndpoint {
                id: route.endpoint.clone(),
                region: route.region.clone(),
                address: route.addr(carried.port),
                edge_address,
                reason: carried.reason,
            }),
            bytes_in: carried.bytes_in,
            bytes_out: carried.bytes_out,
            packets_in: carried.packets_in,
            packets_out: carried.packets_out,
            started: SystemTime::now()
                .checked_sub(lasted)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            lasted,
            connect_took: None,
            attempts: carried.attempts,
            cause,
        });
    }
}
