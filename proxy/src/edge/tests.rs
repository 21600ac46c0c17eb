//! The data way over loopback, with snapshots made by hand: what a worker does with sockets.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use portolan_config::address::EndpointAddr;
use portolan_config::flow::{EndCause, FlowRecord, RecordSink};
use portolan_config::health::HealthState;
use portolan_config::model::{
    ClientAffinity, GroupSettings, IoEngine, Limits, ListenerSettings, PortSteering, Protocol,
};
use portolan_config::selector::Selector;
use portolan_config::signal::{Signal, SignalKind, SignalSink};
use portolan_config::snapshot::{
    AddressId, AddressLive, AddressSnapshot, EndpointSnapshot, Fate, GroupSnapshot,
    ListenerSnapshot, Snapshot, Verdict,
};
use portolan_config::stats::{EndpointStats, ListenerStats};
use portolan_config::units::{
    AcceleratorName, EndpointId, PortRange, PortSet, Region, TrafficDial, Weight,
};

use crate::{Edge, EdgeOptions, effective_max_flows};

mod declared;
mod departed;
mod signals;

/// Long enough for any machine, short enough to fail a hung test.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Seen {
    signals: Mutex<Vec<Signal>>,
    records: Mutex<Vec<FlowRecord>>,
}

impl SignalSink for Seen {
    fn raise(&self, signal: Signal) {
        self.signals.lock().unwrap().push(signal);
    }
}

