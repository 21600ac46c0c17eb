//! Shapes of the public model: address ranges that are brought along.

use serde::{Deserialize, Serialize};

use crate::api::time::Timestamp;

/// `ByoipCidr` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ByoipCidr {
    pub(crate) cidr: String,
    pub(crate) state: ByoipCidrState,
    pub(crate) events: Vec<ByoipCidrEvent>,
}

/// `ByoipCidrEvent` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ByoipCidrEvent {
    pub(crate) message: String,
    pub(crate) timestamp: Timestamp,
}

/// `ByoipCidrState` of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum ByoipCidrState {
    #[serde(rename = "PENDING_PROVISIONING")]
    PendingProvisioning,
    #[serde(rename = "READY")]
    Ready,
    #[serde(rename = "PENDING_ADVERTISING")]
    PendingAdvertising,
    #[serde(rename = "ADVERTISING")]
    Advertising,
    #[serde(rename = "PENDING_WITHDRAWING")]
    PendingWithdrawing,
    #[serde(rename = "PENDING_DEPROVISIONING")]
    PendingDeprovisioning,
    #[serde(rename = "DEPROVISIONED")]
    Deprovisioned,
    #[serde(rename = "FAILED_PROVISION")]
    FailedProvision,
    #[serde(rename = "FAILED_ADVERTISING")]
    FailedAdvertising,
    #[serde(rename = "FAILED_WITHDRAW")]
    FailedWithdraw,
    #[serde(rename = "FAILED_DEPROVISION")]
    FailedDeprovision,
}

/// `CidrAuthorizationContext` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CidrAuthorizationContext {
    pub(crate) message: String,
    pub(crate) signature: String,
}

/// What `AdvertiseByoipCidr` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AdvertiseByoipCidrRequest {
    pub(crate) cidr: String,
}

/// What `AdvertiseByoipCidr` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct AdvertiseByoipCidrResponse {
    pub(crate) byoip_cidr: ByoipCidr,
}

/// What `DeprovisionByoipCidr` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeprovisionByoipCidrRequest {
    pub(crate) cidr: String,
}

/// What `DeprovisionByoipCidr` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeprovisionByoipCidrResponse {
    pub(crate) byoip_cidr: ByoipCidr,
}

/// What `ListByoipCidrs` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListByoipCidrsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListByoipCidrs` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListByoipCidrsResponse {
    pub(crate) byoip_cidrs: Vec<ByoipCidr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ProvisionByoipCidr` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ProvisionByoipCidrRequest {
    pub(crate) cidr: String,
    pub(crate) cidr_authorization_context: CidrAuthorizationContext,
}

/// What `ProvisionByoipCidr` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ProvisionByoipCidrResponse {
    pub(crate) byoip_cidr: ByoipCidr,
}

/// What `WithdrawByoipCidr` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct WithdrawByoipCidrRequest {
    pub(crate) cidr: String,
}

/// What `WithdrawByoipCidr` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct WithdrawByoipCidrResponse {
    pub(crate) byoip_cidr: ByoipCidr,
}
