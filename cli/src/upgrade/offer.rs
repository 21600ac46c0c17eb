//! The predecessor's side: listens for successors, gives each that may have them copies of everything, and tells when one is ready.
//! Nothing changes here until the owner calls [`Successor::begin`].

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portolan_control::Inheritance;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{error, info, warn};

use super::message::{Hello, Message, SocketItem, SocketKind, Welcome};
use super::process::ProcessId;
use super::wire::{Frame, MOST_DESCRIPTORS, Wire};
use super::{BEGIN, GET_READY, MOST_PREDECESSORS, PROTOCOL, STEP, socket};
use crate::assembly::Estate;

/// Connections spoken to at once: one that gets what it wants, and others that are told why not.
const CONVERSATIONS: usize = 4;

/// When accepting fails for want of descriptors, trying again at once would only spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Waits for successors for as long as it is held.
pub(crate) struct Offering {
    ready: mpsc::Receiver<Successor>,
    _accepting: JoinSet<()>,
}

impl Offering {
    /// Offers upgrades, on the socket that a predecessor handed over or on a new one. Without one this process serves all the same.
    pub(crate) fn start(
        state_file: &Path,
        inherited: Option<UnixListener>,
        predecessors: Vec<ProcessId>,
        estate: Estate,
    ) -> Self {
        // One at a time gets so far.
        let (announce, ready) = mpsc::channel(1);
        let mut accepting = JoinSet::new();
        let path = socket::path(state_file);
        match inherited.map_or_else(|| socket::open(&path), Ok) {
            Ok(listener) => {
                let desk = Arc::new(Desk {
                    path,
                    predecessors,
                    estate,
                    busy: AtomicBool::new(false),
                    announce,
                });
                accepting.spawn(async move {
                    if let Err(error) = desk.accept(listener).await {
                        error!(%error, "upgrades cannot be asked for any more");
                    }
                });
            }
            Err(error) => {
                warn!(socket = %path.display(), "`run --upgrade` is off: {}", why_off(&error));
                // Kept open, so that `next` waits instead of ending.
                accepting.spawn(async move { announce.closed().await });
            }
        }
        Self {
            ready,
            _accepting: accepting,
        }
    }

    /// The next successor that is ready to serve.
    pub(crate) async fn next(&mut self) -> Successor {
        match self.ready.recv().await {
            Some(successor) => successor,
            None => std::future::pending().await,
        }
    }
}

fn why_off(error: &io::Error) -> String {
    if error.kind() == ErrorKind::AddrInUse {
        "another portolan has the same [pop] state_file; give each its own".into()
    } else {
        error.to_string()
    }
}

/// What every conversation looks at.
struct Desk {
    path: PathBuf,
    predecessors: Vec<ProcessId>,
    estate: Estate,
    busy: AtomicBool,
    announce: mpsc::Sender<Successor>,
}

