//! The health view: what is known of every target, and which of it changed since somebody last looked. Written by the
//! checker's task, read by control; changes are levels, not events, so a slow reader sees the newest and misses nothing.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use portolan_config::health::{Failure, HealthState};
use tokio::sync::Notify;

use crate::known::KnownHealth;
use crate::target::ProbeTarget;

/// A round trip is told anew when it moved by more than this, or by a twentieth. Less would make every probe a change.
const RTT_STEP: Duration = Duration::from_micros(500);

/// What is known of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressHealth {
    /// The state.
    pub state: HealthState,
    /// When it took that state.
    pub since: Instant,
    /// The same, for people.
    pub since_wall: SystemTime,
    /// The newest failure while down; while unknown, why no probe could be made. `None` when up.
    pub failure: Option<Failure>,
    /// While down: when the fault was first seen, which is when the first answer of the run of failures was overdue, or when a
    /// live flow raised the suspicion.
    pub first_evidence: Option<Instant>,
    /// Smoothed connect round trip of the probes.
    pub rtt: Option<Duration>,
    /// When a probe last passed.
    pub last_ok: Option<Instant>,
    /// Changes of state so far, the one from UNKNOWN included; goes on over a change of the check.
    pub transitions: u64,
    /// While down: live flows raised it and a burst decided, not the check.
    pub decided_by_burst: bool,
    /// When it last went from UP to DOWN, oldest first: many of them slow its way up.
    pub flaps: Vec<Instant>,
}

impl AddressHealth {
    /// Of a target that nothing is known of; up when nothing is ever asked.
    pub(crate) fn initial(target: &ProbeTarget, now: Instant, wall: SystemTime) -> Self {
        let up = target.is_always_up();
        Self {
            state: if up {
                HealthState::Up
            } else {
                HealthState::Unknown
            },
            since: now,
            since_wall: wall,
            failure: None,
            first_evidence: None,
            rtt: None,
            last_ok: None,
            transitions: u64::from(up),
            decided_by_burst: false,
            flaps: Vec::new(),
        }
    }

    /// What remains of it when the check of the address becomes that of `heir`.
    fn inherited(self, heir: &ProbeTarget, now: Instant, wall: SystemTime) -> Self {
        if heir.is_always_up() && self.state != HealthState::Up {
            let transitions = self.transitions + 1;
            return Self {
                transitions,
                ..Self::initial(heir, now, wall)
            };
        }
        self
    }

    /// Whether somebody who was told `told` should hear of this.
    fn is_news_after(&self, told: &AddressHealth) -> bool {
        self.state != told.state
            || self.transitions != told.transitions
            || self.failure != told.failure
            || self.decided_by_burst != told.decided_by_burst
            || moved(told.rtt, self.rtt)
    }
}

fn moved(told: Option<Duration>, rtt: Option<Duration>) -> bool {
    match (told, rtt) {
        (None, None) => false,
        (None, Some(_)) | (Some(_), None) => true,
        (Some(told), Some(rtt)) => told.abs_diff(rtt) > RTT_STEP.max(told / 20),
    }
}

/// Health of one target beside what was last told of it.
#[derive(Debug)]
struct Slot {
    health: AddressHealth,
    told: AddressHealth,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashMap<ProbeTarget, Slot>,
    dirty: HashSet<ProbeTarget>,
}

/// The shared table.
#[derive(Debug, Default)]
pub(crate) struct View {
    table: Mutex<Table>,
    changed: Notify,
}

impl View {
    /// Makes the table hold exactly `wanted`. What is new inherits from what was there, see [`Heirs`], or else is what `recall`
    /// says.
    pub(crate) fn reconcile(
        &self,
        wanted: &HashSet<ProbeTarget>,
        recall: impl Fn(&ProbeTarget) -> Option<AddressHealth>,
        now: Instant,
        wall: SystemTime,
    ) {
        let mut table = self.lock();
        let Table { slots, dirty } = &mut *table;
        let added: Vec<_> = wanted
            .iter()
            .filter(|t| !slots.contains_key(*t))
            .cloned()
            .collect();
        if !added.is_empty() {
            let heirs = Heirs::new(slots.iter().map(|(t, slot)| (t, slot.health.state)), wanted);
            let begun: Vec<_> = added
                .into_iter()
                .map(|target| {
                    let old = heirs.ancestor(&target).and_then(|old| slots.get(old));
                    let health = match old {
                        Some(slot) => slot.health.clone().inherited(&target, now, wall),
                        None => recall(&target)
                            .unwrap_or_else(|| AddressHealth::initial(&target, now, wall)),
                    };
                    (target, health)
                })
                .collect();
            for (target, health) in begun {
                dirty.insert(target.clone());
                slots.insert(
                    target,
                    Slot {
                        told: health.clone(),
                        health,
                    },
                );
            }
        }
        slots.retain(|target, _| wanted.contains(target));
        dirty.retain(|target| wanted.contains(target));
        let news = !dirty.is_empty();
        drop(table);
        if news {
            self.changed.notify_waiters();
        }
    }

