//! The interface that carries the addresses. It is this process's own: whoever announces what stands on it (BIRD's `direct` protocol)
//! stops in the moment in which the process dies. Spoken to by rtnetlink(7), whose few messages are written here.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ipnet::IpNet;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use super::tun;

/// The kernel answers at once; a wait without end would hang the announcer.
const REPLY_WITHIN: Duration = Duration::from_secs(2);

/// linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE_REPLACE: u16 = 0x500;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: an anycast address is meant to be elsewhere as well.
const IFA_F_NODAD: u8 = 2;
const HEADER: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;
/// RT_SCOPE_UNIVERSE: what the kernel gives the interface for itself is of another scope.
const EVERYWHERE: u8 = 0;

/// Parts of the list of all addresses of a host: each is up to 32 KiB.
const MOST_PARTS: usize = 1024;

/// What could not be done, and to which interface.
#[derive(Debug, Error)]
#[error("interface {interface}: {what}: {source}{}", hint(.source))]
pub(super) struct InterfaceError {
    interface: String,
    what: String,
    #[source]
    source: io::Error,
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; it needs CAP_NET_ADMIN and /dev/net/tun (systemd: AmbientCapabilities=CAP_NET_ADMIN, DeviceAllow=/dev/net/tun rw)"
        }
        Some(libc::EBUSY) => "; another process has it",
        Some(libc::ENOENT | libc::ENODEV) => "; the kernel module tun is not there",
        _ => "",
    }
}

/// An interface that is up, with its addresses.
#[derive(Debug)]
pub(super) struct Interface {
    name: String,
    index: u32,
    /// Holds it in life.
    tun: OwnedFd,
    netlink: Socket,
    prefixes: BTreeSet<IpNet>,
}

impl Interface {
    /// Makes it, or goes on with the one of a predecessor, whose addresses stay until [`Interface::carry`] says otherwise.
    pub(super) fn open(name: &str, inherited: Option<OwnedFd>) -> Result<Self, InterfaceError> {
        let failed = |what: &str| {
            let (interface, what) = (name.to_owned(), what.to_owned());
            move |source| InterfaceError {
                interface,
                what,
                source,
            }
        };
        let tun = match inherited {
            Some(tun) => tun,
            None => tun::create(name).map_err(failed("cannot be made"))?,
        };
        let netlink = netlink().map_err(failed("no netlink socket"))?;
        let index = rustix::net::netdevice::name_to_index(&netlink, name)
            .map_err(|error| failed("is not there")(error.into()))?;
        let mut interface = Self {
            name: name.to_owned(),
            index,
            tun,
            netlink,
            prefixes: BTreeSet::new(),
        };
        interface.up().map_err(failed("cannot be set up"))?;
        let there = interface.there();
        interface.prefixes = there.map_err(failed("its addresses cannot be read"))?;
        Ok(interface)
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it carries this one.
    pub(super) fn carries(&self, prefix: &IpNet) -> bool {
        self.prefixes.contains(prefix)
    }

    /// A copy of what holds it in life, for a successor.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        self.tun.try_clone()
    }

