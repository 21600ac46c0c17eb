//! What a controller knows that its successor must not have to find out again: health and resolved names. Drains go by the state
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
