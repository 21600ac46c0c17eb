//! Addresses and ports that nobody else has: an IPv4 loopback network of this process's own, and ports below the ephemeral range,
//! where a client cannot connect to itself by accident.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Ports handed out: above what needs rights, below `ip_local_port_range`'s usual 32768.
const FIRST_PORT: u32 = 10_000;
const PORTS: u32 = 20_000;

/// An address of this process's own, with a port that it has not given away before.
pub fn fresh() -> SocketAddr {
    let (number, port) = next();
    SocketAddr::new(ip(number), port)
}

/// `count` addresses with the same port.
pub fn fresh_with_one_port(count: usize) -> Vec<SocketAddr> {
    let (_, port) = next();
    (0..count)
        .map(|_| SocketAddr::new(ip(next().0), port))
        .collect()
}

/// A free address on IPv6 loopback, which has one address only: its ports are spread by process.
pub fn fresh_v6() -> SocketAddr {
    let process = std::process::id();
    for _ in 0..PORTS {
        let (number, _) = next();
        let port = FIRST_PORT + (process.wrapping_mul(97) + number) % PORTS;
        let address = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port as u16);
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port on ::1");
}

/// An address for a client to speak from.
pub fn client() -> IpAddr {
    ip(next().0)
}

fn next() -> (u32, u16) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    (number, (FIRST_PORT + number % PORTS) as u16)
}

/// 127.128.0.0 and up, by process: below that live people's configurations and the address pools of examples.
fn ip(number: u32) -> IpAddr {
    let process = std::process::id();
    let second = 128 + (process >> 8) % 127;
    Ipv4Addr::new(127, second as u8, process as u8, (1 + number % 254) as u8).into()
}
