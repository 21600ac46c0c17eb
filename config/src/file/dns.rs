//! `[dns]`: where the edge is published, what under which names, and who gets it. What Route 53 would refuse of one file is
//! refused here; what depends on the rest of the zone is for the planner.

mod policy;
mod record;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use super::keys::Table;
use super::section::Section;
use super::typed::{self, duration, one_of, parsed};
use super::values::{self, ValueError, fault};
use crate::model::{
    Accelerator, Dns, DnsMode, DnsRecord, HostedZone, Location, Pop, RecordValue, RoutingPolicy,
};

use self::record::Around;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Route 53's bound for a set identifier.
const MAX_SET_IDENTIFIER: usize = 128;

/// What a Route 53 caller reference of 64 characters leaves for owner and PoP.
const MAX_OWNER_AND_POP: usize = 34;

/// `Some(None)` is a file without `[dns]`. `open` says whether accelerators may come from elsewhere than the file, `aws` whether AWS
/// may be asked.
pub(super) fn dns(
    root: &Section<'_>,
    pop: Option<&Pop>,
    readiness: Option<u16>,
    accelerators: Option<&[Accelerator]>,
    open: bool,
    aws: bool,
) -> Option<Option<Dns>> {
    let section = root.child(Table::Dns)?;
    if !section.is_present() {
        return Some(None);
    }
    let hosted_zone = section.get("hosted_zone", parsed(hosted_zone));
    let owner = section.get("owner", typed::name);
    let mode = section.get("mode", one_of(&DnsMode::WORDS));
    let interval = section.get("interval", duration(Duration::from_secs(1)..=DAY));
    let create_zone = section.get("create_zone", typed::boolean);
    if let (Some(HostedZone::Id(id)), Some(true)) = (&hosted_zone, create_zone) {
        section.error(
            "create_zone",
            format!("a zone with the id {id} cannot be made"),
            "name the zone in hosted_zone, or set create_zone = false",
        );
    }
    let around = Around {
        zone: hosted_zone.as_ref(),
        pop,
        readiness,
        aws,
        accelerators: accelerators.filter(|_| !open),
    };
    let sections = section.children(Table::DnsRecord)?;
    let read: Vec<_> = sections
        .iter()
        .map(|section| record::record(section, &around))
        .collect();
    together(&sections, &read);
    if let (Some(owner), Some(pop)) = (&owner, pop) {
        identifiers_fit(&section, &sections, &read, owner, &pop.name);
    }
    Some(Some(Dns {
        hosted_zone: hosted_zone?,
        owner: owner?,
        mode: mode?,
        interval: interval?,
        create_zone: create_zone?,
        records: read.into_iter().collect::<Option<_>>()?,
    }))
}

/// A value with a dot is a name, anything else an id.
fn hosted_zone(text: &str) -> Result<HostedZone, ValueError> {
    if text.contains('.') {
        return values::dns_name(text).map(HostedZone::Name);
    }
    let alphanumeric = text.bytes().all(|b| b.is_ascii_alphanumeric());
    if (1..=32).contains(&text.len()) && alphanumeric {
        return Ok(HostedZone::Id(text.to_string()));
    }
    fault(
        format!("\"{text}\" is neither the name nor the id of a hosted zone"),
        "write its name, such as \"example.com\", or its id, such as \"Z0123456789ABCDEFGHIJ\"",
    )
}

