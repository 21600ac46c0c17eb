//! What is served against every kind of reading: whole, partial, empty, none. Worlds are made at random, faults are laid over their
//! true reading.

mod mapping;
mod random;

use std::time::Duration;

use portolan_config::model::AwsReach;

use std::collections::BTreeMap;

use super::*;
use crate::aws::guard::Endpoints;
use crate::aws::picture::{
    AcceleratorFacts, CheckFacts, EndpointFacts, GroupFacts, InstanceFacts, ListenerFacts,
    Resource, Scope, SeenAccelerator, SeenListener, endpoint_key, resource_key,
};

pub(super) const ACCOUNT: &str = "123456789012";

pub(super) fn settings() -> Settings {
    Settings {
        reach: AwsReach::Public,
        aliases: Vec::new(),
        addresses: Vec::new(),
        pool: vec!["127.77.0.0/24".parse().expect("a prefix")],
        taken: BTreeSet::new(),
        named: BTreeSet::new(),
        keys: BTreeMap::new(),
    }
}

pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:globalaccelerator::{ACCOUNT}:accelerator/{name}")
}

/// Accelerators with one listener each: regions with their endpoints, `"r1:i-1,i-2 r2:i-3"`. Instances have addresses.
pub(super) fn world(accelerators: &[(&str, &str)]) -> Picture {
    let mut picture = Picture {
        account: Some(ACCOUNT.into()),
        ..Picture::default()
    };
    for (name, groups) in accelerators {
        let listener = format!("{}/listener/l", arn(name));
        let mut made = BTreeMap::new();
        for group in groups.split(' ').filter(|group| !group.is_empty()) {
            let (region, ids) = group.split_once(':').expect("region:ids");
            let mut endpoints = BTreeMap::new();
            for (number, id) in ids.split(',').filter(|id| !id.is_empty()).enumerate() {
                let endpoint = EndpointFacts {
                    id: id.into(),
                    weight: 128,
                    client_ip_preservation: false,
                };
                endpoints.insert(endpoint_key(&endpoint), endpoint);
                picture
                    .resources
                    .insert(resource_key(region, id), instance(number as u8));
            }
            made.insert(
                format!("{listener}/endpoint-group/{region}"),
                GroupFacts {
                    region: region.into(),
                    traffic_dial: 100.0,
                    health_check: CheckFacts {
                        protocol: "TCP".into(),
                        port: None,
                        path: None,
                        interval: 30,
                        threshold: 3,
                    },
                    port_overrides: Vec::new(),
                    endpoints,
                },
            );
        }
        let facts = ListenerFacts {
            udp: false,
            ports: vec![(80, 80)],
            source_ip_affinity: false,
            groups: made,
        };
        picture.accelerators.insert(
            arn(name),
            AcceleratorFacts {
                name: (*name).into(),
                enabled: true,
                in_progress: false,
                created: 0,
                aws_addresses: Vec::new(),
                listeners: BTreeMap::from([(listener, facts)]),
            },
        );
    }
    picture
}

pub(super) fn instance(number: u8) -> Resource {
    Resource::Instance(InstanceFacts {
        state: "running".into(),
        public: Some(std::net::Ipv4Addr::new(198, 51, 100, number).into()),
        private: Some(std::net::Ipv4Addr::new(10, 0, 0, number).into()),
        ipv6: None,
    })
}

/// The reading of a world in which nothing goes wrong.
pub(super) fn reading(world: &Picture) -> Reading {
    let listener = |facts: &ListenerFacts| SeenListener {
        facts: ListenerFacts {
            groups: BTreeMap::new(),
            ..facts.clone()
        },
        groups: Scope::whole(facts.groups.clone()),
    };
    let accelerator = |facts: &AcceleratorFacts| SeenAccelerator {
        facts: AcceleratorFacts {
            listeners: BTreeMap::new(),
            ..facts.clone()
        },
        listeners: Scope::whole(
            facts
                .listeners
                .iter()
                .map(|(arn, facts)| (arn.clone(), listener(facts)))
                .collect(),
        ),
    };
    let mut tagged: BTreeMap<String, Scope<_>> =
        BTreeMap::from([("us-east-1".to_owned(), Scope::whole(BTreeMap::new()))]);
    for (arn, facts) in &world.tagged {
        let scope = tagged
            .entry(facts.region.clone())
            .or_insert_with(|| Scope::whole(BTreeMap::new()));
        scope.seen.insert(arn.clone(), facts.clone());
    }
    Reading {
        account: world.account.clone(),
        accelerators: Scope::whole(
            world
                .accelerators
                .iter()
                .map(|(arn, facts)| (arn.clone(), accelerator(facts)))
                .collect(),
        ),
        tagged,
        resources: world
            .resources
            .iter()
            .map(|(key, resource)| (key.clone(), Some(resource.clone())))
            .collect(),
        unanswered: 0,
        custom_routing: Some(world.custom_routing.clone()),
    }
}

