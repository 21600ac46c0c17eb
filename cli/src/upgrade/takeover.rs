//! The successor's side: asks the running process for what it has, starts with it, and takes over at its word.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portolan_config::model::Protocol;
use portolan_control::Inheritance;
use portolan_proxy::ListeningSocket;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::flows::take_flows;
use super::message::{Hello, Message, SocketItem, SocketKind, Welcome};
use super::process::ProcessId;
use super::wire::{Frame, Wire, invalid};
use super::{BEGIN, PROTOCOL, STEP, socket};
use crate::assembly::Estate;

/// How long a predecessor whose connection has ended may take to be gone, if that is what it means.
const DYING: Duration = Duration::from_secs(1);

/// A predecessor that has everything to give and waits for us to be ready.
pub(crate) struct Takeover {
    wire: Arc<Wire>,
    predecessor: ProcessId,
    draining: Vec<ProcessId>,
    with_flows: bool,
    /// It gives its flows of UDP.
    datagrams: bool,
}

/// What a predecessor gave.
#[derive(Default)]
pub(crate) struct Inherited {
    /// What its listeners listen on.
    pub(crate) listening: Vec<ListeningSocket>,
    /// Everything else that it listens on.
    doors: Vec<(SocketKind, SocketAddr, OwnedFd)>,
    upgrade: Option<OwnedFd>,
    /// What holds the interface of its addresses in life.
    pub(crate) interface: Option<OwnedFd>,
    /// What it knows.
    pub(crate) known: Inheritance,
}

impl Inherited {
    /// The socket of a kind that listens where it should.
    pub(crate) fn door(&mut self, kind: SocketKind, address: SocketAddr) -> Option<TcpListener> {
        let mut found = self
            .doors
            .extract_if(.., |(its, at, _)| *its == kind && *at == address);
        found.next().map(|(_, _, socket)| socket.into())
    }

    /// The same, or else one that `bind` makes; none where nothing is to listen.
    pub(crate) fn or_bind(
        &mut self,
        kind: SocketKind,
        address: Option<SocketAddr>,
        bind: impl FnOnce(SocketAddr) -> anyhow::Result<TcpListener>,
    ) -> anyhow::Result<Option<TcpListener>> {
        let Some(address) = address else {
            return Ok(None);
        };
        match self.door(kind, address) {
            Some(inherited) => Ok(Some(inherited)),
            None => bind(address).map(Some),
        }
    }

    /// The socket that upgrades are asked for on.
    pub(crate) fn upgrade_socket(&mut self) -> Option<UnixListener> {
        self.upgrade.take().map(UnixListener::from)
    }

    fn take(&mut self, item: &SocketItem, socket: OwnedFd) {
        let SocketItem { kind, address } = *item;
        let listening = |protocol, address, socket| ListeningSocket {
            protocol,
            address,
            socket,
        };
        match (kind, address) {
            (SocketKind::Tcp, Some(address)) => {
                let socket = listening(Protocol::Tcp, address, socket);
                self.listening.push(socket);
            }
            (SocketKind::Udp, Some(address)) => {
                let socket = listening(Protocol::Udp, address, socket);
                self.listening.push(socket);
            }
            (SocketKind::Admin | SocketKind::Readiness | SocketKind::Api, Some(address)) => {
                self.doors.push((kind, address, socket));
            }
            (SocketKind::Upgrade, _) => self.upgrade = Some(socket),
            (SocketKind::Interface, _) => self.interface = Some(socket),
            // Closed: nobody here would know what to do with it.
            (SocketKind::Unknown, _)
            | (
                SocketKind::Tcp
                | SocketKind::Udp
                | SocketKind::Admin
                | SocketKind::Readiness
                | SocketKind::Api,
                None,
            ) => {}
        }
    }
}

/// Asks the process that uses `state_file` for everything it has. `None` when there is none.
pub(crate) fn ask(
    state_file: &Path,
    with_flows: bool,
) -> anyhow::Result<Option<(Takeover, Inherited)>> {
    let path = socket::path(state_file);
    let stream = socket::connect(&path)
        .with_context(|| format!("{} cannot be connected to", path.display()))?;
    let Some(stream) = stream else {
        info!(socket = %path.display(), "nobody to take over from: starting afresh");
        return Ok(None);
    };
    if !socket::is_trusted(&stream)? {
        bail!(
            "{} is another user's; nothing is taken over",
            path.display()
        );
    }
    let wire = Wire::new(stream)?;
    let welcome = greet(&wire, with_flows).context("the running process gives nothing up")?;
    let Welcome {
        protocol: _,
        version,
        process,
        mut draining,
        datagrams,
    } = welcome;
    info!(pid = process.pid, version, "taking over");
    match receive_all(&wire) {
        Ok(inherited) => {
            draining.push(process);
            let takeover = Takeover {
                wire: Arc::new(wire),
                predecessor: process,
                draining,
                with_flows,
                datagrams,
            };
            Ok(Some((takeover, inherited)))
        }
        Err(error) if is_gone(process) => {
            warn!(%error, "the running process has ended meanwhile: starting afresh");
            Ok(None)
        }
        Err(error) => Err(error).context("the running process serves on"),
    }
}

