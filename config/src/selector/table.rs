//! The winner of every slot, found without asking every endpoint about every slot: each endpoint names the slots that it
//! wants most, the few slots that nobody named early enough are raced, and the outcome is that of racing them all.

use super::log::minus_log2;
use super::order::{Ranking, wish, wishes_at};
use super::{Member, SLOTS, race};

/// The index of the winner by slot.
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

    /// Of `members`, of which two at least have a weight.
    ///
    /// With n endpoints of total weight W an endpoint of weight w names the slots whose time is below log2(n)/W, which are at
    /// most T·ln(n)·w/W. That leaves about T/n slots to be raced: T·ln(n) + T steps in all, instead of T·n.
    pub(super) fn of(members: &[Member]) -> Winners {
        let weighted = members.iter().filter(|m| m.weight > 0);
        let count = weighted.clone().count();
        let bound = Bound {
            log: u128::from(count.ilog2() + 1) << 32,
            total: weighted.map(|m| u128::from(m.weight)).sum(),
        };
        let mut claims = vec![Claim::NONE; SLOTS];
        for (index, member) in members.iter().enumerate().filter(|(_, m)| m.weight > 0) {
            enter(&mut claims, members, index, bound.reaches(member));
        }
        let settled: Vec<u64> = members.iter().map(|m| bound.settles(m)).collect();
        let winner = |(slot, claim): (usize, &Claim)| match claim.held() {
            Some((log, index)) if log < settled[index] => index,
            Some(_) | None => race(
                members,
                0..members.len(),
                |id| wish(id, slot as u32),
                |_| true,
            )
            .unwrap_or_default(),
        };
        let winners = claims.iter().enumerate().map(winner);
        if members.len() <= 1 << 16 {
            Winners::Small(winners.map(|index| index as u16).collect())
        } else {
            Winners::Large(winners.map(|index| index as u32).collect())
        }
    }
}

/// The time up to which every endpoint names its slots, `log / total`.
struct Bound {
    log: u128,
    total: u128,
}

impl Bound {
    /// The endpoint names the slots with a lower logarithm than this.
    fn reaches(&self, member: &Member) -> u64 {
        (self.log * u128::from(member.weight)).div_ceil(self.total) as u64
    }

    /// Nobody who named fewer slots can beat the endpoint where its logarithm is lower than this. Rounded the other way.
    fn settles(&self, member: &Member) -> u64 {
        (self.log * u128::from(member.weight) / self.total) as u64
    }
}

/// The best that is known of a slot so far: a logarithm, which has 38 bits, above an index.
#[derive(Clone, Copy)]
struct Claim(u64);

impl Claim {
    const NONE: Claim = Claim(u64::MAX);
    /// More endpoints than this are not in one group.
    const INDEX_BITS: u32 = 24;

    fn new(log: u64, index: usize) -> Claim {
        Claim((log << Self::INDEX_BITS) | index as u64)
    }

    fn held(self) -> Option<(u64, usize)> {
        let index = self.0 & ((1 << Self::INDEX_BITS) - 1);
        (self.0 != u64::MAX).then_some((self.0 >> Self::INDEX_BITS, index as usize))
    }
}

/// Enters the slots that the endpoint wants with a logarithm below `limit`.
fn enter(claims: &mut [Claim], members: &[Member], index: usize, limit: u64) {
    /// Claims that are fetched together. They lie anywhere in 2 MiB: one after the other each would be waited for.
    const TOGETHER: u32 = 32;
    let member = &members[index];
    let ranking = Ranking::of(member.id_hash);
    let mut rank = first_rank_below(limit);
    while rank < SLOTS as u32 {
        let ranks = rank..(rank + TOGETHER).min(SLOTS as u32);
        rank = ranks.end;
        let mut fetched = [(0, Claim::NONE); TOGETHER as usize];
        let slots = ranks.clone().map(|rank| ranking.slot_at(rank));
        for (place, slot) in fetched.iter_mut().zip(slots) {
            *place = (slot, claims[slot as usize]);
        }
        // A slot has one rank: no two of these are the same.
        for (slot, claim) in &fetched[..ranks.len()] {
            let log = minus_log2(wish(member.id_hash, *slot));
            let held = claim.held();
            if held.is_none_or(|(held, holder)| member.beats(log, &members[holder], held)) {
                claims[*slot as usize] = Claim::new(log, index);
            }
        }
    }
}

/// The lowest rank at which a logarithm below `limit` can be: logarithms fall as ranks rise.
fn first_rank_below(limit: u64) -> u32 {
    let (mut low, mut high) = (0, SLOTS as u32);
    while low < high {
        let middle = low.midpoint(high);
        if minus_log2(wishes_at(middle).1) < limit {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