impl RecordSink for Seen {
    fn wants(&self) -> bool {
        true
    }
    fn record(&self, record: FlowRecord) {
        self.records.lock().unwrap().push(record);
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

pub(crate) struct World {
    edge: Edge,
    seen: Arc<Seen>,
    listener: Arc<ListenerSnapshot>,
    pub(crate) address: SocketAddr,
}

fn endpoint(number: u64, to: SocketAddr) -> EndpointSnapshot {
    EndpointSnapshot {
        id: EndpointId::new(format!("e{number}")),
        weight: Weight::DEFAULT,
        port: Some(to.port()),
        max_flows: 0,
        draining: false,
        available: true,
        health: HealthState::Up,
        reason: None,
        addresses: vec![AddressSnapshot {
            ip: to.ip(),
            health: HealthState::Up,
            rtt: None,
            live: Arc::new(AddressLive::new(AddressId(number))),
            transparent: false,
        }],
        stats: Arc::new(EndpointStats::default()),
    }
}

/// Each world listens on an address of its own, so that tests never meet.
pub(crate) fn world(settings: ListenerSettings, groups: &[&[SocketAddr]]) -> World {
    world_by(IoEngine::default(), settings, groups)
}

fn world_by(io_engine: IoEngine, settings: ListenerSettings, groups: &[&[SocketAddr]]) -> World {
    static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
    let host = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let pid = std::process::id();
    let ip = IpAddr::V4(Ipv4Addr::new(127, (pid >> 8) as u8 | 64, pid as u8, host));
    let mut number = 0;
    let groups = groups
        .iter()
        .enumerate()
        .map(|(index, endpoints)| {
            let endpoints: Vec<_> = endpoints
                .iter()
                .map(|to| {
                    number += 1;
                    endpoint(number, *to)
                })
                .collect();
            let weights: Vec<_> = endpoints.iter().map(|e| (e.id.clone(), e.weight)).collect();
            Arc::new(GroupSnapshot {
                region: Region::new(format!("r{index}")),
                traffic_dial: TrafficDial::FULL,
                distance: None,
                port_overrides: Vec::new(),
                settings: Arc::new(GroupSettings::default()),
                endpoints: endpoints.into(),
                selector: Arc::new(Selector::build(&weights, ClientAffinity::None)),
            })
        })
        .collect();
    let listener = Arc::new(ListenerSnapshot {
        accelerator: AcceleratorName::new("a"),
        protocol: Protocol::Tcp,
        addresses: vec![ip],
        ports: PortSet::new(vec![PortRange::new(7000, 7000).unwrap()]).unwrap(),
        client_affinity: ClientAffinity::None,
        settings: Arc::new(settings),
        groups,
        stats: Arc::new(ListenerStats::default()),
    });
    let seen = Arc::new(Seen::default());
    let edge = Edge::start(EdgeOptions {
        workers: 2,
        limits: Limits::default(),
        io_engine,
        splice: false,
        steering: PortSteering::SkLookup,
        signals: seen.clone(),
        records: seen.clone(),
        inherited: Vec::new(),
    })
    .unwrap();
    let world = World {
        edge,
        seen,
        listener,
        address: (ip, 7000).into(),
    };
    world.publish(1, Vec::new());
    assert_eq!(
        world
            .edge
            .bindings()
            .iter()
            .filter(|b| b.error.is_some())
            .count(),
        0
    );
    world
}

impl World {
    fn publish(&self, generation: u64, verdicts: Vec<Verdict>) {
        self.edge.publish(Arc::new(Snapshot {
            generation,
            listeners: vec![Arc::clone(&self.listener)],
            verdicts: verdicts.into(),
        }));
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    fn record(&self, cause: EndCause) -> FlowRecord {
        wait_for(cause.as_str(), || {
            let records = self.seen.records.lock().unwrap();
            records.iter().find(|record| record.cause == cause).cloned()
        })
    }
}

/// A flow whose first byte was read.
fn begun(world: &World, endpoint: &TcpListener) -> (TcpStream, TcpStream) {
    let mut client = world.connect();
    client.set_nodelay(true).unwrap();
    client.write_all(b"x").unwrap();
    let (mut socket, _) = endpoint.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.read_exact(&mut [0]).unwrap();
    (client, socket)
}

/// Closes it with a reset.
fn reset(socket: TcpStream) {
    socket2::SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A port that is taken, so that nobody else gets it, and on which nobody listens for as long as this is held.
fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
    socket.bind(&any.into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

#[test]
fn bytes_and_half_closes_pass_both_ways() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let mut client = world.connect();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut socket, _) = endpoint.accept().unwrap();
    let mut question = String::new();
    socket.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    socket.write_all(b"answer").unwrap();
    drop(socket);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    let record = world.record(EndCause::ClientFin);
    assert_eq!(
        (record.bytes_in, record.bytes_out, record.attempts),
        (8, 6, 1)
    );
    assert_eq!(record.endpoint.unwrap().address, EndpointAddr(address));
    wait_for("the flow to be counted out", || {
        (world.edge.active_flows() == 0).then_some(())
    });
}

#[test]
fn the_path_of_a_flow_that_stays_is_watched() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let _client = world.connect();
    let (_socket, edge) = endpoint.accept().unwrap();
    // Of the edge's socket, by its address and ports: a timer of kind 2, which is keepalive (proc_net_tcp.rst).
    let [local, remote] = [edge.port(), address.port()].map(|port| format!("0100007F:{port:04X} "));
    wait_for("a keepalive timer", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let ours = format!("{local}{remote}");
        let row = sockets.lines().find(|row| row.contains(&ours))?;
        row.contains(" 02:").then_some(())
    });
}

#[test]
fn listening_sockets_leave_fewer_descriptors_to_flows() {
    let world = world(ListenerSettings::default(), &[]);
    let flows = |listening| effective_max_flows(&Limits::default(), listening) as usize;
    // One address and port, for each of two workers.
    assert_eq!(world.edge.max_flows(), flows(2));
    assert_eq!(flows(2), flows(0) - 1);
}

#[test]
fn a_refusal_goes_to_the_next_candidate_and_raises_a_signal() {
    let (endpoint, address) = listener();
    let (_held, refused) = refusing();
    let world = world(ListenerSettings::default(), &[&[refused], &[address]]);
    let mut client = world.connect();
    client.write_all(b"x").unwrap();
    let (mut socket, _) = endpoint.accept().unwrap();
    let mut byte = [0];
    socket.read_exact(&mut byte).unwrap();
    wait_for("a signal", || {
        let signals = world.seen.signals.lock().unwrap();
        signals
            .iter()
            .find(|s| s.kind == SignalKind::Refused)
            .map(|s| s.to)
    });
}

#[test]
fn a_reset_stays_a_reset_both_ways() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let (mut client, socket) = begun(&world, &endpoint);
    reset(socket);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    world.record(EndCause::EndpointRst);

    let (client, mut socket) = begun(&world, &endpoint);
    reset(client);
    let error = socket.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    world.record(EndCause::ClientRst);
}

#[test]
fn nobody_to_connect_to_is_a_reset_to_the_client() {
    let (_held, refused) = refusing();
    let world = world(ListenerSettings::default(), &[&[refused]]);
    let mut client = world.connect();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    world.record(EndCause::ConnectFailed);
}

