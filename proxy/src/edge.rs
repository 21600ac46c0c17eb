//! The data path as the rest of the process sees it: started once, given snapshots, asked for counters, ended once.

mod bind;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use mio::net::TcpListener;
use mio::{Poll, Waker};
use portolan_config::address::ListenerAddr;
use portolan_config::explain::Explanation;
use portolan_config::flow::RecordSink;
use portolan_config::model::{IoEngine, Limits, PortSteering, Protocol};
use portolan_config::signal::SignalSink;
use portolan_config::snapshot::Snapshot;
use portolan_config::stats::EdgeStats;
use portolan_config::units::AcceleratorName;

use crate::capacity::{self, effective_max_flows};
use crate::engine;
use crate::gate::Gate;
use crate::handover::{HandedFlow, ListeningSocket};
use crate::listen::Bound;
use crate::pick::explain;
use crate::ranges::Ranges;
use crate::udp::{self, HandedConnection, HandedDatagrams};
use crate::wide::Places;
use crate::worker::{Command, DoorKey, Shared, WAKE, Worker};

/// Commands that wait for a worker. A burst of them is a reload that opens many ports; the sender waits for room, as a worker
/// takes all there are at each turn.
const COMMANDS: usize = 1024;

/// How often an address that could not be bound is tried again.
const RETRY_BIND_EVERY: Duration = Duration::from_secs(1);

/// What an edge is made of.
pub struct EdgeOptions {
    /// Threads; 0 is one a core.
    pub workers: usize,
    /// What they receive with.
    pub io_engine: IoEngine,
    /// Whether they splice what is bulk.
    pub splice: bool,
    /// Caps.
    pub limits: Limits,
    /// How listeners of very many ports are served.
    pub steering: PortSteering,
    /// Where evidence of live flows goes.
    pub signals: Arc<dyn SignalSink>,
    /// Where flow records go.
    pub records: Arc<dyn RecordSink>,
    /// A predecessor's listening sockets. Where there are some of UDP, none is read before [`Edge::go_on_with_datagrams`].
    pub inherited: Vec<ListeningSocket>,
}

/// One address and port that is listened on, or could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindState {
    /// Whose.
    pub accelerator: AcceleratorName,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// Why not; `None` when it listens.
    pub error: Option<String>,
}

/// The running data path. Dropping it ends it.
pub struct Edge {
    shared: Arc<Shared>,
    workers: Vec<Handle>,
    limits: Limits,
    listening: Mutex<Listening>,
}

struct Handle {
    waker: Waker,
    commands: SyncSender<Command>,
    thread: Option<JoinHandle<()>>,
}

struct Listening {
    bound: BTreeMap<SocketAddr, Bound>,
    /// What `bound` was made for: nothing is looked at again while it stays the same and all of it listens.
    layout: Vec<Place>,
    /// Addresses with more ports than sockets.
    wide: Places<TcpListener>,
    ranges: Ranges,
    /// When a failed bind was last tried again.
    tried: Option<Instant>,
    /// A predecessor's sockets that no listener has asked for yet.
    inherited: Vec<ListeningSocket>,
    udp: udp::Binds,
    closed: bool,
}

impl Listening {
    /// Descriptors that its sockets take.
    fn descriptors(&self) -> u64 {
        let tcp = self
            .bound
            .values()
            .map(|bound| unique(&bound.sockets).len());
        (tcp.sum::<usize>() + self.udp.descriptors()) as u64
    }
}

/// Sockets that workers share counted once.
fn unique(sockets: &[Arc<TcpListener>]) -> Vec<&Arc<TcpListener>> {
    let mut unique: Vec<_> = sockets.iter().collect();
    unique.dedup_by(|a, b| Arc::ptr_eq(a, b));
    unique
}

/// A listener as far as its sockets go.
#[derive(PartialEq)]
struct Place {
    door: DoorKey,
    addresses: Vec<IpAddr>,
    keepalive: Duration,
    user_timeout: Duration,
}

