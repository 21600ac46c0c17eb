//! What steering by `sk_lookup` costs: `cargo bench --workspace --bench ranges` (root, else it says so and measures nothing).
//! Connections one after another through an edge in this process, to an endpoint that says one byte: to a listener of one port
//! while nothing is steered, to the same one while another listener has every port of its address, and to that one. Interleaved.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use portolan_benches::listener::before;
use portolan_config::flow::{FlowRecord, RecordSink};
use portolan_config::model::{IoEngine, Limits, PortSteering, Protocol};
use portolan_config::signal::{Signal, SignalSink};
use portolan_config::snapshot::{ListenerSnapshot, Snapshot};
use portolan_proxy::{Edge, EdgeOptions, can_steer};

const ONE_PORT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 88, 1, 1));
const EVERY_PORT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 88, 1, 2));
const PORT: u16 = 7000;

const ROUNDS: usize = 21;
const CONNECTIONS: u32 = 400;

fn main() {
    if let Err(error) = can_steer(PortSteering::SkLookup, Protocol::Tcp) {
        println!("LEFT OUT: sk_lookup cannot be used here: {error}");
        return;
    }
    let endpoint = endpoint();
    let one = Arc::new(before(endpoint, "one", ONE_PORT, (PORT, PORT)));
    let every = Arc::new(before(endpoint, "every", EVERY_PORT, (1, u16::MAX)));
    let edge = edge();
    let mut generation = 0;
    let mut serve = |listeners: &[&Arc<ListenerSnapshot>]| {
        generation += 1;
        edge.publish(Arc::new(Snapshot {
            generation,
            listeners: listeners.iter().copied().map(Arc::clone).collect(),
            ..Snapshot::default()
        }));
    };
    let mut took: [Vec<Duration>; 3] = Default::default();
    for _ in 0..ROUNDS {
        serve(&[&one]);
        took[0].push(connections((ONE_PORT, PORT).into()));
        serve(&[&one, &every]);
        took[1].push(connections((ONE_PORT, PORT).into()));
        took[2].push(connections((EVERY_PORT, PORT).into()));
    }
    let names = [
        "one port, nothing steered",
        "one port, beside a range",
        "a port of the range",
    ];
    let medians = took.map(|mut took| {
        took.sort_unstable();
        took[took.len() / 2]
    });
    for (name, median) in names.iter().zip(medians) {
        let micros = median.as_secs_f64() * 1e6;
        let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
        println!("{name:<28} {micros:8.2} µs a connection, {ratio:.3}");
    }
}

/// One connection, the first byte and the end included.
fn connections(to: SocketAddr) -> Duration {
    let mut buffer = [0; 8];
    let one = |buffer: &mut [u8]| {
        let mut stream = TcpStream::connect(to).expect("it is listened on");
        let read = stream.read(buffer).expect("it answers");
        assert_eq!(read, 1, "a byte is the answer");
        assert_eq!(stream.read(buffer).expect("it ends"), 0);
    };
    // What was opened just now has settled then.
    for _ in 0..20 {
        one(&mut buffer);
    }
    let began = Instant::now();
    for _ in 0..CONNECTIONS {
        one(&mut buffer);
    }
    began.elapsed() / CONNECTIONS
}

fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let at = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that is gone has what it wanted.
            let _ = (&stream).write_all(b"x");
        }
    });
    at
}

struct Nobody;

impl SignalSink for Nobody {
    fn raise(&self, _: Signal) {}
}

impl RecordSink for Nobody {
    fn wants(&self) -> bool {
        false
    }

    fn record(&self, _: FlowRecord) {}
}

fn edge() -> Edge {
    let options = EdgeOptions {
        workers: 1,
        limits: Limits::default(),
        io_engine: IoEngine::default(),
        splice: false,
        steering: PortSteering::SkLookup,
        signals: Arc::new(Nobody),
        records: Arc::new(Nobody),
        inherited: Vec::new(),
    };
    Edge::start(options).expect("the edge starts")
}