#[test]
fn a_stalled_reader_holds_the_source_and_loses_nothing() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let client = world.connect();
    let total = 64 << 20;
    let writer = std::thread::spawn(move || {
        let mut client = client;
        let chunk: Vec<u8> = (0..=255u8).cycle().take(1 << 20).collect();
        for _ in 0..64 {
            client.write_all(&chunk).unwrap();
        }
    });
    let (mut socket, _) = endpoint.accept().unwrap();
    let mut got = 0u64;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = socket.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        for (index, byte) in buffer[..read].iter().enumerate() {
            assert_eq!(*byte, ((got + index as u64) % 256) as u8);
        }
        got += read as u64;
    }
    writer.join().unwrap();
    assert_eq!(got, total);
}

#[test]
fn a_verdict_resets_idle_flows_and_spares_those_that_moved() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let mut idle = world.connect();
    idle.write_all(b"i").unwrap();
    let (mut idle_socket, _) = endpoint.accept().unwrap();
    idle_socket.read_exact(&mut [0]).unwrap();
    let mut alive = world.connect();
    alive.write_all(b"a").unwrap();
    let (mut alive_socket, _) = endpoint.accept().unwrap();
    alive_socket.read_exact(&mut [0]).unwrap();
    // TCP_INFO counts in jiffies: what comes after must be a few milliseconds after.
    let silent_since = Instant::now();
    wait_for("some time to pass", || {
        (silent_since.elapsed() > Duration::from_millis(50)).then_some(())
    });
    alive_socket.write_all(b"b").unwrap();
    alive.read_exact(&mut [0]).unwrap();
    let fate = Fate::Reset {
        silent_since,
        over: Duration::from_millis(100),
        rate: 2000,
    };
    let decided = Instant::now();
    world.publish(
        2,
        vec![Verdict {
            number: 1,
            address: AddressId(1),
            decided,
            fate,
        }],
    );
    let error = idle.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    world.record(EndCause::StrandedReset);
    wait_for("the pace to be over", || {
        (decided.elapsed() > Duration::from_millis(300)).then_some(())
    });
    alive_socket.write_all(b"c").unwrap();
    alive.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_listener_that_leaves_stops_listening_and_its_flows_go_on() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let (mut client, mut socket) = begun(&world, &endpoint);
    world.edge.publish(Arc::new(Snapshot {
        generation: 2,
        ..Snapshot::default()
    }));
    wait_for("the port to close", || {
        TcpStream::connect(world.address).is_err().then_some(())
    });
    socket.write_all(b"y").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn an_endpoint_that_swallows_connects_is_raced() {
    // A full accept queue drops further SYNs: connects to it hang.
    let (blackhole, silent) = refusing();
    blackhole.listen(0).unwrap();
    let filler: Vec<_> = (0..2)
        .filter_map(|_| TcpStream::connect_timeout(&silent, Duration::from_millis(200)).ok())
        .collect();
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[silent], &[address]]);
    let (_client, _socket) = begun(&world, &endpoint);
    wait_for("a signal", || {
        let signals = world.seen.signals.lock().unwrap();
        signals
            .iter()
            .find(|s| s.kind == SignalKind::Slow)
            .map(|s| s.to)
    });
    drop(filler);
}

