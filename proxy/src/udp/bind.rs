//! Which addresses and ports UDP listens on, as the edge sees it: compared with each snapshot, opened and closed for the workers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use portolan_config::model::{ListenerSettings, Protocol};
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};

use super::socket::Takes;
use super::{Command, Group, Sockets, socket};
use crate::doors::Whose;
use crate::edge::BindState;
use crate::handover::ListeningSocket;
use crate::listen::{self, is_family_absent};
use crate::ranges::Ranges;
use crate::sys;
use crate::wide::{self, Change, Places, Spread};
use crate::worker::DoorKey;

/// How often an address that could not be bound is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// What listens.
pub(crate) struct Binds {
    bound: BTreeMap<SocketAddr, Bound>,
    /// Addresses with more ports than sockets.
    wide: Places<OwnedFd>,
    /// What answers of those leave by: by worker and whether it is for IPv6.
    raw: BTreeMap<(usize, bool), Arc<OwnedFd>>,
    /// What listeners that are gone have left to the workers, for as long as there are flows.
    leaving: BTreeMap<SocketAddr, Left>,
    /// What both were made for.
    layout: Vec<(DoorKey, Vec<IpAddr>)>,
    tried: Option<Instant>,
    /// A successor has been given the sockets.
    handed: bool,
    /// What chooses a flow's worker, secret so that no client can choose one.
    salt: u32,
}

/// Sockets that only workers have any more, and the worker that has the first of them.
type Left = (Weak<Sockets>, usize);

struct Bound {
    door: DoorKey,
    /// In the order of the workers; kept to be handed to a successor.
    group: Group,
    /// The worker that has the first of them.
    first: usize,
    /// Why it does not listen; nothing is listed of a family that this host does not have.
    error: Option<Fault>,
}

impl Bound {
    fn failed(&self) -> bool {
        matches!(self.error, Some(Fault::Bind(_)))
    }
}

enum Fault {
    NoFamily,
    Bind(String),
}

impl Binds {
    pub(crate) fn new() -> Self {
        Self {
            bound: BTreeMap::new(),
            wide: Places::new(),
            raw: BTreeMap::new(),
            leaving: BTreeMap::new(),
            layout: Vec::new(),
            tried: None,
            handed: false,
            salt: rand::random(),
        }
    }

