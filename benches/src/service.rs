//! What the endpoints of a run offer. Every target forwards each service that it can to the endpoint behind it.

use std::net::{Ipv4Addr, SocketAddr};

/// One kind of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Answers each request of fixed size.
    Answers,
    /// Reads what comes and throws it away.
    Swallows,
    /// Sends each datagram back.
    Echoes,
}

/// Below the ports that the system gives out (32768 on), so that no connect can meet itself.
const FIRST_PORT: u16 = 7801;

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Service; 3] = [Service::Answers, Service::Swallows, Service::Echoes];

    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Service::Answers => "answers",
            Service::Swallows => "swallows",
            Service::Echoes => "echoes",
        }
    }

    /// Whether it is one of UDP.
    pub fn is_udp(self) -> bool {
        self == Service::Echoes
    }

    /// Where the endpoint is.
    pub fn endpoint(self) -> SocketAddr {
        self.port(0)
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
