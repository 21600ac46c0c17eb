//! The table of how Global Accelerator's words become ours, and what cannot be served.

use portolan_config::address::Host;
use portolan_config::model::{
    AliasAddress, ClientAffinity, EndpointAlias, Probe, Protocol, Source,
};
use portolan_config::units::Weight;

use super::*;
use crate::aws::map::{Advice, Desired, NoteKind, desired};
use crate::aws::picture::{ElasticIpFacts, LoadBalancerFacts, TaggedFacts};

const ALB: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/1";
const NLB: &str = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/mail/2";

fn balancer(kind: &str, internal: bool, fixed: &[&str]) -> Resource {
    Resource::LoadBalancer(LoadBalancerFacts {
        kind: kind.into(),
        dns_name: format!("{kind}.us-east-1.elb.amazonaws.com"),
        internal,
        state: "active".into(),
        static_addresses: fixed
            .iter()
            .map(|ip| ip.parse().expect("an address"))
            .collect(),
    })
}

fn map(picture: &Picture, settings: &Settings) -> Desired {
    desired(
        picture,
        settings,
        &Advice::default(),
        &mut Allocations::new(),
    )
}

fn group_of<'a>(picture: &'a mut Picture, name: &str) -> &'a mut GroupFacts {
    let accelerator = picture.accelerators.get_mut(&arn(name)).expect("there");
    let listener = accelerator.listeners.values_mut().next().expect("one");
    listener.groups.values_mut().next().expect("one")
}

#[test]
fn a_new_name_in_aws_takes_no_addresses_away() {
    let mut settings = settings();
    settings.pool = Vec::new();
    settings.addresses = vec![(
        "shop".into(),
        vec!["192.0.2.9".parse().expect("an address")],
    )];
    let mut picture = world(&[("shop", "us-east-1:i-1")]);
    let first = cycle(
        &Known::default(),
        &reading(&picture),
        &settings,
        false,
        at(0),
    );
    let facts = picture.accelerators.get_mut(&arn("shop")).expect("there");
    facts.name = "store".into();
    let known = cycle(&first.known, &reading(&picture), &settings, false, at(60)).known;
    settings.keys = known.keys;
    let out = map(&known.picture, &settings);
    assert_eq!(out.accelerators[0].name.as_str(), "store");
    assert_eq!(out.accelerators[0].addresses, settings.addresses[0].1);
    assert_eq!(out.notes[0].kind, NoteKind::Renamed);

    // Another one takes the name: the addresses are the file's word for that.
    let mut other = picture.accelerators[&arn("shop")].clone();
    (other.name, other.created) = ("shop".into(), 5);
    picture.accelerators.insert(arn("new"), other);
    let out = map(&picture, &settings);
    assert_eq!(out.accelerators.len(), 1);
    assert_eq!(out.accelerators[0].name.as_str(), "shop");
}

