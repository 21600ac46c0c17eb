//! Live flows and listening sockets as things that can be handed to a successor process: two descriptors, the bytes that stand
//! between them, and the counters. How they travel is the binary's business; here a flow leaves one worker and enters another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::Interest;
use mio::net::TcpStream;
use portolan_config::address::{ClientAddr, ListenerAddr};
use portolan_config::flow::{EndCause, PickReason};
use portolan_config::model::{ClientAffinity, Protocol};
use portolan_config::snapshot::{AddressId, AddressLive, ListenerSnapshot};
use portolan_config::stats::{EndpointStats, ListenerStats};
use portolan_config::units::{AcceleratorName, EndpointId, PortRange, PortSet, Region};

use crate::flow::{Abreast, CLIENT, Door, End, Flow, Phase, Route};
use crate::list::{self, Links};
use crate::pick::{self, Candidate};
use crate::relay::ring::OnRing;
use crate::relay::{Pipe, Ready};
use crate::wheel::{NO_SLOT, Wheel};
use crate::worker::Worker;

/// How long flows may take to leave an endpoint whose group has left, too: the default of the file.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

/// A listening socket and what it listens on.
#[derive(Debug)]
pub struct ListeningSocket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// The socket.
    pub socket: OwnedFd,
}

/// One direction of a handed flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedPipe {
    /// Bytes moved so far.
    pub bytes: u64,
    /// Reads so far.
    pub reads: u32,
    /// The source has finished.
    pub eof: bool,
    /// The sink was told so.
    pub shut: bool,
    /// Bytes that were read and not taken yet.
    pub kept: Vec<u8>,
    /// How many of `kept` are a PROXY header's.
    pub ours: usize,
}

/// An established flow on its way to a successor.
#[derive(Debug)]
pub struct HandedFlow {
    /// The client's socket.
    pub client: OwnedFd,
    /// The endpoint's socket.
    pub endpoint: OwnedFd,
    /// Its id, which it keeps.
    pub id: u64,
    /// Whose listener it came in by.
    pub accelerator: AcceleratorName,
    /// The region of its endpoint.
    pub region: Region,
    /// Its endpoint.
    pub endpoint_id: EndpointId,
    /// Who.
    pub client_addr: SocketAddr,
    /// Spoken to.
    pub listener_addr: SocketAddr,
    /// Connected to.
    pub endpoint_addr: SocketAddr,
    /// Since it began.
    pub age: Duration,
    /// Since the last byte.
    pub idle: Duration,
    /// From accept to a connected endpoint.
    pub connect_took: Duration,
    /// Connects tried.
    pub attempts: u8,
    /// Why this endpoint.
    pub reason: PickReason,
    /// The endpoint, not the client, finished first; `None` while neither has.
    pub endpoint_finished_first: Option<bool>,
    /// What is left of its endpoint's drain; `None` when that does not drain.
    pub drain_left: Option<Duration>,
    /// From client to endpoint.
    pub inbound: HandedPipe,
    /// From endpoint to client.
    pub outbound: HandedPipe,
}

impl Worker {
    /// Gives away every established flow.
    pub(crate) fn export(&mut self) -> Vec<HandedFlow> {
        self.empty_ring();
        let keys: Vec<u32> = self.flows.iter().map(|(key, _)| key as u32).collect();
        keys.into_iter()
            .filter_map(|key| self.export_one(key))
            .collect()
    }

    fn export_one(&mut self, key: u32) -> Option<HandedFlow> {
        let flow = &self.flows[key as usize];
        if !matches!(flow.phase, Phase::Relaying) || flow.endpoint.is_none() || flow.on_ring.has() {
            return None;
        }
        let (inbound, outbound) = match self.hand_both(key) {
            Ok(both) => both,
            Err(error) => {
                tracing::error!(%error, "bytes of a flow are lost in a kernel pipe");
                self.end(key, EndCause::Limit);
                return None;
            }
        };
        self.leave_route(key);
        self.wheel.clear(&mut self.flows, key);
        let mut flow = self.flows.remove(key as usize);
        let route = flow.route.take()?;
        let mut endpoint = flow.endpoint.take()?;
        // The successor's copies keep the sockets open, so closing ours would leave them in this event loop.
        for socket in [&mut flow.client, &mut endpoint] {
            if let Err(error) = self.poll.registry().deregister(socket) {
                tracing::debug!(%error, "a flow's socket was not registered");
            }
        }
        let shared = &self.shared;
        shared.gate.leave(&shared.stats, &flow.door.stats);
        let tick = self.wheel.tick(self.now);
        Some(HandedFlow {
            id: flow.id,
            accelerator: flow.door.accelerator.clone(),
            region: route.region.clone(),
            endpoint_id: route.endpoint.clone(),
            client_addr: flow.client_addr.0,
            listener_addr: flow.listener_addr.0,
            endpoint_addr: route.addr(flow.endpoint_port).0,
            age: self.now.saturating_duration_since(flow.started),
            idle: crate::wheel::TICK * tick.saturating_sub(flow.active),
            connect_took: Duration::from_micros(u64::from(flow.connect_micros)),
            attempts: flow.attempts,
            reason: flow.reason,
            endpoint_finished_first: flow.finished_first.map(|end| end == End::Endpoint),
            drain_left: self.drain_left(route.address, flow.started),
            inbound,
            outbound,
            client: std::net::TcpStream::from(flow.client).into(),
            endpoint: std::net::TcpStream::from(endpoint).into(),
        })
    }

