//! Who is taken for the holder of what.

use super::super::model::Routing;
use super::*;

fn us() -> Publisher {
    Publisher {
        owner: "edge".into(),
        pop: "fra1".into(),
    }
}

fn simple(name: &str, kind: Kind, value: &str) -> RecordSet {
    RecordSet::simple(name, kind, 60, vec![value.to_owned()])
}

fn routed(identifier: &str) -> RecordSet {
    let mut set = simple("app.example.com", Kind::A, "192.0.2.1");
    set.key.set_identifier = Some(identifier.to_owned());
    set.routing = Routing::Weighted { weight: 1 };
    set
}

#[test]
fn routed_sets_say_it_themselves() {
    let other = |owner: &str, pop: &str| {
        Holder::Portolan(Publisher {
            owner: owner.into(),
            pop: pop.into(),
        })
    };
    let us = us();
    for (identifier, holder) in [
        ("portolan:edge:fra1", Holder::Us),
        ("portolan:edge:fra1:eu", Holder::Us),
        ("portolan:edge:fra10", Holder::Sibling("fra10".into())),
        ("portolan:edge:fra", Holder::Sibling("fra".into())),
        ("portolan:edge2:fra1", other("edge2", "fra1")),
        ("portolan:edge:fra1:a:b", Holder::Unmarked),
        ("portolan:edge", Holder::Unmarked),
        ("portolan::fra1", Holder::Unmarked),
        ("xportolan:edge:fra1", Holder::Unmarked),
        ("blue", Holder::Unmarked),
    ] {
        let sets = [routed(identifier)];
        assert_eq!(
            Ownership::read(&us, &sets).holder(&sets[0]),
            holder,
            "{identifier}"
        );
    }
}

#[test]
fn a_simple_set_is_whose_the_text_beside_it_says() {
    let us = us();
    let set = simple("*.example.com", Kind::A, "192.0.2.1");
    let mark = us.mark(&set);
    assert_eq!(mark.key.name, "_portolan-own.a._wildcard.example.com");
    let sets = [
        set.clone(),
        mark,
        simple("*.example.com", Kind::Aaaa, "::1"),
    ];
    let ownership = Ownership::read(&us, &sets);
    let holders: Vec<Holder> = sets.iter().map(|set| ownership.holder(set)).collect();
    assert_eq!(holders, [Holder::Us, Holder::Us, Holder::Unmarked]);
    assert!(!ownership.drifted(&set));
    assert!(ownership.drifted(&simple("*.example.com", Kind::A, "192.0.2.2")));

    let sibling = Publisher {
        pop: "ams1".into(),
        ..us.clone()
    };
    let sets = [set.clone(), sibling.mark(&set)];
    let ownership = Ownership::read(&us, &sets);
    assert_eq!(ownership.holder(&sets[0]), Holder::Sibling("ams1".into()));
    assert_eq!(ownership.holder(&sets[1]), Holder::Sibling("ams1".into()));
}

#[test]
fn external_dns_is_named() {
    let us = us();
    let note = "\"heritage=external-dns,external-dns/owner=k8s,external-dns/resource=ingress/a/b\"";
    for beside in [
        "a-app.example.com",
        "app.example.com",
        "cname-app.example.com",
    ] {
        let sets = [
            simple("app.example.com", Kind::A, "192.0.2.1"),
            simple(beside, Kind::Txt, note),
        ];
        let holder = Ownership::read(&us, &sets).holder(&sets[0]);
        assert_eq!(
            holder,
            Holder::Marked("external-dns owner k8s".into()),
            "{beside}"
        );
    }
}

#[test]
fn a_traffic_policy_is_never_ours() {
    let mut set = routed("portolan:edge:fra1");
    set.data = Data::TrafficPolicy("1".into());
    let us = us();
    let sets = [set];
    assert_ne!(Ownership::read(&us, &sets).holder(&sets[0]), Holder::Us);
}

#[test]
fn everything_of_a_name_is_one_group() {
    let us = us();
    for name in ["app.example.com", "*.example.com"] {
        let leaf = us.leaf(name, Some("eu"));
        let set = simple(&leaf, Kind::Aaaa, "::1");
        assert_eq!(group(&set.key), name);
        assert_eq!(group(&us.mark(&set).key), name);
        let own = simple(name, Kind::A, "192.0.2.1");
        assert_eq!(group(&own.key), name);
        assert_eq!(group(&us.mark(&own).key), name);
    }
}
