//! `[[accelerator.listener.endpoint_group]]`: the endpoints of one region and how their flows are treated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::health_check;
use super::keys::Table;
use super::listener::Head;
use super::rules::{Claims, EndpointClaim, GroupClaim};
use super::section::Section;
use super::typed::{self, duration, float, integer, one_of, parsed};
use super::values;
use crate::address::Host;
use crate::model::{
    ClientAddress, Endpoint, EndpointGroup, GroupSettings, HealthCheck, OnUnhealthy, PortOverride,
    Probe, Protocol, ProxyProtocol,
};
use crate::units::{EndpointId, Region, TrafficDial, Weight};

const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn endpoint_group(
    section: &Section<'_>,
    region: Option<Region>,
    head: &Head<'_, '_>,
    siblings: &[Head<'_, '_>],
    listener: usize,
    claims: &mut Claims,
) -> Option<EndpointGroup> {
    let dial = section.get("traffic_dial", float(0.0..=100.0));
    let latency = latency(section);
    let overrides = port_overrides(section, head, siblings);
    let settings = settings(section, head.protocol);
    let endpoints = endpoints(section);
    let health_check = health_check::health_check(section, head.protocol, &endpoints.read);
    if let Some(check) = &health_check {
        warn_first_port(section, head, check, &endpoints.read);
    }
    if let Some(overrides) = &overrides {
        claims.group(GroupClaim {
            listener,
            path: section.path().to_string(),
            overrides: overrides.clone(),
            endpoints: endpoints.read.iter().filter_map(claim).collect(),
        });
    }
    Some(EndpointGroup {
        region: region?,
        traffic_dial: TrafficDial::from_percent(dial?)?,
        latency: latency?,
        health_check: Arc::new(health_check?),
        port_overrides: overrides?,
        settings: Arc::new(settings?),
        endpoints: endpoints.all()?,
    })
}

/// Of so many ports the first is hardly the one that answers.
fn warn_first_port(
    section: &Section<'_>,
    head: &Head<'_, '_>,
    check: &HealthCheck,
    endpoints: &[Read],
) {
    const SO_MANY: usize = 1000;
    let asked = check.port.is_none() && check.probe != Probe::None;
    if let Some(ports) = &head.ports
        && ports.len() > SO_MANY
        && asked
        && endpoints.iter().any(|read| read.endpoint.port.is_none())
    {
        section.warn(
            Table::HealthCheck.name(),
            format!(
                "endpoints are asked on port {}, the first of {}",
                ports.first(),
                ports.len()
            ),
            "set health_check.port",
        );
    }
}

/// `""` is the measured distance.
fn latency(section: &Section<'_>) -> Option<Option<Duration>> {
    section.get("latency", |value| {
        if value.as_str() == Some("") {
            return Ok(None);
        }
        duration(Duration::ZERO..=10 * Duration::from_secs(1))(value).map(Some)
    })
}

fn settings(section: &Section<'_>, protocol: Option<Protocol>) -> Option<GroupSettings> {
    let headers = &[
        ("off", ProxyProtocol::Off),
        ("v1", ProxyProtocol::V1),
        ("v2", ProxyProtocol::V2),
    ];
    let policies = &[
        ("reset", OnUnhealthy::Reset),
        ("drain", OnUnhealthy::Drain),
        ("keep", OnUnhealthy::Keep),
    ];
    let addresses = &[
        ("edge", ClientAddress::Edge),
        ("transparent", ClientAddress::Transparent),
    ];
    let proxy_protocol = section.get("proxy_protocol", one_of(headers));
    let client_address = section.get("client_address", one_of(addresses));
    let on_unhealthy = section.get("on_unhealthy", one_of(policies));
    let reset_over = section.get("reset_over", duration(Duration::ZERO..=10 * MINUTE));
    let reset_rate = section.get("reset_rate", integer(1..=1_000_000));
    let drain_timeout = section.get("drain_timeout", duration(Duration::ZERO..=WEEK));
    if proxy_protocol == Some(ProxyProtocol::V1) && protocol == Some(Protocol::Udp) {
        section.error(
            "proxy_protocol",
            "version 1 is a line of text before a stream, which UDP has none of",
            "write \"v2\" or \"off\"",
        );
    }
    if client_address == Some(ClientAddress::Transparent) && protocol == Some(Protocol::Udp) {
        section.error(
            "client_address",
            "flows of UDP come from the edge's address",
            "write \"edge\", and proxy_protocol = \"v2\" where endpoints must know their clients",
        );
    }
    Some(GroupSettings {
        proxy_protocol: proxy_protocol?,
        client_address: client_address?,
        on_unhealthy: on_unhealthy?,
        reset_over: reset_over?,
        reset_rate: reset_rate?,
        drain_timeout: drain_timeout?,
    })
}

