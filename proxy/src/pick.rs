//! Which endpoint a new flow goes to, and where it goes when that one fails: asked once a flow by accept and again by connect.
//! A function of the listener's snapshot and the flow's hash, of the flows that capped endpoints have now, and of the doubt that live
//! flows cast on an endpoint; nothing else is looked at, locked or allocated.
//!
//! The way, in the words of Global Accelerator: the nearest group whose **dial** takes the flow; in it an available endpoint
//! by **weight**. When the group has none, the nearest group that has, whatever its dial (**failover**). When no group has,
//! the nearest group with an endpoint that may be tried at all (**fail open**), unless the listener's `fail_open` is off.
//! Fail open is for doubt about health alone: weight 0, a drain and `max_flows` hold even then.
//!
//! What live flows doubt ([`portolan_config::doubt`]) is passed over while there is another, in every group, unless clients are to
//! stay with their endpoints (`SOURCE_IP`): those wait for the decision.
//!
//! The hashes are [`portolan_config::selector::hash`]'s, documented in [`portolan_config::selector`]. They make a dial that is raised
//! from a to b take (b − a) % more and move nothing else; only where it is raised from 0 in the farthest group does that
//! group become the last one walked, and with it the one that takes what nobody took.

use std::net::{IpAddr, SocketAddr};

use portolan_config::address::{ClientAddr, EndpointAddr, ListenerAddr, canonical};
use portolan_config::flow::PickReason;
use portolan_config::health::HealthState;
use portolan_config::model::{ClientAffinity, Protocol};
use portolan_config::selector::{EndpointSet, hash};
use portolan_config::snapshot::{
    AddressSnapshot, EndpointSnapshot, GroupSnapshot, ListenerSnapshot, Snapshot,
};
use portolan_config::units::TrafficDial;
use smallvec::SmallVec;

mod explain;

pub use explain::explain;

/// A flow connects to no more addresses than this, whatever `connect_attempts` says.
pub const MAX_CANDIDATES: usize = 16;

/// Addresses of the first endpoint that are tried before other endpoints get their turn: a name with 16 dead addresses must
/// not keep a flow from a healthy region.
const MAX_OF_ONE_ENDPOINT: usize = MAX_CANDIDATES / 2;

/// What a flow is picked by: its hash, and the port that it was spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    hash: u64,
    port: u16,
}

/// An address to connect to. The indices are into the listener snapshot that it was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index into the listener's groups.
    pub group: usize,
    /// Index into the group's endpoints.
    pub endpoint: usize,
    /// Index into the endpoint's addresses.
    pub address: usize,
    /// What to connect to.
    pub to: EndpointAddr,
    /// Why: [`PickReason::Retry`] for all but the first.
    pub reason: PickReason,
}

/// The listener that takes flows to this address: one that names it before one on the wildcard.
pub fn listener(
    snapshot: &Snapshot,
    to: ListenerAddr,
    protocol: Protocol,
) -> Option<&ListenerSnapshot> {
    let ip = to.0.ip().to_canonical();
    let takes = |l: &&ListenerSnapshot| l.protocol == protocol && l.ports.contains(to.0.port());
    let names = |l: &&ListenerSnapshot| l.addresses.iter().any(|a| a.to_canonical() == ip);
    let is_wildcard = |l: &&ListenerSnapshot| {
        let here = |a: &IpAddr| a.is_unspecified() && a.is_ipv4() == ip.is_ipv4();
        l.addresses.is_empty() || l.addresses.iter().any(here)
    };
    let listeners = || snapshot.listeners.iter().map(AsRef::as_ref).filter(takes);
    listeners()
        .find(names)
        .or_else(|| listeners().find(is_wildcard))
}

/// The key of a flow, by the listener's affinity: all of its addresses and ports, or the two addresses alone.
pub fn key(listener: &ListenerSnapshot, client: ClientAddr, to: ListenerAddr) -> FlowKey {
    let (source, destination) = (client.0, to.0);
    let source_ip = hash::address_bytes(source.ip());
    let destination_ip = hash::address_bytes(destination.ip());
    let hash = match listener.client_affinity {
        ClientAffinity::SourceIp => {
            let mut bytes = [0; 32];
            bytes[..16].copy_from_slice(&source_ip);
            bytes[16..].copy_from_slice(&destination_ip);
            hash::of_flow(&bytes)
        }
        ClientAffinity::None => {
            let mut bytes = [0; 37];
            bytes[..16].copy_from_slice(&source_ip);
            bytes[16..18].copy_from_slice(&source.port().to_be_bytes());
            bytes[18..34].copy_from_slice(&destination_ip);
            bytes[34..36].copy_from_slice(&destination.port().to_be_bytes());
            bytes[36] = match listener.protocol {
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
            };
            hash::of_flow(&bytes)
        }
    };
    FlowKey {
        hash,
        port: destination.port(),
    }
}

