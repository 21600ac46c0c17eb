//! The state view: what this edge serves, how its endpoints fare and what is wrong, in the shape of `GET /api/v1/state`.
//! Made by the controller, served by the admin API, read by `status`. The names of the fields are a contract.

pub(crate) mod build;

use serde::{Deserialize, Serialize};

use crate::aws::AwsView;
use crate::publish::DnsView;
use crate::publish::announce::AnnounceView;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateView {
    /// This PoP's name.
    pub pop: String,
    /// The generation of the published snapshot.
    pub generation: u64,
    /// The configuration in force.
    pub config: ConfigView,
    /// Whether new flows should come here at all, and why not.
    pub ready: bool,
    /// Why it is not ready.
    pub not_ready: Vec<String>,
    /// The whole PoP drains.
    pub pop_draining: bool,
    /// What an operator should know, each a sentence.
    pub warnings: Vec<String>,
    /// Drains in force.
    pub drains: Vec<DrainView>,
    /// How bytes pass: `copy`, or `io_uring` where that may receive them; with `,splice` where bulk is spliced.
    #[serde(default)]
    pub relay_mode: String,
    /// The sync from AWS; `null` where nothing is imported.
    #[serde(default)]
    pub aws: Option<AwsView>,
    /// The publication in Route 53; `null` without `[dns]`, and until the zone was asked for.
    #[serde(default)]
    pub dns: Option<DnsView>,
    /// The announcements to routers; `null` without `[announce]`.
    #[serde(default)]
    pub announce: Option<AnnounceView>,
    /// What is served, in the order of the file.
    pub accelerators: Vec<AcceleratorView>,
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigView {
    /// Counts up with every configuration that was taken into force; 1 is the first.
    pub generation: u64,
    /// When it was, RFC 3339.
    pub loaded_at: String,
    /// Why a newer one was refused; `null` when the newest is in force.
    pub error: Option<String>,
    /// The file; `null` when there is none.
    pub source: Option<String>,
}

/// An accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcceleratorView {
    /// Its name.
    pub name: String,
    /// Whether it takes new flows.
    pub enabled: bool,
    /// `file`, `api` or `aws`.
    pub source: String,
    /// Where it listens; the unspecified addresses for a wildcard.
    pub addresses: Vec<StaticAddressView>,
    /// Its listeners.
    pub listeners: Vec<ListenerView>,
}

/// One static address of an accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaticAddressView {
    /// The address.
    pub address: String,
    /// Whether every port of every listener on it could be bound.
    pub assigned: bool,
    /// Why not.
    pub error: Option<String>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerView {
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// Its ports, as the file spells them: `80` or `"8000-8100"`.
    pub ports: Vec<PortsView>,
    /// `NONE` or `SOURCE_IP`.
    pub client_affinity: String,
    /// Flows now.
    pub active_flows: u64,
    /// Its groups, in the order of the file.
    pub endpoint_groups: Vec<EndpointGroupView>,
}

/// A port or a range of ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PortsView {
    /// One port.
    Port(u16),
    /// `"FIRST-LAST"`.
    Range(String),
}

/// An endpoint group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointGroupView {
    /// Its region.
    pub region: String,
    /// 0 to 100.
    pub traffic_dial: f64,
    /// Distance from this PoP; `null` while unknown.
    pub distance_ms: Option<f64>,
    /// Its place in the listener's order, 0 is the nearest.
    pub order: usize,
    /// `NONE`, `TCP`, `HTTP` or `HTTPS`.
    pub health_check: String,
    /// `edge` or `transparent`: the address that endpoints see, as asked for.
    #[serde(default)]
    pub client_address: String,
    /// Toward how many endpoint addresses that is not in force, and why; `null` where all is as asked for.
    #[serde(default)]
    pub client_address_reason: Option<String>,
    /// Its endpoints, in the order of the file.
    pub endpoints: Vec<EndpointView>,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointView {
    /// Its id.
    pub id: String,
    /// As the file names it, `HOST` or `HOST:PORT`; empty where it cannot be reached.
    pub address: String,
    /// The addresses it is reached by now.
    pub addresses: Vec<EndpointAddressView>,
    /// 0 to 255.
    pub weight: u8,
    /// `UP`, `DOWN` or `UNKNOWN`.
    pub health: String,
    /// AWS has it and this PoP cannot reach it: it is shown, and nothing is sent there.
    #[serde(default)]
    pub unreachable: bool,
    /// Why it is not up; `null` when it is.
    pub health_reason: Option<String>,
    /// Since when, RFC 3339; `null` while nothing is known.
    pub health_since: Option<String>,
    /// The operator drains it.
    pub draining: bool,
    /// Smoothed round trip of its nearest address; `null` while unknown.
    pub latency_ms: Option<f64>,
    /// Flows now.
    pub active_flows: u64,
    /// Flows ever.
    pub total_flows: u64,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
}

/// One address of an endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointAddressView {
    /// The address, without a port.
    pub address: String,
    /// `UP`, `DOWN` or `UNKNOWN`.
    pub health: String,
    /// Smoothed round trip; `null` while unknown.
    pub latency_ms: Option<f64>,
}

/// A drain in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// The endpoint.
    pub endpoint: String,
    /// In this region alone; `null` is in every group that holds it.
    pub region: Option<String>,
    /// When it began, RFC 3339.
    pub since: String,
    /// When it ends by itself, RFC 3339; `null` is never.
    pub until: Option<String>,
}