#[test]
fn everything_that_the_table_names_is_carried_over() {
    let mut picture = world(&[("shop", "us-east-1:i-1")]);
    let accelerator = picture.accelerators.get_mut(&arn("shop")).expect("there");
    accelerator.enabled = false;
    let listener = accelerator.listeners.values_mut().next().expect("one");
    (listener.udp, listener.source_ip_affinity) = (true, true);
    listener.ports = vec![(8000, 8100), (53, 53)];
    let group = listener.groups.values_mut().next().expect("one");
    group.traffic_dial = 12.5;
    group.port_overrides = vec![(53, 5353)];
    group.health_check = CheckFacts {
        protocol: "HTTPS".into(),
        port: Some(8443),
        path: Some("/up".into()),
        interval: 10,
        threshold: 5,
    };
    group
        .endpoints
        .values_mut()
        .for_each(|endpoint| endpoint.weight = 0);
    let out = map(&picture, &settings());
    let [accelerator] = &out.accelerators[..] else {
        panic!("{out:?}")
    };
    assert_eq!(
        (
            accelerator.name.as_str(),
            accelerator.source,
            accelerator.enabled
        ),
        ("shop", Source::Aws, false)
    );
    assert_eq!(accelerator.addresses.len(), 2);
    let listener = &accelerator.listeners[0];
    assert_eq!(
        (listener.protocol, listener.client_affinity),
        (Protocol::Udp, ClientAffinity::SourceIp)
    );
    assert_eq!(listener.ports.to_string(), "53,8000-8100");
    let group = &listener.endpoint_groups[0];
    assert_eq!(
        (group.region.as_str(), group.traffic_dial.percent()),
        ("us-east-1", 12.5)
    );
    assert_eq!(
        (
            group.port_overrides[0].listener_port,
            group.port_overrides[0].endpoint_port
        ),
        (53, 5353)
    );
    assert_eq!(
        (
            group.health_check.port,
            group.health_check.unhealthy_threshold.get()
        ),
        (Some(8443), 5)
    );
    assert!(
        matches!(&group.health_check.probe, Probe::Https { http, verify_tls: false, .. } if http.path == "/up")
    );
    let endpoint = &group.endpoints[0];
    assert_eq!((endpoint.id.as_str(), endpoint.weight), ("i-1", Weight(0)));
    assert_eq!(endpoint.host, Host::Ip("198.51.100.0".parse().unwrap()));
}

/// Endpoint, what AWS says it is, what is reached from here, and what it is reached by or why it is not.
type Case = (
    &'static str,
    Option<Resource>,
    AwsReach,
    Result<&'static str, &'static str>,
);

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let private = Some("10.0.0.1".parse().unwrap());
    let stopped = InstanceFacts { state: "stopped".into(), public: None, private: None, ipv6: None };
    let hidden = || Some(Resource::Instance(InstanceFacts { state: "running".into(), public: None, private, ipv6: None }));
    let eip = ElasticIpFacts { public: Some("203.0.113.9".parse().unwrap()), private: None };
    let alb = |internal| Some(balancer("application", internal, &[]));
    let nlb = Some(balancer("network", false, &["203.0.113.1"]));
    vec![
        (ALB, alb(false), AwsReach::Public, Ok("application.us-east-1.elb.amazonaws.com")),
        (ALB, alb(true), AwsReach::Public, Err("internal load balancer")),
        (ALB, alb(true), AwsReach::Private, Ok("application.us-east-1.elb.amazonaws.com")),
        (NLB, nlb, AwsReach::Public, Ok("network.us-east-1.elb.amazonaws.com")),
        ("i-1", Some(Resource::Instance(stopped)), AwsReach::Private, Err("the instance is stopped")),
        ("i-1", hidden(), AwsReach::Public, Err("no public address")),
        ("i-1", hidden(), AwsReach::Private, Ok("10.0.0.1")),
        ("eipalloc-1", Some(Resource::ElasticIp(eip)), AwsReach::Public, Ok("203.0.113.9")),
        (ALB, None, AwsReach::Public, Err("AWS has not said what it is")),
        ("vpce-1", None, AwsReach::Public, Err("not known")),
    ]
}

#[test]
fn what_endpoints_are_reached_by_or_why_they_are_not() {
    for (id, resource, reach, expected) in cases() {
        let mut picture = world(&[("shop", &format!("us-east-1:{id}"))]);
        picture.resources = resource
            .map(|resource| (resource_key("us-east-1", id), resource))
            .into_iter()
            .collect();
        let out = map(
            &picture,
            &Settings {
                reach,
                ..settings()
            },
        );
        let endpoints = &out.accelerators[0].listeners[0].endpoint_groups[0].endpoints;
        match expected {
            Ok(host) => assert_eq!(endpoints[0].host.to_string(), host, "{id}"),
            Err(part) => {
                assert!(endpoints.is_empty(), "{id} is never served silently");
                assert_eq!(out.notes[0].kind, NoteKind::Unreachable);
                assert!(
                    out.notes[0].reason.contains(part),
                    "{}",
                    out.notes[0].reason
                );
            }
        }
        let alias = AliasAddress::Endpoint(Host::Ip("127.0.0.1".parse().unwrap()), Some(81));
        let aliases = vec![EndpointAlias {
            id: id.into(),
            address: alias,
        }];
        let out = map(
            &picture,
            &Settings {
                aliases,
                reach,
                ..settings()
            },
        );
        let endpoint = &out.accelerators[0].listeners[0].endpoint_groups[0].endpoints[0];
        assert_eq!(
            (endpoint.host.to_string().as_str(), endpoint.port),
            ("127.0.0.1", Some(81)),
            "the operator's word"
        );
    }
}