impl Edge {
    /// Starts the workers, with nothing to listen on.
    pub fn start(options: EdgeOptions) -> io::Result<Edge> {
        let EdgeOptions {
            workers,
            io_engine,
            splice,
            limits,
            steering,
            signals,
            records,
            inherited,
        } = options;
        let count = match workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        let pipes = engine::pipes_a_worker(splice, count).unwrap_or_else(|error| {
            tracing::warn!(%error, "nothing can be spliced here; bulk is copied");
            0
        });
        let beside = capacity::descriptors_of(pipes, count);
        let shared = Arc::new(Shared {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            stats: Arc::new(EdgeStats::default()),
            gate: Gate::new(&limits, effective_max_flows(&limits, beside)),
            signals,
            records,
            connections: udp::quic::Connections::default(),
            workers: u32::try_from(count).unwrap_or(u32::MAX),
            io_engine: engine::choose(io_engine)?,
            pipes,
            awaits_datagrams: inherited.iter().any(|s| s.protocol == Protocol::Udp),
            stopped: AtomicBool::new(false),
        });
        let workers = (0..count)
            .map(|index| start_worker(index, &shared))
            .collect::<io::Result<_>>()?;
        let listening = Listening {
            bound: BTreeMap::new(),
            layout: Vec::new(),
            wide: Places::new(),
            ranges: Ranges::new(steering),
            tried: None,
            inherited,
            udp: udp::Binds::new(),
            closed: false,
        };
        Ok(Edge {
            shared,
            workers,
            limits,
            listening: Mutex::new(listening),
        })
    }

    /// Makes a snapshot the current one: new flows go by it from here on. Opens and closes listening sockets accordingly.
    pub fn publish(&self, snapshot: Arc<Snapshot>) {
        let mut listening = self.listening();
        self.shared.snapshot.store(Arc::clone(&snapshot));
        if !listening.closed {
            self.reconcile(&mut listening, &snapshot);
            let Listening {
                udp,
                inherited,
                ranges,
                ..
            } = &mut *listening;
            udp.reconcile(
                &snapshot,
                self.workers.len(),
                inherited,
                ranges,
                |worker, command| {
                    send(&self.workers[worker], Command::Udp(command));
                },
            );
            let pipes = capacity::descriptors_of(self.shared.pipes, self.workers.len());
            let max_flows = effective_max_flows(&self.limits, listening.descriptors() + pipes);
            self.shared.gate.allow(max_flows);
        }
        drop(listening);
        self.wake();
    }

    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// Every address and port that should listen.
    pub fn bindings(&self) -> Vec<BindState> {
        let listening = self.listening();
        let states = listening.bound.iter().map(|(address, bound)| BindState {
            accelerator: bound.door.accelerator.clone(),
            protocol: bound.door.protocol,
            address: *address,
            error: bound.error.clone(),
        });
        let wide = listening.wide.states(Protocol::Tcp);
        states.chain(wide).chain(listening.udp.states()).collect()
    }

    /// The counters of the whole data path.
    pub fn stats(&self) -> Arc<EdgeStats> {
        Arc::clone(&self.shared.stats)
    }

    /// Flows now, connecting ones included.
    pub fn active_flows(&self) -> usize {
        self.shared.stats.active_flows.load(Relaxed) as usize
    }

    /// The most flows that there can be at once.
    pub fn max_flows(&self) -> usize {
        self.shared.gate.max_flows() as usize
    }

    /// Threads of the data path.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Whether listeners of a protocol may have more ports than are worth a socket each.
    pub fn steers_ports(&self, protocol: Protocol) -> bool {
        self.listening().ranges.takes_any(protocol)
    }

