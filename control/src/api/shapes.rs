//! The public model's shapes as types, and the model itself without its prose (`model.json`). A test puts every member of
//! every shape through both.

pub(crate) mod accelerators;
pub(crate) mod attachments;
pub(crate) mod byoip;
pub(crate) mod custom_routing;
pub(crate) mod endpoint_groups;
pub(crate) mod listeners;
pub(crate) mod model;
pub(crate) mod tags;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// The answer of the operations that the model gives no output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoOutput {}
