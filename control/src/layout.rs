//! Desired state with everything but health filled in: names resolved to addresses, drains applied, counters and names
//! attached, and the probes that it asks for. Built anew when the configuration, an answer of the resolver or a drain
//! changes; health changes go straight to `compile` over the layout that stands.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use portolan_config::address::{EndpointAddr, Host};
use portolan_config::model::{
    Accelerator, ClientAddress, ClientAffinity, Config, Endpoint, EndpointGroup, GroupSettings,
    HealthCheck, Listener, ListenerSettings, PortOverride, Probe, Protocol,
};
use portolan_config::snapshot::{AddressId, AddressLive};
use portolan_config::stats::{EndpointStats, ListenerStats};
use portolan_config::units::{AcceleratorName, EndpointId, PortSet, Region, TrafficDial, Weight};
use portolan_healthcheck::ProbeTarget;

use crate::registry::{ListenerKey, Registry};
use crate::way_back::Way;

/// Addresses of one name that are used; an answer may hold thousands.
pub(crate) const ADDRESSES_OF_A_NAME: usize = 16;

/// What is known of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// Sorted, at most [`ADDRESSES_OF_A_NAME`].
    pub(crate) addresses: Vec<IpAddr>,
    /// Addresses in the answer beyond those.
    pub(crate) unused: usize,
    /// Why there is no fresh answer.
    pub(crate) error: Option<Arc<str>>,
}

/// Answers what a layout needs beside the configuration.
pub(crate) trait Surroundings {
    /// The addresses of a name.
    fn resolve(&self, name: &Arc<str>) -> Resolved;
    /// Whether the operator drains the endpoint there.
    fn is_draining(&self, endpoint: &EndpointId, region: &Region) -> bool;
    /// What is known of the way back from there to clients' own addresses.
    fn way_back(&self, to: EndpointAddr) -> Way;
}

/// The whole layout.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// All listeners of all accelerators, in the order of the configuration.
    pub(crate) listeners: Vec<ListenerLayout>,
    /// What is to be probed; `target` of an address is an index into it.
    pub(crate) targets: Vec<ProbeTarget>,
    /// The addresses that share a target's health, by the index of the target.
    pub(crate) shared_by: Vec<Vec<Spot>>,
    /// Whether flows reach a target's address at one port only, by the index of the target.
    pub(crate) only_port: Vec<bool>,
    spots: HashMap<AddressId, Spot>,
}

/// Where an address stands in the layout, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Spot {
    pub(crate) listener: usize,
    pub(crate) group: usize,
    pub(crate) endpoint: usize,
    pub(crate) address: usize,
}

#[derive(Debug)]
pub(crate) struct ListenerLayout {
    pub(crate) accelerator: AcceleratorName,
    /// Index of the accelerator in the configuration.
    pub(crate) accelerator_index: usize,
    pub(crate) enabled: bool,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) ports: PortSet,
    /// `PORTS/PROTOCOL`, as metrics and events name it.
    pub(crate) label: Arc<str>,
    pub(crate) client_affinity: ClientAffinity,
    pub(crate) settings: Arc<ListenerSettings>,
    pub(crate) stats: Arc<ListenerStats>,
    pub(crate) groups: Vec<GroupLayout>,
}

#[derive(Debug)]
pub(crate) struct GroupLayout {
    pub(crate) region: Region,
    pub(crate) traffic_dial: TrafficDial,
    pub(crate) latency: Option<std::time::Duration>,
    pub(crate) health_check: Arc<HealthCheck>,
    /// Sorted by listener port.
    pub(crate) port_overrides: Vec<PortOverride>,
    pub(crate) settings: Arc<GroupSettings>,
    pub(crate) endpoints: Vec<EndpointLayout>,
}

#[derive(Debug)]
pub(crate) struct EndpointLayout {
    pub(crate) id: EndpointId,
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
    pub(crate) weight: Weight,
    pub(crate) max_flows: u32,
    pub(crate) draining: bool,
    /// What the resolver has to say: no answer, a stale one, or too many addresses.
    pub(crate) note: Option<Arc<str>>,
    /// Its name was asked for, and there was no answer.
    pub(crate) resolution_failed: bool,
    pub(crate) stats: Arc<EndpointStats>,
    /// Health changes since start.
    pub(crate) transitions: Arc<AtomicU64>,
    /// The port that its flows go to, when there is only one.
    flow_port: Option<u16>,
    pub(crate) addresses: Vec<AddressLayout>,
}

#[derive(Debug)]
pub(crate) struct AddressLayout {
    pub(crate) ip: IpAddr,
    pub(crate) live: Arc<AddressLive>,
    /// Index into [`Layout::targets`]; `None` is never probed and always up.
    pub(crate) target: Option<usize>,
    /// Where the way back is tested, in a group whose flows are to come from their clients' own addresses.
    pub(crate) way_back: Option<EndpointAddr>,
    /// Whether they may, or why not.
    pub(crate) way: Way,
}

