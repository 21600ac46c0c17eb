//! Suspicions and what bursts make of them.

use portolan_config::clock;

use super::*;
use crate::fixture::Swallowing;

#[tokio::test]
async fn refused_flows_bring_it_down_within_a_burst() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let target = target(endpoint.address, seldom(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(&checker, &target, HealthState::Up).await;
    drop(endpoint);
    until("a closed port", || {
        std::net::TcpStream::connect(target.address.0).is_err()
    })
    .await;
    let raised = Instant::now();
    checker.suspect(Suspicion {
        at: raised,
        ..suspicion(&target, SignalKind::Refused)
    });
    let health = becomes(&checker, &target, HealthState::Down).await;
    assert_eq!(health.failure, Some(Failure::Refused));
    assert!(health.decided_by_burst);
    assert_eq!(health.first_evidence, Some(raised));
    println!("down {:?} after the signal", health.since - raised);
}

#[tokio::test]
async fn a_live_endpoint_is_acquitted() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let target = target(endpoint.address, seldom(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(&checker, &target, HealthState::Up).await;
    for kind in [
        SignalKind::Refused,
        SignalKind::TimedOut,
        SignalKind::Slow,
        SignalKind::Unacknowledged,
    ] {
        checker.suspect(suspicion(&target, kind));
    }
    let counters = checker.counters();
    until("a burst", || {
        counters.bursts_lifted.load(Ordering::Relaxed) == 1
    })
    .await;
    assert_eq!(checker.health(&target).unwrap().transitions, 1);
    assert_eq!(counters.bursts_down.load(Ordering::Relaxed), 0);
}

/// An endpoint that was probed alive and whose path then went silent: its check's port lives, the flows' port swallows SYNs.
async fn gone_silent(checker: &Checker) -> (ProbeTarget, EndpointAddr, (Accepting, Swallowing)) {
    let endpoint = Accepting::silent().await;
    let (swallowing, address) = Swallowing::new();
    let target = target(endpoint.address, seldom(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(checker, &target, HealthState::Up).await;
    (target, EndpointAddr(address), (endpoint, swallowing))
}

#[tokio::test]
async fn silence_brings_it_down_within_a_burst() {
    let checker = start();
    let (target, to, _held) = gone_silent(&checker).await;
    let raised = Instant::now();
    checker.suspect(Suspicion {
        to,
        at: raised,
        ..suspicion(&target, SignalKind::Slow)
    });
    let health = becomes(&checker, &target, HealthState::Down).await;
    assert_eq!(
        (health.failure, health.decided_by_burst),
        (Some(Failure::TimedOut), true)
    );
    println!("down {:?} after the signal", health.since - raised);
}

#[tokio::test]
async fn silence_of_new_connects_does_not_fail_what_other_flows_hear() {
    let checker = start();
    let (target, to, _held) = gone_silent(&checker).await;
    let heard = live();
    let at = Instant::now();
    heard.heard(clock::millis(at) + 1);
    checker.suspect(Suspicion {
        to,
        at,
        live: heard,
        ..suspicion(&target, SignalKind::Slow)
    });
    let counters = checker.counters();
    until("a burst", || {
        counters.bursts_lifted.load(Ordering::Relaxed) == 1
    })
    .await;
    assert_eq!(checker.health(&target).unwrap().state, HealthState::Up);
}

#[tokio::test]
async fn a_dead_flow_port_keeps_it_down_though_the_check_passes_until_the_port_is_back() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let (held, flow_port) = Refusing::new();
    let target = target(endpoint.address, check(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(&checker, &target, HealthState::Up).await;
    checker.suspect(Suspicion {
        to: EndpointAddr(flow_port),
        ..suspicion(&target, SignalKind::Refused)
    });
    becomes(&checker, &target, HealthState::Down).await;
    let refused = checker.counters().results(ProbeResult::Refused);
    until("five more probes", || {
        checker.counters().results(ProbeResult::Refused) >= refused + 5
    })
    .await;
    assert_eq!(checker.health(&target).unwrap().state, HealthState::Down);
    let flows = held.listen();
    becomes(&checker, &target, HealthState::Up).await;
    until("as many as the healthy threshold", || flows.accepted() >= 2).await;
}

#[tokio::test]
async fn one_dead_port_of_several_fails_nothing() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let (_held, flow_port) = Refusing::new();
    let target = target(endpoint.address, seldom(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(&checker, &target, HealthState::Up).await;
    let one = Suspicion {
        to: EndpointAddr(flow_port),
        only_port: false,
        ..suspicion(&target, SignalKind::Refused)
    };
    checker.suspect(one);
    let counters = checker.counters();
    until("a burst", || {
        counters.bursts_lifted.load(Ordering::Relaxed) == 1
    })
    .await;
    assert_eq!(checker.health(&target).unwrap().transitions, 1);
}

#[tokio::test]
async fn suspicions_beyond_the_queue_are_dropped_and_counted() {
    let checker = start();
    let (_held, address) = Refusing::new();
    let target = target(address, seldom(Probe::Tcp));
    // The task runs on this thread, so it takes none of these meanwhile.
    for _ in 0..PENDING_SUSPICIONS + 3 {
        checker.suspect(suspicion(&target, SignalKind::Refused));
    }
    assert_eq!(
        checker
            .counters()
            .suspicions_dropped
            .load(Ordering::Relaxed),
        3
    );
}