#[test]
fn load_balancers_are_asked_where_flows_go_whatever_the_groups_check_says() {
    let mut picture = world(&[("shop", &format!("us-east-1:{ALB}"))]);
    picture.resources = BTreeMap::from([(ALB.to_owned(), balancer("application", false, &[]))]);
    let group = group_of(&mut picture, "shop");
    group.health_check = CheckFacts {
        protocol: "HTTP".into(),
        port: Some(9),
        path: Some("/x".into()),
        interval: 30,
        threshold: 1,
    };
    group.port_overrides = vec![(80, 8080)];
    let out = map(&picture, &settings());
    let check = &out.accelerators[0].listeners[0].endpoint_groups[0].health_check;
    assert_eq!(
        (&check.probe, check.port, check.unhealthy_threshold.get()),
        (&Probe::Tcp, Some(8080), 1)
    );
}

#[test]
fn accelerators_are_served_where_the_file_says_else_on_the_pool_else_not_and_told() {
    let picture = world(&[("shop", "us-east-1:i-1"), ("mail", "us-east-1:i-2")]);
    let named = |key: String| vec![(key, vec!["203.0.113.10".parse().unwrap()])];
    for key in ["shop".to_owned(), arn("shop")] {
        let settings = Settings {
            addresses: named(key),
            pool: Vec::new(),
            ..settings()
        };
        let out = map(&picture, &settings);
        assert_eq!(out.accelerators.len(), 1);
        assert_eq!(
            out.accelerators[0].addresses,
            ["203.0.113.10".parse::<std::net::IpAddr>().unwrap()]
        );
        let [note] = &out.notes[..] else {
            panic!("{:?}", out.notes)
        };
        assert_eq!(
            (note.kind, note.accelerator.as_str()),
            (NoteKind::NotServed, "mail")
        );
        assert!(note.reason.contains("[aws.addresses]"));
    }
    let taken: BTreeSet<std::net::IpAddr> = BTreeSet::from(["127.77.0.254".parse().unwrap()]);
    let settings = Settings {
        taken,
        ..settings()
    };
    let mut allocations = Allocations::new();
    let first = desired(&picture, &settings, &Advice::default(), &mut allocations);
    let all: BTreeSet<_> = first
        .accelerators
        .iter()
        .flat_map(|a| a.addresses.clone())
        .collect();
    assert_eq!(all.len(), 4, "none twice: {all:?}");
    assert!(all.is_disjoint(&settings.taken));
    let again = desired(&picture, &settings, &Advice::default(), &mut allocations);
    assert_eq!(first, again, "addresses stay");
}

#[test]
fn names_are_told_apart_and_stay_with_the_older() {
    let mut picture = world(&[
        ("1111", "us-east-1:i-1"),
        ("2222", "us-east-1:i-2"),
        ("3333", ""),
    ]);
    for (number, facts) in picture.accelerators.values_mut().enumerate() {
        facts.name = if number == 2 {
            "ü".into()
        } else {
            "shop".into()
        };
        facts.created = 100 - number as i64;
    }
    let names: Vec<String> = map::names(&picture).into_values().collect();
    assert_eq!(names, ["shop-1111", "shop", "3333"]);
}

