//! Weighted, consistent choice of an endpoint in a group: called by the data path once a flow, built by control when ids or
//! weights change. It knows nothing of health: who is available is handed in, so that a change of health rebuilds nothing.
//!
//! # Which endpoint gets a flow
//!
//! Everything is a function of the endpoints' ids and weights and of the flow's hash, in integers, so that every PoP and every
//! architecture comes to the same answer, whatever the order of the file. To compute it elsewhere:
//!
//! 1. The flow's hash is XXH3 with [`hash::SEED`]: for affinity `SOURCE_IP` over 16 bytes of client address and 16 of accelerator
//!    address (IPv4 as a mapped address); for `NONE` over client address, client port, accelerator address, accelerator port (ports
//!    big-endian) and the protocol's number (6 or 17), 37 bytes. Salts make dial, group, endpoint and address independent of one
//!    another: [`hash`].
//! 2. Each endpoint draws a number u below 2³² for the flow, uniform and independent of other endpoints' draws. For `NONE` it is a
//!    hash of the flow's hash within the group and the hash of the id. For `SOURCE_IP` the upper 18 bits of the flow's hash within
//!    the group are its **slot**, and each endpoint has an order of its own in which it would have the 2¹⁸ slots (a permutation
//!    keyed by the hash of its id, `order`); u is the slot's place in that order.
//! 3. `-log2((u + ½) / 2³²) / weight` (`log`) is an exponentially distributed time. The endpoint with the least time has the
//!    flow: weighted rendezvous hashing, share = w / Σw.
//! 4. If that endpoint is not available, the next best one has it.
//!
//! An endpoint that leaves, falls or is given less weight loses flows of its own and no other endpoint loses one; an endpoint
//! that comes or is given more weight takes some and none change hands among the others. That is the least that can move.
//!
//! # Large groups
//!
//! Racing every endpoint is for [`DIRECT`] of them. Above that, with `SOURCE_IP`, the outcome of the race is kept by slot
//! (`table`), so that a pick is one look into a table and nobody moves when the number is crossed; it is for this that there are
//! slots. In step 4 the flow asks further slots, [`PROBES`] at most, until one's winner is available, and then races the
//! available ones. Shares are exact but for the graininess of slots: an endpoint with the share s is off by about √(½ / (2¹⁸·s))
//! of it, which is 0.3 % with ten equal endpoints, 4 % with 1,000 and 14 % with 10,000.
//!
//! With `NONE` there is no client to keep, and above [`DIRECT`] endpoints the weights are laid end to end in the order of id
//! hashes and the flow's hash is a point on that line (`line`): exact shares for any number, and step 4 as above.

pub mod hash;
mod line;
mod log;
mod order;
mod set;
mod table;

pub use set::EndpointSet;

use crate::model::ClientAffinity;
use crate::units::{EndpointId, Weight};

use line::Line;
use log::{NEVER, minus_log2, minus_log2_times_16_at_least};
use table::Winners;

/// Slots are numbered with so many bits. 2^18 slots are 512 KiB a table and some 30 ms to build one: four times as many would
/// halve the graininess and hold up the health of everybody else for a quarter of a second.
const SLOT_BITS: u32 = 18;
const SLOTS: usize = 1 << SLOT_BITS;

/// Up to so many endpoints with a weight are raced for each flow: a few nanoseconds each.
pub const DIRECT: usize = 64;

/// So many winners are asked for before the available endpoints are raced. With half of a group down one flow in 2⁶⁴ comes to
/// that; where many do, few endpoints are left to race.
pub const PROBES: u64 = 64;

/// Chooses among the endpoints of a group; see [`Selector::select`].
#[derive(Debug, Default)]
pub struct Selector {
    members: Box<[Member]>,
    way: Way,
}

/// An endpoint as the race sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    id_hash: u64,
    weight: u64,
}

/// How the winner is found.
#[derive(Debug, Default)]
enum Way {
    /// Few endpoints, `NONE`: a race by the flow's hash.
    #[default]
    Flow,
    /// Many endpoints, `NONE`.
    Line(Line),
    /// Few endpoints, `SOURCE_IP`: a race by slot.
    Slot,
    /// Many endpoints, `SOURCE_IP`: the outcomes of the races by slot.
    Table(Winners),
}

