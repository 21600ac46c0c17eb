//! What a flow does, by its number and the seed of the run alone: both ends know it, and so does the ledger.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt as _, SeedableRng as _};

use crate::payload::Order;

/// What the first bytes of a flow are: which one it is, in a form that noise does not have.
pub(super) const HEAD: usize = 32;

const MAGIC: &[u8; 8] = b"PORTSOAK";

/// What a flow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A question and an answer.
    Short,
    /// Small pieces both ways for seconds.
    Long,
    /// Megabytes one way.
    Bulk,
    /// One side finishes before the other begins.
    HalfClose,
    /// A side reads less than it is sent, so that the edge must keep bytes.
    Slow,
    /// The client resets in the middle.
    Abort,
    /// Datagrams.
    Datagrams,
}

impl Kind {
    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Short => "short",
            Kind::Long => "long",
            Kind::Bulk => "bulk",
            Kind::HalfClose => "half-close",
            Kind::Slow => "slow reader",
            Kind::Abort => "client reset",
            Kind::Datagrams => "datagrams",
        }
    }
}

/// How a side moves its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes at a time.
    pub(super) piece: usize,
    /// Between writes.
    pub(super) write_pause: Duration,
    /// Between reads.
    pub(super) read_pause: Duration,
}

const FAST: Pace = Pace {
    piece: 32 * 1024,
    write_pause: Duration::ZERO,
    read_pause: Duration::ZERO,
};

/// A flow of TCP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// Bytes behind the head.
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) order: Order,
    pub(super) client: Pace,
    pub(super) endpoint: Pace,
    /// The client resets when it has sent so much.
    pub(super) abort_after: Option<u64>,
    /// Which of the listeners it goes to.
    pub(super) listener: usize,
    seed: u64,
}

impl Plan {
    /// The plan of a number.
    pub(super) fn of(seed: u64, id: u64) -> Plan {
        let mut random = SmallRng::seed_from_u64(mix(seed ^ mix(id)));
        let kind = match random.random_range(0..100) {
            0..58 => Kind::Short,
            58..72 => Kind::Long,
            72..77 => Kind::Bulk,
            77..88 => Kind::HalfClose,
            88..94 => Kind::Slow,
            _ => Kind::Abort,
        };
        let mut plan = Plan {
            id,
            kind,
            up: random.random_range(0..3_000),
            down: random.random_range(0..3_000),
            order: Order::Together,
            client: FAST,
            endpoint: FAST,
            abort_after: None,
            listener: random.random_range(0..1_000),
            seed,
        };
        plan.shape(&mut random);
        plan
    }

    fn shape(&mut self, random: &mut impl Rng) {
        match self.kind {
            Kind::Short | Kind::Datagrams => {}
            Kind::Long => {
                let piece = random.random_range(50..400);
                let pause = Duration::from_millis(random.random_range(50..300));
                let pieces = random.random_range(20..80);
                (self.up, self.down) = (piece as u64 * pieces, piece as u64 * pieces);
                let pace = Pace {
                    piece,
                    write_pause: pause,
                    read_pause: Duration::ZERO,
                };
                (self.client, self.endpoint) = (pace, pace);
            }
            Kind::Bulk => {
                let bytes = random.random_range(1_000_000..8_000_000);
                if random.random_bool(0.5) {
                    self.up = bytes;
                } else {
                    self.down = bytes;
                }
            }
            Kind::HalfClose => {
                self.up = random.random_range(0..60_000);
                self.down = random.random_range(0..60_000);
                self.order = if random.random_bool(0.5) {
                    Order::AfterClient
                } else {
                    Order::AfterEndpoint
                };
            }
            Kind::Slow => {
                let slow = Pace {
                    piece: random.random_range(10_000..60_000),
                    write_pause: Duration::ZERO,
                    read_pause: Duration::from_millis(random.random_range(10..60)),
                };
                let bytes = random.random_range(2_000_000..6_000_000);
                if random.random_bool(0.5) {
                    (self.down, self.client) = (bytes, slow);
                } else {
                    (self.up, self.endpoint) = (bytes, slow);
                }
            }
            Kind::Abort => {
                self.up = random.random_range(1..200_000);
                self.down = random.random_range(0..200_000);
                self.abort_after = Some(random.random_range(0..self.up));
            }
        }
    }

    /// The head that the client sends.
    pub(super) fn head(&self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..8].copy_from_slice(MAGIC);
        head[8..16].copy_from_slice(&self.id.to_be_bytes());
        head[16..24].copy_from_slice(&self.seed.to_be_bytes());
        head[24..].copy_from_slice(&mix(self.id ^ mix(self.seed)).to_be_bytes());
        head
    }

    /// The plan that a head asks for; `None` when it is none.
    pub(super) fn read(head: &[u8; HEAD]) -> Option<Plan> {
        let number = |at: usize| {
            let bytes = head[at..at + 8].try_into().unwrap_or_default();
            u64::from_be_bytes(bytes)
        };
        let (id, seed) = (number(8), number(16));
        let whole = &head[..8] == MAGIC && number(24) == mix(id ^ mix(seed));
        whole.then(|| Plan::of(seed, id))
    }

    /// The seed of what the client sends.
    pub(super) fn up_seed(&self) -> u64 {
        mix(self.id.wrapping_mul(2))
    }

    /// The seed of what the endpoint sends.
    pub(super) fn down_seed(&self) -> u64 {
        mix(self.id.wrapping_mul(2).wrapping_add(1))
    }
}

/// The finalizer of SplitMix64: numbers that follow each other give streams that have nothing to do with each other.
pub(super) fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_the_whole_plan() {
        for id in 0..200 {
            let plan = Plan::of(7, id);
            let read = Plan::read(&plan.head()).unwrap();
            assert_eq!(format!("{plan:?}"), format!("{read:?}"));
        }
        let mut head = Plan::of(7, 1).head();
        head[12] ^= 1;
        assert!(Plan::read(&head).is_none());
    }
}
