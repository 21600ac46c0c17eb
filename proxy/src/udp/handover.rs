//! Live flows of UDP on their way to a successor, each with its socket toward its endpoint, and where connections of QUIC live. The
//! successor reads no listening socket before they are there ([`Udp::go`]), so that no datagram begins a flow anew that is still coming.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use portolan_config::address::{ClientAddr, EndpointAddr, ListenerAddr, canonical};
use portolan_config::clock;
use portolan_config::flow::{EndCause, FlowRecord, PickReason, RecordedEndpoint};
use portolan_config::model::Protocol;
use portolan_config::snapshot::{AddressId, ListenerSnapshot};
use portolan_config::units::{AcceleratorName, EndpointId, Region};

use super::open::name_of;
use super::quic::{self, Home};
use super::replay::Kept;
use super::table::{Declared, FlowId, Tuple};
use super::{Carried, Rare, Turn, Udp};
use crate::handover::find;
use crate::sys::udp::dropped;
use crate::worker::Shared;

/// What a flow keeps of its idle time at least when it arrives: longer than its way takes.
const ON_THE_WAY: Duration = Duration::from_secs(2);

/// A flow of UDP on its way to a successor.
#[derive(Debug)]
pub struct HandedDatagrams {
    /// The socket toward the endpoint.
    pub socket: OwnedFd,
    /// The address that its client's datagrams come in by.
    pub bind: SocketAddr,
    /// Which of that address's sockets, in their order.
    pub slot: usize,
    /// Who.
    pub client: SocketAddr,
    /// Spoken to.
    pub local: SocketAddr,
    /// Whose listener that is.
    pub accelerator: AcceleratorName,
    /// Source and destination that a PROXY header named.
    pub declared: Option<(SocketAddr, SocketAddr)>,
    /// The region of its endpoint.
    pub region: Region,
    /// Its endpoint.
    pub endpoint_id: EndpointId,
    /// Sent to.
    pub endpoint_addr: SocketAddr,
    /// Its id, which it keeps.
    pub id: u64,
    /// Since it began.
    pub age: Duration,
    /// Since it came to this endpoint.
    pub at_endpoint: Duration,
    /// Since the endpoint's last datagram, if there was one.
    pub heard: Option<Duration>,
    /// Since the last datagram of either side.
    pub silent: Duration,
    /// Connects tried.
    pub attempts: u8,
    /// Why this endpoint.
    pub reason: PickReason,
    /// Its client has gone on after an answer.
    pub confirmed: bool,
    /// The QUIC connection id that it carries; empty for none.
    pub connection: Vec<u8>,
    /// Bytes so far, from client to endpoint and back.
    pub bytes: (u64, u64),
    /// Datagrams so far, from client to endpoint and back.
    pub packets: (u64, u64),
}

/// Where a QUIC connection lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedConnection {
    /// Whose listener it came in by.
    pub accelerator: AcceleratorName,
    /// A port of that listener.
    pub port: u16,
    /// By what it is known: the endpoint's id for it, or its client's address.
    pub known_by: KnownBy,
    /// Where it lives.
    pub endpoint: SocketAddr,
}

/// By what a QUIC connection is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// An id that the endpoint gave it.
    Id(Vec<u8>),
    /// The address of its client.
    Client(Ipv6Addr),
}

impl Udp {
    /// Gives away every flow. The listening sockets are a successor's already.
    pub(super) fn export(&mut self, turn: &mut Turn<'_>) -> Vec<HandedDatagrams> {
        self.flush(turn);
        let ids = self.table.ids();
        let handed = ids
            .into_iter()
            .filter_map(|id| self.export_one(turn, id))
            .collect();
        self.settle();
        handed
    }

