//! Messages and flows over a real pair of sockets, and what must not pass.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use portolan_control::Inheritance;

use super::message::{Hello, Message, SocketItem, SocketKind};
use super::process::ProcessId;
use super::wire::{MOST_DESCRIPTORS, Wire};
use super::*;

/// Far beyond what anything here takes.
const SOON: Duration = Duration::from_secs(10);

fn pair() -> (Wire, Wire, UnixStream) {
    let (a, b) = UnixStream::pair().unwrap();
    let raw = a.try_clone().unwrap();
    (Wire::new(a).unwrap(), Wire::new(b).unwrap(), raw)
}

fn hello() -> Message {
    Message::Hello(Hello {
        protocol: PROTOCOL,
        version: "1".into(),
        process: ProcessId::own(),
        with_flows: true,
        datagrams: true,
    })
}

#[test]
fn messages_arrive_as_they_were_sent() {
    let (a, b, _) = pair();
    let state = Message::State {
        known: Inheritance::default(),
    };
    for message in [hello(), state, Message::Ready, Message::FlowsEnd] {
        a.say(&message, SOON).unwrap();
        let frame = b.receive(SOON).unwrap();
        assert_eq!(frame.message, message);
        assert!(frame.descriptors.is_empty() && frame.blob.is_empty());
    }
}

#[test]
fn descriptors_and_blobs_come_with_their_message() {
    let (a, b, _) = pair();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let items = vec![
        SocketItem {
            kind: SocketKind::Tcp,
            address: Some(address),
        };
        MOST_DESCRIPTORS
    ];
    let descriptors = vec![listener.as_fd(); MOST_DESCRIPTORS];
    let blob = vec![7; 3_000_000];
    let sockets = Message::Sockets { items };
    let received = std::thread::scope(|scope| {
        let receiving = scope.spawn(|| (b.receive(SOON).unwrap(), b.receive(SOON).unwrap()));
        a.send(&sockets, &descriptors, &blob, SOON).unwrap();
        a.say(&Message::Ready, SOON).unwrap();
        receiving.join().unwrap()
    });
    let (first, second) = received;
    assert_eq!((first.message, first.blob), (sockets, blob));
    assert_eq!(second.message, Message::Ready);
    assert_eq!(first.descriptors.len(), MOST_DESCRIPTORS);
    for descriptor in first.descriptors {
        assert_eq!(TcpListener::from(descriptor).local_addr().unwrap(), address);
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let long = [b"PTUP".as_slice(), &[0, 0, 0, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]].concat();
    let text = [
        b"PTUP".as_slice(),
        &[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0],
        b"{]",
    ]
    .concat();
    let promised = [
        b"PTUP".as_slice(),
        &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0],
        b"{}",
    ]
    .concat();
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), long, text, promised] {
        let (_a, b, mut raw) = pair();
        raw.write_all(&bytes).unwrap();
        let error = b.receive(SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{bytes:?}");
    }
}

#[test]
fn silence_and_absence_are_told_apart() {
    let (a, b, raw) = pair();
    let silent = b.receive(Duration::from_millis(20)).unwrap_err();
    assert_eq!(silent.kind(), ErrorKind::TimedOut);
    drop((a, raw));
    let gone = b.receive(SOON).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::UnexpectedEof);
    // Who never reads does not hold the sender for ever, either.
    let (a, _b, _raw) = pair();
    let blob = vec![0; 8 << 20];
    let error = a
        .send(&Message::Ready, &[], &blob, Duration::from_millis(50))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

