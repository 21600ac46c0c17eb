//! What must hold over the whole file: who listens where. The reader notes each claim as it goes, errors elsewhere or not;
//! [`Claims::check`] compares them at the end.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::report::Report;
use super::values::ValueError;
use crate::model::{PortOverride, Protocol};
use crate::units::{PortRange, PortSet};

/// Everything that is claimed so far.
#[derive(Default)]
pub(super) struct Claims {
    portolan: Vec<OwnSocket>,
    this_host: HashSet<IpAddr>,
    /// By accelerator: its addresses, none being the wildcard; `None` when they could not be read.
    addresses: Vec<Option<Vec<IpAddr>>>,
    listeners: Vec<ListenerClaim>,
    groups: Vec<GroupClaim>,
}

/// A socket of Portolan's own.
pub(super) struct OwnSocket {
    pub(super) addr: SocketAddr,
    /// Bound with SO_REUSEPORT: on every address, it stands beside a listener's named one, which wins.
    pub(super) shares_port: bool,
    pub(super) path: String,
    pub(super) offset: usize,
}

/// What one listener takes. `offset` is that of its ports.
pub(super) struct ListenerClaim {
    pub(super) accelerator: usize,
    pub(super) path: String,
    pub(super) offset: usize,
    pub(super) protocol: Option<Protocol>,
    pub(super) ports: Option<PortSet>,
}

/// The endpoints of a group that have addresses.
pub(super) struct GroupClaim {
    /// As [`Claims::listener`] numbered it.
    pub(super) listener: usize,
    pub(super) path: String,
    pub(super) overrides: Vec<PortOverride>,
    pub(super) endpoints: Vec<EndpointClaim>,
}

/// An endpoint that is an address. `offset` is that of its address.
pub(super) struct EndpointClaim {
    pub(super) index: usize,
    pub(super) offset: usize,
    pub(super) ip: IpAddr,
    pub(super) port: Option<u16>,
}

/// One range of one listener at one address; `None` is the wildcard.
#[derive(Clone, Copy)]
struct Taken<'c> {
    range: PortRange,
    claim: &'c ListenerClaim,
}

type Place = (Protocol, Option<IpAddr>);

impl Claims {
    /// Portolan itself listens there.
    pub(super) fn portolan(&mut self, socket: OwnSocket) {
        self.portolan.push(socket);
    }

    /// This host has these addresses.
    pub(super) fn this_host(&mut self, addresses: &[IpAddr]) {
        self.this_host.extend(addresses);
    }

    /// The addresses of the accelerator with this index, which is one more than the last.
    pub(super) fn accelerator(&mut self, index: usize, addresses: Option<&[IpAddr]>) {
        debug_assert_eq!(index, self.addresses.len());
        self.this_host(addresses.unwrap_or_default());
        self.addresses.push(addresses.map(<[IpAddr]>::to_vec));
    }

    /// Notes a listener, and numbers it.
    pub(super) fn listener(&mut self, claim: ListenerClaim) -> usize {
        self.listeners.push(claim);
        self.listeners.len() - 1
    }

    /// Notes a group.
    pub(super) fn group(&mut self, claim: GroupClaim) {
        self.groups.push(claim);
    }

    /// Reports every two claims that exclude each other.
    pub(super) fn check(&self, report: &Report) {
        let places = self.places();
        accelerators_apart(&places, report);
        self.portolan_apart(&places, report);
        self.endpoints_apart(&places, report);
    }