    fn export_one(&mut self, turn: &Turn<'_>, id: FlowId) -> Option<HandedDatagrams> {
        let socket = self.sockets.get_mut(id as usize)?.take()?;
        // The successor's copy keeps the socket open, so closing ours would leave it in this event loop.
        if let Err(error) = turn.registry.deregister(&mut SourceFd(&socket.as_raw_fd())) {
            tracing::debug!(%error, "a flow's socket was not registered");
        }
        let confirmed = self.table.is_confirmed(id);
        let silent = self.table.silent(id, turn.now);
        let flow = self.table.remove(id)?;
        let carried = flow.carried;
        let path = Rc::clone(&carried.path);
        let (route, shared) = (&path.route, turn.shared);
        route.stats.active_flows.fetch_sub(1, Relaxed);
        shared
            .gate
            .leave_datagrams(&shared.stats, &route.door.stats);
        let entrance = self.entrances.get(carried.entrance as usize)?;
        let ago = |millis: u64| {
            let at = clock::instant(millis);
            turn.now.saturating_duration_since(at)
        };
        let handed = HandedDatagrams {
            socket,
            bind: entrance.bind,
            slot: entrance.slot,
            client: flow.tuple.client.into(),
            local: flow.tuple.local.into(),
            accelerator: route.door.accelerator.clone(),
            declared: flow
                .declared
                .map(|declared| (declared.0.into(), declared.1.into())),
            region: route.region.clone(),
            endpoint_id: route.endpoint.clone(),
            endpoint_addr: route.addr(carried.port).0,
            id: carried.id,
            age: ago(carried.started),
            at_endpoint: ago(carried.since),
            heard: (carried.heard > 0).then(|| ago(carried.heard)),
            silent,
            attempts: carried.attempts,
            reason: carried.reason,
            confirmed,
            connection: carried
                .connection()
                .and_then(|id| id.known_by().id())
                .unwrap_or_default(),
            bytes: (carried.bytes_in, carried.bytes_out),
            packets: (carried.packets_in, carried.packets_out),
        };
        drop(carried.path);
        self.forget_path(&path);
        Some(handed)
    }

    /// Takes a predecessor's flow. One that has no place here ends: its client's next datagram begins another.
    pub(super) fn adopt(&mut self, turn: &mut Turn<'_>, handed: HandedDatagrams) {
        let tuple = Tuple {
            client: handed.client.into(),
            local: handed.local.into(),
        };
        let declared: Option<Declared> = handed
            .declared
            .map(|(client, local)| (client.into(), local.into()));
        let mut entrances = self.entrances.iter();
        let entrance = entrances.find(|(_, e)| e.bind == handed.bind && e.slot == handed.slot);
        let known = self.table.find(&tuple, declared.as_ref());
        let (Some((key, entrance)), None) = (entrance, known) else {
            return end_unplaced(turn, &handed);
        };
        let Some(door) = entrance.behind.at(handed.local.port()).map(Rc::clone) else {
            return end_unplaced(turn, &handed);
        };
        let listener = door.listener();
        let (region, endpoint) = (&handed.region, &handed.endpoint_id);
        let found = find(
            &listener,
            region,
            endpoint,
            handed.endpoint_addr,
            handed.reason,
        );
        let Some(candidate) = found else {
            return end_unplaced(turn, &handed);
        };
        let path = self.path_to(&listener, &candidate, &door);
        let shared = turn.shared;
        shared.gate.readmit_datagrams(&shared.stats, &door.stats);
        path.route.stats.active_flows.fetch_add(1, Relaxed);
        let source = declared.map_or(tuple.client, |(client, _)| client).ip();
        let known_by = KnownBy::Id(handed.connection);
        let connection = quic::Id::of(name_of(&door), &known_by);
        let ago = |age: Duration| clock::millis(turn.now.checked_sub(age).unwrap_or(turn.now));
        let carried = Carried {
            path,
            entrance: key as u32,
            port: handed.endpoint_addr.port(),
            attempts: handed.attempts,
            reason: handed.reason,
            rare: Rare::of(shared.gate.readmit_source(source), connection),
            id: handed.id,
            bytes_in: handed.bytes.0,
            bytes_out: handed.bytes.1,
            packets_in: handed.packets.0,
            packets_out: handed.packets.1,
            started: ago(handed.age),
            since: ago(handed.at_endpoint),
            heard: handed.heard.map_or(0, |heard| ago(heard).max(1)),
            kept: Kept::NONE,
            // Its predecessor has counted those.
            lost: dropped(handed.socket.as_fd()).unwrap_or(0),
        };
        let idle = listener.settings.idle_timeout;
        let id = self.table.insert(tuple, declared, carried, idle, turn.now);
        // What came for it on the way waits in a queue, and is to find it here.
        let silent = handed.silent.min(idle.saturating_sub(ON_THE_WAY));
        self.table.has_been_silent(id, silent, idle, turn.now);
        if handed.confirmed {
            self.table.confirm(id);
        }
        if self.hold(turn, id, handed.socket).is_err() {
            self.end(turn, id, EndCause::Limit);
        }
    }

