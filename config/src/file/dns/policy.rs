//! `policy` of a DNS record: who gets it.

use toml::de::DeValue;

use crate::model::{
    CONTINENTS, FailoverRole, LATENCY_REGIONS, Location, Place, RoutingPolicy, is_country, is_state,
};

use super::super::keys::Table;
use super::super::section::Section;
use super::super::typed::{self, float, integer, one_of};
use super::super::values::{ValueError, fault};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Simple,
    Weighted,
    Latency,
    Geolocation,
    Geoproximity,
    Failover,
    Multivalue,
}

const KINDS: [(&str, Kind); 7] = [
    ("simple", Kind::Simple),
    ("weighted", Kind::Weighted),
    ("latency", Kind::Latency),
    ("geolocation", Kind::Geolocation),
    ("geoproximity", Kind::Geoproximity),
    ("failover", Kind::Failover),
    ("multivalue", Kind::Multivalue),
];

/// Keys beside `type`, and the policies that take them.
const PARTS: [(&str, &[Kind]); 10] = [
    ("weight", &[Kind::Weighted]),
    ("region", &[Kind::Latency, Kind::Geoproximity]),
    ("continent", &[Kind::Geolocation]),
    ("country", &[Kind::Geolocation]),
    ("state", &[Kind::Geolocation]),
    ("local_zone_group", &[Kind::Geoproximity]),
    ("latitude", &[Kind::Geoproximity]),
    ("longitude", &[Kind::Geoproximity]),
    ("bias", &[Kind::Geoproximity]),
    ("role", &[Kind::Failover]),
];

/// The policy; without the table it is simple.
pub(super) fn policy(record: &Section<'_>) -> Option<RoutingPolicy> {
    let section = record.child(Table::DnsPolicy)?;
    let roles = &[
        ("primary", FailoverRole::Primary),
        ("secondary", FailoverRole::Secondary),
    ];
    let kind = section.get("type", one_of(&KINDS));
    let weight = section.optional("weight", integer::<u8>(0..=255));
    let region = section.optional("region", region);
    let location = location(&section);
    let local_zone_group = section.optional("local_zone_group", typed::name);
    let latitude = section.optional("latitude", hundredths(90));
    let longitude = section.optional("longitude", hundredths(180));
    let bias = section.optional("bias", integer::<i8>(-99..=99));
    let role = section.optional("role", one_of(roles));
    let kind = kind?;
    misplaced(&section, kind);
    let (latitude, longitude) = (latitude?, longitude?);
    let (region, local_zone_group) = (region?, local_zone_group?);
    match kind {
        Kind::Simple => Some(RoutingPolicy::Simple),
        Kind::Multivalue => Some(RoutingPolicy::Multivalue),
        Kind::Weighted => needed(&section, "weight", weight?).map(RoutingPolicy::Weighted),
        Kind::Latency => needed(&section, "region", region).map(RoutingPolicy::Latency),
        Kind::Failover => needed(&section, "role", role?).map(RoutingPolicy::Failover),
        Kind::Geolocation => needed(&section, "country", location?).map(RoutingPolicy::Geolocation),
        Kind::Geoproximity => {
            let coordinates = match (latitude, longitude) {
                (Some(latitude), Some(longitude)) => Some(Place::Coordinates {
                    latitude,
                    longitude,
                }),
                (None, None) => None,
                (Some(_), None) => needed(&section, "longitude", None)?,
                (None, Some(_)) => needed(&section, "latitude", None)?,
            };
            let places = [
                region.map(Place::Region),
                local_zone_group.map(Place::LocalZoneGroup),
                coordinates,
            ];
            let at = one(&section, "region", places.into_iter().flatten().collect())?;
            Some(RoutingPolicy::Geoproximity {
                at,
                bias: bias?.unwrap_or(0),
            })
        }
    }
}

fn misplaced(section: &Section<'_>, kind: Kind) {
    for (key, of) in PARTS {
        if section.gives(key) && !of.contains(&kind) {
            let words: Vec<&str> = KINDS
                .iter()
                .filter(|(_, kind)| of.contains(kind))
                .map(|(word, _)| *word)
                .collect();
            section.error(
                key,
                format!("it belongs to {}", words.join(" and ")),
                "remove it, or change type",
            );
        }
    }
}

fn needed<T>(section: &Section<'_>, key: &str, value: Option<T>) -> Option<T> {
    if value.is_none() {
        section.error(key, "missing", format!("add {key}: the policy needs it"));
    }
    value
}

fn one<T>(section: &Section<'_>, key: &str, mut given: Vec<T>) -> Option<T> {
    let first = given.pop();
    if given.is_empty() {
        return needed(section, key, first);
    }
    section.error(key, "the place is given twice", "give it in one way");
    None
}

/// `Some(None)` when none is given.
fn location(section: &Section<'_>) -> Option<Option<Location>> {
    let continent = section.optional("continent", continent);
    let country = section.optional("country", country);
    let state = section.optional("state", state);
    match (continent?, country?, state?) {
        (None, None, None) => Some(None),
        (Some(code), None, None) => Some(Some(Location::Continent(code))),
        (None, Some(code), None) => Some(Some(Location::Country(code))),
        (None, Some(code), Some(state)) if code == "US" => Some(Some(Location::State(state))),
        (_, _, Some(_)) => {
            section.error(
                "state",
                "a state is one of the United States",
                "give country = \"US\" with it, or remove it",
            );
            None
        }
        (Some(_), Some(_), None) => {
            section.error(
                "continent",
                "a place is a continent or a country",
                "remove one of the two",
            );
            None
        }
    }
}

fn region(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    if LATENCY_REGIONS.contains(&given) {
        return Ok(given.to_string());
    }
    let likeness = |region: &str| strsim::normalized_damerau_levenshtein(given, region);
    let nearest = LATENCY_REGIONS
        .iter()
        .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
        .expect("there are regions");
    fault(
        format!("Route 53 knows no region \"{given}\""),
        format!("give the AWS region that is nearest to this PoP, such as \"{nearest}\""),
    )
}

fn continent(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    if CONTINENTS.contains(&given) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not a continent"),
        format!("write one of {}", CONTINENTS.join(", ")),
    )
}

fn country(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    if is_country(given) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not a country"),
        "write the two capital letters of ISO 3166, or \"*\" for everywhere else",
    )
}

fn state(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    if is_state(given) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not a state of the United States"),
        "write its two capital letters",
    )
}

/// Degrees with two decimals, which is what Route 53 takes.
fn hundredths(most: i32) -> impl Fn(&DeValue<'_>) -> Result<i32, ValueError> {
    move |value| {
        let degrees = float(-f64::from(most)..=f64::from(most))(value)?;
        let hundredths = (degrees * 100.0).round();
        // Within ±18000, so that nothing is cut off.
        Ok(hundredths as i32)
    }
}