    fn hand_both(&mut self, key: u32) -> io::Result<(HandedPipe, HandedPipe)> {
        let flow = &mut self.flows[key as usize];
        let scratch = &mut self.scratch;
        let mut hand = |pipe: &mut Pipe| -> io::Result<HandedPipe> {
            let (kept, ours) = scratch.take_kept(pipe)?;
            Ok(HandedPipe {
                bytes: pipe.bytes,
                reads: pipe.reads,
                eof: pipe.eof,
                shut: pipe.shut,
                kept,
                ours,
            })
        };
        Ok((hand(&mut flow.inbound)?, hand(&mut flow.outbound)?))
    }

    /// Takes a predecessor's flow. It is counted here from now on, under its old id; what it moved before is in its record alone.
    pub(crate) fn adopt(&mut self, handed: HandedFlow) {
        let client_addr = ClientAddr(handed.client_addr);
        let listener_addr = ListenerAddr(handed.listener_addr);
        let door = self.door_of(&handed);
        let route = self.route_of(&handed, &door);
        let mut flow = Flow {
            client: TcpStream::from_std(handed.client.into()),
            endpoint: Some(TcpStream::from_std(handed.endpoint.into())),
            generation: self.next_generation(),
            phase: Phase::Relaying,
            client_ready: ready(),
            endpoint_ready: ready(),
            endpoint_side: 1,
            attempts: handed.attempts,
            reason: handed.reason,
            finished_first: handed
                .endpoint_finished_first
                .map(|endpoint| if endpoint { End::Endpoint } else { End::Client }),
            // Its client's bytes may be on their way to the endpoint: it is too late to begin anew.
            retried_reset: true,
            stays: false,
            queued: false,
            waits: false,
            told_of_room: true,
            prompt: false,
            cut_off: false,
            on_ring: OnRing::default(),
            endpoint_port: handed.endpoint_addr.port(),
            slot: NO_SLOT,
            active: self
                .wheel
                .tick(self.now)
                .saturating_sub(Wheel::ticks(handed.idle)),
            connect_micros: u32::try_from(handed.connect_took.as_micros()).unwrap_or(u32::MAX),
            asked: 0,
            in_slot: Links::NONE,
            abreast: Links::NONE,
            inbound: Pipe::default(),
            outbound: Pipe::default(),
            door: Rc::clone(&door),
            route: Some(Rc::clone(&route)),
            source: self.shared.gate.readmit_source(client_addr.0.ip()),
            id: handed.id,
            started: self.now.checked_sub(handed.age).unwrap_or(self.now),
            client_addr,
            listener_addr,
            declared: None,
        };
        self.unpack(&mut flow.inbound, handed.inbound);
        self.unpack(&mut flow.outbound, handed.outbound);
        self.shared.stats.active_flows.fetch_add(1, Relaxed);
        door.stats.active_flows.fetch_add(1, Relaxed);
        route.stats.active_flows.fetch_add(1, Relaxed);
        let key = self.flows.insert(flow) as u32;
        let head = list::push::<Flow, Abreast>(&mut self.flows, route.flows.get(), key);
        route.flows.set(head);
        if self.register_both(key).is_err() {
            self.end(key, EndCause::Limit);
            return;
        }
        let next_look = self.wheel.tick(self.now) + 1;
        self.wheel.set(&mut self.flows, key, next_look);
        let handle = self.handle(key);
        self.relay(handle, None);
    }

    pub(crate) fn register_both(&mut self, key: u32) -> io::Result<()> {
        let handle = self.handle(key);
        let both = Interest::READABLE | Interest::WRITABLE;
        let flow = &mut self.flows[key as usize];
        let registry = self.poll.registry();
        registry.register(&mut flow.client, handle.token(CLIENT), both)?;
        match &mut flow.endpoint {
            Some(endpoint) => registry.register(endpoint, handle.token(flow.endpoint_side), both),
            None => Ok(()),
        }
    }

    fn unpack(&mut self, pipe: &mut Pipe, handed: HandedPipe) {
        let HandedPipe {
            bytes,
            reads,
            eof,
            shut,
            kept,
            ours,
        } = handed;
        *pipe = Pipe::default();
        (pipe.bytes, pipe.reads, pipe.eof, pipe.shut) = (bytes, reads, eof, shut);
        self.scratch.prepend(pipe, kept, ours);
    }

