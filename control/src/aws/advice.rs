//! What AWS thinks of the targets behind load balancers: advice, and never more. It is gathered beside the readings, in its own time;
//! an error, a load balancer without target groups and a state that says nothing all mean that nothing is known, and what is not
//! known changes nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_sdk_elasticloadbalancingv2::types::TargetHealthStateEnum;
use futures_util::StreamExt as _;
use futures_util::stream;

use super::asking::Asking;
use super::elb;
use super::map::Advice;
use super::picture::{Picture, Resource};
use super::session::{Account, CallError, Session};

/// Load balancers asked about at once: fewer than the readings use, which share the pace.
const AT_ONCE: usize = 2;

/// Everything ends by then.
const LONGEST: Duration = Duration::from_secs(120);

/// Asks about every application load balancer of the picture: those behind which nothing healthy is.
pub(super) async fn gather(session: &Session, picture: &Picture) -> (Advice, Vec<CallError>) {
    let asking = Asking {
        session: session.clone(),
        deadline: Instant::now() + LONGEST,
    };
    let applications = picture
        .resources
        .iter()
        .filter_map(|(arn, resource)| match resource {
            Resource::LoadBalancer(balancer) if balancer.kind == "application" => {
                Some((arn.clone(), elb::place(arn)?))
            }
            Resource::LoadBalancer(_) | Resource::Instance(_) | Resource::ElasticIp(_) => None,
        });
    let own = picture.account.clone().unwrap_or_default();
    let mut places: BTreeMap<elb::Place, Vec<String>> = BTreeMap::new();
    for (arn, place) in applications {
        places.entry(place).or_default().push(arn);
    }
    let (mut advice, mut errors) = (Advice::default(), Vec::new());
    for (place, arns) in places {
        let account = if place.account == own {
            Account::Own
        } else {
            Account::Other(place.account.as_str().into())
        };
        let reader = match elb::Reader::new(&asking, &account, &place.region).await {
            Ok(reader) => reader,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        let asked = stream::iter(arns).map(|arn| {
            let reader = reader.clone();
            async move {
                (
                    is_empty(&reader, &arn).await,
                    reader.listener_ports(&arn).await,
                    arn,
                )
            }
        });
        let answers: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
        for (answer, ports, arn) in answers {
            match ports.error {
                Some(error) => errors.push(error),
                None => drop(
                    advice
                        .ports
                        .insert(arn.clone(), ports.items.into_iter().collect()),
                ),
            }
            match answer {
                Ok(true) => drop(advice.empty.insert(arn)),
                Ok(false) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    (advice, errors)
}

async fn is_empty(reader: &elb::Reader, balancer: &str) -> Result<bool, CallError> {
    let groups = reader.target_groups(balancer).await;
    if let Some(error) = groups.error {
        return Err(error);
    }
    let mut states = Vec::with_capacity(groups.items.len());
    for group in &groups.items {
        states.push(reader.target_health(group).await?);
    }
    Ok(nothing_answers(&states))
}

/// Whether there are target groups, and none of their targets can be healthy.
fn nothing_answers(groups: &[Vec<TargetHealthStateEnum>]) -> bool {
    use TargetHealthStateEnum::{Draining, Unhealthy, UnhealthyDraining, Unused};
    let is_out = |state: &TargetHealthStateEnum| {
        matches!(state, Draining | Unhealthy | UnhealthyDraining | Unused)
    };
    !groups.is_empty() && groups.iter().flatten().all(is_out)
}

#[cfg(test)]
mod tests {
    use TargetHealthStateEnum::{Draining, Healthy, Initial, Unavailable, Unhealthy, Unused};

    use super::*;

    #[test]
    fn only_what_is_known_to_be_empty_is_empty() {
        let cases: [(&[&[TargetHealthStateEnum]], bool); 9] = [
            (&[], false),
            (&[&[]], true),
            (&[&[Unhealthy], &[]], true),
            (&[&[Unused, Draining]], true),
            (&[&[Unhealthy, Healthy]], false),
            (&[&[Unhealthy], &[Healthy]], false),
            (&[&[Initial]], false),
            (&[&[Unavailable]], false),
            (&[&[TargetHealthStateEnum::from("new-word")]], false),
        ];
        for (groups, expected) in cases {
            let groups: Vec<Vec<_>> = groups.iter().map(|group| group.to_vec()).collect();
            assert_eq!(nothing_answers(&groups), expected, "{groups:?}");
        }
    }
}
