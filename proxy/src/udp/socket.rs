//! Sockets of UDP: those that listen, one a worker in a group that steers each flow to its worker, and the connected one toward an
//! endpoint that carries a flow on this layer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use portolan_config::model::ListenerSettings;
use smallvec::SmallVec;
use socket2::{Domain, Protocol, Socket, Type};

use super::steer;
use crate::sys::{self, udp};

/// What a listening socket may hold while its worker is busy: at 1,500 bytes a datagram, some 20 ms of 100,000 a second. Needs
/// `CAP_NET_ADMIN` or `net.core.rmem_max` as large; else it is what that allows.
const RECEIVE_BUFFER: i32 = 4 << 20;

/// What a listening socket may have on its way out.
const SEND_BUFFER: usize = 1 << 20;

/// Opens an address and port for `workers`: a socket each, which share its flows out by `salt`.
pub(crate) fn listen(
    bind: SocketAddr,
    workers: usize,
    salt: u32,
    takes: Takes,
) -> io::Result<Vec<OwnedFd>> {
    let sockets: Vec<Socket> = (0..workers)
        .map(|_| prepare(bind, takes))
        .collect::<io::Result<_>>()?;
    if let [first, _, ..] = sockets.as_slice() {
        let count = u32::try_from(workers).unwrap_or(u32::MAX);
        // Before the bind: the group is made with its program, and the others join in the order of the workers.
        udp::steer(first.as_fd(), &steer::program(bind.is_ipv6(), count, salt))?;
        // Closed until all of them are there: what came in between would meet another worker than the rest of its flow.
        for socket in &sockets {
            udp::filter(socket.as_fd(), &steer::closed())?;
        }
    }
    for socket in &sockets {
        socket.bind(&bind.into())?;
    }
    if sockets.len() > 1 {
        for socket in &sockets {
            udp::unfilter(socket.as_fd())?;
        }
    }
    Ok(sockets.into_iter().map(OwnedFd::from).collect())
}

/// What comes to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// What is sent to the port that it is bound to.
    ItsPort,
    /// What is sent to many ports of its address; by the rules of a firewall where it is transparent.
    ManyPorts { transparent: bool },
}

/// Makes a socket one that takes many ports.
pub(crate) fn widen(socket: BorrowedFd<'_>, ipv6: bool, transparent: bool) -> io::Result<()> {
    udp::tell_original(socket, ipv6)?;
    if transparent {
        sys::be_transparent(socket, ipv6)?;
    }
    Ok(())
}

fn prepare(bind: SocketAddr, takes: Takes) -> io::Result<Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(bind), kind, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    let wildcard = bind.ip().is_unspecified();
    match bind.ip() {
        IpAddr::V4(_) if !wildcard => socket.set_freebind_v4(true)?,
        IpAddr::V6(_) if !wildcard => socket.set_freebind_v6(true)?,
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    if bind.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match takes {
        Takes::ManyPorts { transparent } => {
            widen(socket.as_fd(), bind.is_ipv6(), transparent)?;
        }
        Takes::ItsPort if wildcard => {
            udp::tell_local_address(socket.as_fd(), bind.is_ipv6())?;
        }
        Takes::ItsPort => {}
    }
    udp::receive_buffer(socket.as_fd(), RECEIVE_BUFFER)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    udp::tell_ecn(socket.as_fd(), bind.is_ipv6())?;
    coalesce(&socket);
    Ok(socket)
}

/// A socket toward an endpoint. `number` chooses among the listener's source addresses.
pub(crate) fn connect(
    to: SocketAddr,
    settings: &ListenerSettings,
    number: u64,
) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(to), kind, Some(Protocol::UDP))?;
    let usable: SmallVec<[&IpAddr; 4]> = settings
        .source_addresses
        .iter()
        .filter(|source| source.is_ipv4() == to.is_ipv4())
        .collect();
    if !usable.is_empty() {
        sys::bind_address_no_port(socket.as_fd())?;
        let source = *usable[(number % usable.len() as u64) as usize];
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    sys::report_icmp(socket.as_fd(), to.is_ipv6())?;
    socket.connect(&to.into())?;
    // On loopback a socket can draw as its own the very port that it connects to: then nobody else is there.
    if to.ip().is_loopback() && socket.local_addr()?.as_socket() == Some(to) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    udp::tell_ecn(socket.as_fd(), to.is_ipv6())?;
    coalesce(&socket);
    Ok(socket.into())
}

/// A socket that datagrams leave by from any address and port of this host, their headers made by us. Needs `CAP_NET_RAW`. Nothing comes
/// in by it: it is bound to an address that nobody has, or the kernel would give it a copy of every datagram.
pub(crate) fn raw(ipv6: bool) -> io::Result<OwnedFd> {
    let kind = Type::RAW.nonblocking().cloexec();
    let (domain, nobody) = if ipv6 {
        (Domain::IPV6, IpAddr::V6(DISCARD_V6))
    } else {
        (Domain::IPV4, IpAddr::V4(DUMMY_V4))
    };
    let socket = Socket::new(domain, kind, Some(Protocol::UDP))?;
    udp::filter(socket.as_fd(), &steer::closed())?;
    if ipv6 {
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&SocketAddr::new(nobody, 0).into())?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    Ok(socket.into())
}

/// Whether this process may have such sockets.
pub(crate) fn can_answer() -> io::Result<()> {
    raw(false).map(drop)
}

/// Addresses that nobody has: the dummy address of RFC 7600, and one of the discard prefix of RFC 6666.
const DUMMY_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
const DISCARD_V6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);

/// Datagrams come one by one where the kernel does not coalesce them.
fn coalesce(socket: &Socket) {
    if let Err(error) = udp::coalesce(socket.as_fd()) {
        tracing::debug!(%error, "the kernel does not coalesce datagrams");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn steered(local: &str, sources: &[&str]) {
        let free = UdpSocket::bind((local, 0)).unwrap().local_addr().unwrap();
        let workers: Vec<UdpSocket> = listen(free, 4, 7, Takes::ItsPort)
            .unwrap()
            .into_iter()
            .map(UdpSocket::from)
            .collect();
        let mut met: HashMap<SocketAddr, usize> = HashMap::new();
        let clients: Vec<UdpSocket> = (0..200)
            .map(|n| UdpSocket::bind((sources[n % sources.len()], 0)).unwrap())
            .collect();
        for round in 0..3 {
            for client in &clients {
                client.send_to(b"x", free).unwrap();
            }
            let mut seen = 0;
            for (index, worker) in workers.iter().enumerate() {
                worker
                    .set_read_timeout(Some(Duration::from_millis(50)))
                    .unwrap();
                while let Ok((_, from)) = worker.recv_from(&mut [0; 8]) {
                    seen += 1;
                    assert_eq!(*met.entry(from).or_insert(index), index, "round {round}");
                }
            }
            assert_eq!(seen, clients.len());
        }
        for index in 0..workers.len() {
            let share = met.values().filter(|worker| **worker == index).count();
            assert!((20..=90).contains(&share), "{share} of 200 met one of four");
        }
    }

    #[test]
    fn a_flow_always_meets_the_same_worker() {
        steered("127.0.0.1", &["127.0.0.1", "127.0.0.2", "127.9.8.7"]);
        steered("::1", &["::1"]);
    }
}