    /// The listener that the flow came in by; one that is no more gets a door of its own.
    fn door_of(&self, handed: &HandedFlow) -> Rc<Door> {
        let snapshot = self.shared.snapshot.load();
        let to = ListenerAddr(handed.listener_addr);
        let listener = pick::listener(&snapshot, to, Protocol::Tcp);
        let known =
            listener.and_then(|listener| self.doors.get(&crate::worker::DoorKey::of(listener)));
        match known {
            Some(door) => Rc::clone(door),
            None => Rc::new(Door::new(Arc::new(departed(handed)))),
        }
    }

    /// The route to the flow's endpoint; one that is no more gets a route of its own.
    fn route_of(&mut self, handed: &HandedFlow, door: &Rc<Door>) -> Rc<Route> {
        let listener = door.listener();
        let (region, endpoint, to) = (&handed.region, &handed.endpoint_id, handed.endpoint_addr);
        let Some(candidate) = find(&listener, region, endpoint, to, handed.reason) else {
            return self.departed_route(handed, door, &listener);
        };
        let group = &listener.groups[candidate.group];
        let id = group.endpoints[candidate.endpoint].addresses[candidate.address]
            .live
            .id;
        let fresh = || Rc::new(Route::new(&listener, &candidate, door));
        Rc::clone(self.routes.entry(id).or_insert_with(fresh))
    }

    /// The route to an endpoint that no snapshot names. No verdict can mean it, so its drain ends here: when the predecessor would
    /// have ended it, or after the group's time when the endpoint left with this very upgrade.
    fn departed_route(
        &mut self,
        handed: &HandedFlow,
        door: &Rc<Door>,
        listener: &ListenerSnapshot,
    ) -> Rc<Route> {
        let id = departed_id(handed);
        let mut groups = listener.groups.iter();
        let group = groups.find(|group| group.region == handed.region);
        let timeout = group.map_or(DRAIN_TIMEOUT, |group| group.settings.drain_timeout);
        let left = handed.drain_left.unwrap_or(timeout).min(timeout);
        self.drain_departed(id, left);
        let fresh = || {
            let name = (handed.endpoint_id.clone(), handed.region.clone());
            let live = Arc::new(AddressLive::new(id));
            let stats = Arc::new(EndpointStats::default());
            let ip = handed.endpoint_addr.ip();
            Rc::new(Route::made_of(ip, name, stats, live, door))
        };
        Rc::clone(self.routes.entry(id).or_insert_with(fresh))
    }
}

/// Names an endpoint address that has left: in the upper half of the numbers, which no registry ever counts up to.
fn departed_id(handed: &HandedFlow) -> AddressId {
    let mut hasher = DefaultHasher::new();
    (&handed.accelerator, handed.listener_addr).hash(&mut hasher);
    (&handed.region, &handed.endpoint_id).hash(&mut hasher);
    handed.endpoint_addr.ip().hash(&mut hasher);
    AddressId(hasher.finish() | 1 << 63)
}

fn ready() -> Ready {
    // The events that say so come with the registration, but what the kernel said to the predecessor is not said again.
    Ready {
        readable: true,
        writable: true,
        read_closed: true,
    }
}

/// Where an endpoint of a handed flow stands.
pub(crate) fn find(
    listener: &ListenerSnapshot,
    region: &Region,
    endpoint: &EndpointId,
    to: SocketAddr,
    reason: PickReason,
) -> Option<Candidate> {
    let ip: IpAddr = to.ip();
    let group = listener.groups.iter().position(|g| g.region == *region)?;
    let endpoints = &listener.groups[group].endpoints;
    let endpoint = endpoints.iter().position(|e| e.id == *endpoint)?;
    let address = endpoints[endpoint]
        .addresses
        .iter()
        .position(|a| a.ip == ip)?;
    Some(Candidate {
        group,
        endpoint,
        address,
        to: portolan_config::address::EndpointAddr(to),
        reason,
    })
}

/// A listener that only lives on in its flows, with the defaults of the file.
fn departed(handed: &HandedFlow) -> ListenerSnapshot {
    let port = handed.listener_addr.port().max(1);
    let range = PortRange::new(port, port).expect("one port above 0 is a range");
    ListenerSnapshot {
        accelerator: handed.accelerator.clone(),
        protocol: Protocol::Tcp,
        addresses: vec![handed.listener_addr.ip()],
        ports: PortSet::new(vec![range]).expect("one range overlaps nothing"),
        client_affinity: ClientAffinity::None,
        settings: Arc::default(),
        groups: Vec::new(),
        stats: Arc::new(ListenerStats::default()),
    }
}
