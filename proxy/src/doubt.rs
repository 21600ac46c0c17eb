//! Doubt: from the first grounds that live flows give against an endpoint until the health side has asked it, a round trip and a half
//! later, new flows go elsewhere. It costs the endpoint nothing that lasts if it was unfounded, and spares a dead one's clients the wait.
//! One flow's silence founds none: it may be the flow's own. A word of the other side does: a refusal, the network's that there is no way, and
//! flows that are ended together. Should it be forged, whatever is heard from the endpoint takes the doubt away, a
//! round trip later: what comes before that may have been on its way.

use portolan_config::clock;
use portolan_config::signal::SignalKind;

use crate::flow::Route;
use crate::worker::Worker;

impl Worker {
    /// Notes what a flow met.
    pub(crate) fn doubt(&self, route: &Route, kind: SignalKind, flow: u64) {
        let (live, now) = (&route.live, clock::millis(self.now));
        match kind {
            SignalKind::Refused | SignalKind::Unreachable | SignalKind::EndedTogether => {
                live.doubt.found(now)
            }
            SignalKind::TimedOut | SignalKind::Slow | SignalKind::Unacknowledged => {
                live.doubt.hint(flow, live.heard_last(), now);
            }
            // A client can provoke the one, and whoever hangs has been asked long enough when the other counts.
            SignalKind::ResetBeforeFirstByte { source: _ }
            | SignalKind::NeverAnswers { source: _ } => {}
        }
    }
}
