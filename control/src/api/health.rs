//! The edge's health view in the API's words.

use portolan_config::health::HealthState as Known;
use portolan_config::units::AcceleratorName;

use super::arn::GroupId;
use super::context::Context;
use super::desired;
use super::edge::Place;
use super::endpoint_id::Meaning;
use super::records::EndpointRecord;
use super::shapes::endpoint_groups::{EndpointDescription, HealthState};
use crate::handle::EndpointHealth;

/// The longest reason: every text of the model ends there.
const LONGEST_REASON: usize = 255;

/// The endpoints of a group with their health.
pub(crate) fn describe(
    context: &Context<'_>,
    group: &GroupId,
    region: &str,
    endpoints: &[EndpointRecord],
) -> Vec<EndpointDescription> {
    let accelerator = &group.listener.accelerator;
    let world = context.world_of(accelerator);
    let place = world.listeners.get(&group.listener).and_then(|listener| {
        let record = context.accelerator_record(accelerator)?;
        Some(Place {
            source: record.source,
            accelerator: AcceleratorName::new(record.served_as.as_str()),
            protocol: desired::protocol(listener),
            ports: desired::ports(listener)?,
            region: region.to_owned(),
        })
    });
    let known = place
        .filter(|_| !endpoints.is_empty())
        .map(|place| context.edge.health(&place))
        .unwrap_or_default();
    let is_ours = context.world.accelerators.contains_key(accelerator);
    let describe = |endpoint: &EndpointRecord| {
        let unresolved = || {
            Meaning::of(&context.config)
                .endpoint(&endpoint.id, endpoint.found.as_ref())
                .err()
                .filter(|_| is_ours)
        };
        let (health_state, health_reason) = match known.get(&desired::served_id(endpoint)) {
            Some(health) => translate(health),
            None => match unresolved() {
                Some(why) => (HealthState::Unhealthy, Some(why)),
                None => (HealthState::Initial, None),
            },
        };
        EndpointDescription {
            endpoint_id: endpoint.id.clone(),
            weight: endpoint.weight,
            health_state,
            health_reason: health_reason
                .map(|reason| reason.chars().take(LONGEST_REASON).collect()),
            client_ip_preservation_enabled: endpoint.client_ip_preservation,
        }
    };
    endpoints.iter().map(describe).collect()
}

fn translate(health: &EndpointHealth) -> (HealthState, Option<String>) {
    let state = match health.state {
        Known::Unknown => HealthState::Initial,
        Known::Up => HealthState::Healthy,
        Known::Down => HealthState::Unhealthy,
    };
    (state, health.reason.clone())
}
