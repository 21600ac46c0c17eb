//! Suspicion of one target: signals of live flows in, a burst of connects asked for, a decision out. No clock, no sockets: `now`
//! is an argument. Called by the checker alone.
//!
//! A burst is three connects, 10 ms apart (enough that one lost packet or a full queue does not meet all three, close enough to
//! decide within a round trip and a half). A refusal that a live flow meets meanwhile counts as one of them: it was a connect, too. It
//! ends as soon as it is decided:
//!
//! | outcomes                                  | decision                                                          |
//! |-------------------------------------------|-------------------------------------------------------------------|
//! | one refused, after flows ended together   | dead: the process went with its flows, and nobody listens since   |
//! | one accepted and none of three refused    | lifted: one that dies may still accept while it closes its flows  |
//! | one accepted, after any other signal      | lifted, at once                                                   |
//! | one silent, and the endpoint was heard of | lifted, at once                                                   |
//! | three refused or unreachable              | dead                                                              |
//! | three, some silent, nothing heard         | dead                                                              |
//! | three, some not made for a local reason   | undecided: the next signal asks again                             |

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use portolan_config::address::{EndpointAddr, source_network};
use portolan_config::clock;
use portolan_config::health::Failure;
use portolan_config::signal::SignalKind;
use portolan_config::snapshot::AddressLive;

/// When the connects of a burst are made, from its beginning.
const OFFSETS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(20),
];

/// From the beginning of one burst to that of the next.
const PAUSE: Duration = Duration::from_millis(500);

/// Different sources that must meet a reset before it counts: one client can provoke resets of its own.
const RESET_SOURCES: usize = 3;

/// How long such a source is remembered.
const RESET_MEMORY: Duration = Duration::from_secs(10);

/// Stands in for a round trip that nobody measured: most of the Earth.
const UNMEASURED_RTT: Duration = Duration::from_millis(200);

/// What the rest of a connect's time may take beside the network: scheduling at both ends.
const CONNECT_SLACK: Duration = Duration::from_millis(20);

/// What a suspicion rests on.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// What the burst asks.
    pub(crate) to: EndpointAddr,
    /// When the flow met it.
    pub(crate) raised: Instant,
    /// What the data path hears of the address.
    pub(crate) live: Arc<AddressLive>,
}

impl Ground {
    /// Whether anything arrived from the endpoint since. To the millisecond: what came in the same one counts as before.
    fn heard_since(&self) -> bool {
        self.live.last_heard.load(Ordering::Relaxed) > clock::millis(self.raised)
    }
}

/// A connect that the burst wants made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connect {
    /// Which burst; goes back with the outcome.
    pub(crate) burst: u64,
    /// Where to.
    pub(crate) to: EndpointAddr,
    /// How long it may take.
    pub(crate) timeout: Duration,
}

/// What came of a burst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The endpoint lives.
    Lifted,
    /// It does not.
    Dead {
        /// What the connects met.
        failure: Failure,
        /// What was asked.
        to: EndpointAddr,
        /// When the suspicion was raised.
        raised: Instant,
        /// When the last connect was sent.
        sent: Instant,
    },
    /// This host could not ask.
    Undecided,
    /// It accepts and never answers, which control has found out.
    Hangs {
        /// When the last client had waited for long enough.
        raised: Instant,
    },
}

#[derive(Debug)]
enum Stage {
    Clear,
    /// Waits for the pause after the last burst.
    Suspect(Ground, SignalKind),
    Burst(Burst),
}

#[derive(Debug)]
struct Burst {
    ground: Ground,
    began: Instant,
    asked: usize,
    last_asked: Instant,
    accepted: usize,
    failures: Vec<Failure>,
    /// Many flows were ended at once: a refusal says all the rest.
    after_storm: bool,
}

/// The suspicion of one target.
#[derive(Debug)]
pub(crate) struct Suspect {
    stage: Stage,
    /// Bursts so far; the present one's number.
    bursts: u64,
    last_began: Option<Instant>,
    /// The checker had no room for a connect; look again then.
    put_off: Option<Instant>,
    /// Where and when a connect was last seen accepted: signals from before it are answered by it.
    lifted: Option<(EndpointAddr, Instant)>,
    /// What the data path hears of the address that the last burst asked.
    live: Option<Arc<AddressLive>>,
    /// Sources that met a reset, fewer than [`RESET_SOURCES`].
    resets: Vec<(IpAddr, Instant)>,
}

