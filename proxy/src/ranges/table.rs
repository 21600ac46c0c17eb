//! What the program's map of ranges holds, as values: which protocol, address and ports go to which socket, and which ports inside of
//! them are left to whoever else listens there. Pure; [`super::lookup`] writes it to the kernel.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use portolan_config::model::Protocol;
use portolan_config::units::PortRange;

/// Bytes of a key: the length of its prefix, protocol and family, address, port, two that are always 0.
pub(crate) const KEY: usize = 28;

/// Bits in front of the port.
const BEFORE_PORT: u32 = 20 * 8;

/// The number of no socket: the kernel goes on with its ordinary lookup.
pub(crate) const LEFT: u32 = u32::MAX;

/// What of an address goes to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The number of the socket.
    pub(crate) number: u32,
    /// Apart from each other.
    pub(crate) ranges: Vec<PortRange>,
}

/// Places by protocol and address; the unspecified one is every address of its family.
pub(crate) type Places = BTreeMap<(Protocol, IpAddr), Place>;

/// A socket that takes what nobody is connected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Open {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    /// On `[::]`: it takes IPv6 alone.
    pub(crate) only_v6: bool,
    /// This process has it.
    pub(crate) own: bool,
}

/// Everything that the map should hold. `ephemeral` are the ports that the system gives to clients.
pub(crate) fn entries(
    places: &Places,
    open: &[Open],
    ephemeral: PortRange,
) -> BTreeMap<[u8; KEY], u32> {
    let mut entries = BTreeMap::new();
    for ((protocol, ip), place) in places {
        for (base, bits) in place.ranges.iter().flat_map(|range| prefixes(*range)) {
            entries.insert(key(*protocol, *ip, base, bits), place.number);
        }
    }
    // Whole ports last: the longest prefix wins, and of two of the same length what is left to others.
    for (protocol, address) in left(places, open, ephemeral) {
        let key = key(protocol, address.ip(), address.port(), u16::BITS);
        entries.insert(key, LEFT);
    }
    entries
}

/// The addresses and ports inside of the places that stay with the sockets that are there. Where a range of sockets could not be
/// bound because of them, one entry in a map must not take their clients away either.
pub(crate) fn left(
    places: &Places,
    open: &[Open],
    ephemeral: PortRange,
) -> Vec<(Protocol, SocketAddr)> {
    let mut left = Vec::new();
    for ((protocol, ip), place) in places {
        let port = |socket: &&Open| {
            place
                .ranges
                .iter()
                .any(|r| r.contains(socket.address.port()))
        };
        let mine = open.iter().filter(|socket| socket.protocol == *protocol);
        let kept = mine
            .filter(port)
            .filter_map(|socket| kept_at(*ip, socket, ephemeral));
        left.extend(kept.map(|address| (*protocol, address)));
    }
    left.sort_unstable();
    left.dedup();
    left
}

/// Where a socket on a port of the place keeps its clients; `None` where the place wins.
fn kept_at(place: IpAddr, socket: &Open, ephemeral: PortRange) -> Option<SocketAddr> {
    let ip = socket.address.ip().to_canonical();
    let port = socket.address.port();
    let both = ip.is_unspecified() && ip.is_ipv6() && !socket.only_v6;
    if ip.is_ipv4() != place.is_ipv4() && !(both && place.is_ipv4()) {
        return None;
    }
    let kept = |ip| Some(SocketAddr::new(ip, port));
    match (place.is_unspecified(), ip.is_unspecified()) {
        // A named address beside a wildcard wins, our own or not.
        (true, false) => kept(ip),
        (true, true) => kept(place).filter(|_| !socket.own),
        (false, false) => kept(ip).filter(|_| ip == place && !socket.own),
        // A client's socket for a while, which hears answers at other addresses as well. A server's is not.
        (false, true) => {
            let client = socket.protocol == Protocol::Udp && ephemeral.contains(port);
            kept(place).filter(|_| !socket.own && !client)
        }
    }
}

/// A key as the program makes it of what it is asked for.
fn key(protocol: Protocol, ip: IpAddr, port: u16, bits: u32) -> [u8; KEY] {
    let family = match ip {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let protocol = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
    };
    let kind = (protocol as u32) << 16 | family as u32;
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&(BEFORE_PORT + bits).to_ne_bytes());
    key[4..8].copy_from_slice(&kind.to_ne_bytes());
    match ip {
        IpAddr::V4(ip) => key[8..12].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => key[8..24].copy_from_slice(&ip.octets()),
    }
    key[24..26].copy_from_slice(&port.to_be_bytes());
    key
}

