//! Endpoints that accept and never answer: when what live flows tell of them is enough. Sans-IO; asked by the controller alone.
//!
//! A connect cannot tell, since the kernel accepts and acknowledges for a process that hangs; and who is silent may only be asked for
//! something slow, or by somebody who asks for nothing on purpose. So this is advice, and taken with care: three different clients must
//! have met it, and an endpoint is given up only while every listener that uses it has another one, one endpoint a listener at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use portolan_config::address::source_network;
use portolan_config::snapshot::AddressId;

/// Different clients that must have met it: one can ask for silence.
const SOURCES: usize = 3;

/// How long a client is remembered.
const MEMORY: Duration = Duration::from_secs(30);

/// From one endpoint of a listener that is given up to the next: what the first one's fall changes is known by then.
const ONE_IN: Duration = Duration::from_secs(1);

/// Addresses with clients that are remembered; those that come later wait for room.
const ADDRESSES: usize = 4096;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Hung {
    met: HashMap<AddressId, Vec<(IpAddr, Instant)>>,
    /// By listener.
    given_up: HashMap<usize, Instant>,
}

impl Hung {
    /// A client has waited in vain at an address that these listeners use. Whether the address is to be given up, if `spared` says
    /// that they can do without it.
    pub(crate) fn is_enough(
        &mut self,
        address: AddressId,
        client: IpAddr,
        listeners: &[usize],
        spared: impl FnOnce() -> bool,
        now: Instant,
    ) -> bool {
        let recent = |at: &Instant, span| now.saturating_duration_since(*at) < span;
        if self.met.len() >= ADDRESSES && !self.met.contains_key(&address) {
            self.met
                .retain(|_, met| met.iter().any(|(_, at)| recent(at, MEMORY)));
            if self.met.len() >= ADDRESSES {
                return false;
            }
        }
        let client = source_network(client);
        let met = self.met.entry(address).or_default();
        met.retain(|(other, at)| *other != client && recent(at, MEMORY));
        met.push((client, now));
        // More say nothing more.
        let excess = met.len().saturating_sub(SOURCES);
        met.drain(..excess);
        let others_fell = listeners.iter().any(|listener| {
            self.given_up
                .get(listener)
                .is_some_and(|at| recent(at, ONE_IN))
        });
        if met.len() < SOURCES || others_fell || !spared() {
            return false;
        }
        self.met.remove(&address);
        self.given_up.retain(|_, at| recent(at, ONE_IN));
        self.given_up
            .extend(listeners.iter().map(|listener| (*listener, now)));
        true
    }

    /// The listeners have other numbers.
    pub(crate) fn renumber(&mut self) {
        self.given_up.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: AddressId = AddressId(1);
    const B: AddressId = AddressId(2);

    struct Case {
        hung: Hung,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            Self {
                hung: Hung::default(),
                now: Instant::now(),
            }
        }

        fn meets(&mut self, address: AddressId, client: &str, spared: bool) -> bool {
            let client = client.parse().unwrap();
            self.hung
                .is_enough(address, client, &[0], || spared, self.now)
        }
    }

    #[test]
    fn three_different_clients_are_enough_and_one_never_is() {
        let mut case = Case::new();
        for _ in 0..10 {
            assert!(!case.meets(A, "192.0.2.1", true));
        }
        assert!(!case.meets(A, "2001:db8::1", true));
        assert!(
            !case.meets(A, "2001:db8::2", true),
            "a network is one client"
        );
        assert!(case.meets(A, "192.0.2.2", true));
    }

    #[test]
    fn clients_of_long_ago_are_forgotten() {
        let mut case = Case::new();
        case.meets(A, "192.0.2.1", true);
        case.meets(A, "192.0.2.2", true);
        case.now += MEMORY;
        assert!(!case.meets(A, "192.0.2.3", true));
    }

    #[test]
    fn the_last_one_stays_and_two_do_not_go_at_once() {
        let mut case = Case::new();
        for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"] {
            assert!(!case.meets(A, client, false), "nobody else is there");
            case.meets(B, client, false);
        }
        assert!(case.meets(A, "192.0.2.1", true), "another one has come");
        assert!(!case.meets(B, "192.0.2.1", true), "not in the same moment");
        case.now += ONE_IN;
        assert!(case.meets(B, "192.0.2.1", true));
    }
}
