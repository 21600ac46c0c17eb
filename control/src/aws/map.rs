//! The picture as desired state: accelerators, and endpoints that fill accelerators of other sources. Pure, and it loses nothing
//! silently: what cannot be served or reached is told with its reason.

mod names;
mod tagged;
mod unreached;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;

use ipnet::IpNet;
use portolan_config::address::Host;
use portolan_config::model::{
    Accelerator, AliasAddress, AwsReach, ClientAffinity, Endpoint, EndpointAlias, EndpointGroup,
    HealthCheck, HttpProbe, Listener, PortOverride, Probe, Protocol, Source,
};
use portolan_config::units::{EndpointId, PortRange, PortSet, Region, TrafficDial, Weight};
use serde::{Deserialize, Serialize};

pub(crate) use self::names::{keys, names};
pub(crate) use self::unreached::Unreached;

use super::picture::{
    AcceleratorFacts, CheckFacts, EndpointFacts, GroupFacts, ListenerFacts, Picture, Resource, Way,
    resource_key,
};
use crate::api::defaults::Defaults;
use crate::sources::Fill;

/// What belongs together when removals are judged: an accelerator by its ARN, or load balancers by the name in their tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unit(String);

impl Unit {
    pub(crate) fn accelerator(arn: &str) -> Self {
        Self(arn.to_owned())
    }

    pub(crate) fn tagged(name: &str) -> Self {
        Self(format!("portolan:accelerator={name}"))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An endpoint where it takes traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Served {
    /// The listener's ARN; empty where a tag names the accelerator.
    pub listener: String,
    /// The region.
    pub region: String,
    /// The endpoint's key in its group.
    pub endpoint: String,
}

/// What the file says about the import.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) reach: AwsReach,
    pub(crate) aliases: Vec<EndpointAlias>,
    /// By name or ARN.
    pub(crate) addresses: Vec<(String, Vec<IpAddr>)>,
    /// Where addresses come from that nobody named.
    pub(crate) pool: Vec<IpNet>,
    /// What others have.
    pub(crate) taken: BTreeSet<IpAddr>,
    /// Accelerators of file and API.
    pub(crate) named: BTreeSet<String>,
    /// The key of `addresses` that each unit was served by last: a new name in AWS takes nobody's addresses away.
    pub(crate) keys: Keys,
}

/// What is known about load balancers beside what they are; what is not in it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Those behind which nothing answers, by ARN.
    pub(crate) empty: BTreeSet<String>,
    /// The ports that each listens on, by ARN.
    pub(crate) ports: BTreeMap<String, BTreeSet<u16>>,
}

/// Pool addresses that units have, by unit.
pub(crate) type Allocations = BTreeMap<Unit, Vec<IpAddr>>;

/// Keys of `[aws.addresses]`, by unit.
pub(crate) type Keys = BTreeMap<Unit, String>;

/// What is to be served.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Desired {
    pub(crate) accelerators: Vec<Accelerator>,
    pub(crate) fills: Vec<Fill>,
    /// Fixed addresses of names, for as long as the name has not resolved.
    pub(crate) hints: Vec<(Arc<str>, Vec<IpAddr>)>,
    pub(crate) notes: Vec<Note>,
    pub(crate) unreached: Vec<Unreached>,
}

/// What an operator should know about something that AWS has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What kind of note it is.
    pub kind: NoteKind,
    /// The accelerator, by the name that it is served under.
    pub accelerator: String,
    /// The region and the endpoint, where it is about one.
    pub endpoint: Option<(String, String)>,
    /// Why.
    pub reason: String,
}

/// The kinds of notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// The accelerator is not served here.
    NotServed,
    /// The endpoint cannot be reached from here.
    Unreachable,
    /// Nothing answers behind the load balancer.
    NotWorthAConnection,
    /// The load balancer does not listen where flows go.
    NoListener,
    /// It is served on the addresses of the name that it had.
    Renamed,
}

