//! Subnets of custom routing groups, and which of their sockets take traffic.

use std::net::Ipv4Addr;

use crate::api::arn::GroupId;
use crate::api::attaching;
use crate::api::context::{Context, exceeded, plain};
use crate::api::custom;
use crate::api::endpoint_id;
use crate::api::errors::{ApiError, Exception, invalid};
use crate::api::operations::endpoint_groups::{listener_of, put};
use crate::api::records::{CustomGroup, GroupBody, GroupRecord, SubnetRecord};
use crate::api::shapes::NoOutput;
use crate::api::shapes::custom_routing::*;
use crate::api::shapes::listeners::PortRange;

/// Subnets of one group.
const MOST_SUBNETS: usize = 10;

/// Ports that one accelerator may have open where each is a socket a worker and address: on an edge that may not steer.
const MOST_OPEN_PORTS: usize = 4096;

pub(crate) fn add(
    context: &mut Context<'_>,
    request: AddCustomRoutingEndpointsRequest,
) -> Result<AddCustomRoutingEndpointsResponse, ApiError> {
    let AddCustomRoutingEndpointsRequest {
        endpoint_configurations,
        endpoint_group_arn,
    } = request;
    let (id, record, body) = context.custom_group(&endpoint_group_arn)?;
    context.may_change(&id.listener.accelerator)?;
    let listener = listener_of(context, &id)?;
    let mut body = body.clone();
    let mut taken = ports_in_use(context, &id);
    let mut endpoint_descriptions = Vec::new();
    for CustomRoutingEndpointConfiguration {
        endpoint_id,
        attachment_arn,
    } in endpoint_configurations
    {
        if body.subnets.iter().any(|subnet| subnet.id == endpoint_id) {
            let message = format!("The endpoint '{endpoint_id}' is in the endpoint group already");
            return Err(Exception::EndpointAlreadyExists.because(message));
        }
        let prefix =
            endpoint_id::subnet(&endpoint_id, &context.config.endpoint_aliases).or_else(invalid)?;
        if body
            .subnets
            .iter()
            .any(|subnet| subnet.prefix.contains(&prefix) || prefix.contains(&subnet.prefix))
        {
            return Err(Exception::Conflict.because(format!(
                "The subnet {prefix} and another of the endpoint group overlap"
            )));
        }
        if let Some(arn) = &attachment_arn {
            attaching::check(context, arn, &id.listener.accelerator, &endpoint_id)?;
        }
        let needed = custom::ports_needed(prefix, &body.destinations);
        let Some(ports) = custom::allocate(&listener.port_ranges, &taken, needed) else {
            return Err(exceeded(format!(
                "the subnet {prefix} needs {needed} ports, and the listener has fewer left"
            )));
        };
        taken.extend(&ports);
        endpoint_descriptions.push(CustomRoutingEndpointDescription {
            endpoint_id: endpoint_id.clone(),
        });
        body.subnets.push(SubnetRecord {
            id: endpoint_id,
            prefix,
            ports,
            allowed: Vec::new(),
            attachment: attachment_arn,
        });
    }
    if body.subnets.len() > MOST_SUBNETS {
        return Err(exceeded(format!(
            "an endpoint group has at most {MOST_SUBNETS} subnets"
        )));
    }
    replace(context, &id, record, body);
    Ok(AddCustomRoutingEndpointsResponse {
        endpoint_descriptions,
        endpoint_group_arn: context.arn(&id),
    })
}

/// Ports that subnets of the listener's groups have.
fn ports_in_use(context: &Context<'_>, id: &GroupId) -> Vec<PortRange> {
    let groups = context.world.groups_of(&id.listener).into_iter();
    let bodies = groups.filter_map(|(_, record)| match &record.body {
        GroupBody::CustomRouting(body) => Some(body),
        GroupBody::Standard(_) => None,
    });
    bodies
        .flat_map(|body| {
            body.subnets
                .iter()
                .flat_map(|subnet| subnet.ports.iter().copied())
        })
        .collect()
}

pub(crate) fn remove(
    context: &mut Context<'_>,
    request: RemoveCustomRoutingEndpointsRequest,
) -> Result<NoOutput, ApiError> {
    let RemoveCustomRoutingEndpointsRequest {
        endpoint_ids,
        endpoint_group_arn,
    } = request;
    let (id, record, body) = context.custom_group(&endpoint_group_arn)?;
    context.may_change(&id.listener.accelerator)?;
    let mut body = body.clone();
    for endpoint_id in endpoint_ids {
        let before = body.subnets.len();
        body.subnets.retain(|subnet| subnet.id != endpoint_id);
        if body.subnets.len() == before {
            return Err(no_endpoint(&endpoint_id));
        }
    }
    replace(context, &id, record, body);
    Ok(NoOutput {})
}

pub(crate) fn allow(
    context: &mut Context<'_>,
    request: AllowCustomRoutingTrafficRequest,
) -> Result<NoOutput, ApiError> {
    let AllowCustomRoutingTrafficRequest {
        endpoint_group_arn,
        endpoint_id,
        destination_addresses,
        destination_ports,
        allow_all_traffic_to_endpoint,
    } = request;
    let which = Which {
        all: allow_all_traffic_to_endpoint.unwrap_or(false),
        addresses: destination_addresses.unwrap_or_default(),
        ports: destination_ports.unwrap_or_default(),
    };
    set(context, (&endpoint_group_arn, &endpoint_id), which, true)
}

