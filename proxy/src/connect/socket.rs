//! The socket of one connect: made, and judged when it fails.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use mio::net::TcpStream;
use portolan_config::address::EndpointAddr;
use portolan_config::model::ListenerSettings;
use portolan_config::stats::{AddressFallback, ConnectFailure};
use portolan_config::units::PortRange;
use smallvec::SmallVec;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::sys;

/// A socket that is connecting. `number` chooses among the listener's source addresses.
pub(crate) fn open(
    to: SocketAddr,
    settings: &ListenerSettings,
    number: u64,
) -> io::Result<TcpStream> {
    let socket = make(to)?;
    let usable: SmallVec<[_; 4]> = settings
        .source_addresses
        .iter()
        .filter(|source| source.is_ipv4() == to.is_ipv4())
        .collect();
    if !usable.is_empty() {
        sys::bind_address_no_port(socket.as_fd())?;
        let source = *usable[(number % usable.len() as u64) as usize];
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    connect(socket, to)
}

/// The same from the client's own address and port. An error with a cause is no fault of the endpoint's: it can still be reached from
/// an address of this host.
pub(crate) fn open_as(
    client: SocketAddr,
    to: SocketAddr,
) -> Result<TcpStream, (Option<AddressFallback>, io::Error)> {
    if client.is_ipv4() != to.is_ipv4() {
        let error = io::ErrorKind::AddrNotAvailable.into();
        return Err((Some(AddressFallback::Family), error));
    }
    if client == to {
        // It would meet itself.
        return Err((Some(AddressFallback::Port), io::ErrorKind::AddrInUse.into()));
    }
    let open = || {
        let socket = make(to)?;
        // The option of IPv4 is the one of both families: Linux passes it on (ipv6_setsockopt).
        socket.set_ip_transparent_v4(true)?;
        // A flow that is over may still hold the four addresses and ports, waiting for its last segments.
        socket.set_reuse_address(true)?;
        socket.bind(&client.into())?;
        connect(socket, to)
    };
    open().map_err(|error: io::Error| {
        let cause = match error.raw_os_error() {
            Some(libc::EADDRINUSE | libc::EADDRNOTAVAIL) => Some(AddressFallback::Port),
            Some(libc::EPERM | libc::EACCES) => Some(AddressFallback::Right),
            Some(_) | None => None,
        };
        (cause, error)
    })
}

fn make(to: SocketAddr) -> io::Result<Socket> {
    Socket::new(
        Domain::for_address(to),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )
}

fn connect(socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Has no small segment wait for the acknowledgement of an earlier one. A socket's first write never waits (`tcp_nagle_check`), so a
/// flow that is over after one need not ask. What is held back goes out now. True when the socket is so.
pub(crate) fn send_at_once(stream: &TcpStream) -> bool {
    // On a socket that was reset this fails, and there is nothing left to send.
    stream.set_nodelay(true).is_ok()
}

/// Has the kernel watch the path to an endpoint, and tell what ICMP says of it (of a connect it is told always). Four system calls and
/// a timer, which a flow that is over at once does not need; the client's socket has inherited the same from its listener.
pub(crate) fn watch_path(
    stream: &TcpStream,
    to: IpAddr,
    settings: &ListenerSettings,
) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(settings.keepalive))?;
    socket.set_tcp_user_timeout(Some(settings.user_timeout))?;
    sys::report_icmp(stream.as_fd(), to.is_ipv6())
}

/// On loopback a connect to a closed port that the system gives to clients can meet itself (simultaneous open): nobody is there.
pub(crate) fn is_connected_to_itself(
    stream: &TcpStream,
    to: EndpointAddr,
    ephemeral: &PortRange,
) -> bool {
    let possible = to.0.ip().is_loopback() && ephemeral.contains(to.0.port());
    possible && stream.local_addr().is_ok_and(|local| local == to.0)
}

/// Whose fault a failed connect is.
pub(crate) fn classify(error: &io::Error) -> ConnectFailure {
    if error.kind() == io::ErrorKind::TimedOut {
        return ConnectFailure::TimedOut;
    }
    if error.kind() == io::ErrorKind::ConnectionRefused {
        return ConnectFailure::Refused;
    }
    match error.raw_os_error() {
        Some(libc::ECONNRESET | libc::EPIPE) => ConnectFailure::Reset,
        Some(
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EACCES | libc::EPERM,
        ) => ConnectFailure::Unreachable,
        _ => ConnectFailure::Local,
    }
}
