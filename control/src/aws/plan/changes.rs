//! The difference between two pictures, for people: each picture laid out flat, thing by thing with what is said of it.

use std::collections::BTreeMap;

use super::{Action, Change, Known};
use crate::aws::map::{self, Served, Settings, Unit};
use crate::aws::picture::{CheckFacts, GroupFacts, ListenerFacts, Picture, TaggedFacts};

/// What is said of a thing.
type Said = BTreeMap<&'static str, String>;

/// A picture, flat.
struct Lines<'a> {
    picture: &'a Picture,
    settings: &'a Settings,
    /// By what it is about.
    said: BTreeMap<String, Said>,
    /// Where each endpoint is in it.
    endpoints: BTreeMap<(Unit, Served), String>,
}

/// What is different between two pictures.
pub(super) fn changes(before: &Picture, after: &Picture, settings: &Settings) -> Vec<Change> {
    let (before, after) = (
        Lines::of(before, settings).said,
        Lines::of(after, settings).said,
    );
    let mut changes = Vec::new();
    for (what, now) in &after {
        match before.get(what) {
            None => changes.push(Change {
                what: what.clone(),
                action: Action::Add,
                detail: all(now),
            }),
            Some(was) if was != now => {
                let detail = different(was, now);
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

/// What waits, as changes.
pub(crate) fn waiting(known: &Known, settings: &Settings) -> Vec<Change> {
    let lines = Lines::of(&known.picture, settings);
    let mut waiting = Vec::new();
    for (unit, held) in &known.held {
        for lost in &held.lost {
            let what = lines.endpoints.get(&(unit.clone(), lost.clone())).cloned();
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

fn all(said: &Said) -> String {
    let parts: Vec<String> = said
        .iter()
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    parts.join(", ")
}

fn different(was: &Said, now: &Said) -> String {
    let parts = now
        .iter()
        .filter(|(key, value)| was.get(*key) != Some(*value))
        .map(|(key, value)| {
            let was = was.get(key).map_or("-", String::as_str);
            format!("{key} {was} -> {value}")
        });
    parts.collect::<Vec<_>>().join(", ")
}

impl<'a> Lines<'a> {
    fn of(picture: &'a Picture, settings: &'a Settings) -> Self {
        let mut lines = Lines {
            picture,
            settings,
            said: BTreeMap::new(),
            endpoints: BTreeMap::new(),
        };
        let names = map::names(picture);
        for (arn, accelerator) in &picture.accelerators {
            let name = &names[arn];
            let said = Said::from([("enabled", accelerator.enabled.to_string())]);
            lines.said.insert(format!("{name} ({arn})"), said);
            for (listener, facts) in &accelerator.listeners {
                lines.listener(&Unit::accelerator(arn), name, listener, facts);
            }
        }
        for (arn, facts) in &picture.tagged {
            lines.tagged(arn, facts);
        }
        lines
    }

    fn listener(&mut self, unit: &Unit, name: &str, arn: &str, facts: &ListenerFacts) {
        let place = format!(
            "{name} listener {}",
            arn.rsplit('/').next().unwrap_or_default()
        );
        let ports = facts.ports.iter().map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        });
        let affinity = if facts.source_ip_affinity {
            "SOURCE_IP"
        } else {
            "NONE"
        };
        let said = Said::from([
            ("ports", ports.collect::<Vec<_>>().join(",")),
            ("protocol", if facts.udp { "UDP" } else { "TCP" }.to_owned()),
            ("affinity", affinity.to_owned()),
        ]);
        self.said.insert(place.clone(), said);
        for group in facts.groups.values() {
            self.group(unit, arn, &format!("{place} {}", group.region), group);
        }
    }

    fn group(&mut self, unit: &Unit, listener: &str, place: &str, facts: &GroupFacts) {
        let CheckFacts {
            protocol,
            port,
            path,
            interval: _,
            threshold,
        } = &facts.health_check;
        let port = port.map_or(String::new(), |port| format!(":{port}"));
        let overrides = facts
            .port_overrides
            .iter()
            .map(|(listener, endpoint)| format!("{listener}>{endpoint}"));
        let overrides = overrides.collect::<Vec<_>>().join(" ");
        let said = Said::from([
            ("dial", facts.traffic_dial.to_string()),
            (
                "check",
                format!(
                    "{protocol}{port}{} x{threshold}",
                    path.as_deref().unwrap_or_default()
                ),
            ),
            (
                "overrides",
                if overrides.is_empty() {
                    "none".to_owned()
                } else {
                    overrides
                },
            ),
        ]);
        self.said.insert(place.to_owned(), said);
        for (key, endpoint) in &facts.endpoints {
            let served = Served {
                listener: listener.to_owned(),
                region: facts.region.clone(),
                endpoint: key.clone(),
            };
            let said = Said::from([
                ("weight", endpoint.weight.to_string()),
                ("address", self.shown(&facts.region, &endpoint.id)),
            ]);
            self.endpoint(unit, served, format!("{place} {key}"), said);
        }
    }

    fn tagged(&mut self, arn: &str, facts: &TaggedFacts) {
        let place = format!("{} tagged {} {arn}", facts.accelerator, facts.region);
        let served = Served {
            listener: String::new(),
            region: facts.region.clone(),
            endpoint: arn.to_owned(),
        };
        let number = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let said = Said::from([
            ("weight", facts.weight.to_string()),
            ("dial", number(facts.dial.map(|dial| dial.to_string()))),
            ("port", number(facts.port.map(|port| port.to_string()))),
            ("address", self.shown(&facts.region, arn)),
        ]);
        self.endpoint(&Unit::tagged(&facts.accelerator), served, place, said);
    }

    fn endpoint(&mut self, unit: &Unit, served: Served, place: String, said: Said) {
        self.endpoints.insert((unit.clone(), served), place.clone());
        self.said.insert(place, said);
    }

    fn shown(&self, region: &str, id: &str) -> String {
        match map::host(self.picture, self.settings, region, id) {
            Ok((host, Some(port))) => format!("{host}:{port}"),
            Ok((host, None)) => host.to_string(),
            Err(reason) => format!("unreachable: {reason}"),
        }
    }
}
