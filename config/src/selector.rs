//! Weighted, consistent choice of an endpoint in a group: called by the data path once a flow, built by control when ids or
//! weights change. It knows nothing of health: who is available is handed in, so that a change of health rebuilds nothing.
//!
//! # Which endpoint gets a client
//!
//! Everything is a function of the endpoints' ids and weights and of the flow's hash, in integers, so that every PoP and every
//! architecture comes to the same answer, whatever the order of the file. To compute it elsewhere:
//!
//! 1. The flow's hash is XXH3 with [`hash::SEED`] over 16 bytes of client address and 16 of accelerator address (IPv4 as a mapped
//!    address); for affinity `NONE` over client address, client port, accelerator address, accelerator port (big-endian) and the
//!    protocol's number (6 or 17), 37 bytes. Salts make dial, group, endpoint and address independent of one another: [`hash`].
//! 2. The upper 20 bits of the flow's hash within the group are its **slot**.
//! 3. Each endpoint has an order of its own in which it would have the 2²⁰ slots: a permutation keyed by the hash of its id (`order`).
//!    Its place in that order is as good as a uniform random number u, and `-log2(u) / weight` (`log`) an exponentially
//!    distributed time. The endpoint with the least time has the slot: weighted rendezvous hashing, share = w / Σw.
//! 4. If that endpoint is not available, the next best one has it.
//!
//! An endpoint that leaves, falls or is given less weight loses its own slots and no other endpoint loses one; an endpoint
//! that comes or is given more weight takes slots for itself and none change hands among the others. That is the least that
//! can move, for any number of endpoints.
//!
//! # Large groups
//!
//! Above [`DIRECT`] endpoints with a weight the outcome of step 3 is kept by slot (`table`), so that a pick is one look into a
//! table and nobody moves when the number is crossed. In step 4 the flow asks further slots, [`PROBES`] at most, until one's
//! winner is available, and then races the available ones. A group's shares are then exact but for the graininess of slots: an
//! endpoint's share is off by about √(n / 2²⁰) of itself, 3 % with 1,000 endpoints and 10 % with 10,000.
//!
//! With affinity `NONE` there is no client to keep, and above [`DIRECT`] endpoints weights are laid end to end in the order of id
//! hashes and the flow's hash is a point on that line (`sums`): exact shares, and step 4 as above.

pub mod hash;
mod log;
mod order;
mod set;
mod sums;
mod table;

pub use set::EndpointSet;

use crate::model::ClientAffinity;
use crate::units::{EndpointId, Weight};

use log::minus_log2;
use sums::Sums;
use table::Winners;

/// Slots are numbered with so many bits.
const SLOT_BITS: u32 = 20;
const SLOTS: usize = 1 << SLOT_BITS;

/// Up to so many endpoints with a weight are raced for each flow: about two nanoseconds each.
pub const DIRECT: usize = 64;

/// So many slots are asked for one whose winner is available. With half of a group down one flow in 2⁶⁴ needs more; those that do
/// cost a race of the available ones, which are few then.
pub const PROBES: u64 = 64;

/// Chooses among the endpoints of a group; see [`Selector::select`].
#[derive(Debug, Default)]
pub struct Selector {
    members: Box<[Member]>,
    index: Index,
}

/// An endpoint as the race sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    id_hash: u64,
    weight: u64,
}

/// What spares a large group the race.
#[derive(Debug, Default)]
enum Index {
    #[default]
    None,
    Winners(Winners),
    Sums(Sums),
}

impl Selector {
    /// Builds for these endpoints, by index. Takes microseconds, and for more than [`DIRECT`] endpoints with affinity
    /// `SOURCE_IP` some tens of milliseconds and 2 MiB: keep a selector while ids, weights and affinity stay.
    pub fn build(endpoints: &[(EndpointId, Weight)], affinity: ClientAffinity) -> Selector {
        let members: Box<[Member]> = endpoints
            .iter()
            .map(|(id, weight)| Member {
                id_hash: hash::of_endpoint(id),
                weight: u64::from(weight.0),
            })
            .collect();
        let index = match affinity {
            _ if members.iter().filter(|m| m.weight > 0).count() <= DIRECT => Index::None,
            ClientAffinity::SourceIp => Index::Winners(Winners::of(&members)),
            ClientAffinity::None => Index::Sums(Sums::of(&members)),
        };
        Selector { members, index }
    }

    /// The endpoint for a flow's [`hash::in_group`] among those that are in `among` and `usable`; none with weight 0.
    /// `usable` is asked of few endpoints, those that would be chosen.
    pub fn select(&self, hash: u64, among: &EndpointSet, usable: impl Fn(usize) -> bool) -> Option<usize> {
        if among.is_empty() {
            return None;
        }
        let probe = |winner: &dyn Fn(u64) -> Option<usize>| {
            (0..PROBES)
                .filter_map(|probe| winner(hash::reprobe(hash, probe)))
                .find(|i| among.contains(*i) && usable(*i))
        };
        let found = match &self.index {
            Index::None => None,
            Index::Winners(winners) => probe(&|hash| Some(winners.at(slot(hash)))),
            Index::Sums(sums) => probe(&|hash| sums.at(hash)),
        };
        found.or_else(|| race(&self.members, slot(hash), among.iter(), usable))
    }
}

impl Member {
    /// Whether `log / weight` is less than the other's; a tie goes to the lower id hash.
    fn beats(&self, log: u64, other: &Member, other_log: u64) -> bool {
        // Both below 2^38, weights below 2^8: exact, without a division.
        let (ours, theirs) = (log * other.weight, other_log * self.weight);
        ours < theirs || (ours == theirs && self.id_hash < other.id_hash)
    }
}

fn slot(hash: u64) -> u32 {
    (hash >> (64 - SLOT_BITS)) as u32
}

/// The winner of a slot among `runners` that are `usable`, which is asked only of those that would win.
fn race(
    members: &[Member],
    slot: u32,
    runners: impl Iterator<Item = usize>,
    usable: impl Fn(usize) -> bool,
) -> Option<usize> {
    let mut best: Option<(usize, Member, u64)> = None;
    for index in runners {
        let Some(member) = members.get(index).filter(|m| m.weight > 0) else {
            continue;
        };
        let log = minus_log2(order::wish(member.id_hash, slot));
        let leads = best
            .as_ref()
            .is_none_or(|(_, held, held_log)| member.beats(log, held, *held_log));
        if leads && usable(index) {
            best = Some((index, *member, log));
        }
    }
    best.map(|(index, _, _)| index)
}

#[cfg(test)]
mod tests;
