//! `portolan run`: from the file to the last flow. pingora's `Server` owns the process (threads, phases, the end); the edge is one
//! service in it, with sockets, signals and drain of our own. Nothing here is called per flow.

mod notify;
mod signals;
mod succession;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{
    ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora_core::services::Service;
use portolan_config::file::{self, Loaded};
use portolan_config::model::{Config, LogFormat};
use portolan_control::handle::ReloadError;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info, warn};

use self::signals::{Asked, Signals};
use crate::args::{EXIT_ALREADY_RUNNING, EXIT_DONE, EXIT_FAILED, EXIT_INVALID_FILE};
use crate::assembly::{Assembly, Parts};
use crate::limits::{self, Descriptors, Effective, Unmet};
use crate::upgrade::{self, Inherited, Offering, SocketKind, Takeover};
use crate::{logging, owner};

/// Threads of everything that is not the data path.
const CONTROL_THREADS: usize = 2;

/// How often a drain looks whether the last flow is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

const AFTER: &str = "\
Signals:
  SIGHUP            reads the file again; no connection is dropped, a broken file is refused
  SIGTERM, SIGINT   unready at once, nothing new, [shutdown] drain for what is there, then the end; the second one ends at once
  SIGUSR2           starts what is at the path of this program now, with the same arguments and --upgrade

Upgrade: `portolan run --upgrade` with the same file takes every listening socket over from the running process, with what it knows of
health and names. Nothing is refused meanwhile; when it fails, the running process serves on. The old process finishes its flows, or
hands them over as well (--with-flows) and ends at once.

Under systemd: Type=notify, NotifyAccess=all, ExecReload=/bin/kill -HUP $MAINPID, WatchdogSec= and LimitNOFILE= as you like.
Logs go to stderr; RUST_LOG (such as debug or portolan_proxy=debug) says how much.
Exit codes: 0 ended as told, 1 failed, 2 invalid file, 3 already running (its pid is named).";

/// What `portolan run` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub(crate) struct Args {
    /// The TOML file. It is watched: a change takes effect at once, a broken one is refused and the old one stays
    #[arg(long, short, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    config: PathBuf,

    /// Take over from the process that runs with the same [pop] state_file; without one this is a plain start
    #[arg(long)]
    upgrade: bool,

    /// Take its live connections over, too, so that it can end at once
    #[arg(long, requires = "upgrade")]
    with_flows: bool,
}

/// Serves until it is told to end.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let loaded = match file::load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            eprintln!("{errors}");
            return Ok(ExitCode::from(EXIT_INVALID_FILE));
        }
    };
    logging::start(loaded.config.log.format, "info");
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let descriptors = limits::raise_descriptors();
    if let Some(error) = Unmet::of(&loaded.config, descriptors) {
        eprintln!("{}: {error}", args.config.display());
        return Ok(ExitCode::from(EXIT_INVALID_FILE));
    }
    let mut predecessor = if args.upgrade {
        upgrade::ask(&loaded.config.pop.state_file, args.with_flows)?
    } else {
        None
    };
    let inherited = predecessor
        .as_mut()
        .and_then(|(_, inherited)| inherited.door(SocketKind::Admin, loaded.config.admin.listen));
    let bound = inherited.map_or_else(|| TcpListener::bind(loaded.config.admin.listen), Ok);
    let admin = match bound {
        Ok(admin) => admin,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            return Ok(taken(&loaded.config));
        }
        Err(error) => {
            let listen = loaded.config.admin.listen;
            return Err(error)
                .with_context(|| format!("[admin] listen = \"{listen}\" cannot be bound"));
        }
    };
    serve(Start {
        loaded,
        config_path: args.config.clone(),
        descriptors,
        admin,
        predecessor,
    })
}

/// The admin address is bound first and by one process alone, so whoever holds it is the running one, or a stranger.
fn taken(config: &Config) -> ExitCode {
    let listen = config.admin.listen;
    match owner::of(listen) {
        Some(owner) if owner.name == "portolan" => {
            eprintln!(
                "portolan: already running as pid {} (it holds [admin] listen = \"{listen}\")",
                owner.pid
            );
            ExitCode::from(EXIT_ALREADY_RUNNING)
        }
        Some(owner) => {
            eprintln!(
                "portolan: [admin] listen = \"{listen}\" is in use by {} (pid {}); choose another address",
                owner.name, owner.pid
            );
            ExitCode::from(EXIT_FAILED)
        }
        None => {
            eprintln!(
                "portolan: [admin] listen = \"{listen}\" is in use by a process that this user may not see, likely a running portolan"
            );
            ExitCode::from(EXIT_ALREADY_RUNNING)
        }
    }
}

/// What the service starts from.
struct Start {
    loaded: Loaded,
    config_path: PathBuf,
    descriptors: Descriptors,
    admin: TcpListener,
    predecessor: Option<(Takeover, Inherited)>,
}

