//! What `why` tells: exact shares, and a reason for everything that gets nothing.

use portolan_config::explain::Explanation;
use portolan_config::health::HealthState::{Down, Unknown};
use portolan_config::model::ClientAffinity::{None as NoAffinity, SourceIp};
use portolan_config::model::Protocol;
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};
use proptest::prelude::*;

use super::super::explain;
use super::world::{self, Endpoint, Group, listener_addr, listener_of};
use super::{all_down, groups, name, one_each, pick};

/// The snapshot of one listener.
fn snapshot(listener: ListenerSnapshot) -> Snapshot {
    Snapshot {
        generation: 7,
        listeners: vec![listener.into()],
        ..Snapshot::default()
    }
}

fn explained(snapshot: &Snapshot, port: Option<u16>) -> Explanation {
    let client = "192.0.2.1".parse().expect("an address");
    explain(snapshot, client, port, listener_addr(80), Protocol::Tcp).expect("a listener")
}

#[test]
fn an_explanation_tells_shares_and_reasons() {
    let groups = vec![
        Group::new(
            "east",
            50.0,
            vec![
                Endpoint::up("a").weight(30),
                Endpoint::up("b").weight(10),
                Endpoint::up("zero").weight(0),
                Endpoint::up("leaving").draining(),
                Endpoint::up("dead")
                    .health(Down)
                    .reason("connection refused"),
                Endpoint::up("new").health(Unknown),
            ],
        ),
        Group::new("lost", 20.0, vec![Endpoint::up("x").health(Down)]),
        Group::new("west", 100.0, vec![Endpoint::up("w")]),
        Group::new("rest", 100.0, vec![Endpoint::up("r")]),
    ];
    let snapshot = snapshot(listener_of(NoAffinity, groups));
    let told = explained(&snapshot, Some(5));
    let endpoints: Vec<_> = told.groups.iter().flat_map(|g| &g.endpoints).collect();
    let share = |id: &str| {
        endpoints
            .iter()
            .find(|e| e.id == id)
            .expect("it is there")
            .share_percent
    };
    let why = |id: &str| {
        endpoints
            .iter()
            .find(|e| e.id == id)
            .expect("it is there")
            .why_not
            .clone()
            .unwrap_or_default()
    };
    // 50 % by dial and the 10 % of the lost group, to which it is the nearest with an available endpoint.
    assert!((share("a") - 45.0).abs() < 1e-9 && (share("b") - 15.0).abs() < 1e-9);
    assert!((share("w") - 40.0).abs() < 1e-9 && share("r") == 0.0);
    assert_eq!(why("zero"), "weight 0");
    assert_eq!(why("leaving"), "draining");
    assert_eq!(why("dead"), "DOWN: connection refused");
    assert_eq!(why("new"), "UNKNOWN: not checked yet");
    assert_eq!(
        why("r"),
        "group rest gets nothing: nearer groups' dials take all of it"
    );
    assert_eq!(why("a"), "");
    let verdicts: Vec<_> = told.groups.iter().map(|g| g.verdict.as_str()).collect();
    assert_eq!(
        verdicts,
        [
            "its dial takes 50 % of new flows; failover: gets 10 % as the nearest group with an available endpoint",
            "its dial takes 10 % of new flows; has no available endpoint, so its flows go to east",
            "its dial takes 40 % of new flows",
            "gets nothing: nearer groups' dials take all of it",
        ]
    );
    let chosen = told.chosen.expect("one");
    let picked = pick(&snapshot.listeners[0], "192.0.2.1:5").expect("one");
    assert_eq!(
        format!("{}/{}", chosen.region, chosen.endpoint),
        name(&snapshot.listeners[0], &picked)
    );
    assert_eq!(chosen.then.len(), 3);
    assert_eq!(
        (told.client.as_str(), told.to.as_str()),
        ("192.0.2.1:5", "203.0.113.10:80/TCP")
    );
}

#[test]
fn an_explanation_of_fail_open_and_of_refusal() {
    let open = explained(&snapshot(listener_of(SourceIp, all_down())), None);
    assert_eq!(open.chosen.expect("one").reason, "fail_open");
    assert!(
        open.groups[2].verdict.contains("fail open"),
        "{}",
        open.groups[2].verdict
    );
    let shares: Vec<_> = open.groups[2]
        .endpoints
        .iter()
        .map(|e| e.share_percent)
        .collect();
    assert_eq!(shares, [50.0, 50.0, 0.0]);

    let closed = explained(
        &snapshot(world::closed(listener_of(SourceIp, all_down()))),
        None,
    );
    assert_eq!(closed.chosen, None);
    assert!(
        closed.groups[0].verdict.ends_with("its flows are refused"),
        "{}",
        closed.groups[0].verdict
    );
}

#[test]
fn without_a_port_only_shares_can_be_told() {
    let told = explained(
        &snapshot(listener_of(
            NoAffinity,
            one_each(&[("a", 50.0), ("b", 50.0)]),
        )),
        None,
    );
    assert_eq!(told.chosen, None);
    assert_eq!(
        told.groups[1].verdict,
        "its dial takes 25 % of new flows, and as the last group it gets the 25 % that no dial took"
    );
    assert_eq!(told.groups[1].endpoints[0].share_percent, 50.0);
}

proptest! {
    #[test]
    fn explained_shares_add_up(groups in groups(), fail_open in any::<bool>()) {
        let mut listener = listener_of(SourceIp, groups);
        if !fail_open {
            listener = world::closed(listener);
        }
        let told = explained(&snapshot(listener), None);
        let total: f64 = told.groups.iter().flat_map(|g| &g.endpoints).map(|e| e.share_percent).sum();
        let expected = if told.chosen.is_some() { 100.0 } else { 0.0 };
        prop_assert!((total - expected).abs() < 1e-6, "{total} {told:#?}");
        for endpoint in told.groups.iter().flat_map(|g| &g.endpoints) {
            prop_assert_eq!(endpoint.share_percent > 0.0, endpoint.why_not.is_none());
        }
    }
}
