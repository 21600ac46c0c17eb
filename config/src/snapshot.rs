//! Desired state and health view compiled for the data path. Immutable, numbered by generation, published by one swap:
//! a pick looks at nothing else. Only the counters inside it change, by relaxed atomics.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::clock;
use crate::doubt::{Doubt, Heard};
use crate::health::HealthState;
use crate::model::{ClientAffinity, GroupSettings, ListenerSettings, PortOverride, Protocol};
use crate::selector::{EndpointSet, Selector};
use crate::stats::{EndpointStats, ListenerStats};
use crate::units::{AcceleratorName, EndpointId, PortSet, Region, TrafficDial, Weight};

/// One compiled state of the world.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts up by one with each snapshot of a process; 0 is the empty one.
    pub generation: u64,
    /// What is served. Enabled accelerators only.
    pub listeners: Vec<Arc<ListenerSnapshot>>,
    /// What is to become of live flows, oldest first, kept for [`Snapshot::VERDICT_LIFE`].
    pub verdicts: Arc<[Verdict]>,
}

impl Snapshot {
    /// How long a verdict stays published. Much longer than any worker sleeps, so that none is missed.
    pub const VERDICT_LIFE: Duration = Duration::from_secs(60);
}

/// A listener as the data path sees it.
#[derive(Debug)]
pub struct ListenerSnapshot {
    /// Its accelerator.
    pub accelerator: AcceleratorName,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens; empty is the wildcard of both families.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: PortSet,
    /// What a flow's hash is taken over.
    pub client_affinity: ClientAffinity,
    /// How its flows are treated.
    pub settings: Arc<ListenerSettings>,
    /// Nearest first.
    pub groups: Vec<Arc<GroupSnapshot>>,
    /// Its counters; the same ones over all generations.
    pub stats: Arc<ListenerStats>,
}

/// A group as the data path sees it.
#[derive(Debug)]
pub struct GroupSnapshot {
    /// Its region.
    pub region: Region,
    /// The share of the traffic it takes.
    pub traffic_dial: TrafficDial,
    /// Distance from this PoP; `None` while unknown.
    pub distance: Option<Duration>,
    /// Sorted by listener port.
    pub port_overrides: Vec<PortOverride>,
    /// How its flows are treated.
    pub settings: Arc<GroupSettings>,
    /// All its endpoints, in the order of the file.
    pub endpoints: Endpoints,
    /// Chooses among `endpoints` by weight; indices are into that list.
    pub selector: Arc<Selector>,
}

/// The endpoints of a group: a slice, with an index of those that may be picked. Made of a `Vec` by `into`.
#[derive(Debug, Default)]
pub struct Endpoints {
    list: Box<[EndpointSnapshot]>,
    available: EndpointSet,
    open: EndpointSet,
}

impl Endpoints {
    /// Those that are [`EndpointSnapshot::available`].
    pub fn available(&self) -> &EndpointSet {
        &self.available
    }

    /// Those that are [`EndpointSnapshot::is_open`].
    pub fn open(&self) -> &EndpointSet {
        &self.open
    }
}

impl From<Vec<EndpointSnapshot>> for Endpoints {
    fn from(list: Vec<EndpointSnapshot>) -> Self {
        Self {
            available: list.iter().map(|endpoint| endpoint.available).collect(),
            open: list.iter().map(EndpointSnapshot::is_open).collect(),
            list: list.into(),
        }
    }
}

impl Deref for Endpoints {
    type Target = [EndpointSnapshot];

    fn deref(&self) -> &[EndpointSnapshot] {
        &self.list
    }
}

impl<'a> IntoIterator for &'a Endpoints {
    type Item = &'a EndpointSnapshot;
    type IntoIter = std::slice::Iter<'a, EndpointSnapshot>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// An endpoint as the data path sees it.
#[derive(Clone, Debug)]
pub struct EndpointSnapshot {
    /// Its id.
    pub id: EndpointId,
    /// Its share; 0 takes nothing new.
    pub weight: Weight,
    /// Its own port, when it names one.
    pub port: Option<u16>,
    /// Flows at most; 0 is no cap.
    pub max_flows: u32,
    /// The operator asked for a drain.
    pub draining: bool,
    /// Up, weight above 0 and not draining: may take new flows. `max_flows` is looked at besides, at the pick.
    pub available: bool,
    /// Up while one address is.
    pub health: HealthState,
    /// For people: why it is not up.
    pub reason: Option<Arc<str>>,
    /// The addresses it is reached by now, sorted; empty while its name never resolved.
    pub addresses: Vec<AddressSnapshot>,
    /// Its counters; the same ones over all generations.
    pub stats: Arc<EndpointStats>,
}

impl EndpointSnapshot {
    /// Whether it may be taken when no endpoint of any group is available, whatever its health. A drain holds even then: its
    /// promise is "no new flows".
    pub fn is_open(&self) -> bool {
        !self.weight.is_zero() && !self.draining && !self.addresses.is_empty()
    }

    /// Whether the cap on its flows is reached.
    pub fn is_full(&self) -> bool {
        self.max_flows != 0 && self.stats.active_flows.load(Ordering::Relaxed) >= self.max_flows
    }