    /// Gives it these addresses, each with the length of its prefix, and takes the other ones that it was given. All are tried before the first error is told.
    pub(super) fn carry(&mut self, prefixes: &BTreeSet<IpNet>) -> Result<(), InterfaceError> {
        let gone: Vec<IpNet> = self.prefixes.difference(prefixes).copied().collect();
        let fresh: Vec<IpNet> = prefixes.difference(&self.prefixes).copied().collect();
        let mut first = None;
        for prefix in gone {
            match self.address(RTM_DELADDR, NLM_F_REQUEST | NLM_F_ACK, prefix) {
                Err(error) if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) => {
                    first.get_or_insert((format!("{prefix} cannot be taken from it"), error));
                }
                Ok(()) | Err(_) => {
                    self.prefixes.remove(&prefix);
                }
            }
        }
        for prefix in fresh {
            let flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE_REPLACE;
            match self.address(RTM_NEWADDR, flags, prefix) {
                // Of a predecessor, or set by hand.
                Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                    first.get_or_insert((format!("{prefix} cannot be given to it"), error));
                }
                Ok(()) | Err(_) => {
                    self.prefixes.insert(prefix);
                }
            }
        }
        first.map_or(Ok(()), |(what, source)| {
            Err(InterfaceError {
                interface: self.name.clone(),
                what,
                source,
            })
        })
    }

    fn up(&self) -> io::Result<()> {
        let up = libc::IFF_UP as u32;
        let mut body = vec![0; 16];
        body[4..8].copy_from_slice(&self.index.to_ne_bytes());
        body[8..12].copy_from_slice(&up.to_ne_bytes());
        body[12..16].copy_from_slice(&up.to_ne_bytes());
        self.ask(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, &body)
    }

    /// The addresses that are on it.
    fn there(&self) -> io::Result<BTreeSet<IpNet>> {
        let all = [0; ADDRESS_HEADER];
        let request = message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, &all);
        (&self.netlink).write_all(&request)?;
        let mut there = BTreeSet::new();
        let mut part = vec![0; 32 * 1024];
        for _ in 0..MOST_PARTS {
            let read = (&self.netlink).read(&mut part)?;
            if take_addresses(&part[..read], self.index, &mut there)? {
                return Ok(there);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    fn address(&self, kind: u16, flags: u16, prefix: IpNet) -> io::Result<()> {
        let (family, bytes) = match prefix.addr() {
            IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
        };
        let mut body = vec![family as u8, prefix.prefix_len(), IFA_F_NODAD, 0];
        body.extend(self.index.to_ne_bytes());
        for attribute in [IFA_LOCAL, IFA_ADDRESS] {
            body.extend((4 + bytes.len() as u16).to_ne_bytes());
            body.extend(attribute.to_ne_bytes());
            body.extend(&bytes);
        }
        self.ask(kind, flags, &body)
    }

    /// One request, and the kernel's acknowledgement.
    fn ask(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        (&self.netlink).write_all(&message(kind, flags, body))?;
        let mut reply = [0; 4096];
        let read = (&self.netlink).read(&mut reply)?;
        acknowledged(&reply[..read])
    }
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + body.len()) as u32;
    let mut message = Vec::with_capacity(length as usize);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Takes the addresses of one interface out of a part of the list of all; whether it was the last part.
fn take_addresses(mut part: &[u8], index: u32, there: &mut BTreeSet<IpNet>) -> io::Result<bool> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    while !part.is_empty() {
        let length = u32::from_ne_bytes(bytes(part, 0).ok_or_else(broken)?) as usize;
        let kind = u16::from_ne_bytes(bytes(part, 4).ok_or_else(broken)?);
        let body = part.get(HEADER..length).ok_or_else(broken)?;
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(acknowledged(part).err().unwrap_or_else(broken)),
            RTM_NEWADDR => there.extend(address_of(body, index)),
            _ => {}
        }
        part = part.get(aligned(length)..).unwrap_or_default();
    }
    Ok(false)
}

