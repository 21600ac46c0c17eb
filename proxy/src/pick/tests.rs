//! The rules of the pick, one test a rule, then its properties. Seeds are fixed: what passes once passes always.

mod explained;
pub(crate) mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Instant;

use portolan_config::clock;
use portolan_config::flow::PickReason;
use portolan_config::health::HealthState::{self, Down, Unknown, Up};
use portolan_config::model::ClientAffinity::{None as NoAffinity, SourceIp};
use portolan_config::model::{PortOverride, Protocol};
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};
use proptest::prelude::*;

use super::{Candidate, MAX_CANDIDATES, MAX_OF_ONE_ENDPOINT, candidates, key, listener};
use world::{ACCELERATOR, Endpoint, Group, clients, listener_addr, listener_of};

fn pick(listener: &ListenerSnapshot, client: &str) -> Option<Candidate> {
    let key = key(listener, world::client(client), listener_addr(80));
    candidates(listener, key).next(listener)
}

fn walk(listener: &ListenerSnapshot, client: &str) -> Vec<Candidate> {
    let mut walk = candidates(
        listener,
        key(listener, world::client(client), listener_addr(80)),
    );
    std::iter::from_fn(|| walk.next(listener)).collect()
}

fn name(listener: &ListenerSnapshot, c: &Candidate) -> String {
    let group = &listener.groups[c.group];
    format!("{}/{}", group.region, group.endpoints[c.endpoint].id)
}

/// What each of `n` clients gets.
fn picks(listener: &ListenerSnapshot, n: u32) -> Vec<Option<String>> {
    let pick = |client: &String| pick(listener, client).map(|c| name(listener, &c));
    clients(n).map(|client| pick(&client)).collect()
}

fn shares(listener: &ListenerSnapshot, n: u32) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    for name in picks(listener, n).into_iter().flatten() {
        *shares.entry(name).or_default() += 1.0 / f64::from(n);
    }
    shares
}

fn assert_share(shares: &BTreeMap<String, f64>, name: &str, expected: f64, n: u32) {
    let share = shares.get(name).copied().unwrap_or_default();
    let sigma = (expected * (1.0 - expected) / f64::from(n)).sqrt();
    assert!(
        (share - expected).abs() <= 4.0 * sigma + 1e-9,
        "{name}: {share}, not {expected}"
    );
}

fn one_each(dials: &[(&str, f64)]) -> Vec<Group> {
    dials
        .iter()
        .map(|(region, dial)| Group::new(region, *dial, vec![Endpoint::up("a")]))
        .collect()
}

#[test]
fn what_live_flows_doubt_is_passed_over_while_there_is_another() {
    let two = || vec![Endpoint::up("a"), Endpoint::up("b")];
    let groups = vec![
        Group::new("near", 100.0, two()),
        Group::new("far", 100.0, vec![Endpoint::up("c")]),
    ];
    let listener = listener_of(NoAffinity, groups);
    let doubt = |group: usize, endpoint: usize| {
        let live = &listener.groups[group].endpoints[endpoint].addresses[0].live;
        live.doubt.found(clock::millis(Instant::now()));
    };
    let got = || {
        picks(&listener, 100)
            .into_iter()
            .flatten()
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        got(),
        BTreeSet::from(["near/a", "near/b"].map(str::to_owned))
    );
    doubt(0, 0);
    assert_eq!(got(), BTreeSet::from(["near/b".to_owned()]));
    let walked = walk(&listener, "192.0.2.1:4000");
    let walked: Vec<_> = walked.iter().map(|c| name(&listener, c)).collect();
    assert_eq!(walked, ["near/b", "far/c", "near/a"]);
    doubt(0, 1);
    assert_eq!(got(), BTreeSet::from(["far/c".to_owned()]));
    // When all are doubted, none is.
    doubt(1, 0);
    assert_eq!(
        got(),
        BTreeSet::from(["near/a", "near/b"].map(str::to_owned))
    );

    let sticky = listener_of(SourceIp, vec![Group::new("near", 100.0, two())]);
    let before = picks(&sticky, 100);
    let live = &sticky.groups[0].endpoints[0].addresses[0].live;
    live.doubt.found(clock::millis(Instant::now()));
    assert_eq!(
        picks(&sticky, 100),
        before,
        "clients stay until it is decided"
    );
}

