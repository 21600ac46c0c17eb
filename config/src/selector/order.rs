//! The order in which an endpoint would have the slots: a permutation of its own, which can be walked both ways.

use super::{SLOT_BITS, SLOTS};

/// Half of a slot's bits.
const HALF: u32 = SLOT_BITS / 2;
const HALF_MASK: u32 = (1 << HALF) - 1;
/// Bits below a rank that tell endpoints of one rank apart.
const BELOW: u32 = 32 - SLOT_BITS;

/// Odd multipliers of the four rounds: the constants of SplitMix64 and of MurmurHash3's finalizer.
const ROUNDS: [u64; 4] = [
    0xbf58_476d_1ce4_e5b9,
    0x94d0_49bb_1331_11eb,
    0xff51_afd7_ed55_8ccd,
    0xc4ce_b9fe_1a85_ec53,
];

/// How much the endpoint with this id hash wants the slot: 32 bits, uniform. The upper [`SLOT_BITS`] are a rank, which no other
/// slot has for this endpoint. A Feistel network of four rounds, each a multiplication keyed by 64 bits.
pub(super) fn wish(id_hash: u64, slot: u32) -> u32 {
    let (mut left, mut right) = (slot >> HALF, slot & HALF_MASK);
    let mut product = 0;
    for (round, multiplier) in ROUNDS.into_iter().enumerate() {
        product = multiply(id_hash, round, multiplier, right);
        (left, right) = (right, left ^ top(product));
    }
    compose(left, right, product)
}

/// The slot that has this rank, and its [`wish`].
pub(super) fn slot_at(id_hash: u64, rank: u32) -> (u32, u32) {
    let (mut left, mut right) = (rank >> HALF, rank & HALF_MASK);
    let mut wish = None;
    for (round, multiplier) in ROUNDS.into_iter().enumerate().rev() {
        let product = multiply(id_hash, round, multiplier, left);
        wish = wish.or(Some(compose(left, right, product)));
        (left, right) = (right ^ top(product), left);
    }
    ((left << HALF) | right, wish.unwrap_or_default())
}

/// The lowest wish that a slot of this rank can have, and the highest.
pub(super) fn wishes_at(rank: u32) -> (u32, u32) {
    (rank << BELOW, (rank << BELOW) | ((1 << BELOW) - 1))
}

fn multiply(id_hash: u64, round: usize, multiplier: u64, half: u32) -> u64 {
    // A rotation a round: each round's half meets other bits of the id.
    (id_hash.rotate_left(16 * round as u32) ^ u64::from(half)).wrapping_mul(multiplier)
}

fn top(product: u64) -> u32 {
    (product >> (64 - HALF)) as u32
}

fn compose(left: u32, right: u32, product: u64) -> u32 {
    let below = (product >> (64 - HALF - BELOW)) as u32 & ((1 << BELOW) - 1);
    (((left << HALF) | right) << BELOW) | below
}

const _: () = assert!(SLOTS == 1 << SLOT_BITS && SLOT_BITS % 2 == 0);
