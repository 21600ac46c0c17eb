//! The UDP side of a worker: datagram → flow → pick → endpoint, and back. The steps are in the files below, as methods of [`Udp`]; this
//! file is its state, its commands and its timers. It lives in the worker's event loop and shares what the workers share, no more.
//!
//! The flow table ([`table`]) knows nothing of sockets. On this layer a flow is carried by a connected socket of its own, held
//! beside the table: the kernel tells answers apart by it, and reports ICMP errors on it.

mod account;
mod answer;
mod batch;
mod bind;
mod entrance;
mod handover;
mod inbound;
mod open;
mod openings;
mod outbound;
mod path;
pub(crate) mod quic;
mod replay;
mod socket;
mod steer;
pub(crate) mod table;
mod train;

pub(crate) use bind::Binds;
pub use handover::{HandedConnection, HandedDatagrams, KnownBy};
pub(crate) use handover::{adopt_connections, export_connections};
pub(crate) use socket::can_answer;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use mio::{Registry, Token};
use pingora_limits::inflight::Guard;
use portolan_config::clock;
use portolan_config::flow::{EndCause, PickReason};
use portolan_config::model::Protocol;
use portolan_config::snapshot::{AddressId, Snapshot};
use portolan_config::stats::DropCause;
use slab::Slab;

use crate::doors::Whose;
use crate::flow::Door;
use crate::sys::udp::{Sender as Outbox, dropped};
use crate::worker::{DoorKey, Handle, Shared};
use answer::Answer;
use batch::{Batch, Reply};
use entrance::Entrance;
use openings::Openings;
use path::Path;
use quic::Home;
use replay::{Kept, Ring};
use table::{FlowId, Table};

/// What a flow takes of `[limits] flow_table`: its entry, its part of the index at its emptiest, and the place of its socket.
pub(crate) const FLOW_BYTES: u64 =
    (Table::<Carried>::BYTES_A_FLOW + size_of::<Option<OwnedFd>>()) as u64;

/// What the table carries of a flow for this layer, for the table's bench.
pub const CARRIED_BYTES: usize = size_of::<Carried>();

/// How often noted datagrams are moved to the shared counters.
const SETTLE_EVERY: Duration = Duration::from_millis(200);

/// How often the kernel is asked what its queues have dropped.
const ASK_DROPS_EVERY: Duration = Duration::from_secs(1);

/// How often what is wrong with datagrams is logged at most: never once a packet.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What an event's token says besides the key, for UDP's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A listening socket.
    Entrance,
    /// A flow's socket toward its endpoint.
    Flow,
}

impl Source {
    /// Two of the four sides of a token whose generation is 0, of which TCP's listening sockets have the first.
    fn side(self) -> u8 {
        match self {
            Source::Entrance => 1,
            Source::Flow => 2,
        }
    }

    /// Reads a token's side; `None` when it is not UDP's.
    pub(crate) fn of(side: u8) -> Option<Self> {
        match side {
            1 => Some(Source::Entrance),
            2 => Some(Source::Flow),
            _ => None,
        }
    }

    fn token(self, key: u32) -> Token {
        Handle { key, generation: 0 }.token(self.side())
    }
}

/// The sockets of an address and port. They are closed together: the kernel counts them through to choose one, so that one that closed
/// before the others would move flows among those.
pub(crate) type Group = Arc<Sockets>;

/// In the order of the workers.
pub(crate) type Sockets = [Arc<OwnedFd>];

/// What the UDP side of a worker is told.
pub(crate) enum Command {
    /// Serve this socket, for this listener or these. Where it takes many ports, answers leave by the raw one.
    Open {
        bind: SocketAddr,
        /// All sockets of the bind, in the order of the workers, and which of them is meant.
        group: Group,
        slot: usize,
        whose: Whose,
        raw: Option<Arc<OwnedFd>>,
    },
    /// New flows of this socket are another listener's from here on. Those on ports that are nobody's any more end.
    Assign { bind: SocketAddr, whose: Whose },
    /// Take no new flows by this socket, and close it when its flows are over.
    Close { bind: SocketAddr },
    /// Leave the sockets to a successor: read nothing more, only pass on what endpoints still answer.
    HandOver,
    /// Give all flows away.
    Export(Sender<Vec<HandedDatagrams>>),
    /// Take a predecessor's flow.
    Adopt(Box<HandedDatagrams>),
    /// Read the sockets of a predecessor, which has given all its flows.
    Go,
}

/// What a worker lends to its UDP side for one call.
pub(crate) struct Turn<'w> {
    pub(crate) registry: &'w Registry,
    pub(crate) shared: &'w Shared,
    pub(crate) now: Instant,
    pub(crate) next_id: &'w mut u64,
}

impl Turn<'_> {
    fn id(&mut self) -> u64 {
        let id = *self.next_id;
        *self.next_id += 1;
        id
    }
}

