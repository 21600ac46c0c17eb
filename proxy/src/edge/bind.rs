//! Which addresses and ports TCP listens on: compared with each snapshot, opened and closed for the workers.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpListener;
use portolan_config::model::{ListenerSettings, Protocol};
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};

use super::{Edge, Listening, Place, RETRY_BIND_EVERY, send};
use crate::doors::Whose;
use crate::handover::ListeningSocket;
use crate::listen::{self, Bound};
use crate::ranges::Ranges;
use crate::sys;
use crate::wide::{self, Change, Spread};
use crate::worker::{Command, DoorKey};

impl Edge {
    /// Opens what is missing, closes what is no longer wanted, gives to its new listener what has changed hands.
    pub(super) fn reconcile(&self, listening: &mut Listening, snapshot: &Snapshot) {
        let layout: Vec<_> = snapshot
            .listeners
            .iter()
            .map(|listener| Place {
                door: DoorKey::of(listener),
                addresses: listener.addresses.clone(),
                keepalive: listener.settings.keepalive,
                user_timeout: listener.settings.user_timeout,
            })
            .collect();
        let failed =
            listening.wide.failed() || listening.bound.values().any(|bound| bound.error.is_some());
        let retry = failed
            && listening
                .tried
                .is_none_or(|at| at.elapsed() >= RETRY_BIND_EVERY);
        if layout == listening.layout && !retry {
            return;
        }
        listening.layout = layout;
        listening.tried = Some(Instant::now());
        let can_steer = || listening.ranges.takes_any(Protocol::Tcp);
        let spread = Spread::of(snapshot, Protocol::Tcp, can_steer);
        let wide = wide::wanted(snapshot, Protocol::Tcp, &spread);
        let wanted = listen::wanted(snapshot, Protocol::Tcp, &spread);
        self.serve_wide(listening, &wide);
        let gone: Vec<SocketAddr> = listening
            .bound
            .keys()
            .filter(|bind| !wanted.contains_key(bind))
            .copied()
            .collect();
        for bind in gone {
            if listening
                .bound
                .remove(&bind)
                .is_some_and(|bound| bound.error.is_none())
            {
                self.tell(|| Command::Close { bind });
            }
        }
        let shared = listen::shared(wanted.len(), self.workers.len(), sys::descriptor_limit());
        for (bind, listener) in &wanted {
            let door = DoorKey::of(listener);
            match listening.bound.get_mut(bind) {
                Some(bound) if bound.error.is_none() => {
                    listen::renew(&bound.sockets, &listener.settings);
                    if bound.door != door {
                        bound.door = door.clone();
                        self.tell(|| Command::Assign {
                            bind: *bind,
                            whose: Whose::One(door.clone()),
                        });
                    }
                }
                _ => {
                    let inherited = take(&mut listening.inherited, *bind);
                    let bound = self.open(*bind, listener, door, shared, inherited);
                    listening.bound.insert(*bind, bound);
                }
            }
        }
        listening
            .bound
            .retain(|_, bound| bound.error.as_deref() != Some(NO_FAMILY));
        let Listening {
            wide: had, ranges, ..
        } = listening;
        had.close(&mut self.tcp(ranges), &wide, ranges);
    }

    /// Before ordinary sockets are closed, so that ports that come to a range are never without one.
    fn serve_wide(&self, listening: &mut Listening, wanted: &BTreeMap<IpAddr, wide::Wanted>) {
        let Listening {
            wide,
            ranges,
            inherited,
            bound,
            ..
        } = listening;
        let mut tcp = self.tcp(ranges);
        wide.serve(&mut tcp, wanted, ranges, inherited, |at| {
            bound.contains_key(&at)
        });
    }

    fn tcp(&self, ranges: &Ranges) -> Tcp<'_> {
        Tcp {
            edge: self,
            transparent: ranges.transparent(),
        }
    }

    /// Opens one address and port for all workers; remembers why it could not.
    fn open(
        &self,
        bind: SocketAddr,
        listener: &ListenerSnapshot,
        door: DoorKey,
        shared: bool,
        inherited: Vec<OwnedFd>,
    ) -> Bound {
        let workers = self.workers.len();
        let error = match listen::open(bind, &listener.settings, workers, shared, inherited) {
            Ok(sockets) => {
                // More of them than workers only after a predecessor with more workers: none of its queues may be orphaned.
                for (index, socket) in sockets.iter().enumerate() {
                    let command = Command::Open {
                        bind,
                        socket: Arc::clone(socket),
                        whose: Whose::One(door.clone()),
                    };
                    send(&self.workers[index % workers], command);
                }
                return Bound {
                    door,
                    sockets,
                    error: None,
                };
            }
            Err(error)
                if bind.is_ipv6()
                    && bind.ip().is_unspecified()
                    && listen::is_family_absent(&error) =>
            {
                tracing::info!(%bind, "IPv6 is off on this host; listening on IPv4 alone");
                NO_FAMILY.to_owned()
            }
            Err(error) => {
                tracing::error!(%bind, accelerator = %listener.accelerator, %error, "cannot listen");
                error.to_string()
            }
        };
        Bound {
            door,
            sockets: Vec::new(),
            error: Some(error),
        }
    }
}

/// Sockets of TCP that take many ports.
struct Tcp<'e> {
    edge: &'e Edge,
    transparent: bool,
}

impl wide::Kind for Tcp<'_> {
    type Socket = TcpListener;
    const PROTOCOL: Protocol = Protocol::Tcp;

    fn open(
        &mut self,
        at: SocketAddr,
        settings: &ListenerSettings,
    ) -> io::Result<Vec<TcpListener>> {
        self.adopt(at, settings, Vec::new())
    }

    fn adopt(
        &mut self,
        at: SocketAddr,
        settings: &ListenerSettings,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<Vec<TcpListener>> {
        let workers = self.edge.workers.len();
        listen::open_wide(at, settings, workers, self.transparent, sockets)
    }

    fn renew(&self, sockets: &[Arc<TcpListener>], settings: &ListenerSettings) {
        listen::renew(sockets, settings);
    }

    fn tell(&mut self, change: Change<'_, TcpListener>) {
        match change {
            Change::Open { at, sockets, doors } => {
                let workers = &self.edge.workers;
                for (index, socket) in sockets.iter().enumerate() {
                    let command = Command::Open {
                        bind: at,
                        socket: Arc::clone(socket),
                        whose: Whose::ByPort(Arc::clone(&doors)),
                    };
                    send(&workers[index % workers.len()], command);
                }
            }
            Change::Assign { at, doors } => self.edge.tell(|| Command::Assign {
                bind: at,
                whose: Whose::ByPort(Arc::clone(&doors)),
            }),
            Change::Close { at } => self.edge.tell(|| Command::Close { bind: at }),
        }
    }
}

/// Marks a wildcard of a family that this host does not have: not listened on, and no fault.
const NO_FAMILY: &str = "address family not available";

/// The inherited sockets of one address and port.
fn take(inherited: &mut Vec<ListeningSocket>, bind: SocketAddr) -> Vec<OwnedFd> {
    let mine = inherited.extract_if(.., |socket| {
        socket.address == bind && socket.protocol == Protocol::Tcp
    });
    mine.map(|socket| socket.socket).collect()
}
