//! Load balancers that say by tags which accelerator they belong to: they fill the groups of an accelerator that is there, or make
//! one of their own.

use std::collections::BTreeMap;

use portolan_config::model::{
    Accelerator, ClientAffinity, Endpoint, EndpointGroup, Listener, Protocol, Source,
};
use portolan_config::units::{
    AcceleratorName, EndpointId, PortRange, PortSet, Region, TrafficDial, Weight,
};

use super::{Allocations, Mapping, NoteKind, Unit, Unreached, host};
use crate::api::defaults::Defaults;
use crate::aws::picture::TaggedFacts;
use crate::sources::Fill;

/// What the tags of one accelerator's load balancers come to, by region.
#[derive(Default)]
struct Group {
    /// The lowest of those given.
    dial: Option<f64>,
    endpoints: Vec<Endpoint>,
}

impl Mapping<'_> {
    /// `names` are those of imported accelerators.
    pub(super) fn tagged(
        &mut self,
        names: &BTreeMap<String, String>,
        allocations: &mut Allocations,
    ) {
        let mut by_name: BTreeMap<&str, BTreeMap<&str, Group>> = BTreeMap::new();
        for (arn, facts) in &self.picture.tagged {
            match host(self.picture, self.settings, &facts.region, arn) {
                Ok((host, port)) => {
                    let group = by_name
                        .entry(&facts.accelerator)
                        .or_default()
                        .entry(&facts.region)
                        .or_default();
                    group.add(
                        facts,
                        Endpoint {
                            id: EndpointId::new(arn.as_str()),
                            host,
                            port: port.or(facts.port),
                            weight: Weight(facts.weight),
                            max_flows: 0,
                        },
                    );
                }
                Err(reason) => {
                    self.out.unreached.push(Unreached {
                        accelerator: facts.accelerator.clone(),
                        listener: None,
                        region: facts.region.clone(),
                        endpoint: EndpointId::new(arn.as_str()),
                        weight: Weight(facts.weight),
                        reason: reason.clone(),
                    });
                    self.note(
                        NoteKind::Unreachable,
                        &facts.accelerator,
                        Some((&facts.region, arn)),
                        reason,
                    );
                }
            }
        }
        for (name, groups) in by_name {
            let is_there = self.settings.named.contains(name)
                || names.values().any(|imported| imported == name);
            if is_there {
                self.fill(name, groups);
            } else {
                self.make(name, groups, allocations);
            }
        }
    }

    fn fill(&mut self, name: &str, groups: BTreeMap<&str, Group>) {
        let dials: Vec<_> = groups
            .values()
            .map(|group| group.dial.and_then(TrafficDial::from_percent))
            .collect();
        let mut groups: Vec<EndpointGroup> = groups
            .into_iter()
            .map(|(region, group)| group.finish(region))
            .collect();
        self.advise(name, &mut groups);
        self.out
            .fills
            .extend(groups.into_iter().zip(dials).map(|(group, dial)| Fill {
                accelerator: AcceleratorName::new(name),
                group,
                dial,
            }));
    }

    /// One listener for each port that the tags name.
    fn make(&mut self, name: &str, groups: BTreeMap<&str, Group>, allocations: &mut Allocations) {
        let mut by_port: BTreeMap<u16, Vec<EndpointGroup>> = BTreeMap::new();
        for (region, group) in groups {
            let group = group.finish(region);
            for endpoint in &group.endpoints {
                let Some(port) = endpoint.port else {
                    let reason = "no accelerator has that name, and no portolan:port says where one would listen".to_owned();
                    self.note(
                        NoteKind::NotServed,
                        name,
                        Some((region, endpoint.id.as_str())),
                        reason,
                    );
                    continue;
                };
                let groups = by_port.entry(port).or_default();
                match groups.iter_mut().find(|made| made.region == group.region) {
                    Some(made) => made.endpoints.push(endpoint.clone()),
                    None => groups.push(EndpointGroup {
                        endpoints: vec![endpoint.clone()],
                        ..group.clone()
                    }),
                }
            }
        }
        if by_port.is_empty() {
            return;
        }
        let mut listeners = Vec::with_capacity(by_port.len());
        for (port, mut groups) in by_port {
            self.advise(name, &mut groups);
            let ports = PortRange::new(port, port).and_then(|range| PortSet::new(vec![range]));
            listeners.extend(ports.map(|ports| Listener {
                protocol: Protocol::Tcp,
                ports,
                client_affinity: ClientAffinity::None,
                settings: Defaults::of(Protocol::Tcp).listener.clone(),
                endpoint_groups: groups,
            }));
        }
        if let Some(addresses) = self.addresses(&Unit::tagged(name), name, name, allocations) {
            self.out.accelerators.push(Accelerator {
                name: AcceleratorName::new(name),
                source: Source::Aws,
                enabled: true,
                addresses,
                listeners,
            });
        }
    }
}

impl Group {
    fn add(&mut self, facts: &TaggedFacts, endpoint: Endpoint) {
        self.dial = match (self.dial, facts.dial) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.endpoints.push(endpoint);
    }

    fn finish(self, region: &str) -> EndpointGroup {
        let defaults = Defaults::of(Protocol::Tcp);
        EndpointGroup {
            region: Region::new(region),
            traffic_dial: self
                .dial
                .and_then(TrafficDial::from_percent)
                .unwrap_or(TrafficDial::FULL),
            latency: None,
            health_check: std::sync::Arc::new(defaults.health_check.clone()),
            port_overrides: Vec::new(),
            settings: defaults.group.clone(),
            endpoints: self.endpoints,
        }
    }
}
