//! How the rest of the process speaks with the controller: the admin API, signals of the operating system, the binary.
//! Reading never waits for the controller's task; changing something does.

mod announcing;
mod asking;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use portolan_config::health::HealthState;
use portolan_config::model::{Accelerator, Config, Source};
use portolan_config::signal::Signal;
use portolan_config::snapshot::Snapshot;
use portolan_config::stats::Histogram;
use portolan_healthcheck::{Checker, CheckerOptions, ProbeCounters, ProbeResult};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::controller::saver::Saver;
use crate::controller::task::{self, Drivers};
use crate::controller::{Beginning, Core};
use crate::data_plane::{Binding, DataPlane};
use crate::drains::{self, Drains, rfc3339};
use crate::event::{Event, EventKind};
use crate::handover::Inheritance;
use crate::health_view::{self, HealthTable};
use crate::layout::Layout;
use crate::pool::Ledger;
use crate::resolve::driver::Askers;
use crate::state::{ConfigView, DrainView, StateView, build};

pub(crate) use self::announcing::Announcing;
pub use self::sources::EndpointHealth;

pub use self::asking::{
    DrainError, DrainOutcome, DrainRequest, EndpointMetrics, MetricsView, Place, Readiness,
    ReloadError, ReloadOutcome, UndrainRequest,
};

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
    /// What a predecessor knew that still serves. Its state file is left to it until [`ControlHandle::take_over`].
    pub predecessor: Option<Inheritance>,
}

/// The controller; see [`Controller::start`].
pub struct Controller;

impl Controller {
    /// Publishes the first snapshot before it returns, then watches. Ends when the last handle is dropped.
    /// Must be called within a tokio runtime, whose drivers for io and time it uses.
    pub fn start(options: ControllerOptions, signals: mpsc::Receiver<Signal>) -> ControlHandle {
        let ControllerOptions {
            config,
            warnings,
            config_path,
            state_path,
            data_plane,
            predecessor,
        } = options;
        let now = Instant::now();
        let succeeds = predecessor.is_some();
        let Inheritance {
            health,
            names,
            orders,
        } = predecessor.unwrap_or_default();
        let checker = Arc::new(Checker::start(
            &Handle::current(),
            CheckerOptions {
                known: health,
                ..CheckerOptions::default()
            },
        ));
        let config_view = ConfigView {
            generation: 1,
            loaded_at: rfc3339(SystemTime::now()),
            error: None,
            source: config_path.as_ref().map(|path| path.display().to_string()),
        };
        // A predecessor still writes the file; it is read when that is over.
        let state_file = state_path.as_deref().filter(|_| !succeeds);
        let (drains, state_warnings) = load_drains(state_file);
        let config = Arc::new(config);
        let shared = Arc::new(Shared {
            published: ArcSwap::from_pointee(Published::before(&config, &config_view)),
            data_plane,
            events: broadcast::channel(EVENTS_KEPT).0,
            compile_seconds: Arc::default(),
            detection_seconds: Arc::default(),
            probes: checker.counters(),
            started: now,
            had_first_results: AtomicBool::new(false),
            shutting_down: AtomicBool::new(false),
            advertised: crate::advertised::Advertised::default(),
            aws: crate::aws::Door::default(),
            dns: crate::publish::Door::default(),
            pool: Ledger::default(),
            announce: crate::publish::announce::Door::default(),
        });
        let (commands, obeyed) = mpsc::channel(PENDING_COMMANDS);
        let mut saver = Saver::new(state_path);
        saver.leave(succeeds);
        let drivers = Drivers {
            checker: checker.clone(),
            commands: obeyed,
            signals,
            askers: Askers::new(&config.resolver.nameservers, now),
            saver,
            config_path,
        };
        let beginning = Beginning {
            shared: shared.clone(),
            checker,
            config,
            config_view,
            file_warnings: warnings,
            drains,
            state_warnings,
            known_names: names,
            known_orders: orders,
        };
        tokio::spawn(task::run(Core::new(beginning, now), drivers));
        ControlHandle { shared, commands }
    }
}

/// Drains of the process before, and what an operator should know about them.
pub(crate) fn load_drains(path: Option<&Path>) -> (Drains, Vec<String>) {
    let Some(path) = path else {
        return (Drains::default(), Vec::new());
    };
    let error = match drains::load(path) {
        Ok(drains) => return (drains, Vec::new()),
        Err(error) => error,
    };
    let aside = match drains::put_aside(path) {
        Ok(aside) => format!("it was moved to {}", aside.display()),
        Err(error) => format!("it could not be moved aside: {error}"),
    };
    let warning = format!("drains of before are lost, nothing is draining: {error}; {aside}");
    tracing::error!("{warning}");
    (Drains::default(), vec![warning])
}