    /// Stores what the checker knows. A target that left meanwhile stays away.
    pub(crate) fn store(&self, target: &ProbeTarget, health: AddressHealth) {
        let mut table = self.lock();
        let Table { slots, dirty } = &mut *table;
        let Some(slot) = slots.get_mut(target) else {
            return;
        };
        let news = health.is_news_after(&slot.told);
        slot.health = health;
        if news {
            slot.told = slot.health.clone();
            dirty.insert(target.clone());
            drop(table);
            self.changed.notify_waiters();
        }
    }

    pub(crate) fn health(&self, target: &ProbeTarget) -> Option<AddressHealth> {
        self.lock()
            .slots
            .get(target)
            .map(|slot| slot.health.clone())
    }

    pub(crate) fn known(&self, now: Instant) -> Vec<KnownHealth> {
        let table = self.lock();
        let slots = table.slots.iter();
        slots
            .map(|(target, slot)| KnownHealth::of(target, &slot.health, now))
            .collect()
    }

    /// Returns once there is something to take.
    pub(crate) async fn changed(&self) {
        loop {
            // Made before the look: from then on it hears of every change, so that none between the two is missed.
            let notified = self.changed.notified();
            if !self.lock().dirty.is_empty() {
                return;
            }
            notified.await;
        }
    }

    pub(crate) fn take_changes(&self) -> Vec<(ProbeTarget, AddressHealth)> {
        let mut table = self.lock();
        let Table { slots, dirty } = &mut *table;
        dirty
            .drain()
            .filter_map(|target| {
                let health = slots.get(&target)?.health.clone();
                Some((target, health))
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every writer leaves the table whole at each step, so a panic elsewhere does not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Finds whose health a new target goes on with: a change of configuration never forgets that of an address that stays.
///
/// First a target of the same address and port, one that leaves before one that stays, one of the same name before others. Else,
/// when the check's own `port` moved, the targets that leave at the same IP address and name, if they agree on the state (several
/// endpoints of one host can come to share a check port). An endpoint whose own port changes is another endpoint address, and
/// starts unknown.
pub(crate) struct Heirs<'a> {
    by_ip: HashMap<IpAddr, Vec<Ancestor<'a>>>,
}

#[derive(Clone, Copy)]
struct Ancestor<'a> {
    target: &'a ProbeTarget,
    state: HealthState,
    leaves: bool,
}

impl<'a> Heirs<'a> {
    /// Over the targets there were, with their states, and those that are wanted.
    pub(crate) fn new(
        old: impl Iterator<Item = (&'a ProbeTarget, HealthState)>,
        wanted: &HashSet<ProbeTarget>,
    ) -> Self {
        let mut by_ip: HashMap<IpAddr, Vec<Ancestor<'a>>> = HashMap::new();
        for (target, state) in old {
            let leaves = !wanted.contains(target);
            by_ip
                .entry(target.address.0.ip())
                .or_default()
                .push(Ancestor {
                    target,
                    state,
                    leaves,
                });
        }
        Self { by_ip }
    }

    /// The target whose health `new` goes on with.
    pub(crate) fn ancestor(&self, new: &ProbeTarget) -> Option<&'a ProbeTarget> {
        let there = self.by_ip.get(&new.address.0.ip())?;
        let same_port = there
            .iter()
            .filter(|old| old.target.address == new.address)
            .max_by_key(|old| (old.leaves, old.target.name == new.name, rank(old.state)));
        if let Some(old) = same_port {
            return Some(old.target);
        }
        let mut moved = there.iter().filter(|old| {
            old.leaves && old.target.name == new.name && old.target.check.port != new.check.port
        });
        let first = moved.next()?;
        moved
            .all(|old| old.state == first.state)
            .then_some(first.target)
    }
}

/// Makes the choice among equals the same whatever the order of a map: who knows more, then who is better.
fn rank(state: HealthState) -> u8 {
    match state {
        HealthState::Unknown => 0,
        HealthState::Down => 1,
        HealthState::Up => 2,
    }
}
