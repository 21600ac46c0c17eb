//! The sockets of this network namespace that take what nobody is connected for, whoever has them: asked of the kernel (`sock_diag`),
//! which needs no rights. Ports that others listen on are left to them.

use std::collections::HashSet;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan_config::model::Protocol;
use socket2::{Domain, Socket, Type};

use super::table::Open;

/// Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h.
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const REQUEST_AND_DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const MESSAGE: usize = 72;
const ATTRIBUTE_ONLY_V6: u16 = 11;
/// States that TCP's listening sockets and UDP's unconnected ones are in.
const LISTENING: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;

/// The kernel writes no more than this at once.
const BUFFER: usize = 32 * 1024;

/// A socket and the number by which a process may know it for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) open: Open,
    pub(super) inode: u32,
}

/// All of them, of one protocol. Whose they are is not known yet.
pub(super) fn sockets(protocol: Protocol) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask(protocol, family as u8, &mut found)?;
    }
    Ok(found)
}

/// The numbers of the sockets that this process has.
pub(super) fn own() -> io::Result<HashSet<u32>> {
    let mut own = HashSet::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        // One that was closed meanwhile has no target.
        let Ok(target) = std::fs::read_link(entry?.path()) else {
            continue;
        };
        let number = target.to_str().and_then(|target| {
            let number = target.strip_prefix("socket:[")?.strip_suffix(']')?;
            number.parse::<u32>().ok()
        });
        own.extend(number);
    }
    Ok(own)
}

fn ask(protocol: Protocol, family: u8, found: &mut Vec<Found>) -> io::Result<()> {
    let kind = Type::RAW.cloexec();
    let mut socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        kind,
        Some(NETLINK_SOCK_DIAG.into()),
    )?;
    socket.send(&request(protocol, family))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = socket.read(&mut buffer)?;
        if !take(protocol, &buffer[..len], found)? {
            return Ok(());
        }
    }
}

/// A `nlmsghdr` with an `inet_diag_req_v2`.
fn request(protocol: Protocol, family: u8) -> Vec<u8> {
    let (number, states) = match protocol {
        Protocol::Tcp => (libc::IPPROTO_TCP, LISTENING),
        Protocol::Udp => (libc::IPPROTO_UDP, UNCONNECTED),
    };
    /// Of the `inet_diag_sockid`, which a dump does not look at.
    const ANY: [u8; 48] = [0; 48];
    let mut request = Vec::new();
    let len = (HEADER + 8 + ANY.len()) as u32;
    request.extend(len.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(REQUEST_AND_DUMP.to_ne_bytes());
    request.extend([0; 8]);
    request.extend([family, number as u8, 0, 0]);
    request.extend(states.to_ne_bytes());
    request.extend(ANY);
    request
}

/// Reads messages; false after the last one.
fn take(protocol: Protocol, mut bytes: &[u8], found: &mut Vec<Found>) -> io::Result<bool> {
    while let Some(len) = word(bytes, 0) {
        let len = len as usize;
        let Some(message) = bytes.get(HEADER..len) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        match half(bytes, 4) {
            Some(DONE) => return Ok(false),
            Some(ERROR) => {
                let code = word(message, 0).unwrap_or_default() as i32;
                return Err(io::Error::from_raw_os_error(-code));
            }
            _ => found.extend(socket(protocol, message)),
        }
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// An `inet_diag_msg` and its attributes.
fn socket(protocol: Protocol, message: &[u8]) -> Option<Found> {
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let ip: IpAddr = match i32::from(*message.first()?) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(message.get(8..12)?).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?).into(),
        _ => return None,
    };
    let inode = word(message, MESSAGE - 4)?;
    let mut attributes = message.get(MESSAGE..)?;
    let mut only_v6 = false;
    while let Some(len) = half(attributes, 0) {
        if half(attributes, 2) == Some(ATTRIBUTE_ONLY_V6) {
            only_v6 = attributes.get(4).is_some_and(|value| *value != 0);
        }
        let next = usize::from(len).max(4).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    let open = Open {
        protocol,
        address: SocketAddr::new(ip, port),
        only_v6,
        own: false,
    };
    Some(Found { open, inode })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let half = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(half.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn finds_sockets_of_both_protocols_and_knows_its_own() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = own().unwrap();
        let places = [
            (Protocol::Tcp, tcp.local_addr().unwrap()),
            (Protocol::Udp, udp.local_addr().unwrap()),
        ];
        for (protocol, at) in places {
            let all = sockets(protocol).unwrap();
            let found = all.iter().find(|found| found.open.address == at).unwrap();
            assert!(own.contains(&found.inode), "{found:?}");
        }
    }

    #[test]
    fn a_connected_socket_takes_nothing_from_others() {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.connect(peer.local_addr().unwrap()).unwrap();
        let at = udp.local_addr().unwrap();
        let all = sockets(Protocol::Udp).unwrap();
        assert!(all.iter().all(|found| found.open.address != at));
    }

    #[test]
    fn tells_which_sockets_take_ipv6_alone() {
        for only in [true, false] {
            let Ok(socket) = Socket::new(Domain::IPV6, Type::STREAM, None) else {
                // A host without IPv6 has nothing to find there.
                return;
            };
            socket.set_only_v6(only).unwrap();
            let any: SocketAddr = "[::]:0".parse().unwrap();
            if socket.bind(&any.into()).is_err() {
                return;
            }
            socket.listen(1).unwrap();
            let at = socket.local_addr().unwrap().as_socket().unwrap();
            let all = sockets(Protocol::Tcp).unwrap();
            let found = all.iter().find(|found| found.open.address == at).unwrap();
            assert_eq!(found.open.only_v6, only);
        }
    }
}
