//! Endpoints that AWS has and this PoP cannot reach: nothing is sent there, and they stand among those that are served, so that
//! nobody has to wonder where they are.

use portolan_config::model::{Protocol, Source};
use portolan_config::units::{AcceleratorName, EndpointId, PortSet, Weight};

use crate::sources::beside;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unreached {
    /// The accelerator, by the name that AWS or a tag gives it.
    pub(crate) accelerator: String,
    /// The listener; `None` is every one that has a group in the region.
    pub(crate) listener: Option<(Protocol, PortSet)>,
    /// The region.
    pub(crate) region: String,
    /// Its id.
    pub(crate) endpoint: EndpointId,
    /// As AWS or its tags say.
    pub(crate) weight: Weight,
    /// Why it is not reached.
    pub(crate) reason: String,
}

impl Unreached {
    /// Whether it belongs to the accelerator that is served under this name.
    pub(crate) fn is_of(&self, name: &str, source: &str) -> bool {
        let own = AcceleratorName::new(self.accelerator.as_str());
        match &self.listener {
            None => name == self.accelerator,
            Some(_) => {
                source == Source::Aws.as_str()
                    && (name == own.as_str() || name == beside(&own, Source::Aws).as_str())
            }
        }
    }
}
