//! Which addresses and ports UDP listens on, as the edge sees it: compared with each snapshot, opened and closed for the workers.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_config::model::Protocol;
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};

use super::{Command, socket};
use crate::edge::BindState;
use crate::listen::{self, is_family_absent};
use crate::sys;
use crate::worker::DoorKey;

/// How often an address that could not be bound is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What listens.
pub(crate) struct Binds {
    bound: BTreeMap<SocketAddr, Bound>,
    /// What `bound` was made for.
    layout: Vec<(DoorKey, Vec<IpAddr>)>,
    tried: Option<Instant>,
    /// What chooses a flow's worker, secret so that no client can choose one.
    salt: u32,
}

struct Bound {
    door: DoorKey,
    /// Why it does not listen; nothing is listed of a family that this host does not have.
    error: Option<Fault>,
}

enum Fault {
    NoFamily,
    Bind(String),
}

impl Binds {
    pub(crate) fn new() -> Self {
        Self {
            bound: BTreeMap::new(),
            layout: Vec::new(),
            tried: None,
            salt: rand::random(),
        }
    }

    /// Every address and port that should listen.
    pub(crate) fn states(&self) -> impl Iterator<Item = BindState> + '_ {
        self.bound.iter().filter_map(|(address, bound)| {
            let error = match &bound.error {
                None => None,
                Some(Fault::NoFamily) => return None,
                Some(Fault::Bind(error)) => Some(error.clone()),
            };
            Some(BindState {
                accelerator: bound.door.accelerator.clone(),
                protocol: Protocol::Udp,
                address: *address,
                error,
            })
        })
    }

    /// Opens what is missing, closes what is no longer wanted, gives to its new listener what has changed hands. `tell` takes the command of
    /// a worker, by its number.
    pub(crate) fn reconcile(
        &mut self,
        snapshot: &Snapshot,
        workers: usize,
        mut tell: impl FnMut(usize, Command),
    ) {
        let mine = snapshot
            .listeners
            .iter()
            .filter(|listener| listener.protocol == Protocol::Udp);
        let layout: Vec<_> = mine
            .map(|listener| (DoorKey::of(listener), listener.addresses.clone()))
            .collect();
        let failed = |bound: &Bound| matches!(bound.error, Some(Fault::Bind(_)));
        let retry = self.bound.values().any(failed)
            && self.tried.is_none_or(|at| at.elapsed() >= RETRY_EVERY);
        if layout == self.layout && !retry {
            return;
        }
        self.layout = layout;
        self.tried = Some(Instant::now());
        let wanted = listen::wanted(snapshot, Protocol::Udp);
        self.bound.retain(|bind, bound| {
            let stays = wanted.contains_key(bind);
            if !stays && bound.error.is_none() {
                (0..workers).for_each(|worker| tell(worker, Command::Close { bind: *bind }));
            }
            stays
        });
        // A socket that workers share would give a flow's datagrams to any of them: where there are too many, each port has one worker.
        let alone = listen::shared(wanted.len(), workers, sys::descriptor_limit());
        for (number, (bind, listener)) in wanted.iter().enumerate() {
            let door = DoorKey::of(listener);
            if let Some(bound) = self.bound.get_mut(bind)
                && !failed(bound)
            {
                if bound.door != door {
                    bound.door = door.clone();
                    for worker in 0..workers {
                        let (bind, door) = (*bind, door.clone());
                        tell(worker, Command::Assign { bind, door });
                    }
                }
                continue;
            }
            let opened = socket::listen(*bind, if alone { 1 } else { workers }, self.salt);
            let error = match opened {
                Ok(sockets) => {
                    let first = if alone { number } else { 0 };
                    open(*bind, &door, sockets, first, workers, &mut tell);
                    None
                }
                Err(error) => Some(fault(*bind, listener, &error)),
            };
            self.bound.insert(*bind, Bound { door, error });
        }
    }
}

fn open(
    bind: SocketAddr,
    door: &DoorKey,
    sockets: Vec<OwnedFd>,
    first: usize,
    workers: usize,
    tell: &mut impl FnMut(usize, Command),
) {
    for (index, socket) in sockets.into_iter().enumerate() {
        let door = door.clone();
        tell(
            (first + index) % workers,
            Command::Open { bind, socket, door },
        );
    }
}

fn fault(bind: SocketAddr, listener: &Arc<ListenerSnapshot>, error: &io::Error) -> Fault {
    if bind.is_ipv6() && bind.ip().is_unspecified() && is_family_absent(error) {
        tracing::info!(%bind, "IPv6 is off on this host; listening on IPv4 alone");
        return Fault::NoFamily;
    }
    tracing::error!(%bind, accelerator = %listener.accelerator, %error, "cannot listen");
    Fault::Bind(error.to_string())
}