/// Where each endpoint takes traffic, by unit; what cannot be reached takes none. Whether the unit has addresses here plays no part.
pub(crate) fn served(picture: &Picture, settings: &Settings) -> BTreeMap<Unit, BTreeSet<Served>> {
    let mut served: BTreeMap<Unit, BTreeSet<Served>> = BTreeMap::new();
    for (arn, accelerator) in &picture.accelerators {
        let unit = served.entry(Unit::accelerator(arn)).or_default();
        for (listener, facts) in &accelerator.listeners {
            for group in facts.groups.values() {
                let reached = group.endpoints.iter().filter(|(_, endpoint)| {
                    host(picture, settings, &group.region, &endpoint.id).is_ok()
                });
                unit.extend(reached.map(|(key, _)| Served {
                    listener: listener.clone(),
                    region: group.region.clone(),
                    endpoint: key.clone(),
                }));
            }
        }
    }
    for (arn, facts) in &picture.tagged {
        if host(picture, settings, &facts.region, arn).is_ok() {
            served
                .entry(Unit::tagged(&facts.accelerator))
                .or_default()
                .insert(Served {
                    listener: String::new(),
                    region: facts.region.clone(),
                    endpoint: arn.clone(),
                });
        }
    }
    served
}

/// How an endpoint is reached: an alias is the operator's word and goes before what AWS says.
pub(crate) fn host(
    picture: &Picture,
    settings: &Settings,
    region: &str,
    id: &str,
) -> Result<(Host, Option<u16>), String> {
    let alias = settings.aliases.iter().find(|alias| alias.id == id);
    if let Some(AliasAddress::Endpoint(host, port)) = alias.map(|alias| &alias.address) {
        return Ok((host.clone(), *port));
    }
    let Some(resource) = picture.resources.get(&resource_key(region, id)) else {
        return Err(unknown(id));
    };
    match resource.way(settings.reach)? {
        Way::Name(name) => Ok((Host::Name(name.into()), None)),
        Way::Ip(ip) => Ok((Host::Ip(ip), None)),
    }
}

fn unknown(id: &str) -> String {
    let known_kind =
        id.contains(":loadbalancer/") || id.starts_with("i-") || id.starts_with("eipalloc-");
    if known_kind {
        "AWS has not said what it is: not found, or not readable with these permissions; an [[endpoint_alias]] may say it".into()
    } else {
        "this kind of endpoint is not known; an [[endpoint_alias]] may say what it is here".into()
    }
}

/// Everything that is to be served. New units take addresses from the pool into `allocations`.
pub(crate) fn desired(
    picture: &Picture,
    settings: &Settings,
    advice: &Advice,
    allocations: &mut Allocations,
) -> Desired {
    let mut mapping = Mapping {
        picture,
        settings,
        advice,
        out: Desired::default(),
    };
    let names = names(picture);
    for (arn, facts) in &picture.accelerators {
        let (unit, name) = (Unit::accelerator(arn), &names[arn]);
        let listeners: Vec<Listener> = facts
            .listeners
            .values()
            .filter_map(|listener| mapping.listener(name, listener))
            .collect();
        let addresses = mapping.addresses(&unit, name, &facts.name, allocations);
        let Some(addresses) = addresses else {
            continue;
        };
        mapping
            .out
            .accelerators
            .push(accelerator(name, facts, addresses, listeners));
    }
    mapping.tagged(&names, allocations);
    mapping.hint();
    for name in &picture.custom_routing {
        let reason = "custom routing accelerators are not imported".to_owned();
        mapping.note(NoteKind::NotServed, name, None, reason);
    }
    mapping.out.notes.sort();
    mapping.out.notes.dedup();
    mapping.out
}

fn accelerator(
    name: &str,
    facts: &AcceleratorFacts,
    addresses: Vec<IpAddr>,
    listeners: Vec<Listener>,
) -> Accelerator {
    Accelerator {
        name: portolan_config::units::AcceleratorName::new(name),
        source: Source::Aws,
        enabled: facts.enabled,
        addresses,
        listeners,
    }
}

struct Mapping<'a> {
    picture: &'a Picture,
    settings: &'a Settings,
    advice: &'a Advice,
    out: Desired,
}

