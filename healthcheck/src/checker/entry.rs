//! Everything that is known of one target, as the checker's task keeps it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portolan_config::address::EndpointAddr;
use portolan_config::health::{Failure, HealthState};
use portolan_config::model::Probe;
use portolan_config::signal::SignalKind;
use portolan_config::snapshot::AddressLive;
use rand::Rng;

use super::Suspicion;
use crate::hang::{self, Hang};
use crate::machine::{Evidence, Input, Machine};
use crate::probe::Finding;
use crate::rtt::SmoothedRtt;
use crate::schedule::Schedule;
use crate::suspicion::{Decision, Ground, Suspect, connect_timeout};
use crate::target::ProbeTarget;
use crate::view::AddressHealth;

/// How long a flow port that was found dead keeps an endpoint down whose check passes. Then the check is believed again, and live
/// traffic decides anew: the configuration may have moved the flows to another port meanwhile.
const DEAD_PORT_MEMORY: Duration = Duration::from_secs(60);

/// The part of its timeout after which a probe is as good as failed: one that is sent now could not change anything before it has.
const NEARLY: f64 = 0.75;

/// How a probe is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    /// How long it may take.
    pub(super) timeout: Duration,
    /// That is less than the check allows.
    pub(super) brief: bool,
}

/// One target.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) target: ProbeTarget,
    pub(super) schedule: Schedule,
    pub(super) suspect: Suspect,
    /// When the probe fell due that waits for room.
    pub(super) waits_since: Option<Instant>,
    /// The timer that is set for it.
    pub(super) armed: Option<Instant>,
    machine: Machine,
    /// When the probes under way were sent; a few at most.
    under_way: Vec<Instant>,
    /// How many of the failures in a row had less time than the check allows.
    brief_failures: u32,
    rtt: SmoothedRtt,
    since_wall: SystemTime,
    last_ok: Option<Instant>,
    /// The port that flows use, found dead by a burst though the check asks another; since when. Asked along with the check until
    /// the endpoint is up.
    dead_port: Option<(EndpointAddr, Instant)>,
    /// When it was last found to accept and never answer.
    hang: Option<Hang>,
}

impl Entry {
    /// Of a target that nothing is known of.
    pub(super) fn new(
        target: ProbeTarget,
        rng: &mut impl Rng,
        now: Instant,
        wall: SystemTime,
    ) -> Self {
        let mut machine = Machine::new(target.check.as_ref().into(), now);
        if target.is_always_up() {
            machine.settle_up(now);
        }
        Self {
            schedule: Schedule::new(&target.check, rng, now),
            suspect: Suspect::new(),
            waits_since: None,
            armed: None,
            machine,
            under_way: Vec::new(),
            brief_failures: 0,
            rtt: SmoothedRtt::default(),
            since_wall: wall,
            last_ok: None,
            dead_port: None,
            hang: None,
            target,
        }
    }

    /// Of a target that another process knew.
    pub(super) fn recalled(
        target: ProbeTarget,
        known: AddressHealth,
        rng: &mut impl Rng,
        now: Instant,
    ) -> Self {
        let mut entry = Self::new(target, rng, now, known.since_wall);
        entry.machine = Machine::recalled(entry.target.check.as_ref().into(), &known);
        if let Some(rtt) = known.rtt {
            entry.rtt.add(rtt);
        }
        entry.last_ok = known.last_ok;
        entry
    }

    /// Of a target whose address was asked by another check before.
    pub(super) fn heir(
        &self,
        target: ProbeTarget,
        rng: &mut impl Rng,
        now: Instant,
        wall: SystemTime,
    ) -> Self {
        let mut heir = Self::new(target, rng, now, wall);
        heir.machine = self
            .machine
            .clone()
            .under(heir.target.check.as_ref().into());
        heir.rtt = self.rtt;
        heir.last_ok = self.last_ok;
        heir.dead_port = self.dead_port;
        heir.hang.clone_from(&self.hang);
        if !heir.target.is_always_up() || !heir.machine.settle_up(now) {
            heir.since_wall = self.since_wall;
        }
        heir
    }

    /// The state.
    pub(super) fn state(&self) -> HealthState {
        self.machine.state()
    }

