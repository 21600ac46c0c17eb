//! Lists of the mapping of custom routing, whole or by destination.

use std::net::IpAddr;

use crate::api::arn::GroupId;
use crate::api::context::Context;
use crate::api::custom::{self, Mapping};
use crate::api::desired;
use crate::api::errors::{ApiError, invalid};
use crate::api::operations::custom_endpoints::no_endpoint;
use crate::api::paging::{Asked, page};
use crate::api::records::{CustomGroup, GroupBody, GroupRecord, Kind};
use crate::api::shapes::accelerators::IpAddressType;
use crate::api::shapes::custom_routing::*;

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
    let mut all = Vec::new();
    for (id, _, body) in groups(context).filter(|(id, _, _)| id.listener.accelerator == accelerator)
    {
        if one.as_ref().is_none_or(|one| one == id) {
            all.extend(of_group(context, id, body));
        }
    }
    all.sort_by_key(|mapping| mapping.accelerator_port);
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
        .map(|mapping| (u64::from(mapping.accelerator_port), mapping));
    let (port_mappings, next_token) = page(&context.world.meta.page_key, &asked, numbered)?;
    Ok(ListCustomRoutingPortMappingsResponse {
        port_mappings,
        next_token,
    })
}

fn of_group(context: &Context<'_>, id: &GroupId, body: &CustomGroup) -> Vec<PortMapping> {
    let arn = context.arn(id);
    let of_subnet = |subnet| {
        let arn = &arn;
        custom::mappings(subnet, &body.destinations)
            .into_iter()
            .map(move |mapping| {
                let Mapping {
                    accelerator_port,
                    ip,
                    port,
                    protocols,
                    allowed,
                } = mapping;
                PortMapping {
                    accelerator_port,
                    endpoint_group_arn: arn.clone(),
                    endpoint_id: subnet.id.clone(),
                    destination_socket_address: SocketAddress {
                        ip_address: ip.to_string(),
                        port,
                    },
                    protocols,
                    destination_traffic_state: state(allowed),
                }
            })
    };
    body.subnets.iter().flat_map(of_subnet).collect()
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
        for mapping in custom::mappings(subnet, &body.destinations)
            .into_iter()
            .filter(|mapping| mapping.ip == ip)
        {
            let port = mapping.accelerator_port;
            let addresses = desired::addresses(accelerator).into_iter();
            all.push(DestinationPortMapping {
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
            });
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
    let (destination_port_mappings, next_token) =
        page(&context.world.meta.page_key, &asked, (1..).zip(all))?;
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
