//! The steps of the data way whose instructions are counted: `tests/tests/instructions.rs` runs each of these under callgrind, as often
//! as `COUNTED_TIMES` says and twice as often, and the difference is what one step costs. By themselves they run once.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use mio::net::TcpStream as Edge;
use portolan_config::address::ClientAddr;
use portolan_config::model::{ClientAffinity, ListenerSettings, Protocol};

use crate::edge::tests::world as edge;
use crate::pick::tests::world::{Endpoint, Group, listener_addr, listener_of};
use crate::pick::{candidates, key};
use crate::proxy_protocol::{Decoded, decode, encode_v1, encode_v2};
use crate::relay::pump::{Pipe, Pumped, Ready, Scratch, Way, pump};
use crate::relay::splice::KernelPipes;
use crate::udp::table::{Table, Tuple};

/// Flows in the table of UDP's flows while it is asked.
const FLOWS: u32 = 10_000;

/// Bytes of a relayed message.
const MESSAGE: usize = 256;

fn times() -> u32 {
    let times = std::env::var("COUNTED_TIMES");
    times.map_or(1, |times| times.parse().unwrap())
}

/// No two the same, and the same in every run.
fn client(number: u32) -> SocketAddr {
    let scattered = number.wrapping_mul(0x9e37_79b9);
    (Ipv4Addr::from(scattered), 1024 + (number % 60_000) as u16).into()
}

fn pick_among(endpoints: usize, affinity: ClientAffinity) {
    let endpoints = (0..endpoints).map(|i| Endpoint::up(&format!("i-{i:017x}")));
    let listener = listener_of(
        affinity,
        vec![Group::new("here", 100.0, endpoints.collect())],
    );
    for number in 0..times() {
        let key = key(&listener, ClientAddr(client(number)), listener_addr(80));
        black_box(candidates(&listener, key).next(&listener).unwrap());
    }
}

#[test]
fn pick_among_10() {
    pick_among(10, ClientAffinity::None);
}

#[test]
fn pick_among_1000() {
    pick_among(1000, ClientAffinity::None);
}

#[test]
fn pick_among_1000_by_source() {
    pick_among(1000, ClientAffinity::SourceIp);
}

fn tuple(number: u32) -> Tuple {
    Tuple {
        client: client(number).into(),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 53)).into(),
    }
}

fn table(now: Instant) -> Table<u32> {
    let mut table = Table::new(now);
    for number in 0..FLOWS {
        table.insert(tuple(number), None, number, Duration::from_secs(30), now);
    }
    table
}

#[test]
fn find_a_flow() {
    let now = Instant::now();
    let mut table = table(now);
    for number in 0..times() {
        let id = table.find(&tuple(number % FLOWS), None).unwrap();
        table.touch(id, now);
    }
}

#[test]
fn add_and_remove_a_flow() {
    let now = Instant::now();
    let mut table = table(now);
    for number in 0..times() {
        let new = tuple(FLOWS + number);
        assert!(table.find(&new, None).is_none());
        let id = table.insert(new, None, number, Duration::from_secs(30), now);
        black_box(table.remove(id));
    }
}

const SPOKEN_TO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 443);

#[test]
fn write_proxy_v1() {
    let mut out = Vec::with_capacity(256);
    for number in 0..times() {
        out.clear();
        encode_v1(client(number), SPOKEN_TO, &mut out);
        black_box(&out);
    }
}

fn v2(number: u32, out: &mut Vec<u8>) {
    out.clear();
    let id = u64::from(number).to_be_bytes();
    encode_v2(
        client(number),
        SPOKEN_TO,
        Protocol::Tcp,
        Some(&id),
        &[],
        out,
    );
}

#[test]
fn write_proxy_v2() {
    let mut out = Vec::with_capacity(256);
    for number in 0..times() {
        v2(number, &mut out);
        black_box(&out);
    }
}

fn read_often(header: &[u8]) {
    for _ in 0..times() {
        assert!(matches!(decode(black_box(header)), Decoded::Header { .. }));
    }
}

#[test]
fn read_proxy_v1() {
    let mut header = Vec::new();
    encode_v1(client(7), SPOKEN_TO, &mut header);
    read_often(&header);
}

#[test]
fn read_proxy_v2() {
    let mut header = Vec::new();
    v2(7, &mut header);
    read_often(&header);
}

/// Two ends of a connection; the second is the edge's.
fn pair() -> (TcpStream, Edge) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    (far, Edge::from_std(near))
}

/// One message through the relay, with the far ends' write and read, which are this test's.
#[test]
fn relay_a_message() {
    let ((mut client, source), (mut endpoint, sink)) = (pair(), pair());
    let (mut pipe, mut scratch) = (Pipe::default(), Scratch::new(KernelPipes::new(0)));
    let mut message = [0; MESSAGE];
    for _ in 0..times() {
        client.write_all(&message).unwrap();
        let goal = pipe.bytes + MESSAGE as u64;
        // Once, unless the kernel took its time over the message.
        while pipe.bytes < goal {
            let (mut from, mut to) = (Ready::default(), Ready::default());
            (from.readable, to.writable) = (true, true);
            let pumped = pump(
                &source,
                &mut from,
                &sink,
                &mut to,
                &mut pipe,
                &mut scratch,
                Way::Open,
            );
            assert!(matches!(pumped, Pumped::Waiting));
        }
        endpoint.read_exact(&mut message).unwrap();
    }
    assert_eq!(pipe.bytes, u64::from(times()) * MESSAGE as u64);
}

/// A whole short flow through a worker, with the client and the endpoint, which are this test's.
#[test]
fn a_short_flow() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = edge(
        ListenerSettings::default(),
        &[&[listener.local_addr().unwrap()]],
    );
    let mut message = [0; MESSAGE];
    for _ in 0..times() {
        let mut client = TcpStream::connect(world.address).unwrap();
        let (mut endpoint, _) = listener.accept().unwrap();
        client.write_all(&message).unwrap();
        endpoint.read_exact(&mut message).unwrap();
        endpoint.write_all(&message).unwrap();
        client.read_exact(&mut message).unwrap();
        drop(client);
        assert_eq!(endpoint.read(&mut message).unwrap(), 0);
    }
}
