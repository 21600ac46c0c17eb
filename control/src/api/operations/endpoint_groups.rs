//! Endpoint groups of standard accelerators.

use crate::api::arn::{GroupId, ListenerId};
use crate::api::context::{Context, exceeded, plain};
use crate::api::desired;
use crate::api::errors::{ApiError, Exception, invalid};
use crate::api::health;
use crate::api::operations::endpoints;
use crate::api::paging::{Asked, page};
use crate::api::records::{
    Edit, GroupBody, GroupRecord, Kind, ListenerRecord, StandardGroup, Tags,
};
use crate::api::shapes::NoOutput;
use crate::api::shapes::endpoint_groups::*;

/// Groups of all listeners of one accelerator.
pub(crate) const MOST_GROUPS: usize = 42;

/// The only intervals that the service knows, in seconds.
const INTERVALS: [u16; 2] = [10, 30];

/// The longest name of a region.
const LONGEST_REGION: usize = 64;

pub(crate) fn create(
    context: &mut Context<'_>,
    request: CreateEndpointGroupRequest,
) -> Result<CreateEndpointGroupResponse, ApiError> {
    let (listener_id, listener) = context.listener(&request.listener_arn, Kind::Standard)?;
    context.may_change(&listener_id.accelerator)?;
    check_place(context, &listener_id, &request.endpoint_group_region)?;
    let empty = StandardGroup {
        traffic_dial: 100.0,
        health_check_port: None,
        health_check_protocol: HealthCheckProtocol::Tcp,
        health_check_path: None,
        health_check_interval: 30,
        threshold: 3,
        port_overrides: Vec::new(),
        endpoints: Vec::new(),
    };
    let wanted = Wanted {
        endpoints: request.endpoint_configurations,
        traffic_dial: request.traffic_dial_percentage,
        port: request.health_check_port,
        protocol: request.health_check_protocol,
        path: request.health_check_path,
        interval: request.health_check_interval_seconds,
        threshold: request.threshold_count,
        overrides: request.port_overrides,
    };
    let id = GroupId::random(listener_id.clone());
    let region = &request.endpoint_group_region;
    let body = change(context, (&id, region), listener, empty, wanted)?;
    let record = GroupRecord {
        seq: context.world.next_seq(),
        region: request.endpoint_group_region,
        tags: Tags::new(),
        body: GroupBody::Standard(body.clone()),
    };
    put(context, &id, &record);
    Ok(CreateEndpointGroupResponse {
        endpoint_group: show(context, &id, &record, &body),
    })
}

