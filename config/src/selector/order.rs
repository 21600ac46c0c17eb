//! The order in which an endpoint would have the slots: a permutation of its own, which can be walked both ways.

use super::SLOT_BITS;

const MASK: u32 = (1 << SLOT_BITS) - 1;
/// Bits below a rank that tell endpoints of one rank apart.
const BELOW: u32 = 32 - SLOT_BITS;
/// How far each round shifts. Half of a slot's bits at least, so that shifting again takes it back.
const SHIFTS: [u32; 4] = [10, 9, 10, 9];

/// How much the endpoint with this id hash wants the slot: 32 bits, uniform. The upper 18 are a rank, which no other slot has
/// for this endpoint. Four rounds of xor, multiplication modulo 2¹⁸ and shift, keyed by the id hash rotated left by 21 bits a
/// round: its bits 0 to 17 are the xor's key, its bits 24 to 55 the factor, made odd. The 14 bits below the rank are those that
/// the last product has above its lowest 18.
pub(super) fn wish(id_hash: u64, slot: u32) -> u32 {
    let mut x = slot;
    let mut product = 0;
    for (round, shift) in SHIFTS.into_iter().enumerate() {
        let (key, factor) = keys(id_hash, round);
        product = (x ^ key).wrapping_mul(factor);
        x = product & MASK;
        x ^= x >> shift;
    }
    (x << BELOW) | (product >> SLOT_BITS)
}

/// The lowest wish that a slot of this rank can have, and the highest.
pub(super) fn wishes_at(rank: u32) -> (u32, u32) {
    (rank << BELOW, (rank << BELOW) | ((1 << BELOW) - 1))
}

/// The way back: from ranks to slots.
pub(super) struct Ranking {
    rounds: [Round; SHIFTS.len()],
}

struct Round {
    key: u32,
    inverse: u32,
    shift: u32,
}

impl Ranking {
    pub(super) fn of(id_hash: u64) -> Ranking {
        Ranking {
            rounds: std::array::from_fn(|round| {
                let (key, factor) = keys(id_hash, round);
                Round {
                    key,
                    inverse: inverse(factor),
                    shift: SHIFTS[round],
                }
            }),
        }
    }

    /// The slot that has this rank.
    pub(super) fn slot_at(&self, rank: u32) -> u32 {
        self.rounds.iter().rev().fold(rank, |x, round| {
            let product = x ^ (x >> round.shift);
            (product.wrapping_mul(round.inverse) & MASK) ^ round.key
        })
    }
}

fn keys(id_hash: u64, round: usize) -> (u32, u32) {
    let key = id_hash.rotate_left(21 * round as u32);
    (key as u32 & MASK, (key >> 24) as u32 | 1)
}

/// The inverse of an odd number modulo 2³², by Newton's iteration: each step doubles the bits that are right, of which an odd
/// number is its own inverse in three.
fn inverse(odd: u32) -> u32 {
    (0..4).fold(odd, |x, _| {
        x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::SLOTS;
    use super::{BELOW, Ranking, wish};

    #[test]
    fn is_a_permutation_and_walks_back() {
        for id_hash in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let ranking = Ranking::of(id_hash);
            for slot in 0..SLOTS as u32 {
                assert_eq!(ranking.slot_at(wish(id_hash, slot) >> BELOW), slot);
            }
        }
    }
}
