//! The mapping of custom routing: which port of the accelerator leads to which socket of a subnet. Sequential, address by
//! address and port by port, computed when a subnet is added and the same ever after. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use portolan_config::model::Protocol as ModelProtocol;

use super::records::{CustomGroup, SubnetRecord};
use super::shapes::custom_routing::CustomRoutingDestinationConfiguration;
use super::shapes::listeners::{PortRange, Protocol};

/// The first four addresses of a subnet and its last are AWS's own, and are not mapped.
const RESERVED_FIRST: u32 = 4;
const RESERVED_LAST: u32 = 1;

/// The ports of the destinations, ascending, with the protocols of each. The same port in two configurations is one.
pub(crate) fn destination_ports(
    destinations: &[CustomRoutingDestinationConfiguration],
) -> Vec<(u16, Vec<Protocol>)> {
    let mut ports: BTreeMap<u16, Vec<Protocol>> = BTreeMap::new();
    for destination in destinations {
        for port in destination.from_port..=destination.to_port {
            let protocols = ports.entry(port).or_default();
            for protocol in &destination.protocols {
                if !protocols.contains(protocol) {
                    protocols.push(*protocol);
                }
            }
        }
    }
    ports.into_iter().collect()
}

/// The addresses of a subnet that are mapped, ascending.
pub(crate) fn addresses(prefix: Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    let first = prefix.network().to_bits() + RESERVED_FIRST;
    let end = prefix.broadcast().to_bits() - RESERVED_LAST;
    (first..=end).map(Ipv4Addr::from_bits)
}

/// How many ports of the accelerator a subnet takes.
pub(crate) fn ports_needed(
    prefix: Ipv4Net,
    destinations: &[CustomRoutingDestinationConfiguration],
) -> usize {
    addresses(prefix).count() * destination_ports(destinations).len()
}

/// The lowest free ports of a listener, as many as are needed; `None` when there are too few.
pub(crate) fn allocate(
    ranges: &[PortRange],
    taken: &[PortRange],
    needed: usize,
) -> Option<Vec<PortRange>> {
    let mut ranges = ranges.to_vec();
    ranges.sort_by_key(|range| range.from_port);
    let mut free = vec![true; 1 << 16];
    for range in taken {
        free[usize::from(range.from_port)..=usize::from(range.to_port)].fill(false);
    }
    let mut blocks: Vec<PortRange> = Vec::new();
    let mut left = needed;
    for port in ranges
        .iter()
        .flat_map(|range| range.from_port..=range.to_port)
    {
        if left == 0 {
            break;
        }
        if free[usize::from(port)] {
            left -= 1;
            match blocks.last_mut() {
                Some(last) if port.checked_sub(1) == Some(last.to_port) => last.to_port = port,
                Some(_) | None => blocks.push(PortRange {
                    from_port: port,
                    to_port: port,
                }),
            }
        }
    }
    (left == 0).then_some(blocks)
}

/// One line of the mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping<'a> {
    pub(crate) accelerator_port: u16,
    pub(crate) ip: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) protocols: &'a [Protocol],
    pub(crate) allowed: bool,
}

/// The whole mapping of a subnet to these [`destination_ports`], in its order.
pub(crate) fn mappings<'a>(
    subnet: &'a SubnetRecord,
    ports: &'a [(u16, Vec<Protocol>)],
) -> impl Iterator<Item = Mapping<'a>> {
    let sockets = addresses(subnet.prefix).flat_map(move |ip| {
        ports
            .iter()
            .map(move |(port, protocols)| (ip, *port, protocols))
    });
    let accelerator_ports = subnet
        .ports
        .iter()
        .flat_map(|range| range.from_port..=range.to_port);
    accelerator_ports.zip(sockets).zip(0..).map(
        |((accelerator_port, (ip, port, protocols)), position)| Mapping {
            accelerator_port,
            ip,
            port,
            protocols,
            allowed: holds(&subnet.allowed, position),
        },
    )
}

fn holds(ranges: &[(u32, u32)], position: u32) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= position);
    ranges[..after]
        .last()
        .is_some_and(|(_, last)| position <= *last)
}

/// Positions of a mapping that lead to one of the addresses and ports; no ports are all of them.
pub(crate) fn positions(
    subnet: &SubnetRecord,
    destinations: &[CustomRoutingDestinationConfiguration],
    ips: &[Ipv4Addr],
    ports: &[u16],
) -> Vec<u32> {
    let all = destination_ports(destinations);
    let is_meant = |mapping: &Mapping<'_>| {
        ips.contains(&mapping.ip) && (ports.is_empty() || ports.contains(&mapping.port))
    };
    (0..)
        .zip(mappings(subnet, &all))
        .filter(|(_, mapping)| is_meant(mapping))
        .map(|(position, _)| position)
        .collect()
}

/// A position stands for a port of the accelerator. An import may say more.
const LAST_POSITION: u32 = u16::MAX as u32;

/// Allows or denies positions.
pub(crate) fn set(allowed: &[(u32, u32)], positions: &[u32], allow: bool) -> Vec<(u32, u32)> {
    let mut open: std::collections::BTreeSet<u32> = allowed
        .iter()
        .flat_map(|(first, last)| *first..=(*last).min(LAST_POSITION))
        .collect();
    for position in positions {
        if allow {
            open.insert(*position);
        } else {
            open.remove(position);
        }
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for position in open {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == position => *last = position,
            Some(_) | None => ranges.push((position, position)),
        }
    }
    ranges
}