    /// How bytes are relayed.
    pub fn relay_mode(&self) -> &'static str {
        match (self.shared.io_engine, self.shared.pipes) {
            (IoEngine::Epoll, 0) => "copy",
            (IoEngine::Epoll, _) => "copy,splice",
            (IoEngine::Auto | IoEngine::IoUring, 0) => "io_uring",
            (IoEngine::Auto | IoEngine::IoUring, _) => "io_uring,splice",
        }
    }

    /// Which endpoint a new flow of this client would get; `None` when no listener takes it.
    pub fn explain(
        &self,
        client: IpAddr,
        client_port: Option<u16>,
        to: SocketAddr,
        protocol: Protocol,
    ) -> Option<Explanation> {
        explain(
            &self.snapshot(),
            client,
            client_port,
            ListenerAddr(to),
            protocol,
        )
    }

    /// Empties and closes all listening sockets; the flows go on. When this returns, every flow that there will be is counted.
    pub fn stop_accepting(&self) {
        let mut listening = self.listening();
        listening.closed = true;
        // First of all: from here on clients meet whoever else listens, such as a successor.
        listening.ranges.forget_all(Protocol::Tcp);
        listening.wide.clear();
        // Ours go, too, or the kernel would go on taking clients that nobody accepts.
        for bound in listening.bound.values_mut() {
            bound.sockets.clear();
        }
        let handed = listening.udp.are_handed();
        if handed {
            // It steers, too, and what it changes must not be overruled here.
            listening.ranges.forget_all(Protocol::Udp);
        }
        drop(listening);
        if handed {
            self.tell(|| Command::Udp(udp::Command::HandOver));
        }
        let (sender, stopped) = channel();
        self.tell(|| Command::StopAccepting(sender.clone()));
        drop(sender);
        // Ends when the last worker has dropped its sender: done, or dead.
        stopped.into_iter().for_each(drop);
    }

    /// Resets what is left and ends the workers.
    pub fn end(mut self) {
        self.join();
    }

    fn join(&mut self) {
        self.shared.stopped.store(true, Release);
        self.wake();
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a worker of the data path has panicked");
            }
        }
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        for worker in &self.workers {
            if let Err(error) = worker.waker.wake() {
                tracing::error!(%error, "a worker of the data path cannot be woken");
            }
        }
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            send(worker, command());
        }
        self.wake();
    }

    /// The listening sockets, for a successor: copies of the descriptors, of the same sockets and their queues.
    pub fn listening_sockets(&self) -> io::Result<Vec<ListeningSocket>> {
        let mut listening = self.listening();
        let mut handed = listening.udp.sockets()?;
        handed.extend(listening.wide.sockets(Protocol::Tcp)?);
        for (address, bound) in &listening.bound {
            for socket in unique(&bound.sockets) {
                handed.push(ListeningSocket {
                    protocol: bound.door.protocol,
                    address: *address,
                    socket: socket.as_fd().try_clone_to_owned()?,
                });
            }
        }
        Ok(handed)
    }

    /// Closes a predecessor's sockets that nothing listens on here. What waits in their queues is the predecessor's to empty.
    pub fn forget_inherited(&self) {
        self.listening().inherited.clear();
    }

    /// Hands the established flows to a successor: each leaves its worker whole and is the caller's from here on. Flows that are
    /// still connecting stay; ask again.
    pub fn export_flows(&self) -> Vec<HandedFlow> {
        let (sender, receiver) = channel();
        self.tell(|| Command::Export(sender.clone()));
        drop(sender);
        receiver.into_iter().flatten().collect()
    }

    /// Takes a predecessor's flows, spread over the workers.
    pub fn adopt_flows(&self, flows: Vec<HandedFlow>) {
        for (index, flow) in flows.into_iter().enumerate() {
            let worker = &self.workers[index % self.workers.len()];
            send(worker, Command::Adopt(Box::new(flow)));
        }
        self.wake();
    }
}

impl Edge {
    /// Hands the flows of UDP to a successor that reads the listening sockets, once [`Edge::stop_accepting`] was said here. Its caller's
    /// from here on.
    pub fn export_datagrams(&self) -> Vec<HandedDatagrams> {
        let (sender, receiver) = channel();
        self.tell(|| Command::Udp(udp::Command::Export(sender.clone())));
        drop(sender);
        receiver.into_iter().flatten().collect()
    }

    /// Takes a predecessor's flows of UDP, each by the worker that its datagrams meet.
    pub fn adopt_datagrams(&self, flows: Vec<HandedDatagrams>) {
        let listening = self.listening();
        for flow in flows {
            let worker = listening
                .udp
                .worker_of(flow.bind, flow.slot, self.workers.len());
            let command = udp::Command::Adopt(Box::new(flow));
            send(&self.workers[worker], Command::Udp(command));
        }
        drop(listening);
        self.wake();
    }

    /// Where connections of QUIC live, for a successor.
    pub fn export_connections(&self) -> Vec<HandedConnection> {
        udp::export_connections(&self.shared)
    }

    /// Takes what a predecessor knows of connections of QUIC.
    pub fn adopt_connections(&self, connections: Vec<HandedConnection>) {
        udp::adopt_connections(&self.shared, connections);
    }

    /// Reads a predecessor's sockets of UDP from here on: its flows have come, or will not.
    pub fn go_on_with_datagrams(&self) {
        self.tell(|| Command::Udp(udp::Command::Go));
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.join();
    }
}

fn send(worker: &Handle, command: Command) {
    // The queue is emptied at each turn of the loop; a full one only needs the worker awake.
    let mut command = command;
    loop {
        match worker.commands.try_send(command) {
            Ok(()) => return,
            Err(std::sync::mpsc::TrySendError::Disconnected(_)) => return,
            Err(std::sync::mpsc::TrySendError::Full(back)) => {
                command = back;
                let _ = worker.waker.wake();
                std::thread::yield_now();
            }
        }
    }
}

fn start_worker(index: usize, shared: &Arc<Shared>) -> io::Result<Handle> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKE)?;
    let (commands, received) = sync_channel(COMMANDS);
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            // Made here: what a worker owns never leaves its thread.
            Worker::new(index, poll, shared, received, Instant::now()).run();
        })?;
    Ok(Handle {
        waker,
        commands,
        thread: Some(thread),
    })
}
