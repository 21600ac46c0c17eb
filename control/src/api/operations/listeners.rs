//! Listeners of standard accelerators.

use crate::api::arn::{AcceleratorId, ListenerId};
use crate::api::context::{Context, exceeded};
use crate::api::errors::{ApiError, Exception, invalid};
use crate::api::paging::{Asked, page};
use crate::api::records::{Edit, GroupBody, Kind, ListenerRecord, Tags};
use crate::api::shapes::NoOutput;
use crate::api::shapes::listeners::*;

/// Listeners of one accelerator.
pub(crate) const MOST_LISTENERS: usize = 10;

/// Ports of a listener where every port is a socket a worker: on an edge that may not steer.
const MOST_SOCKET_PORTS: usize = 1000;

pub(crate) fn create(
    context: &mut Context<'_>,
    request: CreateListenerRequest,
) -> Result<CreateListenerResponse, ApiError> {
    let CreateListenerRequest {
        accelerator_arn,
        port_ranges,
        protocol,
        client_affinity,
        idempotency_token: _,
    } = request;
    let (accelerator, _) = context.accelerator(&accelerator_arn, Kind::Standard)?;
    context.may_change(&accelerator)?;
    check_room(context, &accelerator)?;
    let id = ListenerId::random(accelerator.clone());
    check_ports(context, &id, &port_ranges, Some(protocol))?;
    let record = ListenerRecord {
        seq: context.world.next_seq(),
        port_ranges,
        protocol: Some(protocol),
        client_affinity: client_affinity.unwrap_or(ClientAffinity::None),
        tags: Tags::new(),
    };
    put(context, &id, &record);
    Ok(CreateListenerResponse {
        listener: show(context, &id, &record),
    })
}

pub(crate) fn describe(
    context: &mut Context<'_>,
    request: DescribeListenerRequest,
) -> Result<DescribeListenerResponse, ApiError> {
    let (id, record) = context.listener(&request.listener_arn, Kind::Standard)?;
    Ok(DescribeListenerResponse {
        listener: show(context, &id, record),
    })
}

pub(crate) fn list(
    context: &mut Context<'_>,
    request: ListListenersRequest,
) -> Result<ListListenersResponse, ApiError> {
    let (accelerator, _) = context.accelerator(&request.accelerator_arn, Kind::Standard)?;
    let list = format!("listeners of {accelerator}");
    let asked = Asked {
        list: &list,
        max_results: request.max_results,
        next_token: request.next_token.as_deref(),
    };
    let listeners = context
        .world_of(&accelerator)
        .listeners_of(&accelerator)
        .into_iter();
    let (page, next_token) = page(&context.world.meta.page_key, &asked, numbered(listeners))?;
    let listeners = page
        .into_iter()
        .map(|(id, record)| show(context, id, record))
        .collect();
    Ok(ListListenersResponse {
        listeners,
        next_token,
    })
}

pub(crate) fn update(
    context: &mut Context<'_>,
    request: UpdateListenerRequest,
) -> Result<UpdateListenerResponse, ApiError> {
    let UpdateListenerRequest {
        listener_arn,
        port_ranges,
        protocol,
        client_affinity,
    } = request;
    let (id, record) = context.listener(&listener_arn, Kind::Standard)?;
    context.may_change(&id.accelerator)?;
    let mut record = record.clone();
    record.protocol = protocol.or(record.protocol);
    record.client_affinity = client_affinity.unwrap_or(record.client_affinity);
    record.port_ranges = port_ranges.unwrap_or(record.port_ranges);
    check_ports(context, &id, &record.port_ranges, record.protocol)?;
    check_overrides(context, &id, &record.port_ranges)?;
    put(context, &id, &record);
    Ok(UpdateListenerResponse {
        listener: show(context, &id, &record),
    })
}

pub(crate) fn delete(
    context: &mut Context<'_>,
    request: DeleteListenerRequest,
) -> Result<NoOutput, ApiError> {
    let (id, _) = context.listener(&request.listener_arn, Kind::Standard)?;
    delete_any(context, &id)
}

pub(crate) fn delete_any(context: &mut Context<'_>, id: &ListenerId) -> Result<NoOutput, ApiError> {
    context.may_change(&id.accelerator)?;
    if !context.world.groups_of(id).is_empty() {
        let message = "The listener that you specified has an endpoint group associated with it. \
            You must remove all dependent resources from a listener before you can delete it.";
        return Err(Exception::AssociatedEndpointGroupFound.because(message));
    }
    context.edit(Edit::Listener(id.clone(), None));
    context.touch(&id.accelerator);
    Ok(NoOutput {})
}

pub(crate) fn put(context: &mut Context<'_>, id: &ListenerId, record: &ListenerRecord) {
    context.edit(Edit::Listener(id.clone(), Some(record.clone())));
    context.touch(&id.accelerator);
}