impl EndpointLayout {
    /// As the file names it, `HOST` or `HOST:PORT`.
    pub(crate) fn shown_address(&self) -> String {
        match (&self.host, self.port) {
            (Host::Ip(ip), Some(port)) => SocketAddr::new(*ip, port).to_string(),
            (Host::Name(name), Some(port)) => format!("{name}:{port}"),
            (host, None) => host.to_string(),
        }
    }
}

/// `PORTS/PROTOCOL`.
pub(crate) fn listener_label(protocol: Protocol, ports: &PortSet) -> String {
    format!("{ports}/{protocol}")
}

impl Layout {
    /// Builds it. Names and counters come from the registry, which hands out the same ones for the same things.
    pub(crate) fn build(
        config: &Config,
        surroundings: &dyn Surroundings,
        registry: &mut Registry,
    ) -> Layout {
        let listeners = || {
            let accelerators = config.accelerators.iter().enumerate();
            accelerators.flat_map(|(index, acc)| {
                acc.listeners
                    .iter()
                    .map(move |listener| (index, acc, listener))
            })
        };
        let key = |accelerator: &Accelerator, listener: &Listener| ListenerKey {
            accelerator: accelerator.name.clone(),
            protocol: listener.protocol,
            ports: listener.ports.clone(),
        };
        let keys: Vec<(ListenerKey, &[IpAddr])> = listeners()
            .map(|(_, accelerator, listener)| {
                (key(accelerator, listener), accelerator.addresses.as_slice())
            })
            .collect();
        registry.adopt(&keys);
        let mut builder = Builder {
            surroundings,
            registry,
            targets: Vec::new(),
            index: HashMap::new(),
        };
        let mut built = Vec::with_capacity(keys.len());
        for ((key, _), (accelerator_index, accelerator, listener)) in keys.iter().zip(listeners()) {
            let groups = listener.endpoint_groups.iter();
            built.push(ListenerLayout {
                accelerator: accelerator.name.clone(),
                accelerator_index,
                enabled: accelerator.enabled,
                addresses: accelerator.addresses.clone(),
                protocol: listener.protocol,
                ports: listener.ports.clone(),
                label: listener_label(listener.protocol, &listener.ports).into(),
                client_affinity: listener.client_affinity,
                settings: listener.settings.clone(),
                stats: builder.registry.listener(key),
                groups: groups
                    .map(|group| builder.group(key, listener, group))
                    .collect(),
            });
        }
        let targets = builder.targets;
        let (shared_by, spots) = index_spots(&built, targets.len());
        let mut layout = Layout {
            listeners: built,
            targets,
            shared_by,
            only_port: Vec::new(),
            spots,
        };
        layout.only_port = layout
            .shared_by
            .iter()
            .map(|spots| layout.have_one_port(spots))
            .collect();
        layout
    }

    /// Where an address stands; `None` when it has left.
    pub(crate) fn spot(&self, address: AddressId) -> Option<Spot> {
        self.spots.get(&address).copied()
    }

    /// The address at a spot of this layout, and everything it belongs to.
    pub(crate) fn at(
        &self,
        spot: Spot,
    ) -> (
        &ListenerLayout,
        &GroupLayout,
        &EndpointLayout,
        &AddressLayout,
    ) {
        let listener = &self.listeners[spot.listener];
        let group = &listener.groups[spot.group];
        let endpoint = &group.endpoints[spot.endpoint];
        (listener, group, endpoint, &endpoint.addresses[spot.address])
    }

    fn have_one_port(&self, spots: &[Spot]) -> bool {
        let mut ports = spots.iter().map(|spot| self.at(*spot).2.flow_port);
        let first = ports.next().flatten();
        // What flows of UDP meet at their port cannot be asked by a connect: their check is.
        let connects = |spot: &Spot| self.at(*spot).0.protocol == Protocol::Tcp;
        first.is_some() && ports.all(|port| port == first) && spots.iter().all(connects)
    }

    /// Every address, with its spot.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (AddressId, Spot)> + '_ {
        self.spots.iter().map(|(id, spot)| (*id, *spot))
    }

    /// Where ways back are to be tested.
    pub(crate) fn ways_back(&self) -> impl Iterator<Item = EndpointAddr> + '_ {
        let addresses = self
            .endpoints()
            .flat_map(|(_, _, endpoint)| &endpoint.addresses);
        addresses.filter_map(|address| address.way_back)
    }

    /// How many of them are not known to be open.
    pub(crate) fn ways_back_closed(&self) -> usize {
        let addresses = self
            .endpoints()
            .flat_map(|(_, _, endpoint)| &endpoint.addresses);
        let asked = addresses.filter(|address| address.way_back.is_some());
        asked.filter(|address| address.way != Way::Open).count()
    }

    /// Every endpoint with its group and listener.
    pub(crate) fn endpoints(
        &self,
    ) -> impl Iterator<Item = (&ListenerLayout, &GroupLayout, &EndpointLayout)> {
        self.listeners.iter().flat_map(|listener| {
            let groups = listener.groups.iter();
            groups.flat_map(move |group| {
                group
                    .endpoints
                    .iter()
                    .map(move |endpoint| (listener, group, endpoint))
            })
        })
    }
}