pub(super) fn known(world: &Picture) -> Known {
    cycle(
        &Known::default(),
        &reading(world),
        &settings(),
        false,
        at(0),
    )
    .known
}

fn count(endpoints: &Endpoints) -> usize {
    endpoints.values().map(BTreeSet::len).sum()
}

fn served(known: &Known) -> Endpoints {
    map::served(&known.picture, &settings())
}

#[test]
fn a_first_reading_comes_in_whole_and_a_second_changes_nothing() {
    let world = world(&[
        ("shop", "us-east-1:i-1,i-2 eu-west-1:i-3"),
        ("mail", "us-east-1:i-4"),
    ]);
    let first = cycle(
        &Known::default(),
        &reading(&world),
        &settings(),
        false,
        at(0),
    );
    assert_eq!(first.known.picture, world);
    assert!(
        first
            .changes
            .iter()
            .all(|change| change.action == Action::Add),
        "{:?}",
        first.changes
    );
    assert_eq!(count(&served(&first.known)), 4);
    let second = cycle(&first.known, &reading(&world), &settings(), false, at(60));
    assert_eq!(second.changes, []);
    assert_eq!(second.known.read_at, Some(at(60)));
}

#[test]
fn aws_gone_for_an_hour_changes_nothing_but_the_age() {
    let world = world(&[("shop", "us-east-1:i-1,i-2 eu-west-1:i-3")]);
    let before = known(&world);
    let mut known = before.clone();
    for minute in 1..=60 {
        let outcome = cycle(
            &known,
            &Reading::default(),
            &settings(),
            false,
            at(minute * 60),
        );
        assert_eq!(outcome.changes, []);
        known = outcome.known;
    }
    assert_eq!(known, before, "and it still says when it was read");
}

#[test]
fn a_reading_that_learnt_nothing_of_the_endpoints_is_no_fresh_one() {
    let world = world(&[("shop", "us-east-1:i-1")]);
    let before = known(&world);
    let mut read = reading(&world);
    read.resources.clear();
    read.unanswered = 1;
    let after = cycle(&before, &read, &settings(), false, at(3600)).known;
    assert_eq!(after, before, "served as it was, and as old as it was");
}

#[test]
fn an_empty_answer_for_a_day_empties_nothing_until_the_operator_says_so() {
    let before = known(&world(&[
        ("shop", "us-east-1:i-1 eu-west-1:i-2"),
        ("mail", "us-east-1:i-3"),
    ]));
    let empty = reading(&Picture {
        account: Some(ACCOUNT.into()),
        ..Picture::default()
    });
    let mut known = before.clone();
    for minute in 1..=24 * 60 {
        known = cycle(&known, &empty, &settings(), false, at(minute * 60)).known;
        assert_eq!(served(&known), served(&before));
    }
    let held = cycle(&known, &empty, &settings(), false, at(0)).changes;
    assert_eq!(
        held.iter()
            .filter(|change| change.action == Action::Hold)
            .count(),
        3,
        "{held:?}"
    );
    let accepted = cycle(&known, &empty, &settings(), true, at(0));
    assert_eq!(count(&served(&accepted.known)), 0);
    assert!(accepted.known.held.is_empty());
}