    fn places(&self) -> BTreeMap<Place, Vec<Taken<'_>>> {
        let mut places: BTreeMap<Place, Vec<Taken<'_>>> = BTreeMap::new();
        for claim in &self.listeners {
            let (Some(protocol), Some(ports)) = (claim.protocol, &claim.ports) else {
                continue;
            };
            let Some(addresses) = &self.addresses[claim.accelerator] else {
                continue;
            };
            let named = addresses.iter().copied().map(Some);
            let wildcard = addresses.is_empty().then_some(None);
            for address in named.chain(wildcard) {
                let ranges = ports.ranges().iter();
                places
                    .entry((protocol, address))
                    .or_default()
                    .extend(ranges.map(|range| Taken {
                        range: *range,
                        claim,
                    }));
            }
        }
        for taken in places.values_mut() {
            taken.sort_by_key(|taken| taken.range);
        }
        places
    }

    fn portolan_apart(&self, places: &BTreeMap<Place, Vec<Taken<'_>>>, report: &Report) {
        let mut own = self.portolan.iter().filter(|own| own.addr.port() > 0);
        while let Some(socket) = own.next() {
            let port = socket.addr.port();
            for other in own.clone().filter(|other| meet(socket.addr, other.addr)) {
                report.error(
                    other.offset,
                    other.path.clone(),
                    ValueError::new(
                        format!("{} is taken by {}", other.addr, socket.path),
                        "give it a port of its own".into(),
                    ),
                );
            }
            let in_the_way = places.iter().filter(|((protocol, address), _)| {
                *protocol == Protocol::Tcp && socket.excludes(*address)
            });
            for taken in in_the_way.flat_map(|(_, taken)| taken) {
                if taken.range.contains(port) {
                    report.error(
                        taken.claim.offset,
                        format!("{}.ports", taken.claim.path),
                        ValueError::new(
                            format!("{} holds {port}, where {} is", taken.range, socket.path),
                            format!("leave {port} out, or move {}", socket.path),
                        ),
                    );
                }
            }
        }
    }

    fn endpoints_apart(&self, places: &BTreeMap<Place, Vec<Taken<'_>>>, report: &Report) {
        // Many groups may send to one local port; the ports of a listener are wrong about it once.
        let mut told = HashSet::new();
        let here = |group: &&GroupClaim| group.endpoints.iter().any(|e| self.is_here(e.ip));
        for group in self.groups.iter().filter(here) {
            let listener = &self.listeners[group.listener];
            let through = listener
                .ports
                .as_ref()
                .map(|ports| not_overridden(group, ports));
            let around = Around {
                places,
                listener,
                group,
                through: through.unwrap_or_default(),
            };
            let mut seen = HashSet::new();
            for endpoint in group.endpoints.iter().filter(|e| self.is_here(e.ip)) {
                if seen.insert((endpoint.ip, endpoint.port)) {
                    around.check(endpoint, &mut told, report);
                }
            }
        }
    }

    fn is_here(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.this_host.contains(&ip)
    }
}

/// The same address, port and protocol belong to one accelerator. A named address beside a wildcard is another place.
fn accelerators_apart(places: &BTreeMap<Place, Vec<Taken<'_>>>, report: &Report) {
    let mut told = HashSet::new();
    for ((protocol, address), taken) in places {
        let mut widest: Option<Taken<'_>> = None;
        for next in taken {
            if let Some(before) = widest
                && next.range.first() <= before.range.last()
                && next.claim.accelerator != before.claim.accelerator
            {
                let (earlier, later) = if before.claim.offset < next.claim.offset {
                    (before, *next)
                } else {
                    (*next, before)
                };
                if told.insert((earlier.claim.offset, later.claim.offset)) {
                    let place = address.map_or("every address".to_string(), |ip| ip.to_string());
                    let what = format!(
                        "{} meets {protocol} {} of {} on {place}",
                        later.range, earlier.range, earlier.claim.path
                    );
                    let remedy = "give the accelerators ports or addresses of their own";
                    let path = format!("{}.ports", later.claim.path);
                    report.error(
                        later.claim.offset,
                        path,
                        ValueError::new(what, remedy.into()),
                    );
                }
            }
            if widest.is_none_or(|widest| next.range.last() > widest.range.last()) {
                widest = Some(*next);
            }
        }
    }
}

