//! Following up: what a change of health or of the layout means for live flows, and who is told of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use portolan_config::health::HealthState;
use portolan_config::snapshot::{AddressId, Fate};
use portolan_healthcheck::AddressHealth;

use super::Core;
use super::world::Surrounding;
use crate::event::EventKind;
use crate::health_view::{self, HealthTable};
use crate::layout::{EndpointLayout, GroupLayout, Layout, ListenerLayout, Spot};
use crate::verdict::{Cause, Fall};

/// Listeners in which something fell.
type Fallen = BTreeSet<usize>;

impl Core {
    /// Takes what the checker has to tell. Whether it is to be published at once.
    pub(crate) fn observe_health(&mut self, now: Instant) -> bool {
        let mut fallen = Fallen::new();
        let mut urgent = false;
        for (target, health) in self.checker.take_changes() {
            let Some(index) = self.target_index.get(&target).copied() else {
                continue;
            };
            let was = state_of(self.health[index].as_deref());
            if health.state == HealthState::Down {
                urgent |= was != HealthState::Down;
                if was == HealthState::Up {
                    self.note_detection(&health);
                }
            }
            self.store_health(index, health, &mut fallen, now);
        }
        self.ask_others(fallen);
        urgent
    }

    fn note_detection(&self, health: &AddressHealth) {
        if let Some(evidence) = health.first_evidence {
            let took = health.since.saturating_duration_since(evidence);
            self.shared.detection_seconds.observe(took);
        }
    }

    /// Stores a target's health and follows it up wherever the target is used.
    fn store_health(
        &mut self,
        index: usize,
        health: AddressHealth,
        fallen: &mut Fallen,
        now: Instant,
    ) {
        let layout = self.layout.clone();
        let spots = &layout.shared_by[index];
        let is = health.state;
        let was = state_of(self.health[index].as_deref());
        let endpoint_states = |table: &HealthTable| {
            let states = spots
                .iter()
                .map(|spot| health_view::of_endpoint(layout.at(*spot).2, table));
            states.collect::<Vec<_>>()
        };
        let before = endpoint_states(&self.health);
        Arc::make_mut(&mut self.health)[index] = Some(Arc::new(health));
        let after = endpoint_states(&self.health);
        for ((spot, before), after) in spots.iter().zip(before).zip(after) {
            self.touched.add(spot.listener, spot.group);
            if was != is {
                self.follow_address(*spot, was, is, fallen, now);
            }
            if before != after {
                let (listener, group, endpoint, _) = layout.at(*spot);
                self.tell_health((listener, group, endpoint), before, after);
            }
        }
    }

    /// An address of the layout is in another state than before.
    fn follow_address(
        &mut self,
        spot: Spot,
        was: HealthState,
        is: HealthState,
        fallen: &mut Fallen,
        now: Instant,
    ) {
        let (listener, group, _, address) = self.layout.at(spot);
        match (was, is) {
            (_, HealthState::Up) => self.verdicts.rose(address.live.id, now),
            (HealthState::Up, HealthState::Down) if listener.enabled => {
                let health = address
                    .target
                    .and_then(|target| self.health[target].as_ref());
                let fall = Fall {
                    address: address.live.id,
                    failure: health.and_then(|health| health.failure.clone()),
                    first_evidence: health.and_then(|health| health.first_evidence),
                    at: health.map_or(now, |health| health.since),
                    settings: group.settings.clone(),
                };
                self.verdicts.fell(fall, now);
                fallen.insert(spot.listener);
            }
            // What was never up has no flows to speak of, and what is not served has had its verdict.
            (_, HealthState::Down | HealthState::Unknown) => {}
        }
    }

    fn ask_others(&self, fallen: Fallen) {
        let world = Surrounding {
            layout: &self.layout,
            health: &self.health,
            checker: &self.checker,
        };
        for listener in fallen {
            if let Some(order) = self.orders.get(listener) {
                world.ask_others(listener, order);
            }
        }
    }

    /// Drains what is no longer served.
    pub(super) fn follow_left(&mut self, old: &Layout, now: Instant) {
        for (address, spot) in old.addresses() {
            let (listener, group, _, _) = old.at(spot);
            if listener.enabled && !is_served(&self.layout, address) {
                self.verdicts
                    .drain(address, Cause::Left, group.settings.drain_timeout, now);
            }
        }
        // Told here, for the new layout does not know their names.
        self.tell_verdicts(old);
    }

