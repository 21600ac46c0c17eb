//! Lists of the mapping of custom routing, whole or by destination.

use std::net::IpAddr;

use crate::api::arn::GroupId;
use crate::api::context::Context;
use crate::api::custom::{self, Mapping};
use crate::api::desired;
use crate::api::errors::{ApiError, invalid};
use crate::api::operations::custom_endpoints::no_endpoint;
use crate::api::paging::{Asked, page};
use crate::api::records::{CustomGroup, GroupBody, GroupRecord, Kind, SubnetRecord};
use crate::api::shapes::accelerators::IpAddressType;
use crate::api::shapes::custom_routing::*;
use crate::api::shapes::listeners::Protocol;

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListCustomRoutingPortMappingsRequest,
) -> Result<ListCustomRoutingPortMappingsResponse, ApiError> {
    let ListCustomRoutingPortMappingsRequest {
        accelerator_arn,
        endpoint_group_arn,
        max_results,
        next_token,
    } = request;
    let (accelerator, _) = context.accelerator(&accelerator_arn, Kind::CustomRouting)?;
    let one = endpoint_group_arn
        .as_deref()
        .map(|arn| context.custom_group(arn))
        .transpose()?;
    let one = one.map(|(id, _, _)| id);
    if one
        .as_ref()
        .is_some_and(|group| group.listener.accelerator != accelerator)
    {
        return Err(crate::api::context::no_group());
    }
    let listed: Vec<(&GroupId, &CustomGroup, Ports)> = groups(context)
        .filter(|(id, _, _)| {
            id.listener.accelerator == accelerator && one.as_ref().is_none_or(|one| one == *id)
        })
        .map(|(id, _, body)| (id, body, custom::destination_ports(&body.destinations)))
        .collect();
    // Every port of the accelerator may be in it, so only what is on the page is written out.
    let mut all: Vec<(Mapping<'_>, &GroupId, &SubnetRecord)> = Vec::new();
    for (id, body, ports) in &listed {
        for subnet in &body.subnets {
            all.extend(custom::mappings(subnet, ports).map(|mapping| (mapping, *id, subnet)));
        }
    }
    all.sort_by_key(|(mapping, _, _)| mapping.accelerator_port);
    let list = format!(
        "mappings of {accelerator}, {}",
        one.map(|id| id.to_string()).unwrap_or_default()
    );
    let asked = Asked {
        list: &list,
        max_results,
        next_token: next_token.as_deref(),
    };
    let numbered = all
        .into_iter()
        .map(|line| (u64::from(line.0.accelerator_port), line));
    let (page, next_token) = page(&context.world.meta.page_key, &asked, numbered)?;
    let show = |(mapping, id, subnet)| show(context, mapping, id, subnet);
    Ok(ListCustomRoutingPortMappingsResponse {
        port_mappings: page.into_iter().map(show).collect(),
        next_token,
    })
}

/// Of a group's destinations.
type Ports = Vec<(u16, Vec<Protocol>)>;

fn show(
    context: &Context<'_>,
    mapping: Mapping<'_>,
    group: &GroupId,
    subnet: &SubnetRecord,
) -> PortMapping {
    let Mapping {
        accelerator_port,
        ip,
        port,
        protocols,
        allowed,
    } = mapping;
    PortMapping {
        accelerator_port,
        endpoint_group_arn: context.arn(group),
        endpoint_id: subnet.id.clone(),
        destination_socket_address: SocketAddress {
            ip_address: ip.to_string(),
            port,
        },
        protocols: protocols.to_vec(),
        destination_traffic_state: state(allowed),
    }
}

pub(crate) fn list_by_destination(
    context: &mut Context<'_>,
    request: ListCustomRoutingPortMappingsByDestinationRequest,
) -> Result<ListCustomRoutingPortMappingsByDestinationResponse, ApiError> {
    let ListCustomRoutingPortMappingsByDestinationRequest {
        endpoint_id,
        destination_address,
        max_results,
        next_token,
    } = request;
    let Ok(IpAddr::V4(ip)) = destination_address.parse() else {
        return invalid("DestinationAddress is not a valid IPv4 address");
    };
    let mut known = false;
    let mut all = Vec::new();
    for (id, record, body) in groups(context) {
        let Some(subnet) = body.subnets.iter().find(|subnet| subnet.id == endpoint_id) else {
            continue;
        };
        known = true;
        let Some(accelerator) = context.accelerator_record(&id.listener.accelerator) else {
            continue;
        };
        let ports = custom::destination_ports(&body.destinations);
        for mapping in custom::mappings(subnet, &ports).filter(|mapping| mapping.ip == ip) {
            let port = mapping.accelerator_port;
            let addresses = desired::addresses(accelerator).into_iter();
            let shown = DestinationPortMapping {
                accelerator_arn: context.arn(&id.listener.accelerator),
                accelerator_socket_addresses: addresses
                    .map(|address| SocketAddress {
                        ip_address: address.to_string(),
                        port,
                    })
                    .collect(),
                endpoint_group_arn: context.arn(id),
                endpoint_id: subnet.id.clone(),
                endpoint_group_region: record.region.clone(),
                destination_socket_address: SocketAddress {
                    ip_address: ip.to_string(),
                    port: mapping.port,
                },
                ip_address_type: IpAddressType::Ipv4,
                destination_traffic_state: state(mapping.allowed),
            };
            // Groups that come or go between two pages move nothing.
            all.push((record.seq << u16::BITS | u64::from(port), shown));
        }
    }
    if !known {
        return Err(no_endpoint(&endpoint_id));
    }
    let list = format!("mappings to {ip} of {endpoint_id}");
    let asked = Asked {
        list: &list,
        max_results,
        next_token: next_token.as_deref(),
    };
    all.sort_by_key(|(number, _)| *number);
    let (destination_port_mappings, next_token) = page(&context.world.meta.page_key, &asked, all)?;
    Ok(ListCustomRoutingPortMappingsByDestinationResponse {
        destination_port_mappings,
        next_token,
    })
}

fn groups<'a>(
    context: &Context<'a>,
) -> impl Iterator<Item = (&'a GroupId, &'a GroupRecord, &'a CustomGroup)> {
    context
        .world
        .groups
        .iter()
        .filter_map(|(id, record)| match &record.body {
            GroupBody::CustomRouting(body) => Some((id, record, body)),
            GroupBody::Standard(_) => None,
        })
}

fn state(allowed: bool) -> CustomRoutingDestinationTrafficState {
    match allowed {
        true => CustomRoutingDestinationTrafficState::Allow,
        false => CustomRoutingDestinationTrafficState::Deny,
    }
}
