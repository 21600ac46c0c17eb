//! `[[accelerator.listener]]`: protocol, ports, and how its flows are treated.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::endpoint_group;
use super::keys::Table;
use super::rules::{Claims, ListenerClaim};
use super::section::{Item, Section};
use super::typed::{self, boolean, duration, integer, one_of, parsed};
use super::values::{self, ValueError, show_duration};
use crate::model::{
    AcceptProxy, ClientAffinity, EndpointGroup, HedgeAfter, Listener, ListenerSettings, Protocol,
};
use crate::units::{PortRange, PortSet, Region};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
const DAY: Duration = secs(24 * 3600);
const WEEK: Duration = secs(7 * 24 * 3600);
/// The kernel takes TCP_KEEPIDLE up to 32,767 seconds.
const MAX_KEEPALIVE: Duration = secs(9 * 3600);

const UDP_IDLE_TIMEOUT: Duration = secs(30);
const UDP_NEW_FLOWS: u32 = 100_000;

/// Keys that say nothing about UDP.
const TCP_ONLY: [&str; 7] = [
    "half_close_timeout",
    "connect_timeout",
    "connect_attempts",
    "hedge_after",
    "keepalive",
    "user_timeout",
    "expect_first_byte",
];

/// What the other listeners of the accelerator need to know of one, read before any is read whole.
pub(super) struct Head<'r, 'a> {
    pub(super) section: &'r Section<'a>,
    pub(super) protocol: Option<Protocol>,
    pub(super) ports: Option<PortSet>,
}

