//! Each rule with a set that breaks it and one that does not. moto takes all of these; Route 53 takes none of the bad ones.

use super::super::model::CheckRef;
use super::*;

const NAME: &str = "app.example.com";

fn zone() -> Zone {
    Zone {
        id: "Z1".into(),
        name: "example.com".into(),
    }
}

fn a(values: &[&str]) -> RecordSet {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    RecordSet::simple(NAME, Kind::A, 60, values)
}

fn routed(id: &str, routing: Routing) -> RecordSet {
    let mut set = a(&["192.0.2.1"]);
    set.key.set_identifier = Some(id.into());
    set.routing = routing;
    set
}

fn weighted(weight: i64) -> Routing {
    Routing::Weighted { weight }
}

fn latency(region: &str) -> Routing {
    Routing::Latency {
        region: region.into(),
    }
}

fn place(continent: Option<&str>, country: Option<&str>, subdivision: Option<&str>) -> Routing {
    Routing::Geolocation {
        continent: continent.map(Into::into),
        country: country.map(Into::into),
        subdivision: subdivision.map(Into::into),
    }
}

fn near(region: Option<&str>, coordinates: Option<(i32, i32)>, bias: i32) -> Routing {
    Routing::Geoproximity {
        region: region.map(Into::into),
        local_zone_group: None,
        coordinates,
        bias,
    }
}

fn alias(mut set: RecordSet, zone: &str, name: &str, evaluate_target_health: bool) -> RecordSet {
    set.data = Data::Alias {
        zone: zone.into(),
        name: name.into(),
        evaluate_target_health,
    };
    set
}

fn of_kind(mut set: RecordSet, kind: &str) -> RecordSet {
    set.key.kind = Kind::of(kind);
    set
}

fn named(mut set: RecordSet, name: &str) -> RecordSet {
    set.key.name = name.into();
    set
}

fn with_ttl(mut set: RecordSet, seconds: i64) -> RecordSet {
    if let Data::Values { ttl, .. } = &mut set.data {
        *ttl = seconds;
    }
    set
}

fn checked(mut set: RecordSet) -> RecordSet {
    set.health_check = Some(CheckRef::Id("c".into()));
    set
}

/// What is wrong with a set beside others.
fn wrong(set: &RecordSet, beside: &[RecordSet]) -> Vec<String> {
    let zone = zone();
    let all = beside.iter().chain([set]);
    let prospect = Prospect::new(&zone, all);
    let violations = prospect.violations(&[set]);
    violations.into_iter().map(|v| v.what).collect()
}

#[test]
fn good_sets_pass() {
    let other = named(a(&["192.0.2.9"]), "leaf.example.com");
    let lb = "x.eu-central-1.elb.amazonaws.com";
    for (set, beside) in [
        (a(&["192.0.2.1", "192.0.2.2"]), vec![]),
        (named(a(&["192.0.2.1"]), "*.example.com"), vec![]),
        (named(a(&["192.0.2.1"]), "example.com"), vec![]),
        (routed("1", weighted(85)), vec![routed("2", weighted(0))]),
        (
            routed("1", weighted(255)),
            vec![with_ttl(of_kind(routed("2", weighted(1)), "AAAA"), 5)],
        ),
        (
            routed("1", latency("eu-central-1")),
            vec![routed("2", latency("eu-west-1"))],
        ),
        (
            routed("1", place(Some("EU"), None, None)),
            vec![routed("2", place(None, Some("*"), None))],
        ),
        (
            routed("1", place(None, Some("US"), Some("CA"))),
            vec![routed("2", place(None, Some("US"), None))],
        ),
        (
            routed("1", near(None, Some((5011, 868)), -99)),
            vec![routed("2", near(Some("eu-west-1"), None, 0))],
        ),
        (
            checked(routed("1", Routing::Failover { primary: true })),
            vec![routed("2", Routing::Failover { primary: false })],
        ),
        (
            alias(
                routed("1", Routing::Failover { primary: true }),
                "Z35SXDOTRQ7X7K",
                lb,
                true,
            ),
            vec![],
        ),
        (
            routed("1", Routing::Multivalue),
            vec![routed("2", Routing::Multivalue)],
        ),
        (alias(a(&[]), "Z1", "leaf.example.com", false), vec![other]),
    ] {
        assert_eq!(wrong(&set, &beside), [""; 0], "{set:?}");
    }
}