    /// Whether live flows give grounds to send new ones elsewhere for a moment: there is doubt about every address that is up.
    pub fn is_doubted(&self) -> bool {
        let mut up = self
            .addresses
            .iter()
            .filter(|a| a.health == HealthState::Up);
        up.next().is_some_and(|first| first.live.is_doubted()) && up.all(|a| a.live.is_doubted())
    }
}

/// One address of an endpoint.
#[derive(Clone, Debug)]
pub struct AddressSnapshot {
    /// The address; the port is the flow's.
    pub ip: IpAddr,
    /// Its own health.
    pub health: HealthState,
    /// Smoothed connect round trip of its probes.
    pub rtt: Option<Duration>,
    /// What the data path notes of it; the same one over all generations.
    pub live: Arc<AddressLive>,
    /// Flows come from their clients' own addresses.
    pub transparent: bool,
}

/// Names one address of one endpoint of one group of one listener, for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressId(pub u64);

impl fmt::Debug for AddressId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "address#{}", self.0)
    }
}

/// What the data path notes of an address, read by the health side.
#[derive(Debug)]
pub struct AddressLive {
    /// Its name.
    pub id: AddressId,
    /// [`crate::clock::millis`] of the last byte, acknowledgement or accepted connect that was seen from it; 0 is never.
    pub last_heard: AtomicU64,
    /// [`crate::clock::millis`] of the last byte from it; 0 is never.
    pub last_answered: AtomicU64,
    /// Smoothed connect time of live flows in microseconds (gain 1/8, as RFC 6298's SRTT); 0 is unknown.
    pub connect_micros: AtomicU32,
    /// Whether new flows should go elsewhere for a moment.
    pub doubt: Doubt,
}

/// What a burst of connects takes beside a connect's time and a half: the pause since the last one, its own pace, the decision, and its
/// way to the data path.
const BURST: Duration = Duration::from_millis(620);

/// Stands in for a connect time that nobody measured: most of the Earth.
const UNMEASURED: Duration = Duration::from_millis(200);

impl AddressLive {
    /// Nothing heard yet.
    pub fn new(id: AddressId) -> Self {
        Self {
            id,
            last_heard: AtomicU64::new(0),
            last_answered: AtomicU64::new(0),
            connect_micros: AtomicU32::new(0),
            doubt: Doubt::default(),
        }
    }

    /// Notes that something arrived from it. One load a call; a store once a millisecond at most.
    pub fn heard(&self, now_millis: u64) {
        if self.last_heard.load(Ordering::Relaxed) < now_millis {
            self.last_heard.store(now_millis, Ordering::Relaxed);
        }
    }

    /// Notes that it has sent a byte.
    pub fn answered(&self, now_millis: u64) {
        if self.last_answered.load(Ordering::Relaxed) < now_millis {
            self.last_answered.store(now_millis, Ordering::Relaxed);
        }
        self.heard(now_millis);
    }

    /// Notes how long an accepted connect took.
    pub fn connected(&self, took: Duration) {
        let sample = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let old = self.connect_micros.load(Ordering::Relaxed);
        // A lost update between two workers costs one sample of an average.
        let new = if old == 0 {
            sample
        } else {
            old - old / 8 + sample / 8
        };
        self.connect_micros.store(new.max(1), Ordering::Relaxed);
    }

    /// The smoothed connect time, when one was measured.
    pub fn connect_time(&self) -> Option<Duration> {
        match self.connect_micros.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(u64::from(micros))),
        }
    }

    /// What was last heard from it.
    pub fn heard_last(&self) -> Heard {
        let round_trip = self.connect_time().unwrap_or_default();
        Heard {
            at: self.last_heard.load(Ordering::Relaxed),
            round_trip: round_trip.as_millis() as u64,
        }
    }

    /// Whether live flows give grounds to send new ones elsewhere, for as long as it takes to ask the endpoint.
    pub fn is_doubted(&self) -> bool {
        if !self.doubt.is_raised() {
            return false;
        }
        let heard = self.heard_last();
        // Nobody takes away an old ground where nothing is probed, so that this is the usual case after the first one.
        if !self.doubt.stands(heard) {
            return false;
        }
        let span = self.connect_time().unwrap_or(UNMEASURED) * 3 / 2 + BURST;
        let now = || clock::millis(Instant::now());
        self.doubt.holds(heard, span.as_millis() as u64, now)
    }
}

/// What is to become of the live flows of one address.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Counts up by one over all verdicts of the process; a worker acts on those after the last one that it saw.
    pub number: u64,
    /// Whose flows.
    pub address: AddressId,
    /// When it was decided; flows opened later are not touched.
    pub decided: Instant,
    /// What.
    pub fate: Fate,
}

/// What a verdict says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Reset the flows on which the endpoint has sent or acknowledged nothing since `silent_since`.
    Reset {
        /// When path or port was found dead.
        silent_since: Instant,
        /// Spread over this long.
        over: Duration,
        /// Resets a second at most.
        rate: u32,
    },
    /// Let the flows finish until then; reset what is left. `None` is without an end.
    Drain {
        /// The end of the drain.
        until: Option<Instant>,
    },
    /// Take back an earlier drain: the endpoint serves again.
    Keep,
}
