//! The shrink guard: whether what a reading takes away may go. A wrong role, a wrong region or a bug elsewhere give valid, empty
//! answers, so a large loss waits until it has been said three times and for ten minutes, or the operator says so. Time is an
//! argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::map::{Served, Unit};

/// The share of endpoints that may go at once.
const SHARE: f64 = 0.3;

/// How often the same must have been read.
const CYCLES: u32 = 3;

/// And for how long.
const WAIT: Duration = Duration::from_secs(600);

/// Endpoints by unit.
pub(crate) type Endpoints = BTreeMap<Unit, BTreeSet<Served>>;

/// A loss that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What would go.
    pub lost: BTreeSet<Served>,
    /// Why it waits.
    pub reason: String,
    /// When it was first read.
    pub since: SystemTime,
    /// How often it was read, running.
    pub cycles: u32,
}

/// All that waits, by unit.
pub(crate) type Holds = BTreeMap<Unit, Held>;

/// Judges the loss from what was served to `next`: what waits from here on. Units that are not in it may lose what `next` lacks.
/// `waiting` is what waited before. `accept` is the operator's word for what they could see: a loss of everything that has not
/// waited yet is not it.
pub(crate) fn judge(
    served: &Endpoints,
    next: &Endpoints,
    waiting: &Holds,
    accept: bool,
    now: SystemTime,
) -> Holds {
    let none = BTreeSet::new();
    let mut losses = BTreeMap::new();
    for (unit, was) in served {
        let lost: BTreeSet<Served> = was
            .difference(next.get(unit).unwrap_or(&none))
            .cloned()
            .collect();
        if !lost.is_empty() {
            losses.insert(unit, lost);
        }
    }
    if losses.is_empty() {
        return Holds::new();
    }
    let all: usize = served.values().map(BTreeSet::len).sum();
    let lost_in_all: usize = losses.values().map(BTreeSet::len).sum();
    let of_all = share(lost_in_all, all);
    let empties = lost_in_all == all;
    let mut holds = Holds::new();
    for (unit, lost) in losses {
        let endpoints = &served[unit];
        let was_shown = waiting
            .get(unit)
            .is_some_and(|held| lost.is_subset(&held.lost));
        if accept && (was_shown || !empties) {
            continue;
        }
        let Some(reason) = reason(endpoints, &lost, of_all, empties) else {
            continue;
        };
        let before = waiting.get(unit).filter(|held| held.lost == lost);
        let since = before.map_or(now, |held| held.since);
        let cycles = before.map_or(0, |held| held.cycles).saturating_add(1);
        // Everything at once is never believed: only the operator knows.
        let is_confirmed = cycles >= CYCLES
            && now.duration_since(since).is_ok_and(|waited| waited >= WAIT)
            && !empties;
        if !is_confirmed {
            holds.insert(
                unit.clone(),
                Held {
                    lost,
                    reason,
                    since,
                    cycles,
                },
            );
        }
    }
    holds
}

/// Why a loss is too large to be taken at once.
fn reason(
    endpoints: &BTreeSet<Served>,
    lost: &BTreeSet<Served>,
    of_all: f64,
    empties: bool,
) -> Option<String> {
    if empties {
        return Some("it would take the last endpoint of all: this waits for `portolan aws sync --accept-shrink`".into());
    }
    if lost.len() == endpoints.len() {
        return Some("it would take the accelerator's last endpoint".into());
    }
    let left: BTreeSet<(&str, &str)> = endpoints
        .difference(lost)
        .map(|e| (e.listener.as_str(), e.region.as_str()))
        .collect();
    let emptied = lost
        .iter()
        .find(|e| !left.contains(&(e.listener.as_str(), e.region.as_str())));
    if let Some(emptied) = emptied {
        return Some(format!(
            "it would take the last endpoint of {}",
            emptied.region
        ));
    }
    let of_unit = share(lost.len(), endpoints.len());
    if of_unit > SHARE {
        return Some(format!(
            "it would take {:.0} % of the accelerator's endpoints",
            of_unit * 100.0
        ));
    }
    (of_all > SHARE).then(|| format!("it would take {:.0} % of all endpoints", of_all * 100.0))
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests;
