//! What other sources than the file ask of the controller, and what they see of their endpoints.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use portolan_config::health::HealthState;
use portolan_config::model::{Accelerator, Protocol, Source};
use portolan_config::units::{AcceleratorName, EndpointId, PortSet};

use super::{Command, ControlHandle, DrainError};
use crate::advertised::Advertised;
use crate::aws::{AwsView, Door, NoSync};
use crate::event::EventKind;
use crate::health_view;
use crate::pool::Ledger;
use crate::sources::{Fill, beside};

/// How an endpoint fares, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Its health.
    pub state: HealthState,
    /// Why it is not up.
    pub reason: Option<String>,
}

impl ControlHandle {
    /// Endpoints that AWS adds to others' accelerators, and fixed addresses of names that have not resolved.
    pub(crate) async fn set_fills(&self, fills: Vec<Fill>, hints: Vec<(Arc<str>, Vec<IpAddr>)>) {
        let command = |reply| Command::Fills(fills, hints, reply);
        // A controller that has ended serves nothing any more.
        let _ = self.ask(command, DrainError::Ended).await;
    }

    /// The sync from AWS, as others see it.
    pub fn aws_view(&self) -> Option<AwsView> {
        self.shared.aws.view()
    }

    /// Asks for a reading of AWS now; the ticket that it is fulfilled by.
    pub fn aws_sync(&self, accept_shrink: bool) -> Result<u64, NoSync> {
        self.shared.aws.ask(accept_shrink)
    }

    /// The publication in DNS, as others see it.
    pub(crate) fn dns_door(&self) -> &crate::publish::Door {
        &self.shared.dns
    }

    pub(crate) fn aws(&self) -> &Door {
        &self.shared.aws
    }

    pub(crate) fn ranges(&self) -> &Advertised {
        &self.shared.advertised
    }

    /// Who has which addresses of the pool.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.shared.pool
    }

    /// Tells whoever listens to events.
    pub(crate) fn tell(&self, what: EventKind) {
        self.shared.tell(what);
    }

    /// Puts a source's accelerators in the place of those that it asked for before, and returns when the data path serves
    /// them: the generation of the snapshot. `None` when the controller has ended.
    pub async fn set_accelerators(
        &self,
        source: Source,
        accelerators: Vec<Accelerator>,
    ) -> Option<u64> {
        let command = |reply| Command::Accelerators(source, accelerators, reply);
        self.ask(command, DrainError::Ended).await.ok()
    }

    /// The endpoints of a group of a source's accelerator; empty when it is not served.
    pub fn endpoint_health(
        &self,
        (source, accelerator): (Source, &AcceleratorName),
        (protocol, ports): (Protocol, &PortSet),
        region: &str,
    ) -> HashMap<EndpointId, EndpointHealth> {
        let published = self.shared.published.load();
        let (layout, health) = (&published.layout, &published.health);
        let of_source = |index: usize| {
            published
                .config
                .accelerators
                .get(index)
                .is_some_and(|a| a.source == source)
        };
        let renamed = beside(accelerator, source);
        let listener = layout.listeners.iter().find(|listener| {
            (listener.accelerator == *accelerator || listener.accelerator == renamed)
                && listener.protocol == protocol
                && listener.ports == *ports
                && of_source(listener.accelerator_index)
        });
        let group = listener.and_then(|listener| {
            listener
                .groups
                .iter()
                .find(|group| group.region.as_str() == region)
        });
        let endpoints = group.map_or(&[][..], |group| &group.endpoints);
        let of = |endpoint| EndpointHealth {
            state: health_view::of_endpoint(endpoint, health),
            reason: health_view::reason(endpoint, health, &layout.targets),
        };
        endpoints
            .iter()
            .map(|endpoint| (endpoint.id.clone(), of(endpoint)))
            .collect()
    }
}
