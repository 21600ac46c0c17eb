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
