//! What is asked of a controller and what it answers.

use std::sync::Arc;
use std::time::Duration;

use portolan_config::stats::Histogram;
use portolan_config::units::{AcceleratorName, EndpointId, Region};
use serde::{Deserialize, Serialize};

/// Whether new flows should come to this PoP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// They should.
    pub ready: bool,
    /// Why not, each a sentence.
    pub reasons: Vec<String>,
}

/// What to drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainRequest {
    /// The endpoint's id.
    pub endpoint: String,
    /// In this region alone; `None` is in every group that holds it.
    pub region: Option<String>,
    /// Ends by itself after this long; `None` is never.
    pub for_: Option<Duration>,
}

/// What to take out of its drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndrainRequest {
    /// The endpoint's id.
    pub endpoint: String,
    /// In this region alone; `None` is every drain of that endpoint.
    pub region: Option<String>,
}

/// What a drain or its end has touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainOutcome {
    /// The endpoint's id.
    pub endpoint: String,
    /// Where it was found.
    pub places: Vec<Place>,
    /// Flows that it still has.
    pub active_flows: u64,
    /// When the drain ends by itself, RFC 3339.
    pub until: Option<String>,
    /// Why the drain would not outlive this process; `None` when it is saved.
    pub not_saved: Option<String>,
}

/// Where an endpoint stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The accelerator.
    pub accelerator: String,
    /// The listener, `PORTS/PROTOCOL`.
    pub listener: String,
    /// The region.
    pub region: String,
}

/// Why nothing was drained or taken out of its drain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// The id, or the id in that region, is not known.
    #[error("no endpoint {endpoint:?}{}{}", in_region(.region), did_you_mean(.near))]
    UnknownEndpoint {
        /// What was asked for.
        endpoint: String,
        /// Where.
        region: Option<String>,
        /// Known ids that look like it.
        near: Vec<String>,
    },
    /// Undrain of something that does not drain.
    #[error("endpoint {endpoint:?}{} is not draining", in_region(.region))]
    NotDraining {
        /// What was asked for.
        endpoint: String,
        /// Where.
        region: Option<String>,
    },
    /// There are too many drains already.
    #[error("{limit} drains are in force already; undrain some first")]
    TooMany {
        /// The cap.
        limit: usize,
    },
    /// The controller has ended.
    #[error("the controller has ended")]
    Ended,
}

fn in_region(region: &Option<String>) -> String {
    match region {
        Some(region) => format!(" in {region}"),
        None => String::new(),
    }
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    format!("; did you mean {}?", near.join(", "))
}

/// What a reload has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadOutcome {
    /// The generation of the configuration in force.
    pub generation: u64,
    /// Whether the file says something else than before.
    pub changed: bool,
    /// Warnings of the file, and changes that take effect at a restart alone.
    pub warnings: Vec<String>,
}

/// Why the old configuration stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The file is broken; every error of it, a line each.
    #[error("{0}")]
    Refused(String),
    /// The configuration was not read from a file.
    #[error("the configuration was not read from a file")]
    NoFile,
    /// The controller has ended.
    #[error("the controller has ended")]
    Ended,
}

/// Data of the metrics that control knows.
#[derive(Clone, Debug)]
pub struct MetricsView {
    /// Of the published snapshot.
    pub generation: u64,
    /// Whether the newest configuration is in force.
    pub config_reload_success: bool,
    /// Time that compiling took.
    pub compile_seconds: Arc<Histogram>,
    /// From the first evidence of a fault to the decision.
    pub detection_seconds: Arc<Histogram>,
    /// Every endpoint of every accelerator.
    pub endpoints: Vec<EndpointMetrics>,
    /// Results of probes by label.
    pub probe_results: Vec<(&'static str, u64)>,
    /// What became of suspicions of live flows, by label.
    pub suspicions: Vec<(&'static str, u64)>,
    /// Endpoint addresses toward which flows are to come from their clients' own addresses, and do not.
    pub ways_back_closed: usize,
}

/// An endpoint in the metrics.
#[derive(Clone, Debug)]
pub struct EndpointMetrics {
    /// Its accelerator.
    pub accelerator: AcceleratorName,
    /// Its listener, `PORTS/PROTOCOL`.
    pub listener: Arc<str>,
    /// Its region.
    pub region: Region,
    /// Its id.
    pub endpoint: EndpointId,
    /// Whether it is up.
    pub up: bool,
    /// Smoothed round trip.
    pub latency: Option<Duration>,
    /// Health changes since start.
    pub transitions: u64,
}
