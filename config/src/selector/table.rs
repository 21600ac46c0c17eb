//! The winner of every slot, found without asking every endpoint about every slot: each endpoint names the slots that it
//! wants most, the few slots that nobody named early enough are raced, and the outcome is that of racing them all.

use super::log::minus_log2;
use super::order::{slot_at, wishes_at};
use super::{Member, SLOTS, race};

/// The index of the winner by slot. A table of four or two bytes a slot.
#[derive(Debug)]
pub(super) enum Winners {
    /// Up to 65,536 endpoints.
    Small(Box<[u16]>),
    /// More.
    Large(Box<[u32]>),
}

impl Winners {
    pub(super) fn at(&self, slot: u32) -> usize {
        match self {
            Winners::Small(winners) => usize::from(winners[slot as usize]),
            Winners::Large(winners) => winners[slot as usize] as usize,
        }
    }

    /// Of `members`, of which one at least has a weight.
    ///
    /// With n endpoints of total weight W an endpoint of weight w names the slots whose score is below log2(n)/W, about
    /// T·ln(n)·w/W of them. That leaves T/n slots to be raced: T·ln(n) + T steps in all, instead of T·n.
    pub(super) fn of(members: &[Member]) -> Winners {
        let weighted = members.iter().filter(|m| m.weight > 0);
        let count = weighted.clone().count() as u128;
        let total: u128 = weighted.map(|m| u128::from(m.weight)).sum();
        let bound = u128::from(count.ilog2() + 1) << 32;

        let mut best: Vec<Option<Claim>> = vec![None; SLOTS];
        for (index, member) in members.iter().enumerate().filter(|(_, m)| m.weight > 0) {
            let limit = (bound * u128::from(member.weight)).div_ceil(total);
            claim(&mut best, members, index, limit as u64);
        }
        let settled = |claim: &Claim| {
            let weight = members[claim.index as usize].weight;
            u128::from(claim.log) < bound * u128::from(weight) / total
        };
        let winner = |(slot, claim): (usize, &Option<Claim>)| match claim {
            Some(claim) if settled(claim) => claim.index,
            Some(_) | None => race(members, slot as u32, 0..members.len(), |_| true).unwrap_or_default() as u32,
        };
        let winners = best.iter().enumerate().map(winner);
        if members.len() <= 1 << 16 {
            Winners::Small(winners.map(|index| index as u16).collect())
        } else {
            Winners::Large(winners.collect())
        }
    }
}

/// The best that is known of a slot so far.
#[derive(Clone, Copy)]
struct Claim {
    log: u64,
    index: u32,
}

/// Enters the slots that the endpoint wants with a logarithm below `limit`.
fn claim(best: &mut [Option<Claim>], members: &[Member], index: usize, limit: u64) {
    let member = &members[index];
    for rank in (0..SLOTS as u32).rev() {
        if minus_log2(wishes_at(rank).1) >= limit {
            break;
        }
        let (slot, wish) = slot_at(member.id_hash, rank);
        let log = minus_log2(wish);
        let held = &mut best[slot as usize];
        let beaten = held.is_none_or(|held| member.beats(log, &members[held.index as usize], held.log));
        if beaten {
            *held = Some(Claim {
                log,
                index: index as u32,
            });
        }
    }
}
