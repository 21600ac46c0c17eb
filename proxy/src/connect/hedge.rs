//! When an endpoint that does not answer a connect is reported, and when a second one is raced against it.

use std::rc::Rc;
use std::time::Duration;

use portolan_config::model::{ClientAffinity, HedgeAfter};
use portolan_config::signal::SignalKind;
use portolan_config::snapshot::ListenerSnapshot;
use portolan_config::stats::HedgeResult;
use smallvec::SmallVec;

use super::{ABREAST, Ask};
use crate::flow::{Phase, Route};
use crate::pick::Candidate;
use crate::worker::Worker;

/// The shortest automatic wait before a second endpoint is raced.
const HEDGE_FLOOR: Duration = Duration::from_millis(50);

/// How many smoothed connect times an endpoint is given before it is raced.
const HEDGE_CONNECT_TIMES: u32 = 3;

/// Stands in for a connect time that nobody measured: most of the Earth.
const UNMEASURED: Duration = Duration::from_millis(200);

/// What the rest of a connect's time may take beside the network: scheduling at both ends.
const CONNECT_SLACK: Duration = Duration::from_millis(20);

impl Worker {
    /// Reports the endpoints that have not answered this flow's connects.
    pub(super) fn report_slow(&self, key: u32) {
        let flow = self.flows[key as usize].id;
        let Phase::Connecting(connecting) = &self.flows[key as usize].phase else {
            return;
        };
        let silent: SmallVec<[(Rc<Route>, u16); 3]> = connecting
            .attempts
            .iter()
            .map(|attempt| (Rc::clone(&attempt.route), attempt.port))
            .collect();
        for (route, port) in silent {
            self.raise(&route, port, SignalKind::Slow, flow);
        }
    }

    /// The endpoint has been silent for long: another is raced against it.
    pub(super) fn hedge(&mut self, key: u32) {
        self.report_slow(key);
        let flow = &self.flows[key as usize];
        let door = Rc::clone(&flow.door);
        let Phase::Connecting(connecting) = &flow.phase else {
            return;
        };
        let abreast = connecting.attempts.len();
        let spent = self.flows[key as usize].attempts >= door.settings().connect_attempts.get();
        if spent || abreast >= ABREAST {
            return self.arm_connect(key);
        }
        if !self.budget.has_extra(self.now) {
            door.stats.count_hedge(HedgeResult::Denied);
            return self.arm_connect(key);
        }
        let Some((candidate, route)) = self.next_candidate(key, Ask::Hedge) else {
            return self.arm_connect(key);
        };
        self.budget.take_extra(self.now);
        self.flows[key as usize].attempts += 1;
        if let Err(error) = self.attempt(key, &candidate, Rc::clone(&route), Ask::Hedge) {
            self.count_failure(key, &route, candidate.to.0.port(), &error);
            door.stats.count_hedge(HedgeResult::Lost);
            self.forget_route(&route);
        }
        self.arm_connect(key);
    }
}

/// When an endpoint that has not answered is reported: sooner than another is raced, since asking it costs it next to nothing.
pub(crate) fn slow_after(
    listener: &ListenerSnapshot,
    candidate: &Candidate,
    route: &Route,
) -> Duration {
    let usual = usual(listener, candidate, route).unwrap_or(UNMEASURED);
    usual * 3 / 2 + CONNECT_SLACK
}

/// How long a connect usually takes.
fn usual(listener: &ListenerSnapshot, candidate: &Candidate, route: &Route) -> Option<Duration> {
    let probed = listener.groups[candidate.group].endpoints[candidate.endpoint].addresses
        [candidate.address]
        .rtt;
    route.live.connect_time().or(probed)
}

/// When another endpoint is raced against this one.
pub(crate) fn hedge_after(
    listener: &ListenerSnapshot,
    candidate: &Candidate,
    route: &Route,
) -> Option<Duration> {
    let settings = &listener.settings;
    let wanted = match settings.hedge_after {
        HedgeAfter::Off => return None,
        HedgeAfter::After(after) => after,
        HedgeAfter::Auto => {
            let usual = usual(listener, candidate, route).unwrap_or_default();
            HEDGE_FLOOR.max(usual * HEDGE_CONNECT_TIMES)
        }
    };
    // A client that is to stay with its endpoint is not given away lightly.
    let wanted = match listener.client_affinity {
        ClientAffinity::None => wanted,
        ClientAffinity::SourceIp => wanted.max(settings.connect_timeout / 2),
    };
    (wanted < settings.connect_timeout).then_some(wanted)
}
