//! Layout, health view, order and verdicts → snapshot. Pure. What did not change is shared with the previous snapshot, so
//! that a change of one endpoint costs its group and nothing else.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use portolan_config::health::HealthState;
use portolan_config::selector::Selector;
use portolan_config::snapshot::{
    AddressSnapshot, EndpointSnapshot, GroupSnapshot, ListenerSnapshot, Snapshot, Verdict,
};

use crate::health_view::{self, HealthTable};
use crate::layout::{EndpointLayout, GroupLayout, Layout, ListenerLayout};
use crate::order::Order;
use crate::way_back::Way;

/// What a snapshot is made of.
pub(crate) struct Inputs<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) health: &'a HealthTable,
    /// By the index of the layout's listener.
    pub(crate) orders: &'a [Order],
    pub(crate) verdicts: &'a Arc<[Verdict]>,
    pub(crate) touched: &'a Touched,
}

/// What may differ from the previous snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Anything: the layout is another one.
    Everything,
    /// Health or distance of these groups of the same layout: indices of listener and group.
    Groups(BTreeSet<(usize, usize)>),
}

impl Touched {
    /// Nothing at all.
    pub(crate) fn nothing() -> Touched {
        Touched::Groups(BTreeSet::new())
    }

    /// Adds a group.
    pub(crate) fn add(&mut self, listener: usize, group: usize) {
        match self {
            Touched::Everything => {}
            Touched::Groups(groups) => {
                groups.insert((listener, group));
            }
        }
    }

    /// Those of the same layout.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let groups = match self {
            Touched::Everything => None,
            Touched::Groups(groups) => Some(groups),
        };
        groups.into_iter().flatten().copied()
    }

    fn holds(&self, listener: usize, group: usize) -> bool {
        match self {
            Touched::Everything => true,
            Touched::Groups(groups) => groups.contains(&(listener, group)),
        }
    }
}

/// The next snapshot; `None` when it would say what the previous one says.
pub(crate) fn compile(previous: &Snapshot, inputs: &Inputs<'_>) -> Option<Snapshot> {
    // The counters are interned, so their address is a listener's identity over generations.
    let before: HashMap<_, _> = previous
        .listeners
        .iter()
        .map(|l| (Arc::as_ptr(&l.stats), l))
        .collect();
    let mut listeners = Vec::with_capacity(inputs.layout.listeners.len());
    for (index, layout) in inputs.layout.listeners.iter().enumerate() {
        if layout.enabled {
            let old = before.get(&Arc::as_ptr(&layout.stats)).copied();
            listeners.push(compile_listener(old, layout, index, inputs));
        }
    }
    let same = previous.generation > 0
        && Arc::ptr_eq(&previous.verdicts, inputs.verdicts)
        && previous.listeners.len() == listeners.len()
        && previous
            .listeners
            .iter()
            .zip(&listeners)
            .all(|(old, new)| Arc::ptr_eq(old, new));
    (!same).then(|| Snapshot {
        generation: previous.generation + 1,
        listeners,
        verdicts: inputs.verdicts.clone(),
    })
}

fn compile_listener(
    old: Option<&Arc<ListenerSnapshot>>,
    layout: &ListenerLayout,
    index: usize,
    inputs: &Inputs<'_>,
) -> Arc<ListenerSnapshot> {
    let order = &inputs.orders[index];
    let compile_one = |group: &usize| {
        let layout_group = &layout.groups[*group];
        let old_group =
            old.and_then(|old| old.groups.iter().find(|g| g.region == layout_group.region));
        match old_group {
            Some(old_group) if !inputs.touched.holds(index, *group) => old_group.clone(),
            Some(_) | None => {
                let affinity_stays =
                    old.is_some_and(|old| old.client_affinity == layout.client_affinity);
                compile_group(
                    old_group,
                    layout,
                    layout_group,
                    order.distance(*group),
                    affinity_stays,
                    inputs,
                )
            }
        }
    };
    let groups: Vec<Arc<GroupSnapshot>> = order.ranking().iter().map(compile_one).collect();
    match old {
        Some(old) if is_same_listener(old, layout, &groups) => old.clone(),
        Some(_) | None => Arc::new(ListenerSnapshot {
            accelerator: layout.accelerator.clone(),
            protocol: layout.protocol,
            addresses: layout.addresses.clone(),
            ports: layout.ports.clone(),
            client_affinity: layout.client_affinity,
            settings: layout.settings.clone(),
            groups,
            stats: layout.stats.clone(),
        }),
    }
}

fn is_same_listener(
    old: &ListenerSnapshot,
    layout: &ListenerLayout,
    groups: &[Arc<GroupSnapshot>],
) -> bool {
    let ListenerSnapshot {
        accelerator,
        protocol,
        addresses,
        ports,
        client_affinity,
        settings,
        groups: old_groups,
        stats,
    } = old;
    Arc::ptr_eq(stats, &layout.stats)
        && *accelerator == layout.accelerator
        && *protocol == layout.protocol
        && *addresses == layout.addresses
        && *ports == layout.ports
        && *client_affinity == layout.client_affinity
        && *settings == layout.settings
        && old_groups.len() == groups.len()
        && old_groups
            .iter()
            .zip(groups)
            .all(|(old, new)| Arc::ptr_eq(old, new))
}

