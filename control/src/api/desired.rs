//! The API's records as desired state. Pure, and forgiving: what cannot be served (an alias that left the file) is left out and
//! shown as unhealthy, instead of taking the rest with it.

use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use portolan_config::address::Host;
use portolan_config::model::{
    Accelerator, ClientAffinity as ModelAffinity, Endpoint, EndpointGroup, GroupSettings,
    HealthCheck, HedgeAfter, HttpProbe, Listener, ListenerSettings, OnUnhealthy, PortOverride,
    Probe, Protocol as ModelProtocol, Source,
};
use portolan_config::units::{
    AcceleratorName, EndpointId, PortRange, PortSet, Region, TrafficDial, Weight,
};

use super::arn::AcceleratorId;
use super::custom::{self, Served};
use super::defaults::Defaults;
use super::endpoint_id::Meaning;
use super::records::{
    AcceleratorRecord, EndpointRecord, GroupBody, GroupRecord, Kind, ListenerRecord, StandardGroup,
};
use super::settings::Settings;
use super::shapes::accelerators::IpAddressType;
use super::shapes::endpoint_groups::HealthCheckProtocol;
use super::shapes::listeners::{ClientAffinity, Protocol};
use super::world::World;
use crate::aws::picture::Resource;

/// One accelerator as it is to be served.
pub(crate) fn accelerator(
    world: &World,
    id: &AcceleratorId,
    record: &AcceleratorRecord,
    settings: &Settings,
    meaning: Meaning<'_>,
) -> Accelerator {
    let listeners = world.listeners_of(id).into_iter();
    let listeners: Vec<Listener> = match record.kind {
        Kind::Standard => listeners
            .filter_map(|(id, listener)| {
                let groups = world.groups_of(id).into_iter();
                let groups = groups
                    .filter_map(|(_, group)| standard_group(group, listener, settings, meaning));
                standard_listener(listener, groups.collect())
            })
            .collect(),
        Kind::CustomRouting => {
            let groups = listeners.flat_map(|(id, _)| world.groups_of(id));
            groups
                .flat_map(|(_, group)| custom_listeners(group))
                .collect()
        }
    };
    Accelerator {
        name: AcceleratorName::new(record.served_as.as_str()),
        source: Source::Api,
        enabled: record.enabled,
        addresses: addresses(record),
        listeners,
    }
}

/// The addresses that are in force: IPv6 ones stay reserved when an accelerator goes back to IPv4.
pub(crate) fn addresses(record: &AcceleratorRecord) -> Vec<IpAddr> {
    let v4 = record.ipv4.iter().copied().map(IpAddr::V4);
    let v6 = record.ipv6.iter().copied().map(IpAddr::V6);
    match record.ip_address_type {
        IpAddressType::Ipv4 => v4.collect(),
        IpAddressType::DualStack => v4.chain(v6).collect(),
    }
}

/// The ports of a listener; `None` when they are none, which no checked record has.
pub(crate) fn ports(listener: &ListenerRecord) -> Option<PortSet> {
    let ranges = listener
        .port_ranges
        .iter()
        .map(|range| PortRange::new(range.from_port, range.to_port));
    PortSet::new(ranges.collect::<Option<Vec<_>>>()?)
}

/// In the model's words.
pub(crate) fn protocol(listener: &ListenerRecord) -> ModelProtocol {
    match listener.protocol {
        Some(Protocol::Udp) => ModelProtocol::Udp,
        Some(Protocol::Tcp) | None => ModelProtocol::Tcp,
    }
}

fn standard_listener(
    record: &ListenerRecord,
    endpoint_groups: Vec<EndpointGroup>,
) -> Option<Listener> {
    let protocol = protocol(record);
    Some(Listener {
        protocol,
        ports: ports(record)?,
        client_affinity: match record.client_affinity {
            ClientAffinity::None => ModelAffinity::None,
            ClientAffinity::SourceIp => ModelAffinity::SourceIp,
        },
        settings: Defaults::of(protocol).listener.clone(),
        endpoint_groups,
    })
}

fn standard_group(
    record: &GroupRecord,
    listener: &ListenerRecord,
    settings: &Settings,
    meaning: Meaning<'_>,
) -> Option<EndpointGroup> {
    let GroupBody::Standard(body) = &record.body else {
        return None;
    };
    let endpoints: Vec<Endpoint> = body
        .endpoints
        .iter()
        .filter_map(|e| endpoint(e, meaning))
        .collect();
    let check = match all_balancers(body, meaning) {
        true => balancers_check(body, listener),
        false => health_check(body, listener, &endpoints, settings),
    };
    let overrides = body.port_overrides.iter();
    Some(EndpointGroup {
        region: Region::new(record.region.as_str()),
        traffic_dial: TrafficDial::from_percent(body.traffic_dial).unwrap_or(TrafficDial::FULL),
        latency: None,
        health_check: Arc::new(check),
        port_overrides: overrides
            .map(|o| PortOverride {
                listener_port: o.listener_port,
                endpoint_port: o.endpoint_port,
            })
            .collect(),
        settings: Defaults::of(protocol(listener)).group.clone(),
        endpoints,
    })
}

fn endpoint(record: &EndpointRecord, meaning: Meaning<'_>) -> Option<Endpoint> {
    let (host, port) = meaning.endpoint(&record.id, record.found.as_ref()).ok()?;
    Some(Endpoint {
        id: served_id(record),
        host,
        port,
        weight: Weight(record.weight),
        max_flows: 0,
    })
}