#[test]
fn doubt_puts_off_and_hides_nobody_from_a_walk() {
    let names = ["near/a", "near/b", "far/c", "farther/d"];
    for doubted in 0..1_u32 << names.len() {
        let groups = vec![
            Group::new("near", 100.0, vec![Endpoint::up("a"), Endpoint::up("b")]),
            Group::new("far", 100.0, vec![Endpoint::up("c")]),
            Group::new("farther", 100.0, vec![Endpoint::up("d")]),
        ];
        let listener = listener_of(NoAffinity, groups);
        let places = [(0, 0), (0, 1), (1, 0), (2, 0)];
        let is_doubted = |index: usize| doubted & (1 << index) != 0;
        for (index, (group, endpoint)) in places.into_iter().enumerate() {
            if is_doubted(index) {
                let live = &listener.groups[group].endpoints[endpoint].addresses[0].live;
                live.doubt.found(clock::millis(Instant::now()));
            }
        }
        for client in clients(20) {
            let walked = walk(&listener, &client);
            let walked: Vec<_> = walked.iter().map(|c| name(&listener, c)).collect();
            let all = walked.iter().map(String::as_str).collect::<BTreeSet<_>>();
            assert_eq!(all, BTreeSet::from(names), "{doubted:04b}");
            let index = |name: &String| names.iter().position(|n| n == name).unwrap();
            let sound = names.len() - doubted.count_ones() as usize;
            let first = walked.iter().take(sound).map(index);
            assert!(
                first.into_iter().all(|i| !is_doubted(i)),
                "{walked:?} {doubted:04b}"
            );
        }
    }
}

#[test]
fn half_stays_and_half_crosses_at_dials_of_fifty() {
    // Global Accelerator's example: nothing is dropped, the last group takes what is left.
    let listener = listener_of(NoAffinity, one_each(&[("east", 50.0), ("west", 50.0)]));
    let shares = shares(&listener, 20_000);
    assert_share(&shares, "east/a", 0.5, 20_000);
    assert_share(&shares, "west/a", 0.5, 20_000);
}

#[test]
fn dials_are_walked_in_order() {
    let listener = listener_of(
        NoAffinity,
        one_each(&[
            ("a", 20.0),
            ("b", 0.0),
            ("c", 50.0),
            ("d", 100.0),
            ("e", 100.0),
        ]),
    );
    let shares = shares(&listener, 20_000);
    for (name, share) in [
        ("a/a", 0.2),
        ("b/a", 0.0),
        ("c/a", 0.4),
        ("d/a", 0.4),
        ("e/a", 0.0),
    ] {
        assert_share(&shares, name, share, 20_000);
    }
    let reasons: BTreeSet<_> = clients(200)
        .map(|c| pick(&listener, &c).expect("one").reason.as_str())
        .collect();
    assert_eq!(reasons, BTreeSet::from(["nearest", "dial"]));
}

#[test]
fn raising_a_dial_moves_only_the_difference() {
    for affinity in [NoAffinity, SourceIp] {
        let dials = |dial| listener_of(affinity, one_each(&[("a", dial), ("b", 100.0)]));
        let (low, high) = (picks(&dials(30.0), 20_000), picks(&dials(45.0), 20_000));
        let moved: Vec<_> = low
            .iter()
            .zip(&high)
            .filter(|(low, high)| low != high)
            .collect();
        assert!(moved.iter().all(|(_, now)| now.as_deref() == Some("a/a")));
        let share = moved.len() as f64 / 20_000.0;
        assert!((share - 0.15).abs() < 0.01, "{share}");
    }
}

#[test]
fn weights_split_a_group() {
    let weights = |weights: &[u8]| {
        let endpoints = weights
            .iter()
            .enumerate()
            .map(|(i, w)| Endpoint::up(&format!("e{i}")).weight(*w));
        vec![Group::new("r", 100.0, endpoints.collect())]
    };
    for affinity in [NoAffinity, SourceIp] {
        for case in [vec![1, 255], vec![4, 5, 5, 6], vec![0, 7]] {
            let shares = shares(&listener_of(affinity, weights(&case)), 50_000);
            let total: f64 = case.iter().map(|w| f64::from(*w)).sum();
            for (i, weight) in case.iter().enumerate() {
                assert_share(
                    &shares,
                    &format!("r/e{i}"),
                    f64::from(*weight) / total,
                    50_000,
                );
            }
        }
    }
}