impl OwnSocket {
    /// Whether a listener at the address, `None` being the wildcard, cannot have this port.
    fn excludes(&self, address: Option<IpAddr>) -> bool {
        let Some(ip) = address else {
            return true;
        };
        let beside = self.shares_port && self.addr.ip().is_unspecified();
        !beside && meet(self.addr, SocketAddr::new(ip, self.addr.port()))
    }
}

/// What is the same for all endpoints of a group.
struct Around<'c> {
    places: &'c BTreeMap<Place, Vec<Taken<'c>>>,
    listener: &'c ListenerClaim,
    group: &'c GroupClaim,
    /// The listener's ports that no override changes.
    through: Vec<u16>,
}

impl Around<'_> {
    /// Reports the first port on which the endpoint is the listener itself, or lies under a wildcard.
    fn check(&self, endpoint: &EndpointClaim, told: &mut HashSet<(usize, u16)>, report: &Report) {
        let at = |address, port| {
            let protocol = self.listener.protocol?;
            let taken = self.places.get(&(protocol, address))?;
            taken_at(taken, port)
        };
        for port in self.used_ports(endpoint) {
            match at(Some(endpoint.ip), port) {
                Some(own) if std::ptr::eq(own.claim, self.listener) => {
                    return self.report_loop(endpoint, port, report);
                }
                Some(_) => continue,
                None => {}
            }
            if let Some(over) = at(None, port)
                && told.insert((over.claim.offset, port))
            {
                return self.report_covered(endpoint, port, over, report);
            }
        }
    }

    /// The ports that flows are connected to on the endpoint.
    fn used_ports(&self, endpoint: &EndpointClaim) -> Vec<u16> {
        let overrides = self.group.overrides.iter().map(|o| o.endpoint_port);
        match endpoint.port {
            Some(_) if self.through.is_empty() => overrides.collect(),
            Some(own) => overrides.chain([own]).collect(),
            None => overrides.chain(self.through.iter().copied()).collect(),
        }
    }

    fn report_loop(&self, endpoint: &EndpointClaim, port: u16, report: &Report) {
        let path = format!("{}.endpoints[{}].address", self.group.path, endpoint.index);
        let what = format!("{} port {port} is this listener itself", endpoint.ip);
        let remedy = "name an endpoint elsewhere, or its own port";
        report.error(endpoint.offset, path, ValueError::new(what, remedy.into()));
    }

    fn report_covered(
        &self,
        endpoint: &EndpointClaim,
        port: u16,
        over: Taken<'_>,
        report: &Report,
    ) {
        let (group, index, ip) = (&self.group.path, endpoint.index, endpoint.ip);
        let what = format!(
            "{} on every address holds port {port} of {group}.endpoints[{index}], {ip} on this host",
            over.range
        );
        let remedy = "give the accelerator addresses, or the endpoint another port";
        let path = format!("{}.ports", over.claim.path);
        report.error(
            over.claim.offset,
            path,
            ValueError::new(what, remedy.into()),
        );
    }
}

/// Whether two sockets exclude each other: the unspecified address is every address of its family.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let family = one.is_ipv4() == other.is_ipv4();
    let wild = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (one.ip() == other.ip() || (wild && family))
}

fn taken_at<'c>(taken: &[Taken<'c>], port: u16) -> Option<Taken<'c>> {
    let after = taken.partition_point(|taken| taken.range.first() <= port);
    let nearest = taken[..after].last();
    nearest.copied().filter(|taken| taken.range.contains(port))
}

/// The listener's ports that lead to the endpoint's own port, or to the same one.
fn not_overridden(group: &GroupClaim, ports: &PortSet) -> Vec<u16> {
    let overridden: HashSet<u16> = group.overrides.iter().map(|o| o.listener_port).collect();
    let through = ports.iter().filter(|port| !overridden.contains(port));
    through.collect()
}
