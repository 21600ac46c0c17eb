//! Health that outlives the process: what a checker knows of its targets in a form that travels, and what a checker that is new
//! recalls of it. Called by the binary on an upgrade; a successor goes on with its predecessor's view instead of knowing nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use portolan_config::health::{Failure, HealthState};
use serde::{Deserialize, Serialize};

use crate::target::ProbeTarget;
use crate::view::AddressHealth;

/// How long what was known is recalled for targets that appear: names take this long to be resolved, and health ages.
const RECALL_FOR: Duration = Duration::from_secs(30);

/// What was known of one target. Times are ages, since clocks of processes do not compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownHealth {
    /// The address and port that was asked.
    pub address: SocketAddr,
    /// What tells its check from others at that address.
    pub question: String,
    /// `UP`, `DOWN` or `UNKNOWN`.
    pub state: String,
    /// For how long.
    pub age: Duration,
    /// The failure's label and words.
    pub failure: Option<(String, String)>,
    /// While down: how long ago the fault was first seen.
    pub evidence_age: Option<Duration>,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
    /// How long ago a probe last passed.
    pub last_ok_age: Option<Duration>,
    /// Changes of state so far.
    pub transitions: u64,
    /// While down: live flows raised it and a burst decided.
    pub by_burst: bool,
    /// How long ago it went from UP to DOWN, oldest first.
    #[serde(default)]
    pub flap_ages: Vec<Duration>,
}

impl KnownHealth {
    pub(crate) fn of(target: &ProbeTarget, health: &AddressHealth, now: Instant) -> Self {
        let AddressHealth {
            state,
            since,
            since_wall: _,
            failure,
            first_evidence,
            rtt,
            last_ok,
            transitions,
            decided_by_burst,
            flaps,
        } = health;
        let age = |at: &Instant| now.saturating_duration_since(*at);
        Self {
            address: target.address.0,
            question: target.question(),
            state: state.as_str().to_owned(),
            age: age(since),
            failure: failure.as_ref().map(words),
            evidence_age: first_evidence.as_ref().map(age),
            rtt: *rtt,
            last_ok_age: last_ok.as_ref().map(age),
            transitions: *transitions,
            by_burst: *decided_by_burst,
            flap_ages: flaps.iter().map(age).collect(),
        }
    }

    /// `None` for what says nothing: an unknown state, or one that only a newer release has.
    fn health(&self, now: Instant, wall: SystemTime) -> Option<AddressHealth> {
        let states = [HealthState::Up, HealthState::Down];
        let state = states.into_iter().find(|s| s.as_str() == self.state)?;
        let ago = |age: Duration| now.checked_sub(age).unwrap_or(now);
        Some(AddressHealth {
            state,
            since: ago(self.age),
            since_wall: wall.checked_sub(self.age).unwrap_or(wall),
            failure: self.failure.as_ref().map(failure),
            first_evidence: self.evidence_age.map(ago),
            rtt: self.rtt,
            last_ok: self.last_ok_age.map(ago),
            transitions: self.transitions,
            decided_by_burst: self.by_burst,
            flaps: self.flap_ages.iter().copied().map(ago).collect(),
        })
    }
}

fn words(failure: &Failure) -> (String, String) {
    let words = match failure {
        Failure::Refused | Failure::TimedOut | Failure::Unreachable | Failure::Reset => {
            String::new()
        }
        Failure::Answer(words) | Failure::Local(words) => words.to_string(),
    };
    (failure.label().to_owned(), words)
}

fn failure((label, words): &(String, String)) -> Failure {
    let bare = [
        Failure::Refused,
        Failure::TimedOut,
        Failure::Unreachable,
        Failure::Reset,
    ];
    let words: Arc<str> = Arc::from(words.as_str());
    bare.into_iter()
        .find(|failure| failure.label() == label)
        .unwrap_or(Failure::Answer(words))
}

/// What a predecessor knew.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    by_address: HashMap<SocketAddr, Vec<KnownHealth>>,
    began: Option<Instant>,
}

impl Recalled {
    pub(crate) fn new(known: Vec<KnownHealth>, now: Instant) -> Self {
        let mut by_address: HashMap<_, Vec<_>> = HashMap::new();
        for health in known {
            by_address.entry(health.address).or_default().push(health);
        }
        Self {
            by_address,
            began: Some(now),
        }
    }

    /// What was known of a target: under the same check, else under another one at the same address, an UP before a DOWN.
    pub(crate) fn of(
        &self,
        target: &ProbeTarget,
        now: Instant,
        wall: SystemTime,
    ) -> Option<AddressHealth> {
        if target.is_always_up() || now.saturating_duration_since(self.began?) > RECALL_FOR {
            return None;
        }
        let known = self.by_address.get(&target.address.0)?;
        let question = target.question();
        let told = known.iter().filter_map(|known| {
            let health = known.health(now, wall)?;
            Some((known.question == question, health))
        });
        let best = told.max_by_key(|(same, health)| (*same, health.state == HealthState::Up));
        best.map(|(_, health)| health)
    }
}

#[cfg(test)]
mod tests;
