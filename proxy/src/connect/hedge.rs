//! When a second endpoint is raced against one that stays silent.

use std::time::Duration;

use portolan_config::model::{ClientAffinity, HedgeAfter};
use portolan_config::snapshot::ListenerSnapshot;

use crate::flow::Route;
use crate::pick::Candidate;

/// The shortest automatic wait before a second endpoint is raced.
const HEDGE_FLOOR: Duration = Duration::from_millis(50);

/// How many smoothed connect times an endpoint is given before it is raced.
const HEDGE_CONNECT_TIMES: u32 = 3;

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
            let probed = listener.groups[candidate.group].endpoints[candidate.endpoint].addresses
                [candidate.address]
                .rtt;
            let usual = route.live.connect_time().or(probed).unwrap_or_default();
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
