//! One edge put together: data path, controller, flow log, admin and readiness HTTP. `run` and `demo` start the same one. The
//! adapters between the crates live here and nowhere else, since only this crate sees both sides.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use anyhow::Context;
use portolan_config::explain::Explanation;
use portolan_config::file::Loaded;
use portolan_config::model::{Config, Protocol};
use portolan_config::signal::{Signal, SignalSink};
use portolan_config::snapshot::Snapshot;
use portolan_config::stats::EdgeStats;
use portolan_control::admin::{Admin, AdminOptions};
use portolan_control::data_plane::{Binding, DataPlane};
use portolan_control::event::EventKind;
use portolan_control::flow_log::FlowLog;
use portolan_control::{ControlHandle, Controller, ControllerOptions, readiness};
use portolan_proxy::{BindState, Edge, EdgeOptions};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// A burst of trouble, a few hundred flows on each of several workers, fits; what is beyond it would say the same again.
const PENDING_SIGNALS: usize = 4096;

/// What an edge is made of.
pub(crate) struct Parts {
    /// The configuration.
    pub(crate) loaded: Loaded,
    /// The file it came from, watched and read again.
    pub(crate) config_path: Option<PathBuf>,
    /// Whether drains outlive this process.
    pub(crate) keep_drains: bool,
    /// The admin socket, bound by the caller before anything else.
    pub(crate) admin: TcpListener,
}

/// A running edge.
pub(crate) struct Assembly {
    /// The control way.
    pub(crate) control: ControlHandle,
    plane: Arc<Plane>,
    flow_log: Arc<FlowLog>,
    services: JoinSet<()>,
    stop: CancellationToken,
}

impl Assembly {
    /// Starts everything, the data path first. Must be called within a tokio runtime; returns with every listener open that can be.
    pub(crate) fn start(parts: Parts) -> anyhow::Result<Self> {
        let Parts {
            loaded,
            config_path,
            keep_drains,
            admin,
        } = parts;
        let Loaded { config, warnings } = loaded;
        let flow_log = Arc::new(start_flow_log(&config)?);
        let (sender, signals) = mpsc::channel(PENDING_SIGNALS);
        let queue = Arc::new(SignalQueue {
            sender,
            stats: OnceLock::new(),
        });
        let edge = Edge::start(EdgeOptions {
            workers: config.pop.workers,
            limits: config.limits,
            signals: Arc::clone(&queue) as Arc<dyn SignalSink>,
            records: Arc::clone(&flow_log) as _,
            inherited: Vec::new(),
        })
        .context("the data path cannot be started")?;
        // Set once, here, before the first flow.
        let _ = queue.stats.set(edge.stats());
        let plane = Arc::new(Plane {
            stats: edge.stats(),
            edge: RwLock::new(Some(edge)),
        });
        let token_file = config.admin.token_file.clone();
        let ready = config.readiness.map(bind_readiness).transpose()?;
        let state_path = keep_drains.then(|| config.pop.state_file.clone());
        let control = Controller::start(
            ControllerOptions {
                config,
                warnings: warnings.iter().map(ToString::to_string).collect(),
                config_path,
                state_path,
                data_plane: Arc::clone(&plane) as _,
                predecessor: None,
            },
            signals,
        );
        let mut services = JoinSet::new();
        let stop = CancellationToken::new();
        let page = Admin::new(AdminOptions {
            control: control.clone(),
            flow_log: Arc::clone(&flow_log),
            token_file,
        })?;
        let stop_page = stop.clone();
        services.spawn(async move {
            if let Err(error) = page.serve(admin, stop_page).await {
                error!(%error, "the admin listener has ended");
            }
        });
        if let Some(listener) = ready {
            let control = control.clone();
            let stop = stop.clone();
            services.spawn(async move {
                if let Err(error) = readiness::serve(listener, control, stop).await {
                    error!(%error, "the readiness listener has ended");
                }
            });
        }
        services.spawn(follow_reloads(control.clone(), Arc::clone(&flow_log)));
        Ok(Self {
            control,
            plane,
            flow_log,
            services,
            stop,
        })
    }

    /// Flows now.
    pub(crate) fn active_flows(&self) -> usize {
        self.plane.ask(0, Edge::active_flows)
    }

    /// The most flows at once.
    pub(crate) fn max_flows(&self) -> usize {
        self.plane.max_flows()
    }

