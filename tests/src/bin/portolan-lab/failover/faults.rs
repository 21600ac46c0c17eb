//! What is done to the regions, and what has to be held against it.

use std::time::Instant;

use portolan_tests::lab::unreachable;

use super::contestants::Check;
use super::place::{Ground, Place};

/// A fault of endpoints or of the way to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Silent,
    SilentIdle,
    Unreachable,
    Hung,
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] = [
        Fault::Killed,
        Fault::Silent,
        Fault::SilentIdle,
        Fault::Unreachable,
        Fault::Hung,
    ];

    /// As on the command line and in the files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Fault::Killed => "killed",
            Fault::Silent => "silent",
            Fault::SilentIdle => "silent-idle",
            Fault::Unreachable => "unreachable",
            Fault::Hung => "hung",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Fault::Killed => "endpoint process killed (one of two)",
            Fault::Silent => "region silent, live traffic",
            Fault::SilentIdle => "region silent, idle, probes every 100 ms",
            Fault::Unreachable => "region answers ICMP unreachable",
            Fault::Hung => "application hung, HTTP probe every 500 ms",
        }
    }

    /// Milliseconds for a median and for the worst, at this round trip.
    pub(crate) fn goal(self, rtt: f64) -> (f64, f64) {
        match self {
            Fault::Killed => (rtt + 10.0, rtt + 10.0),
            Fault::Silent => (3.0 * rtt + 50.0, 300.0),
            Fault::SilentIdle => (400.0, 400.0),
            Fault::Unreachable => (rtt + 20.0, rtt + 20.0),
            Fault::Hung => (1200.0, 1200.0),
        }
    }

    pub(crate) fn check(self) -> Check {
        match self {
            Fault::Killed | Fault::Silent | Fault::Unreachable => Check::Usual,
            Fault::SilentIdle => Check::Dense,
            Fault::Hung => Check::Http,
        }
    }

    pub(crate) fn has_traffic(self) -> bool {
        self != Fault::SilentIdle
    }

    /// Endpoints of each place that it strikes, by index from 1.
    pub(crate) fn strikes(self) -> &'static [u8] {
        match self {
            Fault::Killed => &[1],
            Fault::Silent | Fault::SilentIdle | Fault::Unreachable | Fault::Hung => &[1, 2],
        }
    }

    /// What must be in place before, and takes longer than the fault itself.
    pub(crate) async fn prepare(self, ground: &Ground) {
        if self == Fault::Unreachable {
            for place in Place::all() {
                unreachable::prepare(ground.lab.node(place.name())).await;
            }
        }
    }

    /// Does it; gives when it was in effect, by place.
    pub(crate) async fn strike(self, ground: &Ground) -> Vec<Instant> {
        let mut struck = Vec::new();
        for place in Place::all() {
            let endpoints = &ground.endpoints[place.index];
            match self {
                Fault::Killed => endpoints[0].signal("KILL"),
                Fault::Silent | Fault::SilentIdle => {
                    ground.lab.link("pop", place.name()).set("blackhole=1");
                }
                Fault::Unreachable => {
                    let dead = [1, 2].map(|index| place.endpoint(index));
                    unreachable::strike(ground.lab.node(place.name()), &dead).await;
                }
                Fault::Hung => {
                    endpoints[0].signal("STOP");
                    endpoints[1].signal("STOP");
                }
            }
            struck.push(Instant::now());
        }
        struck
    }
}