/// What must hold among the records under one name.
fn together(sections: &[Section<'_>], read: &[Option<DnsRecord>]) {
    let mut first_of: HashMap<&str, (usize, &DnsRecord)> = HashMap::new();
    let mut sets: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    let mut places: HashMap<(&str, String), usize> = HashMap::new();
    let mut everywhere: HashMap<&str, bool> = HashMap::new();
    for (index, record) in read.iter().enumerate() {
        let Some(record) = record else { continue };
        let section = &sections[index];
        let name = record.name.as_str();
        if let Some((first, other)) = first_of.get(name)
            && other.policy.as_str() != record.policy.as_str()
        {
            section.error(
                "policy",
                format!(
                    "record[{first}] publishes {name} as {}, this one as {}",
                    other.policy.as_str(),
                    record.policy.as_str()
                ),
                "give all records under one name one policy; combine policies by an alias to another name",
            );
        }
        first_of.entry(name).or_insert((index, record));
        if let Some(first) = sets.insert((name, record.set.as_deref()), index) {
            section.error(
                "set",
                format!("record[{first}] is the same set of {name}"),
                "give each record under one name a set of its own, such as set = \"eu\"",
            );
        } else if let Some(place) = place(&record.policy)
            && let Some(first) = places.insert((name, place.clone()), index)
        {
            section.error(
                "policy",
                format!("record[{first}] publishes {name} for {place}, too"),
                "publish each place once",
            );
        }
        if let RoutingPolicy::Geolocation(location) = &record.policy {
            let is_default = *location == Location::Country("*".into());
            *everywhere.entry(name).or_default() |= is_default;
        }
    }
    for (name, has_default) in everywhere {
        let (index, _) = first_of[name];
        if !has_default {
            sections[index].warn(
                "policy",
                format!("no record here publishes {name} for everywhere else: unless another PoP does, clients that Route 53 cannot place get no answer"),
                "add a record with policy = { type = \"geolocation\", country = \"*\" }",
            );
        }
    }
}

/// What may be under one name once only, in words.
fn place(policy: &RoutingPolicy) -> Option<String> {
    match policy {
        RoutingPolicy::Latency(region) => Some(region.clone()),
        RoutingPolicy::Geolocation(Location::Continent(code)) => Some(format!("continent {code}")),
        RoutingPolicy::Geolocation(Location::Country(code)) => Some(format!("country {code}")),
        RoutingPolicy::Geolocation(Location::State(code)) => Some(format!("state {code}")),
        RoutingPolicy::Failover(role) => Some(format!("{role:?}").to_lowercase()),
        RoutingPolicy::Simple
        | RoutingPolicy::Weighted(_)
        | RoutingPolicy::Geoproximity { .. }
        | RoutingPolicy::Multivalue => None,
    }
}

/// Route 53 bounds the marks that carry owner, PoP and set.
fn identifiers_fit(
    dns: &Section<'_>,
    sections: &[Section<'_>],
    read: &[Option<DnsRecord>],
    owner: &str,
    pop: &str,
) {
    for (section, record) in sections.iter().zip(read) {
        let Some(record) = record else { continue };
        let set = record.set.as_ref().map_or(0, |set| set.len() + 1);
        let mark = "portolan::".len() + owner.len() + pop.len() + set;
        if mark > MAX_SET_IDENTIFIER {
            section.error(
                "set",
                format!("owner, PoP and set make a set identifier of {mark} characters, and Route 53 takes {MAX_SET_IDENTIFIER}"),
                "shorten [dns] owner, [pop] name or set",
            );
        }
    }
    let checked = read.iter().flatten().any(|r| r.health_check.is_some());
    let length = owner.len() + pop.len();
    if checked && length > MAX_OWNER_AND_POP {
        dns.error(
            "owner",
            format!("owner and the PoP's name (\"{pop}\") have {length} characters together; the caller reference of a health check leaves {MAX_OWNER_AND_POP}"),
            "shorten [dns] owner or [pop] name",
        );
    }
}

/// The addresses that a record will give as far as the file knows, for warnings: `None` when it cannot tell.
fn known_addresses(value: &RecordValue, around: &Around<'_>) -> Option<usize> {
    let pop = around.pop?.addresses.len();
    match value {
        RecordValue::Pop => Some(pop),
        RecordValue::Alias { .. } => None,
        RecordValue::Accelerator(name) => {
            let accelerators = around.accelerators?;
            let accelerator = accelerators.iter().find(|a| a.name == *name)?;
            let own = accelerator.addresses.len();
            Some(if own == 0 { pop } else { own })
        }
    }
}
