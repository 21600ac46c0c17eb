//! One target's health as a state machine: probe results and burst decisions in, state out. No clock, no sockets: `now` is an
//! argument. Called by the checker alone.
//!
//! | state         | pass                      | failure                  | local failure | burst found it dead |
//! |---------------|---------------------------|--------------------------|---------------|---------------------|
//! | UNKNOWN       | UP                        | DOWN                     | –             | DOWN                |
//! | UP, n failed  | UP, 0 failed              | n+1 failed; DOWN at the threshold | –    | DOWN                |
//! | DOWN, n passed| n+1 passed; UP at the way up | DOWN, 0 passed        | –             | DOWN, 0 passed      |

use std::collections::VecDeque;
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use portolan_config::health::{Failure, HealthState};
use portolan_config::model::HealthCheck;

use crate::view::AddressHealth;

/// How long a flap is remembered.
const FLAP_MEMORY: Duration = Duration::from_secs(300);

/// From this many remembered flaps on, each doubles the way up.
const FLAPS_TOLERATED: usize = 3;

/// The longest that damping makes the way up.
const LONGEST_WAY_UP: Duration = Duration::from_secs(60);

/// Flaps remembered at most: the way up is at its longest well before (2^14 passes 50 ms apart take 14 minutes).
const FLAPS_REMEMBERED: usize = 16;

/// What a probe or a burst says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A probe passed.
    Pass,
    /// A probe failed, other than locally.
    Fail(Failure),
    /// A probe could not be made, which is this host's fault.
    Local(Failure),
    /// A burst found the endpoint dead.
    Burst(Failure),
}

/// Input with its times.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// What it says.
    pub(crate) input: Input,
    /// When the probe or the burst's last connect was sent: what orders results that overtake each other.
    pub(crate) sent: Instant,
    /// When the fault showed, if it says that there is one.
    pub(crate) seen: Instant,
}

/// The part of a check that the machine needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thresholds {
    healthy: NonZeroU8,
    unhealthy: NonZeroU8,
    fast_interval: Duration,
}

impl From<&HealthCheck> for Thresholds {
    fn from(check: &HealthCheck) -> Self {
        Self {
            healthy: check.healthy_threshold,
            unhealthy: check.unhealthy_threshold,
            fast_interval: check.fast_interval.min(check.interval),
        }
    }
}

/// The state, with what has been counted towards the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Up { failed: u32 },
    Down { passed: u32 },
}

/// How soon the next probe is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Every `interval`.
    Regular,
    /// Every `fast_interval`: a change is being counted towards.
    Fast,
}

/// The machine of one target.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    thresholds: Thresholds,
    state: State,
    since: Instant,
    transitions: u64,
    failure: Option<Failure>,
    /// Start of the present run of failures.
    run_began: Option<Instant>,
    decided_by_burst: bool,
    newest_pass: Option<Instant>,
    newest_failure: Option<Instant>,
    /// When it went from UP to DOWN, oldest first.
    flaps: VecDeque<Instant>,
}

impl Machine {
    /// Nothing is known.
    pub(crate) fn new(thresholds: Thresholds, now: Instant) -> Self {
        Self {
            thresholds,
            state: State::Unknown,
            since: now,
            transitions: 0,
            failure: None,
            run_began: None,
            decided_by_burst: false,
            newest_pass: None,
            newest_failure: None,
            flaps: VecDeque::new(),
        }
    }

    /// Goes on where another process stopped. What was counted towards a change is forgotten.
    pub(crate) fn recalled(thresholds: Thresholds, known: &AddressHealth) -> Self {
        Self {
            state: match known.state {
                HealthState::Unknown => State::Unknown,
                HealthState::Up => State::Up { failed: 0 },
                HealthState::Down => State::Down { passed: 0 },
            },
            transitions: known.transitions,
            failure: known.failure.clone(),
            run_began: known.first_evidence,
            decided_by_burst: known.decided_by_burst,
            flaps: known.flaps.iter().copied().take(FLAPS_REMEMBERED).collect(),
            ..Self::new(thresholds, known.since)
        }
    }

    /// Nothing is ever asked, so it is up. True when that is a change.
    pub(crate) fn settle_up(&mut self, now: Instant) -> bool {
        let changes = self.state() != HealthState::Up;
        if changes {
            self.come_up(now);
        }
        changes
    }

    /// The same address under another check: state, flaps and history stay, what was counted towards a change does not.
    pub(crate) fn under(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self.state = match self.state {
            State::Unknown => State::Unknown,
            State::Up { failed: _ } => {
                self.run_began = None;
                State::Up { failed: 0 }
            }
            State::Down { passed: _ } => State::Down { passed: 0 },
        };
        self
    }

