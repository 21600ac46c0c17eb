//! What the endpoints of a run offer. Every target forwards each service that it can to the endpoint behind it.

use std::net::{Ipv4Addr, SocketAddr};

/// One kind of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Answers each request of fixed size.
    Answers,
    /// The same at several addresses. Toward one alone a host can open no more connections a second than it has ports of one parity, as
    /// each waits a second after its end until it is used again (`tcp_tw_reuse`): some 14,000, for every proxy.
    Spread,
    /// Reads what comes and throws it away.
    Swallows,
    /// Sends each datagram back.
    Echoes,
}

/// Below the ports that the system gives out (32768 on), so that no connect can meet itself.
const FIRST_PORT: u16 = 7801;

/// Addresses of the endpoint that has several.
const SPREAD: u8 = 8;

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Service; 4] = [
        Service::Answers,
        Service::Spread,
        Service::Swallows,
        Service::Echoes,
    ];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Service::Answers => "answers",
            Service::Spread => "spread",
            Service::Swallows => "swallows",
            Service::Echoes => "echoes",
        }
    }

    /// Whether it is one of UDP.
    pub fn is_udp(self) -> bool {
        self == Service::Echoes
    }

    /// Where the endpoint is; one of several.
    pub fn endpoint(self) -> SocketAddr {
        self.port(0)
    }

    /// All addresses of the endpoint.
    pub fn endpoints(self) -> Vec<SocketAddr> {
        if self != Service::Spread {
            return vec![self.endpoint()];
        }
        let last = 1..=SPREAD;
        let at = |last| (Ipv4Addr::new(127, 0, 1, last), self.endpoint().port()).into();
        last.map(at).collect()
    }

    /// Where the endpoint listens.
    pub fn bind(self) -> SocketAddr {
        match self {
            Service::Spread => (Ipv4Addr::UNSPECIFIED, self.endpoint().port()).into(),
            Service::Answers | Service::Swallows | Service::Echoes => self.endpoint(),
        }
    }

    /// Where the target with this number (from 1 on) forwards it.
    pub fn at_target(self, number: u16) -> SocketAddr {
        self.port(number)
    }

    fn port(self, number: u16) -> SocketAddr {
        let services = Service::ALL.len() as u16;
        (
            Ipv4Addr::LOCALHOST,
            FIRST_PORT + number * services + self as u16,
        )
            .into()
    }
}