#[test]
fn advice_gives_nothing_new_to_what_is_empty_unless_everything_is() {
    let mut picture = world(&[("shop", &format!("us-east-1:{ALB} eu-west-1:i-1"))]);
    picture
        .resources
        .insert(ALB.into(), balancer("application", false, &[]));
    let ports = BTreeMap::from([(ALB.to_owned(), BTreeSet::from([443]))]);
    let advice = Advice {
        empty: BTreeSet::from([ALB.to_owned()]),
        ports,
    };
    let weights = |picture: &Picture| {
        let out = desired(picture, &settings(), &advice, &mut Allocations::new());
        let missing = out
            .notes
            .iter()
            .filter(|note| note.kind == NoteKind::NoListener)
            .count();
        assert_eq!(missing, 1, "it listens on 443 alone: {:?}", out.notes);
        let groups = out.accelerators[0].listeners[0].endpoint_groups.iter();
        let weights: Vec<u8> = groups
            .flat_map(|group| &group.endpoints)
            .map(|endpoint| endpoint.weight.0)
            .collect();
        (
            weights,
            out.notes
                .iter()
                .filter(|note| note.kind == NoteKind::NotWorthAConnection)
                .count(),
        )
    };
    let (mut found, notes) = weights(&picture);
    found.sort_unstable();
    assert_eq!((found, notes), (vec![0, 128], 1));
    picture.resources.remove("eu-west-1/i-1");
    assert_eq!(
        weights(&picture),
        (vec![128], 1),
        "nothing else is there to take it"
    );
}

#[test]
fn tagged_load_balancers_fill_an_accelerator_or_make_one() {
    let facts = TaggedFacts {
        accelerator: "shop".into(),
        region: "us-east-1".into(),
        weight: 9,
        dial: Some(50.0),
        port: Some(8443),
    };
    let picture = Picture {
        account: Some(ACCOUNT.into()),
        tagged: BTreeMap::from([(ALB.to_owned(), facts)]),
        resources: BTreeMap::from([(ALB.to_owned(), balancer("application", false, &[]))]),
        ..Picture::default()
    };
    let made = map(&picture, &settings());
    let listener = &made.accelerators[0].listeners[0];
    assert_eq!(
        (
            made.accelerators[0].name.as_str(),
            listener.ports.to_string().as_str()
        ),
        ("shop", "8443")
    );
    assert_eq!(listener.endpoint_groups[0].endpoints[0].weight, Weight(9));
    let named = BTreeSet::from(["shop".to_owned()]);
    let filled = map(
        &picture,
        &Settings {
            named,
            ..settings()
        },
    );
    assert!(filled.accelerators.is_empty());
    let [fill] = &filled.fills[..] else {
        panic!("{filled:?}")
    };
    assert_eq!(
        (fill.accelerator.as_str(), fill.group.region.as_str()),
        ("shop", "us-east-1")
    );
    assert_eq!(
        (fill.group.endpoints[0].port, fill.dial.map(|d| d.percent())),
        (Some(8443), Some(50.0))
    );
}

#[test]
fn fixed_addresses_of_a_network_load_balancer_stand_in_for_its_name() {
    let mut picture = world(&[("shop", &format!("us-east-1:{NLB}"))]);
    picture.resources = BTreeMap::from([(
        NLB.to_owned(),
        balancer("network", false, &["203.0.113.1", "203.0.113.2"]),
    )]);
    let out = map(&picture, &settings());
    assert_eq!(out.hints.len(), 1);
    assert_eq!(
        (&*out.hints[0].0, out.hints[0].1.len()),
        ("network.us-east-1.elb.amazonaws.com", 2)
    );
}

#[test]
fn custom_routing_is_told_and_left_out() {
    let picture = Picture {
        custom_routing: vec!["lobby".into()],
        ..world(&[])
    };
    let out = map(&picture, &settings());
    assert_eq!(
        (out.accelerators.len(), out.notes[0].accelerator.as_str()),
        (0, "lobby")
    );
}
