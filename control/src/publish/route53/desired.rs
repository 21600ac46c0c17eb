//! What the zone should hold of this PoP: the records of the file with the addresses that the edge serves, as record sets with
//! their marks. Pure. A name whose addresses are not known is left as it is, never emptied.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use portolan_config::model::{
    Dns, DnsRecord, FailoverRole, Location, Place, PopCheck, RecordValue, RoutingPolicy,
    load_balancer_region,
};

use super::health_checks::CheckConfig;
use super::model::{CheckRef, Data, Key, Kind, RecordSet, Routing};
use super::ownership::Publisher;

/// What the edge serves, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// `[pop] addresses`.
    pub pop: Vec<IpAddr>,
    /// By accelerator; none is every address of the host.
    pub accelerators: BTreeMap<String, Vec<IpAddr>>,
}

/// What the zone should hold of this PoP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// By the name that they serve, marks and leaves included.
    pub groups: BTreeMap<String, Vec<RecordSet>>,
    /// By name: why it is left as it is.
    pub held: BTreeMap<String, String>,
    /// The checks that the sets refer to, by fingerprint.
    pub checks: BTreeMap<String, CheckConfig>,
    /// By name: what an operator should know, though it stops nothing.
    pub notes: BTreeMap<String, String>,
}

/// What each load balancer's name that a record is an alias of came to: its hosted zone, or why that is not known.
pub type LoadBalancers = BTreeMap<String, Result<String, String>>;

/// Names of load balancers whose hosted zones have to be found out.
pub fn load_balancers(dns: &Dns) -> BTreeSet<String> {
    let names = dns.records.iter().filter_map(|record| match &record.value {
        RecordValue::Alias {
            name, zone: None, ..
        } => load_balancer_region(name).map(|_| name.clone()),
        RecordValue::Alias { .. } | RecordValue::Accelerator(_) | RecordValue::Pop => None,
    });
    names.collect()
}

/// `zone` is the id of the hosted zone, `others` what it holds that is not ours: aliases may name that.
pub fn desired(
    dns: &Dns,
    us: &Publisher,
    served: &Served,
    zone: &str,
    others: &[&RecordSet],
    load_balancers: &LoadBalancers,
) -> Desired {
    let mut making = Making {
        us,
        served,
        zone,
        load_balancers,
        desired: Desired::default(),
    };
    for record in &dns.records {
        match &record.value {
            RecordValue::Accelerator(name) => match served.accelerators.get(name.as_str()) {
                Some(addresses) if addresses.is_empty() => making.addresses(record, &served.pop),
                Some(addresses) => making.addresses(record, addresses),
                None => making.hold(record, format!("accelerator {name} is not known here")),
            },
            RecordValue::Pop => making.addresses(record, &served.pop),
            RecordValue::Alias { .. } => {}
        }
    }
    making.aliases(dns, others);
    let Desired { groups, held, .. } = &mut making.desired;
    // One record of a name that is not known leaves all of the name as it is.
    groups.retain(|name, _| !held.contains_key(name));
    making.desired
}

struct Making<'a> {
    us: &'a Publisher,
    served: &'a Served,
    zone: &'a str,
    load_balancers: &'a LoadBalancers,
    desired: Desired,
}