impl Desk {
    async fn accept(self: Arc<Self>, listener: UnixListener) -> io::Result<()> {
        self.estate.keep_upgrade_socket(listener.try_clone()?);
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let seats = Arc::new(Semaphore::new(CONVERSATIONS));
        loop {
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
                return Ok(());
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream.into_std()?,
                Err(error) => {
                    warn!(%error, socket = %self.path.display(), "an upgrade cannot be heard");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let desk = Arc::clone(&self);
            // The state is asked for here and not in the conversation, which must not wait for this runtime.
            let known = self.estate.control().known().await;
            spawn_blocking(move || {
                let _seat = seat;
                desk.converse(stream, known);
            });
        }
    }

    fn converse(self: Arc<Self>, stream: UnixStream, known: Inheritance) {
        match socket::is_trusted(&stream) {
            Ok(true) => {}
            Ok(false) => {
                warn!("an upgrade asked for by another user is refused");
                return;
            }
            Err(error) => {
                warn!(%error, "an upgrade is refused: who asks cannot be told");
                return;
            }
        }
        let outcome = Wire::new(stream).and_then(|wire| self.serve(wire, known));
        if let Err(error) = outcome {
            let error = if error.kind() == ErrorKind::UnexpectedEof {
                "the new process went away".into()
            } else if error.kind() == ErrorKind::TimedOut {
                "the new process did not answer in time".into()
            } else {
                error.to_string()
            };
            warn!("no upgrade, serving on: {error}");
        }
    }

    /// Talks to one that asks until it is ready, and announces it.
    fn serve(self: Arc<Self>, wire: Wire, known: Inheritance) -> io::Result<()> {
        let hello = match wire.receive(STEP) {
            Ok(Frame {
                message: Message::Hello(hello),
                ..
            }) => hello,
            Ok(frame) => return refuse(&wire, frame.message.unexpected().to_string()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return refuse(&wire, error.to_string());
            }
            Err(error) => return Err(error),
        };
        let turn = match self.admit(&hello) {
            Ok(turn) => turn,
            Err(why) => return refuse(&wire, why),
        };
        info!(
            pid = hello.process.pid,
            version = hello.version,
            "an upgrade begins"
        );
        let draining = self.draining().collect();
        let welcome = Welcome {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: ProcessId::own(),
            draining,
            datagrams: true,
        };
        wire.say(&Message::Welcome(welcome), STEP)?;
        self.give_sockets(&wire)?;
        wire.say(&Message::State { known }, STEP)?;
        wire.expect(&Message::Ready, GET_READY)?;
        let successor = Successor {
            process: hello.process,
            with_flows: hello.with_flows,
            datagrams: hello.datagrams,
            wire: Arc::new(wire),
            _turn: turn,
        };
        // Nobody takes it when this process ends.
        if let Err(refused) = self.announce.blocking_send(successor) {
            return refuse(&refused.0.wire, "the running process ends".into());
        }
        Ok(())
    }

    /// Whether a process may become the successor; why not.
    fn admit(self: &Arc<Self>, hello: &Hello) -> Result<Turn, String> {
        if hello.protocol != PROTOCOL {
            return Err(format!(
                "the running process is {} and speaks protocol {PROTOCOL}, not {}; stop it and start the other release",
                env!("CARGO_PKG_VERSION"),
                hello.protocol
            ));
        }
        let pids: Vec<String> = self.draining().map(|p| p.pid.to_string()).collect();
        if pids.len() >= MOST_PREDECESSORS && !hello.with_flows {
            return Err(format!(
                "{} processes still finish their flows after earlier upgrades: pids {}; wait for one of them to end, end one, or \
                 take the live flows over as well (--with-flows)",
                pids.len(),
                pids.join(", ")
            ));
        }
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err("another upgrade is under way".into());
        }
        Ok(Turn(Arc::clone(self)))
    }

    fn draining(&self) -> impl Iterator<Item = ProcessId> {
        self.predecessors.iter().copied().filter(|p| p.is_alive())
    }

    fn give_sockets(&self, wire: &Wire) -> io::Result<()> {
        let sockets = self.estate.sockets()?;
        for batch in sockets.chunks(MOST_DESCRIPTORS) {
            let items = batch.iter().map(|(item, _)| item.clone()).collect();
            let descriptors: Vec<_> = batch.iter().map(|(_, socket)| socket.as_fd()).collect();
            wire.send(&Message::Sockets { items }, &descriptors, &[], STEP)?;
            wire.expect(&Message::Taken, STEP)?;
        }
        Ok(())
    }
}

fn refuse(wire: &Wire, why: String) -> io::Result<()> {
    warn!("an upgrade is refused: {why}");
    // Whether it is still there to hear it does not matter.
    let _ = wire.say(&Message::Refuse { why }, STEP);
    Ok(())
}

impl Estate {
    /// Copies of everything that is listened on.
    fn sockets(&self) -> io::Result<Vec<(SocketItem, OwnedFd)>> {
        let item = |kind, address| SocketItem { kind, address };
        let mut sockets = Vec::new();
        for (kind, address, socket) in self.doors()? {
            sockets.push((item(kind, address), socket));
        }
        for listening in self.listening_sockets()? {
            let kind = match listening.protocol {
                portolan_config::model::Protocol::Tcp => SocketKind::Tcp,
                portolan_config::model::Protocol::Udp => SocketKind::Udp,
            };
            sockets.push((item(kind, Some(listening.address)), listening.socket));
        }
        Ok(sockets)
    }
}

/// The right to be the one upgrade that is under way.
struct Turn(Arc<Desk>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// A process that has everything and waits for the word.
pub(crate) struct Successor {
    pub(super) wire: Arc<Wire>,
    process: ProcessId,
    pub(super) with_flows: bool,
    pub(super) datagrams: bool,
    _turn: Turn,
}

impl Successor {
    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Whether it wants any live flows.
    pub(crate) fn wants_flows(&self) -> bool {
        self.with_flows || self.datagrams
    }

    /// Lets it serve. After an error it does not, and ends.
    pub(crate) async fn begin(&self) -> io::Result<()> {
        let wire = Arc::clone(&self.wire);
        let begun = spawn_blocking(move || {
            wire.say(&Message::Going, STEP)?;
            wire.expect(&Message::Serving, BEGIN)?;
            wire.say(&Message::Farewell, STEP)
        });
        begun
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