pub(crate) fn deny(
    context: &mut Context<'_>,
    request: DenyCustomRoutingTrafficRequest,
) -> Result<NoOutput, ApiError> {
    let DenyCustomRoutingTrafficRequest {
        endpoint_group_arn,
        endpoint_id,
        destination_addresses,
        destination_ports,
        deny_all_traffic_to_endpoint,
    } = request;
    let which = Which {
        all: deny_all_traffic_to_endpoint.unwrap_or(false),
        addresses: destination_addresses.unwrap_or_default(),
        ports: destination_ports.unwrap_or_default(),
    };
    set(context, (&endpoint_group_arn, &endpoint_id), which, false)
}

/// Sockets of a subnet.
struct Which {
    all: bool,
    addresses: Vec<String>,
    ports: Vec<u16>,
}

fn set(
    context: &mut Context<'_>,
    (group, endpoint): (&str, &str),
    which: Which,
    allowed: bool,
) -> Result<NoOutput, ApiError> {
    let (id, record, body) = context.custom_group(group)?;
    context.may_change(&id.listener.accelerator)?;
    let mut body = body.clone();
    let destinations = body.destinations.clone();
    let Some(subnet) = body.subnets.iter_mut().find(|subnet| subnet.id == endpoint) else {
        return invalid(format!(
            "The endpoint '{}' is not in the endpoint group",
            plain(endpoint)
        ));
    };
    subnet.allowed = match which {
        Which {
            all: true,
            addresses,
            ports,
        } => {
            if !addresses.is_empty() || !ports.is_empty() {
                return invalid(
                    "All traffic, or destination addresses and ports: you can't specify both",
                );
            }
            let sockets = custom::ports_needed(subnet.prefix, &destinations);
            let last = u32::try_from(sockets).unwrap_or(u32::MAX).saturating_sub(1);
            if allowed { vec![(0, last)] } else { Vec::new() }
        }
        Which {
            all: false,
            addresses,
            ports,
        } => {
            let ips = read_addresses(subnet, &addresses)?;
            check_ports(&destinations, &ports)?;
            let positions = custom::positions(subnet, &destinations, &ips, &ports);
            custom::set(&subnet.allowed, &positions, allowed)
        }
    };
    let new = GroupRecord {
        body: GroupBody::CustomRouting(body.clone()),
        ..record.clone()
    };
    if allowed {
        check_open_ports(context, &id, &body)?;
    }
    put(context, &id, &new);
    Ok(NoOutput {})
}

fn read_addresses(subnet: &SubnetRecord, texts: &[String]) -> Result<Vec<Ipv4Addr>, ApiError> {
    if texts.is_empty() {
        return invalid("Destination addresses are required unless all traffic is meant");
    }
    let read = |text: &String| match text.parse::<Ipv4Addr>() {
        Ok(ip) if custom::addresses(subnet.prefix).any(|mapped| mapped == ip) => Ok(ip),
        Ok(ip) => invalid(format!(
            "{ip} is not an address of the subnet {} that traffic can be sent to",
            subnet.prefix
        )),
        Err(_) => invalid(format!("'{}' is not a valid IPv4 address", plain(text))),
    };
    texts.iter().map(read).collect()
}

fn check_ports(
    destinations: &[CustomRoutingDestinationConfiguration],
    ports: &[u16],
) -> Result<(), ApiError> {
    let holds = |port: &u16| {
        destinations
            .iter()
            .any(|d| (d.from_port..=d.to_port).contains(port))
    };
    match ports.iter().find(|port| !holds(port)) {
        None => Ok(()),
        Some(port) => invalid(format!(
            "{port} is not a destination port of the endpoint group"
        )),
    }
}

fn check_open_ports(
    context: &Context<'_>,
    changed: &GroupId,
    body: &CustomGroup,
) -> Result<(), ApiError> {
    let open = |body: &CustomGroup| {
        custom::served(body)
            .iter()
            .map(|served| served.ports.len())
            .sum::<usize>()
    };
    let accelerator = &changed.listener.accelerator;
    let listeners = context.world.listeners_of(accelerator).into_iter();
    let groups = listeners.flat_map(|(listener, _)| context.world.groups_of(listener));
    let others = groups
        .filter(|(id, _)| *id != changed)
        .map(|(_, record)| match &record.body {
            GroupBody::CustomRouting(body) => open(body),
            GroupBody::Standard(_) => 0,
        });
    let all = open(body) + others.sum::<usize>();
    match all <= MOST_OPEN_PORTS || context.edge.steers_ports() {
        true => Ok(()),
        false => invalid(format!(
            "{all} ports would be open, and an accelerator of this edge has at most {MOST_OPEN_PORTS} without CAP_NET_ADMIN and CAP_BPF: allow fewer destinations"
        )),
    }
}

fn replace(context: &mut Context<'_>, id: &GroupId, record: &GroupRecord, body: CustomGroup) {
    put(
        context,
        id,
        &GroupRecord {
            body: GroupBody::CustomRouting(body),
            ..record.clone()
        },
    );
}

/// By an id that names no subnet.
pub(crate) fn no_endpoint(id: &str) -> ApiError {
    Exception::EndpointNotFound.because(format!(
        "The endpoint '{}' that you specified doesn't exist.",
        plain(id)
    ))
}
