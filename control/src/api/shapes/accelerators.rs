//! Shapes of the public model: accelerators and their attributes.

use serde::{Deserialize, Serialize};

use super::tags::Tag;
use crate::api::time::Timestamp;

/// A standard accelerator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Accelerator {
    pub(crate) accelerator_arn: String,
    pub(crate) name: String,
    pub(crate) ip_address_type: IpAddressType,
    pub(crate) enabled: bool,
    pub(crate) ip_sets: Vec<IpSet>,
    pub(crate) dns_name: String,
    pub(crate) status: AcceleratorStatus,
    pub(crate) created_time: Timestamp,
    pub(crate) last_modified_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dual_stack_dns_name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) events: Vec<AcceleratorEvent>,
}

/// Where its flow logs go; the same for both kinds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AcceleratorAttributes {
    pub(crate) flow_logs_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_s3_bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_s3_prefix: Option<String>,
}

/// Something that happened to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AcceleratorEvent {
    pub(crate) message: String,
    pub(crate) timestamp: Timestamp,
}

/// Its addresses of one family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct IpSet {
    pub(crate) ip_family: String,
    pub(crate) ip_addresses: Vec<String>,
    pub(crate) ip_address_family: IpAddressFamily,
    pub(crate) ip_address_details: Vec<IpAddressDetail>,
}

/// The families it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum IpAddressType {
    #[serde(rename = "IPV4")]
    Ipv4,
    #[serde(rename = "DUAL_STACK")]
    DualStack,
}

/// Whether the newest change is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum AcceleratorStatus {
    #[serde(rename = "DEPLOYED")]
    Deployed,
    #[serde(rename = "IN_PROGRESS")]
    InProgress,
}

/// A family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum IpAddressFamily {
    #[serde(rename = "IPv4")]
    Ipv4,
    #[serde(rename = "IPv6")]
    Ipv6,
}

/// An address and the zone that announces it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct IpAddressDetail {
    pub(crate) ip_address: String,
    pub(crate) network_zone: String,
}

/// What `CreateAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateAcceleratorRequest {
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

/// What `CreateAccelerator` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateAcceleratorResponse {
    pub(crate) accelerator: Accelerator,
}

/// What `DeleteAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteAcceleratorRequest {
    pub(crate) accelerator_arn: String,
}

/// What `DescribeAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAcceleratorRequest {
    pub(crate) accelerator_arn: String,
}

/// What `DescribeAccelerator` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAcceleratorResponse {
    pub(crate) accelerator: Accelerator,
}

/// What `DescribeAcceleratorAttributes` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAcceleratorAttributesRequest {
    pub(crate) accelerator_arn: String,
}

/// What `DescribeAcceleratorAttributes` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeAcceleratorAttributesResponse {
    pub(crate) accelerator_attributes: AcceleratorAttributes,
}

/// What `ListAccelerators` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListAcceleratorsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListAccelerators` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListAcceleratorsResponse {
    pub(crate) accelerators: Vec<Accelerator>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `UpdateAccelerator` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateAcceleratorRequest {
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

/// What `UpdateAccelerator` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateAcceleratorResponse {
    pub(crate) accelerator: Accelerator,
}

/// What `UpdateAcceleratorAttributes` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateAcceleratorAttributesRequest {
    pub(crate) accelerator_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_s3_bucket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flow_logs_s3_prefix: Option<String>,
}

/// What `UpdateAcceleratorAttributes` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateAcceleratorAttributesResponse {
    pub(crate) accelerator_attributes: AcceleratorAttributes,
}