/// The fewest powers of two of ports that make a range: the first port of each and the bits that all its ports have in common.
fn prefixes(range: PortRange) -> Vec<(u16, u32)> {
    let (mut next, end) = (u32::from(range.first()), u32::from(range.last()) + 1);
    let mut prefixes = Vec::new();
    while next < end {
        let aligned = next.trailing_zeros().min(u16::BITS);
        let fits = (end - next).ilog2();
        let size = aligned.min(fits);
        prefixes.push((next as u16, u16::BITS - size));
        next += 1 << size;
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPHEMERAL: (u16, u16) = (32768, 60999);

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    fn open(address: &str, own: bool) -> Open {
        Open {
            protocol: Protocol::Tcp,
            address: address.parse().unwrap(),
            only_v6: false,
            own,
        }
    }

    proptest! {
        #[test]
        fn prefixes_hold_the_ports_of_the_range_and_no_other(a in 1..=u16::MAX, b in 1..=u16::MAX) {
            let range = range(a.min(b), a.max(b));
            let found = prefixes(range);
            prop_assert!(found.len() <= 30, "{found:?}");
            let mut next = u32::from(range.first());
            for (base, bits) in found {
                prop_assert_eq!(u32::from(base), next);
                prop_assert_eq!(u32::from(base) % (1 << (16 - bits)), 0);
                next += 1 << (16 - bits);
            }
            prop_assert_eq!(next, u32::from(range.last()) + 1);
        }
    }

    #[test]
    fn who_keeps_a_port_inside_of_a_range() {
        // the range's address, a socket's, ours; where the socket keeps its clients
        let table = [
            ("0.0.0.0", "0.0.0.0:22", false, Some("0.0.0.0:22")),
            ("0.0.0.0", "10.0.0.1:22", false, Some("10.0.0.1:22")),
            ("0.0.0.0", "10.0.0.1:80", true, Some("10.0.0.1:80")),
            ("0.0.0.0", "0.0.0.0:80", true, None),
            ("0.0.0.0", "[::]:22", false, Some("0.0.0.0:22")),
            ("0.0.0.0", "[::1]:22", false, None),
            (
                "0.0.0.0",
                "[::ffff:10.0.0.1]:22",
                false,
                Some("10.0.0.1:22"),
            ),
            ("10.0.0.1", "0.0.0.0:22", false, Some("10.0.0.1:22")),
            ("10.0.0.1", "0.0.0.0:8088", true, None),
            ("10.0.0.1", "10.0.0.1:22", false, Some("10.0.0.1:22")),
            ("10.0.0.1", "10.0.0.1:65535", true, None),
            ("10.0.0.1", "10.0.0.2:22", false, None),
            ("::", "0.0.0.0:22", false, None),
            ("::", "[::]:22", false, Some("[::]:22")),
            ("fd00::1", "[::]:22", false, Some("[fd00::1]:22")),
        ];
        for (ip, socket, own, kept) in table {
            let place = Place {
                number: 0,
                ranges: vec![range(1, 65535)],
            };
            let places = Places::from([((Protocol::Tcp, ip.parse().unwrap()), place)]);
            let found = left(
                &places,
                &[open(socket, own)],
                range(EPHEMERAL.0, EPHEMERAL.1),
            );
            let kept: Vec<_> = kept
                .iter()
                .map(|at| (Protocol::Tcp, at.parse().unwrap()))
                .collect();
            assert_eq!(found, kept, "{ip} {socket} {own}");
        }
    }

    #[test]
    fn a_socket_of_ipv6_alone_keeps_nothing_of_ipv4() {
        let place = Place {
            number: 0,
            ranges: vec![range(1, 65535)],
        };
        let places = Places::from([((Protocol::Tcp, "0.0.0.0".parse().unwrap()), place)]);
        let only_v6 = Open {
            only_v6: true,
            ..open("[::]:22", false)
        };
        assert_eq!(
            left(&places, &[only_v6], range(EPHEMERAL.0, EPHEMERAL.1)),
            []
        );
    }

    #[test]
    fn a_client_of_udp_keeps_no_port_of_a_named_address_and_a_server_does() {
        let place = |ip: &str| {
            let ranges = vec![range(1, 65535)];
            (
                (Protocol::Udp, ip.parse().unwrap()),
                Place { number: 0, ranges },
            )
        };
        let sockets = ["0.0.0.0:53", "0.0.0.0:40000"].map(|at| Open {
            protocol: Protocol::Udp,
            ..open(at, false)
        });
        let ephemeral = range(EPHEMERAL.0, EPHEMERAL.1);
        let named = left(&Places::from([place("10.0.0.1")]), &sockets, ephemeral);
        assert_eq!(named, [(Protocol::Udp, "10.0.0.1:53".parse().unwrap())]);
        let wildcard = left(&Places::from([place("0.0.0.0")]), &sockets, ephemeral);
        assert_eq!(wildcard.len(), 2);
    }

    #[test]
    fn what_is_left_to_others_goes_before_the_range_even_where_that_is_one_port() {
        let place = Place {
            number: 7,
            ranges: vec![range(22, 22)],
        };
        let places = Places::from([((Protocol::Tcp, "10.0.0.1".parse().unwrap()), place)]);
        let ephemeral = range(EPHEMERAL.0, EPHEMERAL.1);
        let own = entries(&places, &[], ephemeral);
        assert_eq!(own.values().copied().collect::<Vec<_>>(), [7]);
        let found = entries(&places, &[open("10.0.0.1:22", false)], ephemeral);
        assert_eq!(found.values().copied().collect::<Vec<_>>(), [LEFT]);
    }
}
