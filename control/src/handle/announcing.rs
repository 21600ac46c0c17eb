//! What the announcer sees of the edge.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use portolan_config::stats::Limit;
use portolan_config::units::{AcceleratorName, PortSet};

use super::ControlHandle;
use crate::data_plane::Binding;

/// The edge as the announcer needs it.
pub(crate) struct Announcing {
    /// What listens.
    pub(crate) bindings: Vec<Binding>,
    /// The PoP is drained by its operator.
    pub(crate) draining: bool,
    /// Flows that were refused because there was no room for anybody's.
    pub(crate) refused: u64,
    /// TCP listeners with an endpoint that is available.
    up: Vec<(AcceleratorName, PortSet)>,
}

impl Announcing {
    /// Whether a listener has an endpoint that is up.
    pub(crate) fn has_up(&self, accelerator: &AcceleratorName, ports: &PortSet) -> bool {
        let mut up = self.up.iter();
        up.any(|(name, of)| name == accelerator && of == ports)
    }
}

impl ControlHandle {
    pub(crate) fn announce_door(&self) -> &crate::publish::announce::Door {
        &self.shared.announce
    }

    pub(crate) fn announcing(&self) -> Announcing {
        let published = self.shared.published.load();
        let listeners = published.snapshot.listeners.iter();
        let available = listeners.filter(|listener| {
            let mut groups = listener.groups.iter();
            groups.any(|group| !group.endpoints.available().is_empty())
        });
        Announcing {
            bindings: self.shared.data_plane.bindings(),
            draining: published.pop_draining,
            refused: self.refused_by_all(),
            up: available
                .map(|listener| (listener.accelerator.clone(), listener.ports.clone()))
                .collect(),
        }
    }

    fn refused_by_all(&self) -> u64 {
        let stats = self.shared.data_plane.stats();
        let of_all = [
            Limit::Flows,
            Limit::ListenerFlows,
            Limit::ListenerRate,
            Limit::Ports,
        ];
        let hits = of_all.map(|limit| stats.limit_hits[limit as usize].load(Ordering::Relaxed));
        hits.iter().sum()
    }

    /// Whether an address is in a range that was brought along.
    pub(crate) fn is_brought_along(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.ranges().is_brought_along(ip),
            IpAddr::V6(_) => false,
        }
    }
}
