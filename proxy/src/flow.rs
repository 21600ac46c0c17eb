//! A TCP flow as plain data, and the two things that many flows share: the listener's door that they came in by, and the
//! route (one address of one endpoint) that they go out by. Both are a worker's own, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::mem::{Discriminant, discriminant};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use pingora_limits::inflight::Guard;
use portolan_config::address::{ClientAddr, EndpointAddr, ListenerAddr};
use portolan_config::flow::PickReason;
use portolan_config::model::ListenerSettings;
use portolan_config::signal::SignalKind;
use portolan_config::snapshot::{AddressId, AddressLive, ListenerSnapshot};
use portolan_config::stats::{ConnectFailure, EndpointStats, ListenerStats};
use portolan_config::units::{AcceleratorName, EndpointId, Region};

use crate::connect::Connecting;
use crate::list::{Linked, Links, NIL};
use crate::relay::ring::OnRing;
use crate::relay::{Pipe, Ready};
use crate::wheel::{InSlot, Timed};

/// The socket of a flow that an event is about.
pub(crate) type Side = u8;

/// The client's socket; 1 to 3 are connects toward endpoints, of which one wins.
pub(crate) const CLIENT: Side = 0;

/// The list of a route's flows, or of the flows that are still connecting: a flow is in one of them.
pub(crate) struct Abreast;

/// One flow.
pub(crate) struct Flow {
    pub(crate) client: TcpStream,
    pub(crate) endpoint: Option<TcpStream>,
    /// Distinguishes this flow from earlier ones in the same place of the slab.
    pub(crate) generation: u32,
    pub(crate) phase: Phase,
    pub(crate) client_ready: Ready,
    pub(crate) endpoint_ready: Ready,
    /// The side whose events are the endpoint's.
    pub(crate) endpoint_side: Side,
    pub(crate) attempts: u8,
    pub(crate) reason: PickReason,
    /// Which side finished first.
    pub(crate) finished_first: Option<End>,
    /// It was reset once before a byte had passed and has had its one retry.
    pub(crate) retried_reset: bool,
    /// It has outlived most flows, and the kernel watches its path.
    pub(crate) stays: bool,
    /// It waits in the queue of flows that had more to move than a turn allows.
    pub(crate) queued: bool,
    /// It is among the flows that wait for their endpoint.
    pub(crate) waits: bool,
    /// The event loop says when the client takes bytes again.
    pub(crate) told_of_room: bool,
    /// Its endpoint's socket holds no small segment back.
    pub(crate) prompt: bool,
    /// Its endpoint was reset before the end of its answer: once the client has what there is of it, it is to be reset, too.
    pub(crate) cut_off: bool,
    pub(crate) on_ring: OnRing,
    pub(crate) endpoint_port: u16,
    pub(crate) slot: u16,
    /// Tick of the last byte.
    pub(crate) active: u32,
    pub(crate) connect_micros: u32,
    /// Since when bytes toward the endpoint stand unanswered, as a stamp of `silence`; 0 while none do.
    pub(crate) asked: u32,
    pub(crate) in_slot: Links,
    pub(crate) abreast: Links,
    pub(crate) inbound: Pipe,
    pub(crate) outbound: Pipe,
    pub(crate) door: Rc<Door>,
    pub(crate) route: Option<Rc<Route>>,
    /// Counts the flow for its source; only where such a limit is set.
    pub(crate) source: Option<Box<Guard>>,
    pub(crate) id: u64,
    pub(crate) started: Instant,
    pub(crate) client_addr: ClientAddr,
    pub(crate) listener_addr: ListenerAddr,
    /// Where a PROXY header says that the client had connected to: passed on to the endpoint, and nothing else. Ports and
    /// picks go by the listener's own address.
    pub(crate) declared: Option<Box<SocketAddr>>,
}

/// Client or endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Client,
    Endpoint,
}

/// How far a flow is.
pub(crate) enum Phase {
    /// A trusted sender's PROXY header is awaited.
    Header(Box<HeaderWait>),
    /// No endpoint has answered yet.
    Connecting(Box<Connecting>),
    /// Bytes pass.
    Relaying,
}

/// What has come of a PROXY header.
pub(crate) struct HeaderWait {
    pub(crate) read: Vec<u8>,
    pub(crate) deadline: Instant,
}

impl Linked<InSlot> for Flow {
    fn links(&mut self) -> &mut Links {
        &mut self.in_slot
    }
}

impl Timed for Flow {
    fn slot(&mut self) -> &mut u16 {
        &mut self.slot
    }
}

impl Linked<Abreast> for Flow {
    fn links(&mut self) -> &mut Links {
        &mut self.abreast
    }
}

/// What the flows of one listener share in a worker. Outlives the listener as long as flows do.
pub(crate) struct Door {
    pub(crate) accelerator: AcceleratorName,
    pub(crate) stats: Arc<ListenerStats>,
    /// The listener in the newest snapshot; the last one that there was when it is gone.
    listener: RefCell<Arc<ListenerSnapshot>>,
    /// Whether the newest snapshot has it.
    pub(crate) open: Cell<bool>,
}

impl Door {
    pub(crate) fn new(listener: Arc<ListenerSnapshot>) -> Self {
        Self {
            accelerator: listener.accelerator.clone(),
            stats: Arc::clone(&listener.stats),
            listener: RefCell::new(listener),
            open: Cell::new(true),
        }
    }

