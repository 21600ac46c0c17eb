//! What Route 53 refuses, told before it is asked (API reference of ResourceRecordSet, developer guide "choosing a routing policy").
//! Pure. Judges the zone as it would be after a plan, and blames the sets that the plan writes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use portolan_config::model::{CONTINENTS, LATENCY_REGIONS, is_country, is_state};

use super::Zone;
use super::model::{Data, Key, Kind, RecordSet, Routing};

/// Bounds of the API reference.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;
const MAX_SET_IDENTIFIER: usize = 128;
const MAX_VALUES: usize = 400;
const MAX_TTL: i64 = 2_147_483_647;
const MAX_WEIGHTED: usize = 100;
const MAX_TEXT: usize = 255;

/// Global Accelerator's hosted zone (developer guide, "values for alias records").
const ACCELERATOR_ZONE: &str = "Z2BJ6XQ5FK7U4H";

/// A zone as it would be, by name.
pub struct Prospect<'a> {
    zone: &'a Zone,
    by_name: HashMap<&'a str, Vec<&'a RecordSet>>,
}

/// A rule that a set breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The set to blame.
    pub key: Key,
    /// In words.
    pub what: String,
}

impl<'a> Prospect<'a> {
    /// Of all sets that there would be.
    pub fn new(zone: &'a Zone, sets: impl IntoIterator<Item = &'a RecordSet>) -> Self {
        let mut by_name: HashMap<&str, Vec<&RecordSet>> = HashMap::new();
        for set in sets {
            by_name.entry(&set.key.name).or_default().push(set);
        }
        Self { zone, by_name }
    }

    /// Rules broken by the sets that are written, each by itself and together with what else is under their names.
    pub fn violations(&self, written: &[&RecordSet]) -> Vec<Violation> {
        let mut found = Vec::new();
        for set in written {
            let beside = self.beside(set);
            let whats = [
                of_name(self.zone, set),
                of_data(set),
                of_routing(set),
                self.of_alias(set),
                of_neighbours(self.zone, set, &beside),
                of_policy(set, &beside),
            ];
            found.extend(whats.into_iter().flatten().map(|what| Violation {
                key: set.key.clone(),
                what,
            }));
        }
        found
    }

    /// The other sets under the same name.
    fn beside(&self, set: &RecordSet) -> Vec<&'a RecordSet> {
        let all = self.by_name.get(set.key.name.as_str());
        let others = all.into_iter().flatten().filter(|o| o.key != set.key);
        others.copied().collect()
    }

    fn of_alias(&self, set: &RecordSet) -> Option<String> {
        let Data::Alias { zone, name, .. } = &set.data else {
            return None;
        };
        if *zone == ACCELERATOR_ZONE && !name.ends_with(".awsglobalaccelerator.com") {
            return Some(format!("{name} is no accelerator, and {zone} is theirs"));
        }
        if *zone != self.zone.id {
            let is_below =
                *name == self.zone.name || name.ends_with(&format!(".{}", self.zone.name));
            return is_below.then(|| format!("{name} is in this zone, not in {zone}"));
        }
        let there = self.by_name.get(name.as_str());
        let same = |other: &&&RecordSet| other.key.kind == set.key.kind;
        if !there.is_some_and(|sets| sets.iter().any(|other| same(&other))) {
            return Some(format!("there is no {} {name} for the alias", set.key.kind));
        }
        self.leads_to_itself(set)
            .then(|| format!("the alias {name} leads back to {}", set.key.name))
    }

    fn leads_to_itself(&self, set: &RecordSet) -> bool {
        let mut seen = HashSet::new();
        let mut open = vec![set];
        while let Some(next) = open.pop() {
            let Data::Alias { zone, name, .. } = &next.data else {
                continue;
            };
            if *zone != self.zone.id {
                continue;
            }
            if *name == set.key.name {
                return true;
            }
            if seen.insert(name.as_str()) {
                let there = self.by_name.get(name.as_str()).into_iter().flatten();
                open.extend(there.filter(|other| other.key.kind == set.key.kind));
            }
        }
        false
    }
}

