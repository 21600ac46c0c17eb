//! The table of flows: which datagrams belong together, how long they may be silent, and who goes when there is no room. Sans-IO: the
//! time is an argument, and what a flow is carried by (a socket of its own, a port of a shared one, an entry in the kernel) is the
//! caller's business.
//!
//! **Eviction:** a flow whose client has answered the endpoint is *confirmed*; it goes only by its idle timeout. When there is no room the
//! oldest flow that is not confirmed goes, since a flood of forged sources confirms none; when there is none, the new one is refused.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use slab::Slab;

use crate::list::{self, Linked, Links, NIL};
use crate::wheel::{InSlot, NO_SLOT, TICK, Timed, Wheel};

/// An address and port in one form for both families: an IPv4 address is kept mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    ip: [u8; 16],
    /// The interface of a link-local address.
    scope: u32,
    port: u16,
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        let (ip, scope) = match address {
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        Self {
            ip: ip.octets(),
            scope,
            port: address.port(),
        }
    }
}

impl From<Place> for SocketAddr {
    fn from(place: Place) -> Self {
        let ip = Ipv6Addr::from(place.ip);
        match ip.to_ipv4_mapped() {
            Some(v4) => SocketAddrV4::new(v4, place.port).into(),
            None => SocketAddrV6::new(ip, place.port, 0, place.scope).into(),
        }
    }
}

impl Place {
    /// Its address.
    pub(crate) fn ip(self) -> IpAddr {
        SocketAddr::from(self).ip()
    }
}

/// What a datagram is known by: who sent it, and what it was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The sender.
    pub client: Place,
    /// The address and port that it was sent to.
    pub local: Place,
}

/// Source and destination that a trusted sender's PROXY header names: a part of what the flow is known by, since one sender may
/// carry many clients over one pair of ports.
pub type Declared = (Place, Place);

/// The list of flows that are not confirmed, the newest first.
struct Unconfirmed;

/// One flow.
pub struct Flow<C> {
    pub(crate) tuple: Tuple,
    pub(crate) declared: Option<Box<Declared>>,
    /// What the caller keeps.
    pub(crate) carried: C,
    active: u32,
    in_slot: Links,
    unconfirmed: Links,
    slot: u16,
    confirmed: bool,
}

impl<C> Linked<InSlot> for Flow<C> {
    fn links(&mut self) -> &mut Links {
        &mut self.in_slot
    }
}

impl<C> Linked<Unconfirmed> for Flow<C> {
    fn links(&mut self) -> &mut Links {
        &mut self.unconfirmed
    }
}

impl<C> Timed for Flow<C> {
    fn slot(&mut self) -> &mut u16 {
        &mut self.slot
    }
}

/// Names a flow as long as it is there.
pub type FlowId = u32;

/// The table.
pub struct Table<C> {
    flows: Slab<Flow<C>>,
    index: HashTable<FlowId>,
    /// Seeded by the system: a client cannot know which flows meet in the index.
    hasher: RandomState,
    wheel: Wheel,
    newest: u32,
    oldest: u32,
}

impl<C> Table<C> {
    /// An empty one.
    pub fn new(now: Instant) -> Self {
        Self {
            flows: Slab::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            wheel: Wheel::new(now),
            newest: NIL,
            oldest: NIL,
        }
    }

    /// Bytes that one flow takes here, with its part of the index at its emptiest.
    pub const BYTES_A_FLOW: usize = size_of::<Flow<C>>() + 2 * (size_of::<FlowId>() + 1) * 8 / 7;

    /// Flows.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// The flow that a datagram belongs to.
    pub fn find(&self, tuple: &Tuple, declared: Option<&Declared>) -> Option<FlowId> {
        let hash = self.hasher.hash_one((tuple, declared));
        let flows = &self.flows;
        self.index
            .find(hash, |id| is(&flows[*id as usize], tuple, declared))
            .copied()
    }

    /// A flow that is there.
    pub(crate) fn get(&self, id: FlowId) -> Option<&Flow<C>> {
        self.flows.get(id as usize)
    }

    /// A flow that is there.
    pub(crate) fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow<C>> {
        self.flows.get_mut(id as usize)
    }

    /// Every flow's name.
    pub(crate) fn ids(&self) -> Vec<FlowId> {
        self.flows.iter().map(|(key, _)| key as FlowId).collect()
    }

