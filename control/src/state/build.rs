//! Published state and bindings → state view and readiness. Made anew for each reader.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use portolan_config::health::HealthState;
use portolan_config::model::Accelerator;
use portolan_config::units::PortSet;

use super::{
    AcceleratorView, EndpointAddressView, EndpointGroupView, EndpointView, ListenerView, PortsView,
    StateView, StaticAddressView,
};
use crate::aws::{AwsView, Unreached};
use crate::data_plane::Binding;
use crate::drains::rfc3339;
use crate::handle::{Published, Readiness};
use crate::health_view;
use crate::layout::{EndpointLayout, GroupLayout, ListenerLayout};
use crate::publish::DnsView;
use crate::publish::announce::AnnounceView;
use crate::way_back::Way;

/// The whole view.
pub(crate) fn state(
    published: &Published,
    (bindings, relay_mode): (&[Binding], &str),
    readiness: Readiness,
    (aws, unreached): (Option<AwsView>, &[Unreached]),
    (dns, announce): (Option<DnsView>, Option<AnnounceView>),
) -> StateView {
    let mut listeners: HashMap<usize, Vec<ListenerView>> = HashMap::new();
    for (listener, places) in published.layout.listeners.iter().zip(&published.places) {
        let view = listener_view(published, listener, places);
        listeners
            .entry(listener.accelerator_index)
            .or_default()
            .push(view);
    }
    let mut by_accelerator: HashMap<&str, Vec<&Binding>> = HashMap::new();
    for binding in bindings {
        by_accelerator
            .entry(binding.accelerator.as_str())
            .or_default()
            .push(binding);
    }
    let accelerators =
        published
            .config
            .accelerators
            .iter()
            .enumerate()
            .map(|(index, accelerator)| {
                let bindings = by_accelerator
                    .get(accelerator.name.as_str())
                    .map_or(&[][..], Vec::as_slice);
                AcceleratorView {
                    name: accelerator.name.to_string(),
                    enabled: accelerator.enabled,
                    source: accelerator.source.as_str().to_owned(),
                    addresses: static_addresses(accelerator, bindings),
                    listeners: listeners.remove(&index).unwrap_or_default(),
                }
            });
    let mut accelerators: Vec<AcceleratorView> = accelerators.collect();
    unreached
        .iter()
        .for_each(|one| show(&mut accelerators, one));
    StateView {
        accelerators,
        pop: published.config.pop.name.clone(),
        generation: published.snapshot.generation,
        config: published.config_view.clone(),
        ready: readiness.ready,
        not_ready: readiness.reasons,
        pop_draining: published.pop_draining,
        warnings: [published.warnings.clone(), binding_errors(bindings)].concat(),
        drains: published.drains.clone(),
        relay_mode: relay_mode.to_owned(),
        aws,
        dns,
        announce,
    }
}

/// Puts an endpoint that cannot be reached among those of its group.
fn show(accelerators: &mut [AcceleratorView], unreached: &Unreached) {
    let theirs = accelerators
        .iter_mut()
        .filter(|a| unreached.is_of(&a.name, &a.source));
    for listener in theirs.flat_map(|accelerator| &mut accelerator.listeners) {
        let is_there = unreached.listener.as_ref().is_none_or(|(protocol, set)| {
            listener.protocol == protocol.to_string() && listener.ports == ports(set)
        });
        let mut groups = listener.endpoint_groups.iter_mut();
        if is_there && let Some(group) = groups.find(|group| group.region == unreached.region) {
            group.endpoints.push(unreached_view(unreached));
        }
    }
}

fn unreached_view(unreached: &Unreached) -> EndpointView {
    let Unreached {
        accelerator: _,
        listener: _,
        region: _,
        endpoint,
        weight,
        reason,
    } = unreached;
    EndpointView {
        id: endpoint.to_string(),
        address: String::new(),
        addresses: Vec::new(),
        weight: weight.0,
        health: HealthState::Unknown.to_string(),
        unreachable: true,
        health_reason: Some(format!("unreachable: {reason}")),
        health_since: None,
        draining: false,
        latency_ms: None,
        active_flows: 0,
        total_flows: 0,
        bytes_in: 0,
        bytes_out: 0,
    }
}

/// More of the same would say the same: a thousand ports of one address fail for one reason.
const BINDING_ERRORS_SHOWN: usize = 8;

/// What does not listen, a sentence each.
pub(crate) fn binding_errors(bindings: &[Binding]) -> Vec<String> {
    let failed = || bindings.iter().filter(|binding| binding.error.is_some());
    let mut errors: Vec<String> = failed()
        .take(BINDING_ERRORS_SHOWN)
        .map(
            |Binding {
                 accelerator,
                 protocol,
                 address,
                 error,
             }| {
                let error = error.as_deref().unwrap_or_default();
                format!("{accelerator} does not listen on {address}/{protocol}: {error}")
            },
        )
        .collect();
    let more = failed().count().saturating_sub(BINDING_ERRORS_SHOWN);
    if more > 0 {
        errors.push(format!("and {more} more addresses and ports do not listen"));
    }
    errors
}

/// Why not every listener accepts, a sentence each.
pub(crate) fn not_listening(published: &Published, bindings: &[Binding]) -> Vec<String> {
    let mut reasons = binding_errors(bindings);
    for listener in published
        .layout
        .listeners
        .iter()
        .filter(|listener| listener.enabled)
    {
        let is_bound = bindings.iter().any(|binding| {
            binding.accelerator == listener.accelerator
                && binding.protocol == listener.protocol
                && listener.ports.contains(binding.address.port())
        });
        if !is_bound {
            reasons.push(format!(
                "{} does not listen on {} yet",
                listener.accelerator, listener.label
            ));
        }
    }
    reasons
}

