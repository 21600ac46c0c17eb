//! The checker against real listeners on loopback.

use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use portolan_config::health::{Failure, HealthState};
use portolan_config::model::{HealthCheck, Probe};
use portolan_config::snapshot::AddressId;

use super::*;
use crate::counters::ProbeResult;
use crate::fixture::{
    Accepting, Refusing, Swallowing, check, in_time, ms, question, seldom, target, until,
};

mod bursts;
mod scale;

fn start() -> Checker {
    Checker::start(&Handle::current(), CheckerOptions::default())
}

/// Waits on changes, as control does, until `target` is in `state`.
async fn becomes(checker: &Checker, target: &ProbeTarget, state: HealthState) -> AddressHealth {
    in_time(&format!("{target:?} {state}"), async {
        loop {
            let health = checker.health(target).expect("it is probed");
            if health.state == state {
                return health;
            }
            checker.changed().await;
            checker.take_changes();
        }
    })
    .await
}

fn live() -> Arc<AddressLive> {
    Arc::new(AddressLive::new(AddressId(1)))
}

fn suspicion(target: &ProbeTarget, kind: SignalKind) -> Suspicion {
    Suspicion {
        target: target.clone(),
        to: target.address,
        only_port: true,
        kind,
        at: Instant::now(),
        live: live(),
    }
}

#[tokio::test]
async fn from_unknown_one_result_decides() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let (_held, refusing) = Refusing::new();
    let (_held, swallowing) = Swallowing::new();
    let up = target(endpoint.address, seldom(Probe::Tcp));
    let refused = target(refusing, seldom(Probe::Tcp));
    let silent = target(
        swallowing,
        HealthCheck {
            timeout: ms(200),
            ..seldom(Probe::Tcp)
        },
    );
    let always = target(refusing, seldom(Probe::None));
    checker.set_targets(vec![
        up.clone(),
        refused.clone(),
        silent.clone(),
        always.clone(),
    ]);
    assert_eq!(
        checker.health(&always).unwrap().state,
        HealthState::Up,
        "at once"
    );

    let health = becomes(&checker, &up, HealthState::Up).await;
    assert!(health.rtt.is_some() && health.last_ok.is_some());
    assert_eq!((health.failure, health.transitions), (None, 1));
    let health = becomes(&checker, &refused, HealthState::Down).await;
    assert_eq!(
        (health.failure, health.decided_by_burst),
        (Some(Failure::Refused), false)
    );
    assert!(health.first_evidence.unwrap() <= health.since);
    let health = becomes(&checker, &silent, HealthState::Down).await;
    assert_eq!(health.failure, Some(Failure::TimedOut));
    let counters = checker.counters();
    assert_eq!(counters.results(ProbeResult::Pass), 1);
    assert_eq!(counters.results(ProbeResult::Refused), 1);
    assert_eq!(counters.results(ProbeResult::TimedOut), 1);
}

