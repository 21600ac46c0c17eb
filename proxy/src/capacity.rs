//! How many flows the descriptors of this process carry, beside what they are needed for otherwise. Asked at start, by `check`, and
//! whenever listening sockets come or go.

use portolan_config::model::Limits;

use crate::relay::splice;
use crate::{listen, sys};

/// Descriptors kept back for everything that is neither a flow nor a listening socket: files, admin, probes, event loops. Where
/// there are few, a quarter of them, but not less than [`FEWEST_RESERVED`] unless that is half.
const RESERVED_DESCRIPTORS: u64 = 512;

/// What a process with an admin listener and a few probes needs besides its flows: about thirty when idle.
const FEWEST_RESERVED: u64 = 64;

/// Kernel pipes take a sixteenth of the descriptors at most: they make flows faster, and are never a reason to refuse many.
const PIPES_PART: u64 = 16;

/// The cap on all flows beside so many descriptors of listening sockets and kernel pipes: what was asked for, or what the descriptor limit
/// allows (two descriptors a flow, and a third while it is raced against another endpoint, which the reserve covers).
pub fn effective_max_flows(limits: &Limits, beside: u64) -> u32 {
    let possible = carried(sys::descriptor_limit(), beside);
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

/// Kernel pipes that each worker may have.
pub(crate) fn pipes_a_worker(workers: usize) -> usize {
    pipes_of(sys::descriptor_limit(), workers)
}

fn pipes_of(descriptors: u64, workers: usize) -> usize {
    let pipes = usize::try_from(descriptors / PIPES_PART / 2).unwrap_or(usize::MAX);
    (pipes / workers.max(1)).min(splice::MOST)
}

/// Descriptors that so many kernel pipes of each worker take.
pub(crate) fn descriptors_of(pipes: usize, workers: usize) -> u64 {
    (2 * pipes * workers) as u64
}

fn carried(descriptors: u64, beside: u64) -> u32 {
    let reserve = (descriptors / 4).clamp(FEWEST_RESERVED, RESERVED_DESCRIPTORS);
    let reserve = reserve.min(descriptors / 2);
    let left = descriptors.saturating_sub(reserve + beside);
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
    fn kernel_pipes_take_a_sixteenth_of_few_descriptors() {
        assert_eq!(pipes_of(20_000, 2), splice::MOST);
        assert_eq!(pipes_of(1_024, 2), 16);
        assert_eq!(descriptors_of(pipes_of(1_024, 2), 2), 64);
        assert_eq!(pipes_of(96, 4), 0);
    }

    #[test]
    fn many_ports_are_shared_by_the_workers() {
        let limit = sys::descriptor_limit();
        assert_eq!(listening_descriptors(3, 2, 4), 20);
        let many = usize::try_from(limit / 8 + 1).unwrap();
        assert_eq!(listening_descriptors(many, 0, 4), many as u64);
    }
}