impl Making<'_> {
    fn hold(&mut self, record: &DnsRecord, why: String) {
        self.desired.held.entry(record.name.clone()).or_insert(why);
    }

    fn addresses(&mut self, record: &DnsRecord, addresses: &[IpAddr]) {
        if addresses.is_empty() {
            self.hold(record, "there are no addresses to publish".into());
            return;
        }
        for (kind, is_v6) in [(Kind::A, false), (Kind::Aaaa, true)] {
            let of_family = addresses.iter().filter(|ip| ip.is_ipv6() == is_v6);
            let mut values: Vec<String> = Vec::new();
            for value in of_family.map(ToString::to_string) {
                if !values.contains(&value) {
                    values.push(value);
                }
            }
            if !values.is_empty() {
                self.sets(record, &kind, values);
            }
        }
    }

    /// A routed set has one value: several are behind it in a simple set, a leaf; a multivalue set cannot be an alias, so there each
    /// value is a set.
    fn sets(&mut self, record: &DnsRecord, kind: &Kind, values: Vec<String>) {
        let DnsRecord { name, set, ttl, .. } = record;
        let ttl = i64::from(*ttl);
        let routing = routing(&record.policy);
        let check = self.check(record, kind);
        if routing == Routing::Simple {
            let simple = RecordSet::simple(name, kind.clone(), ttl, values);
            self.marked(name, simple, check);
            return;
        }
        if routing == Routing::Multivalue && values.len() > 1 {
            for value in values {
                // An identifier is parted by colons.
                let of_value = value.replace(':', "-");
                let part = match set {
                    Some(set) => format!("{set}.{of_value}"),
                    None => of_value,
                };
                let data = Data::Values {
                    ttl,
                    values: vec![value],
                };
                self.routed(record, kind, Some(&part), data, check.clone());
            }
            return;
        }
        let data = if values.len() == 1 {
            Data::Values { ttl, values }
        } else {
            let leaf = self.us.leaf(name, set.as_deref());
            let simple = RecordSet::simple(leaf.clone(), kind.clone(), ttl, values);
            self.marked(name, simple, None);
            Data::Alias {
                zone: self.zone.to_owned(),
                name: leaf,
                evaluate_target_health: false,
            }
        };
        self.routed(record, kind, set.as_deref(), data, check);
    }

    fn marked(&mut self, group: &str, mut set: RecordSet, check: Option<CheckRef>) {
        let mark = self.us.mark(&set);
        set.health_check = check;
        let sets = self.desired.groups.entry(group.to_owned()).or_default();
        sets.extend([set, mark]);
    }

    fn routed(
        &mut self,
        record: &DnsRecord,
        kind: &Kind,
        set: Option<&str>,
        data: Data,
        health_check: Option<CheckRef>,
    ) {
        let set = RecordSet {
            key: Key {
                name: record.name.clone(),
                kind: kind.clone(),
                set_identifier: Some(self.us.set_identifier(set)),
            },
            routing: routing(&record.policy),
            data,
            health_check,
        };
        let sets = self.desired.groups.entry(record.name.clone());
        sets.or_default().push(set);
    }

    /// The check of the PoP's first address of the family, else of the other: the PoP is one site.
    fn check(&mut self, record: &DnsRecord, kind: &Kind) -> Option<CheckRef> {
        let check: &PopCheck = record.health_check.as_ref()?;
        let pop = &self.served.pop;
        let same = pop.iter().find(|ip| ip.is_ipv6() == (*kind == Kind::Aaaa));
        let Some(ip) = same.or_else(|| pop.first()) else {
            self.hold(record, "[pop] has no address for its health check".into());
            return None;
        };
        if same.is_none() {
            let note = format!(
                "{kind} depends on the check of {ip}, as [pop] has no address of the same family"
            );
            self.desired.notes.insert(record.name.clone(), note);
        }
        let config = CheckConfig::of(check, *ip);
        if let Some(why) = config.unreachable() {
            self.hold(record, why);
            return None;
        }
        let fingerprint = config.fingerprint();
        self.desired.checks.insert(fingerprint.clone(), config);
        Some(CheckRef::Planned(fingerprint))
    }

    /// Twins of what the name behind each alias has. Aliases may name aliases, so this goes round until nothing is added.
    fn aliases(&mut self, dns: &Dns, others: &[&RecordSet]) {
        let is_alias = |r: &&DnsRecord| matches!(r.value, RecordValue::Alias { .. });
        let mut open: Vec<&DnsRecord> = dns.records.iter().filter(is_alias).collect();
        open.retain(|record| self.its_zone_is_known(record));
        loop {
            let before = open.len();
            open.retain(|record| !self.alias(record, others));
            if open.len() == before {
                break;
            }
        }
        for record in open {
            if let RecordValue::Alias { name, .. } = &record.value {
                self.hold(
                    record,
                    format!(
                        "the zone has no address records under {name}, which it is an alias of"
                    ),
                );
            }
        }
    }

    /// Holds an alias to a load balancer whose zone is not known.
    fn its_zone_is_known(&mut self, record: &DnsRecord) -> bool {
        let RecordValue::Alias {
            name, zone: None, ..
        } = &record.value
        else {
            return true;
        };
        if load_balancer_region(name).is_none() {
            return true;
        }
        let why = match self.load_balancers.get(name) {
            Some(Ok(_)) => return true,
            Some(Err(why)) => why.as_str(),
            None => "it was not asked for",
        };
        let why = format!("the hosted zone of the load balancer {name} is not known: {why}");
        self.hold(record, why);
        false
    }

    /// Whether it could be made.
    fn alias(&mut self, record: &DnsRecord, others: &[&RecordSet]) -> bool {
        let RecordValue::Alias {
            name: target,
            zone,
            evaluate_target_health,
        } = &record.value
        else {
            return true;
        };
        let found = self.load_balancers.get(target);
        let zone = zone.as_ref().or_else(|| found?.as_ref().ok());
        let kinds = match zone {
            Some(zone) if zone != self.zone => BTreeSet::from([Kind::A, Kind::Aaaa]),
            Some(_) | None => self.kinds_under(target, others),
        };
        if kinds.is_empty() {
            return false;
        }
        for kind in kinds {
            let data = Data::Alias {
                zone: zone.map_or(self.zone, String::as_str).to_owned(),
                name: target.clone(),
                evaluate_target_health: *evaluate_target_health,
            };
            let check = self.check(record, &kind);
            if record.policy == RoutingPolicy::Simple {
                let mut set = RecordSet::simple(record.name.clone(), kind, 0, Vec::new());
                set.data = data;
                self.marked(&record.name, set, check);
            } else {
                self.routed(record, &kind, record.set.as_deref(), data, check);
            }
        }
        true
    }

    fn kinds_under(&self, name: &str, others: &[&RecordSet]) -> BTreeSet<Kind> {
        let own = self.desired.groups.get(name).into_iter().flatten();
        own.chain(others.iter().copied())
            .filter(|set| set.key.name == name && matches!(set.key.kind, Kind::A | Kind::Aaaa))
            .map(|set| set.key.kind.clone())
            .collect()
    }
}

