//! A worker: one thread, one event loop, its own listening sockets and flows. The steps of a flow are in the files named after
//! them (`accept`, `connect`, `relay`, `account`), as methods of [`Worker`]; this file is the loop, its timers and its commands.
//!
//! It shares nothing writable with other threads but relaxed counters. The snapshot is loaded once a flow; commands arrive by a
//! bounded queue and a wake-up.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Acquire;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Poll, Token};
use portolan_config::flow::{EndCause, RecordSink};
use portolan_config::model::{IoEngine, Protocol};
use portolan_config::signal::{Signal, SignalKind, SignalSink};
use portolan_config::snapshot::{AddressId, ListenerSnapshot, Snapshot};
use portolan_config::stats::EdgeStats;
use portolan_config::units::{AcceleratorName, PortRange, PortSet};
use slab::Slab;

use crate::connect::Budget;
use crate::doors::{Behind, Whose};
use crate::flow::{CLIENT, Door, Flow, Phase, Route};
use crate::gate::Gate;
use crate::handle::GENERATIONS;
pub(crate) use crate::handle::Handle;
use crate::handover::HandedFlow;
use crate::list::NIL;
use crate::ranges::ephemeral_ports;
use crate::relay::Scratch;
use crate::relay::ring::{Requests, Ring};
use crate::relay::splice::KernelPipes;
use crate::silence::Waiting;
use crate::strand::Strands;
use crate::udp::{self, Source, Udp};
use crate::wheel::Wheel;

/// The token of the wake-up.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// The token of the ring.
pub(crate) const RING: Token = Token(usize::MAX - 1);

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// How long a worker sleeps at most: bounds how stale its counters are when nothing happens.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// How often noted bytes are moved to the shared counters.
const SETTLE_EVERY: Duration = Duration::from_millis(200);

/// How long accepting pauses when the system is out of descriptors or memory: long enough not to spin, short enough not to be felt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Names a listener over generations and reloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DoorKey {
    pub(crate) accelerator: AcceleratorName,
    pub(crate) protocol: Protocol,
    pub(crate) ports: PortSet,
}

impl DoorKey {
    pub(crate) fn of(listener: &ListenerSnapshot) -> Self {
        Self {
            accelerator: listener.accelerator.clone(),
            protocol: listener.protocol,
            ports: listener.ports.clone(),
        }
    }
}

/// What a worker is told.
pub(crate) enum Command {
    /// Accept from this socket, for this listener or these.
    Open {
        bind: SocketAddr,
        socket: Arc<TcpListener>,
        whose: Whose,
    },
    /// What is accepted from this socket is another listener's from here on.
    Assign { bind: SocketAddr, whose: Whose },
    /// Empty this socket and close it.
    Close { bind: SocketAddr },
    /// Empty and close all of them.
    StopAccepting(Sender<()>),
    /// What UDP is told.
    Udp(udp::Command),
    /// Hand the established flows over.
    Export(Sender<Vec<HandedFlow>>),
    /// Take over a predecessor's flow.
    Adopt(Box<HandedFlow>),
}

/// What the workers of an edge share.
pub(crate) struct Shared {
    pub(crate) snapshot: ArcSwap<Snapshot>,
    pub(crate) stats: Arc<EdgeStats>,
    pub(crate) gate: Gate,
    pub(crate) signals: Arc<dyn SignalSink>,
    pub(crate) records: Arc<dyn RecordSink>,
    /// Connections of QUIC and where they live.
    pub(crate) connections: udp::quic::Connections,
    pub(crate) workers: u32,
    /// What workers do their receiving with: never one that is not possible here.
    pub(crate) io_engine: IoEngine,
    /// Kernel pipes that each may have to splice bulk by; 0 where nothing is spliced.
    pub(crate) pipes: usize,
    /// A predecessor's flows of UDP are to come, and no datagram is read before.
    pub(crate) awaits_datagrams: bool,
    /// The edge ends.
    pub(crate) stopped: AtomicBool,
}

/// One listening socket of a worker.
pub(crate) struct Entrance {
    pub(crate) bind: SocketAddr,
    pub(crate) socket: Arc<TcpListener>,
    pub(crate) behind: Behind,
    /// In the queue of those that had more to accept than a turn allows.
    pub(crate) queued: bool,
}

/// What a precise timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A PROXY header or a connect of a flow.
    Flow(Handle),
    /// Accepting was paused.
    Accept,
    /// Stranded flows are let go.
    Strand,
    /// A drain's time is up.
    Drain(AddressId),
    /// Noted bytes go to the shared counters.
    Settle,
    /// Flows that wait for their endpoints are looked at.
    Waiting,
    /// A flow's first answer is overdue.
    FirstByte(Handle),
}