    /// Every address and port that should listen.
    pub(crate) fn states(&self) -> impl Iterator<Item = BindState> + '_ {
        let wide = self.wide.states(Protocol::Udp);
        let bound = self.bound.iter().filter_map(|(address, bound)| {
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
        });
        bound.chain(wide)
    }

    /// Copies of all sockets, for a successor.
    pub(crate) fn sockets(&mut self) -> io::Result<Vec<ListeningSocket>> {
        self.handed = true;
        let mut sockets = self.wide.sockets(Protocol::Udp)?;
        for (address, bound) in &self.bound {
            for socket in bound.group.iter() {
                sockets.push(ListeningSocket {
                    protocol: Protocol::Udp,
                    address: *address,
                    socket: socket.try_clone()?,
                });
            }
        }
        Ok(sockets)
    }

    /// The worker that a flow's datagrams meet that come in by this socket of an address.
    pub(crate) fn worker_of(&self, bind: SocketAddr, slot: usize, workers: usize) -> usize {
        let first = self.bound.get(&bind).map_or(0, |bound| bound.first);
        (first + slot) % workers
    }

    /// Descriptors that the sockets take.
    pub(crate) fn descriptors(&self) -> usize {
        self.bound.values().map(|bound| bound.group.len()).sum()
    }

    /// Whether a successor has been given the sockets, and reads them.
    pub(crate) fn are_handed(&self) -> bool {
        self.handed
    }

    /// Opens what is missing, closes what is no longer wanted, gives to its new listener what has changed hands. `tell` takes the command of
    /// a worker, by its number. It takes its own of what is `inherited`.
    pub(crate) fn reconcile(
        &mut self,
        snapshot: &Snapshot,
        workers: usize,
        inherited: &mut Vec<ListeningSocket>,
        ranges: &mut Ranges,
        mut tell: impl FnMut(usize, Command),
    ) {
        let mine = snapshot
            .listeners
            .iter()
            .filter(|listener| listener.protocol == Protocol::Udp);
        let layout: Vec<_> = mine
            .map(|listener| (DoorKey::of(listener), listener.addresses.clone()))
            .collect();
        let retry = (self.wide.failed() || self.bound.values().any(Bound::failed))
            && self.tried.is_none_or(|at| at.elapsed() >= RETRY_EVERY);
        if layout == self.layout && !retry {
            return;
        }
        self.layout = layout;
        self.tried = Some(Instant::now());
        let can_steer = || ranges.takes_any(Protocol::Udp);
        let spread = Spread::of(snapshot, Protocol::Udp, can_steer);
        let wide = wide::wanted(snapshot, Protocol::Udp, &spread);
        let wanted = listen::wanted(snapshot, Protocol::Udp, &spread);
        let Self {
            wide: had,
            raw,
            bound,
            salt,
            ..
        } = self;
        let mut udp = Udp {
            workers,
            salt: *salt,
            transparent: ranges.transparent(),
            raw,
            tell: &mut tell,
        };
        // Before ordinary sockets are closed, so that ports that come to a range are never without one.
        had.serve(&mut udp, &wide, ranges, inherited, |at| {
            bound.contains_key(&at)
        });
        self.bind_ports(&wanted, workers, inherited, &mut tell);
        let mut udp = Udp {
            workers,
            salt: self.salt,
            transparent: ranges.transparent(),
            raw: &mut self.raw,
            tell: &mut tell,
        };
        self.wide.close(&mut udp, &wide, ranges);
        if wide.is_empty() {
            self.raw.clear();
        }
    }

    /// The same for sockets of one port each.
    fn bind_ports(
        &mut self,
        wanted: &BTreeMap<SocketAddr, Arc<ListenerSnapshot>>,
        workers: usize,
        inherited: &mut Vec<ListeningSocket>,
        tell: &mut impl FnMut(usize, Command),
    ) {
        self.leaving
            .retain(|_, (group, _)| group.strong_count() > 0);
        self.bound.retain(|bind, bound| {
            let stays = wanted.contains_key(bind);
            if !stays && bound.error.is_none() {
                let group = Arc::downgrade(&bound.group);
                self.leaving.insert(*bind, (group, bound.first));
                (0..workers).for_each(|worker| tell(worker, Command::Close { bind: *bind }));
            }
            stays
        });
        // A socket that workers share would give a flow's datagrams to any of them: where there are too many, each port has one worker.
        let alone = listen::shared(wanted.len(), workers, sys::descriptor_limit());
        for (number, (bind, listener)) in wanted.iter().enumerate() {
            let door = DoorKey::of(listener);
            if let Some(bound) = self.bound.get_mut(bind)
                && !bound.failed()
            {
                if bound.door != door {
                    bound.door = door.clone();
                    for worker in 0..workers {
                        let (bind, whose) = (*bind, Whose::One(door.clone()));
                        tell(worker, Command::Assign { bind, whose });
                    }
                }
                continue;
            }
            // What is still there must come back whole: a second group of sockets would take flows from the first.
            let left = self.leaving.remove(bind);
            let left = left.and_then(|(group, first)| Some((group.upgrade()?, first)));
            let opened = match left {
                Some(left) => Ok(left),
                None => {
                    let workers = if alone { 1 } else { workers };
                    take_or_listen(inherited, *bind, workers, self.salt).map(|group| {
                        let first = if group.len() == 1 { number } else { 0 };
                        (group, first)
                    })
                }
            };
            let (group, first, error) = match opened {
                Ok((group, first)) => (group, first, None),
                Err(error) => (Group::from([]), 0, Some(fault(*bind, listener, &error))),
            };
            open(*bind, &door, &group, first, workers, tell);
            let bound = Bound {
                door,
                group,
                first,
                error,
            };
            self.bound.insert(*bind, bound);
        }
    }
}

/// Sockets of UDP that take many ports.
struct Udp<'b, T> {
    workers: usize,
    salt: u32,
    transparent: bool,
    raw: &'b mut BTreeMap<(usize, bool), Arc<OwnedFd>>,
    tell: &'b mut T,
}

