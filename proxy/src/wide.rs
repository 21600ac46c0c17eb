//! Listeners with more ports than are worth a socket each: per protocol and address one socket a worker, whichever listeners and ports
//! there are. [`crate::ranges`] brings the clients of all ports there; the worker tells the listeners apart by port.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use portolan_config::model::{ListenerSettings, Protocol};
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};
use portolan_config::units::{AcceleratorName, PortRange};

use crate::doors::ByPort;
use crate::edge::BindState;
use crate::handover::ListeningSocket;
use crate::listen;
use crate::ranges::Ranges;
use crate::worker::DoorKey;

/// Ports of a listener that are sockets at most.
pub const MOST_SOCKET_PORTS: usize = 1000;

/// Ports of an accelerator and protocol from which on they share sockets where they can, however small its listeners are: custom
/// routing makes a listener of each destination.
const MANY_PORTS: usize = 4096;

/// Which listeners of a protocol share sockets.
pub(crate) struct Spread {
    ports: HashMap<AcceleratorName, usize>,
    can_steer: bool,
}

impl Spread {
    /// `can_steer` is asked only where sockets would do, too.
    pub(crate) fn of(
        snapshot: &Snapshot,
        protocol: Protocol,
        can_steer: impl FnOnce() -> bool,
    ) -> Self {
        let mut ports: HashMap<AcceleratorName, usize> = HashMap::new();
        for listener in snapshot.listeners.iter().filter(|l| l.protocol == protocol) {
            *ports.entry(listener.accelerator.clone()).or_default() += listener.ports.len();
        }
        let many = ports.values().any(|ports| *ports > MANY_PORTS);
        Self {
            can_steer: many && can_steer(),
            ports,
        }
    }

    pub(crate) fn is_wide(&self, listener: &ListenerSnapshot) -> bool {
        let all = self.ports.get(&listener.accelerator).copied();
        listener.ports.len() > MOST_SOCKET_PORTS
            || (self.can_steer && all.is_some_and(|all| all > MANY_PORTS))
    }
}

/// What an address takes.
pub(crate) struct Wanted {
    /// Ascending, apart from each other; never empty.
    parts: Vec<(PortRange, Arc<ListenerSnapshot>)>,
}

impl Wanted {
    fn holds(&self, port: u16) -> bool {
        self.parts.iter().any(|(range, _)| range.contains(port))
    }

    /// Neighbours as one.
    fn ranges(&self) -> Vec<PortRange> {
        let mut ranges: Vec<PortRange> = Vec::new();
        for (range, _) in &self.parts {
            let joined = ranges.last().and_then(|last| {
                let next = last.last().checked_add(1) == Some(range.first());
                next.then(|| PortRange::new(last.first(), range.last()))
                    .flatten()
            });
            match (joined, ranges.last_mut()) {
                (Some(joined), Some(last)) => *last = joined,
                (_, _) => ranges.push(*range),
            }
        }
        ranges
    }

    fn settings(&self) -> &ListenerSettings {
        &self.parts[0].1.settings
    }

    fn doors(&self) -> ByPort<DoorKey> {
        let parts = self.parts.iter();
        ByPort {
            parts: parts.map(|(range, l)| (*range, DoorKey::of(l))).collect(),
            keepalive: self.settings().keepalive,
            user_timeout: self.settings().user_timeout,
        }
    }

    /// Every listener with the first of its ports.
    fn listeners(&self) -> Vec<(AcceleratorName, u16)> {
        let first = |(range, listener): &(PortRange, Arc<ListenerSnapshot>)| {
            let is_first = listener.ports.first() == range.first();
            is_first.then(|| (listener.accelerator.clone(), range.first()))
        };
        self.parts.iter().filter_map(first).collect()
    }
}

/// What must be served of wide listeners, by address.
pub(crate) fn wanted(
    snapshot: &Snapshot,
    protocol: Protocol,
    spread: &Spread,
) -> BTreeMap<IpAddr, Wanted> {
    let mut wanted: BTreeMap<IpAddr, Wanted> = BTreeMap::new();
    let mine = snapshot.listeners.iter().filter(|l| l.protocol == protocol);
    for listener in mine.filter(|listener| spread.is_wide(listener)) {
        for ip in listen::addresses(listener) {
            let parts = listener.ports.ranges().iter();
            let entry = wanted.entry(ip).or_insert(Wanted { parts: Vec::new() });
            entry
                .parts
                .extend(parts.map(|range| (*range, Arc::clone(listener))));
        }
    }
    for place in wanted.values_mut() {
        place.parts.sort_by_key(|(range, _)| *range);
        // The file and the API keep listeners apart; whoever comes first has a port that two ask for all the same.
        place
            .parts
            .dedup_by(|later, earlier| later.0.first() <= earlier.0.last());
    }
    wanted
}

