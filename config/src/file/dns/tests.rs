//! What `[dns]` means, and what of it is refused.

use std::path::Path;
use std::time::Duration;

use super::super::{FileErrors, Loaded, parse};
use crate::model::*;

fn read(text: &str) -> Result<Loaded, FileErrors> {
    parse(text, Path::new("/etc/portolan/portolan.toml"))
}

fn dns(lines: &str) -> String {
    format!(
        "[pop]\nname = \"fra1\"\naddresses = [\"198.51.100.7\"]\n[readiness]\nlisten = \"0.0.0.0:8088\"\n\
         [[accelerator]]\nname = \"shop\"\naddresses = [\"203.0.113.1\"]\n\
         [dns]\nhosted_zone = \"example.com\"\nowner = \"edge\"\n{lines}\n"
    )
}

fn record(lines: &str) -> String {
    dns(&format!(
        "[[dns.record]]\nname = \"app.example.com\"\naccelerator = \"shop\"\n{lines}"
    ))
}

fn good(text: &str) -> Dns {
    let loaded = read(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    loaded.config.dns.expect("[dns] is there")
}

/// Key and message of the only error.
fn bad(text: &str) -> (String, String) {
    let Err(errors) = read(text) else {
        panic!("no error in\n{text}")
    };
    let [problem] = errors.problems() else {
        panic!("{errors}\n{text}")
    };
    (problem.key.clone(), problem.to_string())
}

#[test]
fn the_example_of_the_design_is_read() {
    let text = record(
        "ttl = 60\npolicy = { type = \"latency\", region = \"eu-central-1\" }\n\
         health_check = { protocol = \"HTTP\", port = 8088, path = \"/readyz\" }",
    );
    let dns = good(&text);
    assert_eq!(dns.hosted_zone, HostedZone::Name("example.com".into()));
    assert_eq!(
        (dns.mode, dns.interval),
        (DnsMode::Observe, Duration::from_secs(300))
    );
    let record = &dns.records[0];
    assert_eq!(record.policy, RoutingPolicy::Latency("eu-central-1".into()));
    let check = record.health_check.as_ref().expect("it has one");
    assert_eq!(
        (check.port, check.path.as_str(), check.fast),
        (8088, "/readyz", false)
    );
    assert!(read("").expect("it is valid").config.dns.is_none());
}

#[test]
fn every_policy_is_read() {
    let table = [
        ("type = \"simple\"", RoutingPolicy::Simple),
        (
            "type = \"weighted\", weight = 85",
            RoutingPolicy::Weighted(85),
        ),
        ("type = \"multivalue\"", RoutingPolicy::Multivalue),
        (
            "type = \"failover\", role = \"secondary\"",
            RoutingPolicy::Failover(FailoverRole::Secondary),
        ),
        (
            "type = \"geolocation\", country = \"*\"",
            RoutingPolicy::Geolocation(Location::Country("*".into())),
        ),
        (
            "type = \"geolocation\", country = \"US\", state = \"CA\"",
            RoutingPolicy::Geolocation(Location::State("CA".into())),
        ),
        (
            "type = \"geoproximity\", latitude = 50.11, longitude = -8.68, bias = -20",
            RoutingPolicy::Geoproximity {
                at: Place::Coordinates {
                    latitude: 5011,
                    longitude: -868,
                },
                bias: -20,
            },
        ),
    ];
    for (policy, expected) in table {
        let dns = good(&record(&format!("policy = {{ {policy} }}")));
        assert_eq!(dns.records[0].policy, expected, "{policy}");
    }
}

#[test]
fn what_route_53_would_refuse_is_refused_here() {
    let table = [
        ("policy = { type = \"weighted\" }", "policy.weight"),
        (
            "policy = { type = \"weighted\", weight = 256 }",
            "policy.weight",
        ),
        (
            "policy = { type = \"simple\", weight = 1 }",
            "policy.weight",
        ),
        (
            "policy = { type = \"latency\", region = \"mars-1\" }",
            "policy.region",
        ),
        (
            "policy = { type = \"geolocation\", country = \"ZZ\" }",
            "policy.country",
        ),
        (
            "policy = { type = \"geolocation\", country = \"DE\", continent = \"EU\" }",
            "policy.continent",
        ),
        (
            "policy = { type = \"geolocation\", country = \"DE\", state = \"CA\" }",
            "policy.state",
        ),
        ("policy = { type = \"geoproximity\" }", "policy.region"),
        (
            "policy = { type = \"geoproximity\", latitude = 1.0 }",
            "policy.longitude",
        ),
        (
            "policy = { type = \"failover\", role = \"primary\" }",
            "policy",
        ),
        ("set = \"a\"", "set"),
        ("alias = \"x.example.com\"", "accelerator"),
        ("ttl = 0", "ttl"),
        (
            "policy = { type = \"multivalue\" }\nhealth_check = { threshold = 11 }",
            "health_check.threshold",
        ),
        (
            "policy = { type = \"multivalue\" }\nhealth_check = { protocol = \"TCP\", host = \"x\" }",
            "health_check.host",
        ),
    ];
    for (lines, key) in table {
        let (found, message) = bad(&record(lines));
        assert_eq!(found, format!("dns.record[0].{key}"), "{lines}: {message}");
    }
}

#[test]
fn records_under_one_name_agree() {
    let second = |lines: &str| {
        record(&format!(
            "policy = {{ type = \"latency\", region = \"eu-west-1\" }}\n\
             [[dns.record]]\nname = \"app.example.com\"\naccelerator = \"shop\"\n{lines}"
        ))
    };
    for (lines, key) in [
        ("set = \"b\"\npolicy = { type = \"multivalue\" }", "policy"),
        (
            "set = \"b\"\npolicy = { type = \"latency\", region = \"eu-west-1\" }",
            "policy",
        ),
        (
            "policy = { type = \"latency\", region = \"eu-west-2\" }",
            "set",
        ),
    ] {
        let (found, message) = bad(&second(lines));
        assert_eq!(found, format!("dns.record[1].{key}"), "{message}");
    }
    let both = good(&second(
        "set = \"b\"\npolicy = { type = \"latency\", region = \"eu-west-2\" }",
    ));
    assert_eq!(both.records.len(), 2);
}

#[test]
fn zones_names_and_accelerators_are_checked() {
    let foreign = dns("[[dns.record]]\nname = \"app.example.org\"\naddresses = \"pop\"");
    assert_eq!(bad(&foreign).0, "dns.record[0].name");
    let unknown = dns("[[dns.record]]\nname = \"a.example.com\"\naccelerator = \"shpo\"");
    assert_eq!(bad(&unknown).0, "dns.record[0].accelerator");
    // What the API makes is not known to the file.
    good(&format!("{unknown}\n[api]\n"));
    let nothing = dns("[[dns.record]]\nname = \"a.example.com\"");
    assert_eq!(bad(&nothing).0, "dns.record[0].accelerator");
    let by_id = dns("create_zone = true").replace("\"example.com\"", "\"Z123\"");
    assert_eq!(bad(&by_id).0, "dns.create_zone");
    let wildcard = dns("[[dns.record]]\nname = \"*.Example.COM.\"\naddresses = \"pop\"");
    assert_eq!(good(&wildcard).records[0].name, "*.example.com");
    let alias = dns("[[dns.record]]\nname = \"a.example.com\"\nalias = \"lb.example.org\"");
    assert_eq!(bad(&alias).0, "dns.record[0].alias");
    good(&format!("{alias}\nalias_zone = \"Z1\""));
}

#[test]
fn marks_fit_into_route_53() {
    let checked = record("policy = { type = \"multivalue\" }\nhealth_check = {}");
    let long = checked.replace("\"edge\"", &format!("\"{}\"", "e".repeat(31)));
    assert_eq!(bad(&long).0, "dns.owner");
    let set = record(&format!(
        "set = \"{}\"\npolicy = {{ type = \"multivalue\" }}",
        "s".repeat(64)
    ))
    .replace("\"edge\"", &format!("\"{}\"", "e".repeat(64)));
    assert_eq!(bad(&set).0, "dns.record[0].set");
}