impl Selector {
    /// Builds for these endpoints, by index. Takes microseconds, and for more than [`DIRECT`] endpoints with affinity
    /// `SOURCE_IP` some tens of milliseconds: keep a selector while ids, weights and affinity stay.
    pub fn build(endpoints: &[(EndpointId, Weight)], affinity: ClientAffinity) -> Selector {
        let member = |(id, weight): &(EndpointId, Weight)| Member {
            id_hash: hash::of_endpoint(id),
            weight: u64::from(weight.0),
        };
        let members: Box<[Member]> = endpoints.iter().map(member).collect();
        let few = members.iter().filter(|m| m.weight > 0).count() <= DIRECT;
        let way = match (affinity, few) {
            (ClientAffinity::None, true) => Way::Flow,
            (ClientAffinity::None, false) => Way::Line(Line::of(&members)),
            (ClientAffinity::SourceIp, true) => Way::Slot,
            (ClientAffinity::SourceIp, false) => Way::Table(Winners::of(&members)),
        };
        Selector { members, way }
    }

    /// The endpoint for a flow's [`hash::in_group`] among those that are in `among` and `usable`; none with weight 0.
    /// `usable` is asked of few endpoints, those that would be chosen.
    pub fn select(
        &self,
        hash: u64,
        among: &EndpointSet,
        usable: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        if among.is_empty() {
            return None;
        }
        let by_flow = |id_hash| hash::wish(id_hash, hash);
        let by_slot = |id_hash| order::wish(id_hash, slot(hash));
        // All of few are run through, which is faster than to look first who is in.
        let all = 0..self.members.len();
        let admitted = |i: usize| among.contains(i) && usable(i);
        match &self.way {
            Way::Flow => race(&self.members, all, by_flow, admitted),
            Way::Slot => race(&self.members, all, by_slot, admitted),
            Way::Line(line) => probe(hash, |hash| line.at(hash), admitted)
                .or_else(|| race(&self.members, among.iter(), by_flow, &usable)),
            Way::Table(winners) => probe(hash, |hash| Some(winners.at(slot(hash))), admitted)
                .or_else(|| race(&self.members, among.iter(), by_slot, &usable)),
        }
    }
}

impl Member {
    /// Whether `log / weight` is less than the other's; a tie goes to the lower id hash.
    fn beats(&self, log: u64, other: &Member, other_log: u64) -> bool {
        // Logarithms are below 2^38 and weights below 2^8: exact, without a division.
        let (ours, theirs) = (log * other.weight, other_log * self.weight);
        ours < theirs || (ours == theirs && self.id_hash < other.id_hash)
    }

    /// Whether it is certain without a logarithm that it does not beat the other.
    fn loses(&self, wish: u32, other: &Member, other_log: u64) -> bool {
        minus_log2_times_16_at_least(wish) * other.weight > 16 * other_log * self.weight
    }
}

fn slot(hash: u64) -> u32 {
    (hash >> (64 - SLOT_BITS)) as u32
}

/// The first of the winners for [`PROBES`] hashes made of this one that is `admitted`.
fn probe(
    hash: u64,
    winner: impl Fn(u64) -> Option<usize>,
    admitted: impl Fn(usize) -> bool,
) -> Option<usize> {
    (0..PROBES)
        .filter_map(|probe| winner(hash::reprobe(hash, probe)))
        .find(|i| admitted(*i))
}

/// The winner among `runners` that are `admitted`, which is asked only of those that would win.
fn race(
    members: &[Member],
    runners: impl Iterator<Item = usize>,
    wish: impl Fn(u64) -> u32,
    admitted: impl Fn(usize) -> bool,
) -> Option<usize> {
    // Loses to everybody.
    let mut best = Member {
        id_hash: u64::MAX,
        weight: 1,
    };
    let mut best_log = NEVER;
    let mut winner = None;
    for index in runners {
        let Some(member) = members.get(index) else {
            continue;
        };
        let wish = wish(member.id_hash);
        if member.weight == 0 || member.loses(wish, &best, best_log) {
            continue;
        }
        let log = minus_log2(wish);
        if member.beats(log, &best, best_log) && admitted(index) {
            (best, best_log, winner) = (*member, log, Some(index));
        }
    }
    winner
}

#[cfg(test)]
mod tests;
