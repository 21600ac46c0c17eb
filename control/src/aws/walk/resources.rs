//! What the endpoints are: load balancers by the account and region in their ARN, instances and Elastic IPs by the region of their
//! group. Each is asked for where it is known to be.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use futures_util::stream;

use portolan_config::model::EndpointAlias;

use super::{AT_ONCE, Gathered};
use crate::aws::asking::{Asking, Listed};
use crate::aws::elb::Place;
use crate::aws::picture::{Picture, Resource, resource_key};
use crate::aws::session::{Account, CallError};
use crate::aws::{ec2, elb};

/// What is asked for at one place.
#[derive(Default)]
struct Wanted {
    balancers: BTreeMap<Place, Vec<String>>,
    instances: BTreeMap<String, Vec<String>>,
    elastic_ips: BTreeMap<String, Vec<String>>,
}

/// What one question came to.
struct Answered {
    read: Vec<(String, Option<Resource>)>,
    errors: Vec<CallError>,
}

pub(super) async fn resources(
    asking: &Asking,
    own: &str,
    (before, aliases): (&Picture, &[EndpointAlias]),
    gathered: &mut Gathered,
) {
    let ids = named(before, aliases, gathered);
    let (read, errors) = look_up(asking, own, ids).await;
    gathered.reading.resources.extend(read);
    gathered.reading.unanswered += errors.len();
    gathered.errors.extend(errors);
}

/// What these are, each an id in the region of its group, by [`resource_key`]; `None` is known not to be there, and what is not in it
/// could not be read.
pub(in crate::aws) async fn look_up(
    asking: &Asking,
    own: &str,
    ids: BTreeSet<(String, String)>,
) -> (BTreeMap<String, Option<Resource>>, Vec<CallError>) {
    let wanted = sorted(ids);
    let balancers = wanted.balancers.into_iter().map(|(place, arns)| {
        let account = if place.account == own {
            Account::Own
        } else {
            Account::Other(place.account.as_str().into())
        };
        Question::Balancers(account, place.region, arns)
    });
    let instances = wanted
        .instances
        .into_iter()
        .map(|(region, ids)| Question::Instances(region, ids));
    let elastic_ips = wanted
        .elastic_ips
        .into_iter()
        .map(|(region, ids)| Question::ElasticIps(region, ids));
    let questions: Vec<Question> = balancers.chain(instances).chain(elastic_ips).collect();
    let answers = stream::iter(questions).map(|question| ask(asking.clone(), question));
    let answers: Vec<Answered> = answers.buffer_unordered(AT_ONCE).collect().await;
    let (mut read, mut errors) = (BTreeMap::new(), Vec::new());
    for answered in answers {
        read.extend(answered.read);
        errors.extend(answered.errors);
    }
    (read, errors)
}

/// Everything that the reading names, and what the picture before names and the reading may have missed.
fn named(
    before: &Picture,
    aliases: &[EndpointAlias],
    gathered: &Gathered,
) -> BTreeSet<(String, String)> {
    let reading = &gathered.reading;
    let mut ids: BTreeSet<(String, String)> = BTreeSet::new();
    for accelerator in reading.accelerators.seen.values() {
        for listener in accelerator.listeners.seen.values() {
            for group in listener.groups.seen.values() {
                ids.extend(
                    group
                        .endpoints
                        .values()
                        .map(|endpoint| (group.region.clone(), endpoint.id.clone())),
                );
            }
        }
    }
    for accelerator in before.accelerators.values() {
        for listener in accelerator.listeners.values() {
            for group in listener.groups.values() {
                ids.extend(
                    group
                        .endpoints
                        .values()
                        .map(|endpoint| (group.region.clone(), endpoint.id.clone())),
                );
            }
        }
    }
    ids.retain(|(region, id)| {
        let is_known = aliases.iter().any(|alias| alias.id == *id);
        !is_known && !reading.resources.contains_key(&resource_key(region, id))
    });
    ids
}

fn sorted(ids: BTreeSet<(String, String)>) -> Wanted {
    let mut wanted = Wanted::default();
    for (region, id) in ids {
        if let Some(place) = elb::place(&id) {
            let arns = wanted.balancers.entry(place).or_default();
            if !arns.contains(&id) {
                arns.push(id);
            }
        } else if id.starts_with("i-") {
            wanted.instances.entry(region).or_default().push(id);
        } else if id.starts_with("eipalloc-") {
            wanted.elastic_ips.entry(region).or_default().push(id);
        }
    }
    wanted
}

enum Question {
    Balancers(Account, String, Vec<String>),
    Instances(String, Vec<String>),
    ElasticIps(String, Vec<String>),
}

async fn ask(asking: Asking, question: Question) -> Answered {
    match question {
        Question::Balancers(account, region, arns) => {
            balancers(&asking, &account, &region, &arns).await
        }
        Question::Instances(region, ids) => {
            let reader = ec2::Reader {
                asking,
                account: Account::Own,
                region,
            };
            let listed = reader.instances(&ids).await;
            by_id(&reader.region, ids, listed)
        }
        Question::ElasticIps(region, ids) => {
            let reader = ec2::Reader {
                asking,
                account: Account::Own,
                region,
            };
            let listed = reader.elastic_ips(&ids).await;
            by_id(&reader.region, ids, listed)
        }
    }
}

async fn balancers(asking: &Asking, account: &Account, region: &str, arns: &[String]) -> Answered {
    let reader = match elb::Reader::new(asking, account, region).await {
        Ok(reader) => reader,
        Err(error) => {
            return Answered {
                read: Vec::new(),
                errors: vec![error],
            };
        }
    };
    let found = reader.by_arn(arns).await;
    let seen: BTreeMap<String, Resource> = found.items.into_iter().collect();
    let unread: BTreeSet<&String> = found.failed.iter().flat_map(|(arns, _)| arns).collect();
    let read = arns
        .iter()
        .filter(|arn| !unread.contains(arn))
        .map(|arn| (arn.clone(), seen.get(arn).cloned()));
    Answered {
        read: read.collect(),
        errors: found
            .failed
            .iter()
            .map(|(_, error)| error.clone())
            .collect(),
    }
}

/// What a filter did not bring is not there, but only when all of it was read.
fn by_id(region: &str, ids: Vec<String>, listed: Listed<(String, Resource)>) -> Answered {
    let seen: BTreeMap<String, Resource> = listed.items.into_iter().collect();
    let whole = listed.error.is_none();
    let read = ids.into_iter().filter(|id| whole || seen.contains_key(id));
    let read = read.map(|id| (resource_key(region, &id), seen.get(&id).cloned()));
    Answered {
        read: read.collect(),
        errors: listed.error.into_iter().collect(),
    }
}