fn greet(wire: &Wire, with_flows: bool) -> io::Result<Welcome> {
    let hello = Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process: ProcessId::own(),
        with_flows,
        datagrams: true,
    };
    wire.say(&Message::Hello(hello), STEP)?;
    let heard = wire.receive(STEP)?.message;
    let Message::Welcome(welcome) = heard else {
        return Err(heard.unexpected());
    };
    if welcome.protocol != PROTOCOL {
        let why = format!("it speaks protocol {}, not {PROTOCOL}", welcome.protocol);
        return Err(io::Error::other(why));
    }
    Ok(welcome)
}

fn receive_all(wire: &Wire) -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    loop {
        let Frame {
            message,
            descriptors,
            blob: _,
        } = wire.receive(STEP)?;
        if let Message::State { known } = message {
            inherited.known = known;
            return Ok(inherited);
        }
        let Message::Sockets { items } = message else {
            return Err(message.unexpected());
        };
        if items.len() != descriptors.len() {
            return Err(invalid("a descriptor makes a socket"));
        }
        for (item, socket) in items.iter().zip(descriptors) {
            inherited.take(item, socket);
        }
        wire.say(&Message::Taken, STEP)?;
    }
}

/// Whether a process that said nothing more has ended.
fn is_gone(process: ProcessId) -> bool {
    let until = Instant::now() + DYING;
    while process.is_alive() {
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

impl Takeover {
    /// Predecessors that may still finish their flows.
    pub(crate) fn predecessors(&self) -> Vec<ProcessId> {
        self.draining.clone()
    }

    /// Says that we could serve, and waits for the word. An error means that the predecessor serves on, and we must not.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        self.unless_gone(|wire| {
            wire.say(&Message::Ready, STEP)?;
            wire.expect(&Message::Going, BEGIN)
        })
        .await
    }

    /// Says that we serve, and waits until the predecessor accepts nothing any more. An error is as before.
    pub(crate) async fn serving(&self) -> anyhow::Result<()> {
        self.unless_gone(|wire| {
            wire.say(&Message::Serving, STEP)?;
            wire.expect(&Message::Farewell, BEGIN)
        })
        .await
    }

    /// A predecessor that dies leaves us what it gave; everything else that goes wrong leaves it serving.
    async fn unless_gone(
        &self,
        talk: impl FnOnce(&Wire) -> io::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let (wire, predecessor) = (Arc::clone(&self.wire), self.predecessor);
        spawn_blocking(move || match talk(&wire) {
            Ok(()) => Ok(()),
            Err(error) if is_gone(predecessor) => {
                warn!(%error, pid = predecessor.pid, "the predecessor has ended: going on alone");
                Ok(())
            }
            Err(error) => Err(error),
        })
        .await?
        .with_context(|| format!("pid {} serves on", self.predecessor.pid))
    }

    /// Takes the live flows over beside everything else: those of UDP, and those of TCP if they were asked for.
    pub(crate) fn take_flows(self, estate: Estate, within: Duration) {
        let Takeover {
            wire,
            predecessor,
            draining: _,
            with_flows,
            datagrams,
        } = self;
        if !datagrams {
            estate.go_on_with_datagrams();
            if !with_flows {
                return;
            }
        }
        let without = estate.clone();
        let wanted = (datagrams, with_flows);
        let taking = move || match take_flows(&estate, &wire, wanted, within) {
            Ok(_) if !with_flows => {}
            Ok(flows) => info!(flows, pid = predecessor.pid, "live flows were taken over"),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                info!(
                    pid = predecessor.pid,
                    "the predecessor keeps the rest of its flows"
                );
            }
            Err(error) => warn!(%error, pid = predecessor.pid, "not all flows were taken over"),
        };
        // Its own thread, since nobody waits for it: this process may end before the last flow has come.
        if let Err(error) = thread::Builder::new().name("flows".into()).spawn(taking) {
            warn!(%error, "live flows stay with the predecessor");
            without.go_on_with_datagrams();
        }
    }
}
