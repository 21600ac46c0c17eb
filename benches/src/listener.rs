//! Listeners as large as they come, for measuring picks.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use portolan_config::address::{ClientAddr, ListenerAddr};
use portolan_config::health::HealthState;
use portolan_config::model::{ClientAffinity, GroupSettings, ListenerSettings, Protocol};
use portolan_config::selector::Selector;
use portolan_config::snapshot::{
    AddressId, AddressLive, AddressSnapshot, EndpointSnapshot, GroupSnapshot, ListenerSnapshot,
};
use portolan_config::stats::{EndpointStats, ListenerStats};
use portolan_config::units::{
    AcceleratorName, EndpointId, PortRange, PortSet, Region, TrafficDial, Weight,
};
use portolan_proxy::pick;

/// The address that every client has connected to.
pub const SPOKEN_TO: ListenerAddr = ListenerAddr(SocketAddr::new(
    IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10)),
    443,
));

/// Which endpoints are up.
#[derive(Clone, Copy)]
pub enum Health {
    /// All of them.
    All,
    /// Every other one of each group.
    Half,
    /// All but those of the nearest group.
    NotTheNearestGroup,
}

impl Health {
    fn is_up(self, group: usize, endpoint: usize) -> bool {
        match self {
            Health::All => true,
            Health::Half => endpoint.is_multiple_of(2),
            Health::NotTheNearestGroup => group > 0,
        }
    }
}

/// The endpoint of a new flow.
pub fn first(listener: &ListenerSnapshot, client: ClientAddr) -> Option<pick::Candidate> {
    pick::candidates(listener, pick::key(listener, client, SPOKEN_TO)).next(listener)
}

/// The name of the `i`th endpoint of a group.
pub fn id(i: usize) -> EndpointId {
    EndpointId::new(format!("i-{i:017x}"))
}

/// Its weight.
pub fn weight(i: usize) -> Weight {
    Weight([128, 128, 64, 255][i % 4])
}

/// A listener with `groups` groups of `size` endpoints.
pub fn listener(
    affinity: ClientAffinity,
    groups: usize,
    size: usize,
    health: Health,
) -> ListenerSnapshot {
    let weights: Vec<_> = (0..size).map(|i| (id(i), weight(i))).collect();
    let selector = Arc::new(Selector::build(&weights, affinity));
    let group = |number| {
        let endpoints = (0..size).map(|i| endpoint(i, health.is_up(number, i)));
        Arc::new(GroupSnapshot {
            region: Region::new(format!("region-{number}")),
            // Nearer groups leave something to the next, so that dials are walked.
            traffic_dial: TrafficDial::from_percent(if number == 9 { 100.0 } else { 50.0 })
                .expect("a percentage"),
            ..group(endpoints.collect(), &selector)
        })
    };
    ListenerSnapshot {
        client_affinity: affinity,
        groups: (0..groups).map(group).collect(),
        ..at("shop", Vec::new(), (443, 443))
    }
}

/// A listener at these ports of an address, before one endpoint.
pub fn before(to: SocketAddr, name: &str, ip: IpAddr, ports: (u16, u16)) -> ListenerSnapshot {
    // Of an id of its own: flows are counted by it.
    let mut only = endpoint(usize::from(ports.1), true);
    only.port = Some(to.port());
    only.addresses[0].ip = to.ip();
    let weights = [(only.id.clone(), only.weight)];
    let selector = Arc::new(Selector::build(&weights, ClientAffinity::None));
    ListenerSnapshot {
        groups: vec![Arc::new(group(vec![only], &selector))],
        ..at(name, vec![ip], ports)
    }
}

fn at(name: &str, addresses: Vec<IpAddr>, (first, last): (u16, u16)) -> ListenerSnapshot {
    let ports = PortRange::new(first, last).expect("a range");
    ListenerSnapshot {
        accelerator: AcceleratorName::new(name),
        protocol: Protocol::Tcp,
        addresses,
        ports: PortSet::new(vec![ports]).expect("a set"),
        client_affinity: ClientAffinity::None,
        settings: Arc::new(ListenerSettings::default()),
        groups: Vec::new(),
        stats: Arc::new(ListenerStats::default()),
    }
}

fn group(endpoints: Vec<EndpointSnapshot>, selector: &Arc<Selector>) -> GroupSnapshot {
    GroupSnapshot {
        region: Region::new("region"),
        traffic_dial: TrafficDial::FULL,
        distance: Some(Duration::from_millis(10)),
        port_overrides: Vec::new(),
        settings: Arc::new(GroupSettings::default()),
        endpoints: endpoints.into(),
        selector: Arc::clone(selector),
    }
}

fn endpoint(i: usize, is_up: bool) -> EndpointSnapshot {
    let health = if is_up {
        HealthState::Up
    } else {
        HealthState::Down
    };
    let address = AddressSnapshot {
        ip: IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i as u32)),
        health,
        rtt: None,
        live: Arc::new(AddressLive::new(AddressId(i as u64))),
        transparent: false,
    };
    EndpointSnapshot {
        id: id(i),
        weight: weight(i),
        port: None,
        max_flows: 0,
        draining: false,
        available: is_up,
        health,
        reason: None,
        addresses: vec![address],
        stats: Arc::new(EndpointStats::default()),
    }
}