    /// Takes a new flow in. One of the same tuple must not be there.
    pub fn insert(
        &mut self,
        tuple: Tuple,
        declared: Option<Declared>,
        carried: C,
        idle: Duration,
        now: Instant,
    ) -> FlowId {
        let hash = self.hasher.hash_one((&tuple, declared.as_ref()));
        let active = self.wheel.tick(now);
        let id = self.flows.insert(Flow {
            tuple,
            declared: declared.map(Box::new),
            carried,
            active,
            in_slot: Links::NONE,
            unconfirmed: Links::NONE,
            slot: NO_SLOT,
            confirmed: false,
        }) as FlowId;
        let (flows, hasher) = (&self.flows, &self.hasher);
        let rehash = |id: &FlowId| {
            let flow = &flows[*id as usize];
            hasher.hash_one((&flow.tuple, flow.declared.as_deref()))
        };
        self.index.insert_unique(hash, id, rehash);
        self.wheel.set(
            &mut self.flows,
            id,
            active.saturating_add(Wheel::ticks(idle)),
        );
        if self.newest == NIL {
            self.oldest = id;
        }
        self.newest = list::push::<_, Unconfirmed>(&mut self.flows, self.newest, id);
        id
    }

    /// Notes that something passed.
    pub fn touch(&mut self, id: FlowId, now: Instant) {
        let tick = self.wheel.tick(now);
        if let Some(flow) = self.flows.get_mut(id as usize) {
            flow.active = tick;
        }
    }

    /// How long nothing has passed.
    pub(crate) fn silent(&self, id: FlowId, now: Instant) -> Duration {
        let tick = self.wheel.tick(now);
        self.get(id).map_or(Duration::ZERO, |flow| {
            TICK * tick.saturating_sub(flow.active)
        })
    }

    /// Notes for how long nothing had passed when the flow was taken in.
    pub(crate) fn has_been_silent(
        &mut self,
        id: FlowId,
        silent: Duration,
        idle: Duration,
        now: Instant,
    ) {
        let active = self
            .wheel
            .tick(now)
            .saturating_sub((silent.as_millis() / TICK.as_millis()) as u32);
        if let Some(flow) = self.flows.get_mut(id as usize) {
            flow.active = active;
            self.wheel.set(
                &mut self.flows,
                id,
                active.saturating_add(Wheel::ticks(idle)),
            );
        }
    }

    /// Whether [`Table::confirm`] was said of it.
    pub(crate) fn is_confirmed(&self, id: FlowId) -> bool {
        self.get(id).is_some_and(|flow| flow.confirmed)
    }

    /// Notes that the client goes on after it was answered: whoever it is gets what is sent to it.
    pub(crate) fn confirm(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(id as usize)
            && !flow.confirmed
        {
            flow.confirmed = true;
            self.leave_unconfirmed(id);
        }
    }

    fn leave_unconfirmed(&mut self, id: FlowId) {
        if self.oldest == id {
            self.oldest = self.flows[id as usize].unconfirmed.prev();
        }
        self.newest = list::remove::<_, Unconfirmed>(&mut self.flows, self.newest, id);
    }

    /// The flow to let go when there is no room.
    pub(crate) fn evictable(&self) -> Option<FlowId> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    /// Takes a flow out.
    pub fn remove(&mut self, id: FlowId) -> Option<Flow<C>> {
        if !self.flows.contains(id as usize) {
            return None;
        }
        self.wheel.clear(&mut self.flows, id);
        if !self.flows[id as usize].confirmed {
            self.leave_unconfirmed(id);
        }
        let flow = self.flows.remove(id as usize);
        let hash = self
            .hasher
            .hash_one((&flow.tuple, flow.declared.as_deref()));
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        Some(flow)
    }

    /// When [`Table::expired`] must be asked next; `None` while there is no flow.
    pub(crate) fn next_turn(&self) -> Option<Instant> {
        self.wheel.next_turn()
    }

    /// The flows on which nothing passed for as long as `idle` says of each, still in the table. Also tells `alive` of flows that were looked
    /// at and stay.
    pub fn expired(
        &mut self,
        now: Instant,
        idle: impl Fn(&C) -> Duration,
        mut alive: impl FnMut(FlowId, &C),
    ) -> Vec<FlowId> {
        let tick = self.wheel.tick(now);
        let mut due = self.wheel.turn(&mut self.flows, now);
        due.retain(|id| {
            let flow = &self.flows[*id as usize];
            let deadline = flow
                .active
                .saturating_add(Wheel::ticks(idle(&flow.carried)));
            if deadline <= tick {
                return true;
            }
            alive(*id, &flow.carried);
            self.wheel.set(&mut self.flows, *id, deadline);
            false
        });
        due
    }
}

fn is<C>(flow: &Flow<C>, tuple: &Tuple, declared: Option<&Declared>) -> bool {
    flow.tuple == *tuple && flow.declared.as_deref() == declared
}

#[cfg(test)]
mod tests;