struct Builder<'a> {
    surroundings: &'a dyn Surroundings,
    registry: &'a mut Registry,
    targets: Vec<ProbeTarget>,
    index: HashMap<ProbeTarget, usize>,
}

impl Builder<'_> {
    fn group(
        &mut self,
        key: &ListenerKey,
        listener: &Listener,
        group: &EndpointGroup,
    ) -> GroupLayout {
        let mut port_overrides = group.port_overrides.clone();
        port_overrides.sort_by_key(|o| o.listener_port);
        let endpoints = group.endpoints.iter();
        GroupLayout {
            region: group.region.clone(),
            traffic_dial: group.traffic_dial,
            latency: group.latency,
            health_check: group.health_check.clone(),
            port_overrides,
            settings: group.settings.clone(),
            endpoints: endpoints
                .map(|endpoint| self.endpoint(key, listener, group, endpoint))
                .collect(),
        }
    }

    fn endpoint(
        &mut self,
        key: &ListenerKey,
        listener: &Listener,
        group: &EndpointGroup,
        endpoint: &Endpoint,
    ) -> EndpointLayout {
        let (resolved, name) = match &endpoint.host {
            Host::Ip(ip) => (
                Resolved {
                    addresses: vec![*ip],
                    ..Resolved::default()
                },
                None,
            ),
            Host::Name(name) => (self.surroundings.resolve(name), Some(name.clone())),
        };
        let known = self
            .registry
            .endpoint(key, &group.region, &endpoint.id, &resolved.addresses);
        let port = group.probe_port(endpoint, listener);
        let flow_port = only_flow_port(listener, group, endpoint);
        let mut addresses: Vec<AddressLayout> = Vec::with_capacity(known.addresses.len());
        for (ip, live) in resolved.addresses.iter().zip(known.addresses) {
            let address = EndpointAddr(SocketAddr::new(*ip, port));
            let target = self.target(address, &group.health_check, name.clone());
            let transparent = group.settings.client_address == ClientAddress::Transparent;
            let way_back =
                transparent.then(|| EndpointAddr((*ip, flow_port.unwrap_or(port)).into()));
            addresses.push(AddressLayout {
                ip: *ip,
                live,
                target,
                way_back,
                way: way_back.map_or(Way::Untested, |to| self.surroundings.way_back(to)),
            });
        }
        EndpointLayout {
            id: endpoint.id.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            weight: endpoint.weight,
            max_flows: endpoint.max_flows,
            draining: self.surroundings.is_draining(&endpoint.id, &group.region),
            resolution_failed: resolved.error.is_some(),
            note: name.and_then(|name| resolver_note(&name, &resolved)),
            stats: known.stats,
            transitions: known.transitions,
            flow_port,
            addresses,
        }
    }

    fn target(
        &mut self,
        address: EndpointAddr,
        check: &Arc<HealthCheck>,
        name: Option<Arc<str>>,
    ) -> Option<usize> {
        if check.probe == Probe::None {
            return None;
        }
        let target = ProbeTarget {
            address,
            check: check.clone(),
            name,
        };
        let next = self.targets.len();
        let index = *self.index.entry(target).or_insert_with_key(|target| {
            self.targets.push(target.clone());
            next
        });
        Some(index)
    }
}

/// Looks at few ports only: a range leads to as many ports of the endpoint, unless it names its own and none is overridden.
fn only_flow_port(listener: &Listener, group: &EndpointGroup, endpoint: &Endpoint) -> Option<u16> {
    if listener.ports.len() == 1 {
        return Some(group.endpoint_port(endpoint, listener.ports.first()));
    }
    endpoint.port.filter(|port| {
        group
            .port_overrides
            .iter()
            .all(|o| o.endpoint_port == *port)
    })
}

fn resolver_note(name: &str, resolved: &Resolved) -> Option<Arc<str>> {
    let note = match (&resolved.error, resolved.addresses.is_empty()) {
        (Some(error), true) => format!("{name} does not resolve: {error}"),
        (Some(error), false) => {
            format!("{name} no longer resolves, its last addresses are used: {error}")
        }
        (None, true) => format!("{name} is being resolved"),
        (None, false) if resolved.unused > 0 => {
            format!(
                "{} further addresses of {name} are not used",
                resolved.unused
            )
        }
        (None, false) => return None,
    };
    Some(note.into())
}

fn index_spots(
    listeners: &[ListenerLayout],
    targets: usize,
) -> (Vec<Vec<Spot>>, HashMap<AddressId, Spot>) {
    let mut shared_by = vec![Vec::new(); targets];
    let mut spots = HashMap::new();
    for (l, listener) in listeners.iter().enumerate() {
        for (g, group) in listener.groups.iter().enumerate() {
            for (e, endpoint) in group.endpoints.iter().enumerate() {
                for (a, address) in endpoint.addresses.iter().enumerate() {
                    let spot = Spot {
                        listener: l,
                        group: g,
                        endpoint: e,
                        address: a,
                    };
                    spots.insert(address.live.id, spot);
                    if let Some(target) = address.target {
                        shared_by[target].push(spot);
                    }
                }
            }
        }
    }
    (shared_by, spots)
}
