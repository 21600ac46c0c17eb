//! What becomes of the live flows of an address that fell, left or is drained. Sans-IO: the controller tells what happened and
//! asks [`Verdicts::settle`]; what comes out goes to the data path inside the next snapshot.
//!
//! A fall of path or port asks for a reset, and a reset must not answer a fault of this PoP's own network. So it is held
//! until another endpoint that could take the flows has shown life after the fall, and dropped when none is left that could.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_config::health::Failure;
use portolan_config::model::{GroupSettings, OnUnhealthy};
use portolan_config::snapshot::{AddressId, Fate, Snapshot, Verdict};

/// The least time for which the others are given the chance to fall, too.
pub(crate) const HOLD: Duration = Duration::from_secs(1);

/// The most time, whatever their checks need.
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// How often held verdicts are looked at: well under what a reset takes to matter, well above what a look costs.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Verdicts published at once; beyond it the oldest go, which every worker has seen long ago.
const PUBLISHED: usize = 65_536;

/// An address that went down.
#[derive(Clone, Debug)]
pub(crate) struct Fall {
    pub(crate) address: AddressId,
    pub(crate) failure: Option<Failure>,
    /// When the fault was first seen.
    pub(crate) first_evidence: Option<Instant>,
    /// When it was decided.
    pub(crate) at: Instant,
    pub(crate) settings: Arc<GroupSettings>,
}

/// The other endpoints of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Others {
    /// One of them is available.
    pub(crate) available: bool,
    /// When one that is available last passed a probe or sent anything.
    pub(crate) life: Option<Instant>,
    /// How long their checks may take to find them dead.
    pub(crate) patience: Duration,
}

/// What verdicts look at.
pub(crate) trait World {
    /// The listener that an address belongs to; `None` when it has left.
    fn listener_of(&self, address: AddressId) -> Option<usize>;

    /// The available endpoints of a listener. May stop at the first that showed life after `since`.
    fn others(&self, listener: usize, since: Instant) -> Others;
}

/// Why an address drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    /// It answers, but fails its check, or its group drains what is unhealthy.
    Health,
    /// The operator wants it.
    Operator,
    /// It is no longer asked for, or its name no longer has it.
    Left,
}

/// All verdicts of the process.
#[derive(Debug)]
pub(crate) struct Verdicts {
    published: Arc<[Verdict]>,
    issued: Vec<Verdict>,
    number: u64,
    held: HashMap<AddressId, Held>,
    /// Why an address drains and until when; `None` is without an end.
    draining: HashMap<AddressId, Vec<(Cause, Option<Instant>)>>,
}

#[derive(Debug)]
struct Held {
    fall: Fall,
    since: Instant,
}

impl Verdicts {
    /// None yet.
    pub(crate) fn new() -> Verdicts {
        Verdicts {
            published: Arc::from([]),
            issued: Vec::new(),
            number: 0,
            held: HashMap::new(),
            draining: HashMap::new(),
        }
    }

    /// An address went down. The verdict, if there is one, comes out of [`Verdicts::settle`].
    pub(crate) fn fell(&mut self, fall: Fall, now: Instant) {
        match fall.settings.on_unhealthy {
            OnUnhealthy::Keep => {}
            OnUnhealthy::Reset | OnUnhealthy::Drain => {
                self.held.insert(fall.address, Held { fall, since: now });
            }
        }
    }

    /// An address is up again: what was held is dropped, a drain for its health is taken back.
    pub(crate) fn rose(&mut self, address: AddressId, now: Instant) {
        self.held.remove(&address);
        self.release(address, Cause::Health, now);
    }

    /// Lets the flows of an address finish.
    pub(crate) fn drain(
        &mut self,
        address: AddressId,
        cause: Cause,
        timeout: Duration,
        now: Instant,
    ) {
        let causes = self.draining.entry(address).or_default();
        if causes.iter().any(|(known, _)| *known == cause) {
            return;
        }
        let until = now.checked_add(timeout);
        causes.push((cause, until));
        if cause == Cause::Left {
            self.held.remove(&address);
        }
        self.issue(address, Fate::Drain { until }, now);
    }

    /// A cause of its drain is gone; with the last one the drain is taken back.
    pub(crate) fn release(&mut self, address: AddressId, cause: Cause, now: Instant) {
        let Some(causes) = self.draining.get_mut(&address) else {
            return;
        };
        let before = causes.len();
        causes.retain(|(known, _)| *known != cause);
        let was_one = causes.len() < before;
        if causes.is_empty() {
            self.draining.remove(&address);
            if was_one {
                self.issue(address, Fate::Keep, now);
            }
        }
    }

