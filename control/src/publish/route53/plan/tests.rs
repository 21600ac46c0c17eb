//! The planner, case by case: what is there, what should be there, what follows.

use std::net::IpAddr;
use std::time::Duration;

use portolan_config::model::{
    Dns, DnsRecord, FailoverRole, HostedZone, PopCheck, PopCheckProtocol, RecordValue,
    RoutingPolicy,
};
use portolan_config::units::AcceleratorName;

use super::super::batches::{Batch, Op, Verb};
use super::super::desired::{LoadBalancers, Served, desired};
use super::super::health_checks::{caller_reference, match_checks};
use super::super::limits::Quota;
use super::super::model::{Data, Kind, Routing};
use super::*;

mod withheld;

/// A PoP, what its file says, and a zone that does what Route 53 documents.
pub(super) struct World {
    pub(super) zone: Zone,
    pub(super) us: Publisher,
    pub(super) dns: Dns,
    pub(super) served: Served,
    pub(super) current: Vec<RecordSet>,
    pub(super) checks: Vec<CurrentCheck>,
    pub(super) adopt: bool,
    pub(super) load_balancers: LoadBalancers,
    pub(super) limits: Limits,
}

impl World {
    pub(super) fn new(records: Vec<DnsRecord>) -> Self {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        World {
            zone: Zone {
                id: "Z1".into(),
                name: "example.com".into(),
            },
            us: publisher("edge", "fra1"),
            dns: Dns {
                hosted_zone: HostedZone::Name("example.com".into()),
                owner: "edge".into(),
                mode: DnsMode::Sync,
                interval: Duration::from_secs(300),
                create_zone: false,
                records,
            },
            served: Served {
                pop: vec![address("198.51.100.7"), address("2001:db8::7")],
                accelerators: BTreeMap::from([
                    (
                        "shop".into(),
                        vec![address("203.0.113.1"), address("203.0.113.2")],
                    ),
                    ("one".into(), vec![address("203.0.113.9")]),
                    ("everywhere".into(), vec![]),
                ]),
            },
            current: Vec::new(),
            checks: Vec::new(),
            adopt: false,
            load_balancers: LoadBalancers::new(),
            limits: Limits::default(),
        }
    }

    fn desired(&self) -> Desired {
        let ownership = Ownership::read(&self.us, &self.current);
        let others = self.current.iter();
        let others: Vec<&RecordSet> = others
            .filter(|set| ownership.holder(set) != Holder::Us)
            .collect();
        desired(
            &self.dns,
            &self.us,
            &self.served,
            &self.zone.id,
            &others,
            &self.load_balancers,
        )
    }

    pub(super) fn plan(&self) -> Plan {
        plan(Inputs {
            zone: &self.zone,
            new_zone: false,
            us: &self.us,
            desired: &self.desired(),
            current: &self.current,
            checks: &self.checks,
            mode: self.dns.mode,
            adopt: self.adopt,
            limits: &self.limits,
        })
    }

    /// Applies as the driver does: checks first, then requests, then checks that go.
    pub(super) fn apply(&mut self, plan: &Plan) {
        let mut made = BTreeMap::new();
        for change in &plan.checks {
            match change {
                CheckChange::Create { config } => {
                    let id = format!("check-{}", self.checks.len());
                    made.insert(config.fingerprint(), id.clone());
                    self.checks.push(CurrentCheck {
                        id,
                        caller_reference: caller_reference(&self.us, "Z1", config, 1),
                        version: 1,
                        config: config.clone(),
                        overridden: None,
                        linked: false,
                    });
                }
                CheckChange::Update { id, config, .. } => {
                    let check = self.checks.iter_mut().find(|check| check.id == *id);
                    check.expect("it is there").config = config.clone();
                }
                CheckChange::Delete { .. } => {}
            }
        }
        for mut batch in batches::batches(&plan.groups) {
            batch.resolve(&made);
            assert!(batch.unresolved().is_empty(), "{batch:?}");
            let (elements, characters) = batch.weight();
            assert!(elements <= 1000 && characters <= 32_000);
            self.request(&batch);
        }
        for change in &plan.checks {
            if let CheckChange::Delete { id, .. } = change {
                let refers = |set: &RecordSet| set.health_check == Some(CheckRef::Id(id.clone()));
                assert!(!self.current.iter().any(refers), "{id} is in use");
                self.checks.retain(|check| check.id != *id);
            }
        }
    }

