//! Names and counters that outlive every generation: an [`AddressId`] with its [`AddressLive`], [`EndpointStats`] and
//! [`ListenerStats`], handed out by what they count. What has vanished from the desired state is forgotten once no snapshot
//! and no flow holds it any more.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use portolan_config::model::Protocol;
use portolan_config::snapshot::{AddressId, AddressLive};
use portolan_config::stats::{EndpointStats, ListenerStats};
use portolan_config::units::{AcceleratorName, EndpointId, PortSet, Region};

/// What tells listeners apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ListenerKey {
    pub(crate) accelerator: AcceleratorName,
    pub(crate) protocol: Protocol,
    pub(crate) ports: PortSet,
}

/// Everything that was ever handed out and may still be held.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    listeners: HashMap<ListenerKey, ListenerEntry>,
    last_address: u64,
}

/// What is kept of an endpoint.
pub(crate) struct KnownEndpoint {
    pub(crate) stats: Arc<EndpointStats>,
    /// Health changes since start.
    pub(crate) transitions: Arc<AtomicU64>,
    /// In the order in which they were asked for.
    pub(crate) addresses: Vec<Arc<AddressLive>>,
}

#[derive(Debug, Default)]
struct ListenerEntry {
    /// Where it listens; empty is everywhere.
    addresses: Vec<IpAddr>,
    stats: Arc<ListenerStats>,
    endpoints: HashMap<(Region, EndpointId), EndpointEntry>,
}

#[derive(Debug, Default)]
struct EndpointEntry {
    stats: Arc<EndpointStats>,
    transitions: Arc<AtomicU64>,
    addresses: HashMap<IpAddr, Arc<AddressLive>>,
}

impl Registry {
    /// Lets a listener whose ports were edited, or whose accelerator has another name, keep its counters and the names of its
    /// addresses, so that its flows are not taken for those of a removed listener. `desired` are all listeners with where they
    /// listen; an accelerator that listens everywhere is known by its name alone.
    pub(crate) fn adopt(&mut self, desired: &[(ListenerKey, &[IpAddr])]) {
        let wanted: HashSet<&ListenerKey> = desired.iter().map(|(key, _)| key).collect();
        for (key, addresses) in desired {
            let known = self.listeners.get(key);
            if known.is_none_or(|entry| entry.addresses != *addresses) {
                // A name that is known elsewhere may have been somebody else's before.
                let is_new = known.is_none();
                let heir = self.listeners.iter().find(|(old, entry)| {
                    let is_here = !addresses.is_empty() && entry.addresses == *addresses;
                    (is_here || (is_new && old.accelerator == key.accelerator))
                        && old.protocol == key.protocol
                        && overlap(&old.ports, &key.ports)
                        && !wanted.contains(old)
                });
                let heir = heir.map(|(old, _)| old.clone());
                if let Some(entry) = heir.and_then(|old| self.listeners.remove(&old)) {
                    self.listeners.insert(key.clone(), entry);
                }
            }
            self.listeners.entry(key.clone()).or_default().addresses = addresses.to_vec();
        }
    }

    /// The counters of a listener.
    pub(crate) fn listener(&mut self, key: &ListenerKey) -> Arc<ListenerStats> {
        self.listeners.entry(key.clone()).or_default().stats.clone()
    }

    /// The counters of an endpoint and the notes on its addresses, in their order.
    pub(crate) fn endpoint(
        &mut self,
        listener: &ListenerKey,
        region: &Region,
        id: &EndpointId,
        addresses: &[IpAddr],
    ) -> KnownEndpoint {
        let Registry {
            listeners,
            last_address,
        } = self;
        let entry = listeners
            .entry(listener.clone())
            .or_default()
            .endpoints
            .entry((region.clone(), id.clone()))
            .or_default();
        let addresses = addresses
            .iter()
            .map(|ip| {
                let fresh = || {
                    *last_address += 1;
                    Arc::new(AddressLive::new(AddressId(*last_address)))
                };
                entry.addresses.entry(*ip).or_insert_with(fresh).clone()
            })
            .collect();
        KnownEndpoint {
            stats: entry.stats.clone(),
            transitions: entry.transitions.clone(),
            addresses,
        }
    }

