//! What people read: everything that is wrong is there, columns stand, nothing scrolls.

use portolan_control::state::EndpointAddressView;
use serde_json::json;

use super::draw::{age, bytes, count};
use super::*;

fn now() -> SystemTime {
    humantime::parse_rfc3339_weak("2026-11-03T12:00:00Z").unwrap()
}

fn endpoint(id: &str, health: &str, reason: Option<&str>) -> serde_json::Value {
    json!({
        "id": id, "address": id, "addresses": [{ "address": "10.0.1.10", "health": health, "latency_ms": 5.0 }],
        "weight": 128, "health": health, "health_reason": reason, "health_since": "2026-11-03T11:58:00Z", "draining": false,
        "latency_ms": 5.04, "active_flows": 3, "total_flows": 1204, "bytes_in": 1_500_000, "bytes_out": 999,
    })
}

fn state() -> StateView {
    serde_json::from_value(json!({
        "pop": "fra1", "generation": 42,
        "config": { "generation": 3, "loaded_at": "2026-11-03T09:00:00Z", "error": null, "source": "portolan.toml" },
        "ready": true, "not_ready": [], "pop_draining": false, "warnings": [], "drains": [],
        "relay_mode": "copy",
        "accelerators": [{
            "name": "shop", "enabled": true, "source": "file",
            "addresses": [{ "address": "203.0.113.10", "assigned": true, "error": null }],
            "listeners": [{
                "protocol": "TCP", "ports": [80, "8000-8100"], "client_affinity": "NONE", "active_flows": 6,
                "endpoint_groups": [
                    { "region": "eu-west-1", "traffic_dial": 100.0, "distance_ms": 50.25, "order": 1, "health_check": "TCP",
                      "endpoints": [endpoint("web-9", "DOWN", Some("connection refused"))] },
                    { "region": "us-east-1", "traffic_dial": 50.0, "distance_ms": null, "order": 0, "health_check": "HTTP",
                      "endpoints": [endpoint("web-1", "UP", None)] },
                ],
            }],
        }],
    }))
    .unwrap()
}

fn drawn(state: &StateView) -> String {
    draw(state, None, Paint::Plain, now())
}

#[test]
fn a_calm_edge_is_a_table_by_distance() {
    assert_eq!(
        drawn(&state()),
        "\
PoP fra1  ready  snapshot 42, configuration 3 from portolan.toml 3 h ago, relay epoll

shop  file  203.0.113.10
  TCP 80, 8000-8100  client affinity NONE, 6 flows
      ENDPOINT  HEALTH  FOR    LATENCY  WEIGHT  FLOWS  TOTAL      IN    OUT  REASON
    1. us-east-1  distance unknown, dial 50 %, check HTTP
      web-1     UP      2 min  5.04 ms     128      3  1 204  1.5 MB  999 B
    2. eu-west-1  50.2 ms, dial 100 %, check TCP
      web-9     DOWN    2 min  5.04 ms     128      3  1 204  1.5 MB  999 B  connection refused
"
    );
}

#[test]
fn everything_that_is_wrong_is_said_before_the_tables() {
    let mut state = state();
    state.ready = false;
    state.pop_draining = true;
    state.not_ready = vec!["the PoP is draining".into()];
    state.warnings = vec!["shop has no endpoints in mars-1".into()];
    state.config.error = Some("portolan.toml:3:1: pop.nam: unknown key; did you mean name?".into());
    state.drains = serde_json::from_value(json!([
        { "endpoint": "web-1", "region": "us-east-1", "since": "2026-11-03T11:59:30Z", "until": "2026-11-03T13:00:00Z" },
        { "endpoint": "web-9", "region": null, "since": "2026-11-03T11:00:00Z", "until": null },
    ]))
    .unwrap();
    let text = drawn(&state);
    let table = text.find("ENDPOINT").unwrap();
    for expected in [
        "PoP fra1  draining",
        "the old one is in force: portolan.toml:3:1",
        "not ready: the PoP is draining",
        "warning: shop has no endpoints in mars-1",
        "drain: web-1 in us-east-1, 30 s old, until 2026-11-03T13:00:00Z",
        "drain: web-9, 1 h old\n",
    ] {
        assert!(
            text.find(expected).is_some_and(|at| at < table),
            "{expected:?} in\n{text}"
        );
    }
}

