//! Transparent client addresses: asks which endpoints answer them by way of this host, and follows up what comes of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use portolan_config::address::EndpointAddr;
use portolan_config::health::HealthState;
use portolan_healthcheck::NoWayBack;

use super::Core;
use crate::health_view::{self, HealthTable};
use crate::layout::Layout;
use crate::way_back::Way;

impl Core {
    /// Wants tested what the layout needs.
    pub(super) fn want_ways_back(&mut self, now: Instant) {
        let wanted: HashSet<EndpointAddr> = self.layout.ways_back().collect();
        self.ways_back.want(&wanted, now);
    }

    /// Endpoint addresses that are to be tested now.
    pub(crate) fn take_ways_back(&mut self, now: Instant) -> Vec<EndpointAddr> {
        let (layout, health) = (&self.layout, &self.health);
        self.ways_back.take_due(|to| is_up(layout, health, to), now)
    }

    /// When there are some.
    pub(crate) fn next_way_back(&self) -> Option<Instant> {
        self.ways_back.next_due()
    }

    /// Takes what a test found. Whether it is to be published.
    pub(crate) fn way_back(
        &mut self,
        to: EndpointAddr,
        found: Result<(), NoWayBack>,
        now: Instant,
    ) -> bool {
        let is_up = is_up(&self.layout, &self.health, to);
        if !self.ways_back.answered(to, found, is_up, now) {
            return false;
        }
        match self.ways_back.of(to) {
            Way::Open => tracing::info!(endpoint = %to, "answers to client addresses come back; flows are transparent"),
            Way::Closed(why) => self.warn(format!(
                "client_address = \"transparent\" is not in force toward {to}, whose flows come from this PoP's address: {why}"
            )),
            Way::Untested => {}
        }
        self.lay_out(now);
        true
    }
}

/// Whether an endpoint that is reached there is up.
fn is_up(layout: &Arc<Layout>, health: &HealthTable, to: EndpointAddr) -> bool {
    let endpoints = layout.endpoints();
    let mut addresses = endpoints.flat_map(|(_, _, endpoint)| &endpoint.addresses);
    addresses.any(|address| {
        address.way_back == Some(to)
            && health_view::of_address(address, health).state == HealthState::Up
    })
}
