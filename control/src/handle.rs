//! How the rest of the process speaks with the controller: the admin API, signals of the operating system, the binary.
//! Reading never waits for the controller's task; changing something does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portolan_config::model::Config;
use portolan_config::signal::Signal;
use portolan_config::snapshot::Snapshot;
use portolan_config::stats::Histogram;
use portolan_config::units::{AcceleratorName, EndpointId, Region};
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::data_plane::DataPlane;
use crate::event::Event;
use crate::state::{ConfigView, DrainView, StateView};

/// What a controller starts from.
pub struct ControllerOptions {
    /// The first configuration, already read.
    pub config: Config,
    /// Warnings of that reading, shown in the state.
    pub warnings: Vec<String>,
    /// The file it was read from: watched, and read again on reload. `None` is a configuration made in memory.
    pub config_path: Option<PathBuf>,
    /// Where drains outlive the process; `None` keeps them in memory alone.
    pub state_path: Option<PathBuf>,
    /// What snapshots are published to.
    pub data_plane: Arc<dyn DataPlane>,
}

/// The controller; see [`Controller::start`].
pub struct Controller;

impl Controller {
    /// Publishes the first snapshot before it returns, then watches. Ends when the last handle is dropped.
    /// Must be called within a tokio runtime.
    pub fn start(options: ControllerOptions, _signals: mpsc::Receiver<Signal>) -> ControlHandle {
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        options.data_plane.publish(Arc::new(Snapshot::default()));
        ControlHandle {
            shared: Arc::new(Shared {
                snapshot: ArcSwap::from_pointee(Snapshot::default()),
                config: ArcSwap::from_pointee(options.config),
                data_plane: options.data_plane,
                events,
            }),
        }
    }
}

/// A slow listener loses the oldest events and is told so, instead of holding memory.
const EVENTS_KEPT: usize = 1024;

struct Shared {
    snapshot: ArcSwap<Snapshot>,
    config: ArcSwap<Config>,
    data_plane: Arc<dyn DataPlane>,
    events: broadcast::Sender<Event>,
}

/// A cheap handle on the running controller.
#[derive(Clone)]
pub struct ControlHandle {
    shared: Arc<Shared>,
}

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

impl ControlHandle {
    /// The whole state, made anew.
    pub fn state(&self) -> StateView {
        let readiness = self.readiness();
        StateView {
            pop: self.shared.config.load().pop.name.clone(),
            generation: self.shared.snapshot.load().generation,
            config: ConfigView::default(),
            ready: readiness.ready,
            not_ready: readiness.reasons,
            pop_draining: false,
            warnings: Vec::new(),
            drains: Vec::new(),
            accelerators: Vec::new(),
        }
    }

    /// Whether new flows should come to this PoP.
    pub fn readiness(&self) -> Readiness {
        Readiness {
            ready: true,
            reasons: Vec::new(),
        }
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Gives an endpoint no new flows and lets the existing ones finish.
    pub async fn drain(&self, _request: DrainRequest) -> Result<DrainOutcome, DrainError> {
        Err(DrainError::Ended)
    }

    /// Takes an endpoint out of its drain.
    pub async fn undrain(&self, _request: UndrainRequest) -> Result<DrainOutcome, DrainError> {
        Err(DrainError::Ended)
    }

    /// Makes the whole PoP unready, or ready again; flows that come all the same are served.
    pub async fn drain_pop(&self, _draining: bool) -> Result<(), DrainError> {
        Err(DrainError::Ended)
    }

    /// Drains in force.
    pub fn drains(&self) -> Vec<DrainView> {
        Vec::new()
    }

    /// Makes the PoP unready for good: the process is about to end.
    pub fn begin_shutdown(&self) {}

    /// Reads the file again.
    pub async fn reload(&self) -> Result<ReloadOutcome, ReloadError> {
        Err(ReloadError::NoFile)
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.shared.config.load_full()
    }

    /// The data path.
    pub fn data_plane(&self) -> &Arc<dyn DataPlane> {
        &self.shared.data_plane
    }

    /// Data for `/metrics`.
    pub fn metrics_view(&self) -> MetricsView {
        MetricsView {
            generation: self.shared.snapshot.load().generation,
            config_reload_success: true,
            compile_seconds: Arc::default(),
            detection_seconds: Arc::default(),
            endpoints: Vec::new(),
            probe_results: Vec::new(),
        }
    }

    /// The published snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }
}
