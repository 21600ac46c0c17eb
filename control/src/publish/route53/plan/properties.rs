//! From any zone and any file: what a plan makes of a zone needs no further plan, and nothing without our mark is ever in a delete.

use portolan_config::model::{
    DnsRecord, FailoverRole, Location, PopCheck, RecordValue, RoutingPolicy,
};
use proptest::prelude::*;

use super::super::model::{Data, Kind, Routing};
use super::tests::{World, check, publisher, record};
use super::*;

const NAMES: [&str; 4] = ["app", "www", "*", "api"];

fn name() -> impl Strategy<Value = String> {
    (0..NAMES.len()).prop_map(|n| format!("{}.example.com", NAMES[n]))
}

fn policy() -> impl Strategy<Value = RoutingPolicy> {
    prop_oneof![
        Just(RoutingPolicy::Simple),
        (0..=255u8).prop_map(RoutingPolicy::Weighted),
        Just(RoutingPolicy::Latency("eu-central-1".into())),
        Just(RoutingPolicy::Latency("eu-west-1".into())),
        Just(RoutingPolicy::Geolocation(Location::Country("*".into()))),
        Just(RoutingPolicy::Failover(FailoverRole::Secondary)),
        Just(RoutingPolicy::Multivalue),
    ]
}

/// Records as a file may give them: one a name, since the reader refuses what does not go together.
fn records() -> impl Strategy<Value = Vec<DnsRecord>> {
    let value = prop_oneof!["shop", "one", "everywhere", "unknown"];
    let alias =
        (name(), any::<bool>()).prop_map(|(name, evaluate_target_health)| RecordValue::Alias {
            name,
            zone: None,
            evaluate_target_health,
        });
    let one = (
        name(),
        value,
        policy(),
        1..3u32,
        proptest::option::weighted(0.2, alias),
        proptest::option::weighted(0.3, 1..3u16),
    );
    proptest::collection::vec(one, 0..4).prop_map(|given| {
        let mut seen = BTreeSet::new();
        let made = given
            .into_iter()
            .map(|(name, accelerator, policy, ttl, alias, port)| {
                let mut made = record(&name, &accelerator, policy);
                made.ttl = ttl * 30;
                made.health_check = port.map(|port| PopCheck { port, ..check() });
                if let Some(alias) = alias {
                    made.value = alias;
                }
                made
            });
        made.filter(|record| seen.insert(record.name.clone()))
            .collect()
    })
}

/// Anything that others may have left in a zone, marks of ours and of siblings on things that are not there included.
fn set() -> impl Strategy<Value = RecordSet> {
    let kind = prop_oneof![
        Just(Kind::A),
        Just(Kind::Aaaa),
        Just(Kind::Txt),
        Just(Kind::Other("CNAME".into()))
    ];
    let identifier = prop_oneof![
        Just(None),
        Just(Some("blue".to_owned())),
        Just(Some("portolan:edge:fra1".to_owned())),
        Just(Some("portolan:edge:ams1".to_owned())),
        Just(Some("portolan:other:fra1".to_owned())),
    ];
    (name(), kind, identifier, 0..4u8, any::<bool>()).prop_map(
        |(name, kind, identifier, weight, marked)| {
            let value = match kind {
                Kind::Aaaa => "2001:db8::1".to_owned(),
                Kind::Txt => "\"text\"".to_owned(),
                Kind::A | Kind::Other(_) => "203.0.113.9".to_owned(),
            };
            let mut set = RecordSet::simple(name, kind, 60, vec![value]);
            if identifier.is_some() {
                set.routing = Routing::Weighted {
                    weight: i64::from(weight),
                };
                set.key.set_identifier = identifier;
            } else if marked {
                let by = ["fra1", "ams1"][usize::from(weight % 2)];
                set = publisher("edge", by).mark(&set);
            }
            if weight == 3 && set.key.kind != Kind::Txt {
                set.data = Data::TrafficPolicy("t".into());
            }
            set
        },
    )
}

fn zone() -> impl Strategy<Value = Vec<RecordSet>> {
    proptest::collection::vec(set(), 0..10).prop_map(|sets| {
        let mut seen = HashSet::new();
        let distinct = sets.into_iter();
        distinct
            .filter(|set| seen.insert(set.key.clone()))
            .collect()
    })
}

fn is_marked_ours(us: &Publisher, current: &[RecordSet], set: &RecordSet) -> bool {
    Ownership::read(us, current).holder(set) == Holder::Us
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn applied_plans_need_no_further_plan(first in records(), second in records(), zone in zone()) {
        let mut world = World::new(first);
        world.current = zone;
        world.converge();
        world.dns.records = second;
        world.converge();
    }

    #[test]
    fn nothing_unmarked_is_ever_deleted_or_changed(records in records(), zone in zone(), others in records()) {
        let mut world = World::new(others);
        world.us = publisher("edge", "ams1");
        world.current = zone;
        world.converge();
        world.us = publisher("edge", "fra1");
        world.dns.records = records;
        let before = world.current.clone();
        let plan = world.plan();
        for change in plan.groups.iter().flat_map(|group| &group.changes) {
            if let Some(old) = &change.old {
                prop_assert!(is_marked_ours(&world.us, &before, old), "{old:?}");
            }
        }
        world.apply(&plan);
        let foreign = before.iter().filter(|set| !is_marked_ours(&world.us, &before, set));
        for set in foreign {
            prop_assert!(world.current.contains(set), "{set:?}");
        }
    }

    #[test]
    fn adoption_ends_and_spares_the_marked(records in records(), zone in zone()) {
        let mut world = World::new(records);
        world.current = zone;
        world.adopt = true;
        let before = world.current.clone();
        world.converge();
        let ownership = Ownership::read(&world.us, &before);
        for set in &before {
            match ownership.holder(set) {
                Holder::Portolan(_) | Holder::Marked(_) => prop_assert!(world.current.contains(set), "{set:?}"),
                Holder::Us | Holder::Sibling(_) | Holder::Unmarked => {}
            }
        }
    }

    #[test]
    fn the_order_in_which_a_zone_is_read_changes_nothing(records in records(), zone in zone()) {
        let mut world = World::new(records);
        world.current = zone;
        let plan = world.plan();
        world.current.reverse();
        prop_assert_eq!(world.plan(), plan);
    }
}