/// An address with the length of its prefix, when it is of this interface and not the kernel's own.
fn address_of(body: &[u8], index: u32) -> Option<IpNet> {
    let (family, length, scope) = (*body.first()?, *body.get(1)?, *body.get(3)?);
    let of = u32::from_ne_bytes(bytes(body, 4)?);
    if of != index || scope != EVERYWHERE {
        return None;
    }
    let mut attributes = body.get(ADDRESS_HEADER..)?;
    while let Some(size) = bytes(attributes, 0).map(u16::from_ne_bytes) {
        let size = usize::from(size);
        let kind = u16::from_ne_bytes(bytes(attributes, 2)?);
        let value = attributes.get(4..size)?;
        let ip = match (kind, i32::from(family)) {
            // IFA_ADDRESS of IPv4 is the other end's, where there is one.
            (IFA_LOCAL, libc::AF_INET) => Some(IpAddr::from(bytes::<4>(value, 0)?)),
            (IFA_ADDRESS, libc::AF_INET6) => Some(IpAddr::from(bytes::<16>(value, 0)?)),
            _ => None,
        };
        if let Some(ip) = ip {
            return IpNet::new(ip, length).ok();
        }
        attributes = attributes.get(aligned(size)..)?;
    }
    None
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

/// Netlink's parts begin at multiples of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// `struct nlmsgerr` after the header: zero is done, else a negative error number.
fn acknowledged(reply: &[u8]) -> io::Result<()> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = reply.get(4..6).ok_or_else(broken)?;
    let code = reply.get(HEADER..HEADER + 4).ok_or_else(broken)?;
    if kind != NLMSG_ERROR.to_ne_bytes() {
        return Err(broken());
    }
    let code: [u8; 4] = code.try_into().map_err(|_| broken())?;
    match i32::from_ne_bytes(code) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
    }
}

fn netlink() -> io::Result<Socket> {
    let route = Protocol::from(libc::NETLINK_ROUTE);
    let socket = Socket::new(
        Domain::from(libc::AF_NETLINK),
        Type::RAW.cloexec(),
        Some(route),
    )?;
    socket.set_read_timeout(Some(REPLY_WITHIN))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_is_taken_as_it_is_and_garbage_is_no_word() {
        let mut reply = vec![0; HEADER + 4];
        reply[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
        assert!(acknowledged(&reply).is_ok());
        reply[HEADER..].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        let refused = acknowledged(&reply).expect_err("EPERM");
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        for length in 0..HEADER + 4 {
            assert!(acknowledged(&reply[..length]).is_err());
        }
        reply[4] = 99;
        assert!(acknowledged(&reply).is_err());
    }
    /// `struct ifaddrmsg` and one attribute.
    fn listed(family: i32, length: u8, scope: u8, index: u32, kind: u16, ip: &[u8]) -> Vec<u8> {
        let mut body = vec![family as u8, length, 0, scope];
        body.extend(index.to_ne_bytes());
        body.extend((4 + ip.len() as u16).to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(ip);
        message(RTM_NEWADDR, 0, &body)
    }

    #[test]
    fn what_is_on_an_interface_is_read_and_nothing_of_others() {
        let (v4, v6) = ([203, 0, 113, 10], [0x20; 16]);
        let parts = [
            listed(libc::AF_INET, 32, 0, 7, IFA_LOCAL, &v4),
            listed(libc::AF_INET, 32, 0, 8, IFA_LOCAL, &[192, 0, 2, 1]),
            listed(libc::AF_INET6, 128, 0, 7, IFA_ADDRESS, &v6),
            // The kernel's own, of the link.
            listed(libc::AF_INET6, 64, 253, 7, IFA_ADDRESS, &[0xfe; 16]),
        ]
        .concat();
        let mut there = BTreeSet::new();
        let more = take_addresses(&parts, 7, &mut there).expect("a list");
        assert!(!more, "the end comes by itself");
        let expected = [
            IpNet::new(v4.into(), 32).expect("a prefix"),
            IpNet::new(v6.into(), 128).expect("a prefix"),
        ];
        assert_eq!(there, BTreeSet::from(expected));
        let end = message(NLMSG_DONE, 0, &[0; 4]);
        assert!(take_addresses(&end, 7, &mut there).expect("the end"));
        for cut in 1..parts.len() {
            // Half a message is none, and no reason to stop working.
            let _ = take_addresses(&parts[..cut], 7, &mut BTreeSet::new());
        }
        let refused = [
            &message(NLMSG_ERROR, 0, &(-libc::EPERM).to_ne_bytes())[..],
            &[0; 16],
        ];
        let error = take_addresses(&refused.concat(), 7, &mut there).expect_err("EPERM");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
}
