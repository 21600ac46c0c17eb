//! What Route 53 does with a request: all of it or nothing. Rules from the API reference of `ChangeResourceRecordSets` and
//! `ResourceRecordSet`, and from the developer guide's quotas.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Zone;
use super::wire::{Change, Set};

/// Where a set is: labels from the right, type, identifier. That is the order of lists, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    labels: Vec<String>,
    kind: String,
    identifier: String,
}

impl Place {
    /// Of a set.
    pub fn of(set: &Set) -> Place {
        Place::new(
            &set.name,
            &set.kind,
            set.set_identifier.as_deref().unwrap_or_default(),
        )
    }

    /// Of its parts.
    pub fn new(name: &str, kind: &str, identifier: &str) -> Place {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        Place {
            labels: name.rsplit('.').map(str::to_owned).collect(),
            kind: kind.to_owned(),
            identifier: identifier.to_owned(),
        }
    }
}

/// The zone afterwards and the elements of the request, or everything that is wrong with it.
pub(super) fn apply(
    id: &str,
    zone: &Zone,
    changes: &[Change],
    checks: &HashSet<&String>,
    protected: &HashSet<String>,
) -> Result<(Zone, usize), Vec<String>> {
    let mut wrong = Vec::new();
    let elements = elements(changes, &mut wrong);
    let mut after = zone.clone();
    let mut written: BTreeSet<Place> = BTreeSet::new();
    let mut deleted: BTreeSet<Place> = BTreeSet::new();
    for Change { action, set } in changes {
        let place = Place::of(set);
        let told = format!("[name='{}', type='{}']", set.name, set.kind);
        if protected.contains(set.name.trim_end_matches('.')) {
            wrong.push(format!("{told} is protected"));
        }
        match action.as_str() {
            "CREATE" => {
                if after.sets.contains_key(&place) {
                    wrong.push(format!("Tried to create resource record set {told} but it already exists"));
                }
                written.insert(place.clone());
                after.sets.insert(place, set.clone());
            }
            "UPSERT" => {
                written.insert(place.clone());
                after.sets.insert(place, set.clone());
            }
            "DELETE" => match after.sets.get(&place) {
                None => wrong.push(format!("Tried to delete resource record set {told} but it was not found")),
                Some(there) if !there.equals(set) => wrong.push(format!(
                    "Tried to delete resource record set {told} but the values provided do not match the current values"
                )),
                Some(_) if !deleted.insert(place.clone()) => {
                    wrong.push(format!("{told} is deleted twice"));
                }
                Some(_) => drop(after.sets.remove(&place)),
            },
            other => wrong.push(format!("{other} is no action")),
        }
    }
    for place in &written {
        if let Some(set) = after.sets.get(place) {
            wrong.extend(judge(id, zone, set, &after.sets, checks));
        }
    }
    if wrong.is_empty() {
        Ok((after, elements))
    } else {
        Err(wrong)
    }
}

fn elements(changes: &[Change], wrong: &mut Vec<String>) -> usize {
    let (mut elements, mut characters) = (0, 0);
    for Change { action, set } in changes {
        let times = if action == "UPSERT" { 2 } else { 1 };
        elements += times * set.values().len().max(1);
        characters += times * set.values().iter().map(|value| value.len()).sum::<usize>();
    }
    if elements > 1000 {
        wrong.push(format!(
            "Number of records limit of 1000 exceeded: {elements}"
        ));
    }
    if characters > 32_000 {
        wrong.push(format!(
            "value length limit of 32000 exceeded: {characters}"
        ));
    }
    elements
}

fn judge(
    id: &str,
    zone: &Zone,
    set: &Set,
    all: &BTreeMap<Place, Set>,
    checks: &HashSet<&String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{} {}: {what}", set.name, set.kind));
        }
    };
    let name = set.name.trim_end_matches('.');
    let inside = name == zone.name || name.ends_with(&format!(".{}", zone.name));
    demand(inside, "RRSet is not permitted in zone");
    demand(
        name.len() <= 255 && name.split('.').all(|l| (1..=63).contains(&l.len())),
        "DomainLabelTooLong",
    );
    let values = set.values();
    match &set.alias_target {
        None => {
            demand(set.ttl.is_some(), "TTL is missing");
            demand(
                !values.is_empty() && values.len() <= 400,
                "the number of values",
            );
            demand(
                values.iter().all(|value| is_value(&set.kind, value)),
                "a value is not valid",
            );
        }
        Some(alias) => {
            demand(
                set.ttl.is_none() && values.is_empty(),
                "an alias has neither TTL nor values",
            );
            let target = alias.dns_name.trim_end_matches('.');
            let same =
                |other: &Set| other.kind == set.kind && other.name.trim_end_matches('.') == target;
            if alias.hosted_zone_id == id {
                demand(
                    all.values().any(same),
                    "the alias target name does not exist in the target zone",
                );
            } else {
                demand(
                    !target.ends_with(&zone.name),
                    "the target name does not lie within the target zone",
                );
            }
        }
    }
    if let Some(check) = &set.health_check_id {
        demand(checks.contains(check), "NoSuchHealthCheck");
    }
    wrong.extend(judge_policy(set, all));
    wrong
}

/// What the policy asks for, of the set and of all under its name.
fn judge_policy(set: &Set, all: &BTreeMap<Place, Set>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            wrong.push(format!("{} {}: {what}", set.name, set.kind));
        }
    };
    let values = set.values();
    let policies = set.policies();
    demand(policies.len() <= 1, "several policies");
    demand(
        policies.is_empty() == set.set_identifier.is_none(),
        "SetIdentifier and policy come together",
    );
    demand(
        set.weight.is_none_or(|weight| (0..=255).contains(&weight)),
        "weight",
    );
    let routed_singly =
        set.weight.is_some() || set.region.is_some() || set.multi_value_answer.is_some();
    demand(!routed_singly || values.len() <= 1, "one value a set");
    demand(
        set.multi_value_answer.is_none() || set.alias_target.is_none(),
        "a multivalue alias",
    );
    let peers = all
        .values()
        .filter(|other| other.name == set.name && Place::of(other) != Place::of(set));
    for peer in peers {
        if peer.kind != set.kind {
            demand(
                peer.kind != "CNAME" && set.kind != "CNAME",
                "a CNAME is not alone",
            );
            continue;
        }
        demand(peer.policies() == policies, "mixed policies");
        demand(
            set.weight.is_none() || peer.ttl == set.ttl,
            "TTLs of weighted sets differ",
        );
        demand(
            set.region.is_none() || peer.region != set.region,
            "the region is there already",
        );
        demand(
            set.geo_location.is_none() || peer.geo_location != set.geo_location,
            "the location is there already",
        );
        demand(
            set.failover.is_none() || peer.failover != set.failover,
            "the failover role is there already",
        );
    }
    wrong
}

fn is_value(kind: &str, value: &str) -> bool {
    match kind {
        "A" => value.parse::<Ipv4Addr>().is_ok(),
        "AAAA" => value.parse::<Ipv6Addr>().is_ok(),
        "TXT" => value.len() >= 2 && value.starts_with('"') && value.ends_with('"'),
        _ => true,
    }
}