fn of_name(zone: &Zone, set: &RecordSet) -> Option<String> {
    let name = &set.key.name;
    if *name != zone.name && !name.ends_with(&format!(".{}", zone.name)) {
        return Some(format!("{name} is not in the zone {}", zone.name));
    }
    if name.len() > MAX_NAME {
        return Some(format!(
            "{name} has {} characters, and a name takes {MAX_NAME}",
            name.len()
        ));
    }
    let label = name
        .split('.')
        .find(|label| label.is_empty() || label.len() > MAX_LABEL);
    label.map(|label| format!("the label \"{label}\" is not 1 to {MAX_LABEL} characters long"))
}

fn of_data(set: &RecordSet) -> Option<String> {
    let Data::Values { ttl, values } = &set.data else {
        return None;
    };
    if !(0..=MAX_TTL).contains(ttl) {
        return Some(format!("TTL {ttl} is not within 0 to {MAX_TTL}"));
    }
    if values.is_empty() {
        return Some("it has no value".into());
    }
    if values.len() > MAX_VALUES {
        return Some(format!(
            "it has {} values, and a set takes {MAX_VALUES}",
            values.len()
        ));
    }
    let distinct: HashSet<&String> = values.iter().collect();
    if distinct.len() < values.len() {
        return Some("a value is there twice".into());
    }
    let bad = values.iter().find(|value| !is_value(&set.key.kind, value));
    bad.map(|value| format!("{value} is no value of a {} record", set.key.kind))
}

fn is_value(kind: &Kind, value: &str) -> bool {
    match kind {
        Kind::A => value.parse::<Ipv4Addr>().is_ok(),
        Kind::Aaaa => value.parse::<Ipv6Addr>().is_ok(),
        Kind::Txt => {
            let inner = value
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            inner.is_some_and(|inner| inner.len() <= MAX_TEXT && !inner.contains('"'))
        }
        Kind::Other(_) => true,
    }
}

/// What the policy asks of the set alone.
fn of_routing(set: &RecordSet) -> Option<String> {
    let policy = set.routing.policy();
    match (&set.key.set_identifier, &set.routing) {
        (None, Routing::Simple) => return None,
        (Some(_), Routing::Simple) => {
            return Some("a set identifier needs a routing policy".into());
        }
        (None, _) => return Some(format!("{policy} needs a set identifier")),
        (Some(id), _) if !(1..=MAX_SET_IDENTIFIER).contains(&id.len()) => {
            return Some(format!(
                "the set identifier has {} characters, and 1 to {MAX_SET_IDENTIFIER} are taken",
                id.len()
            ));
        }
        (Some(_), _) => {}
    }
    let several = matches!(&set.data, Data::Values { values, .. } if values.len() > 1);
    match &set.routing {
        Routing::Weighted { .. } | Routing::Latency { .. } | Routing::Multivalue if several => {
            Some(format!("a {policy} set takes one value"))
        }
        Routing::Simple | Routing::Cidr { .. } => None,
        Routing::Weighted { weight } => {
            (!(0..=255).contains(weight)).then(|| format!("weight {weight} is not within 0 to 255"))
        }
        Routing::Latency { region } => (!LATENCY_REGIONS.contains(&region.as_str()))
            .then(|| format!("Route 53 knows no region {region}")),
        Routing::Geolocation {
            continent,
            country,
            subdivision,
        } => of_location(
            continent.as_deref(),
            country.as_deref(),
            subdivision.as_deref(),
        ),
        Routing::Geoproximity {
            region,
            local_zone_group,
            coordinates,
            bias,
        } => {
            let places = [region.is_some(), local_zone_group.is_some()];
            of_proximity(region.as_deref(), places, *coordinates, *bias)
        }
        Routing::Failover { primary } => {
            let follows = matches!(
                &set.data,
                Data::Alias {
                    evaluate_target_health: true,
                    ..
                }
            );
            (*primary && set.health_check.is_none() && !follows)
                .then(|| "a primary needs a health check, or an alias whose health counts".into())
        }
        Routing::Multivalue => match &set.data {
            Data::Alias { .. } => Some("a multivalue set cannot be an alias".into()),
            Data::Values { .. } | Data::TrafficPolicy(_) => None,
        },
    }
}

