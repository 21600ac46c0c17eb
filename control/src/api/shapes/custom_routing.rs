//! Shapes of the public model: custom routing accelerators, and all below them.

use serde::{Deserialize, Serialize};

use super::accelerators::{AcceleratorAttributes, AcceleratorStatus, IpAddressType, IpSet};
use super::listeners::{PortRange, Protocol};
use super::tags::Tag;
use crate::api::time::Timestamp;

/// `PortMapping` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct PortMapping {
    pub(crate) accelerator_port: u16,
    pub(crate) endpoint_group_arn: String,
    pub(crate) endpoint_id: String,
    pub(crate) destination_socket_address: SocketAddress,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) destination_traffic_state: CustomRoutingDestinationTrafficState,
}

/// `DestinationPortMapping` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DestinationPortMapping {
    pub(crate) accelerator_arn: String,
    pub(crate) accelerator_socket_addresses: Vec<SocketAddress>,
    pub(crate) endpoint_group_arn: String,
    pub(crate) endpoint_id: String,
    pub(crate) endpoint_group_region: String,
    pub(crate) destination_socket_address: SocketAddress,
    pub(crate) ip_address_type: IpAddressType,
    pub(crate) destination_traffic_state: CustomRoutingDestinationTrafficState,
}

/// `SocketAddress` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct SocketAddress {
    pub(crate) ip_address: String,
    pub(crate) port: u16,
}

/// `CustomRoutingAccelerator` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CustomRoutingAccelerator {
    pub(crate) accelerator_arn: String,
    pub(crate) name: String,
    pub(crate) ip_address_type: IpAddressType,
    pub(crate) enabled: bool,
    pub(crate) ip_sets: Vec<IpSet>,
    pub(crate) dns_name: String,
    pub(crate) status: AcceleratorStatus,
    pub(crate) created_time: Timestamp,
    pub(crate) last_modified_time: Timestamp,
}

/// `CustomRoutingDestinationConfiguration` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CustomRoutingDestinationConfiguration {
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) protocols: Vec<Protocol>,
}

/// `CustomRoutingDestinationDescription` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CustomRoutingDestinationDescription {
    pub(crate) from_port: u16,
    pub(crate) to_port: u16,
    pub(crate) protocols: Vec<Protocol>,
}

/// `CustomRoutingEndpointConfiguration` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CustomRoutingEndpointConfiguration {
    pub(crate) endpoint_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attachment_arn: Option<String>,
}

/// `CustomRoutingEndpointDescription` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CustomRoutingEndpointDescription {
    pub(crate) endpoint_id: String,
}

/// `CustomRoutingEndpointGroup` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CustomRoutingEndpointGroup {
    pub(crate) endpoint_group_arn: String,
    pub(crate) endpoint_group_region: String,
    pub(crate) destination_descriptions: Vec<CustomRoutingDestinationDescription>,
    pub(crate) endpoint_descriptions: Vec<CustomRoutingEndpointDescription>,
}

/// `CustomRoutingListener` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CustomRoutingListener {
    pub(crate) listener_arn: String,
    pub(crate) port_ranges: Vec<PortRange>,
}

/// `CustomRoutingDestinationTrafficState` of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum CustomRoutingDestinationTrafficState {
    #[serde(rename = "ALLOW")]
    Allow,
    #[serde(rename = "DENY")]
    Deny,
}

/// What `AddCustomRoutingEndpoints` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AddCustomRoutingEndpointsRequest {
    pub(crate) endpoint_configurations: Vec<CustomRoutingEndpointConfiguration>,
    pub(crate) endpoint_group_arn: String,
}

/// What `AddCustomRoutingEndpoints` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AddCustomRoutingEndpointsResponse {
    pub(crate) endpoint_descriptions: Vec<CustomRoutingEndpointDescription>,
    pub(crate) endpoint_group_arn: String,
}

/// What `AllowCustomRoutingTraffic` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AllowCustomRoutingTrafficRequest {
    pub(crate) endpoint_group_arn: String,
    pub(crate) endpoint_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination_addresses: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination_ports: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allow_all_traffic_to_endpoint: Option<bool>,
}

/// What `CreateCustomRoutingAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCustomRoutingAcceleratorRequest {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_address_type: Option<IpAddressType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_addresses: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    pub(crate) idempotency_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<Tag>>,
}

/// What `CreateCustomRoutingAccelerator` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCustomRoutingAcceleratorResponse {
    pub(crate) accelerator: CustomRoutingAccelerator,
}

/// What `CreateCustomRoutingEndpointGroup` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCustomRoutingEndpointGroupRequest {
    pub(crate) listener_arn: String,
    pub(crate) endpoint_group_region: String,
    pub(crate) destination_configurations: Vec<CustomRoutingDestinationConfiguration>,
    pub(crate) idempotency_token: String,
}