#[tokio::test]
async fn an_endpoint_goes_and_comes_back() {
    let checker = start();
    let (held, address) = Refusing::new();
    let target = target(address, check(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(&checker, &target, HealthState::Down).await;
    let endpoint = held.listen();
    let up = becomes(&checker, &target, HealthState::Up).await;
    drop(endpoint);
    let down = becomes(&checker, &target, HealthState::Down).await;
    assert_eq!((up.transitions, down.transitions), (2, 3));
    let evidence = down.first_evidence.unwrap();
    assert!(
        up.since < evidence && evidence < down.since,
        "two failures were needed"
    );
}

#[tokio::test]
async fn a_failing_answer_is_told_apart() {
    let checker = start();
    let endpoint =
        Accepting::answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await;
    let target = target(endpoint.address, check(Probe::Http(question())));
    checker.set_targets(vec![target.clone()]);
    let health = becomes(&checker, &target, HealthState::Down).await;
    let failure = health.failure.unwrap();
    assert_eq!(failure, Failure::Answer("HTTP 503, not 200-399".into()));
    assert!(!failure.strands_flows());
    assert!(health.rtt.is_some(), "it connects all the same");
}

#[tokio::test]
async fn equal_checks_of_one_address_are_asked_once() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let mut twins: Vec<_> = (0..10)
        .map(|_| target(endpoint.address, seldom(Probe::Tcp)))
        .collect();
    // TCP speaks no name and the port asked is the address's, so these differ in nothing that is asked.
    twins[1].name = Some("web.internal".into());
    let port = Some(endpoint.address.port());
    twins[2].check = Arc::new(HealthCheck {
        port,
        ..seldom(Probe::Tcp)
    });
    // A probe under another key, so that it is known when the first ones are over.
    let marker = target(
        endpoint.address,
        HealthCheck {
            jitter: 0.5,
            ..seldom(Probe::Tcp)
        },
    );
    checker.set_targets(twins.clone());
    for twin in &twins {
        becomes(&checker, twin, HealthState::Up).await;
    }
    twins.push(marker.clone());
    checker.set_targets(twins);
    until("the marker's probe", || {
        checker.counters().results(ProbeResult::Pass) >= 2 && endpoint.accepted() >= 2
    })
    .await;
    assert_eq!(endpoint.accepted(), 2);
}

#[tokio::test]
async fn a_changed_check_goes_on_with_the_health_of_the_address() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let (_held, refusing) = Refusing::new();
    let up = target(endpoint.address, seldom(Probe::Tcp));
    let down = target(refusing, seldom(Probe::Tcp));
    checker.set_targets(vec![up.clone(), down.clone()]);
    let was_up = becomes(&checker, &up, HealthState::Up).await;
    let was_down = becomes(&checker, &down, HealthState::Down).await;

    let other = |old: &ProbeTarget| {
        target(
            old.address.0,
            HealthCheck {
                timeout: ms(777),
                ..seldom(Probe::Tcp)
            },
        )
    };
    let (new_up, new_down) = (other(&up), other(&down));
    checker.set_targets(vec![new_up.clone(), new_down.clone()]);
    // Before the checker's task had a chance to run.
    assert_eq!(checker.health(&new_up), Some(was_up.clone()));
    assert_eq!(checker.health(&new_down), Some(was_down.clone()));
    assert_eq!(checker.health(&up), None);

    until("a probe of each", || {
        checker.counters().results(ProbeResult::Refused) == 2 && endpoint.accepted() == 2
    })
    .await;
    until("its result", || {
        checker.health(&new_up).unwrap().last_ok > was_up.last_ok
    })
    .await;
    for (old, new) in [(was_up, &new_up), (was_down, &new_down)] {
        let health = checker.health(new).unwrap();
        assert_eq!((health.state, health.since), (old.state, old.since));
        assert_eq!(
            (health.transitions, health.since_wall),
            (old.transitions, old.since_wall)
        );
        assert_eq!(health.first_evidence, old.first_evidence);
    }
}

#[tokio::test]
async fn a_check_port_that_moves_takes_the_health_along_but_an_endpoint_port_does_not() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let elsewhere = Accepting::silent().await;
    let old = target(endpoint.address, seldom(Probe::Tcp));
    checker.set_targets(vec![old.clone()]);
    becomes(&checker, &old, HealthState::Up).await;

    let port = Some(elsewhere.address.port());
    let moved = target(
        elsewhere.address,
        HealthCheck {
            port,
            ..seldom(Probe::Tcp)
        },
    );
    checker.set_targets(vec![moved.clone()]);
    assert_eq!(checker.health(&moved).unwrap().state, HealthState::Up);

    let another = target(
        endpoint.address,
        HealthCheck {
            port,
            ..seldom(Probe::Tcp)
        },
    );
    checker.set_targets(vec![another.clone()]);
    assert_eq!(
        checker.health(&another).unwrap().state,
        HealthState::Unknown
    );
}