/// The same resource may be in a group twice, with and without its client's address; ids of a group are unique.
pub(crate) fn served_id(record: &EndpointRecord) -> EndpointId {
    match record.client_ip_preservation {
        false => EndpointId::new(record.id.as_str()),
        true => EndpointId::new(format!("{}#client-ip", record.id)),
    }
}

/// The first port of the first range: what a check asks, and what is reported, when nobody named a port.
pub(crate) fn first_port(listener: &ListenerRecord) -> u16 {
    listener
        .port_ranges
        .first()
        .map_or(1, |range| range.from_port)
}

/// Whether AWS knows every endpoint as a load balancer.
fn all_balancers(body: &StandardGroup, meaning: Meaning<'_>) -> bool {
    let is_balancer = |endpoint: &EndpointRecord| {
        let is_found = matches!(endpoint.found, Some(Resource::LoadBalancer(_)));
        is_found && !meaning.has_alias(&endpoint.id)
    };
    !body.endpoints.is_empty() && body.endpoints.iter().all(is_balancer)
}

/// Global Accelerator leaves load balancers to their own checks, so a group's protocol, port and path may be anything: the port that
/// flows go to is asked.
fn balancers_check(body: &StandardGroup, listener: &ListenerRecord) -> HealthCheck {
    let default = Defaults::of(protocol(listener)).health_check.clone();
    let first = first_port(listener);
    let overridden = body
        .port_overrides
        .iter()
        .find(|o| o.listener_port == first);
    HealthCheck {
        probe: Probe::Tcp,
        port: Some(overridden.map_or(first, |o| o.endpoint_port)),
        ..default
    }
}

fn health_check(
    body: &StandardGroup,
    listener: &ListenerRecord,
    endpoints: &[Endpoint],
    settings: &Settings,
) -> HealthCheck {
    let default = Defaults::of(protocol(listener)).health_check.clone();
    let http = || HttpProbe {
        path: body
            .health_check_path
            .clone()
            .unwrap_or_else(|| "/".to_owned()),
        host: None,
        status: (200, 399),
        body: None,
    };
    let probe = match body.health_check_protocol {
        // Global Accelerator asks over TCP under UDP listeners, too.
        HealthCheckProtocol::Tcp => Probe::Tcp,
        HealthCheckProtocol::Http => Probe::Http(http()),
        HealthCheckProtocol::Https => Probe::Https {
            http: http(),
            sni: None,
            verify_tls: settings.verify_tls,
        },
    };
    // Obeyed while an endpoint changes its mind as well: whoever asks for few probes gets few.
    let (interval, fast_interval) = match settings.honour_interval {
        true => [Duration::from_secs(body.health_check_interval.into()); 2].into(),
        false => (default.interval, default.fast_interval),
    };
    let threshold = NonZeroU8::new(body.threshold).unwrap_or(NonZeroU8::MIN);
    // An endpoint's own port goes before the listener's first, so that is left to it where there is one.
    let own_ports = endpoints.iter().any(|endpoint| endpoint.port.is_some());
    let port = body
        .health_check_port
        .or_else(|| (!own_ports).then(|| first_port(listener)));
    HealthCheck {
        probe,
        port,
        interval,
        fast_interval,
        healthy_threshold: threshold,
        unhealthy_threshold: threshold,
        ..default
    }
}

/// One listener for each destination and protocol: its open ports are those that are allowed, each with the destination's port
/// behind it. What is denied is not open at all.
fn custom_listeners(record: &GroupRecord) -> Vec<Listener> {
    let GroupBody::CustomRouting(body) = &record.body else {
        return Vec::new();
    };
    let mut listeners = Vec::new();
    for Served {
        protocol,
        ip,
        ports,
    } in custom::served(body)
    {
        let Some(set) = PortSet::of_ports(ports.iter().map(|(port, _)| *port)) else {
            continue;
        };
        let overrides = ports.iter();
        let defaults = Defaults::of(protocol);
        listeners.push(Listener {
            protocol,
            ports: set,
            client_affinity: ModelAffinity::None,
            settings: Arc::new(ListenerSettings {
                hedge_after: HedgeAfter::Off,
                connect_attempts: NonZeroU8::MIN,
                ..(*defaults.listener).clone()
            }),
            endpoint_groups: vec![EndpointGroup {
                region: Region::new(record.region.as_str()),
                traffic_dial: TrafficDial::FULL,
                latency: None,
                // There is one place that a flow may go to, whatever its health.
                health_check: Arc::new(HealthCheck {
                    probe: Probe::None,
                    ..defaults.health_check.clone()
                }),
                port_overrides: overrides
                    .map(|(listener_port, endpoint_port)| PortOverride {
                        listener_port: *listener_port,
                        endpoint_port: *endpoint_port,
                    })
                    .collect(),
                settings: Arc::new(GroupSettings {
                    on_unhealthy: OnUnhealthy::Keep,
                    // What is denied ends.
                    drain_timeout: Duration::ZERO,
                    ..(*defaults.group).clone()
                }),
                endpoints: vec![Endpoint {
                    id: EndpointId::new(ip.to_string()),
                    host: Host::Ip(IpAddr::V4(ip)),
                    port: None,
                    weight: Weight::DEFAULT,
                    max_flows: 0,
                }],
            }],
        });
    }
    listeners
}