    fn request(&mut self, batch: &Batch) {
        for Op { verb, set } in batch.ops(self.dns.mode) {
            let at = self.current.iter().position(|there| there.key == set.key);
            match (verb, at) {
                (Verb::Create, None) => self.current.push(set),
                (Verb::Create, Some(_)) => panic!("{} is there already", set.key),
                (Verb::Delete, Some(at)) => {
                    let there = self.current.remove(at);
                    assert_eq!(there, set, "not what is there");
                }
                (Verb::Delete, None) => panic!("{} is not there", set.key),
                (Verb::Upsert, at) => {
                    if let Some(at) = at {
                        self.current.remove(at);
                    }
                    self.current.push(set);
                }
            }
        }
    }

    /// Plans and applies, and demands that nothing is left to do.
    pub(super) fn converge(&mut self) -> Plan {
        let first = self.plan();
        self.apply(&first);
        let mut again = self.plan();
        // A check that records referred to until now goes with the next plan.
        if again.groups.is_empty() && !again.checks.is_empty() {
            self.apply(&again);
            again = self.plan();
        }
        assert!(again.is_empty(), "{again:#?}");
        first
    }

    fn find(&self, name: &str, kind: Kind) -> Vec<&RecordSet> {
        let sets = self.current.iter();
        sets.filter(|set| set.key.name == name && set.key.kind == kind)
            .collect()
    }
}

pub(super) fn publisher(owner: &str, pop: &str) -> Publisher {
    Publisher {
        owner: owner.into(),
        pop: pop.into(),
    }
}

pub(super) fn record(name: &str, accelerator: &str, policy: RoutingPolicy) -> DnsRecord {
    DnsRecord {
        name: name.into(),
        set: None,
        value: RecordValue::Accelerator(AcceleratorName::new(accelerator)),
        ttl: 60,
        policy,
        health_check: None,
    }
}

fn app(accelerator: &str, policy: RoutingPolicy) -> Vec<DnsRecord> {
    vec![record("app.example.com", accelerator, policy)]
}

fn latency() -> RoutingPolicy {
    RoutingPolicy::Latency("eu-central-1".into())
}

pub(super) fn check() -> PopCheck {
    PopCheck {
        protocol: PopCheckProtocol::Http,
        port: 8088,
        path: "/readyz".into(),
        host: None,
        search: None,
        fast: false,
        threshold: 3,
    }
}

fn foreign(name: &str, kind: Kind, value: &str) -> RecordSet {
    RecordSet::simple(name, kind, 300, vec![value.into()])
}

