//! What a plan does not do, or not yet: protections, quotas, zones of load balancers that cannot be asked, names that stay.

use super::*;

#[test]
fn what_is_protected_is_told_and_holds_up_nothing_else() {
    let mut world = World::new(vec![
        record("a.example.com", "one", RoutingPolicy::Simple),
        record("b.example.com", "one", RoutingPolicy::Simple),
    ]);
    let protect = |name: &str| BTreeSet::from([(name.to_owned(), Kind::A)]);
    world.limits.protected = protect("a.example.com");
    let plan = world.converge();
    assert_eq!(plan.groups.len(), 1);
    assert_eq!(plan.groups[0].name, "b.example.com");
    assert_eq!(kinds(&plan), [FindingKind::Protected]);
    world.dns.records.clear();
    world.limits.protected = protect("b.example.com");
    assert!(world.plan().is_empty(), "nor deleted");
}

#[test]
fn quotas_are_told_and_kept() {
    let named = |n: usize| record(&format!("r{n}.example.com"), "one", RoutingPolicy::Simple);
    let mut world = World::new((0..5).map(named).collect());
    let quota = |most, there| Some(Quota { most, there });
    world.limits.records = quota(7, 2);
    let plan = world.plan();
    assert_eq!(plan.counts.create, 4, "two names of two sets each fit");
    assert_eq!(kinds(&plan), [FindingKind::Quota]);
    assert!(
        plan.findings[0]
            .what
            .contains("3 names are left out, from r2.example.com")
    );
    world.limits.records = quota(12, 2);
    let plan = world.plan();
    assert_eq!(
        (plan.counts.create, kinds(&plan)),
        (10, vec![FindingKind::Note])
    );
    world.limits.records = quota(10_000, 2);
    assert!(world.plan().findings.is_empty());

    world.dns.records = app("everywhere", RoutingPolicy::Weighted(85));
    world.dns.records[0].health_check = Some(check());
    world.limits.checks = quota(200, 199);
    assert_eq!(kinds(&world.plan()), [FindingKind::Quota]);
}

#[test]
fn an_alias_to_a_load_balancer_waits_for_its_zone_and_stays_when_it_cannot_be_asked() {
    let name = "web-1.eu-central-1.elb.amazonaws.com";
    let mut world = World::new(vec![DnsRecord {
        value: RecordValue::Alias {
            name: name.into(),
            zone: None,
            evaluate_target_health: true,
        },
        ..record("lb.example.com", "", RoutingPolicy::Simple)
    }]);
    let unknown = world.plan();
    assert_eq!(kinds(&unknown), [FindingKind::Held]);
    assert!(unknown.is_empty());
    let zone = "Z215JYRZR1TBD5".to_owned();
    world.load_balancers = [(name.to_owned(), Ok(zone.clone()))].into();
    world.converge();
    for kind in [Kind::A, Kind::Aaaa] {
        let expected = Data::Alias {
            zone: zone.clone(),
            name: name.into(),
            evaluate_target_health: true,
        };
        assert_eq!(world.find("lb.example.com", kind)[0].data, expected);
    }
    world.load_balancers = [(name.to_owned(), Err("denied".to_owned()))].into();
    let plan = world.plan();
    assert!(plan.is_empty() && kinds(&plan) == [FindingKind::Held]);
}

#[test]
fn a_name_that_is_left_as_it_is_keeps_its_check() {
    let checked = |name: &str, accelerator: &str, path: &str| {
        let mut record = record(name, accelerator, RoutingPolicy::Weighted(85));
        record.health_check = Some(PopCheck {
            path: path.into(),
            ..check()
        });
        record
    };
    let mut world = World::new(vec![checked("a.example.com", "one", "/a")]);
    world.converge();
    let before = (world.current.clone(), world.checks.clone());
    world.served.accelerators.remove("one");
    assert!(world.plan().is_empty(), "its accelerator is not known");
    world
        .dns
        .records
        .push(checked("b.example.com", "shop", "/b"));
    let plan = world.converge();
    assert!(
        plan.checks
            .iter()
            .all(|change| matches!(change, CheckChange::Create { .. })),
        "{:?}",
        plan.checks
    );
    assert_eq!(world.checks[..before.1.len()], before.1);
    assert!(before.0.iter().all(|set| world.current.contains(set)));
}

#[test]
fn another_owner_or_pop_name_takes_nothing_away() {
    let named = |n: usize| record(&format!("r{n}.example.com"), "one", RoutingPolicy::Simple);
    let mut world = World::new((0..5).map(named).chain(app("shop", latency())).collect());
    world.converge();
    let before = world.current.clone();
    for us in [publisher("edge", "fra2"), publisher("other", "fra1")] {
        world.us = us;
        let plan = world.plan();
        let changes = plan.groups.iter().flat_map(|group| &group.changes);
        assert!(changes.clone().all(|change| change.old.is_none()));
        world.apply(&plan);
        assert!(before.iter().all(|set| world.current.contains(set)));
        world.current = before.clone();
    }
}

#[test]
fn a_foreign_record_is_named_and_never_touched() {
    let owner = "\"heritage=external-dns,external-dns/owner=k8s\"";
    for (beside, holder, kind) in [
        (vec![], "nobody that left a mark", FindingKind::Adoptable),
        (
            vec![foreign("a-app.example.com", Kind::Txt, owner)],
            "external-dns owner k8s",
            FindingKind::Foreign,
        ),
    ] {
        let mut world = World::new(app("shop", RoutingPolicy::Simple));
        world.current = beside;
        let there = foreign("app.example.com", Kind::A, "192.0.2.1");
        world.current.push(there);
        let plan = world.plan();
        assert!(plan.is_empty(), "{plan:#?}");
        assert_eq!(kinds(&plan), [kind]);
        assert!(
            plan.findings[0].what.contains(holder),
            "{:?}",
            plan.findings
        );
    }
    // Another owner's set under the same name, by another policy.
    let mut world = World::new(app("one", RoutingPolicy::Weighted(1)));
    world.us = publisher("other", "ams1");
    world.converge();
    world.us = publisher("edge", "fra1");
    world.dns.records = app("one", latency());
    let plan = world.plan();
    assert!(plan.is_empty());
    assert!(
        plan.findings[0].what.contains("portolan:other:ams1"),
        "{:?}",
        plan.findings
    );
}

#[test]
fn what_is_not_written_needs_no_health_check() {
    let checked = |policy: RoutingPolicy| {
        let mut records = app("one", policy);
        records[0].health_check = Some(check());
        records
    };
    // Refused by Route 53's rules: the other owner has the same region.
    let mut world = World::new(app("one", latency()));
    world.us = publisher("other", "ams1");
    world.converge();
    world.us = publisher("edge", "fra1");
    world.dns.records = checked(latency());
    let plan = world.plan();
    assert_eq!(kinds(&plan), [FindingKind::Invalid]);
    assert!(plan.is_empty(), "{:?}", plan.checks);
    // Not permitted by the mode.
    let mut world = World::new(app("one", latency()));
    world.converge();
    world.dns.records = checked(latency());
    world.dns.mode = DnsMode::CreateOnly;
    let plan = world.plan();
    assert_eq!(kinds(&plan), [FindingKind::Withheld]);
    assert!(plan.is_empty(), "{:?}", plan.checks);
}
