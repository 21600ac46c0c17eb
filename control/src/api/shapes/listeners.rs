//! Shapes of the public model: listeners.

use serde::{Deserialize, Serialize};

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) listener_arn: String,
    pub(crate) port_ranges: Vec<PortRange>,
    pub(crate) protocol: Protocol,
    pub(crate) client_affinity: ClientAffinity,
}

/// Ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PortRange {
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
}

/// What ties a client to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ClientAffinity {
    #[serde(rename = "NONE")]
    None,
    #[serde(rename = "SOURCE_IP")]
    SourceIp,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Protocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
}

/// What `CreateListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateListenerRequest {
    pub(crate) accelerator_arn: String,
    pub(crate) port_ranges: Vec<PortRange>,
    pub(crate) protocol: Protocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_affinity: Option<ClientAffinity>,
    pub(crate) idempotency_token: String,
}

/// What `CreateListener` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateListenerResponse {
    pub(crate) listener: Listener,
}

/// What `DeleteListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteListenerRequest {
    pub(crate) listener_arn: String,
}

/// What `DescribeListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeListenerRequest {
    pub(crate) listener_arn: String,
}

/// What `DescribeListener` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeListenerResponse {
    pub(crate) listener: Listener,
}

/// What `ListListeners` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListListenersRequest {
    pub(crate) accelerator_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListListeners` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListListenersResponse {
    pub(crate) listeners: Vec<Listener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `UpdateListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateListenerRequest {
    pub(crate) listener_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port_ranges: Option<Vec<PortRange>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_affinity: Option<ClientAffinity>,
}

/// What `UpdateListener` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateListenerResponse {
    pub(crate) listener: Listener,
}
