//! Requests: within the limits, groups whole, in an order that Route 53 takes.

use super::super::model::{Key, Kind};
use super::*;

fn values(name: &str, count: usize) -> RecordSet {
    let values = (0..count).map(|n| format!("10.{}.{}.1", n / 256, n % 256));
    RecordSet::simple(name, Kind::A, 60, values.collect())
}

fn create(set: RecordSet) -> Change {
    Change {
        action: Action::Create,
        old: None,
        new: Some(set),
        why: "",
    }
}

fn group(name: &str, changes: Vec<Change>) -> GroupPlan {
    GroupPlan {
        name: name.into(),
        changes,
    }
}

fn alias(name: &str, target: &str) -> RecordSet {
    RecordSet {
        key: Key {
            name: name.into(),
            kind: Kind::A,
            set_identifier: None,
        },
        data: Data::Alias {
            zone: "Z1".into(),
            name: target.into(),
            evaluate_target_health: false,
        },
        routing: Routing::Simple,
        health_check: None,
    }
}

#[test]
fn three_thousand_records_go_in_few_requests() {
    let groups: Vec<GroupPlan> = (0..3000)
        .map(|n| {
            let name = format!("r{n}.example.com");
            group(
                &name,
                vec![create(values(&name, 2)), create(values(&name, 1))],
            )
        })
        .collect();
    let cut = batches(&groups);
    let count: usize = cut.iter().map(|batch| batch.groups.len()).sum();
    assert_eq!(count, 3000);
    assert_eq!(cut.len(), 9000_usize.div_ceil(498));
    assert!(cut.iter().all(|batch| batch.weight().0 <= 500));
}

#[test]
fn a_group_is_never_split() {
    let large = |name: &str| {
        group(
            name,
            vec![create(values(name, 300)), create(values(name, 300))],
        )
    };
    let cut = batches(&[large("a"), large("b")]);
    let names: Vec<Vec<&str>> = cut.iter().map(|batch| batch.names().collect()).collect();
    assert_eq!(names, [["a"], ["b"]]);
    assert!(fits(&large("a").changes).is_ok());
    let mut huge = large("a").changes;
    huge.push(create(values("c", 401)));
    assert!(fits(&huge).is_err());
}

#[test]
fn an_update_counts_twice() {
    let update = Change {
        action: Action::Update,
        old: Some(values("a", 3)),
        new: Some(values("a", 5)),
        why: "",
    };
    let batch = Batch {
        groups: vec![group("a", vec![update])],
    };
    assert_eq!(batch.weight().0, 10);
}

#[test]
fn aliases_are_made_after_and_deleted_before_what_they_name() {
    let update = Change {
        action: Action::Update,
        old: Some(alias("app", "old-leaf")),
        new: Some(alias("app", "leaf")),
        why: "",
    };
    let delete = Change {
        action: Action::Delete,
        old: Some(values("old-leaf", 1)),
        new: None,
        why: "",
    };
    let batch = Batch {
        groups: vec![group(
            "app",
            vec![update, delete, create(values("leaf", 1))],
        )],
    };
    let ops = batch.ops(DnsMode::Sync);
    let told: Vec<(Verb, &str)> = ops
        .iter()
        .map(|op| (op.verb, op.set.key.name.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Verb::Delete, "app"),
            (Verb::Delete, "old-leaf"),
            (Verb::Create, "leaf"),
            (Verb::Create, "app")
        ]
    );
}

#[test]
fn a_refused_request_is_halved_down_to_one_group() {
    let one = |name: &str| group(name, vec![create(values(name, 1))]);
    let batch = Batch {
        groups: vec![one("a"), one("b"), one("c")],
    };
    let (first, second) = batch.halves().expect("it has three");
    assert_eq!(first.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(second.names().collect::<Vec<_>>(), ["b", "c"]);
    assert!(first.halves().is_none());
}