/// A slow listener loses the oldest events and is told so, instead of holding memory.
const EVENTS_KEPT: usize = 1024;

/// Commands come from people; who finds so many waiting may wait, too.
const PENDING_COMMANDS: usize = 64;

/// Traffic need not wait for a first probe result longer than this.
const FIRST_RESULTS: Duration = Duration::from_secs(5);

/// What the task and all handles share.
pub(crate) struct Shared {
    pub(crate) published: ArcSwap<Published>,
    pub(crate) data_plane: Arc<dyn DataPlane>,
    events: broadcast::Sender<Event>,
    pub(crate) compile_seconds: Arc<Histogram>,
    pub(crate) detection_seconds: Arc<Histogram>,
    probes: Arc<ProbeCounters>,
    started: Instant,
    had_first_results: AtomicBool,
    shutting_down: AtomicBool,
    pub(crate) advertised: crate::advertised::Advertised,
    pub(crate) aws: crate::aws::Door,
    pub(crate) dns: crate::publish::Door,
    pub(crate) pool: Ledger,
    pub(crate) announce: crate::publish::announce::Door,
}

impl Shared {
    /// Tells whoever listens.
    pub(crate) fn tell(&self, what: EventKind) {
        if self.events.receiver_count() > 0 {
            // Nobody listening any more is no error.
            let _ = self.events.send(Event {
                at: rfc3339(SystemTime::now()),
                what,
            });
        }
    }
}

/// What is in force, as handles see it.
pub(crate) struct Published {
    pub(crate) config: Arc<Config>,
    pub(crate) config_view: ConfigView,
    pub(crate) warnings: Vec<String>,
    pub(crate) drains: Vec<DrainView>,
    pub(crate) pop_draining: bool,
    pub(crate) layout: Arc<Layout>,
    pub(crate) health: Arc<HealthTable>,
    /// By the index of the layout's listener and group.
    pub(crate) places: Vec<Vec<build::Place>>,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Published {
    fn before(config: &Arc<Config>, config_view: &ConfigView) -> Published {
        Published {
            config: config.clone(),
            config_view: config_view.clone(),
            warnings: Vec::new(),
            drains: Vec::new(),
            pop_draining: false,
            layout: Arc::default(),
            health: Arc::default(),
            places: Vec::new(),
            snapshot: Arc::default(),
        }
    }
}

/// What a handle asks the task to do.
pub(crate) enum Command {
    Drain(
        DrainRequest,
        oneshot::Sender<Result<DrainOutcome, DrainError>>,
    ),
    Undrain(
        UndrainRequest,
        oneshot::Sender<Result<DrainOutcome, DrainError>>,
    ),
    DrainPop(bool, oneshot::Sender<Result<(), DrainError>>),
    Accelerators(
        Source,
        Vec<Accelerator>,
        oneshot::Sender<Result<u64, DrainError>>,
    ),
    Fills(
        Vec<crate::sources::Fill>,
        Vec<(Arc<str>, Vec<std::net::IpAddr>)>,
        oneshot::Sender<Result<(), DrainError>>,
    ),
    Reload(oneshot::Sender<Result<ReloadOutcome, ReloadError>>),
    Know(oneshot::Sender<Result<Inheritance, DrainError>>),
    HandOver(oneshot::Sender<Result<(), DrainError>>),
    TakeBack,
    TakeOver(oneshot::Sender<Result<(), DrainError>>),
}

/// A cheap handle on the running controller.
#[derive(Clone)]
pub struct ControlHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl ControlHandle {
    /// The whole state, made anew.
    pub fn state(&self) -> StateView {
        let published = self.shared.published.load();
        let bindings = self.shared.data_plane.bindings();
        let readiness = self.readiness_of(&published, &bindings);
        let aws = self.shared.aws.view();
        build::state(
            &published,
            (&bindings, self.shared.data_plane.relay_mode()),
            readiness,
            (aws, &self.shared.aws.unreached()),
            (self.shared.dns.view(), self.shared.announce.view()),
        )
    }

    /// Whether new flows should come to this PoP.
    pub fn readiness(&self) -> Readiness {
        self.readiness_of(
            &self.shared.published.load(),
            &self.shared.data_plane.bindings(),
        )
    }