fn compile_group(
    old: Option<&Arc<GroupSnapshot>>,
    listener: &ListenerLayout,
    layout: &GroupLayout,
    distance: Option<Duration>,
    affinity_stays: bool,
    inputs: &Inputs<'_>,
) -> Arc<GroupSnapshot> {
    let old_endpoint = |index: usize, endpoint: &EndpointLayout| {
        let old = old?.endpoints.get(index)?;
        Arc::ptr_eq(&old.stats, &endpoint.stats).then_some(old)
    };
    let endpoints: Vec<EndpointSnapshot> = layout
        .endpoints
        .iter()
        .enumerate()
        .map(|(index, endpoint)| compile_endpoint(old_endpoint(index, endpoint), endpoint, inputs))
        .collect();
    let distance = settle(old.and_then(|old| old.distance), distance);
    if let Some(old) = old
        && is_same_group(old, layout, distance, &endpoints)
        && affinity_stays
    {
        return old.clone();
    }
    let selector = old
        .filter(|old| affinity_stays && has_same_weights(&old.endpoints, &endpoints))
        .map(|old| old.selector.clone());
    let selector = selector.unwrap_or_else(|| {
        let weights: Vec<_> = endpoints.iter().map(|e| (e.id.clone(), e.weight)).collect();
        Arc::new(Selector::build(&weights, listener.client_affinity))
    });
    Arc::new(GroupSnapshot {
        region: layout.region.clone(),
        traffic_dial: layout.traffic_dial,
        distance,
        port_overrides: layout.port_overrides.clone(),
        settings: layout.settings.clone(),
        endpoints: endpoints.into(),
        selector,
    })
}

fn compile_endpoint(
    old: Option<&EndpointSnapshot>,
    layout: &EndpointLayout,
    inputs: &Inputs<'_>,
) -> EndpointSnapshot {
    let health = health_view::of_endpoint(layout, inputs.health);
    let old_rtt = |ip| old?.addresses.iter().find(|a| a.ip == ip)?.rtt;
    let addresses = layout.addresses.iter().map(|address| {
        let view = health_view::of_address(address, inputs.health);
        AddressSnapshot {
            ip: address.ip,
            health: view.state,
            rtt: settle(old_rtt(address.ip), view.rtt),
            live: address.live.clone(),
            transparent: address.way == Way::Open,
        }
    });
    EndpointSnapshot {
        id: layout.id.clone(),
        weight: layout.weight,
        port: layout.port,
        max_flows: layout.max_flows,
        draining: layout.draining,
        available: health == HealthState::Up && !layout.weight.is_zero() && !layout.draining,
        health,
        reason: health_view::reason(layout, inputs.health, &inputs.layout.targets).map(Arc::from),
        addresses: addresses.collect(),
        stats: layout.stats.clone(),
    }
}

/// Keeps an old measure that the new one hardly differs from: a smoothed time moves with every probe, and a snapshot for
/// each of those moves would be one for nothing.
fn settle(old: Option<Duration>, new: Option<Duration>) -> Option<Duration> {
    /// Half of what the hedge timer's floor could notice.
    const FLOOR: Duration = Duration::from_micros(500);
    match (old, new) {
        (Some(old), Some(new)) if old.abs_diff(new) <= old.mul_f64(0.1).max(FLOOR) => Some(old),
        (_, new) => new,
    }
}

fn is_same_group(
    old: &GroupSnapshot,
    layout: &GroupLayout,
    new_distance: Option<Duration>,
    new_endpoints: &[EndpointSnapshot],
) -> bool {
    let GroupSnapshot {
        region,
        traffic_dial,
        distance,
        port_overrides,
        settings,
        endpoints,
        selector: _,
    } = old;
    *region == layout.region
        && *traffic_dial == layout.traffic_dial
        && *distance == new_distance
        && *port_overrides == layout.port_overrides
        && *settings == layout.settings
        && endpoints.len() == new_endpoints.len()
        && endpoints
            .iter()
            .zip(new_endpoints)
            .all(|(old, new)| is_same_endpoint(old, new))
}

fn is_same_endpoint(old: &EndpointSnapshot, new: &EndpointSnapshot) -> bool {
    let EndpointSnapshot {
        id,
        weight,
        port,
        max_flows,
        draining,
        available,
        health,
        reason,
        addresses,
        stats,
    } = old;
    Arc::ptr_eq(stats, &new.stats)
        && *id == new.id
        && *weight == new.weight
        && *port == new.port
        && *max_flows == new.max_flows
        && *draining == new.draining
        && *available == new.available
        && *health == new.health
        && *reason == new.reason
        && addresses.len() == new.addresses.len()
        && addresses
            .iter()
            .zip(&new.addresses)
            .all(|(old, new)| is_same_address(old, new))
}

fn is_same_address(old: &AddressSnapshot, new: &AddressSnapshot) -> bool {
    let AddressSnapshot {
        ip,
        health,
        rtt,
        live,
        transparent,
    } = old;
    Arc::ptr_eq(live, &new.live)
        && *ip == new.ip
        && *health == new.health
        && *rtt == new.rtt
        && *transparent == new.transparent
}

fn has_same_weights(old: &[EndpointSnapshot], new: &[EndpointSnapshot]) -> bool {
    old.len() == new.len()
        && old
            .iter()
            .zip(new)
            .all(|(old, new)| old.id == new.id && old.weight == new.weight)
}

#[cfg(test)]
mod tests;
