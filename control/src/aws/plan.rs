//! One cycle: what was known, a reading and the file's word come in; what is known, what waits and what changes come out. Pure: the
//! running edge, `portolan aws plan` and the tests all go through [`cycle`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::guard::{self, Holds};
use super::map::{self, Allocations, Settings, Unit};
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

/// What waits, as changes.
pub(crate) fn waiting(known: &Known, settings: &Settings) -> Vec<Change> {
    let lines = lines(&known.picture, settings);
    let mut waiting = Vec::new();
    for (unit, held) in &known.held {
        for lost in &held.lost {
            let endpoint = (unit.clone(), lost.clone());
            let what = lines.endpoints.get(&endpoint).cloned();
            waiting.push(Change {
                what: what.unwrap_or_else(|| {
                    format!("{} {} {}", unit.as_str(), lost.region, lost.endpoint)
                }),
                action: Action::Hold,
                detail: format!("{}; read {} times", held.reason, held.cycles),
            });
        }
    }
    waiting
}

/// A picture, flat: each thing by its place, with what is said of it.
#[derive(Default)]
struct Lines {
    said: BTreeMap<String, BTreeMap<&'static str, String>>,
    endpoints: BTreeMap<(Unit, map::Served), String>,
}

fn lines(picture: &Picture, settings: &Settings) -> Lines {
    let mut lines = Lines::default();
    let names = map::names(picture);
    for (arn, accelerator) in &picture.accelerators {
        let name = &names[arn];
        lines.said.insert(
            format!("{name} ({arn})"),
            BTreeMap::from([("enabled", accelerator.enabled.to_string())]),
        );
        for (listener_arn, listener) in &accelerator.listeners {
            let id = listener_arn.rsplit('/').next().unwrap_or_default();
            let place = format!("{name} listener {id}");
            let ranges = listener
                .ports
                .iter()
                .map(|(first, last)| match first == last {
                    true => first.to_string(),
                    false => format!("{first}-{last}"),
                });
            lines.said.insert(
                place.clone(),
                BTreeMap::from([
                    ("ports", ranges.collect::<Vec<_>>().join(",")),
                    (
                        "protocol",
                        if listener.udp { "UDP" } else { "TCP" }.to_owned(),
                    ),
                    (
                        "affinity",
                        if listener.source_ip_affinity {
                            "SOURCE_IP"
                        } else {
                            "NONE"
                        }
                        .to_owned(),
                    ),
                ]),
            );
            for group in listener.groups.values() {
                let place = format!("{place} {}", group.region);
                lines.said.insert(
                    place.clone(),
                    BTreeMap::from([
                        ("dial", group.traffic_dial.to_string()),
                        (
                            "check",
                            format!(
                                "{} {:?} {:?} x{}",
                                group.health_check.protocol,
                                group.health_check.port.unwrap_or(0),
                                group.health_check.path.as_deref().unwrap_or(""),
                                group.health_check.threshold
                            ),
                        ),
                        ("overrides", format!("{:?}", group.port_overrides)),
                    ]),
                );
                for (key, endpoint) in &group.endpoints {
                    let place = format!("{place} {key}");
                    let served = map::Served {
                        listener: listener_arn.clone(),
                        region: group.region.clone(),
                        endpoint: key.clone(),
                    };
                    lines
                        .endpoints
                        .insert((Unit::accelerator(arn), served), place.clone());
                    lines.said.insert(
                        place,
                        BTreeMap::from([
                            ("weight", endpoint.weight.to_string()),
                            (
                                "address",
                                shown(picture, settings, &group.region, &endpoint.id),
                            ),
                        ]),
                    );
                }
            }
        }
    }
    for (arn, facts) in &picture.tagged {
        let place = format!("{} tagged {} {arn}", facts.accelerator, facts.region);
        let served = map::Served {
            listener: String::new(),
            region: facts.region.clone(),
            endpoint: arn.clone(),
        };
        lines
            .endpoints
            .insert((Unit::tagged(&facts.accelerator), served), place.clone());
        let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        lines.said.insert(
            place,
            BTreeMap::from([
                ("weight", facts.weight.to_string()),
                ("dial", number(facts.dial.map(|dial| dial.to_string()))),
                ("port", number(facts.port.map(|port| port.to_string()))),
                ("address", shown(picture, settings, &facts.region, arn)),
            ]),
        );
    }
    lines
}

fn shown(picture: &Picture, settings: &Settings, region: &str, id: &str) -> String {
    match map::host(picture, settings, region, id) {
        Ok((host, Some(port))) => format!("{host}:{port}"),
        Ok((host, None)) => host.to_string(),
        Err(reason) => format!("unreachable: {reason}"),
    }
}

/// What is different between two pictures.
pub(crate) fn changes(before: &Picture, after: &Picture, settings: &Settings) -> Vec<Change> {
    let (before, after) = (lines(before, settings).said, lines(after, settings).said);
    let all = |said: &BTreeMap<&'static str, String>| {
        let parts: Vec<String> = said
            .iter()
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        parts.join(", ")
    };
    let mut changes = Vec::new();
    for (what, now) in &after {
        match before.get(what) {
            None => changes.push(Change {
                what: what.clone(),
                action: Action::Add,
                detail: all(now),
            }),
            Some(was) if was != now => {
                let different = now
                    .iter()
                    .filter(|(key, value)| was.get(*key) != Some(*value));
                let parts = different.map(|(key, value)| {
                    let was = was.get(key).map_or("-", String::as_str);
                    format!("{key} {was} -> {value}")
                });
                let detail = parts.collect::<Vec<_>>().join(", ");
                changes.push(Change {
                    what: what.clone(),
                    action: Action::Change,
                    detail,
                });
            }
            Some(_) => {}
        }
    }
    let gone = before.iter().filter(|(what, _)| !after.contains_key(*what));
    changes.extend(gone.map(|(what, was)| Change {
        what: what.clone(),
        action: Action::Remove,
        detail: all(was),
    }));
    changes
}

#[cfg(test)]
mod tests;