#[tokio::test]
async fn turning_the_check_off_is_up_at_once() {
    let checker = start();
    let (_held, address) = Refusing::new();
    let asked = target(address, check(Probe::Tcp));
    checker.set_targets(vec![asked.clone()]);
    becomes(&checker, &asked, HealthState::Down).await;
    let unasked = target(address, check(Probe::None));
    checker.set_targets(vec![unasked.clone()]);
    let health = checker.health(&unasked).unwrap();
    assert_eq!(
        (health.state, health.failure, health.transitions),
        (HealthState::Up, None, 2)
    );
    checker.suspect(suspicion(&unasked, SignalKind::Refused));
    checker.set_targets(vec![unasked.clone(), asked.clone()]);
    becomes(&checker, &asked, HealthState::Down).await;
    assert_eq!(checker.health(&unasked).unwrap().state, HealthState::Up);
    assert_eq!(checker.counters().bursts_down.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_removed_ends() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let hung = target(endpoint.address, check(Probe::Http(question())));
    checker.set_targets(vec![hung.clone()]);
    until("a probe under way", || {
        endpoint.open.load(Ordering::SeqCst) > 0
    })
    .await;
    checker.set_targets(Vec::new());
    assert_eq!(checker.health(&hung), None);
    assert!(checker.take_changes().is_empty());
    until("the end of its probes", || {
        endpoint.open.load(Ordering::SeqCst) == 0
    })
    .await;
    until("an empty checker", || {
        checker.counters().in_flight.load(Ordering::Relaxed) == 0
    })
    .await;
}

#[tokio::test]
async fn dropping_the_checker_ends_everything() {
    let endpoint = Accepting::silent().await;
    let checker = start();
    checker.set_targets(vec![target(
        endpoint.address,
        check(Probe::Http(question())),
    )]);
    until("a probe under way", || {
        endpoint.open.load(Ordering::SeqCst) > 0
    })
    .await;
    drop(checker);
    until("the end of its probes", || {
        endpoint.open.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn a_slow_probe_does_not_delay_the_next_and_four_are_the_most() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let most = Arc::new(AtomicUsize::new(0));
    let hung = HealthCheck {
        interval: ms(50),
        timeout: ms(600),
        ..check(Probe::Http(question()))
    };
    checker.set_targets(vec![target(endpoint.address, hung)]);
    until("twelve probes", || {
        most.fetch_max(
            checker.counters().in_flight.load(Ordering::Relaxed),
            Ordering::Relaxed,
        );
        endpoint.accepted() >= 12
    })
    .await;
    assert_eq!(most.load(Ordering::Relaxed), 4);
    assert!(checker.counters().skipped.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn probes_beyond_the_bound_wait_their_turn() {
    let checker = Checker::start(
        &Handle::current(),
        CheckerOptions {
            max_in_flight: 2,
            ..CheckerOptions::default()
        },
    );
    let endpoint = Accepting::silent().await;
    let hung = HealthCheck {
        timeout: ms(50),
        ..seldom(Probe::Http(question()))
    };
    let targets: Vec<_> = (1..=10u32)
        .map(|n| {
            target(
                endpoint.address,
                HealthCheck {
                    jitter: f64::from(n) / 10.0,
                    ..hung.clone()
                },
            )
        })
        .collect();
    checker.set_targets(targets.clone());
    let mut most = 0;
    until("the end of all", || {
        most = most.max(checker.counters().in_flight.load(Ordering::Relaxed));
        checker.counters().results(ProbeResult::TimedOut) == 10
    })
    .await;
    assert!(most <= 2, "{most} at once");
    for target in &targets {
        assert_eq!(checker.health(target).unwrap().state, HealthState::Down);
    }
}

#[tokio::test]
async fn changes_are_told_once_and_then_only_what_is_new() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let target = target(endpoint.address, check(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(&checker, &target, HealthState::Up).await;
    checker.take_changes();
    let passes = checker.counters().results(ProbeResult::Pass);
    until("more passes", || {
        checker.counters().results(ProbeResult::Pass) >= passes + 5
    })
    .await;
    let again = checker.take_changes();
    // A round trip that moved by half a millisecond is news, a pass is not.
    assert!(again.len() <= 1 && again.iter().all(|(_, health)| health.transitions == 1));
}

#[tokio::test]
async fn probe_now_does_not_wait_for_the_schedule() {
    let checker = start();
    let endpoint = Accepting::silent().await;
    let target = target(endpoint.address, seldom(Probe::Tcp));
    checker.set_targets(vec![target.clone()]);
    becomes(&checker, &target, HealthState::Up).await;
    checker.probe_now(&target);
    until("a second probe", || endpoint.accepted() == 2).await;
}
