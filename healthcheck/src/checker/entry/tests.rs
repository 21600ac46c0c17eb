//! What an entry makes of its parts, with a clock that jumps.

use std::num::NonZeroU8;
use std::sync::Arc;

use portolan_config::model::{HealthCheck, Probe};
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
        Self::up_under(check(Probe::Tcp))
    }

    fn up_under(check: HealthCheck) -> Self {
        let (now, mut rng) = (Instant::now(), SmallRng::seed_from_u64(1));
        let target = target("192.0.2.1:80".parse().unwrap(), check);
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

#[test]
fn the_connect_that_decides_waits_for_a_round_trip_and_a_half() {
    let mut bench = Bench::up();
    let whole = Asking {
        timeout: Duration::from_secs(2),
        brief: false,
    };
    let first = bench.now;
    assert_eq!(bench.entry.begin_probe(first), whole);
    bench.now += ms(1600);
    let second = bench.now;
    assert_eq!(bench.entry.begin_probe(second), whole, "nothing has failed");
    bench.now = first + ms(2000);
    bench.entry.end_probe(first, false);
    let silent = Finding {
        failure: Some(Failure::TimedOut),
        rtt: None,
    };
    bench
        .entry
        .on_probe(silent.clone(), first, &mut bench.rng, bench.now);
    let brief = Asking {
        timeout: ms(140),
        brief: true,
    };
    assert_eq!(bench.entry.begin_probe(bench.now), brief);

    // What it had too little time for does not stand for what had enough.
    let check = HealthCheck {
        unhealthy_threshold: NonZeroU8::new(3).unwrap(),
        ..check(Probe::Tcp)
    };
    let mut bench = Bench::up_under(check);
    bench.result(silent.clone(), ms(2000));
    assert_eq!(bench.entry.begin_probe(bench.now), whole);
    let overdue = bench.now;
    bench.now += ms(1500);
    let sent = bench.now;
    assert_eq!(bench.entry.begin_probe(sent), brief);
    bench.now += ms(140);
    bench.entry.end_probe(sent, true);
    bench
        .entry
        .on_probe(silent.clone(), sent, &mut bench.rng, bench.now);
    assert_eq!(bench.entry.begin_probe(bench.now), brief);
    bench.entry.end_probe(bench.now, false);
    bench.entry.end_probe(overdue, false);
    assert_eq!(bench.entry.begin_probe(bench.now), whole);
    bench.entry.end_probe(bench.now, false);

    // Whoever answers begins anew, and whoever is down has all the time to come back.
    bench.result(PASS, ms(80));
    assert_eq!(bench.entry.begin_probe(bench.now), whole);
    bench.dead(443, ms(30));
    assert_eq!(bench.entry.begin_probe(bench.now), whole);
}
