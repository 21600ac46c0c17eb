//! Endpoints of standard groups, one by one.

use std::net::IpAddr;

use portolan_config::address::Host;

use crate::api::arn::GroupId;
use crate::api::attaching;
use crate::api::context::{Context, exceeded};
use crate::api::desired;
use crate::api::endpoint_id::Meaning;
use crate::api::errors::{ApiError, invalid};
use crate::api::health;
use crate::api::looked_up;
use crate::api::operations::endpoint_groups::put;
use crate::api::records::{EndpointRecord, GroupBody, GroupRecord, StandardGroup};
use crate::api::shapes::NoOutput;
use crate::api::shapes::endpoint_groups::*;
use crate::aws::picture::Resource;

/// Endpoints of one group.
const MOST_ENDPOINTS: usize = 10;

const DEFAULT_WEIGHT: u8 = 128;

pub(crate) fn add(
    context: &mut Context<'_>,
    request: AddEndpointsRequest,
) -> Result<AddEndpointsResponse, ApiError> {
    let AddEndpointsRequest {
        endpoint_configurations,
        endpoint_group_arn,
    } = request;
    let (id, record, body) = context.standard_group(&endpoint_group_arn)?;
    context.may_change(&id.listener.accelerator)?;
    let group = Group {
        id: &id,
        region: &record.region,
        body,
    };
    let endpoints = read(context, &group, &body.endpoints, &endpoint_configurations)?;
    let added = endpoints[body.endpoints.len()..].to_vec();
    replace(context, &id, record, body, endpoints);
    let endpoint_descriptions = health::describe(context, &id, &record.region, &added);
    Ok(AddEndpointsResponse {
        endpoint_descriptions,
        endpoint_group_arn: context.arn(&id),
    })
}

pub(crate) fn remove(
    context: &mut Context<'_>,
    request: RemoveEndpointsRequest,
) -> Result<NoOutput, ApiError> {
    let RemoveEndpointsRequest {
        endpoint_identifiers,
        endpoint_group_arn,
    } = request;
    let (id, record, body) = context.standard_group(&endpoint_group_arn)?;
    context.may_change(&id.listener.accelerator)?;
    let mut endpoints = body.endpoints.clone();
    for EndpointIdentifier {
        endpoint_id,
        client_ip_preservation_enabled,
    } in &endpoint_identifiers
    {
        let is_meant = |endpoint: &EndpointRecord| {
            let same_setting = client_ip_preservation_enabled
                .is_none_or(|wanted| wanted == endpoint.client_ip_preservation);
            endpoint.id == *endpoint_id && same_setting
        };
        if !endpoints.iter().any(is_meant) {
            return invalid(format!(
                "The endpoint '{endpoint_id}' is not in the endpoint group"
            ));
        }
        endpoints.retain(|endpoint| !is_meant(endpoint));
    }
    replace(context, &id, record, body, endpoints);
    Ok(NoOutput {})
}

fn replace(
    context: &mut Context<'_>,
    id: &GroupId,
    record: &GroupRecord,
    body: &StandardGroup,
    endpoints: Vec<EndpointRecord>,
) {
    let body = StandardGroup {
        endpoints,
        ..body.clone()
    };
    put(
        context,
        id,
        &GroupRecord {
            body: GroupBody::Standard(body),
            ..record.clone()
        },
    );
}

/// Where endpoints are to come.
pub(crate) struct Group<'a> {
    pub(crate) id: &'a GroupId,
    pub(crate) region: &'a str,
    pub(crate) body: &'a StandardGroup,
}

/// Endpoints as they are asked for, behind those that stay.
pub(crate) fn read(
    context: &Context<'_>,
    group: &Group<'_>,
    stay: &[EndpointRecord],
    given: &[EndpointConfiguration],
) -> Result<Vec<EndpointRecord>, ApiError> {
    let accelerator = &group.id.listener.accelerator;
    let meaning = Meaning::of(&context.config);
    let mut endpoints = stay.to_vec();
    for configuration in given {
        let EndpointConfiguration {
            endpoint_id,
            weight,
            client_ip_preservation_enabled,
            attachment_arn,
        } = configuration;
        let endpoint = EndpointRecord {
            id: endpoint_id.clone(),
            weight: weight.unwrap_or(DEFAULT_WEIGHT),
            client_ip_preservation: client_ip_preservation_enabled.unwrap_or(false),
            attachment: attachment_arn.clone(),
            found: looked_up::resource(context, group.region, endpoint_id)?,
        };
        let same = |other: &EndpointRecord| {
            other.id == endpoint.id
                && other.client_ip_preservation == endpoint.client_ip_preservation
        };
        if endpoints.iter().any(same) {
            return invalid(format!(
                "The endpoint '{endpoint_id}' is in the endpoint group twice"
            ));
        }
        match meaning.endpoint(endpoint_id, endpoint.found.as_ref()) {
            Ok((host, port)) => check_no_loop(context, group, &host, port)?,
            // It may start, or get an address, tomorrow; until then it is shown as unhealthy, and why.
            Err(_) if matches!(endpoint.found, Some(Resource::Instance(_))) => {}
            Err(why) => return invalid(why),
        }
        if let Some(arn) = attachment_arn {
            attaching::check(context, arn, accelerator, endpoint_id)?;
        }
        endpoints.push(endpoint);
    }
    match endpoints.len() <= MOST_ENDPOINTS {
        true => Ok(endpoints),
        false => Err(exceeded(format!(
            "an endpoint group has at most {MOST_ENDPOINTS} endpoints"
        ))),
    }
}

/// An accelerator that is its own endpoint would connect to itself until nothing is left.
fn check_no_loop(
    context: &Context<'_>,
    group: &Group<'_>,
    host: &Host,
    port: Option<u16>,
) -> Result<(), ApiError> {
    let Host::Ip(ip) = host else { return Ok(()) };
    let accelerator = &group.id.listener.accelerator;
    let Some(record) = context.world.accelerators.get(accelerator) else {
        return Ok(());
    };
    let own: Vec<IpAddr> = desired::addresses(record);
    if !own.contains(ip) {
        return Ok(());
    }
    let listeners = context.world.listeners_of(accelerator);
    let ranges = listeners.iter().flat_map(|(_, record)| &record.port_ranges);
    // Without a port of its own it is the listener's, unless every one of those is overridden.
    let meets = port.is_none_or(|port| {
        ranges
            .clone()
            .any(|range| (range.from_port..=range.to_port).contains(&port))
    });
    let overridden = port.is_none() && !group.body.port_overrides.is_empty();
    match meets && !overridden {
        true => invalid(format!("The endpoint {ip} is the accelerator itself")),
        false => Ok(()),
    }
}