/// The addresses that the flow may be connected to, the pick first.
pub fn candidates(listener: &ListenerSnapshot, key: FlowKey) -> Candidates {
    Candidates {
        key,
        at: None,
        avoids: listener.client_affinity == ClientAffinity::None,
        tried: SmallVec::new(),
    }
}

/// Walks from the pick of a flow to its next candidates: other addresses of the same endpoint, other available endpoints of
/// the group by the same hash, then the other groups that have one, the nearest first. No address comes twice. Owns what it
/// remembers, so that it can be kept while a connect is under way.
#[derive(Clone, Debug)]
pub struct Candidates {
    key: FlowKey,
    at: Option<At>,
    /// Passes over what is doubted; not when nothing else is left.
    avoids: bool,
    tried: SmallVec<[Tried; 3]>,
}

/// Where a walk is.
#[derive(Clone, Copy, Debug)]
struct At {
    /// The group of the pick, which comes first.
    home: usize,
    /// The group that is being walked.
    group: usize,
    pool: Pool,
    /// The caller has seen enough of `group`.
    left: bool,
}

/// An address that was handed out, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Tried {
    group: usize,
    endpoint: usize,
    to: EndpointAddr,
}

/// Which endpoints may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    /// Up, weight above 0, not draining.
    Available,
    /// Fail open: of any health, weight above 0, not draining, with an address.
    Open,
}

impl Pool {
    fn of(self, group: &GroupSnapshot) -> &EndpointSet {
        match self {
            Pool::Available => group.endpoints.available(),
            Pool::Open => group.endpoints.open(),
        }
    }
}

impl Candidates {
    /// The next one. `listener` is the snapshot that the walk began with; with another one nothing breaks, but indices in
    /// earlier candidates mean that earlier one.
    pub fn next(&mut self, listener: &ListenerSnapshot) -> Option<Candidate> {
        if self.tried.len() >= MAX_CANDIDATES {
            return None;
        }
        let found = match self.at {
            None => self.pick(listener),
            Some(at) => self
                .go_on(listener, at)
                .or_else(|| self.last_resort(listener, at)),
        }?;
        let Candidate {
            group,
            endpoint,
            to,
            ..
        } = found;
        self.tried.push(Tried {
            group,
            endpoint,
            to,
        });
        Some(found)
    }

    fn go_on(&mut self, listener: &ListenerSnapshot, at: At) -> Option<Candidate> {
        if at.left {
            self.further_groups(listener, at)
                .or_else(|| self.same_endpoint(listener))
                .or_else(|| self.in_group(listener, at.group, at.pool, PickReason::Retry))
        } else {
            self.same_endpoint(listener)
                .or_else(|| self.in_group(listener, at.group, at.pool, PickReason::Retry))
                .or_else(|| self.further_groups(listener, at))
        }
    }

    /// What was passed over for doubt, in the order of a walk that begins anew.
    fn last_resort(&mut self, listener: &ListenerSnapshot, at: At) -> Option<Candidate> {
        if !std::mem::replace(&mut self.avoids, false) {
            return None;
        }
        let anew = At {
            group: at.home,
            left: at.left && at.group == at.home,
            ..at
        };
        self.at = Some(anew);
        self.go_on(listener, anew)
    }

    /// The pick of a new flow.
    fn pick(&mut self, listener: &ListenerSnapshot) -> Option<Candidate> {
        let available = self.available(listener).or_else(|| {
            let avoided = std::mem::replace(&mut self.avoids, false);
            avoided.then(|| self.available(listener)).flatten()
        });
        let (found, pool) = match available {
            Some(found) => (found, Pool::Available),
            None if listener.settings.fail_open => {
                let open = self.nearest(listener, Pool::Open, PickReason::FailOpen)?;
                (open, Pool::Open)
            }
            None => return None,
        };
        self.at = Some(At {
            home: found.group,
            group: found.group,
            pool,
            left: false,
        });
        Some(found)
    }

    /// By the dials, else from the nearest group that has any.
    fn available(&self, listener: &ListenerSnapshot) -> Option<Candidate> {
        let dialled = dialled_group(listener, self.key).and_then(|group| {
            let reason = if group == 0 {
                PickReason::Nearest
            } else {
                PickReason::Dial
            };
            self.in_group(listener, group, Pool::Available, reason)
        });
        dialled.or_else(|| self.nearest(listener, Pool::Available, PickReason::Failover))
    }

    fn nearest(
        &self,
        listener: &ListenerSnapshot,
        pool: Pool,
        reason: PickReason,
    ) -> Option<Candidate> {
        (0..listener.groups.len()).find_map(|g| self.in_group(listener, g, pool, reason))
    }

    /// Has the next candidate come from another group, if there is one: for the last attempt of a flow whose earlier ones
    /// all failed in this group.
    pub fn leave_group(&mut self) {
        if let Some(at) = &mut self.at {
            at.left = true;
        }
    }

