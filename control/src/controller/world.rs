//! What verdicts look at: which endpoints of a listener could take a flow now, and whether they live.

use std::time::{Duration, Instant};

use portolan_config::clock;
use portolan_config::health::HealthState;
use portolan_config::model::HealthCheck;
use portolan_config::snapshot::AddressId;
use portolan_healthcheck::Checker;
use std::sync::atomic::Ordering;

use crate::health_view::{self, HealthTable};
use crate::layout::{AddressLayout, EndpointLayout, Layout};
use crate::order::Order;
use crate::verdict::{Others, World};

/// Endpoints of a group that are asked for a sign of life after a fall, and endpoints of a listener. A few answer for all:
/// the question is whether this PoP is cut off.
const ASKED_OF_A_GROUP: usize = 4;
const ASKED_OF_A_LISTENER: usize = 16;

pub(crate) struct Surrounding<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) health: &'a HealthTable,
    pub(crate) checker: &'a Checker,
}

impl Surrounding<'_> {
    /// Asks a few endpoints of every group, the nearest first, for a sign of life.
    pub(crate) fn ask_others(&self, listener: usize, order: &Order) {
        let groups = order
            .ranking()
            .iter()
            .map(|group| &self.layout.listeners[listener].groups[*group]);
        let asked = groups.flat_map(|group| {
            let available = group
                .endpoints
                .iter()
                .filter(|endpoint| is_available(endpoint, self.health));
            available
                .flat_map(|endpoint| self.up(endpoint))
                .filter_map(|address| address.target)
                .take(ASKED_OF_A_GROUP)
        });
        for target in asked.take(ASKED_OF_A_LISTENER) {
            self.checker.probe_now(&self.layout.targets[target]);
        }
    }

    fn up<'b>(
        &'b self,
        endpoint: &'b EndpointLayout,
    ) -> impl Iterator<Item = &'b AddressLayout> + 'b {
        let is_up = |address: &&AddressLayout| {
            health_view::of_address(address, self.health).state == HealthState::Up
        };
        endpoint.addresses.iter().filter(is_up)
    }

    /// When an address last passed a probe or sent anything. Asks the checker, which tells only what changes health.
    fn life(&self, address: &AddressLayout) -> Option<Instant> {
        let passed = address
            .target
            .and_then(|target| self.checker.health(&self.layout.targets[target])?.last_ok);
        let heard = match address.live.last_heard.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(clock::instant(millis)),
        };
        passed.max(heard)
    }
}

/// Whether an endpoint may take new flows.
pub(crate) fn is_available(endpoint: &EndpointLayout, health: &HealthTable) -> bool {
    !endpoint.weight.is_zero()
        && !endpoint.draining
        && health_view::of_endpoint(endpoint, health) == HealthState::Up
}

impl World for Surrounding<'_> {
    fn listener_of(&self, address: AddressId) -> Option<usize> {
        let listener = self.layout.spot(address)?.listener;
        self.layout.listeners[listener].enabled.then_some(listener)
    }

    fn others(&self, listener: usize, since: Instant) -> Others {
        let mut others = Others::default();
        for group in &self.layout.listeners[listener].groups {
            for endpoint in group
                .endpoints
                .iter()
                .filter(|endpoint| is_available(endpoint, self.health))
            {
                others.available = true;
                for address in self.up(endpoint) {
                    others.patience = others
                        .patience
                        .max(time_to_fall(&group.health_check, address));
                    others.life = others.life.max(self.life(address));
                    if others.life.is_some_and(|life| life > since) {
                        return others;
                    }
                }
            }
        }
        others
    }
}

/// The longest time in which a check finds out that nothing answers any more.
fn time_to_fall(check: &HealthCheck, address: &AddressLayout) -> Duration {
    match address.target {
        Some(_) => check
            .interval
            .saturating_mul(check.unhealthy_threshold.get().into())
            .saturating_add(check.timeout),
        None => Duration::ZERO,
    }
}