    /// Forgets what nobody but the registry holds.
    pub(crate) fn sweep(&mut self) {
        self.listeners.retain(|_, listener| {
            listener.endpoints.retain(|_, endpoint| {
                endpoint.addresses.retain(|_, live| is_held(live));
                !endpoint.addresses.is_empty() || is_held(&endpoint.stats)
            });
            !listener.endpoints.is_empty() || is_held(&listener.stats)
        });
    }
}

fn is_held<T>(shared: &Arc<T>) -> bool {
    Arc::strong_count(shared) > 1
}

fn overlap(a: &PortSet, b: &PortSet) -> bool {
    a.ranges().iter().any(|x| {
        b.ranges()
            .iter()
            .any(|y| x.first() <= y.last() && y.first() <= x.last())
    })
}

#[cfg(test)]
mod tests {
    use portolan_config::units::PortRange;

    use super::*;

    fn key(first: u16, last: u16) -> ListenerKey {
        let range = PortRange::new(first, last).expect("a range");
        ListenerKey {
            accelerator: AcceleratorName::new("shop"),
            protocol: Protocol::Tcp,
            ports: PortSet::new(vec![range]).expect("ports"),
        }
    }

    fn one(registry: &mut Registry, key: &ListenerKey) -> Arc<AddressLive> {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let known = registry.endpoint(key, &Region::new("r"), &EndpointId::new("a"), &[ip]);
        known.addresses[0].clone()
    }

    #[test]
    fn the_same_address_keeps_its_name_while_somebody_holds_it() {
        let mut registry = Registry::default();
        let held = one(&mut registry, &key(80, 80));
        registry.sweep();
        assert_eq!(one(&mut registry, &key(80, 80)).id, held.id);
        let old = held.id;
        drop(held);
        registry.sweep();
        assert!(registry.listeners.is_empty());
        assert_ne!(
            one(&mut registry, &key(80, 80)).id,
            old,
            "names are never used again"
        );
    }

    #[test]
    fn a_listener_whose_ports_were_edited_keeps_its_names() {
        let mut registry = Registry::default();
        let held = one(&mut registry, &key(80, 80));
        registry.adopt(&[(key(80, 90), &[])]);
        assert_eq!(one(&mut registry, &key(80, 90)).id, held.id);
        registry.adopt(&[(key(80, 90), &[]), (key(91, 95), &[])]);
        assert_ne!(one(&mut registry, &key(91, 95)).id, held.id);
    }

    #[test]
    fn a_listener_whose_accelerator_was_renamed_keeps_its_names_by_its_addresses() {
        let mut registry = Registry::default();
        let here: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        let elsewhere: [IpAddr; 1] = [[192, 0, 2, 3].into()];
        let named = |name: &str| ListenerKey {
            accelerator: AcceleratorName::new(name),
            ..key(80, 80)
        };
        registry.adopt(&[(named("shop"), &here)]);
        let held = one(&mut registry, &named("shop"));
        registry.adopt(&[(named("shop"), &here), (named("other"), &elsewhere)]);
        assert_ne!(one(&mut registry, &named("other")).id, held.id);
        registry.adopt(&[(named("store"), &here), (named("other"), &elsewhere)]);
        assert_eq!(one(&mut registry, &named("store")).id, held.id);
        // A name that another one had.
        registry.adopt(&[(named("store"), &here)]);
        registry.adopt(&[(named("other"), &here)]);
        assert_eq!(one(&mut registry, &named("other")).id, held.id);
        // Everywhere is where others are, too.
        registry.adopt(&[(named("anywhere"), &[])]);
        let everywhere = one(&mut registry, &named("anywhere"));
        registry.adopt(&[(named("wherever"), &[])]);
        assert_ne!(one(&mut registry, &named("wherever")).id, everywhere.id);
    }
}
