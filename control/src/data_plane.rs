//! What control may ask of the data path. The binary hands one in; control depends on no data-path code.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use portolan_config::explain::Explanation;
use portolan_config::model::Protocol;
use portolan_config::snapshot::Snapshot;
use portolan_config::stats::EdgeStats;
use portolan_config::units::AcceleratorName;

/// The data path, seen from control. No call blocks for longer than a few milliseconds, and none is made per flow.
pub trait DataPlane: Send + Sync {
    /// Swaps the snapshot in, opens and closes listening sockets accordingly, and wakes the workers.
    fn publish(&self, snapshot: Arc<Snapshot>);

    /// What is listening, and what could not.
    fn bindings(&self) -> Vec<Binding>;

    /// Its counters.
    fn stats(&self) -> Arc<EdgeStats>;

    /// Which endpoint a new flow would get; `None` when no listener takes it.
    fn explain(
        &self,
        client: IpAddr,
        client_port: Option<u16>,
        to: SocketAddr,
        protocol: Protocol,
    ) -> Option<Explanation>;

    /// How flows are relayed (`copy`), for the `relay_mode` metric.
    fn relay_mode(&self) -> &'static str;

    /// The most flows that can be had at once.
    fn max_flows(&self) -> usize;

    /// Whether listeners may have more ports than are worth a socket each.
    fn steers_ports(&self) -> bool {
        true
    }
}

/// One address and port of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Whose.
    pub accelerator: AcceleratorName,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where; the unspecified address for a wildcard.
    pub address: SocketAddr,
    /// Why it does not listen; `None` when it does.
    pub error: Option<String>,
}
