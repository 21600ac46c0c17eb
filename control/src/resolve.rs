//! When which name is asked, and which addresses it has meanwhile. Sans-IO; [`driver`] asks the name servers.
//!
//! An answer is good for its TTL (1 s to 5 min). A name that never resolved is asked again after 1 to 5 s; one that stopped
//! resolving as well, and keeps its last addresses for `stale_for`.

pub(crate) mod driver;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::handover::KnownName;
use crate::layout::{ADDRESSES_OF_A_NAME, Resolved};

/// A TTL of zero must not become a busy loop.
const TTL_FLOOR: Duration = Duration::from_secs(1);

/// Longer than this a changed name is not overlooked, whatever its TTL says.
const TTL_CAP: Duration = Duration::from_secs(300);

/// The longest wait before a name that has no fresh answer is asked again; the first is a second.
const RETRY_CAP: u32 = 5;

/// How long names that appear begin with what a predecessor knew: the API's come a moment after the file's.
const RECALL_FOR: Duration = Duration::from_secs(30);

/// Names asked at once.
const IN_FLIGHT: usize = 64;

/// What a name server said of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// These, for so long.
    Addresses {
        addresses: Vec<IpAddr>,
        ttl: Duration,
    },
    /// None, and it knows so.
    None(Arc<str>),
    /// It did not say.
    Failed(Arc<str>),
}

/// What came of asking for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) v4: Family,
    pub(crate) v6: Family,
}

/// All names that are asked for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: HashMap<Arc<str>, Entry>,
    /// What a predecessor knew, and when it was told.
    recalled: Option<(Vec<KnownName>, Instant)>,
}

#[derive(Debug)]
struct Entry {
    addresses: Vec<IpAddr>,
    error: Option<Arc<str>>,
    /// Failures in a row.
    failures: u32,
    /// When the last good answer came.
    answered: Option<Instant>,
    due: Instant,
    asked: bool,
}

impl Names {
    /// Asks for these names from now on. What is known of those that stay is kept.
    pub(crate) fn want(&mut self, names: HashSet<Arc<str>>, now: Instant) {
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            let known = self.recalled(&name, now);
            self.names.entry(name).or_insert_with(|| Entry {
                answered: known.as_ref().map(|(_, answered)| *answered),
                addresses: known.map(|(addresses, _)| addresses).unwrap_or_default(),
                error: None,
                failures: 0,
                due: now,
                asked: false,
            });
        }
    }

    /// What a predecessor knew of a name, and when it was answered.
    fn recalled(&self, name: &str, now: Instant) -> Option<(Vec<IpAddr>, Instant)> {
        let (known, told) = self.recalled.as_ref()?;
        if now.saturating_duration_since(*told) > RECALL_FOR {
            return None;
        }
        let known = known.iter().find(|known| *known.name == *name)?;
        let answered = told.checked_sub(known.age).unwrap_or(*told);
        Some((known.addresses.clone(), answered))
    }

    /// What is known of each name, for a successor.
    pub(crate) fn known(&self, now: Instant) -> Vec<KnownName> {
        let known = self.names.iter().filter_map(|(name, entry)| {
            Some(KnownName {
                name: name.clone(),
                addresses: entry.addresses.clone(),
                age: now.saturating_duration_since(entry.answered?),
            })
        });
        known.collect()
    }

    /// What a predecessor knew: a name that cannot be resolved at this moment begins with its addresses.
    pub(crate) fn recall(&mut self, known: Vec<KnownName>, now: Instant) {
        self.recalled = Some((known, now));
    }

    /// Uses these addresses for a name that never had an answer; whether it is different now.
    pub(crate) fn suggest(&mut self, name: &str, addresses: &[IpAddr]) -> bool {
        let Some(entry) = self
            .names
            .get_mut(name)
            .filter(|entry| entry.answered.is_none())
        else {
            return false;
        };
        if entry.addresses == addresses {
            return false;
        }
        entry.addresses = addresses.to_vec();
        true
    }

    /// Names to ask now; they count as asked until their answer comes.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let room =
            IN_FLIGHT.saturating_sub(self.names.values().filter(|entry| entry.asked).count());
        let due = self
            .names
            .iter_mut()
            .filter(|(_, entry)| !entry.asked && entry.due <= now);
        due.take(room)
            .map(|(name, entry)| {
                entry.asked = true;
                name.clone()
            })
            .collect()
    }

    /// When there is something to ask; `None` while nothing is, or everything is under way.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let (asked, waiting): (Vec<_>, Vec<_>) = self.names.values().partition(|entry| entry.asked);
        if asked.len() >= IN_FLIGHT {
            return None;
        }
        waiting.into_iter().map(|entry| entry.due).min()
    }

    /// Takes an answer. Whether anything about the name is different now.
    pub(crate) fn answered(
        &mut self,
        name: &str,
        answer: Answer,
        stale_for: Duration,
        now: Instant,
    ) -> bool {
        let Some(entry) = self.names.get_mut(name) else {
            return false;
        };
        let before = (entry.addresses.clone(), entry.error.clone());
        entry.asked = false;
        entry.take(answer, stale_for, now);
        before != (entry.addresses.clone(), entry.error.clone())
    }

    /// What is known of a name.
    pub(crate) fn resolved(&self, name: &str) -> Resolved {
        let Some(entry) = self.names.get(name) else {
            return Resolved::default();
        };
        let used = entry.addresses.len().min(ADDRESSES_OF_A_NAME);
        Resolved {
            addresses: entry.addresses[..used].to_vec(),
            unused: entry.addresses.len() - used,
            error: entry.error.clone(),
        }
    }
}