/// What differs between TCP and UDP.
pub(crate) trait Kind {
    type Socket: AsFd;
    const PROTOCOL: Protocol;

    /// Sockets for all workers at one address and port.
    fn open(
        &mut self,
        at: SocketAddr,
        settings: &ListenerSettings,
    ) -> io::Result<Vec<Self::Socket>>;

    /// The same of a predecessor's.
    fn adopt(
        &mut self,
        at: SocketAddr,
        settings: &ListenerSettings,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<Vec<Self::Socket>>;

    /// Other settings of the listeners.
    fn renew(&self, sockets: &[Arc<Self::Socket>], settings: &ListenerSettings);

    /// Tells the workers.
    fn tell(&mut self, change: Change<'_, Self::Socket>);
}

/// What the workers are told.
pub(crate) enum Change<'s, S> {
    Open {
        at: SocketAddr,
        sockets: &'s [Arc<S>],
        doors: Arc<ByPort<DoorKey>>,
    },
    Assign {
        at: SocketAddr,
        doors: Arc<ByPort<DoorKey>>,
    },
    Close {
        at: SocketAddr,
    },
}

/// The addresses of a protocol that have wide listeners.
pub(crate) struct Places<S> {
    places: BTreeMap<IpAddr, Place<S>>,
}

struct Place<S> {
    /// Where the sockets are bound.
    at: SocketAddr,
    /// In the order of the workers; kept to be handed to a successor. Empty where there is an error.
    sockets: Vec<Arc<S>>,
    doors: Arc<ByPort<DoorKey>>,
    listeners: Vec<(AcceleratorName, u16)>,
    error: Option<Fault>,
}

enum Fault {
    /// A wildcard of a family that this host does not have: no fault of anybody's.
    NoFamily,
    Bind(String),
}

impl<S: AsFd> Places<S> {
    pub(crate) fn new() -> Self {
        Self {
            places: BTreeMap::new(),
        }
    }

    /// Whether some are to be tried again.
    pub(crate) fn failed(&self) -> bool {
        let failed = |place: &Place<S>| matches!(place.error, Some(Fault::Bind(_)));
        self.places.values().any(failed)
    }

    /// Every listener at each of its addresses, by its first port.
    pub(crate) fn states(&self, protocol: Protocol) -> Vec<BindState> {
        let mut states = Vec::new();
        for (ip, place) in &self.places {
            let error = match &place.error {
                None => None,
                Some(Fault::NoFamily) => continue,
                Some(Fault::Bind(error)) => Some(error.clone()),
            };
            let state = |(accelerator, port): &(AcceleratorName, u16)| BindState {
                accelerator: accelerator.clone(),
                protocol,
                address: SocketAddr::new(*ip, *port),
                error: error.clone(),
            };
            states.extend(place.listeners.iter().map(state));
        }
        states
    }

    /// Copies of all sockets, for a successor.
    pub(crate) fn sockets(&self, protocol: Protocol) -> io::Result<Vec<ListeningSocket>> {
        let mut copies = Vec::new();
        for place in self.places.values() {
            for socket in &place.sockets {
                copies.push(ListeningSocket {
                    protocol,
                    address: place.at,
                    socket: socket.as_fd().try_clone_to_owned()?,
                });
            }
        }
        Ok(copies)
    }

    /// Lets the sockets go; the workers have theirs.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
    }

    /// Opens what is missing and gives each port to its listener. `is_taken` says where ordinary sockets of ours are.
    pub(crate) fn serve<K: Kind<Socket = S>>(
        &mut self,
        kind: &mut K,
        wanted: &BTreeMap<IpAddr, Wanted>,
        ranges: &mut Ranges,
        inherited: &mut Vec<ListeningSocket>,
        is_taken: impl Fn(SocketAddr) -> bool,
    ) {
        for (ip, wanted) in wanted {
            let old = self.places.remove(ip);
            let stays = old
                .as_ref()
                .is_some_and(|old| old.error.is_none() && wanted.holds(old.at.port()));
            let place = match old {
                Some(old) if stays => again(kind, old, wanted, ranges),
                old => {
                    let opened = anew(kind, *ip, wanted, ranges, inherited, &is_taken);
                    if let Some(old) = old.filter(|old| old.error.is_none()) {
                        kind.tell(Change::Close { at: old.at });
                    }
                    opened
                }
            };
            self.places.insert(*ip, place);
        }
    }

    /// Closes what is no longer wanted.
    pub(crate) fn close<K: Kind<Socket = S>>(
        &mut self,
        kind: &mut K,
        wanted: &BTreeMap<IpAddr, Wanted>,
        ranges: &mut Ranges,
    ) {
        let gone = self.places.extract_if(.., |ip, _| !wanted.contains_key(ip));
        for (ip, place) in gone {
            // What comes now meets nobody here; what has come is taken before the sockets close.
            ranges.forget(K::PROTOCOL, ip);
            if place.error.is_none() {
                kind.tell(Change::Close { at: place.at });
            }
        }
    }
}