impl<'r, 'a> Head<'r, 'a> {
    pub(super) fn read(section: &'r Section<'a>) -> Self {
        let words = &[("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)];
        Head {
            section,
            protocol: section.get("protocol", one_of(words)),
            ports: ports(section),
        }
    }
}

fn ports(section: &Section<'_>) -> Option<PortSet> {
    let ranges: Vec<PortRange> = section
        .list("ports", typed::port_range)?
        .into_iter()
        .map(|item: Item<PortRange>| item.value)
        .collect();
    if ranges.is_empty() {
        section.error(
            "ports",
            "no port is given",
            "give ports and ranges, such as [80, \"8000-8100\"]",
        );
        return None;
    }
    let Some(ports) = PortSet::new(ranges) else {
        section.error("ports", "a port comes twice", "give each port once");
        return None;
    };
    Some(ports)
}

pub(super) fn listener(
    accelerator: usize,
    head: &Head<'_, '_>,
    siblings: &[Head<'_, '_>],
    claims: &mut Claims,
) -> Option<Listener> {
    let section = head.section;
    let claim = claims.listener(ListenerClaim {
        accelerator,
        path: section.path().to_string(),
        offset: section.offset_of("ports"),
        protocol: head.protocol,
        ports: head.ports.clone(),
    });
    let affinities = &[
        ("NONE", ClientAffinity::None),
        ("SOURCE_IP", ClientAffinity::SourceIp),
    ];
    let client_affinity = section.get("client_affinity", one_of(affinities));
    let settings = settings(section, head.protocol);
    let groups = groups(head, siblings, claim, claims);
    Some(Listener {
        protocol: head.protocol?,
        ports: head.ports.clone()?,
        client_affinity: client_affinity?,
        settings: Arc::new(settings?),
        endpoint_groups: groups?,
    })
}

fn settings(section: &Section<'_>, protocol: Option<Protocol>) -> Option<ListenerSettings> {
    let udp = protocol == Some(Protocol::Udp);
    let count = || integer::<u32>(0..=i64::from(u32::MAX));
    let idle_timeout = section.get("idle_timeout", duration(ms(100)..=WEEK));
    let half_close_timeout = section.get("half_close_timeout", duration(ms(100)..=DAY));
    let connect_timeout = section.get("connect_timeout", duration(ms(50)..=secs(120)));
    let connect_attempts = section.get("connect_attempts", attempts);
    let hedge_after = section.get("hedge_after", hedge_after);
    let keepalive = section.get("keepalive", duration(secs(1)..=MAX_KEEPALIVE));
    let user_timeout = section.get("user_timeout", duration(ms(100)..=secs(3600)));
    let fail_open = section.get("fail_open", boolean);
    let accept_proxy = accept_proxy(section);
    let max_flows = section.get("max_flows", count());
    let new_flows = section.get("new_flows", count());
    let source_addresses: Option<Vec<IpAddr>> = section.distinct("source_addresses", typed::ip);
    let quic = section.get("quic", boolean);
    let expect_first_byte = section.get("expect_first_byte", expect_first_byte);
    if udp {
        warn_tcp_only(section);
    } else if quic == Some(true) {
        section.warn("quic", "it says nothing about TCP", "remove the key");
    }
    warn_late_hedge(section, hedge_after, connect_timeout);
    let of_protocol = |name: &str| udp && !section.gives(name);
    Some(ListenerSettings {
        idle_timeout: if of_protocol("idle_timeout") {
            UDP_IDLE_TIMEOUT
        } else {
            idle_timeout?
        },
        half_close_timeout: half_close_timeout?,
        connect_timeout: connect_timeout?,
        connect_attempts: connect_attempts?,
        hedge_after: hedge_after?,
        keepalive: keepalive?,
        user_timeout: user_timeout?,
        fail_open: fail_open?,
        accept_proxy: accept_proxy?,
        max_flows: max_flows?,
        new_flows: if of_protocol("new_flows") {
            UDP_NEW_FLOWS
        } else {
            new_flows?
        },
        source_addresses: source_addresses?,
        quic: quic?,
        expect_first_byte: expect_first_byte?,
    })
}

fn attempts(value: &DeValue<'_>) -> Result<NonZeroU8, ValueError> {
    let number = integer::<u8>(1..=10)(value)?;
    Ok(NonZeroU8::new(number).unwrap_or(NonZeroU8::MIN))
}

fn hedge_after(value: &DeValue<'_>) -> Result<HedgeAfter, ValueError> {
    match value.as_str() {
        Some("auto") => Ok(HedgeAfter::Auto),
        Some("off") => Ok(HedgeAfter::Off),
        Some(_) | None => duration(ms(1)..=secs(60))(value)
            .map(HedgeAfter::After)
            .map_err(|fault| {
                let remedy = format!("write \"auto\", \"off\" or a duration: {}", fault.remedy);
                ValueError::new(fault.what, remedy)
            }),
    }
}

fn expect_first_byte(value: &DeValue<'_>) -> Result<Option<Duration>, ValueError> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    let read = duration(ms(50)..=secs(60))(value);
    read.map(Some).map_err(|fault| {
        let remedy = format!("write \"off\" or a duration: {}", fault.remedy);
        ValueError::new(fault.what, remedy)
    })
}

fn accept_proxy(section: &Section<'_>) -> Option<Option<AcceptProxy>> {
    let inner = section.child(Table::AcceptProxy)?;
    let from = inner.list("from", parsed(values::prefix));
    let timeout = inner.get("timeout", duration(ms(10)..=secs(60)));
    let from: Vec<_> = from?.into_iter().map(|item| item.value).collect();
    let timeout = timeout?;
    Some((!from.is_empty()).then_some(AcceptProxy { from, timeout }))
}

fn warn_tcp_only(section: &Section<'_>) {
    for name in TCP_ONLY.iter().filter(|name| section.gives(name)) {
        section.warn(name, "it says nothing about UDP", "remove the key");
    }
}

fn warn_late_hedge(
    section: &Section<'_>,
    hedge_after: Option<HedgeAfter>,
    connect_timeout: Option<Duration>,
) {
    if let (Some(HedgeAfter::After(after)), Some(timeout)) = (hedge_after, connect_timeout)
        && after >= timeout
    {
        section.warn(
            "hedge_after",
            format!(
                "no hedge comes before connect_timeout, {}",
                show_duration(timeout)
            ),
            "write a shorter one, or \"off\"",
        );
    }
}

fn groups(
    head: &Head<'_, '_>,
    siblings: &[Head<'_, '_>],
    claim: usize,
    claims: &mut Claims,
) -> Option<Vec<EndpointGroup>> {
    let sections = head.section.children(Table::EndpointGroup)?;
    let mut regions = HashMap::new();
    let mut read = Vec::with_capacity(sections.len());
    for (index, section) in sections.iter().enumerate() {
        let region = region(section, index, &mut regions);
        let group = endpoint_group::endpoint_group(section, region, head, siblings, claim, claims);
        read.push(group);
    }
    let groups: Vec<EndpointGroup> = read.into_iter().collect::<Option<_>>()?;
    if groups.is_empty() {
        head.section.warn(
            Table::EndpointGroup.name(),
            "the listener has no endpoint group, so every connection is refused",
            "add an [[accelerator.listener.endpoint_group]]",
        );
    } else if groups.iter().all(|group| group.traffic_dial.is_zero()) {
        head.section.warn(
            Table::EndpointGroup.name(),
            "every traffic_dial is 0, so the nearest available group takes everything",
            "raise the dial of the groups that should take traffic",
        );
    }
    Some(groups)
}

fn region(
    section: &Section<'_>,
    index: usize,
    regions: &mut HashMap<String, usize>,
) -> Option<Region> {
    let region = section.get("region", typed::name)?;
    if let Some(first) = regions.insert(region.clone(), index) {
        section.error(
            "region",
            format!("\"{region}\" is the region of endpoint_group[{first}], too"),
            "a listener has one group a region: put the endpoints together",
        );
    }
    Some(Region::new(region))
}