    /// Data-path threads.
    pub(crate) fn workers(&self) -> usize {
        self.plane.ask(0, Edge::workers)
    }

    /// How bytes pass.
    pub(crate) fn relay_mode(&self) -> &'static str {
        self.plane.relay_mode()
    }

    /// Unready at once, then no new flow; those that are there go on.
    pub(crate) fn stop_accepting(&self) {
        self.control.begin_shutdown();
        self.plane.ask((), Edge::stop_accepting);
    }

    /// Resets what is left, stops answering, and writes out the last flow records.
    pub(crate) async fn end(mut self) {
        self.plane.end();
        self.stop.cancel();
        self.services.shutdown().await;
        // By name: connections of the admin server that are still ending hold it, too.
        self.flow_log.end();
    }
}

/// The flow log goes where the newest file says.
async fn follow_reloads(control: ControlHandle, flow_log: Arc<FlowLog>) {
    let mut events = control.events();
    loop {
        match events.recv().await {
            Ok(event) => match event.what {
                EventKind::Reload { error: None, .. } => {}
                EventKind::Reload { error: Some(_), .. }
                | EventKind::Health { .. }
                | EventKind::Generation { .. }
                | EventKind::Drain { .. }
                | EventKind::Undrain { .. }
                | EventKind::Verdict { .. }
                | EventKind::Warning { .. } => continue,
            },
            // What was missed may have been a reload, and configuring twice does no harm.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        let log = &control.config().log;
        if let Err(error) = flow_log.configure(log.flow_log.as_deref(), log.sample) {
            warn!("{error}");
        }
    }
}

fn start_flow_log(config: &Config) -> anyhow::Result<FlowLog> {
    let flow_log = FlowLog::start(config.pop.name.as_str())
        .context("the flow log's thread cannot be started")?;
    flow_log.configure(config.log.flow_log.as_deref(), config.log.sample)?;
    Ok(flow_log)
}

fn bind_readiness(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    bind_shared(listen)
        .with_context(|| format!("[readiness] listen = \"{listen}\" cannot be bound"))
}

/// With SO_REUSEPORT, so that a wildcard may stand beside a listener that names an address with the same port.
fn bind_shared(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(listen),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&listen.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

/// Signals on their way from the data path's threads to the controller's task.
struct SignalQueue {
    sender: mpsc::Sender<Signal>,
    stats: OnceLock<Arc<EdgeStats>>,
}

impl SignalSink for SignalQueue {
    fn raise(&self, signal: Signal) {
        if self.sender.try_send(signal).is_err()
            && let Some(stats) = self.stats.get()
        {
            stats.signals_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The data path as control sees it. It can be taken away at the end, while control still answers.
struct Plane {
    edge: RwLock<Option<Edge>>,
    stats: Arc<EdgeStats>,
}

impl Plane {
    /// What the edge says, or `without` once it has ended.
    fn ask<T>(&self, without: T, ask: impl FnOnce(&Edge) -> T) -> T {
        let edge = self.edge.read().unwrap_or_else(PoisonError::into_inner);
        edge.as_ref().map_or(without, ask)
    }

    fn end(&self) {
        let edge = self
            .edge
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(edge) = edge {
            edge.end();
        }
    }
}

impl DataPlane for Plane {
    fn publish(&self, snapshot: Arc<Snapshot>) {
        self.ask((), |edge| edge.publish(snapshot));
    }

    fn bindings(&self) -> Vec<Binding> {
        let bindings = self.ask(Vec::new(), Edge::bindings);
        bindings.into_iter().map(binding).collect()
    }

    fn stats(&self) -> Arc<EdgeStats> {
        Arc::clone(&self.stats)
    }

    fn explain(
        &self,
        client: IpAddr,
        client_port: Option<u16>,
        to: SocketAddr,
        protocol: Protocol,
    ) -> Option<Explanation> {
        self.ask(None, |edge| edge.explain(client, client_port, to, protocol))
    }

    fn relay_mode(&self) -> &'static str {
        self.ask("copy", Edge::relay_mode)
    }

    fn max_flows(&self) -> usize {
        self.ask(0, Edge::max_flows)
    }
}

fn binding(state: BindState) -> Binding {
    let BindState {
        accelerator,
        protocol,
        address,
        error,
    } = state;
    Binding {
        accelerator,
        protocol,
        address,
        error,
    }
}
