//! What the API asks of the rest of the edge: the configuration in force, how endpoints fare, what AWS says that they are, and what is
//! announced. [`ControlHandle`] answers in the process, a fake in tests.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;

use portolan_config::model::{Config, Protocol, Source};
use portolan_config::units::{AcceleratorName, EndpointId, PortSet};

use crate::ControlHandle;
use crate::advertised::Ranges;
use crate::aws::{Answers, Named};
use crate::handle::EndpointHealth;
use crate::pool::Ledger;

/// Where endpoints are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Who made the accelerator.
    pub(crate) source: Source,
    /// The name that the accelerator is served under.
    pub(crate) accelerator: AcceleratorName,
    pub(crate) protocol: Protocol,
    pub(crate) ports: PortSet,
    pub(crate) region: String,
}

/// The rest of the edge.
pub(crate) trait Edge: Send + Sync {
    /// What is in force, whoever asked for it.
    fn config(&self) -> Arc<Config>;

    /// Who has which addresses of the pool, published or not.
    fn ledger(&self) -> &Ledger;

    /// The endpoints of a group; empty when it is not served.
    fn health(&self, place: &Place) -> HashMap<EndpointId, EndpointHealth>;

    /// What AWS says that these are; nothing without `[aws]`.
    fn look_up(&self, wanted: BTreeSet<Named>) -> Asking<'_>;

    /// These ranges are to be announced, and no others.
    fn advertise(&self, ranges: Ranges);

    /// These ranges were brought along: their addresses are announced as [`Edge::advertise`] says, and not each by itself.
    fn bring_along(&self, _ranges: Ranges) {}

    /// The ranges that are announced; `None` where nobody announces.
    fn announced(&self) -> Option<Arc<Ranges>>;

    /// Whether listeners may have more ports than are worth a socket each.
    fn steers_ports(&self) -> bool {
        true
    }
}

/// An answer on its way.
pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Answers> + Send + 'a>>;

impl Edge for ControlHandle {
    fn config(&self) -> Arc<Config> {
        ControlHandle::config(self)
    }

    fn ledger(&self) -> &Ledger {
        ControlHandle::ledger(self)
    }

    fn health(&self, place: &Place) -> HashMap<EndpointId, EndpointHealth> {
        let Place {
            source,
            accelerator,
            protocol,
            ports,
            region,
        } = place;
        self.endpoint_health((*source, accelerator), (*protocol, ports), region)
    }

    fn look_up(&self, wanted: BTreeSet<Named>) -> Asking<'_> {
        Box::pin(async move {
            match &self.config().aws {
                Some(aws) => self.aws().lookup().ask(aws, wanted).await,
                None => Answers::new(),
            }
        })
    }

    fn advertise(&self, ranges: Ranges) {
        self.ranges().decide(ranges);
    }

    fn bring_along(&self, ranges: Ranges) {
        self.ranges().bring_along(ranges);
    }

    fn announced(&self) -> Option<Arc<Ranges>> {
        self.ranges().announced()
    }

    fn steers_ports(&self) -> bool {
        self.data_plane().steers_ports()
    }
}
