//! Shapes of the public model: tags.

use serde::{Deserialize, Serialize};

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct Tag {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// What `ListTagsForResource` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListTagsForResourceRequest {
    pub(crate) resource_arn: String,
}

/// What `ListTagsForResource` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct ListTagsForResourceResponse {
    pub(crate) tags: Vec<Tag>,
}

/// What `TagResource` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct TagResourceRequest {
    pub(crate) resource_arn: String,
    pub(crate) tags: Vec<Tag>,
}

/// What `TagResource` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct TagResourceResponse {}

/// What `UntagResource` takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UntagResourceRequest {
    pub(crate) resource_arn: String,
    pub(crate) tag_keys: Vec<String>,
}

/// What `UntagResource` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(crate) struct UntagResourceResponse {}
