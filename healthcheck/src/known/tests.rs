//! What a checker knew is what its successor begins with.

use portolan_config::model::Probe;

use super::*;
use crate::fixture::{check, ms, target};

fn down(now: Instant, wall: SystemTime) -> AddressHealth {
    AddressHealth {
        state: HealthState::Down,
        since: now - ms(5000),
        since_wall: wall - ms(5000),
        failure: Some(Failure::Answer(Arc::from("status 503"))),
        first_evidence: Some(now - ms(7000)),
        rtt: Some(ms(80)),
        last_ok: Some(now - ms(8000)),
        transitions: 4,
        decided_by_burst: false,
        flaps: vec![now - ms(60_000), now - ms(5000)],
    }
}

#[test]
fn what_was_known_is_recalled_as_it_was() {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let target = target("192.0.2.1:80".parse().unwrap(), check(Probe::Tcp));
    let health = down(now, wall);
    let text = serde_json::to_string(&KnownHealth::of(&target, &health, now)).unwrap();
    let recalled = Recalled::new(vec![serde_json::from_str(&text).unwrap()], now);
    assert_eq!(recalled.of(&target, now, wall), Some(health));
    let late = now + RECALL_FOR + ms(1);
    assert_eq!(recalled.of(&target, late, wall), None);
}

#[test]
fn another_check_of_the_address_is_better_than_nothing() {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let address = "192.0.2.1:80".parse().unwrap();
    let old = target(address, check(Probe::Tcp));
    let mut other = check(Probe::Tcp);
    other.interval = ms(777);
    let new = target(address, other);
    let up = AddressHealth {
        state: HealthState::Up,
        failure: None,
        first_evidence: None,
        ..down(now, wall)
    };
    let known = |target, health| KnownHealth::of(target, health, now);
    let only_old = Recalled::new(vec![known(&old, &up)], now);
    assert_eq!(only_old.of(&new, now, wall), Some(up.clone()));
    // Its own check goes first, even when it says less.
    let both = Recalled::new(vec![known(&old, &up), known(&new, &down(now, wall))], now);
    assert_eq!(both.of(&new, now, wall), Some(down(now, wall)));
}

#[test]
fn every_failure_keeps_its_kind() {
    let words: Arc<str> = Arc::from("words");
    for kind in [
        Failure::Refused,
        Failure::TimedOut,
        Failure::Unreachable,
        Failure::Reset,
        Failure::Answer(words.clone()),
    ] {
        assert_eq!(failure(&super::words(&kind)), kind);
    }
}