fn kinds(plan: &Plan) -> Vec<FindingKind> {
    plan.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn the_first_articles_record_is_one_simple_set() {
    let mut world = World::new(app("shop", RoutingPolicy::Simple));
    let plan = world.converge();
    assert_eq!((plan.counts.create, plan.groups.len()), (2, 1));
    let [set] = world.find("app.example.com", Kind::A)[..] else {
        panic!("{:?}", world.current)
    };
    assert_eq!(
        set.data,
        Data::Values {
            ttl: 60,
            values: vec!["203.0.113.1".into(), "203.0.113.2".into()]
        }
    );
    assert_eq!(
        world
            .find("_portolan-own.a.app.example.com", Kind::Txt)
            .len(),
        1
    );
}

#[test]
fn pops_of_one_owner_publish_side_by_side_and_leave_each_other_alone() {
    let mut world = World::new(app("one", RoutingPolicy::Weighted(85)));
    for pop in ["fra1", "iad1", "sin1"] {
        world.us = publisher("edge", pop);
        world.converge();
    }
    let sets = world.find("app.example.com", Kind::A);
    assert_eq!(sets.len(), 3);
    assert!(
        sets.iter()
            .all(|set| set.routing == Routing::Weighted { weight: 85 })
    );
    let before = world.current.clone();
    world.dns.records.clear();
    let plan = world.converge();
    assert_eq!(plan.counts.delete, 1);
    let gone: Vec<_> = before
        .iter()
        .filter(|set| !world.current.contains(set))
        .collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(
        gone[0].key.set_identifier.as_deref(),
        Some("portolan:edge:sin1")
    );
}

#[test]
fn a_routed_record_of_several_addresses_is_an_alias_to_a_leaf() {
    let mut world = World::new(app("shop", latency()));
    world.converge();
    let leaf = "fra1.edge._portolan.app.example.com";
    let [set] = world.find("app.example.com", Kind::A)[..] else {
        panic!("{:?}", world.current)
    };
    assert!(matches!(&set.data, Data::Alias { name, zone, .. } if name == leaf && zone == "Z1"));
    assert_eq!(world.find(leaf, Kind::A)[0].elements(), 2);
    // From several to one: leaf and mark go, in the same request.
    world
        .served
        .accelerators
        .get_mut("shop")
        .expect("it is there")
        .pop();
    let plan = world.converge();
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(world.current.len(), 1);
    assert!(matches!(world.current[0].data, Data::Values { .. }));
}

#[test]
fn several_multivalue_addresses_are_several_sets() {
    let mut world = World::new(app("shop", RoutingPolicy::Multivalue));
    world.converge();
    assert_eq!(world.current.len(), 2);
    world.dns.records[0].value = RecordValue::Pop;
    world.converge();
    assert_eq!(world.find("app.example.com", Kind::Aaaa).len(), 1);
}

#[test]
fn an_accelerator_on_every_address_is_published_at_the_pops_own() {
    let mut world = World::new(app("everywhere", RoutingPolicy::Simple));
    world.converge();
    assert_eq!(world.find("app.example.com", Kind::A).len(), 1);
    assert_eq!(world.find("app.example.com", Kind::Aaaa).len(), 1);
}

#[test]
fn what_is_not_known_is_left_as_it_is() {
    let mut world = World::new(app("shop", latency()));
    world.converge();
    world.served.accelerators.clear();
    let plan = world.plan();
    assert!(plan.is_empty());
    assert_eq!(kinds(&plan), [FindingKind::Held]);
}

#[test]
fn adoption_is_asked_for() {
    for value in ["203.0.113.9", "192.0.2.1"] {
        let mut world = World::new(app("one", RoutingPolicy::Simple));
        world.current = vec![RecordSet::simple(
            "app.example.com",
            Kind::A,
            60,
            vec![value.into()],
        )];
        assert_eq!(kinds(&world.plan()), [FindingKind::Adoptable]);
        let without = world.plan().checksum;
        world.adopt = true;
        assert_ne!(world.plan().checksum, without);
        world.converge();
        world.adopt = false;
        assert!(world.plan().findings.is_empty());
    }
    // A simple set of another PoP of the same owner, too; a stranger's never.
    let mut world = World::new(app("one", RoutingPolicy::Simple));
    world.us = publisher("edge", "ams1");
    world.converge();
    world.us = publisher("edge", "fra1");
    assert!(world.plan().is_empty());
    world.us = publisher("stranger", "fra1");
    world.adopt = true;
    assert!(world.plan().is_empty());
    world.us = publisher("edge", "fra1");
    world.converge();
    assert!(world.plan().is_empty());
}

#[test]
fn drift_is_put_right_and_told_from_a_change_of_ours() {
    let mut world = World::new(app("one", RoutingPolicy::Simple));
    world.converge();
    let at = world.current.iter().position(|set| set.key.kind == Kind::A);
    let at = at.expect("it was made");
    let good = world.current[at].clone();
    world.current[at].data = Data::Values {
        ttl: 5,
        values: vec!["192.0.2.66".into()],
    };
    let plan = world.converge();
    assert_eq!(plan.groups[0].changes[0].why, "somebody changed it");
    assert!(world.current.contains(&good));
    // Deleted by hand, the mark still there: made again, the mark left alone.
    world.current.retain(|set| set.key.kind != Kind::A);
    assert_eq!(
        world.converge().counts,
        Counts {
            create: 1,
            existing: 1,
            ..Counts::default()
        }
    );
    // The mark deleted by hand: adopted only on request.
    world.current.retain(|set| set.key.kind == Kind::A);
    assert_eq!(kinds(&world.plan()), [FindingKind::Adoptable]);
    // A stale mark goes with what it marked.
    world.adopt = true;
    world.converge();
    world.current.retain(|set| set.key.kind != Kind::A);
    world.dns.records.clear();
    world.converge();
    assert!(world.current.is_empty());
}

#[test]
fn a_change_of_policy_is_one_request() {
    let mut world = World::new(app("one", RoutingPolicy::Simple));
    world.converge();
    world.dns.records = app("one", latency());
    let plan = world.converge();
    assert_eq!(
        (plan.groups.len(), batches::batches(&plan.groups).len()),
        (1, 1)
    );
}

#[test]
fn modes_permit_what_they_say() {
    let start = || {
        let mut world = World::new(vec![
            record("a.example.com", "one", RoutingPolicy::Simple),
            record("b.example.com", "one", RoutingPolicy::Weighted(1)),
        ]);
        world.converge();
        world.dns.records = vec![
            record("b.example.com", "one", RoutingPolicy::Weighted(2)),
            record("c.example.com", "one", RoutingPolicy::Simple),
        ];
        world
    };
    for (mode, counted) in [
        (DnsMode::Observe, (2, 1, 2)),
        (DnsMode::CreateOnly, (2, 0, 0)),
        (DnsMode::UpsertOnly, (2, 1, 0)),
        (DnsMode::Sync, (2, 1, 2)),
    ] {
        let mut world = start();
        world.dns.mode = mode;
        let plan = world.plan();
        let Counts {
            create,
            update,
            delete,
            ..
        } = plan.counts;
        assert_eq!((create, update, delete), counted, "{mode:?}");
        world.apply(&plan);
        assert!(world.plan().is_empty(), "{mode:?}");
    }
    // Without deletes a change of policy cannot be made, and nothing of it is.
    let mut world = World::new(app("one", RoutingPolicy::Simple));
    world.converge();
    world.dns.mode = DnsMode::UpsertOnly;
    world.dns.records = app("one", latency());
    assert!(world.plan().is_empty());
    assert!(kinds(&world.plan()).contains(&FindingKind::Withheld));
}

#[test]
fn upsert_only_needs_no_deletes() {
    let mut world = World::new(app("one", RoutingPolicy::Weighted(1)));
    world.converge();
    world.dns.mode = DnsMode::UpsertOnly;
    world.dns.records = app("one", RoutingPolicy::Weighted(2));
    let plan = world.plan();
    let ops = batches::batches(&plan.groups)[0].ops(world.dns.mode);
    assert!(ops.iter().all(|op| op.verb == Verb::Upsert), "{ops:?}");
}

#[test]
fn many_deletes_wait() {
    let named = |n: usize| record(&format!("r{n}.example.com"), "one", RoutingPolicy::Simple);
    for (records, kept, waits) in [(9, 0, false), (10, 7, false), (10, 6, true), (12, 8, true)] {
        let mut world = World::new((0..records).map(named).collect());
        world.converge();
        world.dns.records.truncate(kept);
        let plan = world.plan();
        assert_eq!(plan.shrink.is_some(), waits, "{records} to {kept}");
    }
    // Another policy for all of them loses nothing.
    let mut world = World::new((0..12).map(named).collect());
    world.converge();
    for record in &mut world.dns.records {
        record.policy = latency();
    }
    assert_eq!(world.plan().shrink, None);
}

#[test]
fn health_checks_come_first_and_go_last() {
    let mut world = World::new(app("everywhere", RoutingPolicy::Weighted(85)));
    world.dns.records[0].health_check = Some(check());
    let plan = world.converge();
    assert_eq!(plan.checks.len(), 2, "one a family");
    assert_eq!(world.checks.len(), 2);
    assert!(world.current.iter().all(|set| set.health_check.is_some()));

    world.dns.records[0]
        .health_check
        .as_mut()
        .expect("given")
        .fast = true;
    let replaced = world.converge();
    assert_eq!(
        replaced.checks.len(),
        2,
        "made, the old ones stay a plan longer"
    );
    assert_eq!(world.checks.len(), 2);

    world.dns.records[0].health_check = None;
    world.converge();
    assert!(world.checks.is_empty());
    let wished = BTreeSet::new();
    assert!(
        match_checks(&wished, &world.checks, &HashSet::new())
            .left
            .is_empty()
    );
}

#[test]
fn aliases_follow_what_they_name() {
    let alias = |name: &str, target: &str, policy| DnsRecord {
        value: RecordValue::Alias {
            name: target.into(),
            zone: None,
            evaluate_target_health: true,
        },
        ..record(name, "", policy)
    };
    let mut world = World::new(vec![
        alias(
            "top.example.com",
            "middle.example.com",
            RoutingPolicy::Failover(FailoverRole::Primary),
        ),
        alias(
            "middle.example.com",
            "app.example.com",
            RoutingPolicy::Simple,
        ),
        record("app.example.com", "everywhere", latency()),
    ]);
    let plan = world.plan();
    let order: Vec<&str> = plan
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(
        order,
        ["app.example.com", "middle.example.com", "top.example.com"]
    );
    world.converge();
    assert_eq!(world.find("top.example.com", Kind::Aaaa).len(), 1);

    world.dns.records.truncate(2);
    // Their target goes: they are left, and so they are told to be.
    let plan = world.plan();
    assert!(
        plan.findings.iter().any(|f| f.kind == FindingKind::Held),
        "{:?}",
        plan.findings
    );
}

#[test]
fn what_route_53_would_refuse_does_not_hold_up_the_rest() {
    let mut world = World::new(vec![
        record("a.example.com", "one", RoutingPolicy::Weighted(1)),
        record("b.example.com", "one", RoutingPolicy::Weighted(1)),
    ]);
    world.current = vec![foreign(
        "a.example.com",
        Kind::Other("CNAME".into()),
        "x.example.org",
    )];
    let plan = world.plan();
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(plan.groups[0].name, "b.example.com");
    assert_eq!(kinds(&plan), [FindingKind::Invalid]);
}