#[test]
fn source_ip_stays_over_ports_protocols_and_pops() {
    let groups = |reversed: bool| {
        let mut endpoints: Vec<_> = (0..20)
            .map(|i| Endpoint::up(&format!("e{i}")).weight(i * 9 + 1))
            .collect();
        if reversed {
            endpoints.reverse();
        }
        vec![
            Group::new("near", 40.0, endpoints.clone()),
            Group::new("far", 100.0, endpoints),
        ]
    };
    let here = listener_of(SourceIp, groups(false));
    let mut there = listener_of(SourceIp, groups(true));
    there.protocol = Protocol::Udp;
    for i in 0..500u32 {
        let client = |port: u32| world::client(&format!("198.51.{}.{}:{port}", i / 250, i % 250));
        let ours = candidates(&here, key(&here, client(1000 + i), listener_addr(80))).next(&here);
        let theirs = candidates(&there, key(&there, client(9), listener_addr(443))).next(&there);
        let (ours, theirs) = (ours.expect("one"), theirs.expect("one"));
        assert_eq!(name(&here, &ours), name(&there, &theirs));
        assert_eq!(ours.to.0.ip(), theirs.to.0.ip());
    }
}

#[test]
fn a_mapped_client_is_the_same_client() {
    let listener = listener_of(SourceIp, one_each(&[("a", 100.0)]));
    let key = |client| key(&listener, world::client(client), listener_addr(80));
    assert_eq!(key("192.0.2.7:1"), key("[::ffff:192.0.2.7]:2"));
    assert_ne!(key("192.0.2.7:1"), key("192.0.2.8:1"));
}

#[test]
fn an_unhealthy_endpoint_moves_only_its_own_and_gets_them_back() {
    for affinity in [NoAffinity, SourceIp] {
        let with = |health| {
            let endpoints = (0..8)
                .map(|i| Endpoint::up(&format!("e{i}")).health(if i == 3 { health } else { Up }));
            listener_of(affinity, vec![Group::new("r", 100.0, endpoints.collect())])
        };
        let (before, during, after) = (
            picks(&with(Up), 5000),
            picks(&with(Down), 5000),
            picks(&with(Up), 5000),
        );
        assert_eq!(before, after);
        for (before, during) in before.iter().zip(&during) {
            assert_ne!(during.as_deref(), Some("r/e3"));
            assert!(before == during || before.as_deref() == Some("r/e3"));
        }
    }
}

#[test]
fn failover_takes_the_nearest_with_an_available_endpoint_whatever_its_dial() {
    let mut groups = one_each(&[("a", 100.0), ("b", 0.0), ("c", 100.0)]);
    groups[0].endpoints = vec![
        Endpoint::up("a").health(Down),
        Endpoint::up("zero").weight(0),
    ];
    let listener = listener_of(NoAffinity, groups);
    for client in clients(100) {
        let c = pick(&listener, &client).expect("one");
        assert_eq!(
            (name(&listener, &c).as_str(), c.reason),
            ("b/a", PickReason::Failover)
        );
    }
}

#[test]
fn all_dials_zero_is_the_nearest_available() {
    let mut groups = one_each(&[("a", 0.0), ("b", 0.0), ("c", 0.0)]);
    groups[0].endpoints = vec![Endpoint::up("a").health(Unknown)];
    assert_share(
        &shares(&listener_of(NoAffinity, groups), 100),
        "b/a",
        1.0,
        100,
    );
}

fn all_down() -> Vec<Group> {
    vec![
        Group::new("empty", 100.0, vec![]),
        Group::new(
            "off",
            100.0,
            vec![
                Endpoint::up("zero").weight(0),
                Endpoint::up("leaving").draining(),
            ],
        ),
        Group::new(
            "near",
            0.0,
            vec![
                Endpoint::up("a").health(Down),
                Endpoint::up("b").health(Unknown),
                Endpoint::up("c").health(Unknown).addresses(&[]),
            ],
        ),
        Group::new("far", 100.0, vec![Endpoint::up("a").health(Down)]),
    ]
}

#[test]
fn fail_open_goes_to_the_nearest_with_a_weight_but_never_into_a_drain() {
    let listener = listener_of(NoAffinity, all_down());
    let shares = shares(&listener, 2000);
    assert_share(&shares, "near/a", 0.5, 2000);
    assert_share(&shares, "near/b", 0.5, 2000);
    assert_eq!(
        pick(&listener, "192.0.2.1:1").expect("one").reason,
        PickReason::FailOpen
    );
    assert!(
        walk(&listener, "192.0.2.1:1")
            .iter()
            .all(|c| !name(&listener, c).starts_with("off/"))
    );
}

#[test]
fn without_fail_open_there_is_none() {
    let listener = world::closed(listener_of(NoAffinity, all_down()));
    assert_eq!(walk(&listener, "192.0.2.1:1"), []);
}

