//! One edge put together: data path, controller, flow log, admin and readiness HTTP. `run` and `demo` start the same one. The
//! adapters between the crates live here and nowhere else, since only this crate sees both sides.

mod estate;

pub(crate) use self::estate::Estate;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use anyhow::Context;
use portolan_config::explain::Explanation;
use portolan_config::file::Loaded;
use portolan_config::model::{Config, Protocol, Source};
use portolan_config::signal::{Signal, SignalSink};
use portolan_config::snapshot::Snapshot;
use portolan_config::stats::EdgeStats;
use portolan_control::admin::{Admin, AdminOptions};
use portolan_control::api::{Api, ApiHandle, Opened};
use portolan_control::aws;
use portolan_control::data_plane::{Binding, DataPlane};
use portolan_control::event::EventKind;
use portolan_control::flow_log::FlowLog;
use portolan_control::publish;
use portolan_control::{ControlHandle, Controller, ControllerOptions, readiness};
use portolan_proxy::{BindState, Edge, EdgeOptions, ListeningSocket};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::upgrade::{Inherited, SocketKind};

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
    /// What a predecessor gave that still serves.
    pub(crate) inherited: Option<Inherited>,
}

/// A running edge.
pub(crate) struct Assembly {
    /// The control way.
    pub(crate) control: ControlHandle,
    plane: Arc<Plane>,
    flow_log: Arc<FlowLog>,
    doors: Arc<Mutex<Vec<Door>>>,
    /// What is served when the doors open.
    pages: Option<Pages>,
    /// The servers of the pages.
    serving: JoinSet<()>,
    /// What goes on beside them until this process ends, or has a successor.
    services: JoinSet<()>,
    /// Ends the servers.
    pages_end: CancellationToken,
    api: Option<ApiHandle>,
}

/// The HTTP servers, not begun yet.
struct Pages {
    admin: (Admin, TcpListener),
    readiness: Option<TcpListener>,
    api: Option<(ApiState, TcpListener)>,
    /// What AWS said before this process, for the sync to go on with.
    restored: aws::Restored,
}

/// The API on its way: a successor has its records only when the predecessor lets the store go.
enum ApiState {
    Ready(Api),
    WaitsForStore(Box<Config>),
}

/// A socket that is listened on beside the data path's: its kind, where the file puts it, and a copy for a successor.
struct Door {
    kind: SocketKind,
    address: Option<SocketAddr>,
    socket: OwnedFd,
}

impl Assembly {
    /// Starts everything, the data path first. Must be called within a tokio runtime; returns with every listener open that can be.
    pub(crate) fn start(parts: Parts) -> anyhow::Result<Self> {
        let mut assembly = Self::prepare(parts)?;
        assembly.open();
        Ok(assembly)
    }

    /// Starts everything and opens no door: health is known and endpoints are picked, but nothing is accepted and nobody is answered.
    pub(crate) fn prepare(parts: Parts) -> anyhow::Result<Self> {
        let Parts {
            loaded,
            config_path,
            keep_drains,
            admin,
            inherited,
        } = parts;
        let succeeds = inherited.is_some();
        let mut inherited = inherited.unwrap_or_default();
        let Loaded {
            mut config,
            warnings,
        } = loaded;
        let listen_api = config.api.as_ref().map(|api| api.listen);
        let api_socket = inherited.or_bind(SocketKind::Api, listen_api, bind_api)?;
        let file = config.clone();
        let opened = match succeeds {
            true => None,
            false => Opened::open(&config).context("the API cannot start")?,
        };
        if let Some(opened) = &opened {
            let made = opened.accelerators(&config);
            config.accelerators.extend(made);
        }
        let mut restored = aws::Restored::open(&config);
        let of_aws = restored.accelerators(&config);
        config.accelerators.extend(of_aws);
        let flow_log = Arc::new(start_flow_log(&config)?);
        let listening = std::mem::take(&mut inherited.listening);
        let (plane, signals) = Plane::start(&config, &flow_log, listening)?;
        let token_file = config.admin.token_file.clone();
        let listen_admin = config.admin.listen;
        let listen_ready = config.readiness;
        let ready = inherited.or_bind(SocketKind::Readiness, listen_ready, bind_readiness)?;
        let control = Controller::start(
            ControllerOptions {
                state_path: keep_drains.then(|| config.pop.state_file.clone()),
                config,
                warnings: warnings.iter().map(ToString::to_string).collect(),
                config_path,
                data_plane: Arc::clone(&plane) as _,
                predecessor: succeeds.then(|| std::mem::take(&mut inherited.known)),
            },
            signals,
        );
        control.inherit_interface(inherited.interface.take());
        let doors = doors([
            (SocketKind::Admin, Some(listen_admin), Some(&admin)),
            (SocketKind::Readiness, listen_ready, ready.as_ref()),
            (SocketKind::Api, listen_api, api_socket.as_ref()),
        ])?;
        let page = Admin::new(AdminOptions {
            control: control.clone(),
            flow_log: Arc::clone(&flow_log),
            token_file,
        })?;
        let api = opened.map(|opened| Api::new(opened, control.clone()));
        let handle = api.as_ref().map(Api::handle);
        if let Some(handle) = &handle {
            page.share_api(handle.clone());
        }
        let api = api.map_or(ApiState::WaitsForStore(Box::new(file)), ApiState::Ready);
        let mut services = JoinSet::new();
        services.spawn(follow_reloads(control.clone(), Arc::clone(&flow_log)));
        Ok(Self {
            control,
            plane,
            flow_log,
            doors: Arc::new(Mutex::new(doors)),
            pages: Some(Pages {
                admin: (page, admin),
                readiness: ready,
                api: api_socket.map(|socket| (api, socket)),
                restored,
            }),
            serving: JoinSet::new(),
            services,
            pages_end: CancellationToken::new(),
            api: handle,
        })
    }