impl Suspect {
    /// Not suspect.
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Clear,
            bursts: 0,
            last_began: None,
            put_off: None,
            lifted: None,
            live: None,
            resets: Vec::new(),
        }
    }

    /// Takes a signal, which may decide a burst under way.
    pub(crate) fn on_signal(&mut self, kind: SignalKind, ground: Ground) -> Option<Decision> {
        let answered = self
            .lifted
            .is_some_and(|(to, at)| to == ground.to && ground.raised <= at);
        if answered || !self.convinces(kind, ground.raised) {
            return None;
        }
        match &mut self.stage {
            // The newest ground is the one that a burst in the future can judge.
            Stage::Clear | Stage::Suspect(..) => self.stage = Stage::Suspect(ground, kind),
            // It is being looked into.
            Stage::Burst(burst) if burst.is_told_by(kind, &ground) => {
                burst.failures.push(Failure::Refused);
                return self.decide();
            }
            Stage::Burst(burst) => burst.after_storm |= kind == SignalKind::EndedTogether,
        }
        None
    }

    /// Whether the signal is enough by itself, or with those before it.
    fn convinces(&mut self, kind: SignalKind, raised: Instant) -> bool {
        match kind {
            SignalKind::Refused
            | SignalKind::TimedOut
            | SignalKind::Slow
            | SignalKind::Unreachable
            | SignalKind::Unacknowledged
            | SignalKind::EndedTogether => true,
            // Whoever hangs accepts connects: there is nothing that a burst could find out.
            SignalKind::NeverAnswers { source: _ } => false,
            SignalKind::ResetBeforeFirstByte { source } => {
                let source = source_network(source);
                self.resets.retain(|(other, at)| {
                    *other != source && raised.saturating_duration_since(*at) < RESET_MEMORY
                });
                self.resets.push((source, raised));
                let enough = self.resets.len() >= RESET_SOURCES;
                if enough {
                    self.resets.clear();
                }
                enough
            }
        }
    }

    /// When [`Suspect::poll`] has something to give; `None` while it has nothing.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let due = match &self.stage {
            Stage::Clear => None,
            Stage::Suspect(ground, _) => {
                Some(self.last_began.map_or(ground.raised, |began| began + PAUSE))
            }
            Stage::Burst(burst) => OFFSETS.get(burst.asked).map(|offset| burst.began + *offset),
        };
        due.map(|due| self.put_off.map_or(due, |then| due.max(then)))
    }

    /// There is no room for the connect that is due.
    pub(crate) fn put_off(&mut self, then: Instant) {
        self.put_off = Some(then);
    }

    /// The next connect that is due; to be called until it gives none. `rtt` is that of the endpoint's probes.
    pub(crate) fn poll(&mut self, rtt: Option<Duration>, now: Instant) -> Option<Connect> {
        if self.wake_at()? > now {
            return None;
        }
        self.put_off = None;
        if let Stage::Suspect(ground, kind) = &self.stage {
            self.stage = Stage::Burst(Burst {
                ground: ground.clone(),
                began: now,
                asked: 0,
                last_asked: now,
                accepted: 0,
                failures: Vec::with_capacity(OFFSETS.len()),
                after_storm: *kind == SignalKind::EndedTogether,
            });
            self.bursts += 1;
            self.last_began = Some(now);
        }
        let Stage::Burst(burst) = &mut self.stage else {
            return None;
        };
        burst.asked += 1;
        burst.last_asked = now;
        Some(Connect {
            burst: self.bursts,
            to: burst.ground.to,
            timeout: connect_timeout(rtt.or_else(|| burst.ground.live.connect_time())),
        })
    }

    /// Takes a connect's outcome, `None` for accepted. Outcomes of earlier bursts are ignored.
    pub(crate) fn on_outcome(&mut self, number: u64, failure: Option<Failure>) -> Option<Decision> {
        let Stage::Burst(burst) = &mut self.stage else {
            return None;
        };
        if number != self.bursts {
            return None;
        }
        match failure {
            None => burst.accepted += 1,
            Some(failure) => burst.failures.push(failure),
        }
        self.decide()
    }

    /// Tells the data path of a burst that was lifted by an accepted connect: what its flows doubted is settled.
    pub(crate) fn settle(&mut self, now: Instant) {
        if let (Some(live), Some((_, asked))) = (self.live.take(), self.lifted) {
            live.heard(clock::millis(now));
            live.doubt.lift(clock::millis(asked));
        }
    }

    fn decide(&mut self) -> Option<Decision> {
        let Stage::Burst(burst) = &mut self.stage else {
            return None;
        };
        let decision = burst.decision()?;
        if burst.accepted > 0 && decision == Decision::Lifted {
            self.lifted = Some((burst.ground.to, burst.last_asked));
            self.live = Some(Arc::clone(&burst.ground.live));
        }
        self.stage = Stage::Clear;
        Some(decision)
    }

    /// The number of the burst under way.
    #[cfg(test)]
    fn is_bursting(&self) -> bool {
        matches!(self.stage, Stage::Burst(_))
    }
}

impl Burst {
    /// Whether a live flow's signal is what a connect of this burst would have met.
    fn is_told_by(&self, kind: SignalKind, ground: &Ground) -> bool {
        kind == SignalKind::Refused && ground.to == self.ground.to && ground.raised >= self.began
    }

    /// Whether the endpoint has shown that it lives.
    fn is_lifted(&self) -> bool {
        let silent = self.failures.contains(&Failure::TimedOut);
        if silent && self.ground.heard_since() {
            return true;
        }
        let all = self.accepted + self.failures.len() >= OFFSETS.len();
        self.accepted > 0 && (all || !self.after_storm)
    }

    /// The table at the top of this file.
    fn decision(&self) -> Option<Decision> {
        let storm_confirmed = self.after_storm && self.failures.contains(&Failure::Refused);
        if !storm_confirmed {
            if self.is_lifted() {
                return Some(Decision::Lifted);
            }
            if self.accepted + self.failures.len() < OFFSETS.len() {
                return None;
            }
        }
        if self.failures.iter().any(|f| matches!(f, Failure::Local(_))) {
            return Some(Decision::Undecided);
        }
        // A refusal says more than silence.
        let telling = self.failures.iter().find(|f| **f != Failure::TimedOut);
        Some(Decision::Dead {
            failure: telling.cloned().unwrap_or(Failure::TimedOut),
            to: self.ground.to,
            raised: self.ground.raised,
            sent: self.last_asked,
        })
    }
}

/// How long a connect may take where the path's round trip is known: 1.5 × rtt + 20 ms.
pub(crate) fn connect_timeout(rtt: Option<Duration>) -> Duration {
    rtt.unwrap_or(UNMEASURED_RTT) * 3 / 2 + CONNECT_SLACK
}

#[cfg(test)]
mod tests;