    /// Takes a result. True when the state changed.
    pub(crate) fn on(&mut self, evidence: Evidence, now: Instant) -> bool {
        let Evidence { input, sent, seen } = evidence;
        if self.is_stale(&input, sent) {
            return false;
        }
        let before = self.transitions;
        match (self.state, input) {
            (State::Unknown, Input::Pass) => self.come_up(now),
            (State::Unknown, Input::Fail(failure)) => self.go_down(failure, seen, false, now),
            (State::Unknown, Input::Local(failure)) => self.failure = Some(failure),
            (State::Unknown, Input::Burst(failure)) => self.go_down(failure, seen, true, now),

            (State::Up { failed: _ }, Input::Pass) => {
                self.run_began = None;
                self.state = State::Up { failed: 0 };
            }
            (State::Up { failed }, Input::Fail(failure)) => {
                self.note_run(seen);
                if failed + 1 >= u32::from(self.thresholds.unhealthy.get()) {
                    self.go_down(failure, seen, false, now);
                } else {
                    self.state = State::Up { failed: failed + 1 };
                }
            }
            (State::Up { failed: _ }, Input::Local(_)) => {}
            (State::Up { failed: _ }, Input::Burst(failure)) => {
                self.go_down(failure, seen, true, now)
            }

            (State::Down { passed }, Input::Pass) => {
                if passed + 1 >= self.way_up(now) {
                    self.come_up(now);
                } else {
                    self.state = State::Down { passed: passed + 1 };
                }
            }
            (State::Down { passed: _ }, Input::Fail(failure) | Input::Burst(failure)) => {
                self.failure = Some(failure);
                self.state = State::Down { passed: 0 };
            }
            (State::Down { passed: _ }, Input::Local(_)) => {}
        }
        self.transitions != before
    }

    /// Probes overlap, so a result can come after a newer one that contradicts it: a connect that timed out after a later one
    /// was accepted says nothing any more. What agrees with the newer still counts.
    fn is_stale(&mut self, input: &Input, sent: Instant) -> bool {
        let (same, other) = match input {
            Input::Pass => (&mut self.newest_pass, self.newest_failure),
            Input::Fail(_) | Input::Burst(_) => (&mut self.newest_failure, self.newest_pass),
            Input::Local(_) => return false,
        };
        if other.is_some_and(|newer| newer > sent) {
            return true;
        }
        *same = (*same).max(Some(sent));
        false
    }

    fn come_up(&mut self, now: Instant) {
        self.state = State::Up { failed: 0 };
        self.since = now;
        self.transitions += 1;
        self.failure = None;
        self.run_began = None;
        self.decided_by_burst = false;
    }

    fn go_down(&mut self, failure: Failure, seen: Instant, by_burst: bool, now: Instant) {
        if matches!(self.state, State::Up { .. }) {
            if self.flaps.len() == FLAPS_REMEMBERED {
                self.flaps.pop_front();
            }
            self.flaps.push_back(now);
        }
        self.note_run(seen);
        self.state = State::Down { passed: 0 };
        self.since = now;
        self.transitions += 1;
        self.failure = Some(failure);
        self.decided_by_burst = by_burst;
    }

    /// When it went from UP to DOWN, oldest first.
    pub(crate) fn flaps(&self) -> Vec<Instant> {
        self.flaps.iter().copied().collect()
    }

    /// Results come out of order, so the run begins with the earliest, not with the first to come.
    fn note_run(&mut self, seen: Instant) {
        self.run_began = Some(self.run_began.map_or(seen, |began| began.min(seen)));
    }

    /// Passes needed to come up.
    fn way_up(&mut self, now: Instant) -> u32 {
        while self
            .flaps
            .front()
            .is_some_and(|flap| now.saturating_duration_since(*flap) >= FLAP_MEMORY)
        {
            self.flaps.pop_front();
        }
        let needed = u32::from(self.thresholds.healthy.get());
        let doublings = (self.flaps.len() + 1).saturating_sub(FLAPS_TOLERATED);
        let longest = LONGEST_WAY_UP.as_millis() / self.thresholds.fast_interval.as_millis().max(1);
        let longest = u32::try_from(longest).unwrap_or(u32::MAX);
        // At most 255 × 2^14, so it cannot overflow. A threshold that already takes longer than a minute stays as it was asked.
        (needed << doublings).min(longest.max(needed))
    }

    /// How soon the next probe is wanted.
    pub(crate) fn pace(&self) -> Pace {
        match self.state {
            State::Up { failed: 0 } | State::Down { passed: 0 } => Pace::Regular,
            State::Unknown | State::Up { failed: _ } | State::Down { passed: _ } => Pace::Fast,
        }
    }

    /// The state, in everybody's words.
    pub(crate) fn state(&self) -> HealthState {
        match self.state {
            State::Unknown => HealthState::Unknown,
            State::Up { failed: _ } => HealthState::Up,
            State::Down { passed: _ } => HealthState::Down,
        }
    }

    /// Failures in a row that have not brought it down yet.
    pub(crate) fn failed(&self) -> u32 {
        match self.state {
            State::Up { failed } => failed,
            State::Unknown | State::Down { passed: _ } => 0,
        }
    }

    /// When it took that state.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// Changes of state so far.
    pub(crate) fn transitions(&self) -> u64 {
        self.transitions
    }

    /// While down the newest failure; while unknown why no probe could be made.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// While down: when the fault was first seen.
    pub(crate) fn first_evidence(&self) -> Option<Instant> {
        match self.state {
            State::Down { passed: _ } => self.run_began,
            State::Unknown | State::Up { failed: _ } => None,
        }
    }

    /// While down: whether a burst decided it.
    pub(crate) fn decided_by_burst(&self) -> bool {
        self.decided_by_burst
    }
}

#[cfg(test)]
mod tests;
