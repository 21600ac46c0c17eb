//! Shapes of the public model: endpoint groups and endpoints.

use serde::{Deserialize, Serialize};

/// An endpoint group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct EndpointGroup {
    pub(crate) endpoint_group_arn: String,
    pub(crate) endpoint_group_region: String,
    pub(crate) endpoint_descriptions: Vec<EndpointDescription>,
    pub(crate) traffic_dial_percentage: f64,
    pub(crate) health_check_port: u16,
    pub(crate) health_check_protocol: HealthCheckProtocol,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_path: Option<String>,
    pub(crate) health_check_interval_seconds: u16,
    pub(crate) threshold_count: u8,
    pub(crate) port_overrides: Vec<PortOverride>,
}

/// An endpoint as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct EndpointDescription {
    pub(crate) endpoint_id: String,
    pub(crate) weight: u8,
    pub(crate) health_state: HealthState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_reason: Option<String>,
    #[serde(rename = "ClientIPPreservationEnabled")]
    pub(crate) client_ip_preservation_enabled: bool,
}

/// An endpoint as it is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct EndpointConfiguration {
    pub(crate) endpoint_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<u8>,
    #[serde(
        rename = "ClientIPPreservationEnabled",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) client_ip_preservation_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attachment_arn: Option<String>,
}

/// Which endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct EndpointIdentifier {
    pub(crate) endpoint_id: String,
    #[serde(
        rename = "ClientIPPreservationEnabled",
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) client_ip_preservation_enabled: Option<bool>,
}

/// A port that differs at the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PortOverride {
    pub(crate) listener_port: u16,
    pub(crate) endpoint_port: u16,
}

/// The health of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum HealthState {
    #[serde(rename = "INITIAL")]
    Initial,
    #[serde(rename = "HEALTHY")]
    Healthy,
    #[serde(rename = "UNHEALTHY")]
    Unhealthy,
}

/// What a check asks over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum HealthCheckProtocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "HTTPS")]
    Https,
}

/// What `AddEndpoints` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AddEndpointsRequest {
    pub(crate) endpoint_configurations: Vec<EndpointConfiguration>,
    pub(crate) endpoint_group_arn: String,
}

/// What `AddEndpoints` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AddEndpointsResponse {
    pub(crate) endpoint_descriptions: Vec<EndpointDescription>,
    pub(crate) endpoint_group_arn: String,
}

/// What `CreateEndpointGroup` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateEndpointGroupRequest {
    pub(crate) listener_arn: String,
    pub(crate) endpoint_group_region: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint_configurations: Option<Vec<EndpointConfiguration>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traffic_dial_percentage: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_protocol: Option<HealthCheckProtocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_interval_seconds: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threshold_count: Option<u8>,
    pub(crate) idempotency_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port_overrides: Option<Vec<PortOverride>>,
}

/// What `CreateEndpointGroup` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateEndpointGroupResponse {
    pub(crate) endpoint_group: EndpointGroup,
}

/// What `DeleteEndpointGroup` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteEndpointGroupRequest {
    pub(crate) endpoint_group_arn: String,
}

/// What `DescribeEndpointGroup` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeEndpointGroupRequest {
    pub(crate) endpoint_group_arn: String,
}

/// What `DescribeEndpointGroup` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeEndpointGroupResponse {
    pub(crate) endpoint_group: EndpointGroup,
}

/// What `ListEndpointGroups` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListEndpointGroupsRequest {
    pub(crate) listener_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListEndpointGroups` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListEndpointGroupsResponse {
    pub(crate) endpoint_groups: Vec<EndpointGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `RemoveEndpoints` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RemoveEndpointsRequest {
    pub(crate) endpoint_identifiers: Vec<EndpointIdentifier>,
    pub(crate) endpoint_group_arn: String,
}

/// What `UpdateEndpointGroup` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateEndpointGroupRequest {
    pub(crate) endpoint_group_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint_configurations: Option<Vec<EndpointConfiguration>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traffic_dial_percentage: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_protocol: Option<HealthCheckProtocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health_check_interval_seconds: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threshold_count: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port_overrides: Option<Vec<PortOverride>>,
}

/// What `UpdateEndpointGroup` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateEndpointGroupResponse {
    pub(crate) endpoint_group: EndpointGroup,
}
