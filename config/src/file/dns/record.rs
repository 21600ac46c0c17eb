//! One `[[dns.record]]`: its name, what it gives, and the health check of the PoP behind it.

use crate::model::{
    Accelerator, DnsRecord, FailoverRole, HostedZone, Pop, PopCheck, PopCheckProtocol, RecordValue,
    RoutingPolicy, load_balancer_region,
};
use crate::units::AcceleratorName;

use super::super::health_check::{host_header, request_path};
use super::super::keys::Table;
use super::super::section::Section;
use super::super::typed::{self, integer, one_of, parsed};
use super::super::values::{self, ValueError, fault};
use super::{known_addresses, policy};

/// A health check needs an answer that is not kept for longer than it takes to notice.
const TTL_WITH_CHECK: u32 = 60;

/// A week; Route 53 takes more, resolvers do not keep it.
const MAX_TTL: i64 = 604_800;

/// Route 53's bound.
const MAX_SEARCH: usize = 255;

/// What the rest of the file says that records depend on.
pub(super) struct Around<'a> {
    pub(super) zone: Option<&'a HostedZone>,
    pub(super) pop: Option<&'a Pop>,
    pub(super) readiness: Option<u16>,
    /// Whether there is an `[aws]`, which finds out what load balancers are.
    pub(super) aws: bool,
    /// `None` when others than the file's may come.
    pub(super) accelerators: Option<&'a [Accelerator]>,
}

pub(super) fn record(section: &Section<'_>, around: &Around<'_>) -> Option<DnsRecord> {
    let name = section.get("name", parsed(record_name));
    let set = section.optional("set", typed::name);
    let value = value(section, around);
    let ttl = section.get("ttl", integer::<u32>(1..=MAX_TTL));
    let policy = policy::policy(section);
    let health_check = health_check(section, around);
    if let Some(name) = &name {
        in_zone(section, "name", name, around.zone);
    }
    let record = DnsRecord {
        name: name?,
        set: set?,
        value: value?,
        ttl: ttl?,
        policy: policy?,
        health_check: health_check?,
    };
    fits_together(section, &record);
    if known_addresses(&record.value, around) == Some(0) {
        section.warn(
            "accelerator",
            "it has no addresses, and [pop] names none for it, so nothing is published",
            "give the accelerator addresses, or this PoP in [pop] addresses",
        );
    }
    Some(record)
}

/// A DNS name; a leading `*` label is a wildcard.
fn record_name(text: &str) -> Result<String, ValueError> {
    match text.strip_prefix("*.") {
        Some(rest) => values::dns_name(rest).map(|rest| format!("*.{rest}")),
        None => values::dns_name(text),
    }
}

fn in_zone(section: &Section<'_>, key: &str, name: &str, zone: Option<&HostedZone>) {
    if let Some(HostedZone::Name(zone)) = zone
        && name != zone
        && !name.ends_with(&format!(".{zone}"))
    {
        section.error(
            key,
            format!("{name} is not in the zone {zone}"),
            format!("write a name that ends in {zone}"),
        );
    }
}

/// One of `accelerator`, `addresses` and `alias`.
fn value(section: &Section<'_>, around: &Around<'_>) -> Option<RecordValue> {
    let accelerator = section.optional("accelerator", typed::name);
    let pop = section.optional("addresses", one_of(&[("pop", ())]));
    let alias = section.optional("alias", parsed(values::dns_name));
    let zone = section.optional("alias_zone", parsed(zone_id));
    let evaluate = section.get("evaluate_target_health", typed::boolean);
    let (accelerator, pop, alias) = (accelerator?, pop?, alias?);
    let (zone, evaluate_target_health) = (zone?, evaluate?);
    if alias.is_none() && zone.is_some() {
        section.error(
            "alias_zone",
            "there is no alias for it",
            "remove it, or name an alias",
        );
    }
    match (accelerator, pop, alias) {
        (Some(name), None, None) => {
            known(section, &name, around);
            Some(RecordValue::Accelerator(AcceleratorName::new(name)))
        }
        (None, Some(()), None) => {
            if around.pop.is_some_and(|pop| pop.addresses.is_empty()) {
                section.error(
                    "addresses",
                    "[pop] has no addresses",
                    "list this PoP's public addresses in [pop] addresses",
                );
            }
            Some(RecordValue::Pop)
        }
        (None, None, Some(name)) => {
            if zone.is_none() && load_balancer_region(&name).is_some() {
                zone_is_found(section, &name, around);
            } else if zone.is_none() {
                in_zone(section, "alias", &name, around.zone);
            }
            if section.gives("ttl") {
                section.error(
                    "ttl",
                    "an alias has no TTL of its own",
                    "remove ttl: what the alias names has one",
                );
            }
            Some(RecordValue::Alias {
                name,
                zone,
                evaluate_target_health,
            })
        }
        (None, None, None) => {
            section.error(
                "accelerator",
                "the record gives nothing",
                "add accelerator = \"NAME\", addresses = \"pop\" or alias = \"NAME\"",
            );
            None
        }
        (_, _, _) => {
            section.error(
                "accelerator",
                "a record gives one of accelerator, addresses and alias",
                "remove the others",
            );
            None
        }
    }
}