#[test]
fn no_groups_no_pick() {
    assert_eq!(pick(&listener_of(SourceIp, vec![]), "192.0.2.1:1"), None);
}

#[test]
fn a_full_endpoint_is_not_available_not_even_to_fail_open() {
    let groups = vec![
        Group::new("near", 100.0, vec![Endpoint::up("capped").max_flows(2)]),
        Group::new("far", 100.0, vec![Endpoint::up("a").max_flows(1)]),
    ];
    let listener = listener_of(NoAffinity, groups);
    let fill = |group: usize, flows| {
        listener.groups[group].endpoints[0]
            .stats
            .active_flows
            .store(flows, Ordering::Relaxed)
    };
    let got = || pick(&listener, "192.0.2.1:1").map(|c| name(&listener, &c));
    fill(0, 1);
    assert_eq!(got().as_deref(), Some("near/capped"));
    fill(0, 2);
    assert_eq!(got().as_deref(), Some("far/a"));
    fill(1, 1);
    assert_eq!(got(), None);
}

#[test]
fn the_port_is_the_override_then_the_endpoints_own_then_the_one_spoken_to() {
    let endpoints = vec![Endpoint::up("own").port(8080), Endpoint::up("none")];
    let mut group = Group::new("r", 100.0, endpoints);
    group.port_overrides = vec![
        PortOverride {
            listener_port: 81,
            endpoint_port: 9081,
        },
        PortOverride {
            listener_port: 82,
            endpoint_port: 9082,
        },
    ];
    let listener = listener_of(NoAffinity, vec![group]);
    let ports = |port| -> BTreeSet<(String, u16)> {
        let mut walk = candidates(
            &listener,
            key(&listener, world::client("192.0.2.1:1"), listener_addr(port)),
        );
        let named = |c: Candidate| (name(&listener, &c), c.to.0.port());
        std::iter::from_fn(|| walk.next(&listener))
            .map(named)
            .collect()
    };
    let expected =
        |own, none| BTreeSet::from([("r/own".to_owned(), own), ("r/none".to_owned(), none)]);
    assert_eq!(ports(80), expected(8080, 80));
    assert_eq!(ports(82), expected(9082, 9082));
}

#[test]
fn the_healthy_addresses_of_an_endpoint_share_it() {
    let mut endpoint =
        Endpoint::up("name").addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    endpoint.down_addresses = 1;
    let listener = listener_of(NoAffinity, vec![Group::new("r", 100.0, vec![endpoint])]);
    let mut counts = [0; 4];
    for client in clients(3000) {
        counts[pick(&listener, &client).expect("one").address] += 1;
    }
    assert_eq!(counts[0], 0);
    assert!(
        counts[1..].iter().all(|n| (900..1100).contains(n)),
        "{counts:?}"
    );
}

#[test]
fn candidates_are_the_endpoints_addresses_then_its_group_then_the_next_groups() {
    let groups = vec![
        Group::new("far-standby", 0.0, vec![Endpoint::up("s")]),
        Group::new(
            "home",
            100.0,
            vec![
                Endpoint::up("a").addresses(&["10.1.0.1", "10.1.0.2"]),
                Endpoint::up("b").addresses(&["10.1.1.1", "10.1.1.2"]),
            ],
        ),
        Group::new(
            "next",
            100.0,
            vec![Endpoint::up("c"), Endpoint::up("d").health(Down)],
        ),
    ];
    let listener = listener_of(NoAffinity, groups);
    for client in clients(50) {
        let walk = walk(&listener, &client);
        let names: Vec<_> = walk.iter().map(|c| name(&listener, c)).collect();
        let first = names[0].clone();
        let other = if first == "home/a" {
            "home/b"
        } else {
            "home/a"
        };
        assert_eq!(names, [&first, &first, other, "far-standby/s", "next/c"]);
        assert_eq!(walk[0].reason, PickReason::Dial);
        assert!(walk[1..].iter().all(|c| c.reason == PickReason::Retry));
    }
}

#[test]
fn a_name_with_many_addresses_leaves_room_for_others() {
    let addresses: Vec<_> = (0..16).map(|i| format!("10.2.0.{i}")).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let groups = vec![
        Group::new("r", 100.0, vec![Endpoint::up("wide").addresses(&addresses)]),
        Group::new("s", 100.0, vec![Endpoint::up("a")]),
    ];
    let listener = listener_of(NoAffinity, groups);
    let walk = walk(&listener, "192.0.2.1:1");
    assert_eq!(walk.len(), MAX_OF_ONE_ENDPOINT + 1);
    assert_eq!(name(&listener, &walk[MAX_OF_ONE_ENDPOINT]), "s/a");
}

