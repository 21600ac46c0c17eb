//! Custom routing accelerators and their listeners. What both kinds share is done by the functions for standard ones.

use crate::api::arn::{AcceleratorId, ListenerId};
use crate::api::context::Context;
use crate::api::errors::{ApiError, Exception};
use crate::api::operations::accelerators::{self, New, dns_name, ip_sets, status};
use crate::api::operations::listeners::{self, check_apart, check_ranges, check_room, numbered};
use crate::api::paging::{Asked, page};
use crate::api::records::{AcceleratorRecord, GroupBody, Kind, ListenerRecord, Tags};
use crate::api::shapes::NoOutput;
use crate::api::shapes::custom_routing::*;
use crate::api::shapes::listeners::{ClientAffinity, PortRange};

/// Ports of the smallest range.
const FEWEST_PORTS: u16 = 16;

pub(crate) fn create(
    context: &mut Context<'_>,
    request: CreateCustomRoutingAcceleratorRequest,
) -> Result<CreateCustomRoutingAcceleratorResponse, ApiError> {
    let CreateCustomRoutingAcceleratorRequest {
        name,
        ip_address_type,
        ip_addresses,
        enabled,
        idempotency_token: _,
        tags,
    } = request;
    let new = New {
        kind: Kind::CustomRouting,
        name,
        ip_address_type,
        ip_addresses,
        enabled,
        tags,
    };
    let (id, record) = accelerators::create_any(context, new)?;
    Ok(CreateCustomRoutingAcceleratorResponse {
        accelerator: show(context, &id, &record),
    })
}