    /// Decides what can be decided about falls.
    pub(crate) fn settle(&mut self, world: &dyn World, now: Instant) {
        for (listener, addresses) in self.held_by_listener(world) {
            let latest = addresses
                .iter()
                .map(|address| self.held[address].fall.at)
                .max();
            let others = world.others(listener, latest.unwrap_or(now));
            for address in addresses {
                match decide(&self.held[&address], others, now) {
                    Decision::Wait => {}
                    Decision::Drop => {
                        self.held.remove(&address);
                    }
                    Decision::Issue => self.let_go(address, now),
                }
            }
            if !others.available {
                self.keep_unhealthy(listener, world, now);
            }
        }
    }

    /// When to settle again.
    pub(crate) fn next_look(&self, now: Instant) -> Option<Instant> {
        (!self.held.is_empty()).then(|| now + LOOK_AGAIN)
    }

    /// Moves what was decided since the last call into what is published, and tells it.
    pub(crate) fn publish(&mut self) -> Vec<Verdict> {
        let issued = std::mem::take(&mut self.issued);
        if !issued.is_empty() {
            let spill = (self.published.len() + issued.len()).saturating_sub(PUBLISHED);
            let kept = self.published.iter().chain(&issued).skip(spill);
            self.published = kept.cloned().collect();
        }
        issued
    }

    /// What the next snapshot is to carry; the very same as before when nothing was decided.
    pub(crate) fn published(&self) -> &Arc<[Verdict]> {
        &self.published
    }

    /// Forgets what every worker has seen and drains whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        let alive = |verdict: &Verdict| {
            now.saturating_duration_since(verdict.decided) < Snapshot::VERDICT_LIFE
        };
        if !self.published.iter().all(alive) {
            self.published = self
                .published
                .iter()
                .filter(|v| alive(v))
                .cloned()
                .collect();
        }
        // An address that left is held by nobody once its flows are gone, and nobody takes back what else it was drained for; the
        // others are taken back by who drains them.
        self.draining.retain(|_, causes| {
            let mut left = causes.iter().filter(|(cause, _)| *cause == Cause::Left);
            !left.any(|(_, until)| until.is_none_or(|until| until < now))
        });
    }

    fn held_by_listener(&mut self, world: &dyn World) -> HashMap<usize, Vec<AddressId>> {
        let mut by_listener: HashMap<usize, Vec<AddressId>> = HashMap::new();
        self.held
            .retain(|address, _| match world.listener_of(*address) {
                Some(listener) => {
                    by_listener.entry(listener).or_default().push(*address);
                    true
                }
                None => false,
            });
        by_listener
    }

    fn let_go(&mut self, address: AddressId, now: Instant) {
        let Some(Held { fall, since: _ }) = self.held.remove(&address) else {
            return;
        };
        if asks_for_reset(&fall) {
            let fate = Fate::Reset {
                silent_since: fall.first_evidence.unwrap_or(fall.at),
                over: fall.settings.reset_over,
                rate: fall.settings.reset_rate,
            };
            self.issue(address, fate, now);
        } else {
            self.drain(address, Cause::Health, fall.settings.drain_timeout, now);
        }
    }

    /// With nowhere left to go, flows stay on what at least answers: the end of a drain would reset them.
    fn keep_unhealthy(&mut self, listener: usize, world: &dyn World, now: Instant) {
        let unhealthy: Vec<AddressId> = self
            .draining
            .iter()
            .filter(|(_, causes)| causes.iter().any(|(cause, _)| *cause == Cause::Health))
            .map(|(address, _)| *address)
            .filter(|address| world.listener_of(*address) == Some(listener))
            .collect();
        for address in unhealthy {
            self.release(address, Cause::Health, now);
        }
    }

    fn issue(&mut self, address: AddressId, fate: Fate, now: Instant) {
        self.number += 1;
        self.issued.push(Verdict {
            number: self.number,
            address,
            decided: now,
            fate,
        });
    }
}

enum Decision {
    Wait,
    Drop,
    Issue,
}

fn decide(held: &Held, others: Others, now: Instant) -> Decision {
    if !others.available {
        return Decision::Drop;
    }
    if !asks_for_reset(&held.fall) {
        return Decision::Issue;
    }
    let waited = now.saturating_duration_since(held.since);
    // Whoever is alive answers the probe that the fall asked for within a round trip. Silence for longer than its check
    // takes to find it dead is all the proof there will be.
    let patience = others.patience.clamp(HOLD, LONGEST_HOLD);
    if others.life.is_some_and(|life| life > held.fall.at) || waited >= patience {
        Decision::Issue
    } else {
        Decision::Wait
    }
}

fn asks_for_reset(fall: &Fall) -> bool {
    match fall.settings.on_unhealthy {
        OnUnhealthy::Reset => fall.failure.as_ref().is_some_and(Failure::strands_flows),
        OnUnhealthy::Drain | OnUnhealthy::Keep => false,
    }
}

#[cfg(test)]
mod tests;