pub(crate) fn describe(
    context: &mut Context<'_>,
    request: DescribeEndpointGroupRequest,
) -> Result<DescribeEndpointGroupResponse, ApiError> {
    let (id, record, body) = context.standard_group(&request.endpoint_group_arn)?;
    Ok(DescribeEndpointGroupResponse {
        endpoint_group: show(context, &id, record, body),
    })
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListEndpointGroupsRequest,
) -> Result<ListEndpointGroupsResponse, ApiError> {
    let (listener, _) = context.listener(&request.listener_arn, Kind::Standard)?;
    let list = format!("groups of {listener}");
    let asked = Asked {
        list: &list,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let groups = context
        .world_of(&listener.accelerator)
        .groups_of(&listener)
        .into_iter();
    let groups = groups.filter_map(|(id, record)| match &record.body {
        GroupBody::Standard(body) => Some((record.seq, (id, record, body))),
        GroupBody::CustomRouting(_) => None,
    });
    let (page, next_token) = page(&context.world.meta.page_key, &asked, groups)?;
    let endpoint_groups = page
        .into_iter()
        .map(|(id, record, body)| show(context, id, record, body))
        .collect();
    Ok(ListEndpointGroupsResponse {
        endpoint_groups,
        next_token,
    })
}

pub(crate) fn update(
    context: &mut Context<'_>,
    request: UpdateEndpointGroupRequest,
) -> Result<UpdateEndpointGroupResponse, ApiError> {
    let (id, record, body) = context.standard_group(&request.endpoint_group_arn)?;
    context.may_change(&id.listener.accelerator)?;
    let listener = listener_of(context, &id)?;
    let wanted = Wanted {
        endpoints: request.endpoint_configurations,
        traffic_dial: request.traffic_dial_percentage,
        port: request.health_check_port,
        protocol: request.health_check_protocol,
        path: request.health_check_path,
        interval: request.health_check_interval_seconds,
        threshold: request.threshold_count,
        overrides: request.port_overrides,
    };
    let place = (&id, record.region.as_str());
    let body = change(context, place, listener, body.clone(), wanted)?;
    let record = GroupRecord {
        body: GroupBody::Standard(body.clone()),
        ..record.clone()
    };
    put(context, &id, &record);
    Ok(UpdateEndpointGroupResponse {
        endpoint_group: show(context, &id, &record, &body),
    })
}

pub(crate) fn delete(
    context: &mut Context<'_>,
    request: DeleteEndpointGroupRequest,
) -> Result<NoOutput, ApiError> {
    let (id, _, _) = context.standard_group(&request.endpoint_group_arn)?;
    delete_any(context, &id)
}

pub(crate) fn delete_any(context: &mut Context<'_>, id: &GroupId) -> Result<NoOutput, ApiError> {
    context.may_change(&id.listener.accelerator)?;
    context.edit(Edit::Group(id.clone(), None));
    context.touch(&id.listener.accelerator);
    Ok(NoOutput {})
}

pub(crate) fn put(context: &mut Context<'_>, id: &GroupId, record: &GroupRecord) {
    context.edit(Edit::Group(id.clone(), Some(record.clone())));
    context.touch(&id.listener.accelerator);
}

/// Whether a group of that region may come below the listener.
pub(crate) fn check_place(
    context: &Context<'_>,
    listener: &ListenerId,
    region: &str,
) -> Result<(), ApiError> {
    let plain_byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !(1..=LONGEST_REGION).contains(&region.len()) || !region.bytes().all(plain_byte) {
        return invalid(format!("'{}' is not the name of a Region", plain(region)));
    }
    let groups = context.world.groups_of(listener);
    if let Some((other, _)) = groups.iter().find(|(_, record)| record.region == region) {
        let other = context.arn(other);
        let message = format!(
            "The listener that you specified already has an endpoint group in {region}: {other}"
        );
        return Err(Exception::EndpointGroupAlreadyExists.because(message));
    }
    match context.world.count_groups(&listener.accelerator) < MOST_GROUPS {
        true => Ok(()),
        false => Err(exceeded(format!(
            "an accelerator has at most {MOST_GROUPS} endpoint groups"
        ))),
    }
}

/// What is to change; `None` stays.
struct Wanted {
    endpoints: Option<Vec<EndpointConfiguration>>,
    traffic_dial: Option<f64>,
    port: Option<u16>,
    protocol: Option<HealthCheckProtocol>,
    path: Option<String>,
    interval: Option<u16>,
    threshold: Option<u8>,
    overrides: Option<Vec<PortOverride>>,
}

fn change(
    context: &Context<'_>,
    (id, region): (&GroupId, &str),
    listener: &ListenerRecord,
    old: StandardGroup,
    wanted: Wanted,
) -> Result<StandardGroup, ApiError> {
    let Wanted {
        endpoints: configurations,
        traffic_dial,
        port,
        protocol,
        path,
        interval,
        threshold,
        overrides,
    } = wanted;
    let mut new = old;
    new.traffic_dial = traffic_dial.unwrap_or(new.traffic_dial);
    new.health_check_port = port.or(new.health_check_port);
    new.health_check_protocol = protocol.unwrap_or(new.health_check_protocol);
    new.health_check_path = match new.health_check_protocol {
        HealthCheckProtocol::Tcp => None,
        HealthCheckProtocol::Http | HealthCheckProtocol::Https => path
            .or(new.health_check_path)
            .or_else(|| Some("/".to_owned())),
    };
    if let Some(interval) = interval {
        if !INTERVALS.contains(&interval) {
            return invalid(format!(
                "HealthCheckIntervalSeconds must be 10 or 30, not {interval}"
            ));
        }
        new.health_check_interval = interval;
    }
    new.threshold = threshold.unwrap_or(new.threshold);
    if let Some(overrides) = overrides {
        check_overrides(context, id, listener, &overrides)?;
        new.port_overrides = overrides;
    }
    if let Some(configurations) = configurations {
        let group = endpoints::Group {
            id,
            region,
            body: &new,
        };
        new.endpoints = endpoints::read(context, &group, &[], &configurations)?;
    }
    Ok(new)
}

/// The developer guide's rules: a port of the listener, once, to a port that no listener of the accelerator has.
fn check_overrides(
    context: &Context<'_>,
    id: &GroupId,
    listener: &ListenerRecord,
    overrides: &[PortOverride],
) -> Result<(), ApiError> {
    let siblings = context.world.listeners_of(&id.listener.accelerator);
    for (
        index,
        PortOverride {
            listener_port,
            endpoint_port,
        },
    ) in overrides.iter().enumerate()
    {
        let holds = |record: &ListenerRecord, port: &u16| {
            record
                .port_ranges
                .iter()
                .any(|range| (range.from_port..=range.to_port).contains(port))
        };
        if !holds(listener, listener_port) {
            return invalid(format!(
                "The port override's listener port {listener_port} is not a port of the listener"
            ));
        }
        if siblings
            .iter()
            .any(|(_, record)| holds(record, endpoint_port))
        {
            return invalid(format!(
                "The port override's endpoint port {endpoint_port} is a port of a listener of the accelerator"
            ));
        }
        let before = &overrides[..index];
        if before.iter().any(|o| o.listener_port == *listener_port) {
            return invalid(format!(
                "The listener port {listener_port} is overridden twice"
            ));
        }
        if before.iter().any(|o| o.endpoint_port == *endpoint_port) {
            return invalid(format!(
                "The endpoint port {endpoint_port} is used by two port overrides"
            ));
        }
    }
    Ok(())
}

/// The record of a group's listener.
pub(crate) fn listener_of<'a>(
    context: &Context<'a>,
    id: &GroupId,
) -> Result<&'a ListenerRecord, ApiError> {
    let found = context
        .world_of(&id.listener.accelerator)
        .listeners
        .get(&id.listener);
    found.ok_or_else(|| {
        Exception::InternalServiceError.because("the listener of the endpoint group is missing")
    })
}

fn show(
    context: &Context<'_>,
    id: &GroupId,
    record: &GroupRecord,
    body: &StandardGroup,
) -> EndpointGroup {
    let listener = context
        .world_of(&id.listener.accelerator)
        .listeners
        .get(&id.listener);
    EndpointGroup {
        endpoint_group_arn: context.arn(id),
        endpoint_group_region: record.region.clone(),
        endpoint_descriptions: health::describe(context, id, &record.region, &body.endpoints),
        traffic_dial_percentage: body.traffic_dial,
        health_check_port: body
            .health_check_port
            .or_else(|| listener.map(desired::first_port))
            .unwrap_or(1),
        health_check_protocol: body.health_check_protocol,
        health_check_path: body.health_check_path.clone(),
        health_check_interval_seconds: body.health_check_interval,
        threshold_count: body.threshold,
        port_overrides: body.port_overrides.clone(),
    }
}
