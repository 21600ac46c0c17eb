//! How an event's token says which flow of a worker it is about, and which socket of it.

use mio::Token;

use crate::flow::Side;

/// A flow's place in the slab and its generation, as they stand in an event's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Handle {
    pub(crate) key: u32,
    pub(crate) generation: u32,
}

/// Bits of a token that hold the side, and below the generation the key.
const SIDE_BITS: u32 = 2;
const KEY_BITS: u32 = 32;
/// Generations that fit; 0 marks a listening socket's token.
pub(crate) const GENERATIONS: u32 = (1 << (64 - SIDE_BITS - KEY_BITS)) - 1;

impl Handle {
    pub(crate) fn token(self, side: Side) -> Token {
        let packed = (u64::from(self.generation) << (KEY_BITS + SIDE_BITS))
            | (u64::from(self.key) << SIDE_BITS)
            | u64::from(side);
        Token(packed as usize)
    }

    pub(crate) fn of(token: Token) -> (Self, Side) {
        let packed = token.0 as u64;
        let handle = Handle {
            key: (packed >> SIDE_BITS) as u32,
            generation: (packed >> (KEY_BITS + SIDE_BITS)) as u32,
        };
        (handle, (packed & 3) as Side)
    }
}