    /// Follows up what changed for the addresses that are served.
    pub(super) fn follow_stayed(&mut self, old: &Layout, old_health: &HealthTable, now: Instant) {
        let layout = self.layout.clone();
        let mut fallen = Fallen::new();
        for (address, spot) in layout.addresses() {
            let (listener, group, endpoint, address_layout) = layout.at(spot);
            if !listener.enabled {
                continue;
            }
            self.verdicts.release(address, Cause::Left, now);
            if endpoint.draining {
                self.verdicts
                    .drain(address, Cause::Operator, group.settings.drain_timeout, now);
            } else {
                self.verdicts.release(address, Cause::Operator, now);
            }
            let is = health_view::of_address(address_layout, &self.health).state;
            let was = old
                .spot(address)
                .map(|spot| health_view::of_address(old.at(spot).3, old_health).state);
            if let Some(was) = was.filter(|was| *was != is) {
                self.follow_address(spot, was, is, &mut fallen, now);
            }
        }
        self.ask_others(fallen);
        self.follow_endpoints(old, old_health);
    }

    /// Tells of endpoints that another layout makes healthier or sicker: a check that is gone, a first address.
    fn follow_endpoints(&self, old: &Layout, old_health: &HealthTable) {
        let known = old.endpoints().map(|(_, _, endpoint)| {
            let state = health_view::of_endpoint(endpoint, old_health);
            (Arc::as_ptr(&endpoint.stats), state)
        });
        let known: HashMap<_, _> = known.collect();
        for (listener, group, endpoint) in self.layout.endpoints() {
            let was = known.get(&Arc::as_ptr(&endpoint.stats)).copied();
            let was = was.unwrap_or(HealthState::Unknown);
            let is = health_view::of_endpoint(endpoint, &self.health);
            if was != is {
                self.tell_health((listener, group, endpoint), was, is);
            }
        }
    }

    fn tell_health(
        &self,
        (listener, group, endpoint): (&ListenerLayout, &GroupLayout, &EndpointLayout),
        from: HealthState,
        to: HealthState,
    ) {
        endpoint.transitions.fetch_add(1, Ordering::Relaxed);
        let reason = health_view::reason(endpoint, &self.health, &self.layout.targets);
        let (accelerator, label, region, id) = (
            &listener.accelerator,
            &listener.label,
            &group.region,
            &endpoint.id,
        );
        let why = reason.as_deref().unwrap_or("it passes its check");
        tracing::info!(%accelerator, listener = %label, %region, endpoint = %id, "endpoint is {to}, was {from}: {why}");
        self.shared.tell(EventKind::Health {
            accelerator: accelerator.to_string(),
            listener: label.to_string(),
            region: region.to_string(),
            endpoint: id.to_string(),
            from: from.to_string(),
            to: to.to_string(),
            reason,
        });
    }

    /// Moves verdicts into what is published, and tells of them by the names of `layout`.
    pub(super) fn tell_verdicts(&mut self, layout: &Layout) {
        for verdict in self.verdicts.publish() {
            let Some(spot) = layout.spot(verdict.address) else {
                continue;
            };
            let (listener, group, endpoint, address) = layout.at(spot);
            let fate = match verdict.fate {
                Fate::Reset { .. } => "reset",
                Fate::Drain { .. } => "drain",
                Fate::Keep => "keep",
            };
            self.shared.tell(EventKind::Verdict {
                accelerator: listener.accelerator.to_string(),
                listener: listener.label.to_string(),
                region: group.region.to_string(),
                endpoint: endpoint.id.to_string(),
                address: address.ip.to_string(),
                fate: fate.to_owned(),
            });
        }
    }
}

fn state_of(health: Option<&AddressHealth>) -> HealthState {
    health.map_or(HealthState::Unknown, |health| health.state)
}

fn is_served(layout: &Layout, address: AddressId) -> bool {
    layout
        .spot(address)
        .is_some_and(|spot| layout.listeners[spot.listener].enabled)
}
