//! Weighted, consistent choice of an endpoint in a group.

mod available;

pub use available::AvailableSet;

use crate::model::ClientAffinity;
use crate::units::{EndpointId, Weight};

/// Chooses among the endpoints of a group; see [`Selector::select`].
#[derive(Debug, Default)]
pub struct Selector {}

impl Selector {
    /// Builds for these endpoints, by index.
    pub fn build(_endpoints: &[(EndpointId, Weight)], _affinity: ClientAffinity) -> Selector {
        Selector {}
    }

    /// The endpoint for `hash` among those that are `available`.
    pub fn select(&self, _hash: u64, _available: impl Fn(usize) -> bool) -> Option<usize> {
        None
    }
}