#[test]
fn a_group_that_refuses_everywhere_costs_no_flow() {
    let (endpoint, address) = listener();
    let held: Vec<_> = (0..6).map(|_| refusing()).collect();
    let refused: Vec<SocketAddr> = held.iter().map(|(_, address)| *address).collect();
    let world = world(ListenerSettings::default(), &[&refused, &[address]]);
    for _ in 0..20 {
        let mut client = world.connect();
        client.write_all(b"x").unwrap();
        let (mut socket, _) = endpoint.accept().unwrap();
        socket.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn flows_and_sockets_go_to_a_successor() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let mut client = world.connect();
    client.write_all(b"before").unwrap();
    let (mut socket, _) = endpoint.accept().unwrap();
    let mut heard = [0; 6];
    socket.read_exact(&mut heard).unwrap();
    let successor = Edge::start(EdgeOptions {
        workers: 1,
        limits: Limits::default(),
        io_engine: IoEngine::default(),
        splice: false,
        steering: PortSteering::SkLookup,
        signals: world.seen.clone(),
        records: world.seen.clone(),
        inherited: world.edge.listening_sockets().unwrap(),
    })
    .unwrap();
    successor.publish(world.edge.snapshot());
    let flows = wait_for("the flow", || {
        Some(world.edge.export_flows()).filter(|flows| !flows.is_empty())
    });
    assert_eq!(world.edge.active_flows(), 0);
    world.edge.stop_accepting();
    let World {
        edge,
        seen,
        address,
        ..
    } = world;
    edge.end();
    let id = flows[0].id;
    successor.adopt_flows(flows);
    client.write_all(b"after").unwrap();
    let mut heard = [0; 5];
    socket.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"after");
    drop(client);
    assert_eq!(socket.read(&mut heard).unwrap(), 0);
    drop(socket);
    let record = wait_for("its record", || seen.records.lock().unwrap().pop());
    assert_eq!(
        (record.id, record.bytes_in, record.cause),
        (id, 11, EndCause::ClientFin)
    );
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"x").unwrap();
    endpoint.accept().unwrap().0.read_exact(&mut [0]).unwrap();
}

#[test]
fn an_answer_that_a_reset_follows_is_delivered_first() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    for _ in 0..50 {
        let mut client = world.connect();
        client.write_all(b"an upload that nobody wants").unwrap();
        let (mut socket, _) = endpoint.accept().unwrap();
        socket.peek(&mut [0]).unwrap();
        socket.write_all(b"413").unwrap();
        // Unread bytes make this close a reset.
        drop(socket);
        let mut answer = [0; 3];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"413");
    }
}

/// More than all queues on the way take.
const MUCH: usize = 64 << 20;

#[test]
fn an_answer_cut_off_by_a_reset_does_not_end_cleanly_for_a_client_that_is_slow() {
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[address]]);
    let (mut client, mut socket) = begun(&world, &endpoint);
    // Until nobody takes anything any more: the client has read nothing.
    socket.set_write_timeout(Some(PATIENCE / 20)).unwrap();
    assert!(socket.write_all(&vec![7; MUCH]).is_err(), "it is stuck");
    reset(socket);
    // By this the edge learns of the reset, whose endpoint would have more to say.
    client.write_all(b"y").unwrap();
    let error = client.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    world.record(EndCause::EndpointRst);
}

fn copy_of(listener: &ListenerSnapshot) -> ListenerSnapshot {
    ListenerSnapshot {
        accelerator: listener.accelerator.clone(),
        protocol: listener.protocol,
        addresses: listener.addresses.clone(),
        ports: listener.ports.clone(),
        client_affinity: listener.client_affinity,
        settings: Arc::clone(&listener.settings),
        groups: listener.groups.clone(),
        stats: Arc::clone(&listener.stats),
    }
}

#[test]
fn an_answer_that_never_ended_does_not_end_cleanly() {
    let settings = ListenerSettings {
        // Longer than a busy machine keeps this test from its turn.
        half_close_timeout: Duration::from_secs(2),
        ..ListenerSettings::default()
    };
    let (endpoint, address) = listener();
    let world = world(settings, &[&[address]]);
    let mut client = world.connect();
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut socket, _) = endpoint.accept().unwrap();
    socket.write_all(b"half an ans").unwrap();
    let mut answer = Vec::new();
    let error = client.read_to_end(&mut answer).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(answer, b"half an ans");
    world.record(EndCause::HalfClose);
}

#[test]
fn what_a_dead_endpoint_never_had_goes_to_the_next_one_whole() {
    let (dying, dead) = listener();
    let (endpoint, address) = listener();
    let world = world(ListenerSettings::default(), &[&[dead], &[address]]);
    let live = &world.listener.groups[0].endpoints[0].addresses[0].live;
    for round in 0..50 {
        // Two that end together found doubt, and the next flow would be spared.
        live.doubt.lift(u64::MAX);
        let mut client = world.connect();
        let (socket, _) = dying.accept().unwrap();
        reset(socket);
        let request = format!("request {round:04}");
        client.write_all(request.as_bytes()).unwrap();
        let (mut socket, _) = endpoint.accept().unwrap();
        let mut heard = vec![0; request.len()];
        socket.read_exact(&mut heard).unwrap();
        assert_eq!(heard, request.as_bytes());
    }
}
