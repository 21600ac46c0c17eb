//! Names and addresses of what is imported: both stay with the accelerator for as long as it is there.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::{Allocations, Keys, Settings, Unit};
use crate::aws::picture::Picture;

/// Static addresses of an accelerator, as many as AWS gives.
const EACH: usize = 2;

/// The name of each accelerator by ARN: its own where that may stand as a name and no older one has it.
pub(crate) fn names(picture: &Picture) -> BTreeMap<String, String> {
    let mut oldest_first: Vec<_> = picture.accelerators.iter().collect();
    oldest_first.sort_by_key(|(arn, facts)| (facts.created, *arn));
    let mut used = HashSet::new();
    let mut names = BTreeMap::new();
    for (arn, facts) in oldest_first {
        let own = plain(&facts.name);
        let id = arn.rsplit('/').next().unwrap_or_default();
        let name = match own.is_empty() {
            true => id.to_owned(),
            false if used.contains(&own) => format!("{own}-{}", &id[..id.len().min(8)]),
            false => own,
        };
        used.insert(name.clone());
        names.insert(arn.clone(), name);
    }
    names
}

/// What of a text may be a metric's label and part of a DNS name.
fn plain(text: &str) -> String {
    let plain = text.chars().map(|c| {
        if c.is_ascii_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '-'
        }
    });
    let plain: String = plain.take(64).collect();
    plain
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

/// The entry of `[aws.addresses]` for a unit: by its ARN or tag, its name here and its name there, else by the name that it was last
/// served under, as long as nobody else is called so.
pub(super) fn key<'s>(
    picture: &Picture,
    settings: &'s Settings,
    unit: &Unit,
    [name, given]: [&str; 2],
) -> Option<(&'s str, &'s [IpAddr])> {
    let entry = |wanted: &str| {
        let mut entries = settings.addresses.iter();
        let (key, addresses) = entries.find(|(key, _)| key == wanted)?;
        (!addresses.is_empty()).then_some((key.as_str(), addresses.as_slice()))
    };
    let own = entry(unit.as_str())
        .or_else(|| entry(name))
        .or_else(|| entry(given));
    own.or_else(|| {
        let before = settings.keys.get(unit)?;
        let mut others = picture.accelerators.iter();
        let is_anothers = others.any(|(arn, facts)| {
            Unit::accelerator(arn) != *unit && (facts.name == *before || arn == before)
        });
        entry(before).filter(|_| !is_anothers)
    })
}

/// The keys that all accelerators are served by.
pub(crate) fn keys(picture: &Picture, settings: &Settings) -> Keys {
    let names = names(picture);
    let keys = picture.accelerators.iter().filter_map(|(arn, facts)| {
        let unit = Unit::accelerator(arn);
        let (key, _) = key(picture, settings, &unit, [&names[arn], &facts.name])?;
        let key = key.to_owned();
        Some((unit, key))
    });
    keys.collect()
}

/// Pool addresses of a unit: those that it has, else two free ones from the pool's end; the API takes from its beginning.
pub(super) fn allocate(
    unit: &Unit,
    settings: &Settings,
    allocations: &mut Allocations,
) -> Option<Vec<IpAddr>> {
    let in_pool = |ip: &IpAddr| settings.pool.iter().any(|net| net.contains(ip));
    if let Some(kept) = allocations.get(unit)
        && kept
            .iter()
            .all(|ip| in_pool(ip) && !settings.taken.contains(ip))
    {
        return Some(kept.clone());
    }
    allocations.remove(unit);
    let given: HashSet<IpAddr> = allocations
        .iter()
        .filter(|(other, _)| *other != unit)
        .flat_map(|(_, ips)| ips)
        .copied()
        .collect();
    let free = |ip: &IpAddr| !settings.taken.contains(ip) && !given.contains(ip);
    let from_the_end = settings.pool.iter().rev().filter_map(|net| match net {
        IpNet::V4(net) => Some((net.network().to_bits(), net.broadcast().to_bits())),
        IpNet::V6(_) => None,
    });
    let addresses =
        from_the_end.flat_map(|(first, last)| (first..=last).rev().map(Ipv4Addr::from_bits));
    let handed_out = addresses
        .filter(|ip| !matches!(ip.octets()[3], 0 | 255))
        .map(IpAddr::V4);
    let mut found: Vec<IpAddr> = handed_out.filter(free).take(EACH).collect();
    if found.len() < EACH {
        return None;
    }
    found.sort_unstable();
    allocations.insert(unit.clone(), found.clone());
    Some(found)
}