    pub(crate) fn listener(&self) -> Arc<ListenerSnapshot> {
        Arc::clone(&self.listener.borrow())
    }

    pub(crate) fn renew(&self, listener: &Arc<ListenerSnapshot>) {
        *self.listener.borrow_mut() = Arc::clone(listener);
        self.open.set(true);
    }

    pub(crate) fn settings(&self) -> Arc<ListenerSettings> {
        Arc::clone(&self.listener.borrow().settings)
    }
}

/// What the flows to one address of one endpoint share in a worker. Exists while there are such flows or connects.
pub(crate) struct Route {
    pub(crate) address: AddressId,
    pub(crate) ip: IpAddr,
    pub(crate) endpoint: EndpointId,
    pub(crate) region: Region,
    pub(crate) stats: Arc<EndpointStats>,
    pub(crate) live: Arc<AddressLive>,
    pub(crate) door: Rc<Door>,
    /// The list of its established flows.
    pub(crate) flows: Cell<u32>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// When a signal was last raised, and of which kind.
    signalled: Cell<Option<(Instant, Discriminant<SignalKind>)>>,
    /// Flows that the kernel was asked about in a tick of `silence`.
    asked: Cell<(u32, u8)>,
}

/// One signal of a kind an address, worker and this long is evidence enough.
const SIGNAL_PACE: Duration = Duration::from_millis(20);

impl Route {
    pub(crate) fn new(
        listener: &ListenerSnapshot,
        candidate: &crate::pick::Candidate,
        door: &Rc<Door>,
    ) -> Self {
        let group = &listener.groups[candidate.group];
        let endpoint = &group.endpoints[candidate.endpoint];
        let address = &endpoint.addresses[candidate.address];
        let name = (endpoint.id.clone(), group.region.clone());
        let (stats, live) = (Arc::clone(&endpoint.stats), Arc::clone(&address.live));
        Self::made_of(address.ip, name, stats, live, door)
    }

    /// A route to an endpoint that no snapshot need know (any more).
    pub(crate) fn made_of(
        ip: IpAddr,
        (endpoint, region): (EndpointId, Region),
        stats: Arc<EndpointStats>,
        live: Arc<AddressLive>,
        door: &Rc<Door>,
    ) -> Self {
        Self {
            address: live.id,
            ip,
            endpoint,
            region,
            stats,
            live,
            door: Rc::clone(door),
            flows: Cell::new(NIL),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            signalled: Cell::new(None),
            asked: Cell::new((0, 0)),
        }
    }

    pub(crate) fn addr(&self, port: u16) -> EndpointAddr {
        EndpointAddr((self.ip, port).into())
    }

    /// Notes bytes; true when nothing was noted since the last [`Route::settle`].
    pub(crate) fn note(&self, bytes_in: u64, bytes_out: u64) -> bool {
        let fresh = self.bytes_in.get() == 0 && self.bytes_out.get() == 0;
        self.bytes_in.set(self.bytes_in.get() + bytes_in);
        self.bytes_out.set(self.bytes_out.get() + bytes_out);
        fresh && bytes_in + bytes_out > 0
    }

    /// Moves what was noted to the shared counters.
    pub(crate) fn settle(&self) {
        let (bytes_in, bytes_out) = (self.bytes_in.take(), self.bytes_out.take());
        self.stats.bytes_in.fetch_add(bytes_in, Relaxed);
        self.stats.bytes_out.fetch_add(bytes_out, Relaxed);
        self.door.stats.bytes_in.fetch_add(bytes_in, Relaxed);
        self.door.stats.bytes_out.fetch_add(bytes_out, Relaxed);
    }

    /// Counts a connect that failed; what it tells of the endpoint, if that is at fault.
    pub(crate) fn count_failure(&self, failure: ConnectFailure) -> Option<SignalKind> {
        self.stats.connect_failures.fetch_add(1, Relaxed);
        self.door.stats.count_connect_failure(failure);
        match failure {
            ConnectFailure::Refused => Some(SignalKind::Refused),
            ConnectFailure::TimedOut => Some(SignalKind::TimedOut),
            ConnectFailure::Unreachable | ConnectFailure::Reset => Some(SignalKind::Unreachable),
            ConnectFailure::Local => None,
        }
    }

    /// Whether a signal of this kind may be raised at `now`; notes it if so.
    pub(crate) fn may_signal(&self, kind: SignalKind, now: Instant) -> bool {
        let kind = discriminant(&kind);
        let due = self.signalled.get().is_none_or(|(last, of)| {
            of != kind || now.saturating_duration_since(last) >= SIGNAL_PACE
        });
        if due {
            self.signalled.set(Some((now, kind)));
        }
        due
    }

    /// Whether the kernel may be asked about another flow in this tick, of which there may be `most`; notes it if so.
    pub(crate) fn may_ask(&self, tick: u32, most: u8) -> bool {
        let asked = match self.asked.get() {
            (of, asked) if of == tick => asked,
            _ => 0,
        };
        self.asked.set((tick, asked.saturating_add(1)));
        asked < most
    }

    /// Its endpoint was found alive in this tick: no other flow need be asked about.
    pub(crate) fn ask_no_more(&self, tick: u32) {
        self.asked.set((tick, u8::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_flow_is_a_few_hundred_bytes() {
        // What an idle flow costs beside its two sockets: the README's figure comes from here and from the measured RSS.
        let size = std::mem::size_of::<Flow>();
        assert!(size <= 320, "a flow has grown to {size} bytes");
    }
}
