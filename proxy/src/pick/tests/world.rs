//! Listener snapshots in a few words, for the tests of the pick.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_config::address::{ClientAddr, ListenerAddr};
use portolan_config::health::HealthState;
use portolan_config::model::{
    ClientAffinity, GroupSettings, ListenerSettings, PortOverride, Protocol,
};
use portolan_config::selector::Selector;
use portolan_config::snapshot::{
    AddressId, AddressLive, AddressSnapshot, EndpointSnapshot, GroupSnapshot, ListenerSnapshot,
};
use portolan_config::stats::{EndpointStats, ListenerStats};
use portolan_config::units::{
    AcceleratorName, EndpointId, PortRange, PortSet, Region, TrafficDial, Weight,
};

/// The address that clients speak to.
pub(super) const ACCELERATOR: &str = "203.0.113.10";

pub(crate) fn listener_addr(port: u16) -> ListenerAddr {
    ListenerAddr((ACCELERATOR.parse::<IpAddr>().expect("an address"), port).into())
}

pub(crate) fn client(text: &str) -> ClientAddr {
    ClientAddr(text.parse().expect("an address"))
}

/// `n` clients, each with an address and a port of its own.
pub(super) fn clients(n: u32) -> impl Iterator<Item = String> {
    (0..n).map(|i| {
        format!(
            "198.{}.{}.{}:{}",
            i >> 16,
            (i >> 8) & 255,
            i & 255,
            1024 + i % 60_000
        )
    })
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    id: String,
    weight: u8,
    health: HealthState,
    reason: Option<&'static str>,
    pub(super) draining: bool,
    port: Option<u16>,
    max_flows: u32,
    addresses: Option<Vec<IpAddr>>,
    /// So many of the first addresses are down though the endpoint is up.
    pub(super) down_addresses: usize,
}

impl Endpoint {
    pub(crate) fn up(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            weight: 128,
            health: HealthState::Up,
            reason: None,
            draining: false,
            port: None,
            max_flows: 0,
            addresses: None,
            down_addresses: 0,
        }
    }

    pub(super) fn weight(self, weight: u8) -> Self {
        Self { weight, ..self }
    }

    pub(super) fn health(self, health: HealthState) -> Self {
        Self { health, ..self }
    }

    pub(super) fn reason(self, reason: &'static str) -> Self {
        Self {
            reason: Some(reason),
            ..self
        }
    }

    pub(super) fn draining(self) -> Self {
        Self {
            draining: true,
            ..self
        }
    }

    pub(super) fn port(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }

    pub(super) fn max_flows(self, max_flows: u32) -> Self {
        Self { max_flows, ..self }
    }

    pub(super) fn addresses(self, addresses: &[&str]) -> Self {
        let addresses = addresses
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect();
        Self {
            addresses: Some(addresses),
            ..self
        }
    }

    /// Its own address and so many more.
    pub(super) fn more_addresses(self, more: usize) -> Self {
        let addresses = (0..=more)
            .map(|i| own_address(&format!("{}-{i}", self.id)))
            .collect();
        Self {
            addresses: Some(addresses),
            ..self
        }
    }

    fn compile(&self, region: &str) -> EndpointSnapshot {
        let own = || vec![own_address(&self.id)];
        let place = |ip: IpAddr| match (self.addresses.is_some(), ip) {
            (true, ip) if !ip.is_ipv6() => ip,
            // The same id in two regions is two machines.
            _ => own_address(&format!("{region} {ip}")),
        };
        let addresses = self
            .addresses
            .clone()
            .unwrap_or_else(own)
            .into_iter()
            .map(place)
            .enumerate();
        let address = |(i, ip)| AddressSnapshot {
            ip,
            health: if i < self.down_addresses {
                HealthState::Down
            } else {
                self.health
            },
            rtt: None,
            live: Arc::new(AddressLive::new(AddressId(0))),
            transparent: false,
        };
        EndpointSnapshot {
            id: EndpointId::new(self.id.as_str()),
            weight: Weight(self.weight),
            port: self.port,
            max_flows: self.max_flows,
            draining: self.draining,
            available: self.health == HealthState::Up && self.weight > 0 && !self.draining,
            health: self.health,
            reason: self.reason.map(Arc::from),
            addresses: addresses.map(address).collect(),
            stats: Arc::new(EndpointStats::default()),
        }
    }
}

/// An address for a name, out of 2001:db8::/32.
fn own_address(name: &str) -> IpAddr {
    let hash = portolan_config::selector::hash::of_flow(name.as_bytes());
    let bits = (0x2001_0db8u128 << 96) | u128::from(hash);
    IpAddr::from(bits.to_be_bytes())
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    region: String,
    dial: f64,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) port_overrides: Vec<PortOverride>,
}

impl Group {
    pub(crate) fn new(region: &str, dial: f64, endpoints: Vec<Endpoint>) -> Self {
        Self {
            region: region.to_owned(),
            dial,
            endpoints,
            port_overrides: vec![],
        }
    }

    fn compile(&self, affinity: ClientAffinity) -> GroupSnapshot {
        let endpoints: Vec<_> = self
            .endpoints
            .iter()
            .map(|e| e.compile(&self.region))
            .collect();
        let weights: Vec<_> = endpoints.iter().map(|e| (e.id.clone(), e.weight)).collect();
        GroupSnapshot {
            region: Region::new(self.region.as_str()),
            traffic_dial: TrafficDial::from_percent(self.dial).expect("a percentage"),
            distance: Some(Duration::from_millis(10)),
            port_overrides: self.port_overrides.clone(),
            settings: Arc::new(GroupSettings::default()),
            endpoints: endpoints.into(),
            selector: Arc::new(Selector::build(&weights, affinity)),
        }
    }
}

/// A TCP listener on the wildcard, ports 80 to 443.
pub(crate) fn listener_of(client_affinity: ClientAffinity, groups: Vec<Group>) -> ListenerSnapshot {
    ListenerSnapshot {
        accelerator: AcceleratorName::new("shop"),
        protocol: Protocol::Tcp,
        addresses: vec![],
        ports: PortSet::new(vec![PortRange::new(80, 443).expect("a range")]).expect("a set"),
        client_affinity,
        settings: Arc::new(settings(true)),
        groups: groups
            .iter()
            .map(|g| Arc::new(g.compile(client_affinity)))
            .collect(),
        stats: Arc::new(ListenerStats::default()),
    }
}

/// The same with `fail_open = false`.
pub(super) fn closed(listener: ListenerSnapshot) -> ListenerSnapshot {
    ListenerSnapshot {
        settings: Arc::new(settings(false)),
        ..listener
    }
}

fn settings(fail_open: bool) -> ListenerSettings {
    ListenerSettings {
        fail_open,
        ..ListenerSettings::default()
    }
}