    /// Opens the doors: listeners, admin, readiness.
    pub(crate) fn open(&mut self) {
        self.plane.release();
        let Some(pages) = self.pages.take() else {
            return;
        };
        let Pages {
            admin,
            readiness,
            api,
            restored,
        } = pages;
        // Not before: a predecessor does both until we serve.
        self.services
            .spawn(aws::run(self.control.clone(), restored));
        self.services.spawn(publish::run(self.control.clone()));
        self.services
            .spawn(publish::announce::run(self.control.clone()));
        if let Some((ApiState::Ready(api), listener)) = api {
            let end = self.pages_end.clone();
            self.serving.spawn(async move {
                if let Err(error) = api.serve(listener, end).await {
                    error!(%error, "the API's listener has ended");
                }
            });
        }
        let (end, (page, listener)) = (self.pages_end.clone(), admin);
        self.serving.spawn(async move {
            if let Err(error) = page.serve(listener, end).await {
                error!(%error, "the admin listener has ended");
            }
        });
        if let Some(listener) = readiness {
            let (end, control) = (self.pages_end.clone(), self.control.clone());
            self.serving.spawn(async move {
                if let Err(error) = readiness::serve(listener, control, end).await {
                    error!(%error, "the readiness listener has ended");
                }
            });
        }
    }

    /// Takes the API's records over from a predecessor that has let the store go, and serves what they ask for.
    pub(crate) async fn take_store(&mut self) -> anyhow::Result<()> {
        let Some(Pages {
            api: Some((state, _)),
            admin: (page, _),
            ..
        }) = &mut self.pages
        else {
            return Ok(());
        };
        let ApiState::WaitsForStore(config) = state else {
            return Ok(());
        };
        let opened = Opened::open(config).context("the API cannot start")?;
        let Some(opened) = opened else { return Ok(()) };
        let made = opened.accelerators(config);
        self.control.set_accelerators(Source::Api, made).await;
        let api = Api::new(opened, self.control.clone());
        page.share_api(api.handle());
        self.api = Some(api.handle());
        *state = ApiState::Ready(api);
        Ok(())
    }

    /// Lets the store go, so that a successor can open it; until it is taken back, the API changes nothing.
    pub(crate) async fn release_store(&self) {
        if let Some(api) = &self.api {
            api.release().await;
        }
    }

    /// Undoes [`Assembly::release_store`].
    pub(crate) async fn take_store_back(&self) {
        if let Some(api) = &self.api {
            api.take_back().await;
        }
    }

    /// What a successor may be given.
    pub(crate) fn estate(&self) -> Estate {
        Estate::new(
            self.control.clone(),
            Arc::clone(&self.plane),
            Arc::clone(&self.doors),
        )
    }