/// The state of one worker.
pub(crate) struct Worker {
    pub(crate) poll: Poll,
    pub(crate) shared: Arc<Shared>,
    commands: Receiver<Command>,
    pub(crate) now: Instant,
    pub(crate) flows: Slab<Flow>,
    pub(crate) scratch: Scratch,
    pub(crate) wheel: Wheel,
    pub(crate) timers: BinaryHeap<Reverse<(Instant, Timer)>>,
    pub(crate) entrances: Slab<Entrance>,
    pub(crate) doors: HashMap<DoorKey, Rc<Door>>,
    pub(crate) routes: HashMap<AddressId, Rc<Route>>,
    /// Routes with bytes noted since the last settling.
    pub(crate) unsettled: Vec<Rc<Route>>,
    /// Flows still connecting: head of their list.
    pub(crate) connecting: u32,
    pub(crate) budget: Budget,
    pub(crate) strands: Strands,
    pub(crate) waiting: Waiting,
    /// Work left over from this turn.
    pub(crate) again: Vec<Again>,
    pub(crate) accept_paused: bool,
    /// The ports that the system gives to clients.
    pub(crate) ephemeral: PortRange,
    pub(crate) next_id: u64,
    /// Receives by io_uring, where that is used. Away while it is being turned.
    pub(crate) ring: Option<Box<Ring>>,
    pub(crate) requests: Requests,
    udp: Udp,
    generation: u32,
    seen_generation: u64,
    ended: bool,
}

