//! Ranges that were brought along, between the API, which decides which are advertised, and the announcer of this edge, which makes it so
//! and says what it announces. There is one of it in every process; without an announcer what is decided counts as done.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ipnet::Ipv4Net;
use tokio::sync::watch;

use crate::ControlHandle;

/// Ranges.
pub type Ranges = BTreeSet<Ipv4Net>;

/// What is decided, and what is so.
#[derive(Default)]
pub(crate) struct Advertised {
    decided: watch::Sender<Ranges>,
    announced: ArcSwapOption<Ranges>,
    brought_along: ArcSwapOption<Ranges>,
}

impl Advertised {
    /// These are to be announced, and no others.
    pub(crate) fn decide(&self, ranges: Ranges) {
        self.decided.send_if_modified(|decided| {
            let differs = *decided != ranges;
            *decided = ranges;
            differs
        });
    }

    /// Addresses in these ranges are announced with their range alone.
    pub(crate) fn bring_along(&self, ranges: Ranges) {
        self.brought_along.store(Some(Arc::new(ranges)));
    }

    /// Whether an address is in a range that was brought along.
    pub(crate) fn is_brought_along(&self, address: Ipv4Addr) -> bool {
        let ranges = self.brought_along.load();
        ranges
            .as_ref()
            .is_some_and(|ranges| ranges.iter().any(|range| range.contains(&address)))
    }

    /// What is announced; `None` where nobody announces.
    pub(crate) fn announced(&self) -> Option<Arc<Ranges>> {
        self.announced.load_full()
    }
}

impl ControlHandle {
    /// The ranges that are to be announced: at once, and again whenever they change.
    pub fn advertised(&self) -> watch::Receiver<Ranges> {
        self.ranges().decided.subscribe()
    }

    /// The announcer's word on what it announces now. Until a range is in it the API shows it as pending. `None` is that nobody
    /// announces any more.
    pub fn announces(&self, ranges: Option<Ranges>) {
        self.ranges().announced.store(ranges.map(Arc::new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcer_is_told_what_changed_and_only_then() {
        let advertised = Advertised::default();
        let mut told = advertised.decided.subscribe();
        let net: Ipv4Net = "203.0.113.0/24".parse().expect("a prefix");
        told.mark_unchanged();
        advertised.decide(Ranges::from([net]));
        assert!(told.has_changed().expect("it is there"));
        assert_eq!(*told.borrow_and_update(), Ranges::from([net]));
        advertised.decide(Ranges::from([net]));
        assert!(!told.has_changed().expect("it is there"));
        assert_eq!(advertised.announced(), None, "nobody announces");
    }
}
