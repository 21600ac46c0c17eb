//! Shapes of the public model: cross-account attachments.

use serde::{Deserialize, Serialize};

use super::tags::Tag;
use crate::api::time::Timestamp;

/// `Attachment` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Attachment {
    pub(crate) attachment_arn: String,
    pub(crate) name: String,
    pub(crate) principals: Vec<String>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) last_modified_time: Timestamp,
    pub(crate) created_time: Timestamp,
}

/// `Resource` of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Resource {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
}

/// `CrossAccountResource` of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CrossAccountResource {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cidr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attachment_arn: Option<String>,
}

/// What `CreateCrossAccountAttachment` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCrossAccountAttachmentRequest {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) principals: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<Vec<Resource>>,
    pub(crate) idempotency_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<Vec<Tag>>,
}

/// What `CreateCrossAccountAttachment` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct CreateCrossAccountAttachmentResponse {
    pub(crate) cross_account_attachment: Attachment,
}

/// What `DeleteCrossAccountAttachment` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DeleteCrossAccountAttachmentRequest {
    pub(crate) attachment_arn: String,
}

/// What `DescribeCrossAccountAttachment` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCrossAccountAttachmentRequest {
    pub(crate) attachment_arn: String,
}

/// What `DescribeCrossAccountAttachment` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct DescribeCrossAccountAttachmentResponse {
    pub(crate) cross_account_attachment: Attachment,
}

/// What `ListCrossAccountAttachments` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCrossAccountAttachmentsRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCrossAccountAttachments` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCrossAccountAttachmentsResponse {
    pub(crate) cross_account_attachments: Vec<Attachment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCrossAccountResourceAccounts` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCrossAccountResourceAccountsRequest {}

/// What `ListCrossAccountResourceAccounts` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCrossAccountResourceAccountsResponse {
    pub(crate) resource_owner_aws_account_ids: Vec<String>,
}

/// What `ListCrossAccountResources` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCrossAccountResourcesRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) accelerator_arn: Option<String>,
    pub(crate) resource_owner_aws_account_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_results: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `ListCrossAccountResources` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListCrossAccountResourcesResponse {
    pub(crate) cross_account_resources: Vec<CrossAccountResource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_token: Option<String>,
}

/// What `UpdateCrossAccountAttachment` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCrossAccountAttachmentRequest {
    pub(crate) attachment_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add_principals: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remove_principals: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) add_resources: Option<Vec<Resource>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remove_resources: Option<Vec<Resource>>,
}

/// What `UpdateCrossAccountAttachment` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UpdateCrossAccountAttachmentResponse {
    pub(crate) cross_account_attachment: Attachment,
}
