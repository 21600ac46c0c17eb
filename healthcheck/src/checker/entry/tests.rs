//! What an entry makes of its parts, with a clock that jumps.

use std::sync::Arc;

use portolan_config::model::Probe;
use portolan_config::signal::SignalKind;
use portolan_config::snapshot::{AddressId, AddressLive};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::*;
use crate::fixture::{check, ms, target};

const PASS: Finding = Finding {
    failure: None,
    rtt: Some(ms(80)),
};

struct Bench {
    entry: Entry,
    rng: SmallRng,
    now: Instant,
}

impl Bench {
    /// Up, two results to change.
    fn up() -> Self {
        let (now, mut rng) = (Instant::now(), SmallRng::seed_from_u64(1));
        let target = target("192.0.2.1:80".parse().unwrap(), check(Probe::Tcp));
        let entry = Entry::new(target, &mut rng, now, SystemTime::now());
        let mut bench = Self { entry, rng, now };
        bench.result(PASS, ms(80));
        assert_eq!(bench.entry.state(), HealthState::Up);
        bench
    }

    /// A probe that is sent now and known `took` later.
    fn result(&mut self, finding: Finding, took: Duration) {
        let sent = self.now;
        self.now += took;
        self.entry.on_probe(finding, sent, &mut self.rng, self.now);
    }

    /// A burst to `port`, whose last connect was sent `ago`, finds it dead.
    fn dead(&mut self, port: u16, ago: Duration) {
        let decision = Decision::Dead {
            failure: Failure::TimedOut,
            to: EndpointAddr((self.entry.target.address.0.ip(), port).into()),
            raised: self.now - ago,
            sent: self.now - ago,
        };
        self.entry.on_decision(decision, &mut self.rng, self.now);
    }

    fn port_besides(&mut self) -> Option<u16> {
        self.entry
            .port_asked_besides(self.now)
            .map(|port| port.0.port())
    }
}

#[test]
fn the_fault_shows_when_the_answer_is_overdue() {
    let mut bench = Bench::up();
    let sent = bench.now;
    let silent = Finding {
        failure: Some(Failure::TimedOut),
        rtt: None,
    };
    bench.result(silent.clone(), ms(2000));
    bench.result(silent, ms(2000));
    assert_eq!(bench.entry.health().first_evidence, Some(sent + ms(80)));
}

#[test]
fn a_later_pass_of_the_same_port_outweighs_a_burst_but_not_of_another() {
    let mut bench = Bench::up();
    bench.result(PASS, ms(80));
    bench.dead(80, ms(81));
    assert_eq!(bench.entry.state(), HealthState::Up);
    bench.dead(443, ms(81));
    assert_eq!(bench.entry.state(), HealthState::Down);
}

#[test]
fn a_dead_flow_port_is_asked_until_the_endpoint_is_up() {
    let mut bench = Bench::up();
    bench.dead(443, ms(30));
    assert_eq!(bench.port_besides(), Some(443));
    bench.result(PASS, ms(80));
    assert_eq!(bench.port_besides(), Some(443));
    bench.result(PASS, ms(80));
    assert_eq!(bench.entry.state(), HealthState::Up);
    assert_eq!(bench.port_besides(), None);
}

#[test]
fn a_dead_flow_port_is_forgotten_after_a_minute() {
    let mut bench = Bench::up();
    bench.dead(443, ms(30));
    bench.now += DEAD_PORT_MEMORY;
    assert_eq!(bench.port_besides(), None);
}

#[test]
fn the_checks_own_port_is_not_asked_twice() {
    let mut bench = Bench::up();
    bench.dead(80, ms(30));
    assert_eq!(bench.entry.state(), HealthState::Down);
    assert_eq!(bench.port_besides(), None);
}

#[test]
fn signals_change_nothing_while_it_is_down() {
    let mut bench = Bench::up();
    bench.dead(80, ms(30));
    bench.entry.on_suspicion(Suspicion {
        target: bench.entry.target.clone(),
        to: bench.entry.target.address,
        only_port: true,
        kind: SignalKind::Refused,
        at: bench.now,
        live: Arc::new(AddressLive::new(AddressId(1))),
    });
    assert_eq!(bench.entry.wake_at(), Some(bench.entry.schedule.due()));
}

/// Live flows have found out that it accepts and never answers.
fn hangs(bench: &mut Bench, live: &Arc<AddressLive>) -> bool {
    let suspicion = Suspicion {
        target: bench.entry.target.clone(),
        to: bench.entry.target.address,
        only_port: true,
        kind: SignalKind::NeverAnswers {
            source: "198.51.100.1".parse().unwrap(),
        },
        at: bench.now,
        live: Arc::clone(live),
    };
    let Some(decision) = bench.entry.on_suspicion(suspicion) else {
        return false;
    };
    bench.entry.on_decision(decision, &mut bench.rng, bench.now);
    true
}

#[test]
fn who_hangs_stays_down_for_a_while_whatever_connects_say() {
    let live = Arc::new(AddressLive::new(AddressId(1)));
    let mut bench = Bench::up();
    assert!(hangs(&mut bench, &live));
    for _ in 0..20 {
        bench.result(PASS, ms(80));
        assert_eq!(bench.entry.state(), HealthState::Down);
    }
    let reason = bench.entry.health().failure.unwrap();
    assert!(!reason.strands_flows(), "its flows may yet be answered");
    bench.now += Duration::from_secs(10);
    bench.result(PASS, ms(80));
    bench.result(PASS, ms(80));
    assert_eq!(bench.entry.state(), HealthState::Up);
}

#[test]
fn who_hangs_comes_back_with_an_answer() {
    let live = Arc::new(AddressLive::new(AddressId(1)));
    let mut bench = Bench::up();
    bench.now += Duration::from_secs(1);
    assert!(hangs(&mut bench, &live));
    bench.now += ms(100);
    live.answered(portolan_config::clock::millis(bench.now));
    bench.result(PASS, ms(80));
    bench.result(PASS, ms(80));
    assert_eq!(bench.entry.state(), HealthState::Up);
}

#[test]
fn a_check_that_asks_for_an_answer_decides_about_who_hangs_and_is_asked_at_once() {
    let live = Arc::new(AddressLive::new(AddressId(1)));
    let (now, mut rng) = (Instant::now(), SmallRng::seed_from_u64(1));
    let question = portolan_config::model::HttpProbe {
        path: "/".into(),
        host: None,
        status: (200, 399),
        body: None,
    };
    let target = target(
        "192.0.2.1:80".parse().unwrap(),
        check(Probe::Http(question)),
    );
    let entry = Entry::new(target, &mut rng, now, SystemTime::now());
    let mut bench = Bench { entry, rng, now };
    bench.result(PASS, ms(80));
    assert!(!hangs(&mut bench, &live));
    assert_eq!(bench.entry.state(), HealthState::Up);
    assert!(bench.entry.schedule.due() <= bench.now);
}
