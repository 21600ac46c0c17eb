//! What a controller knows that its successor must not have to find out again: health, resolved names, and the order of groups. Drains go by the state
//! file, which one process writes at a time: the old one until it has handed over, the new one from then on.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portolan_healthcheck::KnownHealth;
use serde::{Deserialize, Serialize};

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inheritance {
    /// Of every address that is probed.
    #[serde(default)]
    pub health: Vec<KnownHealth>,
    /// Of every name that is resolved.
    #[serde(default)]
    pub names: Vec<KnownName>,
    /// Of every listener.
    #[serde(default)]
    pub orders: Vec<KnownOrder>,
}

/// The order of a listener's groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownOrder {
    /// The accelerator.
    pub accelerator: String,
    /// The listener, as metrics name it: ports and protocol.
    pub listener: String,
    /// Nearest first.
    pub groups: Vec<KnownGroup>,
    /// For how long the first region has been nearer than the second, which is ranked before it.
    pub nearer: Vec<(String, String, Duration)>,
}

/// A group in its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownGroup {
    /// Its region.
    pub region: String,
    /// What the operator said of its distance.
    pub configured: Option<Duration>,
    /// The distance that it is ranked by.
    pub distance: Option<Duration>,
}

/// The last good answer for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownName {
    /// The name.
    pub name: Arc<str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// How long ago it was given.
    pub age: Duration,
}
