//! What the API asks of the rest of the edge: the configuration in force, and how endpoints fare. [`ControlHandle`] answers in
//! the process, a fake in tests.

use std::collections::HashMap;
use std::sync::Arc;

use portolan_config::model::{Config, Protocol, Source};
use portolan_config::units::{AcceleratorName, EndpointId, PortSet};

use crate::ControlHandle;
use crate::handle::EndpointHealth;

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

    /// The endpoints of a group; empty when it is not served.
    fn health(&self, place: &Place) -> HashMap<EndpointId, EndpointHealth>;
}

impl Edge for ControlHandle {
    fn config(&self) -> Arc<Config> {
        ControlHandle::config(self)
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
}
