//! From a datagram of no flow to a flow with an endpoint, from a flow that must leave its endpoint to one with another, and a flow's end.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mio::Interest;
use mio::unix::SourceFd;
use pingora_limits::inflight::Guard;
use portolan_config::address::{ClientAddr, EndpointAddr, ListenerAddr};
use portolan_config::clock;
use portolan_config::flow::{EndCause, PickReason};
use portolan_config::health::HealthState;
use portolan_config::model::ProxyProtocol;
use portolan_config::signal::Signal;
use portolan_config::snapshot::{AddressId, ListenerSnapshot};
use portolan_config::stats::{ConnectFailure, DropCause, Limit};

use super::path::Path;
use super::quic::Home;
use super::replay::Kept;
use super::table::{Declared, Flow, FlowId, Tuple};
use super::{Carried, Rare, Source, Turn, Udp, socket};
use crate::accept::is_lack;
use crate::connect::classify;
use crate::flow::Door;
use crate::pick::{self, Candidate};
use crate::sys;

/// A datagram that belongs to no flow.
pub(super) struct First<'d> {
    pub(super) entrance: usize,
    pub(super) door: &'d Rc<Door>,
    pub(super) tuple: Tuple,
    pub(super) declared: Option<Declared>,
    pub(super) payload: &'d [u8],
}

/// An endpoint with a socket connected to it.
struct Reached {
    path: Rc<Path>,
    port: u16,
    socket: OwnedFd,
    attempts: u8,
    reason: PickReason,
}

/// Who a flow is between, as far as the pick is concerned.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: ClientAddr,
    pub(super) local: ListenerAddr,
}

impl Ends {
    /// A PROXY header names the client. The destination that it declares is passed on and nothing else: ports and picks go by the
    /// listener's own address.
    pub(super) fn of(tuple: &Tuple, declared: Option<&Declared>) -> Self {
        let client = declared.map_or(tuple.client, |(client, _)| *client);
        Self {
            client: ClientAddr(client.into()),
            local: ListenerAddr(tuple.local.into()),
        }
    }
}

impl Udp {
    /// Begins a flow, or says why there is none.
    pub(super) fn open(
        &mut self,
        turn: &mut Turn<'_>,
        first: &First<'_>,
    ) -> Result<FlowId, DropCause> {
        if self.closing || self.entrances[first.entrance].leaving.is_some() {
            return Err(DropCause::Closing);
        }
        if SocketAddr::from(first.tuple.client).port() == 0 {
            return Err(DropCause::NoPort);
        }
        if !self.openings.may_open(turn.now) {
            return Err(DropCause::Overload);
        }
        if !self.openings.is_rationed() {
            return self.open_admitted(turn, first);
        }
        // The worker's own time: on a busy host others run meanwhile, which is no flood.
        let began = sys::thread_time();
        let opened = self.open_admitted(turn, first);
        self.openings
            .spent(sys::thread_time().saturating_sub(began));
        opened
    }

    fn open_admitted(
        &mut self,
        turn: &mut Turn<'_>,
        first: &First<'_>,
    ) -> Result<FlowId, DropCause> {
        let door = Rc::clone(first.door);
        let listener = door.listener();
        let ends = Ends::of(&first.tuple, first.declared.as_ref());
        let source = self
            .admit(turn, &door, &listener, ends.client.0.ip())
            .map_err(|limit| {
                turn.shared.stats.count_limit(limit);
                DropCause::Limit
            })?;
        let home = listener.settings.quic.then(|| {
            let name = name_of(&door);
            let client = ends.client.0.ip();
            turn.shared
                .connections
                .find(name, first.payload, client, turn.now)
        });
        let id = turn.id();
        let mut tried = Vec::new();
        let reached = self.reach(turn, &door, ends, home.flatten(), &mut tried, id);
        let Reached {
            path,
            port,
            socket,
            attempts,
            reason,
        } = match reached {
            Ok(reached) => reached,
            Err(cause) => {
                turn.shared
                    .gate
                    .leave_datagrams(&turn.shared.stats, &door.stats);
                return Err(cause);
            }
        };
        let now = clock::millis(turn.now);
        let carried = Carried {
            path,
            entrance: first.entrance as u32,
            port,
            attempts,
            reason,
            rare: Rare::of(source, None),
            id,
            bytes_in: 0,
            bytes_out: 0,
            packets_in: 0,
            packets_out: 0,
            started: now,
            since: now,
            heard: 0,
            kept: Kept::NONE,
            lost: 0,
        };
        let idle = listener.settings.idle_timeout;
        let flow = self
            .table
            .insert(first.tuple, first.declared, carried, idle, turn.now);
        if self.carry(turn, flow, socket).is_err() {
            self.end(turn, flow, EndCause::Limit);
            return Err(DropCause::Limit);
        }
        Ok(flow)
    }

