//! Evidence of live flows on its way to the checker: whose it is, and whether it may be acted on.

use std::collections::BTreeSet;
use std::net::IpAddr;

use portolan_config::signal::{Signal, SignalKind};
use portolan_healthcheck::Suspicion;

use super::Core;
use super::world::is_available;
use crate::layout::Spot;

impl Core {
    /// Passes evidence of a live flow on to the checker.
    pub(crate) fn suspect(&mut self, signal: Signal) {
        let Some(spot) = self.layout.spot(signal.address) else {
            return;
        };
        let layout = self.layout.clone();
        let address = layout.at(spot).3;
        let Some(target) = address.target else {
            return;
        };
        if let SignalKind::NeverAnswers { source } = signal.kind
            && !self.may_give_up(&signal, source, &layout.shared_by[target])
        {
            return;
        }
        self.checker.suspect(Suspicion {
            target: layout.targets[target].clone(),
            to: signal.to,
            only_port: layout.only_port[target],
            kind: signal.kind,
            at: signal.at,
            live: address.live.clone(),
        });
    }

    /// Whether enough clients have waited in vain, and every listener that uses the address has another endpoint.
    fn may_give_up(&mut self, signal: &Signal, client: IpAddr, used_at: &[Spot]) -> bool {
        let enabled = |spot: &&Spot| self.layout.listeners[spot.listener].enabled;
        let listeners: BTreeSet<usize> = used_at
            .iter()
            .filter(enabled)
            .map(|spot| spot.listener)
            .collect();
        let listeners: Vec<usize> = listeners.into_iter().collect();
        let (layout, health) = (&self.layout, &self.health);
        let has_another = |listener: &usize| {
            let groups = layout.listeners[*listener].groups.iter().enumerate();
            let mut endpoints = groups.flat_map(|(g, group)| {
                let endpoints = group.endpoints.iter().enumerate();
                endpoints.map(move |(e, endpoint)| ((*listener, g, e), endpoint))
            });
            endpoints.any(|(place, endpoint)| {
                let is_it = |spot: &Spot| (spot.listener, spot.group, spot.endpoint) == place;
                is_available(endpoint, health) && !used_at.iter().any(is_it)
            })
        };
        self.hung.is_enough(
            signal.address,
            client,
            &listeners,
            || listeners.iter().all(has_another),
            signal.at,
        )
    }
}