/// A load balancer's hosted zone need not be written where AWS may be asked for it.
fn zone_is_found(section: &Section<'_>, name: &str, around: &Around<'_>) {
    if !around.aws {
        section.error(
            "alias",
            format!("the hosted zone of the load balancer {name} is not known"),
            "write its CanonicalHostedZoneId in alias_zone, or add [aws], which finds it out",
        );
    }
}

fn zone_id(text: &str) -> Result<String, ValueError> {
    let alphanumeric = text.bytes().all(|b| b.is_ascii_alphanumeric());
    if (1..=32).contains(&text.len()) && alphanumeric {
        return Ok(text.to_string());
    }
    fault(
        format!("\"{text}\" is not the id of a hosted zone"),
        "write it as the load balancer's CanonicalHostedZoneId says, such as \"Z215JYRZR1TBD5\"",
    )
}

fn known(section: &Section<'_>, name: &str, around: &Around<'_>) {
    let Some(accelerators) = around.accelerators else {
        return;
    };
    if accelerators.iter().all(|a| a.name.as_str() != name) {
        section.error(
            "accelerator",
            format!("no accelerator of this file is called \"{name}\""),
            "name one of them",
        );
    }
}

fn fits_together(section: &Section<'_>, record: &DnsRecord) {
    let is_alias = matches!(record.value, RecordValue::Alias { .. });
    let follows_alias = matches!(
        record.value,
        RecordValue::Alias {
            evaluate_target_health: true,
            ..
        }
    );
    match &record.policy {
        RoutingPolicy::Simple => {
            if record.set.is_some() {
                section.error(
                    "set",
                    "a simple record is alone under its name",
                    "remove set, or give a policy",
                );
            }
            if record.health_check.is_some() {
                section.warn(
                    Table::DnsHealthCheck.name(),
                    "a simple record is answered whether healthy or not",
                    "give a policy, such as { type = \"multivalue\" }, or remove the check",
                );
            }
        }
        RoutingPolicy::Multivalue if is_alias => section.error(
            Table::DnsPolicy.name(),
            "an alias cannot be multivalue",
            "take another policy, such as { type = \"weighted\", weight = 100 }",
        ),
        RoutingPolicy::Failover(FailoverRole::Primary)
            if record.health_check.is_none() && !follows_alias =>
        {
            section.error(
                Table::DnsPolicy.name(),
                "a primary that nothing checks never fails over",
                "add health_check, or evaluate_target_health = true to an alias",
            );
        }
        RoutingPolicy::Weighted(_)
        | RoutingPolicy::Latency(_)
        | RoutingPolicy::Geolocation(_)
        | RoutingPolicy::Geoproximity { .. }
        | RoutingPolicy::Failover(_)
        | RoutingPolicy::Multivalue => {}
    }
    if record.health_check.is_some() && !is_alias && record.ttl > TTL_WITH_CHECK {
        section.warn(
            "ttl",
            format!(
                "resolvers keep a dead PoP for up to {} seconds after the check has noticed",
                record.ttl
            ),
            "60 or less is what AWS recommends with a health check",
        );
    }
}

/// `Some(None)` is a record without one.
fn health_check(record: &Section<'_>, around: &Around<'_>) -> Option<Option<PopCheck>> {
    let section = record.child(Table::DnsHealthCheck)?;
    if !section.is_present() {
        return Some(None);
    }
    let protocols = &[
        ("TCP", PopCheckProtocol::Tcp),
        ("HTTP", PopCheckProtocol::Http),
        ("HTTPS", PopCheckProtocol::Https),
    ];
    let protocol = section.get("protocol", one_of(protocols));
    let port = section.optional("port", integer::<u16>(1..=65535));
    let path = section.get("path", request_path);
    let host = section.optional("host", host_header);
    let search = section.optional("search", search);
    let fast = section.get("interval", one_of(&[("10s", true), ("30s", false)]));
    let threshold = section.get("threshold", integer::<u8>(1..=10));
    let port = port?.or(around.readiness);
    if port.is_none() {
        section.error(
            "port",
            "missing",
            "add port, or a [readiness] listener, whose port is the default",
        );
    }
    if around.pop.is_some_and(|pop| pop.addresses.is_empty()) {
        section.error(
            "protocol",
            "there is no address to check",
            "list this PoP's public addresses in [pop] addresses",
        );
    }
    let (protocol, host, search) = (protocol?, host?, search?);
    if protocol == PopCheckProtocol::Tcp {
        for key in ["path", "host", "search"] {
            if section.gives(key) {
                section.error(
                    key,
                    "TCP asks for nothing",
                    "remove it, or set protocol = \"HTTP\"",
                );
            }
        }
    }
    Some(Some(PopCheck {
        protocol,
        port: port?,
        path: path?,
        host,
        search,
        fast: fast?,
        threshold: threshold?,
    }))
}

fn search(value: &toml::de::DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    if (1..=MAX_SEARCH).contains(&given.len()) && given.bytes().all(|b| (b' '..=b'~').contains(&b))
    {
        return Ok(given.to_string());
    }
    fault(
        "it cannot be searched for",
        format!("give 1 to {MAX_SEARCH} visible ASCII characters"),
    )
}