fn port_overrides(
    section: &Section<'_>,
    head: &Head<'_, '_>,
    siblings: &[Head<'_, '_>],
) -> Option<Vec<PortOverride>> {
    let sections = section.children(Table::PortOverride)?;
    let mut seen = HashMap::new();
    let mut read = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let listener_port = section.get("listener_port", integer::<u16>(1..=65535));
        let endpoint_port = section.get("endpoint_port", integer::<u16>(1..=65535));
        if let Some(port) = listener_port {
            check_listener_port(section, port, head);
            if let Some(first) = seen.insert(port, index) {
                section.error(
                    "listener_port",
                    format!("{port} is overridden by port_overrides[{first}], too"),
                    "override a port once",
                );
            }
        }
        if let Some(port) = endpoint_port {
            check_endpoint_port(section, port, siblings);
        }
        read.push(listener_port.zip(endpoint_port));
    }
    let pairs: Option<Vec<(u16, u16)>> = read.into_iter().collect();
    let pairs = pairs?.into_iter();
    Some(
        pairs
            .map(|(listener_port, endpoint_port)| PortOverride {
                listener_port,
                endpoint_port,
            })
            .collect(),
    )
}

fn check_listener_port(section: &Section<'_>, port: u16, head: &Head<'_, '_>) {
    if let Some(ports) = &head.ports
        && !ports.contains(port)
    {
        section.error(
            "listener_port",
            format!("{port} is no port of this listener"),
            format!("give one of {ports}"),
        );
    }
}

/// Global Accelerator's rule: an endpoint port that the accelerator itself takes would be ambiguous.
fn check_endpoint_port(section: &Section<'_>, port: u16, siblings: &[Head<'_, '_>]) {
    let taken = siblings.iter().find(|head| {
        head.ports
            .as_ref()
            .is_some_and(|ports| ports.contains(port))
    });
    if let Some(head) = taken {
        section.error(
            "endpoint_port",
            format!("{port} is a port of {}", head.section.path()),
            "give a port that no listener of the accelerator has",
        );
    }
}

/// The endpoints that could be read: what must hold among them is checked even when others could not.
struct Endpoints {
    read: Vec<Read>,
    whole: bool,
}

impl Endpoints {
    fn all(self) -> Option<Vec<Endpoint>> {
        let endpoints = self.read.into_iter().map(|read| read.endpoint);
        self.whole.then(|| endpoints.collect())
    }
}

/// An endpoint, its place in the list, and where its address stands.
pub(super) struct Read {
    index: usize,
    pub(super) endpoint: Endpoint,
    pub(super) offset: usize,
}

fn endpoints(section: &Section<'_>) -> Endpoints {
    let sections = section.children(Table::Endpoint).unwrap_or_default();
    let mut ids = HashMap::with_capacity(sections.len());
    let read: Vec<Option<Read>> = sections
        .iter()
        .enumerate()
        .map(|(index, section)| endpoint(section, index, &mut ids))
        .collect();
    let whole = read.iter().all(Option::is_some);
    let read: Vec<Read> = read.into_iter().flatten().collect();
    if whole && !read.is_empty() && read.iter().all(|read| read.endpoint.weight.is_zero()) {
        section.warn(
            Table::Endpoint.name(),
            "every weight is 0, so the group is never available",
            "give the endpoints that should take traffic a weight from 1 to 255",
        );
    }
    Endpoints { read, whole }
}

fn endpoint(section: &Section<'_>, index: usize, ids: &mut HashMap<String, usize>) -> Option<Read> {
    let address = section.get("address", parsed(values::endpoint_host));
    let id = section.optional("id", typed::id);
    let weight = section.get("weight", integer(0..=255));
    let max_flows = section.get("max_flows", integer(0..=i64::from(u32::MAX)));
    let (host, port) = address?;
    let given = id?;
    let id_key = if given.is_some() { "id" } else { "address" };
    let id = given.unwrap_or_else(|| show(&host, port));
    if let Some(first) = ids.insert(id.clone(), index) {
        section.error(
            id_key,
            format!("\"{id}\" is the id of endpoints[{first}], too"),
            "give every endpoint of a group an id of its own",
        );
    }
    Some(Read {
        index,
        endpoint: Endpoint {
            id: EndpointId::new(id),
            host,
            port,
            weight: Weight(weight?),
            max_flows: max_flows?,
        },
        offset: section.offset_of("address"),
    })
}

/// The id of an endpoint that gives none: one spelling whatever the file's, for it decides which clients go there.
fn show(host: &Host, port: Option<u16>) -> String {
    match (host, port) {
        (host, None) => host.to_string(),
        (Host::Ip(ip), Some(port)) => std::net::SocketAddr::new(*ip, port).to_string(),
        (Host::Name(name), Some(port)) => format!("{name}:{port}"),
    }
}

fn claim(read: &Read) -> Option<EndpointClaim> {
    match &read.endpoint.host {
        Host::Ip(ip) => Some(EndpointClaim {
            index: read.index,
            offset: read.offset,
            ip: *ip,
            port: read.endpoint.port,
        }),
        // Where a name leads is not known here, and may change.
        Host::Name(_) => None,
    }
}