#[test]
fn a_newer_release_may_say_more() {
    let text = r#"{"message":"hello","protocol":7,"process":{"pid":1,"started":2},"colour":"red"}"#;
    let Message::Hello(hello) = serde_json::from_str(text).unwrap() else {
        panic!("a hello");
    };
    assert_eq!((hello.protocol, hello.with_flows), (7, false));
    let item: SocketItem = serde_json::from_str(r#"{"kind":"telegraph"}"#).unwrap();
    assert_eq!(item.kind, SocketKind::Unknown);
}

#[test]
fn an_older_release_may_say_less() {
    let hello = r#"{"message":"hello","protocol":1,"process":{"pid":1,"started":2}}"#;
    let Message::Hello(hello) = serde_json::from_str(hello).unwrap() else {
        panic!("a hello");
    };
    // It takes no flows of UDP, so it is given none, and they end here.
    assert!(!hello.datagrams && !hello.with_flows);
    let welcome = r#"{"message":"welcome","protocol":1,"process":{"pid":1,"started":2}}"#;
    let Message::Welcome(welcome) = serde_json::from_str(welcome).unwrap() else {
        panic!("a welcome");
    };
    // It gives none, so none are waited for.
    assert!(!welcome.datagrams);
    let state = r#"{"message":"state","known":{"health":[],"names":[]}}"#;
    let Message::State { known } = serde_json::from_str(state).unwrap() else {
        panic!("a state");
    };
    assert!(known.orders.is_empty());
}

#[test]
fn connections_arrive_as_they_were() {
    let connection = |port: u16, known_by| portolan_proxy::HandedConnection {
        accelerator: portolan_config::units::AcceleratorName::new("shop"),
        port,
        known_by,
        endpoint: "192.0.2.9:443".parse().unwrap(),
    };
    let client = portolan_proxy::KnownBy::Client("2001:db8::1".parse().unwrap());
    let known = vec![
        connection(1, portolan_proxy::KnownBy::Id(vec![1, 2, 3, 4])),
        connection(2, portolan_proxy::KnownBy::Id(vec![9; 20])),
        connection(1, client),
    ];
    let (homes, blob) = datagrams::pack(&known);
    assert_eq!(homes.len(), 2);
    let back = datagrams::unpack_connections(&homes, &blob).unwrap();
    assert_eq!(back, known);
    assert!(datagrams::unpack_connections(&homes, &blob[1..]).is_err());
    assert!(datagrams::unpack_connections(&homes[..1], &blob).is_err());
}

/// A client's and an endpoint's connection, and their other ends.
fn connection() -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (ours, listener.accept().unwrap().0.into())
}

fn flow(client: OwnedFd, endpoint: OwnedFd) -> portolan_proxy::HandedFlow {
    let addr = |text: &str| text.parse().unwrap();
    let pipe = |kept: &[u8]| portolan_proxy::HandedPipe {
        bytes: 5,
        reads: 2,
        eof: true,
        shut: false,
        kept: kept.to_vec(),
        ours: 1,
    };
    portolan_proxy::HandedFlow {
        client,
        endpoint,
        id: u64::MAX,
        accelerator: portolan_config::units::AcceleratorName::new("shop"),
        region: portolan_config::units::Region::new("eu"),
        endpoint_id: portolan_config::units::EndpointId::new("web"),
        client_addr: addr("192.0.2.1:1"),
        listener_addr: addr("192.0.2.2:2"),
        endpoint_addr: addr("[2001:db8::3]:3"),
        age: Duration::from_secs(9),
        idle: Duration::from_millis(1500),
        connect_took: Duration::from_micros(7),
        attempts: 2,
        reason: portolan_config::flow::PickReason::Hedge,
        endpoint_finished_first: Some(true),
        drain_left: Some(Duration::from_secs(3)),
        inbound: pipe(b"inbound"),
        outbound: pipe(b"out"),
    }
}

#[test]
fn a_flow_arrives_whole() {
    let (mut client, at_client) = connection();
    let (_endpoint, at_endpoint) = connection();
    let flow = flow(at_client, at_endpoint);
    let told = |flow: &portolan_proxy::HandedFlow| {
        let text = format!("{flow:?}");
        // Descriptors have other numbers.
        text[text.find("id:").unwrap()..].to_owned()
    };
    let before = told(&flow);
    let (a, b, _) = pair();
    let arrived = std::thread::scope(|scope| {
        let sending = scope.spawn(|| flows::give(&a, vec![flow]));
        let frame = b.receive(SOON).unwrap();
        let Message::Flows { items } = frame.message else {
            panic!("flows");
        };
        let flows = flows::unpack(items, frame.descriptors, &frame.blob).unwrap();
        b.say(&Message::Taken, SOON).unwrap();
        assert!(sending.join().unwrap().is_ok());
        flows
    });
    assert_eq!(told(&arrived[0]), before);
    // The connection lives on though the sender has closed its copy.
    client.write_all(b"x").unwrap();
    let mut byte = [0];
    let [flow] = <[_; 1]>::try_from(arrived).unwrap();
    TcpStream::from(flow.client).read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}

#[test]
fn flows_that_nobody_took_come_back() {
    let (_client, at_client) = connection();
    let (_endpoint, at_endpoint) = connection();
    let (a, b, raw) = pair();
    drop((b, raw));
    let flow = flow(at_client, at_endpoint);
    let back = flows::give(&a, vec![flow]).err().unwrap();
    assert_eq!(back.flows.len(), 1);
}