/// A place that has its sockets.
fn again<K: Kind>(
    kind: &mut K,
    old: Place<K::Socket>,
    wanted: &Wanted,
    ranges: &mut Ranges,
) -> Place<K::Socket> {
    let doors = Arc::new(wanted.doors());
    let steered = ranges.serve(
        K::PROTOCOL,
        old.at.ip(),
        old.sockets[0].as_fd(),
        wanted.ranges(),
    );
    if let Err(error) = steered {
        kind.tell(Change::Close { at: old.at });
        return failed(old.at, wanted, &error);
    }
    kind.renew(&old.sockets, wanted.settings());
    if *doors != *old.doors {
        kind.tell(Change::Assign {
            at: old.at,
            doors: Arc::clone(&doors),
        });
    }
    Place {
        doors,
        listeners: wanted.listeners(),
        ..old
    }
}

/// A place that is new, or must have others.
fn anew<K: Kind>(
    kind: &mut K,
    ip: IpAddr,
    wanted: &Wanted,
    ranges: &mut Ranges,
    inherited: &mut Vec<ListeningSocket>,
    is_taken: &impl Fn(SocketAddr) -> bool,
) -> Place<K::Socket> {
    let served = bind(kind, ip, wanted, ranges, inherited, is_taken).and_then(|(at, sockets)| {
        let Some(first) = sockets.first() else {
            return Err(io::ErrorKind::AddrInUse.into());
        };
        ranges.serve(K::PROTOCOL, ip, first.as_fd(), wanted.ranges())?;
        Ok((at, sockets))
    });
    let (at, sockets) = match served {
        Ok(served) => served,
        Err(error) => {
            ranges.forget(K::PROTOCOL, ip);
            return failed(SocketAddr::new(ip, 0), wanted, &error);
        }
    };
    let sockets: Vec<Arc<K::Socket>> = sockets.into_iter().map(Arc::new).collect();
    let doors = Arc::new(wanted.doors());
    kind.tell(Change::Open {
        at,
        sockets: &sockets,
        doors: Arc::clone(&doors),
    });
    Place {
        at,
        sockets,
        doors,
        listeners: wanted.listeners(),
        error: None,
    }
}

/// A predecessor's sockets, or new ones at a port that can be had.
fn bind<K: Kind>(
    kind: &mut K,
    ip: IpAddr,
    wanted: &Wanted,
    ranges: &Ranges,
    inherited: &mut Vec<ListeningSocket>,
    is_taken: &impl Fn(SocketAddr) -> bool,
) -> io::Result<(SocketAddr, Vec<K::Socket>)> {
    let anchors = ranges.anchors(&wanted.ranges());
    let settings = wanted.settings();
    let usable = |socket: &&ListeningSocket| {
        let port = socket.address.port();
        let here = socket.address.ip() == ip && socket.protocol == K::PROTOCOL;
        // Where rules name the port it is that one and no other.
        here && wanted.holds(port) && (!ranges.transparent() || anchors.contains(&port))
    };
    let left_by_predecessor = inherited.iter().filter(usable).map(|socket| socket.address);
    if let Some(at) = left_by_predecessor.max() {
        let mine =
            |socket: &mut ListeningSocket| socket.address == at && socket.protocol == K::PROTOCOL;
        let sockets = inherited.extract_if(.., mine);
        let sockets = sockets.map(|socket| socket.socket).collect();
        return Ok((at, kind.adopt(at, settings, sockets)?));
    }
    let mut refused = io::ErrorKind::AddrInUse.into();
    for port in anchors {
        let at = SocketAddr::new(ip, port);
        if is_taken(at) {
            continue;
        }
        match kind.open(at, settings) {
            Ok(sockets) => return Ok((at, sockets)),
            // Another program's, or one that needs rights that we do not have: the next one may do.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                ) =>
            {
                refused = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn failed<S>(at: SocketAddr, wanted: &Wanted, error: &io::Error) -> Place<S> {
    let listeners = wanted.listeners();
    let wildcard_v6 = at.is_ipv6() && at.ip().is_unspecified();
    let fault = if wildcard_v6 && listen::is_family_absent(error) {
        tracing::info!(address = %at.ip(), "IPv6 is off on this host; listening on IPv4 alone");
        Fault::NoFamily
    } else {
        // Whoever asks what is bound tells it, once for as long as it is so.
        Fault::Bind(error.to_string())
    };
    Place {
        at,
        sockets: Vec::new(),
        doors: Arc::new(wanted.doors()),
        listeners,
        error: Some(fault),
    }
}