fn serve(start: Start) -> anyhow::Result<ExitCode> {
    let outcome = Arc::new(Mutex::new(None));
    let (over, when_over) = watch::channel(false);
    // Everything of pingora's that opens, forks, listens or waits is off: no bootstrap (so no upgrade socket), no daemon, no grace.
    let conf = ServerConf {
        threads: CONTROL_THREADS,
        daemon: false,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.add_service(EdgeService {
        start: Some(start),
        outcome: Arc::clone(&outcome),
        over,
    });
    server.run(RunArgs {
        shutdown_signal: Box::new(WhenOver(when_over)),
    });
    let ended = outcome
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match ended {
        Some(Ok(())) => Ok(ExitCode::from(EXIT_DONE)),
        Some(Err(error)) => Err(error),
        None => Err(anyhow!(
            "the edge ended without a word; its last log lines say why"
        )),
    }
}

/// The edge as pingora's server sees it.
struct EdgeService {
    start: Option<Start>,
    outcome: Arc<Mutex<Option<anyhow::Result<()>>>>,
    over: watch::Sender<bool>,
}

#[async_trait]
impl Service for EdgeService {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        // Dropped at the end of this function, a panic included: the server then ends, too.
        let _over = OnDrop(&self.over);
        let Some(start) = self.start.take() else {
            return;
        };
        let ended = live(start).await;
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }

    fn name(&self) -> &str {
        "edge"
    }

    fn threads(&self) -> Option<usize> {
        Some(CONTROL_THREADS)
    }
}

struct OnDrop<'a>(&'a watch::Sender<bool>);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// The server ends when the edge has ended, and has nothing left to wait for then.
struct WhenOver(watch::Receiver<bool>);

#[async_trait]
impl ShutdownSignalWatch for WhenOver {
    async fn recv(&self) -> ShutdownSignal {
        // An error means that the service is gone, which is an end as well.
        let _ = self.0.clone().wait_for(|over| *over).await;
        ShutdownSignal::FastShutdown
    }
}

/// The edge's whole life.
async fn live(start: Start) -> anyhow::Result<()> {
    let Start {
        loaded,
        config_path,
        descriptors,
        admin,
        predecessor,
    } = start;
    // Before anything is opened, so that no signal meets the default action of the system.
    let mut signals = Signals::listen().context("signals cannot be heard")?;
    let config = loaded.config.clone();
    let (takeover, mut inherited) = predecessor.unzip();
    let upgrade_socket = inherited.as_mut().and_then(Inherited::upgrade_socket);
    let predecessors = takeover
        .as_ref()
        .map(Takeover::predecessors)
        .unwrap_or_default();
    let mut edge = Assembly::prepare(Parts {
        loaded,
        config_path: Some(config_path),
        keep_drains: true,
        admin,
        inherited,
    })?;
    tell_limits(&config, descriptors, &edge);
    match takeover {
        None => edge.open(),
        Some(takeover) => {
            if let Err(error) = succession::take_over(&mut edge, takeover, &mut signals).await {
                edge.end().await;
                return Err(error);
            }
        }
    }
    let mut offering = Offering::start(
        &config.pop.state_file,
        upgrade_socket,
        predecessors,
        edge.estate(),
    );
    notify::ready();
    let watchdog = notify::watchdog();
    info!(pop = %config.pop.name, admin = %config.admin.listen, pid = std::process::id(), "serving");
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                Asked::Reload => reload(&edge).await,
                Asked::Upgrade => succession::start_successor(),
                Asked::End => break,
            },
            successor = offering.next() => {
                if succession::hand_over(&edge, &successor).await {
                    drop((offering, watchdog));
                    succession::finish(edge, successor, &mut signals).await;
                    return Ok(());
                }
            }
        }
    }
    drop(offering);
    shut_down(edge, &mut signals).await;
    Ok(())
}

fn tell_limits(config: &Config, descriptors: Descriptors, edge: &Assembly) {
    let effective = Effective {
        descriptors,
        max_flows: limits::max_flows(config),
        workers: edge.workers(),
        config,
    };
    match config.log.format {
        LogFormat::Text => eprintln!("effective limits:\n{effective}"),
        LogFormat::Json => {
            for (limit, value, by) in effective.rows() {
                info!(limit, value, by, "effective limit");
            }
        }
    }
}

async fn reload(edge: &Assembly) {
    notify::reloading();
    match edge.control.reload().await {
        Ok(outcome) => {
            for warning in &outcome.warnings {
                warn!("{warning}");
            }
            info!(
                generation = outcome.generation,
                changed = outcome.changed,
                "reloaded"
            );
        }
        Err(error @ (ReloadError::Refused(_) | ReloadError::NoFile | ReloadError::Ended)) => {
            error!("not reloaded, the old configuration stays: {error}");
        }
    }
    notify::ready();
}

/// Readiness first, so that those in front look elsewhere; then no new flows; then the old ones have their time.
async fn shut_down(edge: Assembly, signals: &mut Signals) {
    notify::stopping();
    let drain = edge.control.config().shutdown_drain;
    // The routers first: what still comes is served until they know.
    edge.control.begin_shutdown();
    let deadline = Instant::now() + drain;
    let told = tokio::select! {
        () = sleep(drain) => false,
        () = edge.control.leave_addresses() => false,
        () = told_again(signals) => true,
    };
    edge.stop_accepting();
    info!(
        flows = edge.active_flows(),
        ?drain,
        "ending: no new flows; a second signal ends at once"
    );
    while !told && edge.active_flows() > 0 && Instant::now() < deadline {
        tokio::select! {
            () = sleep(DRAIN_LOOK) => {}
            asked = signals.next() => match asked {
                Asked::End => break,
                Asked::Reload | Asked::Upgrade => info!("not done: ending"),
            },
        }
    }
    let left = edge.active_flows();
    edge.end().await;
    info!(reset = left, "ended");
}

/// Waits for the signal that ends at once.
async fn told_again(signals: &mut Signals) {
    loop {
        match signals.next().await {
            Asked::End => return,
            Asked::Reload | Asked::Upgrade => info!("not done: ending"),
        }
    }
}
