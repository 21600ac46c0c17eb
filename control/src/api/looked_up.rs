//! Endpoints that AWS gives their meaning: which of a request are to be asked about, and what the answers are worth. What some record
//! knows already is not asked for again: the refresher keeps it true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::arn::AcceleratorId;
use super::context::Context;
use super::endpoint_id::Meaning;
use super::errors::{ApiError, Exception, invalid};
use super::operations::Operation;
use super::records::{Edit, EndpointRecord, GroupBody, GroupRecord};
use super::world::World;
use crate::aws::picture::Resource;
use crate::aws::{Answers, Looked, Named};

/// Endpoints of one request; the model takes no more of them.
const MOST_ASKED: usize = 10;

/// What has to be asked for before an operation can be carried out.
pub(crate) fn of_request(context: &Context<'_>, input: &Value) -> BTreeSet<Named> {
    let region = || match input.get("EndpointGroupRegion") {
        Some(region) => region.as_str(),
        None => {
            let arn = input.get("EndpointGroupArn")?.as_str()?;
            let (_, record, _) = context.standard_group(arn).ok()?;
            Some(record.region.as_str())
        }
    };
    let given = input
        .get("EndpointConfigurations")
        .and_then(Value::as_array);
    let ids = given.into_iter().flatten();
    let ids = ids.filter_map(|configuration| configuration.get("EndpointId")?.as_str());
    let meaning = Meaning::of(&context.config);
    let Some(region) = region() else {
        return BTreeSet::new();
    };
    ids.take(MOST_ASKED)
        .filter_map(|id| meaning.to_ask(region, id))
        .filter(|named| named.elsewhere().is_none())
        .filter(|named| known(context.world, named).is_none())
        .collect()
}

/// Whether an operation names endpoints that may have to be asked for.
pub(crate) fn concerns(operation: Operation) -> bool {
    matches!(
        operation,
        Operation::CreateEndpointGroup | Operation::UpdateEndpointGroup | Operation::AddEndpoints
    )
}

/// What AWS says that an endpoint is; `None` when it has nothing to say about it.
pub(crate) fn resource(
    context: &Context<'_>,
    region: &str,
    id: &str,
) -> Result<Option<Resource>, ApiError> {
    let Some(named) = Meaning::of(&context.config).to_ask(region, id) else {
        return Ok(None);
    };
    if let Some(elsewhere) = named.elsewhere() {
        return invalid(format!(
            "'{id}' is not a valid load balancer ARN for an endpoint group in {region}: it is in {elsewhere}"
        ));
    }
    let remedy = format!("[[endpoint_alias]] id = \"{id}\" in the edge's file can say what it is");
    match (known(context.world, &named), context.answers.get(&named)) {
        (_, Some(Looked::Found(resource))) => Ok(Some(resource.clone())),
        (Some(resource), _) => Ok(Some(resource.clone())),
        (None, Some(Looked::Missing)) => invalid(format!(
            "'{id}' was not found in {region}: AWS has it not, or not for this edge's credentials; {remedy}"
        )),
        (None, Some(Looked::Failed(error))) if error.class().may_pass() => {
            Err(Exception::InternalServiceError
                .because(format!("AWS did not say what '{id}' is: {error}; {remedy}")))
        }
        (None, Some(Looked::Failed(error))) => invalid(format!(
            "AWS does not say what '{id}' is: {error}; {remedy}"
        )),
        // The file got its [aws] between the question and here.
        (None, None) => Ok(None),
    }
}

/// Everything that records name and AWS can be asked about.
pub(crate) fn of_records(world: &World, meaning: Meaning<'_>) -> BTreeSet<Named> {
    let named =
        endpoints(world).filter_map(|(region, endpoint)| meaning.to_ask(region, &endpoint.id));
    named.collect()
}

/// The groups whose endpoints are something else than their records say, by accelerator.
pub(crate) fn learnt(world: &World, answers: &Answers) -> BTreeMap<AcceleratorId, Vec<Edit>> {
    let mut changed: BTreeMap<AcceleratorId, Vec<Edit>> = BTreeMap::new();
    for (id, record) in &world.groups {
        let GroupBody::Standard(body) = &record.body else {
            continue;
        };
        let mut new = body.clone();
        for endpoint in &mut new.endpoints {
            let named = Named::of(&record.region, &endpoint.id);
            if let Some(Looked::Found(resource)) = named.and_then(|named| answers.get(&named)) {
                endpoint.found = Some(resource.clone());
            }
        }
        if new != *body {
            let record = GroupRecord {
                body: GroupBody::Standard(new),
                ..record.clone()
            };
            let edits = changed.entry(id.listener.accelerator.clone()).or_default();
            edits.push(Edit::Group(id.clone(), Some(record)));
        }
    }
    changed
}

fn known<'a>(world: &'a World, named: &Named) -> Option<&'a Resource> {
    endpoints(world)
        .find(|(region, endpoint)| {
            *region == named.region && endpoint.id == named.id && endpoint.found.is_some()
        })
        .and_then(|(_, endpoint)| endpoint.found.as_ref())
}

fn endpoints(world: &World) -> impl Iterator<Item = (&str, &EndpointRecord)> {
    world.groups.values().flat_map(|group| {
        let endpoints = match &group.body {
            GroupBody::Standard(body) => body.endpoints.as_slice(),
            GroupBody::CustomRouting(_) => &[],
        };
        endpoints
            .iter()
            .map(|endpoint| (group.region.as_str(), endpoint))
    })
}
