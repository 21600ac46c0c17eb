//! What a PROXY header of a datagram declares, and what it does not.

use std::net::UdpSocket;

use super::*;
use crate::proxy_protocol::encode_v2;

#[test]
fn a_destination_that_a_datagram_declares_chooses_no_port() {
    let host: IpAddr = "127.200.1.10".parse().unwrap();
    let endpoint_socket = UdpSocket::bind((host, 7000)).unwrap();
    endpoint_socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut world = world(ListenerSettings::default(), &[&[(host, 7000).into()]]);
    let mut listener = copy_of(&world.listener);
    listener.protocol = Protocol::Udp;
    listener.settings = Arc::new(ListenerSettings {
        accept_proxy: Some(portolan_config::model::AcceptProxy {
            from: vec!["127.0.0.0/8".parse().unwrap()],
            timeout: PATIENCE,
        }),
        ..ListenerSettings::default()
    });
    // The endpoint names no port, so that the listener's is used.
    let mut endpoint = listener.groups[0].endpoints[0].clone();
    endpoint.port = None;
    let group = &listener.groups[0];
    listener.groups = vec![Arc::new(GroupSnapshot {
        region: group.region.clone(),
        traffic_dial: group.traffic_dial,
        distance: None,
        port_overrides: Vec::new(),
        settings: Arc::clone(&group.settings),
        selector: Arc::clone(&group.selector),
        endpoints: vec![endpoint].into(),
    })];
    world.listener = Arc::new(listener);
    world.publish(2, Vec::new());

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // Connected: an answer from anywhere else would never arrive.
    client.connect(world.address).unwrap();
    let mut datagram = Vec::new();
    encode_v2(
        "192.0.2.1:4711".parse().unwrap(),
        "192.0.2.2:443".parse().unwrap(),
        Protocol::Udp,
        None,
        &[],
        &mut datagram,
    );
    datagram.push(b'x');
    client.send(&datagram).unwrap();
    let mut heard = [0; 64];
    let (length, edge) = endpoint_socket.recv_from(&mut heard).unwrap();
    assert_eq!(&heard[..length], b"x");
    endpoint_socket.send_to(b"y", edge).unwrap();
    assert_eq!(client.recv(&mut heard).unwrap(), 1);
    let World { edge, seen, .. } = world;
    edge.end();
    let record = seen.records.lock().unwrap().pop().unwrap();
    assert_eq!(record.client.0, "192.0.2.1:4711".parse().unwrap());
    assert_eq!(record.listener.0.port(), 7000);
}

#[test]
fn a_declared_destination_chooses_no_port() {
    let settings = ListenerSettings {
        accept_proxy: Some(portolan_config::model::AcceptProxy {
            from: vec!["127.0.0.0/8".parse().unwrap()],
            timeout: PATIENCE,
        }),
        ..ListenerSettings::default()
    };
    let (endpoint, address) = listener();
    let mut world = world(settings, &[&[address]]);
    // The endpoint names no port, so that the listener's is used: its address is one on which that port is free.
    let host: IpAddr = "127.200.1.9".parse().unwrap();
    let endpoint_socket = TcpListener::bind((host, 7000)).unwrap();
    drop(endpoint);
    let mut moved = copy_of(&world.listener);
    let mut fresh = self::endpoint(9, (host, 7000).into());
    fresh.port = None;
    let group = GroupSnapshot {
        region: Region::new("r0"),
        traffic_dial: TrafficDial::FULL,
        distance: None,
        port_overrides: Vec::new(),
        settings: Arc::clone(&world.listener.groups[0].settings),
        selector: Arc::new(Selector::build(
            &[(fresh.id.clone(), fresh.weight)],
            ClientAffinity::None,
        )),
        endpoints: vec![fresh].into(),
    };
    moved.groups = vec![Arc::new(group)];
    world.listener = Arc::new(moved);
    world.publish(2, Vec::new());
    let mut client = world.connect();
    client
        .write_all(b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\nx")
        .unwrap();
    let (mut socket, _) = endpoint_socket.accept().unwrap();
    let mut byte = [0];
    socket.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    drop((client, socket));
    let record = wait_for("its record", || world.seen.records.lock().unwrap().pop());
    assert_eq!(record.client.0, "192.0.2.1:4711".parse().unwrap());
    assert_eq!(record.listener.0, world.address);
}
