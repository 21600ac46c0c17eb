//! The answer to "which endpoint would a new flow of this client get, and why not the others": what `why` shows.
//! Made by the data path's own pick over the current snapshot, shown by the admin API and the command line.

use serde::{Deserialize, Serialize};

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The snapshot that was asked.
    pub generation: u64,
    /// The client, `IP` or `IP:PORT`.
    pub client: String,
    /// Asked for, `ADDRESS:PORT/PROTOCOL`.
    pub to: String,
    /// The accelerator whose listener takes the flow.
    pub accelerator: String,
    /// `NONE` or `SOURCE_IP`.
    pub client_affinity: String,
    /// The endpoint that is chosen; `None` when none could be, or when only shares can be told (no client port with affinity `NONE`).
    pub chosen: Option<Chosen>,
    /// The groups in the order in which they are asked.
    pub groups: Vec<GroupExplanation>,
}

/// The endpoint that a new flow gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chosen {
    /// Its region.
    pub region: String,
    /// Its id.
    pub endpoint: String,
    /// Address and port that are connected to.
    pub address: String,
    /// `nearest`, `dial`, `failover` or `fail_open`.
    pub reason: String,
    /// The next candidates when it refuses, `region/endpoint address`, at most eight.
    pub then: Vec<String>,
}

/// A group's part in the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupExplanation {
    /// Its region.
    pub region: String,
    /// Its place in the order, 0 is the nearest.
    pub order: usize,
    /// Distance in milliseconds; `None` while unknown.
    pub distance_ms: Option<f64>,
    /// 0 to 100.
    pub traffic_dial: f64,
    /// What was decided about it, a sentence.
    pub verdict: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointExplanation>,
}

/// An endpoint's part in the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndpointExplanation {
    /// Its id.
    pub id: String,
    /// 0 to 255.
    pub weight: u8,
    /// `UP`, `DOWN` or `UNKNOWN`.
    pub health: String,
    /// The share of all new flows to this listener that it gets now, in percent.
    pub share_percent: f64,
    /// `None` for the chosen one and its peers; else why it gets nothing.
    pub why_not: Option<String>,
}