/// What `CreateCustomRoutingEndpointGroup` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCustomRoutingEndpointGroupResponse {
    pub(crate) endpoint_group: CustomRoutingEndpointGroup,
}

/// What `CreateCustomRoutingListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCustomRoutingListenerRequest {
    pub(crate) accelerator_arn: String,
    pub(crate) port_ranges: Vec<PortRange>,
    pub(crate) idempotency_token: String,
}

/// What `CreateCustomRoutingListener` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCustomRoutingListenerResponse {
    pub(crate) listener: CustomRoutingListener,
}

/// What `DeleteCustomRoutingAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteCustomRoutingAcceleratorRequest {
    pub(crate) accelerator_arn: String,
}

/// What `DeleteCustomRoutingEndpointGroup` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteCustomRoutingEndpointGroupRequest {
    pub(crate) endpoint_group_arn: String,
}

/// What `DeleteCustomRoutingListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteCustomRoutingListenerRequest {
    pub(crate) listener_arn: String,
}

/// What `DenyCustomRoutingTraffic` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DenyCustomRoutingTrafficRequest {
    pub(crate) endpoint_group_arn: String,
    pub(crate) endpoint_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination_addresses: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) destination_ports: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deny_all_traffic_to_endpoint: Option<bool>,
}

/// What `DescribeCustomRoutingAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingAcceleratorRequest {
    pub(crate) accelerator_arn: String,
}

/// What `DescribeCustomRoutingAccelerator` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingAcceleratorResponse {
    pub(crate) accelerator: CustomRoutingAccelerator,
}

/// What `DescribeCustomRoutingAcceleratorAttributes` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingAcceleratorAttributesRequest {
    pub(crate) accelerator_arn: String,
}

/// What `DescribeCustomRoutingAcceleratorAttributes` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingAcceleratorAttributesResponse {
    pub(crate) accelerator_attributes: AcceleratorAttributes,
}

/// What `DescribeCustomRoutingEndpointGroup` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingEndpointGroupRequest {
    pub(crate) endpoint_group_arn: String,
}

/// What `DescribeCustomRoutingEndpointGroup` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingEndpointGroupResponse {
    pub(crate) endpoint_group: CustomRoutingEndpointGroup,
}

/// What `DescribeCustomRoutingListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingListenerRequest {
    pub(crate) listener_arn: String,
}

/// What `DescribeCustomRoutingListener` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCustomRoutingListenerResponse {
    pub(crate) listener: CustomRoutingListener,
}

/// What `ListCustomRoutingAccelerators` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingAcceleratorsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingAccelerators` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingAcceleratorsResponse {
    pub(crate) accelerators: Vec<CustomRoutingAccelerator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingEndpointGroups` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingEndpointGroupsRequest {
    pub(crate) listener_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingEndpointGroups` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingEndpointGroupsResponse {
    pub(crate) endpoint_groups: Vec<CustomRoutingEndpointGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingListeners` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingListenersRequest {
    pub(crate) accelerator_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingListeners` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingListenersResponse {
    pub(crate) listeners: Vec<CustomRoutingListener>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingPortMappings` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingPortMappingsRequest {
    pub(crate) accelerator_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint_group_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingPortMappings` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingPortMappingsResponse {
    pub(crate) port_mappings: Vec<PortMapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingPortMappingsByDestination` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingPortMappingsByDestinationRequest {
    pub(crate) endpoint_id: String,
    pub(crate) destination_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCustomRoutingPortMappingsByDestination` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCustomRoutingPortMappingsByDestinationResponse {
    pub(crate) destination_port_mappings: Vec<DestinationPortMapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `RemoveCustomRoutingEndpoints` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct RemoveCustomRoutingEndpointsRequest {
    pub(crate) endpoint_ids: Vec<String>,
    pub(crate) endpoint_group_arn: String,
}

/// What `UpdateCustomRoutingAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCustomRoutingAcceleratorRequest {
    pub(crate) accelerator_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_address_type: Option<IpAddressType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ip_addresses: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
}

/// What `UpdateCustomRoutingAccelerator` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCustomRoutingAcceleratorResponse {
    pub(crate) accelerator: CustomRoutingAccelerator,
}

/// What `UpdateCustomRoutingAcceleratorAttributes` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCustomRoutingAcceleratorAttributesRequest {
    pub(crate) accelerator_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_s3_bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_s3_prefix: Option<String>,
}

/// What `UpdateCustomRoutingAcceleratorAttributes` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCustomRoutingAcceleratorAttributesResponse {
    pub(crate) accelerator_attributes: AcceleratorAttributes,
}

/// What `UpdateCustomRoutingListener` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCustomRoutingListenerRequest {
    pub(crate) listener_arn: String,
    pub(crate) port_ranges: Vec<PortRange>,
}

/// What `UpdateCustomRoutingListener` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCustomRoutingListenerResponse {
    pub(crate) listener: CustomRoutingListener,
}