/// What it is, the set, and what is beside it.
type Bad = (&'static str, RecordSet, Vec<RecordSet>);

fn text(value: &str) -> RecordSet {
    RecordSet::simple(NAME, Kind::Txt, 60, vec![value.into()])
}

fn leaf(kind: &str) -> RecordSet {
    of_kind(named(a(&["192.0.2.9"]), "leaf.example.com"), kind)
}

fn weight(id: &str) -> RecordSet {
    routed(id, weighted(1))
}

fn two(routing: Routing) -> RecordSet {
    let mut set = a(&["192.0.2.1", "192.0.2.2"]);
    set.key.set_identifier = Some("1".into());
    set.routing = routing;
    set
}

fn without_id(routing: Routing) -> RecordSet {
    let mut set = a(&["192.0.2.1"]);
    set.routing = routing;
    set
}

fn refused(bad: Vec<Bad>) {
    for (what, set, beside) in bad {
        assert!(!wrong(&set, &beside).is_empty(), "{what}");
    }
}

#[test]
fn names_and_values_are_judged() {
    let long = format!("{}.example.com", "a".repeat(64));
    refused(vec![
        ("an address", a(&["999.1.1.1"]), vec![]),
        (
            "an address of the other family",
            of_kind(a(&["192.0.2.1"]), "AAAA"),
            vec![],
        ),
        ("no value", a(&[]), vec![]),
        ("a value twice", a(&["192.0.2.1", "192.0.2.1"]), vec![]),
        ("a TTL", with_ttl(a(&["192.0.2.1"]), -1), vec![]),
        ("text without quotes", text("x"), vec![]),
        (
            "a name elsewhere",
            named(a(&["192.0.2.1"]), "app.example.org"),
            vec![],
        ),
        (
            "a name that only looks inside",
            named(a(&["192.0.2.1"]), "appexample.com"),
            vec![],
        ),
        ("a label", named(a(&["192.0.2.1"]), &long), vec![]),
    ]);
}

#[test]
fn identifiers_weights_and_values_a_set_are_judged() {
    refused(vec![
        (
            "a CNAME at the top",
            named(of_kind(text("x"), "CNAME"), "example.com"),
            vec![],
        ),
        (
            "a CNAME beside",
            a(&["192.0.2.1"]),
            vec![of_kind(text("x"), "CNAME")],
        ),
        (
            "a policy without an identifier",
            without_id(weighted(1)),
            vec![],
        ),
        (
            "an identifier without a policy",
            routed("1", Routing::Simple),
            vec![],
        ),
        (
            "an identifier too long",
            routed(&"i".repeat(129), weighted(1)),
            vec![],
        ),
        ("a weight", routed("1", weighted(256)), vec![]),
        ("a negative weight", routed("1", weighted(-1)), vec![]),
        ("two values by weight", two(weighted(1)), vec![]),
        ("two values by latency", two(latency("eu-west-1")), vec![]),
        (
            "two values in one multivalue set",
            two(Routing::Multivalue),
            vec![],
        ),
    ]);
}

#[test]
fn sets_of_one_name_are_judged_together() {
    let hundred: Vec<RecordSet> = (0..100).map(|n| weight(&format!("s{n}"))).collect();
    refused(vec![
        (
            "mixed policies",
            weight("1"),
            vec![routed("2", latency("eu-west-1"))],
        ),
        ("simple beside routed", weight("1"), vec![a(&["192.0.2.2"])]),
        ("routed beside simple", a(&["192.0.2.2"]), vec![weight("1")]),
        (
            "TTLs that differ",
            weight("1"),
            vec![with_ttl(weight("2"), 30)],
        ),
        ("too many by weight", weight("1"), hundred),
    ]);
}

#[test]
fn places_are_judged() {
    refused(vec![
        ("a region", routed("1", latency("mars-1")), vec![]),
        (
            "a region twice",
            routed("1", latency("eu-west-1")),
            vec![routed("2", latency("eu-west-1"))],
        ),
        (
            "continent and country",
            routed("1", place(Some("EU"), Some("DE"), None)),
            vec![],
        ),
        (
            "a continent",
            routed("1", place(Some("XX"), None, None)),
            vec![],
        ),
        (
            "a country",
            routed("1", place(None, Some("ZZ"), None)),
            vec![],
        ),
        (
            "a state elsewhere",
            routed("1", place(None, Some("DE"), Some("CA"))),
            vec![],
        ),
        (
            "a state",
            routed("1", place(None, Some("US"), Some("ZZ"))),
            vec![],
        ),
        ("no place", routed("1", place(None, None, None)), vec![]),
        (
            "a place twice",
            routed("1", place(None, Some("*"), None)),
            vec![routed("2", place(None, Some("*"), None))],
        ),
        (
            "two places at once",
            routed("1", near(Some("eu-west-1"), Some((0, 0)), 0)),
            vec![],
        ),
        (
            "no place to be near",
            routed("1", near(None, None, 0)),
            vec![],
        ),
        (
            "a bias",
            routed("1", near(Some("eu-west-1"), None, 100)),
            vec![],
        ),
        (
            "coordinates",
            routed("1", near(None, Some((9001, 0)), 0)),
            vec![],
        ),
        (
            "a region nowhere",
            routed("1", near(Some("mars-1"), None, 0)),
            vec![],
        ),
        (
            "one place with two biases",
            routed("1", near(Some("eu-west-1"), None, 0)),
            vec![routed("2", near(Some("eu-west-1"), None, 5))],
        ),
    ]);
}

#[test]
fn failover_and_aliases_are_judged() {
    let primary = Routing::Failover { primary: true };
    let back = alias(named(a(&[]), "leaf.example.com"), "Z1", NAME, false);
    refused(vec![
        ("an unchecked primary", routed("1", primary.clone()), vec![]),
        (
            "two primaries",
            checked(routed("1", primary.clone())),
            vec![checked(routed("2", primary.clone()))],
        ),
        (
            "a multivalue alias",
            alias(
                routed("1", Routing::Multivalue),
                "Z1",
                "leaf.example.com",
                false,
            ),
            vec![leaf("A")],
        ),
        (
            "an alias to nothing",
            alias(a(&[]), "Z1", "leaf.example.com", false),
            vec![],
        ),
        (
            "an alias to another type",
            alias(a(&[]), "Z1", "leaf.example.com", false),
            vec![leaf("TXT")],
        ),
        (
            "an alias to itself",
            alias(a(&[]), "Z1", NAME, false),
            vec![],
        ),
        (
            "aliases in a circle",
            alias(a(&[]), "Z1", "leaf.example.com", false),
            vec![back],
        ),
        (
            "an alias of this zone with another's id",
            alias(a(&[]), "Z9", "leaf.example.com", false),
            vec![leaf("A")],
        ),
        (
            "an alias to no accelerator",
            alias(a(&[]), "Z2BJ6XQ5FK7U4H", "x.example.org", false),
            vec![],
        ),
    ]);
}

#[test]
fn what_others_do_wrong_among_themselves_is_not_ours() {
    let ours = named(a(&["192.0.2.1"]), "ours.example.com");
    let others = [routed("1", weighted(300)), routed("2", latency("mars-1"))];
    assert_eq!(wrong(&ours, &others), [""; 0]);
}
