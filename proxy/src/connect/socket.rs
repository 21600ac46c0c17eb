//! The socket of one connect: made, and judged when it fails.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use mio::net::TcpStream;
use portolan_config::address::EndpointAddr;
use portolan_config::model::ListenerSettings;
use portolan_config::stats::ConnectFailure;
use smallvec::SmallVec;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::sys;

/// A socket that is connecting.
pub(crate) fn open(
    to: SocketAddr,
    settings: &ListenerSettings,
    flow: u64,
) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(to),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_tcp_nodelay(true)?;
    let usable: SmallVec<[_; 4]> = settings
        .source_addresses
        .iter()
        .filter(|source| source.is_ipv4() == to.is_ipv4())
        .collect();
    if !usable.is_empty() {
        sys::bind_address_no_port(socket.as_fd())?;
        let source = *usable[(flow % usable.len() as u64) as usize];
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Has the kernel watch the path to an endpoint. Three system calls and a timer, which a flow that is over at once does not need; the
/// client's socket has inherited the same from its listener.
pub(crate) fn watch_path(stream: &TcpStream, settings: &ListenerSettings) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(settings.keepalive))?;
    socket.set_tcp_user_timeout(Some(settings.user_timeout))
}

/// On loopback a connect to a closed port in the ephemeral range can meet itself (simultaneous open): nobody is there.
pub(crate) fn is_connected_to_itself(stream: &TcpStream, to: EndpointAddr) -> bool {
    to.0.ip().is_loopback() && stream.local_addr().is_ok_and(|local| local == to.0)
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