    /// Begins to read what clients send: every flow that there was is here.
    pub(super) fn go(&mut self, turn: &mut Turn<'_>) {
        self.held = false;
        let keys: Vec<usize> = self.entrances.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.read_entrance(turn, key);
        }
    }
}

/// Every connection that is known, for a successor.
pub(crate) fn export_connections(shared: &Shared) -> Vec<HandedConnection> {
    let snapshot = shared.snapshot.load();
    let mut listeners = HashMap::new();
    let mut addresses = HashMap::new();
    for listener in &snapshot.listeners {
        let first = listener.ports.first();
        listeners.insert(
            quic::name_of(&listener.stats),
            (listener.accelerator.clone(), first),
        );
        for (id, ip) in addresses_of(listener) {
            addresses.insert(id, ip);
        }
    }
    let handed = shared
        .connections
        .all()
        .into_iter()
        .filter_map(|(id, home)| {
            let (accelerator, port) = listeners.get(&id.listener())?;
            Some(HandedConnection {
                accelerator: accelerator.clone(),
                port: *port,
                known_by: id.known_by(),
                endpoint: SocketAddr::new(*addresses.get(&home.address)?, home.port),
            })
        });
    handed.collect()
}

/// Takes a predecessor's connections, those of them whose listener and endpoint are here.
pub(crate) fn adopt_connections(shared: &Shared, handed: Vec<HandedConnection>) {
    let (snapshot, now) = (shared.snapshot.load(), Instant::now());
    let mut homes: HashMap<(AcceleratorName, u16), (usize, HashMap<IpAddr, AddressId>)> =
        HashMap::new();
    for HandedConnection {
        accelerator,
        port,
        known_by,
        endpoint,
    } in handed
    {
        let here = homes
            .entry((accelerator, port))
            .or_insert_with_key(|(accelerator, port)| {
                let mine = |l: &&Arc<ListenerSnapshot>| {
                    l.protocol == Protocol::Udp
                        && l.accelerator == *accelerator
                        && l.ports.contains(*port)
                };
                let listener = snapshot.listeners.iter().find(mine);
                let name = listener.map_or(0, |listener| quic::name_of(&listener.stats));
                let addresses = listener
                    .into_iter()
                    .flat_map(|listener| addresses_of(listener));
                (name, addresses.map(|(id, ip)| (ip, id)).collect())
            });
        let Some(address) = here.1.get(&endpoint.ip()).copied() else {
            continue;
        };
        let home = Home {
            address,
            port: endpoint.port(),
        };
        if let Some(id) = quic::Id::of(here.0, &known_by) {
            shared.connections.recall(id, home, now);
        }
    }
}

fn addresses_of(listener: &ListenerSnapshot) -> impl Iterator<Item = (AddressId, IpAddr)> + '_ {
    let endpoints = listener
        .groups
        .iter()
        .flat_map(|group| group.endpoints.iter());
    let addresses = endpoints.flat_map(|endpoint| endpoint.addresses.iter());
    addresses.map(|address| (address.live.id, address.ip))
}

impl KnownBy {
    fn id(self) -> Option<Vec<u8>> {
        match self {
            KnownBy::Id(id) => Some(id),
            KnownBy::Client(_) => None,
        }
    }
}

fn end_unplaced(turn: &Turn<'_>, handed: &HandedDatagrams) {
    let cause = EndCause::DrainTimeout;
    let records = &turn.shared.records;
    if !records.wants() {
        return;
    }
    let (client, local) = handed.declared.unwrap_or((handed.client, handed.local));
    let began = SystemTime::now().checked_sub(handed.age);
    records.record(FlowRecord {
        id: handed.id,
        protocol: Protocol::Udp,
        accelerator: handed.accelerator.clone(),
        client: ClientAddr(canonical(client)),
        listener: ListenerAddr(canonical(local)),
        endpoint: Some(RecordedEndpoint {
            id: handed.endpoint_id.clone(),
            region: handed.region.clone(),
            address: EndpointAddr(handed.endpoint_addr),
            edge_address: None,
            reason: handed.reason,
        }),
        bytes_in: handed.bytes.0,
        bytes_out: handed.bytes.1,
        packets_in: handed.packets.0,
        packets_out: handed.packets.1,
        started: began.unwrap_or(SystemTime::UNIX_EPOCH),
        lasted: handed.age,
        connect_took: None,
        attempts: handed.attempts,
        cause,
    });
}