/// `given` says whether there is a region, and a local zone group.
fn of_proximity(
    region: Option<&str>,
    given: [bool; 2],
    coordinates: Option<(i32, i32)>,
    bias: i32,
) -> Option<String> {
    let places = given.into_iter().chain([coordinates.is_some()]);
    if places.filter(|given| *given).count() != 1 {
        return Some("geoproximity takes one of region, local zone group and coordinates".into());
    }
    if !(-99..=99).contains(&bias) {
        return Some(format!("bias {bias} is not within -99 to 99"));
    }
    match (region, coordinates) {
        (Some(region), _) if !LATENCY_REGIONS.contains(&region) => {
            Some(format!("Route 53 knows no region {region}"))
        }
        (_, Some((latitude, longitude))) if latitude.abs() > 9_000 || longitude.abs() > 18_000 => {
            Some("the coordinates are not on earth".into())
        }
        (_, _) => None,
    }
}

fn of_location(
    continent: Option<&str>,
    country: Option<&str>,
    subdivision: Option<&str>,
) -> Option<String> {
    match (continent, country, subdivision) {
        (Some(code), None, None) => {
            (!CONTINENTS.contains(&code)).then(|| format!("{code} is no continent"))
        }
        (None, Some(code), None) => (!is_country(code)).then(|| format!("{code} is no country")),
        (None, Some("US"), Some(code)) => {
            (!is_state(code)).then(|| format!("{code} is no state of the United States"))
        }
        (None, Some("UA"), Some(_)) => None,
        (_, _, Some(_)) => Some("a subdivision is one of the United States".into()),
        (Some(_), Some(_), None) => Some("a place is a continent or a country".into()),
        (None, None, None) => Some("geolocation needs a place".into()),
    }
}

/// What else is under the name.
fn of_neighbours(zone: &Zone, set: &RecordSet, beside: &[&RecordSet]) -> Option<String> {
    let is_cname = |set: &RecordSet| set.key.kind == Kind::Other("CNAME".into());
    if is_cname(set) && set.key.name == zone.name {
        return Some("a CNAME cannot be at the top of a zone".into());
    }
    let other = beside
        .iter()
        .find(|other| is_cname(set) != is_cname(other))?;
    Some(format!(
        "a CNAME is alone under its name, and {} is there, too",
        other.key
    ))
}

/// All sets of a name and type share one policy, and within it places are unique.
fn of_policy(set: &RecordSet, beside: &[&RecordSet]) -> Option<String> {
    let peers: Vec<&&RecordSet> = beside
        .iter()
        .filter(|other| other.key.kind == set.key.kind)
        .collect();
    let policy = set.routing.policy();
    if let Some(other) = peers.iter().find(|other| other.routing.policy() != policy) {
        return Some(format!(
            "{} is {} there, and one name and type has one policy",
            other.key,
            other.routing.policy()
        ));
    }
    match &set.routing {
        Routing::Simple | Routing::Multivalue | Routing::Cidr { .. } => None,
        Routing::Weighted { .. } => {
            if peers.len() + 1 > MAX_WEIGHTED {
                return Some(format!(
                    "more than {MAX_WEIGHTED} weighted sets share the name"
                ));
            }
            let ttl = ttl(set)?;
            let other = peers
                .iter()
                .find(|other| self::ttl(other).is_some_and(|t| t != ttl))?;
            Some(format!(
                "weighted sets share one TTL, and {} is not {ttl}: give every PoP the same, from an empty name on",
                other.key
            ))
        }
        Routing::Latency { .. }
        | Routing::Geolocation { .. }
        | Routing::Geoproximity { .. }
        | Routing::Failover { .. } => {
            let other = peers.iter().find(|other| same_place(set, other))?;
            Some(format!("{} is for {}, too", other.key, set.routing))
        }
    }
}

fn same_place(one: &RecordSet, other: &RecordSet) -> bool {
    match (&one.routing, &other.routing) {
        // Bias does not tell places apart.
        (
            Routing::Geoproximity {
                region,
                local_zone_group,
                coordinates,
                ..
            },
            Routing::Geoproximity {
                region: r,
                local_zone_group: l,
                coordinates: c,
                ..
            },
        ) => (region, local_zone_group, coordinates) == (r, l, c),
        (one, other) => one == other,
    }
}

fn ttl(set: &RecordSet) -> Option<i64> {
    match &set.data {
        Data::Values { ttl, .. } => Some(*ttl),
        Data::Alias { .. } | Data::TrafficPolicy(_) => None,
    }
}

/// By name, for messages.
pub fn by_group(violations: Vec<Violation>) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Violation { key, what } in violations {
        let group = groups.entry(super::ownership::group(&key)).or_default();
        group.push(format!("{key}: {what}"));
    }
    groups
}

#[cfg(test)]
mod tests;