    fn readiness_of(&self, published: &Published, bindings: &[Binding]) -> Readiness {
        let mut reasons = Vec::new();
        if self.shared.shutting_down.load(Ordering::Relaxed) {
            reasons.push("the process is shutting down".to_owned());
        }
        if published.pop_draining {
            reasons.push("the PoP is draining".to_owned());
        }
        reasons.extend(build::not_listening(published, bindings));
        // At the start alone: an endpoint added later must not take the whole PoP out of service.
        if !self.shared.had_first_results.load(Ordering::Relaxed) {
            let without = build::without_result(published);
            if without == 0 || self.shared.started.elapsed() >= FIRST_RESULTS {
                self.shared.had_first_results.store(true, Ordering::Relaxed);
            } else {
                reasons.push(format!(
                    "{without} endpoints have no first probe result yet"
                ));
            }
        }
        Readiness {
            ready: reasons.is_empty(),
            reasons,
        }
    }

    /// Events from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Gives an endpoint no new flows and lets the existing ones finish, up to the group's `drain_timeout`.
    pub async fn drain(&self, request: DrainRequest) -> Result<DrainOutcome, DrainError> {
        self.ask(|reply| Command::Drain(request, reply), DrainError::Ended)
            .await
    }

    /// Takes an endpoint out of its drain.
    pub async fn undrain(&self, request: UndrainRequest) -> Result<DrainOutcome, DrainError> {
        self.ask(|reply| Command::Undrain(request, reply), DrainError::Ended)
            .await
    }

    /// Makes the whole PoP unready, or ready again; flows that come all the same are served.
    pub async fn drain_pop(&self, draining: bool) -> Result<(), DrainError> {
        self.ask(
            |reply| Command::DrainPop(draining, reply),
            DrainError::Ended,
        )
        .await
    }

    /// Reads the file again.
    pub async fn reload(&self) -> Result<ReloadOutcome, ReloadError> {
        self.ask(Command::Reload, ReloadError::Ended).await
    }

    async fn ask<T, E>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Command,
        ended: E,
    ) -> Result<T, E> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).await.is_err() {
            return Err(ended);
        }
        answer.await.unwrap_or(Err(ended))
    }

    /// What a successor should begin with. Nothing when the controller has ended.
    pub async fn known(&self) -> Inheritance {
        let known = self.ask(Command::Know, DrainError::Ended).await;
        known.unwrap_or_default()
    }

    /// Leaves files and operators to a successor: the state file is complete and written no more, drains and reloads are refused.
    pub async fn hand_over(&self) {
        self.shared.aws.pause(true);
        self.shared.dns.pause(true);
        // A controller that has ended writes nothing any more, either.
        let _ = self.ask(Command::HandOver, DrainError::Ended).await;
    }

    /// Undoes [`ControlHandle::hand_over`].
    pub async fn take_back(&self) {
        self.shared.aws.pause(false);
        self.shared.dns.pause(false);
        let _ = self.commands.send(Command::TakeBack).await;
    }

    /// The predecessor has handed over: its drains are read, and the state file is ours.
    pub async fn take_over(&self) {
        let _ = self.ask(Command::TakeOver, DrainError::Ended).await;
    }

    /// Whether nothing is waited for any more that a new flow needs to know.
    pub fn has_first_results(&self) -> bool {
        build::without_result(&self.shared.published.load()) == 0
    }

    /// Drains in force.
    pub fn drains(&self) -> Vec<DrainView> {
        self.shared.published.load().drains.clone()
    }

    /// Makes the PoP unready for good: the process is about to end.
    pub fn begin_shutdown(&self) {
        self.shared.shutting_down.store(true, Ordering::Relaxed);
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.shared.published.load().config.clone()
    }

    /// The data path.
    pub fn data_plane(&self) -> &Arc<dyn DataPlane> {
        &self.shared.data_plane
    }

    /// Data for `/metrics`.
    pub fn metrics_view(&self) -> MetricsView {
        let published = self.shared.published.load();
        let Published { layout, health, .. } = &**published;
        let endpoints = layout
            .endpoints()
            .map(|(listener, group, endpoint)| EndpointMetrics {
                accelerator: listener.accelerator.clone(),
                listener: listener.label.clone(),
                region: group.region.clone(),
                endpoint: endpoint.id.clone(),
                up: health_view::of_endpoint(endpoint, health) == HealthState::Up,
                latency: health_view::round_trip(endpoint, health),
                transitions: endpoint.transitions.load(Ordering::Relaxed),
            });
        let results =
            ProbeResult::ALL.map(|result| (result.as_str(), self.shared.probes.results(result)));
        MetricsView {
            generation: published.snapshot.generation,
            config_reload_success: published.config_view.error.is_none(),
            compile_seconds: self.shared.compile_seconds.clone(),
            detection_seconds: self.shared.detection_seconds.clone(),
            endpoints: endpoints.collect(),
            probe_results: results.to_vec(),
            ways_back_closed: layout.ways_back_closed(),
            suspicions: self.shared.probes.suspicions().to_vec(),
        }
    }

    /// The published snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.published.load().snapshot.clone()
    }
}
