//! Flows that are connecting to an endpoint which turns out to be down do not wait for their timeout.

use std::collections::HashSet;

use portolan_config::health::HealthState;
use portolan_config::snapshot::{AddressId, Snapshot};

use super::Ask;
use crate::flow::{Abreast, Flow, Phase, Side};
use crate::list;
use crate::worker::Worker;

impl Worker {
    /// Flows that wait for an address which the newest snapshot knows to be down ask the next candidate, at no charge; where there
    /// is none they go on waiting.
    pub(crate) fn leave_fallen(&mut self) {
        let waiting = list::keys::<Flow, Abreast>(&mut self.flows, self.connecting);
        if waiting.is_empty() {
            return;
        }
        let down = down(&self.shared.snapshot.load());
        for key in waiting {
            while let Some(side) = self.fallen(key, &down) {
                if !self.ask_next(key, Ask::Retry) {
                    break;
                }
                let Phase::Connecting(connecting) = &mut self.flows[key as usize].phase else {
                    break;
                };
                let left = connecting.attempts.iter().position(|a| a.side == side);
                if let Some(index) = left {
                    let attempt = connecting.attempts.swap_remove(index);
                    self.drop_attempt(attempt);
                }
            }
        }
    }

    /// A connect of this flow to an address that is down, where another endpoint is available.
    fn fallen(&self, key: u32, down: &HashSet<AddressId>) -> Option<Side> {
        let flow = &self.flows[key as usize];
        let Phase::Connecting(connecting) = &flow.phase else {
            return None;
        };
        let listener = flow.door.listener();
        if listener
            .groups
            .iter()
            .all(|g| g.endpoints.available().is_empty())
        {
            return None;
        }
        let mut attempts = connecting.attempts.iter();
        let fallen = attempts.find(|attempt| down.contains(&attempt.route.address));
        fallen.map(|attempt| attempt.side)
    }
}

/// The addresses that a snapshot knows to be down.
fn down(snapshot: &Snapshot) -> HashSet<AddressId> {
    let groups = snapshot.listeners.iter().flat_map(|l| &l.groups);
    let addresses = groups
        .flat_map(|g| g.endpoints.iter())
        .flat_map(|e| &e.addresses);
    let fallen = addresses.filter(|address| address.health == HealthState::Down);
    fallen.map(|address| address.live.id).collect()
}