impl Entry {
    fn take(&mut self, answer: Answer, stale_for: Duration, now: Instant) {
        let (v4, v6) = (answer.v4, answer.v6);
        let old = |wanted: fn(&IpAddr) -> bool| {
            self.addresses
                .iter()
                .copied()
                .filter(wanted)
                .collect::<Vec<_>>()
        };
        let (old_v4, old_v6) = (old(IpAddr::is_ipv4), old(IpAddr::is_ipv6));
        let outcome = match (v4, v6) {
            (
                Family::Addresses {
                    addresses: a,
                    ttl: x,
                },
                Family::Addresses {
                    addresses: b,
                    ttl: y,
                },
            ) => Ok((a, b, x.min(y))),
            (Family::Addresses { addresses, ttl }, Family::None(_)) => {
                Ok((addresses, Vec::new(), ttl))
            }
            (Family::None(_), Family::Addresses { addresses, ttl }) => {
                Ok((Vec::new(), addresses, ttl))
            }
            // One family's server trouble says nothing about the addresses it had.
            (Family::Addresses { addresses, .. }, Family::Failed(_)) => {
                Ok((addresses, old_v6, TTL_FLOOR * RETRY_CAP))
            }
            (Family::Failed(_), Family::Addresses { addresses, .. }) => {
                Ok((old_v4, addresses, TTL_FLOOR * RETRY_CAP))
            }
            (Family::Failed(why), Family::Failed(_) | Family::None(_))
            | (Family::None(_), Family::Failed(why))
            | (Family::None(why), Family::None(_)) => Err(why),
        };
        match outcome {
            Ok((v4, v6, ttl)) => {
                self.addresses = [v4, v6].concat();
                self.addresses.sort_unstable();
                self.addresses.dedup();
                self.error = None;
                self.failures = 0;
                self.answered = Some(now);
                self.due = now + ttl.clamp(TTL_FLOOR, TTL_CAP);
            }
            Err(why) => {
                self.error = Some(why);
                self.failures = self.failures.saturating_add(1);
                self.due = now + TTL_FLOOR * self.failures.min(RETRY_CAP);
                // Even a definite "no such name" is kept at bay: a zone that lost its records must not empty an edge.
                let is_stale = self
                    .answered
                    .is_some_and(|then| now.saturating_duration_since(then) >= stale_for);
                if is_stale {
                    self.addresses.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
