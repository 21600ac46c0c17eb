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
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_CREATE_REPLACE: u16 = 0x500;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// No duplicate address detection: an anycast address is meant to be elsewhere as well.
const IFA_F_NODAD: u8 = 2;
const HEADER: usize = 16;

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
    /// Makes it, or goes on with the one of a predecessor, whose addresses stay.
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
        let interface = Self {
            name: name.to_owned(),
            index,
            tun,
            netlink,
            prefixes: BTreeSet::new(),
        };
        interface.up().map_err(failed("cannot be set up"))?;
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
        let length = (HEADER + body.len()) as u32;
        let mut message = Vec::with_capacity(length as usize);
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        (&self.netlink).write_all(&message)?;
        let mut reply = [0; 4096];
        let read = (&self.netlink).read(&mut reply)?;
        acknowledged(&reply[..read])
    }
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
}