pub(crate) fn describe(
    context: &mut Context<'_>,
    request: DescribeCustomRoutingAcceleratorRequest,
) -> Result<DescribeCustomRoutingAcceleratorResponse, ApiError> {
    let (id, record) = context.accelerator(&request.accelerator_arn, Kind::CustomRouting)?;
    Ok(DescribeCustomRoutingAcceleratorResponse {
        accelerator: show(context, &id, record),
    })
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListCustomRoutingAcceleratorsRequest,
) -> Result<ListCustomRoutingAcceleratorsResponse, ApiError> {
    let asked = Asked {
        list: "custom accelerators",
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let all = accelerators::all(context, Kind::CustomRouting);
    let (page, next_token) = page(&context.world.meta.page_key, &asked, all)?;
    let accelerators = page
        .into_iter()
        .map(|(id, record)| show(context, id, record))
        .collect();
    Ok(ListCustomRoutingAcceleratorsResponse {
        accelerators,
        next_token,
    })
}

pub(crate) fn update(
    context: &mut Context<'_>,
    request: UpdateCustomRoutingAcceleratorRequest,
) -> Result<UpdateCustomRoutingAcceleratorResponse, ApiError> {
    let UpdateCustomRoutingAcceleratorRequest {
        accelerator_arn,
        name,
        ip_address_type,
        ip_addresses,
        enabled,
    } = request;
    let (id, record) = context.accelerator(&accelerator_arn, Kind::CustomRouting)?;
    let record = accelerators::update_any(
        context,
        &id,
        record,
        (name, ip_address_type, ip_addresses, enabled),
    )?;
    Ok(UpdateCustomRoutingAcceleratorResponse {
        accelerator: show(context, &id, &record),
    })
}

pub(crate) fn delete(
    context: &mut Context<'_>,
    request: DeleteCustomRoutingAcceleratorRequest,
) -> Result<NoOutput, ApiError> {
    let (id, record) = context.accelerator(&request.accelerator_arn, Kind::CustomRouting)?;
    accelerators::delete_any(context, &id, record)
}

pub(crate) fn describe_attributes(
    context: &mut Context<'_>,
    request: DescribeCustomRoutingAcceleratorAttributesRequest,
) -> Result<DescribeCustomRoutingAcceleratorAttributesResponse, ApiError> {
    let (_, record) = context.accelerator(&request.accelerator_arn, Kind::CustomRouting)?;
    Ok(DescribeCustomRoutingAcceleratorAttributesResponse {
        accelerator_attributes: record.attributes.clone(),
    })
}

pub(crate) fn update_attributes(
    context: &mut Context<'_>,
    request: UpdateCustomRoutingAcceleratorAttributesRequest,
) -> Result<UpdateCustomRoutingAcceleratorAttributesResponse, ApiError> {
    let UpdateCustomRoutingAcceleratorAttributesRequest {
        accelerator_arn,
        flow_logs_enabled,
        flow_logs_s3_bucket,
        flow_logs_s3_prefix,
    } = request;
    let (id, record) = context.accelerator(&accelerator_arn, Kind::CustomRouting)?;
    let wanted = (flow_logs_enabled, flow_logs_s3_bucket, flow_logs_s3_prefix);
    let accelerator_attributes =
        accelerators::update_attributes_of_any(context, &id, record, wanted)?;
    Ok(UpdateCustomRoutingAcceleratorAttributesResponse {
        accelerator_attributes,
    })
}

pub(crate) fn create_listener(
    context: &mut Context<'_>,
    request: CreateCustomRoutingListenerRequest,
) -> Result<CreateCustomRoutingListenerResponse, ApiError> {
    let CreateCustomRoutingListenerRequest {
        accelerator_arn,
        port_ranges,
        idempotency_token: _,
    } = request;
    let (accelerator, _) = context.accelerator(&accelerator_arn, Kind::CustomRouting)?;
    context.may_change(&accelerator)?;
    check_room(context, &accelerator)?;
    let id = ListenerId::random(accelerator.clone());
    check_ports(context, &id, &port_ranges)?;
    let record = ListenerRecord {
        seq: context.world.next_seq(),
        port_ranges,
        protocol: None,
        client_affinity: ClientAffinity::None,
        tags: Tags::new(),
    };
    listeners::put(context, &id, &record);
    Ok(CreateCustomRoutingListenerResponse {
        listener: show_listener(context, &id, &record),
    })
}

pub(crate) fn describe_listener(
    context: &mut Context<'_>,
    request: DescribeCustomRoutingListenerRequest,
) -> Result<DescribeCustomRoutingListenerResponse, ApiError> {
    let (id, record) = context.listener(&request.listener_arn, Kind::CustomRouting)?;
    Ok(DescribeCustomRoutingListenerResponse {
        listener: show_listener(context, &id, record),
    })
}

pub(crate) fn list_listeners(
    context: &mut Context<'_>,
    request: ListCustomRoutingListenersRequest,
) -> Result<ListCustomRoutingListenersResponse, ApiError> {
    let (accelerator, _) = context.accelerator(&request.accelerator_arn, Kind::CustomRouting)?;
    let list = format!("custom listeners of {accelerator}");
    let asked = Asked {
        list: &list,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let all = context
        .world_of(&accelerator)
        .listeners_of(&accelerator)
        .into_iter();
    let (page, next_token) = page(&context.world.meta.page_key, &asked, numbered(all))?;
    let listeners = page
        .into_iter()
        .map(|(id, record)| show_listener(context, id, record))
        .collect();
    Ok(ListCustomRoutingListenersResponse {
        listeners,
        next_token,
    })
}

/// Ranges may be added and may grow; every port that there was stays.
pub(crate) fn update_listener(
    context: &mut Context<'_>,
    request: UpdateCustomRoutingListenerRequest,
) -> Result<UpdateCustomRoutingListenerResponse, ApiError> {
    let UpdateCustomRoutingListenerRequest {
        listener_arn,
        port_ranges,
    } = request;
    let (id, record) = context.listener(&listener_arn, Kind::CustomRouting)?;
    context.may_change(&id.accelerator)?;
    check_ports(context, &id, &port_ranges)?;
    let holds = |port: u16| {
        port_ranges
            .iter()
            .any(|range| (range.from_port..=range.to_port).contains(&port))
    };
    for (_, group) in context.world.groups_of(&id) {
        let GroupBody::CustomRouting(body) = &group.body else {
            continue;
        };
        let in_use = body.subnets.iter().flat_map(|subnet| &subnet.ports);
        if let Some(port) = in_use
            .flat_map(|range| range.from_port..=range.to_port)
            .find(|port| !holds(*port))
        {
            let message = format!(
                "Invalid port range: port {port} is in use by a subnet and can't be removed"
            );
            return Err(Exception::InvalidPortRange.because(message));
        }
    }
    let old = record
        .port_ranges
        .iter()
        .flat_map(|range| range.from_port..=range.to_port);
    if let Some(port) = old.into_iter().find(|port| !holds(*port)) {
        let message =
            format!("Invalid port range: port {port} would be removed, and ranges can only grow");
        return Err(Exception::InvalidPortRange.because(message));
    }
    let record = ListenerRecord {
        port_ranges,
        ..record.clone()
    };
    listeners::put(context, &id, &record);
    Ok(UpdateCustomRoutingListenerResponse {
        listener: show_listener(context, &id, &record),
    })
}

pub(crate) fn delete_listener(
    context: &mut Context<'_>,
    request: DeleteCustomRoutingListenerRequest,
) -> Result<NoOutput, ApiError> {
    let (id, _) = context.listener(&request.listener_arn, Kind::CustomRouting)?;
    listeners::delete_any(context, &id)
}

fn check_ports(
    context: &Context<'_>,
    id: &ListenerId,
    ranges: &[PortRange],
) -> Result<(), ApiError> {
    check_ranges(ranges)?;
    if let Some(range) = ranges
        .iter()
        .find(|range| range.to_port - range.from_port + 1 < FEWEST_PORTS)
    {
        let (from, to) = (range.from_port, range.to_port);
        let message =
            format!("Invalid port range: {from}-{to} has fewer than {FEWEST_PORTS} ports");
        return Err(Exception::InvalidPortRange.because(message));
    }
    let others = context
        .world
        .listeners_of(&id.accelerator)
        .into_iter()
        .filter(|(other, _)| *other != id);
    for (other, record) in others {
        check_apart(context, ranges, other, &record.port_ranges)?;
    }
    Ok(())
}

fn show(
    context: &Context<'_>,
    id: &AcceleratorId,
    record: &AcceleratorRecord,
) -> CustomRoutingAccelerator {
    CustomRoutingAccelerator {
        accelerator_arn: context.arn(id),
        name: record.name.clone(),
        ip_address_type: record.ip_address_type,
        enabled: record.enabled,
        ip_sets: ip_sets(record),
        dns_name: dns_name(record),
        status: status(context, id),
        created_time: record.created,
        last_modified_time: record.modified,
    }
}

fn show_listener(
    context: &Context<'_>,
    id: &ListenerId,
    record: &ListenerRecord,
) -> CustomRoutingListener {
    CustomRoutingListener {
        listener_arn: context.arn(id),
        port_ranges: record.port_ranges.clone(),
    }
}