#[test]
fn one_address_in_two_groups_is_tried_once() {
    let endpoint = || vec![Endpoint::up("a").addresses(&["10.0.0.9"])];
    let listener = listener_of(
        NoAffinity,
        vec![
            Group::new("r", 100.0, endpoint()),
            Group::new("s", 100.0, endpoint()),
        ],
    );
    assert_eq!(walk(&listener, "192.0.2.1:1").len(), 1);
}

#[test]
fn an_exact_address_beats_the_wildcard() {
    let wild = listener_of(NoAffinity, vec![]);
    let mut exact = listener_of(SourceIp, vec![]);
    exact.addresses = vec![ACCELERATOR.parse().expect("an address")];
    let snapshot = Snapshot {
        listeners: vec![wild.into(), exact.into()],
        ..Snapshot::default()
    };
    let affinity = |to: &str, protocol| {
        let to = portolan_config::address::ListenerAddr(to.parse().expect("an address"));
        listener(&snapshot, to, protocol).map(|l| l.client_affinity)
    };
    assert_eq!(affinity("203.0.113.10:80", Protocol::Tcp), Some(SourceIp));
    assert_eq!(
        affinity("[::ffff:203.0.113.10]:80", Protocol::Tcp),
        Some(SourceIp)
    );
    assert_eq!(affinity("203.0.113.11:80", Protocol::Tcp), Some(NoAffinity));
    assert_eq!(affinity("203.0.113.10:79", Protocol::Tcp), None);
    assert_eq!(affinity("203.0.113.10:80", Protocol::Udp), None);
}

fn health() -> impl Strategy<Value = HealthState> {
    prop_oneof![3 => Just(Up), 1 => Just(Down), 1 => Just(Unknown)]
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let endpoint = (0u8..4, health(), any::<bool>(), 0usize..3);
    prop::collection::vec(endpoint, 0..7).prop_map(|all| {
        let endpoint = |(i, (weight, health, draining, more))| {
            let mut endpoint = Endpoint::up(&format!("e{i}")).weight(weight).health(health);
            endpoint.draining = draining;
            endpoint.more_addresses(more)
        };
        all.into_iter().enumerate().map(endpoint).collect()
    })
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let dial = prop_oneof![Just(0.0), Just(100.0), 0.0..100.0f64];
    prop::collection::vec((dial, endpoints()), 0..4).prop_map(|all| {
        let group = |(i, (dial, endpoints))| Group::new(&format!("r{i}"), dial, endpoints);
        all.into_iter().enumerate().map(group).collect()
    })
}

proptest! {
    #[test]
    fn candidates_never_repeat_and_are_sound(groups in groups(), sticky in any::<bool>(), fail_open in any::<bool>(), client in any::<u32>()) {
        let mut listener = listener_of(if sticky { SourceIp } else { NoAffinity }, groups);
        if !fail_open {
            listener = world::closed(listener);
        }
        let walk = walk(&listener, &format!("{}:1", std::net::Ipv4Addr::from(client)));
        let endpoint = |c: &Candidate| &listener.groups[c.group].endpoints[c.endpoint];

        let tos: BTreeSet<_> = walk.iter().map(|c| c.to).collect();
        prop_assert_eq!(tos.len(), walk.len());
        prop_assert!(walk.len() <= MAX_CANDIDATES);
        for c in &walk {
            let e = endpoint(c);
            prop_assert!(e.is_open() && c.to.0.ip() == e.addresses[c.address].ip);
        }
        let available: BTreeSet<_> = listener.groups.iter().enumerate()
            .flat_map(|(g, group)| group.endpoints.available().iter().map(move |e| (g, e)))
            .collect();
        let walked: BTreeSet<_> = walk.iter().map(|c| (c.group, c.endpoint)).collect();
        if available.is_empty() {
            let any_open = listener.groups.iter().any(|g| !g.endpoints.open().is_empty());
            prop_assert_eq!(walk.first().map(|c| c.reason), (any_open && fail_open).then_some(PickReason::FailOpen));
        } else {
            prop_assert!(walked.is_subset(&available));
            // All that are available are asked, unless the walk is cut short.
            prop_assert!(walked == available || walk.len() == MAX_CANDIDATES);
            // And those of the picked group before those of any other.
            let home = walk[0].group;
            let left = walk.iter().position(|c| c.group != home).unwrap_or(walk.len());
            prop_assert!(walk[left..].iter().all(|c| c.group != home));
        }
    }
}