fn routing(policy: &RoutingPolicy) -> Routing {
    match policy {
        RoutingPolicy::Simple => Routing::Simple,
        RoutingPolicy::Weighted(weight) => Routing::Weighted {
            weight: i64::from(*weight),
        },
        RoutingPolicy::Latency(region) => Routing::Latency {
            region: region.clone(),
        },
        RoutingPolicy::Geolocation(location) => {
            let (continent, country, subdivision) = match location {
                Location::Continent(code) => (Some(code.clone()), None, None),
                Location::Country(code) => (None, Some(code.clone()), None),
                Location::State(code) => (None, Some("US".to_owned()), Some(code.clone())),
            };
            Routing::Geolocation {
                continent,
                country,
                subdivision,
            }
        }
        RoutingPolicy::Geoproximity { at, bias } => {
            let (mut region, mut local_zone_group, mut coordinates) = (None, None, None);
            match at {
                Place::Region(name) => region = Some(name.clone()),
                Place::LocalZoneGroup(name) => local_zone_group = Some(name.clone()),
                Place::Coordinates {
                    latitude,
                    longitude,
                } => coordinates = Some((*latitude, *longitude)),
            }
            Routing::Geoproximity {
                region,
                local_zone_group,
                coordinates,
                bias: i32::from(*bias),
            }
        }
        RoutingPolicy::Failover(role) => Routing::Failover {
            primary: *role == FailoverRole::Primary,
        },
        RoutingPolicy::Multivalue => Routing::Multivalue,
    }
}