/// How many endpoints have had no first result. One whose name was asked for in vain has had its own.
pub(crate) fn without_result(published: &Published) -> usize {
    let waits = |endpoint: &EndpointLayout| {
        let knows = |address| {
            let view = health_view::of_address(address, &published.health);
            view.state != HealthState::Unknown || view.failure.is_some()
        };
        if endpoint.addresses.is_empty() {
            !endpoint.resolution_failed
        } else {
            !endpoint.addresses.iter().all(knows)
        }
    };
    let endpoints = published.layout.endpoints();
    endpoints.filter(|(_, _, endpoint)| waits(endpoint)).count()
}

fn static_addresses(accelerator: &Accelerator, bindings: &[&Binding]) -> Vec<StaticAddressView> {
    let wildcard = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let of = |ip: IpAddr| {
        bindings
            .iter()
            .filter(move |binding| binding.address.ip() == ip)
    };
    let addresses: Vec<IpAddr> = if accelerator.addresses.is_empty() {
        // Where IPv6 is off there is no binding for it, and nothing to show.
        let bound = wildcard
            .into_iter()
            .filter(|ip| bindings.is_empty() || of(*ip).next().is_some());
        bound.collect()
    } else {
        accelerator.addresses.clone()
    };
    let view = |ip: IpAddr| {
        let error = of(ip).find_map(|binding| binding.error.clone());
        StaticAddressView {
            address: ip.to_string(),
            assigned: error.is_none() && of(ip).next().is_some(),
            error,
        }
    };
    addresses.into_iter().map(view).collect()
}

fn listener_view(
    published: &Published,
    listener: &ListenerLayout,
    places: &[Place],
) -> ListenerView {
    let groups = listener.groups.iter().zip(places);
    ListenerView {
        protocol: listener.protocol.to_string(),
        ports: ports(&listener.ports),
        client_affinity: listener.client_affinity.as_str().to_owned(),
        active_flows: listener.stats.active_flows.load(Ordering::Relaxed).into(),
        endpoint_groups: groups
            .map(|(group, place)| group_view(published, group, *place))
            .collect(),
    }
}

/// A group's place in the order and its distance.
pub(crate) type Place = (usize, Option<Duration>);

fn group_view(
    published: &Published,
    group: &GroupLayout,
    (order, distance): Place,
) -> EndpointGroupView {
    EndpointGroupView {
        region: group.region.to_string(),
        traffic_dial: group.traffic_dial.percent(),
        distance_ms: distance.map(millis),
        order,
        health_check: group.health_check.probe.as_str().to_owned(),
        client_address: group.settings.client_address.as_str().to_owned(),
        client_address_reason: not_transparent(group),
        endpoints: group
            .endpoints
            .iter()
            .map(|endpoint| endpoint_view(published, endpoint))
            .collect(),
    }
}

/// Why flows do not come from their clients' own addresses though they are to.
fn not_transparent(group: &GroupLayout) -> Option<String> {
    let addresses = group.endpoints.iter().flat_map(|e| &e.addresses);
    let asked: Vec<_> = addresses.filter(|a| a.way_back.is_some()).collect();
    let closed: Vec<_> = asked.iter().filter(|a| a.way != Way::Open).collect();
    let reason = closed.iter().find_map(|address| match &address.way {
        Way::Closed(why) => Some(format!("{}: {why}", address.ip)),
        Way::Untested | Way::Open => None,
    });
    let reason = reason.unwrap_or_else(|| "the way back is being tested".to_owned());
    let (closed, asked) = (closed.len(), asked.len());
    (closed > 0).then(|| format!("not toward {closed} of {asked} addresses: {reason}"))
}

fn endpoint_view(published: &Published, endpoint: &EndpointLayout) -> EndpointView {
    let Published { layout, health, .. } = published;
    let addresses = endpoint.addresses.iter().map(|address| {
        let view = health_view::of_address(address, health);
        EndpointAddressView {
            address: address.ip.to_string(),
            health: view.state.to_string(),
            latency_ms: view.rtt.map(millis),
        }
    });
    EndpointView {
        id: endpoint.id.to_string(),
        address: endpoint.shown_address(),
        addresses: addresses.collect(),
        weight: endpoint.weight.0,
        health: health_view::of_endpoint(endpoint, health).to_string(),
        unreachable: false,
        health_reason: health_view::reason(endpoint, health, &layout.targets),
        health_since: health_view::since(endpoint, health).map(rfc3339),
        draining: endpoint.draining,
        latency_ms: health_view::round_trip(endpoint, health).map(millis),
        active_flows: endpoint.stats.active_flows.load(Ordering::Relaxed).into(),
        total_flows: endpoint.stats.total_flows.load(Ordering::Relaxed),
        bytes_in: endpoint.stats.bytes_in.load(Ordering::Relaxed),
        bytes_out: endpoint.stats.bytes_out.load(Ordering::Relaxed),
    }
}

fn ports(ports: &PortSet) -> Vec<PortsView> {
    let ranges = ports.ranges().iter();
    ranges
        .map(|range| match range.first() == range.last() {
            true => PortsView::Port(range.first()),
            false => PortsView::Range(range.to_string()),
        })
        .collect()
}

/// To the microsecond, for people.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