/// What the data path is to serve: one destination address and protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) protocol: ModelProtocol,
    pub(crate) ip: Ipv4Addr,
    /// Accelerator port and destination port, ascending.
    pub(crate) ports: Vec<(u16, u16)>,
}

/// Everything that a group allows.
pub(crate) fn served(group: &CustomGroup) -> Vec<Served> {
    let mut served: BTreeMap<(Ipv4Addr, bool), Vec<(u16, u16)>> = BTreeMap::new();
    let ports = destination_ports(&group.destinations);
    for subnet in group
        .subnets
        .iter()
        .filter(|subnet| !subnet.allowed.is_empty())
    {
        for mapping in mappings(subnet, &ports).filter(|mapping| mapping.allowed) {
            for protocol in mapping.protocols {
                let is_udp = *protocol == Protocol::Udp;
                served
                    .entry((mapping.ip, is_udp))
                    .or_default()
                    .push((mapping.accelerator_port, mapping.port));
            }
        }
    }
    served
        .into_iter()
        .map(|((ip, is_udp), ports)| Served {
            protocol: if is_udp {
                ModelProtocol::Udp
            } else {
                ModelProtocol::Tcp
            },
            ip,
            ports,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from_port: u16, to_port: u16) -> PortRange {
        PortRange { from_port, to_port }
    }

    fn to(
        from_port: u16,
        to_port: u16,
        protocols: &[Protocol],
    ) -> CustomRoutingDestinationConfiguration {
        CustomRoutingDestinationConfiguration {
            from_port,
            to_port,
            protocols: protocols.to_vec(),
        }
    }

    fn subnet(ports: Vec<PortRange>) -> SubnetRecord {
        SubnetRecord {
            id: "subnet-1".into(),
            prefix: "192.0.2.0/24".parse().expect("a prefix"),
            ports,
            allowed: Vec::new(),
            attachment: None,
        }
    }

    #[test]
    fn the_mapping_is_the_one_of_awss_own_example() {
        // Developer guide: a /24 and ten ports are 251 × 10 sockets, the first of them 192.0.2.4:81 behind port 10001.
        let destinations = [to(81, 90, &[Protocol::Tcp])];
        let prefix = "192.0.2.0/24".parse().expect("a prefix");
        assert_eq!(ports_needed(prefix, &destinations), 2510);
        let ports = allocate(&[range(10001, 20000)], &[], 2510).expect("there are enough");
        assert_eq!(ports, [range(10001, 12510)]);
        let (subnet, to) = (subnet(ports), destination_ports(&destinations));
        let all: Vec<Mapping<'_>> = mappings(&subnet, &to).collect();
        let shown = |port: u16| {
            let found = all
                .iter()
                .find(|m| m.accelerator_port == port)
                .expect("mapped");
            format!("{}:{}", found.ip, found.port)
        };
        assert_eq!(
            [shown(10001), shown(10002), shown(10011), shown(12510)],
            [
                "192.0.2.4:81",
                "192.0.2.4:82",
                "192.0.2.5:81",
                "192.0.2.254:90"
            ]
        );
    }

    #[test]
    fn ports_of_others_are_left_out_and_a_shortage_is_none() {
        let taken = [range(10, 12), range(14, 14)];
        assert_eq!(
            allocate(&[range(10, 20)], &taken, 3),
            Some(vec![range(13, 13), range(15, 16)])
        );
        assert_eq!(allocate(&[range(10, 20)], &taken, 8), None);
        assert_eq!(
            allocate(&[range(30, 31), range(10, 11)], &[], 3),
            Some(vec![range(10, 11), range(30, 30)])
        );
        assert_eq!(
            allocate(&[range(65534, 65535)], &[], 2),
            Some(vec![range(65534, 65535)])
        );
    }

    #[test]
    fn allowing_and_denying_moves_single_sockets() {
        let destinations = [
            to(80, 81, &[Protocol::Tcp, Protocol::Udp]),
            to(81, 82, &[Protocol::Udp]),
        ];
        let mut subnet = subnet(vec![range(1000, 1752)]);
        let ip = Ipv4Addr::new(192, 0, 2, 5);
        let meant = positions(&subnet, &destinations, &[ip], &[]);
        assert_eq!(meant, [3, 4, 5]);
        subnet.allowed = set(&subnet.allowed, &meant, true);
        assert_eq!(subnet.allowed, [(3, 5)]);
        let one = positions(&subnet, &destinations, &[ip], &[81]);
        subnet.allowed = set(&subnet.allowed, &one, false);
        assert_eq!(subnet.allowed, [(3, 3), (5, 5)]);
        let group = CustomGroup {
            destinations: destinations.to_vec(),
            subnets: vec![subnet],
        };
        let served = served(&group);
        assert_eq!(served.len(), 2);
        assert_eq!(
            (served[0].protocol, served[0].ports.clone()),
            (ModelProtocol::Tcp, vec![(1003, 80)])
        );
        assert_eq!(
            (served[1].protocol, served[1].ports.clone()),
            (ModelProtocol::Udp, vec![(1003, 80), (1005, 82)])
        );
    }
}