/// What the table carries of a flow for this layer.
struct Carried {
    path: Rc<Path>,
    entrance: u32,
    port: u16,
    attempts: u8,
    reason: PickReason,
    rare: Option<Box<Rare>>,
    id: u64,
    bytes_in: u64,
    bytes_out: u64,
    packets_in: u64,
    packets_out: u64,
    /// [`clock::millis`] of its begin, of its coming to `path`, and of the endpoint's last datagram (0: none).
    started: u64,
    since: u64,
    heard: u64,
    /// The last datagram that the endpoint has not answered.
    kept: Kept,
    /// What its socket had dropped when it was last asked.
    lost: u32,
}

/// Behind one pointer: nearly no flow has any of it.
#[derive(Default)]
struct Rare {
    /// Endpoints that refused this flow since it was last answered.
    tried: Vec<AddressId>,
    /// Counts the flow for its source; only where such a limit is set.
    #[expect(dead_code, reason = "counts out when it is dropped")]
    source: Option<Box<Guard>>,
    /// The connection that it carries, if it is QUIC's.
    connection: Option<quic::Id>,
}

impl Rare {
    fn of(source: Option<Box<Guard>>, connection: Option<quic::Id>) -> Option<Box<Self>> {
        let any = source.is_some() || connection.is_some();
        any.then(|| {
            Box::new(Self {
                tried: Vec::new(),
                source,
                connection,
            })
        })
    }
}

impl Carried {
    fn connection(&self) -> Option<&quic::Id> {
        self.rare.as_ref()?.connection.as_ref()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// Work that goes on in the next turn.
#[derive(Clone, Copy)]
enum Again {
    Entrance(usize),
    Flow(FlowId),
}

/// The state.
pub(crate) struct Udp {
    entrances: Slab<Entrance>,
    doors: HashMap<DoorKey, Rc<Door>>,
    paths: HashMap<AddressId, Rc<Path>>,
    table: Table<Carried>,
    /// By flow.
    sockets: Vec<Option<OwnedFd>>,
    inbox: Batch,
    outbox: Batch,
    replies: Vec<Reply>,
    sender: Outbox,
    answers: Vec<Answer>,
    header: Vec<u8>,
    ring: Ring,
    openings: Openings,
    unsettled: Vec<Rc<Path>>,
    settle_at: Option<Instant>,
    ask_drops_at: Instant,
    logged: Option<Instant>,
    again: Vec<Again>,
    /// The number of the last verdict that was carried out.
    seen: u64,
    closing: bool,
    /// A successor reads the listening sockets.
    handed: bool,
    /// A predecessor's flows are awaited, and nothing is read meanwhile.
    held: bool,
}

impl Udp {
    pub(crate) fn new(now: Instant, held: bool) -> Self {
        Self {
            entrances: Slab::new(),
            doors: HashMap::new(),
            paths: HashMap::new(),
            table: Table::new(now),
            sockets: Vec::new(),
            inbox: Batch::default(),
            outbox: Batch::default(),
            replies: Vec::new(),
            sender: Outbox::default(),
            answers: Vec::new(),
            header: Vec::new(),
            ring: Ring::new(),
            openings: Openings::new(now),
            unsettled: Vec::new(),
            settle_at: None,
            ask_drops_at: now,
            logged: None,
            again: Vec::new(),
            seen: 0,
            closing: false,
            handed: false,
            held,
        }
    }

    /// Takes up a new snapshot: listeners and verdicts.
    pub(crate) fn see_snapshot(&mut self, snapshot: &Snapshot) {
        for door in self.doors.values() {
            door.open.set(false);
        }
        let mine = |protocol| protocol == Protocol::Udp;
        for listener in snapshot.listeners.iter().filter(|l| mine(l.protocol)) {
            match self.doors.get(&DoorKey::of(listener)) {
                Some(door) => door.renew(listener),
                None => {
                    let door = Rc::new(Door::new(Arc::clone(listener)));
                    self.doors.insert(DoorKey::of(listener), door);
                }
            }
        }
        self.doors
            .retain(|_, door| door.open.get() || Rc::strong_count(door) > 1);
        let verdicts = &snapshot.verdicts;
        let first_new = verdicts.partition_point(|verdict| verdict.number <= self.seen);
        for verdict in &verdicts[first_new..] {
            self.seen = verdict.number;
            if let Some(path) = self.paths.get(&verdict.address) {
                path.pass(verdict.fate, verdict.decided);
            }
        }
    }

    /// Carries a command out.
    pub(crate) fn obey(&mut self, turn: &mut Turn<'_>, command: Command) {
        match command {
            Command::Open {
                bind,
                group,
                slot,
                whose,
                raw,
            } => self.open_entrance(turn, bind, (group, slot), (&whose, raw)),
            Command::Assign { bind, whose } => self.assign_entrance(turn, bind, &whose),
            Command::Close { bind } => self.close_entrances(turn, bind),
            Command::HandOver => self.hand_over(turn),
            Command::Export(to) => {
                // Nobody waits any more when this fails, and the flows end with it.
                let _ = to.send(self.export(turn));
            }
            Command::Adopt(flow) => self.adopt(turn, *flow),
            Command::Go => self.go(turn),
        }
    }

    /// Takes no new flows; those that are there go on.
    pub(crate) fn stop_accepting(&mut self) {
        self.closing = true;
    }

    /// One of its sockets is ready.
    pub(crate) fn on_event(&mut self, turn: &mut Turn<'_>, source: Source, key: u32) {
        match source {
            Source::Entrance => self.read_entrance(turn, key as usize),
            Source::Flow => self.read_flow(turn, key),
        }
    }

    /// Does what is due at the end of a turn.
    pub(crate) fn finish_turn(&mut self, turn: &mut Turn<'_>) {
        for again in std::mem::take(&mut self.again) {
            match again {
                Again::Entrance(key) => {
                    if let Some(entrance) = self.entrances.get_mut(key) {
                        entrance.queued = false;
                        self.read_entrance(turn, key);
                    }
                }
                Again::Flow(id) => self.read_flow(turn, id),
            }
        }
        self.flush(turn);
        self.expire(turn);
        if self.settle_at.is_some_and(|at| at <= turn.now) {
            self.settle();
        }
        if !self.entrances.is_empty() && self.ask_drops_at <= turn.now {
            self.ask_drops_at = turn.now + ASK_DROPS_EVERY;
            let keys: Vec<usize> = self.entrances.iter().map(|(key, _)| key).collect();
            keys.into_iter().for_each(|key| self.count_dropped(key));
            self.close_left(turn);
        }
    }

    /// When [`Udp::finish_turn`] has something to do, events aside; `None` while it has nothing.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.again.is_empty() {
            return Some(now);
        }
        let drops = (!self.entrances.is_empty()).then_some(self.ask_drops_at);
        [self.settle_at, self.table.next_turn(), drops]
            .into_iter()
            .flatten()
            .min()
    }