    /// A successor serves: no new flow, no new question. The flows that are there go on, and so does the watch over their endpoints.
    pub(crate) fn close(&mut self) {
        self.pages_end.cancel();
        self.services.abort_all();
        lock(&self.doors).clear();
        self.plane.ask((), Edge::stop_accepting);
    }

    /// Flows now.
    pub(crate) fn active_flows(&self) -> usize {
        self.plane.ask(0, Edge::active_flows)
    }

    /// Data-path threads.
    pub(crate) fn workers(&self) -> usize {
        self.plane.ask(0, Edge::workers)
    }

    /// Unready at once, then no new flow; those that are there go on.
    pub(crate) fn stop_accepting(&self) {
        self.control.begin_shutdown();
        self.plane.ask((), Edge::stop_accepting);
    }

    /// Resets what is left, stops answering, and writes out the last flow records.
    pub(crate) async fn end(mut self) {
        self.plane.end();
        if self.pages_end.is_cancelled() {
            // Answers under way may finish; it is the servers' affair how long that may take.
            while self.serving.join_next().await.is_some() {}
        }
        self.serving.shutdown().await;
        self.services.shutdown().await;
        // By name: connections of the admin server that are still ending hold it, too.
        self.flow_log.end();
    }
}

/// Copies of what is listened on, of what there is.
fn doors(
    sockets: [(SocketKind, Option<SocketAddr>, Option<&TcpListener>); 3],
) -> std::io::Result<Vec<Door>> {
    let there = sockets
        .into_iter()
        .filter_map(|(kind, address, socket)| Some((kind, address, socket?)));
    let copies = there.map(|(kind, address, socket)| {
        Ok(Door {
            kind,
            address,
            socket: socket.try_clone()?.into(),
        })
    });
    copies.collect()
}

/// Nothing panics while it holds one of these locks; were it so, what they guard is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
                | EventKind::DnsDrift { .. }
                | EventKind::DnsFight { .. }
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

/// Without SO_REUSEPORT: a second process must not get it.
fn bind_api(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(listen)
        .with_context(|| format!("[api] listen = \"{listen}\" cannot be bound"))
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
    /// While the doors are shut: the newest snapshot, which would open them.
    held: Mutex<Option<Option<Arc<Snapshot>>>>,
}

impl Plane {
    /// Starts the data path, with its doors shut; gives what it tells of its flows.
    fn start(
        config: &Config,
        flow_log: &Arc<FlowLog>,
        inherited: Vec<ListeningSocket>,
    ) -> anyhow::Result<(Arc<Self>, mpsc::Receiver<Signal>)> {
        let (sender, signals) = mpsc::channel(PENDING_SIGNALS);
        let queue = Arc::new(SignalQueue {
            sender,
            stats: OnceLock::new(),
        });
        let edge = Edge::start(EdgeOptions {
            workers: config.pop.workers,
            io_engine: config.pop.io_engine,
            splice: config.pop.splice,
            limits: config.limits,
            steering: config.pop.port_steering,
            signals: Arc::clone(&queue) as Arc<dyn SignalSink>,
            records: Arc::clone(flow_log) as _,
            inherited,
        })
        .context("the data path cannot be started")?;
        // Set once, here, before the first flow.
        let _ = queue.stats.set(edge.stats());
        let plane = Arc::new(Plane {
            stats: edge.stats(),
            edge: RwLock::new(Some(edge)),
            held: Mutex::new(Some(None)),
        });
        Ok((plane, signals))
    }

    /// What the edge says, or `without` once it has ended.
    fn ask<T>(&self, without: T, ask: impl FnOnce(&Edge) -> T) -> T {
        let edge = self.edge.read().unwrap_or_else(PoisonError::into_inner);
        edge.as_ref().map_or(without, ask)
    }

    /// Lets snapshots through from here on, the newest that was held at once.
    fn release(&self) {
        let mut held = lock(&self.held);
        if let Some(Some(snapshot)) = held.take() {
            self.ask((), |edge| edge.publish(snapshot));
        }
        drop(held);
        self.ask((), Edge::forget_inherited);
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
        // Held while it is published, too: snapshots must not overtake each other.
        let mut held = lock(&self.held);
        match &mut *held {
            Some(newest) => *newest = Some(snapshot),
            None => self.ask((), |edge| edge.publish(snapshot)),
        }
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

    fn steers_ports(&self) -> bool {
        // Of the two, UDP needs more.
        self.ask(false, |edge| edge.steers_ports(Protocol::Udp))
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
