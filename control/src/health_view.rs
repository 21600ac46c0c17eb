//! The health view: what probes and signals found about each target, and what that makes of an endpoint with its addresses.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portolan_config::health::{Failure, HealthState};
use portolan_healthcheck::{AddressHealth, ProbeTarget};

use crate::layout::{AddressLayout, EndpointLayout};

/// Health by the index of a layout's target; `None` before anything is known.
pub(crate) type HealthTable = Vec<Option<Arc<AddressHealth>>>;

/// The health of one address.
pub(crate) struct AddressView<'a> {
    pub(crate) state: HealthState,
    pub(crate) rtt: Option<Duration>,
    pub(crate) failure: Option<&'a Failure>,
    /// What the probes know; `None` for one that is not probed.
    pub(crate) health: Option<&'a AddressHealth>,
}

/// The health of one address, from the table.
pub(crate) fn of_address<'a>(address: &AddressLayout, table: &'a HealthTable) -> AddressView<'a> {
    let Some(target) = address.target else {
        // Not probed: always up, and live connects are all that is known of its distance.
        let rtt = address.live.connect_time();
        return AddressView {
            state: HealthState::Up,
            rtt,
            failure: None,
            health: None,
        };
    };
    let health = table.get(target).and_then(Option::as_deref);
    AddressView {
        state: health.map_or(HealthState::Unknown, |health| health.state),
        rtt: health.and_then(|health| health.rtt),
        failure: health.and_then(|health| health.failure.as_ref()),
        health,
    }
}

/// An endpoint is up while one of its addresses is, and down when all are.
pub(crate) fn of_endpoint(endpoint: &EndpointLayout, table: &HealthTable) -> HealthState {
    let mut state = None;
    for address in &endpoint.addresses {
        state = match (state, of_address(address, table).state) {
            (_, HealthState::Up) => return HealthState::Up,
            (Some(HealthState::Unknown), _) | (_, HealthState::Unknown) => {
                Some(HealthState::Unknown)
            }
            (_, HealthState::Down) => Some(HealthState::Down),
        };
    }
    state.unwrap_or(HealthState::Unknown)
}

/// The lowest round trip among the addresses that are up.
pub(crate) fn round_trip(endpoint: &EndpointLayout, table: &HealthTable) -> Option<Duration> {
    let views = endpoint
        .addresses
        .iter()
        .map(|address| of_address(address, table));
    views
        .filter(|view| view.state == HealthState::Up)
        .filter_map(|view| view.rtt)
        .min()
}

/// Since when the endpoint is what it is.
pub(crate) fn since(endpoint: &EndpointLayout, table: &HealthTable) -> Option<SystemTime> {
    let state = of_endpoint(endpoint, table);
    let views = endpoint
        .addresses
        .iter()
        .map(|address| of_address(address, table));
    let times = views
        .filter(|view| view.state == state)
        .filter_map(|view| view.health.map(|h| h.since_wall));
    match state {
        // Up since the first address was, down since the last one was.
        HealthState::Up => times.min(),
        HealthState::Down => times.max(),
        HealthState::Unknown => None,
    }
}

/// For people: why the endpoint is not up, and what else there is to say.
pub(crate) fn reason(
    endpoint: &EndpointLayout,
    table: &HealthTable,
    targets: &[ProbeTarget],
) -> Option<String> {
    let note = endpoint.note.as_deref();
    let what = match of_endpoint(endpoint, table) {
        HealthState::Up => None,
        HealthState::Unknown if endpoint.addresses.is_empty() => None,
        HealthState::Unknown => Some("the first probe has no result yet".to_owned()),
        HealthState::Down => Some(why_down(endpoint, table, targets)),
    };
    match (what, note) {
        (Some(what), Some(note)) => Some(format!("{what}; {note}")),
        (Some(what), None) => Some(what),
        (None, note) => note.map(str::to_owned),
    }
}

fn why_down(endpoint: &EndpointLayout, table: &HealthTable, targets: &[ProbeTarget]) -> String {
    let first = endpoint.addresses.iter().find_map(|address| {
        let failure = of_address(address, table).failure?;
        let target = &targets[address.target?];
        Some(format!(
            "{failure} ({} {})",
            target.check.probe.as_str(),
            target.address
        ))
    });
    let first = first.unwrap_or_else(|| "it fails its check".to_owned());
    match endpoint.addresses.len() {
        0 | 1 => first,
        many => format!("{first}; none of its {many} addresses is up"),
    }
}