pub(crate) fn check_room(
    context: &Context<'_>,
    accelerator: &AcceleratorId,
) -> Result<(), ApiError> {
    match context.world.listeners_of(accelerator).len() < MOST_LISTENERS {
        true => Ok(()),
        false => Err(exceeded(format!(
            "an accelerator has at most {MOST_LISTENERS} listeners"
        ))),
    }
}

/// With their numbers, for paging.
pub(crate) fn numbered<'a, I: 'a>(
    listeners: impl Iterator<Item = (&'a I, &'a ListenerRecord)>,
) -> impl Iterator<Item = (u64, (&'a I, &'a ListenerRecord))> {
    listeners.map(|(id, record)| (record.seq, (id, record)))
}

/// Ranges are ranges, apart from each other, and from those of the accelerator's other listeners of the same protocol.
fn check_ports(
    context: &Context<'_>,
    id: &ListenerId,
    ranges: &[PortRange],
    protocol: Option<Protocol>,
) -> Result<(), ApiError> {
    check_ranges(ranges)?;
    let ports: usize = ranges
        .iter()
        .map(|range| usize::from(range.to_port - range.from_port) + 1)
        .sum();
    if ports > MOST_SOCKET_PORTS && !context.edge.steers_ports() {
        return Err(Exception::InvalidPortRange.because(format!(
            "Invalid port range: {ports} ports are more than the {MOST_SOCKET_PORTS} that a listener of this edge can have \
             without CAP_NET_ADMIN and CAP_BPF"
        )));
    }
    let others = context
        .world
        .listeners_of(&id.accelerator)
        .into_iter()
        .filter(|(other, _)| *other != id);
    for (other, record) in others.filter(|(_, record)| record.protocol == protocol) {
        check_apart(context, ranges, other, &record.port_ranges)?;
    }
    Ok(())
}

pub(crate) fn check_apart(
    context: &Context<'_>,
    ranges: &[PortRange],
    other: &ListenerId,
    taken: &[PortRange],
) -> Result<(), ApiError> {
    for range in ranges {
        if let Some(meets) = taken.iter().find(|other| overlap(range, other)) {
            let taken_by = context.arn(other);
            let message = format!(
                "Invalid port range {}, which overlaps with port range {} taken by listener {taken_by}",
                spell(range),
                spell(meets)
            );
            return Err(Exception::InvalidPortRange.because(message));
        }
    }
    Ok(())
}

pub(crate) fn check_ranges(ranges: &[PortRange]) -> Result<(), ApiError> {
    for (index, range) in ranges.iter().enumerate() {
        if range.from_port > range.to_port {
            return Err(
                Exception::InvalidPortRange.because(format!("Invalid port range {}", spell(range)))
            );
        }
        if let Some(other) = ranges[..index].iter().find(|other| overlap(range, other)) {
            let message = format!(
                "Invalid port range {}, which overlaps with port range {}",
                spell(range),
                spell(other)
            );
            return Err(Exception::InvalidPortRange.because(message));
        }
    }
    Ok(())
}

/// Overrides of the listener's groups must still name its ports, and those of all groups none of them.
fn check_overrides(
    context: &Context<'_>,
    id: &ListenerId,
    ranges: &[PortRange],
) -> Result<(), ApiError> {
    let holds = |port: u16| {
        ranges
            .iter()
            .any(|range| (range.from_port..=range.to_port).contains(&port))
    };
    for (listener, _) in context.world.listeners_of(&id.accelerator) {
        for (group, record) in context.world.groups_of(listener) {
            let GroupBody::Standard(body) = &record.body else {
                continue;
            };
            for o in &body.port_overrides {
                if listener == id && !holds(o.listener_port) {
                    let group = context.arn(group);
                    return invalid(format!(
                        "{group} overrides port {}, which the listener would no longer have",
                        o.listener_port
                    ));
                }
                if holds(o.endpoint_port) {
                    let group = context.arn(group);
                    return invalid(format!(
                        "{group} overrides to port {}, which the listener would take",
                        o.endpoint_port
                    ));
                }
            }
        }
    }
    Ok(())
}

pub(crate) fn overlap(one: &PortRange, other: &PortRange) -> bool {
    one.from_port <= other.to_port && other.from_port <= one.to_port
}

/// As AWS's messages spell it.
fn spell(range: &PortRange) -> String {
    format!(
        "PortRange(fromPort={}, toPort={})",
        range.from_port, range.to_port
    )
}

fn show(context: &Context<'_>, id: &ListenerId, record: &ListenerRecord) -> Listener {
    Listener {
        listener_arn: context.arn(id),
        port_ranges: record.port_ranges.clone(),
        protocol: record.protocol.unwrap_or(Protocol::Tcp),
        client_affinity: record.client_affinity,
    }
}
