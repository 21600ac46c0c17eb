//! The program in a real kernel, in a network namespace of the test's own: root, or it is skipped and says so.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Duration;

use portolan_config::model::{PortSteering, Protocol};
use portolan_config::units::PortRange;

use super::{Ranges, can_steer};

const INSIDE: &str = "PORTOLAN_TEST_NETWORK";

/// Runs a test of this file again in a network of its own; false in there, where it goes on. Skipped without the rights, and told.
fn elsewhere(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    if let Err(error) = can_steer(PortSteering::SkLookup, Protocol::Udp) {
        println!("SKIPPED: {test}: sk_lookup cannot be used here: {error}");
        return true;
    }
    let script = r#"ip link set lo up && exec "$0" "ranges::tests::$1" --exact --nocapture"#;
    let status = Command::new("unshare")
        .args(["--net", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
    true
}

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(first, last).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// Where a connection to an address ends up: the local address that its other end sees.
fn reaches(listener: &TcpListener, to: SocketAddr) -> SocketAddr {
    let client = TcpStream::connect(to).unwrap();
    let (accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    accepted.local_addr().unwrap()
}

#[test]
fn a_range_reaches_its_socket_and_nothing_else_does() {
    if elsewhere("a_range_reaches_its_socket_and_nothing_else_does") {
        return;
    }
    let mut ranges = Ranges::new(PortSteering::SkLookup);
    let mut listeners = Vec::new();
    for local in ["127.0.0.1", "::1"] {
        let listener = TcpListener::bind(at(local, 3000)).unwrap();
        ranges
            .serve(
                Protocol::Tcp,
                ip(local),
                listener.as_fd(),
                vec![range(1, 9000), range(9002, 65535)],
            )
            .unwrap();
        for port in [1, 22, 2999, 3000, 3001, 9000, 9002, 40000, 65535] {
            assert_eq!(reaches(&listener, at(local, port)), at(local, port));
        }
        assert!(TcpStream::connect(at(local, 9001)).is_err());
        listeners.push(listener);
    }
    assert!(TcpStream::connect("127.0.0.2:80").is_err());
    ranges.forget(Protocol::Tcp, ip("127.0.0.1"));
    assert!(TcpStream::connect("127.0.0.1:80").is_err());
    assert!(TcpStream::connect("[::1]:80").is_ok());
    ranges.forget(Protocol::Tcp, ip("::1"));
    assert!(TcpStream::connect("[::1]:80").is_err());
}

#[test]
fn ranges_change_under_way() {
    if elsewhere("ranges_change_under_way") {
        return;
    }
    let mut ranges = Ranges::new(PortSteering::SkLookup);
    let first = TcpListener::bind("127.0.0.1:3000").unwrap();
    let second = TcpListener::bind("127.0.0.1:4000").unwrap();
    let local = ip("127.0.0.1");
    ranges
        .serve(Protocol::Tcp, local, first.as_fd(), vec![range(1, 5000)])
        .unwrap();
    assert_eq!(reaches(&first, at("127.0.0.1", 80)).port(), 80);
    // Another socket, and other ports.
    ranges
        .serve(
            Protocol::Tcp,
            local,
            second.as_fd(),
            vec![range(80, 80), range(4000, 4000)],
        )
        .unwrap();
    assert_eq!(reaches(&second, at("127.0.0.1", 80)).port(), 80);
    assert!(TcpStream::connect("127.0.0.1:81").is_err());
    drop(ranges);
    assert!(TcpStream::connect("127.0.0.1:80").is_err());
}

#[test]
fn what_listens_already_stays_where_it_is() {
    if elsewhere("what_listens_already_stays_where_it_is") {
        return;
    }
    // Another process, which is what makes it another program's.
    let mut other = Command::new("python3")
        .args(["-c", "import socket, sys\ns = socket.create_server(('0.0.0.0', 22))\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\nu.bind(('127.0.0.1', 53))\nprint('up', flush=True)\nsys.stdin.read()"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 3];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut line).unwrap();
    let listener = TcpListener::bind("127.0.0.1:3000").unwrap();
    let named = TcpListener::bind("127.0.0.1:3001").unwrap();
    let mut ranges = Ranges::new(PortSteering::SkLookup);
    ranges
        .serve(
            Protocol::Tcp,
            ip("127.0.0.1"),
            listener.as_fd(),
            vec![range(1, 65535)],
        )
        .unwrap();
    assert_eq!(reaches(&listener, at("127.0.0.1", 23)).port(), 23);
    assert!(TcpStream::connect("127.0.0.1:22").is_ok());
    // The other program's: nothing comes here.
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    listener.set_nonblocking(false).unwrap();
    // A socket of ours at the very address stands beside the range; the range has its port.
    assert_eq!(reaches(&listener, at("127.0.0.1", 3001)).port(), 3001);
    // On every address, ours at a named one wins.
    let wild = TcpListener::bind("0.0.0.0:3002").unwrap();
    ranges.forget(Protocol::Tcp, ip("127.0.0.1"));
    ranges
        .serve(
            Protocol::Tcp,
            ip("0.0.0.0"),
            wild.as_fd(),
            vec![range(1, 65535)],
        )
        .unwrap();
    assert_eq!(reaches(&named, at("127.0.0.1", 3001)).port(), 3001);
    assert_eq!(reaches(&wild, at("127.0.0.9", 3001)), at("127.0.0.9", 3001));
    let udp = UdpSocket::bind("127.0.0.1:3000").unwrap();
    ranges
        .serve(
            Protocol::Udp,
            ip("127.0.0.1"),
            udp.as_fd(),
            vec![range(1, 4000)],
        )
        .unwrap();
    udp.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"dns", "127.0.0.1:53").unwrap();
    assert!(udp.recv(&mut [0; 8]).is_err());
    client.send_to(b"any", "127.0.0.1:54").unwrap();
    assert_eq!(udp.recv(&mut [0; 8]).unwrap(), 3);
    drop(other.stdin.take());
    other.wait().unwrap();
}

#[test]
fn clients_of_this_host_keep_hearing_answers() {
    let ports = super::ephemeral_ports();
    assert!(super::wildcard_fault(Protocol::Udp, &[range(1, 65535)]).is_some());
    assert!(super::wildcard_fault(Protocol::Udp, &[range(1, ports.first() - 1)]).is_none());
    assert!(super::wildcard_fault(Protocol::Tcp, &[range(1, 65535)]).is_none());
}
