//! One cycle: what was known, a reading and the file's word come in; what is known, what waits and what changes come out. Pure: the
//! running edge, `portolan aws plan` and the tests all go through [`cycle`].

mod changes;

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub(crate) use self::changes::waiting;
use super::guard::{self, Holds};
use super::map::{self, Allocations, Keys, Settings, Unit};

use self::changes::changes;
use super::merge::{Removals, merge, references};
use super::picture::{Picture, Reading};

/// Everything that is known and outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// What AWS has, as far as it may be believed.
    pub picture: Picture,
    /// Losses that wait.
    pub held: Holds,
    /// Pool addresses.
    pub allocations: Allocations,
    /// Which of `[aws.addresses]` each accelerator was served by.
    #[serde(default)]
    pub keys: Keys,
    /// When everything was last read to its end.
    pub read_at: Option<SystemTime>,
}

/// What a cycle comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) known: Known,
    /// Between the pictures, in order of what they are about.
    pub(crate) changes: Vec<Change>,
}

/// A change, for people and machines.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    /// What it is about: accelerator, listener, region, endpoint.
    pub what: String,
    /// What happens.
    pub action: Action,
    /// What it is and was.
    pub detail: String,
}

/// What happens to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It comes in.
    Add,
    /// It is another.
    Change,
    /// It drains and leaves.
    Remove,
    /// It would leave, and waits.
    Hold,
}

/// Takes a reading in. `accept` lets losses go that would wait.
pub(crate) fn cycle(
    before: &Known,
    reading: &Reading,
    settings: &Settings,
    accept: bool,
    now: SystemTime,
) -> Outcome {
    let kept = merge(&before.picture, reading, settings.reach, Removals::Kept);
    let next = merge(&before.picture, reading, settings.reach, Removals::Taken);
    // Against what is served so far: what comes in at the same moment has not shown yet that it works.
    let (was, is) = (
        map::served(&before.picture, settings),
        map::served(&next, settings),
    );
    let held = if reading.account.is_some() {
        guard::judge(&was, &is, &before.held, accept, now)
    } else {
        // Nothing was said, for or against.
        before.held.clone()
    };
    let picture = choose(kept, next, &held);
    let units: BTreeSet<Unit> = units(&picture);
    let known = Known {
        allocations: before
            .allocations
            .iter()
            .filter(|(unit, _)| units.contains(unit))
            .map(|(u, a)| (u.clone(), a.clone()))
            .collect(),
        read_at: if reading.is_whole() {
            Some(now)
        } else {
            before.read_at
        },
        keys: map::keys(
            &picture,
            &Settings {
                keys: before.keys.clone(),
                ..settings.clone()
            },
        ),
        picture,
        held,
    };
    let mut changes = changes(&before.picture, &known.picture, settings);
    changes.extend(waiting(&known, settings));
    changes.sort();
    Outcome { known, changes }
}

/// Units that wait stay as they are kept, with everything that they are made of.
fn choose(kept: Picture, next: Picture, held: &Holds) -> Picture {
    let mut chosen = next;
    for (arn, accelerator) in kept.accelerators {
        if held.contains_key(&Unit::accelerator(&arn)) {
            chosen.accelerators.insert(arn, accelerator);
        }
    }
    for (arn, facts) in kept.tagged {
        if held.contains_key(&Unit::tagged(&facts.accelerator)) {
            chosen.tagged.insert(arn, facts);
        }
    }
    let waits = Picture {
        accelerators: chosen
            .accelerators
            .iter()
            .filter(|(arn, _)| held.contains_key(&Unit::accelerator(arn)))
            .map(|(arn, facts)| (arn.clone(), facts.clone()))
            .collect(),
        tagged: chosen
            .tagged
            .iter()
            .filter(|(_, facts)| held.contains_key(&Unit::tagged(&facts.accelerator)))
            .map(|(arn, facts)| (arn.clone(), facts.clone()))
            .collect(),
        ..Picture::default()
    };
    let of_waiting = references(&waits);
    for (key, resource) in kept.resources {
        if of_waiting.contains(&key) {
            chosen.resources.insert(key, resource);
        }
    }
    chosen
}

fn units(picture: &Picture) -> BTreeSet<Unit> {
    let accelerators = picture
        .accelerators
        .keys()
        .map(|arn| Unit::accelerator(arn));
    let tagged = picture
        .tagged
        .values()
        .map(|facts| Unit::tagged(&facts.accelerator));
    accelerators.chain(tagged).collect()
}

#[cfg(test)]
mod tests;
