//! Listening sockets: which there must be for a snapshot, and how one is made.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use portolan_config::model::{ListenerSettings, Protocol};
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};
use socket2::{Domain, SockRef, Socket, TcpKeepalive, Type};

use crate::sys;
use crate::wide::Spread;
use crate::worker::DoorKey;

/// Connections that wait to be accepted, a socket. The kernel caps it at `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// The part of the descriptors that listening sockets may take before workers share them.
const DESCRIPTOR_SHARE: u64 = 4;

/// What must listen: every address and port of every listener of a protocol that has sockets of its own, and whose it is.
pub(crate) fn wanted(
    snapshot: &Snapshot,
    protocol: Protocol,
    spread: &Spread,
) -> BTreeMap<SocketAddr, Arc<ListenerSnapshot>> {
    let mut wanted = BTreeMap::new();
    let mine = snapshot.listeners.iter().filter(|l| l.protocol == protocol);
    for listener in mine.filter(|listener| !spread.is_wide(listener)) {
        for ip in addresses(listener) {
            for port in listener.ports.iter() {
                wanted
                    .entry(SocketAddr::new(ip, port))
                    .or_insert_with(|| Arc::clone(listener));
            }
        }
    }
    wanted
}

/// The listener's addresses; the wildcard of both families when it names none.
pub(crate) fn addresses(listener: &ListenerSnapshot) -> Vec<IpAddr> {
    if listener.addresses.is_empty() {
        vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    } else {
        listener.addresses.clone()
    }
}

/// A socket at one address, as the edge remembers it.
pub(crate) struct Bound {
    pub(crate) door: DoorKey,
    /// One a worker, or one that they share; kept to be handed to a successor.
    pub(crate) sockets: Vec<Arc<TcpListener>>,
    pub(crate) error: Option<String>,
}

/// Whether this many addresses and ports are better shared by the workers than had by each of them.
pub(crate) fn shared(binds: usize, workers: usize, descriptors: u64) -> bool {
    (binds * workers) as u64 > descriptors / DESCRIPTOR_SHARE
}

/// A socket for each of `workers`, or one for all of them; a predecessor's first, however many those are.
pub(crate) fn open(
    bind: SocketAddr,
    settings: &ListenerSettings,
    workers: usize,
    shared: bool,
    inherited: Vec<OwnedFd>,
) -> io::Result<Vec<Arc<TcpListener>>> {
    let adopted = inherited.into_iter().map(|socket| adopt(socket, settings));
    let mut sockets: Vec<_> = adopted
        .map(|socket| socket.map(Arc::new))
        .collect::<io::Result<_>>()?;
    if shared {
        if sockets.is_empty() {
            sockets.push(Arc::new(listen(bind, settings)?));
        }
        let one = Arc::clone(&sockets[0]);
        sockets.extend(std::iter::repeat_n(
            one,
            workers.saturating_sub(sockets.len()),
        ));
    }
    while sockets.len() < workers {
        sockets.push(Arc::new(listen(bind, settings)?));
    }
    Ok(sockets)
}

fn listen(bind: SocketAddr, settings: &ListenerSettings) -> io::Result<TcpListener> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(
        Domain::for_address(bind),
        kind,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    match bind.ip() {
        IpAddr::V4(ip) if !ip.is_unspecified() => socket.set_freebind_v4(true)?,
        IpAddr::V6(ip) if !ip.is_unspecified() => socket.set_freebind_v6(true)?,
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    if bind.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    inherited_by_flows(&socket, settings)?;
    socket.bind(&bind.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Sockets for all ports of an address: at one port, marked where rules of a firewall bring the clients of the others.
pub(crate) fn open_wide(
    bind: SocketAddr,
    settings: &ListenerSettings,
    workers: usize,
    transparent: bool,
    inherited: Vec<OwnedFd>,
) -> io::Result<Vec<TcpListener>> {
    let adopted = inherited.into_iter().map(|socket| adopt(socket, settings));
    let mut sockets: Vec<TcpListener> = adopted.collect::<io::Result<_>>()?;
    while sockets.len() < workers {
        sockets.push(listen(bind, settings)?);
    }
    if transparent {
        for socket in &sockets {
            sys::be_transparent(socket.as_fd(), bind.is_ipv6())?;
        }
    }
    Ok(sockets)
}

/// Gives a connection what its listener says, where the socket that it came in by is another's, too.
pub(crate) fn suit(client: &TcpStream, settings: &ListenerSettings) {
    // On a connection that is gone already this fails, and there is nothing left to do.
    let _ = inherited_by_flows(&SockRef::from(client), settings);
}

/// Takes over a predecessor's listening socket: it is bound and listens already, and nothing in its queue is lost.
pub(crate) fn adopt(socket: OwnedFd, settings: &ListenerSettings) -> io::Result<TcpListener> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    inherited_by_flows(&socket, settings)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Gives sockets that listen already what a reload has changed; flows that are there keep what they began with.
pub(crate) fn renew(sockets: &[Arc<TcpListener>], settings: &ListenerSettings) {
    for socket in sockets {
        if let Err(error) = inherited_by_flows(&SockRef::from(&**socket), settings) {
            tracing::warn!(%error, "a listening socket keeps its old keepalive and user timeout");
        }
    }
}

/// Options that every accepted socket inherits from its listener, at no system call a flow.
fn inherited_by_flows(socket: &Socket, settings: &ListenerSettings) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(settings.keepalive))?;
    socket.set_tcp_user_timeout(Some(settings.user_timeout))
}

/// Whether an error says that this host has no IPv6, which for the wildcard is no fault.
pub(crate) fn is_family_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}
