//! What the flows to one address of one endpoint share in a worker, and what a verdict about that address means for them. A verdict
//! marks the path, in constant time however many flows there are; a flow meets the mark at its next datagram.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use portolan_config::flow::EndCause;
use portolan_config::snapshot::{Fate, ListenerSnapshot};

use super::train;
use crate::flow::{Door, Route};
use crate::pick::Candidate;

/// How long a path's MTU is believed.
const MTU_LIFE: Duration = Duration::from_secs(1);

/// The path to one address of one endpoint.
pub(crate) struct Path {
    pub(crate) route: Route,
    /// What became of the flows that it had.
    mark: Cell<Option<Mark>>,
    datagrams_in: Cell<u64>,
    datagrams_out: Cell<u64>,
    /// A PROXY header stands in front of every datagram.
    pub(crate) proxy: Cell<bool>,
    /// Segments are split here, since the path does not take them whole.
    pub(crate) splits: Cell<bool>,
    /// The longest datagram, with its PROXY header, that is sent together with others.
    pub(crate) joins: Cell<usize>,
    mtu: Cell<Option<(usize, Instant)>>,
}

/// A verdict, as the flows of its path meet it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Reset {
        decided: Instant,
        silent_since: Instant,
    },
    Drain {
        decided: Instant,
        until: Instant,
    },
}

impl Mark {
    fn ends(self, since: Instant, heard: Option<Instant>, now: Instant) -> Option<EndCause> {
        match self {
            Mark::Reset {
                decided,
                silent_since,
            } => (since < decided && heard.is_none_or(|heard| heard <= silent_since))
                .then_some(EndCause::StrandedReset),
            Mark::Drain { decided, until } => {
                (since < decided && until <= now).then_some(EndCause::DrainTimeout)
            }
        }
    }
}

impl Path {
    pub(crate) fn new(listener: &ListenerSnapshot, candidate: &Candidate, door: &Rc<Door>) -> Self {
        Self {
            route: Route::new(listener, candidate, door),
            mark: Cell::new(None),
            datagrams_in: Cell::new(0),
            datagrams_out: Cell::new(0),
            proxy: Cell::new(false),
            splits: Cell::new(false),
            joins: Cell::new(train::LONGEST),
            mtu: Cell::new(None),
        }
    }

    /// Carries a verdict out.
    pub(crate) fn pass(&self, fate: Fate, decided: Instant) {
        self.mark.set(match fate {
            Fate::Keep | Fate::Drain { until: None } => None,
            Fate::Drain { until: Some(until) } => Some(Mark::Drain { decided, until }),
            // Nothing is sent to a client to tell it, so there is no storm of clients to pace.
            Fate::Reset {
                silent_since,
                over: _,
                rate: _,
            } => Some(Mark::Reset {
                decided,
                silent_since,
            }),
        });
    }

    /// Why a flow that came to this path at `since`, and last heard of the endpoint at `heard`, must leave it; `None` lets it stay.
    pub(crate) fn must_leave(
        &self,
        since: Instant,
        heard: Option<Instant>,
        now: Instant,
    ) -> Option<EndCause> {
        self.mark.get()?.ends(since, heard, now)
    }

    /// Notes what passed; true when nothing was noted since the last [`Path::settle`].
    pub(crate) fn note(&self, inbound: (u64, u64), outbound: (u64, u64)) -> bool {
        let fresh = self.datagrams_in.get() == 0 && self.datagrams_out.get() == 0;
        self.datagrams_in.set(self.datagrams_in.get() + inbound.0);
        self.datagrams_out
            .set(self.datagrams_out.get() + outbound.0);
        self.route.note(inbound.1, outbound.1);
        fresh
    }

    /// Moves what was noted to the shared counters.
    pub(crate) fn settle(&self) {
        let stats = &self.route.door.stats;
        stats
            .datagrams_in
            .fetch_add(self.datagrams_in.take(), Relaxed);
        stats
            .datagrams_out
            .fetch_add(self.datagrams_out.take(), Relaxed);
        self.route.settle();
    }

    /// The path's MTU; `ask` reads it of a socket when it is not known well enough.
    pub(crate) fn mtu(&self, now: Instant, ask: impl FnOnce() -> usize) -> usize {
        match self.mtu.get() {
            Some((mtu, until)) if now < until => mtu,
            Some(_) | None => {
                let mtu = ask();
                self.mtu.set(Some((mtu, now + MTU_LIFE)));
                mtu
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_a_marked_path() {
        let at = Instant::now();
        let s = Duration::from_secs(1);
        let reset = Mark::Reset {
            decided: at + s * 10,
            silent_since: at + s * 8,
        };
        let drain = Mark::Drain {
            decided: at + s * 10,
            until: at + s * 20,
        };
        let stranded = Some(EndCause::StrandedReset);
        // mark, came, heard, now, leaves
        let table = [
            (reset, 0, None, 11, stranded),
            (reset, 0, Some(7), 11, stranded),
            (reset, 0, Some(9), 11, None),
            (reset, 10, None, 11, None),
            (drain, 0, Some(9), 19, None),
            (drain, 0, Some(19), 20, Some(EndCause::DrainTimeout)),
            (drain, 10, None, 20, None),
        ];
        for (mark, came, heard, now, leaves) in table {
            let heard = heard.map(|heard: u32| at + s * heard);
            let found = mark.ends(at + s * came, heard, at + s * now);
            assert_eq!(found, leaves, "{mark:?} {came} {heard:?} {now}");
        }
    }
}