impl Mapping<'_> {
    fn note(
        &mut self,
        kind: NoteKind,
        accelerator: &str,
        endpoint: Option<(&str, &str)>,
        reason: String,
    ) {
        self.out.notes.push(Note {
            kind,
            accelerator: accelerator.to_owned(),
            endpoint: endpoint.map(|(region, id)| (region.to_owned(), id.to_owned())),
            reason,
        });
    }

    /// Where a unit is served; `None` is told.
    fn addresses(
        &mut self,
        unit: &Unit,
        name: &str,
        given: &str,
        allocations: &mut Allocations,
    ) -> Option<Vec<IpAddr>> {
        if let Some((key, addresses)) = names::key(self.picture, self.settings, unit, [name, given])
        {
            if ![unit.as_str(), name, given].contains(&key) {
                let reason = format!(
                    "AWS has another name for what was {key:?}: it keeps the addresses that [aws.addresses] gives to that"
                );
                self.note(NoteKind::Renamed, name, None, reason);
            }
            allocations.remove(unit);
            return Some(addresses.to_vec());
        }
        let addresses = names::allocate(unit, self.settings, allocations);
        if addresses.is_none() {
            let reason = match self.settings.pool.is_empty() {
                true => format!(
                    "no addresses: give \"{name}\" some in [aws.addresses], or add [api] with an address_pool"
                ),
                false => format!(
                    "all addresses of [api] address_pool are in use: give \"{name}\" some in [aws.addresses]"
                ),
            };
            self.note(NoteKind::NotServed, name, None, reason);
        }
        addresses
    }

    fn listener(&mut self, accelerator: &str, facts: &ListenerFacts) -> Option<Listener> {
        let protocol = if facts.udp {
            Protocol::Udp
        } else {
            Protocol::Tcp
        };
        let ranges = facts
            .ports
            .iter()
            .map(|(first, last)| PortRange::new(*first, *last));
        let Some(ports) = ranges.collect::<Option<Vec<_>>>().and_then(PortSet::new) else {
            let reason = format!("a listener's ports are no ranges: {:?}", facts.ports);
            self.note(NoteKind::NotServed, accelerator, None, reason);
            return None;
        };
        let mut groups: Vec<EndpointGroup> = Vec::with_capacity(facts.groups.len());
        for group in facts.groups.values() {
            let made = self.group(accelerator, group, &ports, protocol);
            self.look_for_listeners(accelerator, &made, &ports);
            groups.push(made);
        }
        self.advise(accelerator, &mut groups);
        Some(Listener {
            protocol,
            ports,
            client_affinity: match facts.source_ip_affinity {
                true => ClientAffinity::SourceIp,
                false => ClientAffinity::None,
            },
            settings: Defaults::of(protocol).listener.clone(),
            endpoint_groups: groups,
        })
    }

    fn group(
        &mut self,
        accelerator: &str,
        facts: &GroupFacts,
        ports: &PortSet,
        protocol: Protocol,
    ) -> EndpointGroup {
        let mut endpoints = Vec::with_capacity(facts.endpoints.len());
        for (key, endpoint) in &facts.endpoints {
            match host(self.picture, self.settings, &facts.region, &endpoint.id) {
                Ok((host, port)) => endpoints.push(Endpoint {
                    id: EndpointId::new(key.as_str()),
                    host,
                    port,
                    weight: Weight(endpoint.weight),
                    max_flows: 0,
                }),
                Err(reason) => {
                    self.out.unreached.push(Unreached {
                        accelerator: accelerator.to_owned(),
                        listener: Some((protocol, ports.clone())),
                        region: facts.region.clone(),
                        endpoint: EndpointId::new(key.as_str()),
                        weight: Weight(endpoint.weight),
                        reason: reason.clone(),
                    });
                    self.note(
                        NoteKind::Unreachable,
                        accelerator,
                        Some((&facts.region, key)),
                        reason,
                    );
                }
            }
        }
        let overrides = facts.port_overrides.iter();
        let port_overrides: Vec<PortOverride> = overrides
            .map(|(listener_port, endpoint_port)| PortOverride {
                listener_port: *listener_port,
                endpoint_port: *endpoint_port,
            })
            .collect();
        EndpointGroup {
            region: Region::new(facts.region.as_str()),
            traffic_dial: TrafficDial::from_percent(facts.traffic_dial)
                .unwrap_or(TrafficDial::FULL),
            latency: None,
            health_check: Arc::new(self.health_check(facts, &port_overrides, ports, protocol)),
            port_overrides,
            settings: Defaults::of(protocol).group.clone(),
            endpoints,
        }
    }

    /// Global Accelerator applies a group's check to instances and Elastic IPs alone. For load balancers it asks the load balancer,
    /// so the group's port and path may be anything: there the port that flows go to is asked.
    fn health_check(
        &self,
        facts: &GroupFacts,
        overrides: &[PortOverride],
        ports: &PortSet,
        protocol: Protocol,
    ) -> HealthCheck {
        let default = Defaults::of(protocol).health_check.clone();
        let is_balancer = |endpoint: &EndpointFacts| {
            let key = resource_key(&facts.region, &endpoint.id);
            matches!(
                self.picture.resources.get(&key),
                Some(Resource::LoadBalancer(_))
            )
        };
        let CheckFacts {
            protocol: checked_by,
            port,
            path,
            interval: _,
            threshold,
        } = &facts.health_check;
        let threshold = NonZeroU8::new(*threshold).unwrap_or(default.unhealthy_threshold);
        let (probe, port) =
            if !facts.endpoints.is_empty() && facts.endpoints.values().all(is_balancer) {
                let first = overrides.iter().find(|o| o.listener_port == ports.first());
                (Probe::Tcp, first.map(|o| o.endpoint_port))
            } else {
                let http = HttpProbe {
                    path: path.clone().unwrap_or_else(|| "/".to_owned()),
                    host: None,
                    status: (200, 399),
                    body: None,
                };
                let probe = match checked_by.as_str() {
                    "HTTP" => Probe::Http(http),
                    "HTTPS" => Probe::Https {
                        http,
                        sni: None,
                        verify_tls: false,
                    },
                    // Global Accelerator asks over TCP under UDP listeners, too.
                    _ => Probe::Tcp,
                };
                // The listener's own port is what AWS fills in where nobody named one: an endpoint's own goes before it.
                (probe, port.filter(|port| *port != ports.first()))
            };
        HealthCheck {
            probe,
            port,
            healthy_threshold: threshold,
            unhealthy_threshold: threshold,
            ..default
        }
    }

    /// Tells of load balancers that are known not to listen on a port that flows go to.
    fn look_for_listeners(&mut self, accelerator: &str, group: &EndpointGroup, ports: &PortSet) {
        for endpoint in &group.endpoints {
            let Some(known) = self.advice.ports.get(arn_of(endpoint)) else {
                continue;
            };
            let missing = ports
                .iter()
                .map(|port| group.endpoint_port(endpoint, port))
                .find(|port| !known.contains(port));
            if let Some(port) = missing {
                let place = (group.region.as_str(), endpoint.id.as_str());
                let reason =
                    format!("the load balancer does not listen on port {port}, where flows go");
                self.note(NoteKind::NoListener, accelerator, Some(place), reason);
            }
        }
    }

    /// Gives nothing new to load balancers behind which nothing answers, where a connect alone would not find that out, and only
    /// while something else is there to take it.
    fn advise(&mut self, accelerator: &str, groups: &mut [EndpointGroup]) {
        let says_more = |group: &EndpointGroup| match group.health_check.probe {
            Probe::None | Probe::Tcp => false,
            Probe::Http(_) | Probe::Https { .. } | Probe::Udp(_) => true,
        };
        let advised = |group: &EndpointGroup, endpoint: &Endpoint| {
            !says_more(group) && self.advice.empty.contains(arn_of(endpoint))
        };
        let another = groups.iter().any(|group| {
            group
                .endpoints
                .iter()
                .any(|endpoint| !endpoint.weight.is_zero() && !advised(group, endpoint))
        });
        let mut notes = Vec::new();
        for group in groups.iter_mut() {
            for index in 0..group.endpoints.len() {
                if advised(group, &group.endpoints[index]) {
                    notes.push((
                        group.region.to_string(),
                        group.endpoints[index].id.to_string(),
                    ));
                    if another {
                        group.endpoints[index].weight = Weight(0);
                    }
                }
            }
        }
        for (region, id) in notes {
            let reason = match another {
                true => "no healthy target is behind it: it gets nothing new",
                false => {
                    "no healthy target is behind it, nor behind any other: it is used all the same"
                }
            };
            self.note(
                NoteKind::NotWorthAConnection,
                accelerator,
                Some((&region, &id)),
                reason.to_owned(),
            );
        }
    }

    /// Fixed addresses of network load balancers.
    fn hint(&mut self) {
        for resource in self.picture.resources.values() {
            if let Resource::LoadBalancer(balancer) = resource
                && !balancer.static_addresses.is_empty()
                && let Ok(Way::Name(name)) = resource.way(self.settings.reach)
            {
                self.out
                    .hints
                    .push((name.into(), balancer.static_addresses.clone()));
            }
        }
    }
}

/// The ARN in the id of an endpoint.
fn arn_of(endpoint: &Endpoint) -> &str {
    let id = endpoint.id.as_str();
    id.strip_suffix("#client-ip").unwrap_or(id)
}