impl<T: FnMut(usize, Command)> Udp<'_, T> {
    /// Makes sure that each worker can answer.
    fn prepare(&mut self, ipv6: bool) -> io::Result<()> {
        for worker in 0..self.workers {
            if let Entry::Vacant(vacant) = self.raw.entry((worker, ipv6)) {
                vacant.insert(Arc::new(socket::raw(ipv6)?));
            }
        }
        Ok(())
    }
}

impl<T: FnMut(usize, Command)> wide::Kind for Udp<'_, T> {
    type Socket = OwnedFd;
    const PROTOCOL: Protocol = Protocol::Udp;

    fn open(&mut self, at: SocketAddr, _settings: &ListenerSettings) -> io::Result<Vec<OwnedFd>> {
        self.prepare(at.is_ipv6())?;
        let transparent = self.transparent;
        let takes = Takes::ManyPorts { transparent };
        socket::listen(at, self.workers, self.salt, takes)
    }

    fn adopt(
        &mut self,
        at: SocketAddr,
        _settings: &ListenerSettings,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<Vec<OwnedFd>> {
        self.prepare(at.is_ipv6())?;
        // The group that they are steers as it did, so it must stay what it is, however many workers there are.
        for socket in &sockets {
            socket::widen(socket.as_fd(), at.is_ipv6(), self.transparent)?;
        }
        Ok(sockets)
    }

    fn renew(&self, _sockets: &[Arc<OwnedFd>], _settings: &ListenerSettings) {
        // Nothing of a listener's settings is a socket's.
    }

    fn tell(&mut self, change: Change<'_, OwnedFd>) {
        match change {
            Change::Open { at, sockets, doors } => {
                let group = Group::from(sockets.to_vec());
                for slot in 0..sockets.len() {
                    let worker = slot % self.workers;
                    let command = Command::Open {
                        bind: at,
                        group: Arc::clone(&group),
                        slot,
                        whose: Whose::ByPort(Arc::clone(&doors)),
                        raw: self.raw.get(&(worker, at.is_ipv6())).map(Arc::clone),
                    };
                    (self.tell)(worker, command);
                }
            }
            Change::Assign { at, doors } => {
                for worker in 0..self.workers {
                    let whose = Whose::ByPort(Arc::clone(&doors));
                    (self.tell)(worker, Command::Assign { bind: at, whose });
                }
            }
            Change::Close { at } => {
                for worker in 0..self.workers {
                    (self.tell)(worker, Command::Close { bind: at });
                }
            }
        }
    }
}

fn open(
    bind: SocketAddr,
    door: &DoorKey,
    group: &Group,
    first: usize,
    workers: usize,
    tell: &mut impl FnMut(usize, Command),
) {
    for slot in 0..group.len() {
        let command = Command::Open {
            bind,
            group: Arc::clone(group),
            slot,
            whose: Whose::One(door.clone()),
            raw: None,
        };
        tell((first + slot) % workers, command);
    }
}

/// A predecessor's sockets, or new ones.
fn take_or_listen(
    inherited: &mut Vec<ListeningSocket>,
    bind: SocketAddr,
    workers: usize,
    salt: u32,
) -> io::Result<Group> {
    // The group that they are steers as it did, so it must stay what it is, however many workers there are.
    let mut sockets = take(inherited, bind);
    if sockets.is_empty() {
        sockets = socket::listen(bind, workers, salt, Takes::ItsPort)?;
    }
    Ok(sockets.into_iter().map(Arc::new).collect())
}

/// A predecessor's sockets of one address and port, in the order of its workers.
fn take(inherited: &mut Vec<ListeningSocket>, bind: SocketAddr) -> Vec<OwnedFd> {
    let mine = inherited.extract_if(.., |socket| {
        socket.address == bind && socket.protocol == Protocol::Udp
    });
    mine.map(|socket| socket.socket).collect()
}

fn fault(bind: SocketAddr, listener: &Arc<ListenerSnapshot>, error: &io::Error) -> Fault {
    if bind.is_ipv6() && bind.ip().is_unspecified() && is_family_absent(error) {
        tracing::info!(%bind, "IPv6 is off on this host; listening on IPv4 alone");
        return Fault::NoFamily;
    }
    tracing::error!(%bind, accelerator = %listener.accelerator, %error, "cannot listen");
    Fault::Bind(error.to_string())
}
