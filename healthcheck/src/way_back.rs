//! Whether what an endpoint sends to a client's own address comes back to this host: the self-test of `client_address =
//! "transparent"`. Called by control, which decides when to ask and what follows; keeps no state.
//!
//! The question is a connect from an address that no host has, of a block that is reserved for documentation (RFC 5737, RFC
//! 3849): its answer can only arrive where routes lead strangers' addresses back here. A refusal arrives, too, and proves as much.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portolan_config::address::EndpointAddr;
use portolan_config::health::Failure;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use crate::probe::{close_by_reset, failure_of_connect};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

const SOURCE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOURCE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// Why flows cannot come from their clients' own addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoWayBack {
    /// This process may not use addresses that are not this host's.
    NoRight,
    /// No answer came.
    NoAnswer,
    /// The network refuses to carry it.
    Unreachable,
    /// It could not be asked, which is this host's fault.
    Local(Arc<str>),
}

impl fmt::Display for NoWayBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoWayBack::NoRight => f.write_str("this process lacks CAP_NET_RAW"),
            NoWayBack::NoAnswer => write!(
                f,
                "the return path is missing: no answer to a connect from {SOURCE_V4} or {SOURCE_V6} within {PATIENCE:?}"
            ),
            NoWayBack::Unreachable => {
                f.write_str("the network carries no connect from a foreign address")
            }
            NoWayBack::Local(what) => write!(f, "could not be tested: {what}"),
        }
    }
}

/// Asks once.
pub async fn find_way_back(to: EndpointAddr) -> Result<(), NoWayBack> {
    let socket = foreign(to.0).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => NoWayBack::NoRight,
        Some(_) | None => NoWayBack::Local(Arc::from(error.to_string())),
    })?;
    match timeout(PATIENCE, socket.connect(to.0)).await {
        Ok(Ok(stream)) => {
            close_by_reset(&stream);
            Ok(())
        }
        Ok(Err(error)) => match failure_of_connect(&error) {
            Failure::Refused | Failure::Reset => Ok(()),
            Failure::TimedOut => Err(NoWayBack::NoAnswer),
            Failure::Unreachable => Err(NoWayBack::Unreachable),
            Failure::Answer(what) | Failure::Local(what) => Err(NoWayBack::Local(what)),
        },
        Err(_elapsed) => Err(NoWayBack::NoAnswer),
    }
}

/// A socket with an address that is nobody's.
fn foreign(to: SocketAddr) -> io::Result<TcpSocket> {
    let source: IpAddr = match to {
        SocketAddr::V4(_) => SOURCE_V4.into(),
        SocketAddr::V6(_) => SOURCE_V6.into(),
    };
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::TCP))?;
    // The option of IPv4 is the one of both families: Linux passes it on (ipv6_setsockopt).
    socket.set_ip_transparent_v4(true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}