/// Work that goes on in the next turn.
#[derive(Clone, Copy)]
pub(crate) enum Again {
    Flow(Handle),
    Accept(usize),
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        poll: Poll,
        shared: Arc<Shared>,
        commands: Receiver<Command>,
        now: Instant,
    ) -> Self {
        let budget = Budget::new(now, shared.workers);
        let udp = Udp::new(now, shared.awaits_datagrams);
        let pipes = KernelPipes::new(shared.pipes);
        Self {
            poll,
            shared,
            commands,
            now,
            flows: Slab::new(),
            scratch: Scratch::new(pipes),
            wheel: Wheel::new(now),
            timers: BinaryHeap::new(),
            entrances: Slab::new(),
            doors: HashMap::new(),
            routes: HashMap::new(),
            unsettled: Vec::new(),
            connecting: NIL,
            budget,
            strands: Strands::default(),
            waiting: Waiting::default(),
            again: Vec::new(),
            accept_paused: false,
            ephemeral: ephemeral_ports(),
            next_id: first_id(index),
            ring: None,
            requests: Requests::default(),
            udp,
            generation: 0,
            seen_generation: 0,
            ended: false,
        }
    }

    /// Runs until told to end.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        self.open_ring();
        let mut ring_waits = false;
        while !self.ended {
            let sleep = if ring_waits {
                Duration::ZERO
            } else {
                self.sleep()
            };
            if let Err(error) = self.poll.poll(&mut events, Some(sleep))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the event loop cannot wait; its worker ends");
                break;
            }
            self.now = Instant::now();
            let mut woken = false;
            let mut received = ring_waits;
            if self.ring.is_some() {
                self.requests.crowd = self.requests.crowd.max(events.iter().count());
            }
            for event in &events {
                match event.token() {
                    WAKE => woken = true,
                    RING => received = true,
                    token => self.on_event(token, event),
                }
            }
            if woken {
                self.on_wake();
            }
            self.work_again();
            self.fire_timers();
            self.turn_wheel();
            self.with_udp(Udp::finish_turn);
            self.requests.crowd = 0;
            ring_waits = (received || !self.requests.is_empty()) && self.turn_ring();
        }
        self.end_all(EndCause::Shutdown);
        // The kernel holds sockets open as long as something is to be received from them.
        self.turn_ring();
    }

    /// How long nothing can be due.
    fn sleep(&mut self) -> Duration {
        if !self.again.is_empty() {
            return Duration::ZERO;
        }
        self.forget_timers();
        let timer = self.timers.peek().map(|Reverse((at, _))| *at);
        let next = [timer, self.wheel.next_turn(), self.udp.due(self.now)];
        let next = next.into_iter().flatten().min();
        next.map_or(LONGEST_SLEEP, |at| {
            // The kernel's timeout counts whole milliseconds; rounding up keeps a timer from being polled for in a spin.
            let wait = at.saturating_duration_since(Instant::now());
            Duration::from_millis(wait.as_micros().div_ceil(1000) as u64).min(LONGEST_SLEEP)
        })
    }

    fn on_event(&mut self, token: Token, event: &Event) {
        let (handle, side) = Handle::of(token);
        if handle.generation == 0 {
            match Source::of(side) {
                None => self.accept(handle.key as usize),
                Some(source) => self.with_udp(|udp, turn| udp.on_event(turn, source, handle.key)),
            }
            return;
        }
        // A stale event of a closed socket may name a place that a new flow has taken.
        let Some(flow) = self.flow(handle) else {
            return;
        };
        let ready = if side == CLIENT {
            &mut flow.client_ready
        } else {
            &mut flow.endpoint_ready
        };
        let failed = event.is_error() || event.is_write_closed();
        let stale = side != CLIENT && side != flow.endpoint_side;
        if matches!(flow.phase, Phase::Relaying) && (stale || flow.on_ring.has()) {
            return;
        }
        let connecting = matches!(flow.phase, Phase::Connecting(_)) && side != CLIENT;
        if !connecting {
            ready.readable |= event.is_readable() || failed;
            ready.writable |= event.is_writable() || failed;
            ready.read_closed |= event.is_read_closed() || failed;
        }
        match flow.phase {
            Phase::Relaying => self.relay(handle, event.is_error().then_some(side)),
            Phase::Connecting(_) if connecting => self.on_connect_event(handle, side, event),
            Phase::Connecting(_) => {
                if event.is_error() {
                    self.end(handle.key, EndCause::ClientRst);
                }
            }
            Phase::Header(_) => self.on_header(handle),
        }
    }

    /// The flow of a handle, unless it is gone.
    pub(crate) fn flow(&mut self, handle: Handle) -> Option<&mut Flow> {
        self.flows
            .get_mut(handle.key as usize)
            .filter(|flow| flow.generation == handle.generation)
    }

    /// The handle of a flow that is there.
    pub(crate) fn handle(&self, key: u32) -> Handle {
        Handle {
            key,
            generation: self.flows[key as usize].generation,
        }
    }

    /// A generation for a new flow.
    pub(crate) fn next_generation(&mut self) -> u32 {
        self.generation = self.generation % GENERATIONS + 1;
        self.generation
    }

    /// Takes up a newer snapshot, if there is one: the one load of the data way.
    pub(crate) fn see_newer_snapshot(&mut self) {
        if self.shared.snapshot.load().generation != self.seen_generation {
            self.see_snapshot();
        }
    }

    fn on_wake(&mut self) {
        self.see_snapshot();
        while let Ok(command) = self.commands.try_recv() {
            // A command follows its snapshot, which may have come after the one that was just taken up.
            self.see_newer_snapshot();
            match command {
                Command::Open {
                    bind,
                    socket,
                    whose,
                } => self.open_entrance(bind, socket, &whose),
                Command::Assign { bind, whose } => self.assign_entrance(bind, &whose),
                Command::Close { bind } => self.close_entrances(|entrance| entrance.bind == bind),
                Command::StopAccepting(_done) => {
                    self.close_entrances(|_| true);
                    self.udp.stop_accepting();
                }
                Command::Udp(command) => self.with_udp(|udp, turn| udp.obey(turn, command)),
                Command::Export(to) => {
                    // Nobody waits any more when this fails, and the flows end with it.
                    let _ = to.send(self.export());
                }
                Command::Adopt(flow) => self.adopt(*flow),
            }
        }
        self.ended |= self.shared.stopped.load(Acquire);
    }

    /// Takes up a new snapshot: doors, verdicts, and flows that are connecting to what has gone down.
    fn see_snapshot(&mut self) {
        let snapshot = self.shared.snapshot.load_full();
        if snapshot.generation == self.seen_generation {
            return;
        }
        self.seen_generation = snapshot.generation;
        self.ephemeral = ephemeral_ports();
        for door in self.doors.values() {
            door.open.set(false);
        }
        for listener in snapshot
            .listeners
            .iter()
            .filter(|l| l.protocol == Protocol::Tcp)
        {
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
        self.udp.see_snapshot(&snapshot);
        self.pass_verdicts(&snapshot.verdicts);
        self.leave_fallen();
    }

    pub(crate) fn arm(&mut self, at: Instant, timer: Timer) {
        self.timers.push(Reverse((at, timer)));
    }

    /// Drops the timers of connects that are over, as nearly all are, so that nobody is woken for them.
    fn forget_timers(&mut self) {
        while let Some(Reverse((_, timer))) = self.timers.peek().copied() {
            let over = match timer {
                Timer::Flow(handle) => self
                    .flow(handle)
                    .is_none_or(|flow| matches!(flow.phase, Phase::Relaying)),
                Timer::FirstByte(handle) => self.flow(handle).is_none(),
                Timer::Accept
                | Timer::Strand
                | Timer::Drain(_)
                | Timer::Settle
                | Timer::Waiting => false,
            };
            if !over {
                return;
            }
            self.timers.pop();
        }
    }

    fn fire_timers(&mut self) {
        while let Some(Reverse((at, timer))) = self.timers.peek().copied() {
            if at > self.now {
                return;
            }
            self.timers.pop();
            match timer {
                Timer::Flow(handle) => self.on_flow_timer(handle),
                Timer::Accept => self.resume_accepting(),
                Timer::Strand => self.release_stranded(),
                Timer::Drain(address) => self.end_drain(address),
                Timer::Settle => self.settle(),
                Timer::Waiting => self.look_at_waiting(),
                Timer::FirstByte(handle) => self.on_first_byte_due(handle),
            }
        }
    }

    fn on_flow_timer(&mut self, handle: Handle) {
        let now = self.now;
        let Some(flow) = self.flow(handle) else {
            return;
        };
        match &flow.phase {
            Phase::Header(wait) if wait.deadline <= now => self.refuse_header(handle.key),
            Phase::Connecting(_) => self.on_connect_timer(handle),
            Phase::Header(_) | Phase::Relaying => {}
        }
    }

    fn turn_wheel(&mut self) {
        for key in self.wheel.turn(&mut self.flows, self.now) {
            self.on_wheel(key);
        }
    }

    fn work_again(&mut self) {
        if self.again.is_empty() {
            return;
        }
        for again in std::mem::take(&mut self.again) {
            match again {
                Again::Flow(handle) => {
                    if let Some(flow) = self.flow(handle) {
                        flow.queued = false;
                        self.relay(handle, None);
                    }
                }
                Again::Accept(entrance) => {
                    if let Some(entrance) = self.entrances.get_mut(entrance) {
                        entrance.queued = false;
                    }
                    self.accept(entrance);
                }
            }
        }
    }

    /// Stops accepting for a moment, since the system has nothing to accept with.
    pub(crate) fn pause_accepting(&mut self) {
        if !self.accept_paused {
            self.accept_paused = true;
            self.arm(self.now + ACCEPT_PAUSE, Timer::Accept);
        }
    }

    fn resume_accepting(&mut self) {
        self.accept_paused = false;
        let keys: Vec<usize> = self.entrances.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.accept(key);
        }
    }

    /// Tells the health side what a flow met, and the other flows whether they should go elsewhere until it has asked.
    pub(crate) fn raise(&self, route: &Route, port: u16, kind: SignalKind, flow: u64) {
        self.doubt(route, kind, flow);
        if route.may_signal(kind, self.now) {
            self.raise_each(route, port, kind);
        }
    }

    /// The same of what each flow meets once, and counts by its client.
    pub(crate) fn raise_each(&self, route: &Route, port: u16, kind: SignalKind) {
        self.shared.signals.raise(Signal {
            address: route.address,
            to: route.addr(port),
            kind,
            at: self.now,
        });
    }

    /// Notes bytes of a route, and sees to it that they are settled.
    pub(crate) fn note(&mut self, route: &Rc<Route>, bytes_in: u64, bytes_out: u64) {
        if route.note(bytes_in, bytes_out) {
            if self.unsettled.is_empty() {
                self.arm(self.now + SETTLE_EVERY, Timer::Settle);
            }
            self.unsettled.push(Rc::clone(route));
        }
    }

    fn settle(&mut self) {
        for route in std::mem::take(&mut self.unsettled) {
            route.settle();
            self.forget_route(&route);
        }
    }

    fn end_all(&mut self, cause: EndCause) {
        let keys: Vec<usize> = self.flows.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end(key as u32, cause);
        }
        self.settle();
        self.with_udp(|udp, turn| udp.end_all(turn, cause));
    }

    /// Lends its UDP side what it needs.
    fn with_udp(&mut self, what: impl FnOnce(&mut Udp, &mut udp::Turn<'_>)) {
        let mut turn = udp::Turn {
            registry: self.poll.registry(),
            shared: &self.shared,
            now: self.now,
            next_id: &mut self.next_id,
        };
        what(&mut self.udp, &mut turn);
    }
}

/// Ids start at the time of day in microseconds, so that a successor's never meet ours: no worker opens a flow each microsecond.
fn first_id(index: usize) -> u64 {
    let micros = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_micros() as u64);
    ((index as u64) << 54) | (micros & ((1 << 54) - 1))
}