#[test]
fn accelerators_and_endpoints_say_what_is_special_about_them() {
    let mut state = state();
    let accelerator = &mut state.accelerators[0];
    accelerator.enabled = false;
    accelerator.addresses[0].assigned = false;
    accelerator.addresses[0].error = Some("address in use".into());
    let endpoint = &mut accelerator.listeners[0].endpoint_groups[1].endpoints[0];
    endpoint.draining = true;
    endpoint.address = "web.internal:8080".into();
    endpoint.addresses.push(EndpointAddressView {
        address: "10.0.1.11".into(),
        health: "DOWN".into(),
        latency_ms: None,
    });
    accelerator.listeners[0].endpoint_groups[0]
        .endpoints
        .clear();
    let text = drawn(&state);
    for expected in [
        "disabled",
        "203.0.113.10 (address in use)",
        "web-1 (web.internal:8080)",
        "draining; 1 of 2 addresses not up: 10.0.1.11",
        "no endpoints",
    ] {
        assert!(text.contains(expected), "{expected:?} in\n{text}");
    }
}

#[test]
fn an_edge_without_accelerators_says_so() {
    let mut state = state();
    state.accelerators.clear();
    assert!(drawn(&state).contains("no accelerator is configured"));
}

#[test]
fn a_watch_shows_what_moves_a_second() {
    let old = state();
    let mut new = state();
    let groups = &mut new.accelerators[0].listeners[0].endpoint_groups;
    groups[1].endpoints[0].total_flows += 40;
    groups[1].endpoints[0].bytes_in += 4_000_000;
    // As after a restart of the process.
    groups[0].endpoints[0].total_flows = 0;
    let flow = Flow::between(&old, &new, Duration::from_secs(2));
    let text = draw(&new, Some(&flow), Paint::Plain, now());
    assert!(text.contains("NEW/S"), "{text}");
    let line = |id: &str| {
        text.lines()
            .find(|line| line.contains(id))
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("web-1"), "web-1 UP 2 min 5.04 ms 128 3 20 2.0 MB 0 B");
    assert_eq!(
        line("web-9"),
        "web-9 DOWN 2 min 5.04 ms 128 3 – – – connection refused"
    );
}

#[test]
fn a_reason_cannot_steer_the_terminal() {
    let mut state = state();
    state.accelerators[0].listeners[0].endpoint_groups[0].endpoints[0].health_reason =
        Some("status \x1b]0;evil\x07".into());
    for paint in [Paint::Plain, Paint::Colours] {
        let text = draw(&state, None, paint, now());
        assert!(
            !text.contains("\x1b]") && !text.contains('\x07'),
            "{text:?}"
        );
    }
}

#[test]
fn a_screen_holds_no_more_than_fits() {
    assert_eq!(screen("a\nb\n", 24), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    let long: String = (0..100).map(|n| format!("{n}\n")).collect();
    for height in [0, 1, 2, 10] {
        assert!(
            screen(&long, height).lines().count() <= height.max(2),
            "{height}"
        );
    }
    assert!(screen(&long, 10).contains("… 92 more lines"));
}

#[test]
fn numbers_are_short() {
    assert_eq!(
        [count(0), count(999), count(1000), count(1_234_567)],
        ["0", "999", "1 000", "1 234 567"]
    );
    assert_eq!(
        [bytes(0.0), bytes(999.0), bytes(1000.0), bytes(2.5e9)],
        ["0 B", "999 B", "1.0 KB", "2.5 GB"]
    );
    assert_eq!(age("2026-11-01T12:00:00Z", now()).as_deref(), Some("2 d"));
    assert_eq!(age("2026-11-04T12:00:00Z", now()).as_deref(), Some("0 s"));
    assert_eq!(age("soon", now()), None);
}