    /// When its timer is to go off.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let probe = (!self.target.is_always_up()).then(|| self.schedule.due());
        match (probe, self.suspect.wake_at()) {
            (Some(probe), Some(burst)) => Some(probe.min(burst)),
            (probe, burst) => probe.or(burst),
        }
    }

    /// Probes under way.
    pub(super) fn in_flight(&self) -> u32 {
        u32::try_from(self.under_way.len()).unwrap_or(u32::MAX)
    }

    /// A probe is sent; gives how.
    pub(super) fn begin_probe(&mut self, now: Instant) -> Asking {
        let whole = self.target.check.timeout;
        let timeout = match self.brief_timeout(now) {
            Some(brief) => whole.min(brief),
            None => whole,
        };
        self.under_way.push(now);
        Asking {
            timeout,
            brief: timeout < whole,
        }
    }

    /// For the connect that may decide that the endpoint is silent: all the failures before it had (or have nearly had) the whole of the
    /// check's timeout, so that this one need not. An answer takes a round trip, and what is lost takes a second more.
    fn brief_timeout(&self, now: Instant) -> Option<Duration> {
        let check = &self.target.check;
        if check.probe != Probe::Tcp || self.state() != HealthState::Up {
            return None;
        }
        let nearly = |sent: &&Instant| {
            now.saturating_duration_since(**sent) >= check.timeout.mul_f64(NEARLY)
        };
        let overdue = u32::try_from(self.under_way.iter().filter(nearly).count()).ok()?;
        let failed = self.machine.failed().saturating_sub(self.brief_failures);
        let decides = failed > 0 && failed + overdue + 1 >= check.unhealthy_threshold.get().into();
        decides.then(|| connect_timeout(self.rtt.get()))
    }

    /// The probe that was sent at `sent` has ended, for want of time if `brief`.
    pub(super) fn end_probe(&mut self, sent: Instant, brief: bool) {
        if let Some(at) = self.under_way.iter().position(|other| *other == sent) {
            self.under_way.swap_remove(at);
        }
        self.brief_failures += u32::from(brief);
    }

    /// The port to ask along with the check.
    pub(super) fn port_asked_besides(&mut self, now: Instant) -> Option<EndpointAddr> {
        let (port, since) = self.dead_port?;
        if now.saturating_duration_since(since) < DEAD_PORT_MEMORY {
            return Some(port);
        }
        self.dead_port = None;
        None
    }

    /// Takes a signal of live flows. What is down stays so until its probes say otherwise, and what is never asked is always up.
    pub(super) fn on_suspicion(&mut self, suspicion: Suspicion) -> Option<Decision> {
        let Suspicion {
            target: _,
            to,
            only_port,
            kind,
            at,
            live,
        } = suspicion;
        if self.target.is_always_up() || self.state() == HealthState::Down {
            return None;
        }
        if let SignalKind::NeverAnswers { source: _ } = kind {
            return self.on_hang(at, live);
        }
        let to = if only_port { to } else { self.target.address };
        self.suspect.on_signal(
            kind,
            Ground {
                to,
                raised: at,
                live,
            },
        )
    }

    /// It accepts and never answers. A check that asks for an answer is the better judge, and is asked at once; where the check only
    /// connects, live flows have decided.
    fn on_hang(&mut self, at: Instant, live: Arc<AddressLive>) -> Option<Decision> {
        match self.target.check.probe {
            Probe::Http(_) | Probe::Https { .. } => {
                self.schedule.hasten(at);
                None
            }
            Probe::None | Probe::Tcp | Probe::Udp(_) => {
                self.hang = Some(Hang::found(self.hang.as_ref(), live, at));
                Some(Decision::Hangs { raised: at })
            }
        }
    }

    /// Takes the result of the probe that was sent at `sent`.
    pub(super) fn on_probe(
        &mut self,
        finding: Finding,
        sent: Instant,
        rng: &mut impl Rng,
        now: Instant,
    ) {
        if let Some(sample) = finding.rtt {
            self.rtt.add(sample);
        }
        let input = match finding.failure {
            None if self.is_held_down(now) => return,
            None => {
                self.last_ok = self.last_ok.max(Some(now));
                Input::Pass
            }
            Some(failure @ Failure::Local(_)) => Input::Local(failure),
            Some(
                failure @ (Failure::Refused
                | Failure::TimedOut
                | Failure::Unreachable
                | Failure::Reset
                | Failure::Answer(_)),
            ) => Input::Fail(failure),
        };
        // The fault shows when the answer is overdue, a round trip after the question, not when patience ends.
        let seen = self.rtt.get().map_or(now, |rtt| (sent + rtt).min(now));
        self.step(Evidence { input, sent, seen }, rng, now);
    }

    /// Whether an accepted connect proves nothing at `now`.
    fn is_held_down(&self, now: Instant) -> bool {
        self.state() == HealthState::Down && self.hang.as_ref().is_some_and(|hang| hang.holds(now))
    }

    /// Takes what came of a burst.
    pub(super) fn on_decision(&mut self, decision: Decision, rng: &mut impl Rng, now: Instant) {
        match decision {
            Decision::Lifted => self.suspect.settle(now),
            Decision::Undecided => {}
            Decision::Hangs { raised } => {
                let evidence = Evidence {
                    input: Input::Burst(Failure::Answer(Arc::from(hang::WORDS))),
                    // What a connect found meanwhile says nothing of answers.
                    sent: now,
                    seen: raised,
                };
                self.step(evidence, rng, now);
            }
            Decision::Dead {
                failure,
                to,
                raised,
                sent,
            } => {
                // What the check's port answered meanwhile says nothing of another port, so it cannot overtake the burst.
                let sent = if to == self.target.address {
                    sent
                } else {
                    self.dead_port = Some((to, now));
                    now
                };
                let input = Input::Burst(failure);
                self.step(
                    Evidence {
                        input,
                        sent,
                        seen: raised,
                    },
                    rng,
                    now,
                );
            }
        }
    }

    fn step(&mut self, evidence: Evidence, rng: &mut impl Rng, now: Instant) {
        if self.machine.on(evidence, now) {
            self.since_wall = SystemTime::now();
            tracing::debug!(
                target = ?self.target,
                state = %self.machine.state(),
                failure = self.machine.failure().map(tracing::field::display),
                burst = self.machine.decided_by_burst(),
                "health changed"
            );
        }
        if self.machine.state() == HealthState::Up {
            self.dead_port = None;
        }
        if self.machine.failed() == 0 {
            self.brief_failures = 0;
        }
        self.schedule.set_pace(self.machine.pace(), rng, now);
    }

    /// The smoothed round trip.
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.get()
    }

    /// What everybody may know.
    pub(super) fn health(&self) -> AddressHealth {
        AddressHealth {
            state: self.machine.state(),
            since: self.machine.since(),
            since_wall: self.since_wall,
            failure: self.machine.failure().cloned(),
            first_evidence: self.machine.first_evidence(),
            rtt: self.rtt.get(),
            last_ok: self.last_ok,
            transitions: self.machine.transitions(),
            decided_by_burst: self.machine.decided_by_burst(),
            flaps: self.machine.flaps(),
        }
    }
}

#[cfg(test)]
mod tests;
