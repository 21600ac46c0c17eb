//! Route 53: what the zone should hold, what it holds, the plan between the two, and its application.
//!
//! observe → [`desired`] → [`plan`] → [`batches`] → [`apply`]. All but the client and its driver is pure.

pub mod apply;
pub mod batches;
pub mod client;
pub mod cost;
pub mod desired;
pub mod driver;
pub mod health_checks;
pub mod limits;
pub mod model;
pub mod ownership;
pub(crate) mod permissions;
pub mod plan;
pub mod validate;

use serde::Serialize;

/// A hosted zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Zone {
    /// Its id; empty while it is only planned.
    pub id: String,
    /// Its name, lower case, without a trailing dot.
    pub name: String,
}

/// A number of things, for people: `1 name`, `2 names`.
pub fn counted(count: usize, what: &str) -> String {
    let many = if count == 1 { "" } else { "s" };
    format!("{count} {what}{many}")
}