    /// Ends what is left.
    pub(crate) fn end_all(&mut self, turn: &mut Turn<'_>, cause: EndCause) {
        self.flush(turn);
        for id in self.table.ids() {
            self.end(turn, id, cause);
        }
        self.settle();
    }

    fn expire(&mut self, turn: &mut Turn<'_>) {
        if self.table.next_turn().is_none_or(|at| at > turn.now) {
            return;
        }
        let (now, connections) = (turn.now, &turn.shared.connections);
        let idle = |carried: &Carried| carried.path.route.door.settings().idle_timeout;
        let mut lively = Vec::new();
        let renew = |id: FlowId, carried: &Carried| {
            lively.push(id);
            if let Some(id) = carried.connection() {
                connections.renew(*id, carried.home(), now);
            }
        };
        for id in self.table.expired(now, idle, renew) {
            self.end(turn, id, EndCause::Idle);
        }
        lively.into_iter().for_each(|id| self.count_lost(id));
    }

    fn note(
        &mut self,
        turn: &Turn<'_>,
        path: &Rc<Path>,
        inbound: (u64, u64),
        outbound: (u64, u64),
    ) {
        if path.note(inbound, outbound) {
            self.unsettled.push(Rc::clone(path));
            self.settle_at.get_or_insert(turn.now + SETTLE_EVERY);
        }
    }

    fn settle(&mut self) {
        self.settle_at = None;
        for path in std::mem::take(&mut self.unsettled) {
            path.settle();
            self.forget_path(&path);
        }
    }

    /// Forgets a path that nobody uses: the table's reference and the caller's are left.
    fn forget_path(&mut self, path: &Rc<Path>) {
        if Rc::strong_count(path) <= 2 {
            self.paths.remove(&path.route.address);
        }
    }

    /// Counts what a flow's socket had no room for.
    fn count_lost(&mut self, id: FlowId) {
        let (Some(flow), Some(Some(socket))) =
            (self.table.get_mut(id), self.sockets.get(id as usize))
        else {
            return;
        };
        let Ok(now) = dropped(socket.as_fd()) else {
            return;
        };
        let new = now.wrapping_sub(std::mem::replace(&mut flow.carried.lost, now));
        if new > 0 {
            let stats = &flow.carried.path.route.door.stats;
            stats.count_dropped(DropCause::EndpointBuffer, u64::from(new));
        }
    }

    /// Whether something may be logged about datagrams; notes it if so.
    fn may_log(&mut self, now: Instant) -> bool {
        let due = self
            .logged
            .is_none_or(|last| now.saturating_duration_since(last) >= LOG_EVERY);
        if due {
            self.logged = Some(now);
        }
        due
    }
}

impl Carried {
    fn home(&self) -> Home {
        Home {
            address: self.path.route.address,
            port: self.port,
        }
    }

    /// When it came to its path, and when it last heard of the endpoint.
    fn times(&self) -> (Instant, Option<Instant>) {
        let heard = (self.heard > 0).then(|| clock::instant(self.heard));
        (clock::instant(self.since), heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_takes_some_two_hundred_bytes() {
        // Beside its socket and its part of the index. The README's figure comes from here and from the measured memory.
        let size = size_of::<table::Flow<Carried>>();
        assert!(size <= 184, "a flow has grown to {size} bytes");
    }
}