#[test]
fn a_region_that_is_given_up_goes_after_ten_minutes_and_the_rest_goes_on_meanwhile() {
    let old = world(&[
        ("shop", "us-east-1:i-1,i-2 eu-west-1:i-3"),
        ("mail", "us-east-1:i-4"),
    ]);
    let mut new = world(&[("shop", "us-east-1:i-1,i-2"), ("mail", "us-east-1:i-4,i-5")]);
    let shop = new.accelerators.get_mut(&arn("shop")).expect("there");
    for endpoint in shop
        .listeners
        .values_mut()
        .flat_map(|l| l.groups.values_mut())
        .flat_map(|g| g.endpoints.values_mut())
    {
        endpoint.weight = 7;
    }
    let mut known = known(&old);
    for minute in 1..=10 {
        let outcome = cycle(&known, &reading(&new), &settings(), false, at(minute * 60));
        known = outcome.known;
        assert_eq!(
            count(&served(&known)),
            5,
            "minute {minute}: the new one is in, the old one waits"
        );
        let shop = &known.picture.accelerators[&arn("shop")];
        let groups = shop
            .listeners
            .values()
            .flat_map(|listener| listener.groups.values());
        let weights: BTreeSet<u8> = groups
            .flat_map(|group| group.endpoints.values())
            .map(|e| e.weight)
            .collect();
        assert_eq!(
            weights,
            BTreeSet::from([7, 128]),
            "changes go through, and what waits stays as it was"
        );
    }
    let done = cycle(&known, &reading(&new), &settings(), false, at(11 * 60));
    assert_eq!(done.known.picture, new);
    assert!(
        done.changes
            .iter()
            .any(|change| change.action == Action::Remove && change.what.contains("eu-west-1"))
    );
}

#[test]
fn one_of_many_endpoints_goes_at_once() {
    let old = known(&world(&[("shop", "us-east-1:i-1,i-2,i-3,i-4")]));
    let outcome = cycle(
        &old,
        &reading(&world(&[("shop", "us-east-1:i-1,i-2,i-3")])),
        &settings(),
        false,
        at(60),
    );
    assert_eq!(count(&served(&outcome.known)), 3);
    assert_eq!(outcome.changes.len(), 1, "{:?}", outcome.changes);
    assert!(
        !outcome
            .known
            .picture
            .resources
            .contains_key("us-east-1/i-4")
    );
}

#[test]
fn while_aws_changes_an_accelerator_nothing_of_it_goes() {
    let old = known(&world(&[("shop", "us-east-1:i-1,i-2,i-3,i-4")]));
    let mut new = world(&[("shop", "us-east-1:i-1,i-2,i-3 eu-west-1:i-9")]);
    new.accelerators
        .get_mut(&arn("shop"))
        .expect("there")
        .in_progress = true;
    let outcome = cycle(&old, &reading(&new), &settings(), false, at(60));
    assert_eq!(
        count(&served(&outcome.known)),
        5,
        "additions come, removals wait"
    );
    assert!(
        outcome.known.held.is_empty(),
        "they wait for AWS, not for the guard"
    );
}

#[test]
fn an_instance_that_stopped_is_a_loss_like_any_other() {
    let old = known(&world(&[("shop", "us-east-1:i-1 eu-west-1:i-2")]));
    let mut new = world(&[("shop", "us-east-1:i-1 eu-west-1:i-2")]);
    let stopped = InstanceFacts {
        state: "stopped".into(),
        public: None,
        private: None,
        ipv6: None,
    };
    new.resources
        .insert("eu-west-1/i-2".into(), Resource::Instance(stopped));
    let outcome = cycle(&old, &reading(&new), &settings(), false, at(60));
    assert_eq!(served(&outcome.known), served(&old));
    assert_eq!(outcome.known.held.len(), 1);
}

#[test]
fn a_changed_address_is_a_change_and_no_loss() {
    let old = known(&world(&[("shop", "us-east-1:i-1")]));
    let mut new = world(&[("shop", "us-east-1:i-1")]);
    new.resources.insert("us-east-1/i-1".into(), instance(77));
    let outcome = cycle(&old, &reading(&new), &settings(), false, at(60));
    assert_eq!(outcome.changes.len(), 1);
    assert_eq!(
        outcome.changes[0].detail,
        "address 198.51.100.0 -> 198.51.100.77"
    );
}