    /// Another address of the endpoint that was picked.
    fn same_endpoint(&self, listener: &ListenerSnapshot) -> Option<Candidate> {
        let Tried {
            group, endpoint, ..
        } = *self.tried.first()?;
        if self.tried.len() >= MAX_OF_ONE_ENDPOINT {
            return None;
        }
        self.on_endpoint(listener, group, endpoint, PickReason::Retry)
    }

    /// The groups after that of the pick: every other one, the nearest first.
    fn further_groups(&mut self, listener: &ListenerSnapshot, at: At) -> Option<Candidate> {
        let first = if at.group == at.home { 0 } else { at.group + 1 };
        let found = (first..listener.groups.len())
            .filter(|group| *group != at.home && *group != at.group)
            .find_map(|group| self.in_group(listener, group, at.pool, PickReason::Retry))?;
        self.at = Some(At {
            group: found.group,
            left: false,
            ..at
        });
        Some(found)
    }

    /// An endpoint of this group that was not tried and has room.
    fn in_group(
        &self,
        listener: &ListenerSnapshot,
        group: usize,
        pool: Pool,
        reason: PickReason,
    ) -> Option<Candidate> {
        let snapshot = listener.groups.get(group)?;
        let among = pool.of(snapshot);
        if among.is_empty() {
            return None;
        }
        let usable = |endpoint: usize| {
            // Of a first pick nothing was tried, and what is in a pool has an address.
            let fresh = self.tried.is_empty() || self.is_fresh(listener, group, endpoint);
            let endpoint = &snapshot.endpoints[endpoint];
            fresh && !endpoint.is_full() && !(self.avoids && endpoint.is_doubted())
        };
        let hash = hash::in_group(self.key.hash, &snapshot.region);
        let endpoint = snapshot.selector.select(hash, among, usable)?;
        self.on_endpoint(listener, group, endpoint, reason)
    }

    /// Whether the endpoint was not tried and has an address that was not, which another endpoint may share.
    fn is_fresh(&self, listener: &ListenerSnapshot, group: usize, endpoint: usize) -> bool {
        let is_it = |t: &Tried| t.group == group && t.endpoint == endpoint;
        !self.tried.iter().any(is_it)
            && self
                .on_endpoint(listener, group, endpoint, PickReason::Retry)
                .is_some()
    }

    /// An address of this endpoint that was not tried: of its healthy ones, or of all when none is, the one with the
    /// highest hash.
    fn on_endpoint(
        &self,
        listener: &ListenerSnapshot,
        group: usize,
        endpoint: usize,
        reason: PickReason,
    ) -> Option<Candidate> {
        let group_snapshot = listener.groups.get(group)?;
        let snapshot = group_snapshot.endpoints.get(endpoint)?;
        let port = endpoint_port(group_snapshot, snapshot, self.key.port);
        let any_up = snapshot
            .addresses
            .iter()
            .any(|a| a.health == HealthState::Up);
        let candidate = |(address, a): (usize, &AddressSnapshot)| {
            let to = EndpointAddr(canonical(SocketAddr::new(a.ip, port)));
            let wanted =
                (a.health == HealthState::Up || !any_up) && !self.tried.iter().any(|t| t.to == to);
            wanted.then_some(Candidate {
                group,
                endpoint,
                address,
                to,
                reason,
            })
        };
        let mut fitting = snapshot.addresses.iter().enumerate().filter_map(candidate);
        match (fitting.next(), fitting.next()) {
            (only, None) => only,
            (first, second) => first
                .into_iter()
                .chain(second)
                .chain(fitting)
                .max_by_key(|c| {
                    let doubted = self.avoids && snapshot.addresses[c.address].live.is_doubted();
                    (!doubted, hash::for_address(self.key.hash, c.to.0.ip()))
                }),
        }
    }
}

/// The group whose dial takes the flow; what none takes goes to the last one with a dial above 0. None when all are 0.
fn dialled_group(listener: &ListenerSnapshot, key: FlowKey) -> Option<usize> {
    let mut last = None;
    for (index, group) in listener.groups.iter().enumerate() {
        let dial = group.traffic_dial;
        if dial.is_zero() {
            continue;
        }
        if dial == TrafficDial::FULL || dial.takes(hash::for_dial(key.hash, &group.region)) {
            return Some(index);
        }
        last = Some(index);
    }
    last
}

/// The group's override, else the endpoint's own port, else the one that was spoken to.
fn endpoint_port(group: &GroupSnapshot, endpoint: &EndpointSnapshot, listener_port: u16) -> u16 {
    let overridden = group
        .port_overrides
        .binary_search_by_key(&listener_port, |o| o.listener_port)
        .map(|place| group.port_overrides[place].endpoint_port);
    overridden.ok().or(endpoint.port).unwrap_or(listener_port)
}

#[cfg(test)]
pub(crate) mod tests;
