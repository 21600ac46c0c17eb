//! Endpoint groups of custom routing accelerators.

use crate::api::arn::GroupId;
use crate::api::context::Context;
use crate::api::errors::{ApiError, Exception};
use crate::api::operations::endpoint_groups::{check_place, delete_any, put};
use crate::api::paging::{Asked, page};
use crate::api::records::{CustomGroup, GroupBody, GroupRecord, Kind, Tags};
use crate::api::shapes::NoOutput;
use crate::api::shapes::custom_routing::*;

pub(crate) fn create(
    context: &mut Context<'_>,
    request: CreateCustomRoutingEndpointGroupRequest,
) -> Result<CreateCustomRoutingEndpointGroupResponse, ApiError> {
    let CreateCustomRoutingEndpointGroupRequest {
        listener_arn,
        endpoint_group_region,
        destination_configurations,
        idempotency_token: _,
    } = request;
    let (listener, _) = context.listener(&listener_arn, Kind::CustomRouting)?;
    context.may_change(&listener.accelerator)?;
    check_place(context, &listener, &endpoint_group_region)?;
    check_destinations(&destination_configurations)?;
    let body = CustomGroup {
        destinations: destination_configurations,
        subnets: Vec::new(),
    };
    let id = GroupId::random(listener);
    let record = GroupRecord {
        seq: context.world.next_seq(),
        region: endpoint_group_region,
        tags: Tags::new(),
        body: GroupBody::CustomRouting(body.clone()),
    };
    put(context, &id, &record);
    Ok(CreateCustomRoutingEndpointGroupResponse {
        endpoint_group: show(context, &id, &record, &body),
    })
}

pub(crate) fn describe(
    context: &mut Context<'_>,
    request: DescribeCustomRoutingEndpointGroupRequest,
) -> Result<DescribeCustomRoutingEndpointGroupResponse, ApiError> {
    let (id, record, body) = context.custom_group(&request.endpoint_group_arn)?;
    Ok(DescribeCustomRoutingEndpointGroupResponse {
        endpoint_group: show(context, &id, record, body),
    })
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListCustomRoutingEndpointGroupsRequest,
) -> Result<ListCustomRoutingEndpointGroupsResponse, ApiError> {
    let (listener, _) = context.listener(&request.listener_arn, Kind::CustomRouting)?;
    let list = format!("custom groups of {listener}");
    let asked = Asked {
        list: &list,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let groups = context
        .world
        .groups_of(&listener)
        .into_iter()
        .filter_map(|(id, record)| match &record.body {
            GroupBody::CustomRouting(body) => Some((record.seq, (id, record, body))),
            GroupBody::Standard(_) => None,
        });
    let (page, next_token) = page(&context.world.meta.page_key, &asked, groups)?;
    let endpoint_groups = page
        .into_iter()
        .map(|(id, record, body)| show(context, id, record, body))
        .collect();
    Ok(ListCustomRoutingEndpointGroupsResponse {
        endpoint_groups,
        next_token,
    })
}

pub(crate) fn delete(
    context: &mut Context<'_>,
    request: DeleteCustomRoutingEndpointGroupRequest,
) -> Result<NoOutput, ApiError> {
    let (id, _, _) = context.custom_group(&request.endpoint_group_arn)?;
    delete_any(context, &id)
}

fn check_destinations(
    destinations: &[CustomRoutingDestinationConfiguration],
) -> Result<(), ApiError> {
    for (index, one) in destinations.iter().enumerate() {
        let (from, to) = (one.from_port, one.to_port);
        if from > to {
            return Err(Exception::InvalidPortRange.because(format!(
                "Invalid port range PortRange(fromPort={from}, toPort={to})"
            )));
        }
        let meets = destinations[..index].iter().find(|other| {
            let ports = from <= other.to_port && other.from_port <= to;
            ports
                && one
                    .protocols
                    .iter()
                    .any(|protocol| other.protocols.contains(protocol))
        });
        if let Some(other) = meets {
            let message = format!(
                "Invalid port range PortRange(fromPort={from}, toPort={to}), which overlaps with port range \
                 PortRange(fromPort={}, toPort={}) of the same protocol",
                other.from_port, other.to_port
            );
            return Err(Exception::InvalidPortRange.because(message));
        }
    }
    Ok(())
}

fn show(
    context: &Context<'_>,
    id: &GroupId,
    record: &GroupRecord,
    body: &CustomGroup,
) -> CustomRoutingEndpointGroup {
    let destinations = body.destinations.iter();
    let subnets = body.subnets.iter();
    CustomRoutingEndpointGroup {
        endpoint_group_arn: context.arn(id),
        endpoint_group_region: record.region.clone(),
        destination_descriptions: destinations
            .map(|destination| CustomRoutingDestinationDescription {
                from_port: destination.from_port,
                to_port: destination.to_port,
                protocols: destination.protocols.clone(),
            })
            .collect(),
        endpoint_descriptions: subnets
            .map(|subnet| CustomRoutingEndpointDescription {
                endpoint_id: subnet.id.clone(),
            })
            .collect(),
    }
}