    /// Lets a flow in by all limits. Where there is no room, the oldest unconfirmed flow makes some.
    fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        door: &Rc<Door>,
        listener: &ListenerSnapshot,
        client: IpAddr,
    ) -> Result<Option<Box<Guard>>, Limit> {
        let (gate, stats) = (&turn.shared.gate, &turn.shared.stats);
        gate.admit_rate(&door.stats, &listener.settings, turn.now)?;
        let source = gate.admit_source(client, turn.now)?;
        let Err(limit) = gate.admit_datagrams(stats, &door.stats, &listener.settings) else {
            return Ok(source);
        };
        let evictable = self.table.evictable().filter(|id| {
            let of_door = |flow: &Flow<Carried>| Rc::ptr_eq(&flow.carried.path.route.door, door);
            limit != Limit::ListenerFlows || self.table.get(*id).is_some_and(of_door)
        });
        let Some(evictable) = evictable else {
            return Err(limit);
        };
        stats.count_limit(limit);
        self.end(turn, evictable, EndCause::Limit);
        turn.shared
            .gate
            .admit_datagrams(&turn.shared.stats, &door.stats, &listener.settings)?;
        Ok(source)
    }

    /// The first candidate that a socket can be connected to. `tried` are left out, and grow by those that cannot.
    fn reach(
        &mut self,
        turn: &Turn<'_>,
        door: &Rc<Door>,
        ends: Ends,
        home: Option<Home>,
        tried: &mut Vec<AddressId>,
        number: u64,
    ) -> Result<Reached, DropCause> {
        let listener = door.listener();
        let again = !tried.is_empty();
        let most = usize::from(listener.settings.connect_attempts.get());
        let mut home = home.and_then(|home| candidate_at(&listener, home));
        let mut candidates =
            pick::candidates(&listener, pick::key(&listener, ends.client, ends.local));
        let mut attempts = 0u8;
        while tried.len() < most {
            let next = home.take().or_else(|| candidates.next(&listener));
            let Some(candidate) = next else {
                break;
            };
            let path = self.path_to(&listener, &candidate, door);
            if tried.contains(&path.route.address) {
                self.forget_path(&path);
                continue;
            }
            attempts = attempts.saturating_add(1);
            match socket::connect(candidate.to.0, &listener.settings, number) {
                Ok(socket) => {
                    return Ok(Reached {
                        path,
                        port: candidate.to.0.port(),
                        socket,
                        attempts,
                        reason: if again || attempts > 1 {
                            PickReason::Retry
                        } else {
                            candidate.reason
                        },
                    });
                }
                Err(error) => {
                    self.count_failure(turn, &path, candidate.to.0.port(), &error);
                    tried.push(path.route.address);
                    self.forget_path(&path);
                    if is_lack(&error) || error.kind() == io::ErrorKind::WouldBlock {
                        return Err(DropCause::Limit);
                    }
                }
            }
        }
        Err(DropCause::NoEndpoint)
    }

    pub(super) fn path_to(
        &mut self,
        listener: &Arc<ListenerSnapshot>,
        candidate: &Candidate,
        door: &Rc<Door>,
    ) -> Rc<Path> {
        let group = &listener.groups[candidate.group];
        let address = group.endpoints[candidate.endpoint].addresses[candidate.address]
            .live
            .id;
        let path = self
            .paths
            .entry(address)
            .or_insert_with(|| Rc::new(Path::new(listener, candidate, door)));
        path.proxy
            .set(group.settings.proxy_protocol != ProxyProtocol::Off);
        Rc::clone(path)
    }

    /// Gives a flow its socket and counts it with its endpoint.
    fn carry(&mut self, turn: &Turn<'_>, id: FlowId, socket: OwnedFd) -> io::Result<()> {
        let Some(flow) = self.table.get(id) else {
            return Ok(());
        };
        let stats = &flow.carried.path.route.stats;
        stats.active_flows.fetch_add(1, Relaxed);
        stats.total_flows.fetch_add(1, Relaxed);
        self.hold(turn, id, socket)
    }

    /// Gives a flow its socket.
    pub(super) fn hold(&mut self, turn: &Turn<'_>, id: FlowId, socket: OwnedFd) -> io::Result<()> {
        let slot = id as usize;
        if self.sockets.len() <= slot {
            self.sockets.resize_with(slot + 1, || None);
        }
        let socket = self.sockets[slot].insert(socket);
        turn.registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Source::Flow.token(id),
            Interest::READABLE,
        )
    }

    /// The endpoint's host or the network says that this endpoint cannot be had: the flow goes to the next one. False when there is none;
    /// then the flow stays, and its next datagram begins anew.
    pub(super) fn leave_refused(
        &mut self,
        turn: &mut Turn<'_>,
        id: FlowId,
        error: &io::Error,
    ) -> bool {
        let Some(flow) = self.table.get_mut(id) else {
            return false;
        };
        let path = Rc::clone(&flow.carried.path);
        let port = flow.carried.port;
        let answered = flow.carried.heard > 0;
        let mut tried = std::mem::take(&mut flow.carried.rare().tried);
        tried.push(path.route.address);
        let ends = Ends::of(&flow.tuple, flow.declared.as_deref());
        let number = flow.carried.id;
        self.count_failure(turn, &path, port, error);
        let door = Rc::clone(&path.route.door);
        let Ok(reached) = self.reach(turn, &door, ends, None, &mut tried, number) else {
            return false;
        };
        door.stats.retries.fetch_add(1, Relaxed);
        if answered {
            self.end_part(turn, id, EndCause::EndpointRst);
        }
        self.settle_at(turn, id, reached, tried);
        true
    }

    /// A verdict has fallen on the flow's endpoint: the flow goes where a new one would. It stays where it is if that is the same place.
    pub(super) fn leave_stranded(&mut self, turn: &mut Turn<'_>, id: FlowId, cause: EndCause) {
        let Some(flow) = self.table.get(id) else {
            return;
        };
        let path = Rc::clone(&flow.carried.path);
        let ends = Ends::of(&flow.tuple, flow.declared.as_deref());
        let number = flow.carried.id;
        let door = Rc::clone(&path.route.door);
        let reached = self.reach(turn, &door, ends, None, &mut Vec::new(), number);
        if let Ok(reached) = reached
            && !Rc::ptr_eq(&reached.path, &path)
        {
            self.end_part(turn, id, cause);
            self.settle_at(turn, id, reached, Vec::new());
        }
    }

    /// Moves a flow to another endpoint.
    fn settle_at(&mut self, turn: &Turn<'_>, id: FlowId, reached: Reached, tried: Vec<AddressId>) {
        self.count_lost(id);
        let Some(flow) = self.table.get_mut(id) else {
            return;
        };
        let Reached {
            path,
            port,
            socket,
            attempts,
            reason,
        } = reached;
        let carried = &mut flow.carried;
        let left = std::mem::replace(&mut carried.path, path);
        carried.port = port;
        carried.attempts = carried.attempts.saturating_add(attempts);
        carried.reason = reason;
        carried.since = clock::millis(turn.now);
        carried.heard = 0;
        if !tried.is_empty() || carried.rare.is_some() {
            let rare = carried.rare();
            (rare.connection, rare.tried) = (None, tried);
        }
        carried.lost = 0;
        left.route.stats.active_flows.fetch_sub(1, Relaxed);
        self.forget_path(&left);
        if let Err(error) = self.carry(turn, id, socket) {
            tracing::debug!(%error, "a flow's socket cannot be waited for");
        }
    }

    /// Counts a failed connect and tells the health side, where the endpoint is at fault.
    fn count_failure(&mut self, turn: &Turn<'_>, path: &Path, port: u16, error: &io::Error) {
        let (route, shared) = (&path.route, turn.shared);
        // A socket that cannot be connected at once has found no free port.
        let failure = if error.kind() == io::ErrorKind::WouldBlock {
            ConnectFailure::Local
        } else {
            classify(error)
        };
        let Some(kind) = route.count_failure(failure) else {
            shared.stats.count_limit(Limit::Ports);
            return;
        };
        if route.may_signal(kind, turn.now) {
            shared.signals.raise(Signal {
                address: route.address,
                to: route.addr(port),
                kind,
                at: turn.now,
            });
        }
    }
}

/// A listener's name over all generations: the address of its counters.
pub(super) fn name_of(door: &Door) -> usize {
    super::quic::name_of(&door.stats)
}

/// Where a connection lives, as a candidate; `None` when that is gone or down.
fn candidate_at(listener: &ListenerSnapshot, home: Home) -> Option<Candidate> {
    for (group, of_group) in listener.groups.iter().enumerate() {
        for (endpoint, of_endpoint) in of_group.endpoints.iter().enumerate() {
            let mut addresses = of_endpoint.addresses.iter();
            let found = addresses.position(|address| address.live.id == home.address);
            if let Some(address) = found {
                let at = &of_endpoint.addresses[address];
                return (at.health != HealthState::Down).then_some(Candidate {
                    group,
                    endpoint,
                    address,
                    to: EndpointAddr((at.ip, home.port).into()),
                    reason: PickReason::Connection,
                });
            }
        }
    }
    None
}
