//! How many flows the descriptors of this process carry, beside what they are needed for otherwise. Asked at start, by `check`, and
//! whenever listening sockets come or go.

use portolan_config::model::Limits;

use crate::{listen, sys};

/// Descriptors kept back for everything that is neither a flow nor a listening socket: files, admin, probes, event loops. Where
/// there are few, a quarter of them, but not less than [`FEWEST_RESERVED`] unless that is half.
const RESERVED_DESCRIPTORS: u64 = 512;

/// What a process with an admin listener and a few probes needs besides its flows: about thirty when idle.
const FEWEST_RESERVED: u64 = 64;

/// The cap on all flows beside `listening` sockets: what was asked for, or what the descriptor limit allows (two descriptors a
/// flow, and a third while it is raced against another endpoint, which the reserve covers).
pub fn effective_max_flows(limits: &Limits, listening: u64) -> u32 {
    let possible = carried(sys::descriptor_limit(), listening);
    match limits.max_flows {
        0 => possible,
        asked => asked.min(possible),
    }
}

/// Descriptors that listening on so many addresses and ports takes.
pub fn listening_descriptors(tcp: usize, udp: usize, workers: usize) -> u64 {
    let limit = sys::descriptor_limit();
    let sockets = |binds: usize| match listen::shared(binds, workers, limit) {
        true => binds,
        false => binds * workers,
    };
    (sockets(tcp) + sockets(udp)) as u64
}

fn carried(descriptors: u64, listening: u64) -> u32 {
    let reserve = (descriptors / 4).clamp(FEWEST_RESERVED, RESERVED_DESCRIPTORS);
    let reserve = reserve.min(descriptors / 2);
    let left = descriptors.saturating_sub(reserve + listening);
    u32::try_from(left / 2).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_take_descriptors_from_flows() {
        assert_eq!(carried(10_512, 0), 5_000);
        assert_eq!(carried(10_512, 2_000), 4_000);
        assert_eq!(carried(1_024, 5_000), 0);
    }

    #[test]
    fn many_ports_are_shared_by_the_workers() {
        let limit = sys::descriptor_limit();
        assert_eq!(listening_descriptors(3, 2, 4), 20);
        let many = usize::try_from(limit / 8 + 1).unwrap();
        assert_eq!(listening_descriptors(many, 0, 4), many as u64);
    }
}
