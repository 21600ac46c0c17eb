//! The endpoints of every run: one answers requests of fixed size, one swallows what comes, one sends datagrams back. They run in a
//! process of their own ([`serve`]), so that their descriptors and their CPU are not the generator's.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustix::net::RecvFlags;
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::service::Service;

/// Bytes of a request.
pub const REQUEST: usize = 64;

/// Bytes of an answer.
pub const ANSWER: usize = 256;

/// Bytes that the swallowing endpoint takes at once. They are not copied, so the size costs nothing.
const MOUTHFUL: usize = 1 << 20;

/// Event loops that each endpoint has.
const THREADS: usize = 2;

const LISTENER: Token = Token(usize::MAX);

/// Starts an endpoint a service and waits until standard input is closed: the end of whoever started this process.
pub fn serve() -> Result<()> {
    for service in Service::ALL {
        start(service, service.bind(), b'a')?;
    }
    println!("ready");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Starts one endpoint, which lives as long as the process. `byte` is what its answers are made of.
pub fn start(service: Service, address: SocketAddr, byte: u8) -> Result<()> {
    for _ in 0..THREADS {
        let socket = socket(service, address).with_context(|| format!("endpoint {address}"))?;
        let named = thread::Builder::new().name("endpoint".into());
        if service.is_udp() {
            named.spawn(move || echo(&socket.into()))?;
        } else {
            let listener = TcpListener::from_std(socket.into());
            named.spawn(move || accept(listener, service, byte))?;
        }
    }
    Ok(())
}

fn socket(service: Service, address: SocketAddr) -> io::Result<Socket> {
    let (kind, tcp) = match service {
        Service::Echoes => (Type::DGRAM, false),
        Service::Answers | Service::Spread | Service::Swallows => (Type::STREAM, true),
    };
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if tcp {
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
    }
    socket.bind(&address.into())?;
    if tcp {
        socket.listen(4096)?;
    }
    Ok(socket)
}

fn echo(socket: &UdpSocket) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        // A client that is gone is no concern of ours.
        let _ = socket.send_to(&buffer[..length], from);
    }
}

fn accept(mut listener: TcpListener, service: Service, byte: u8) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Slab<(TcpStream, usize)> = Slab::new();
    let mut events = Events::with_capacity(1024);
    let answer = [byte; ANSWER];
    loop {
        if let Err(error) = poll.poll(&mut events, None)
            && error.kind() != ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let entry = connections.vacant_entry();
                    let token = Token(entry.key());
                    poll.registry()
                        .register(&mut stream, token, Interest::READABLE)?;
                    entry.insert((stream, 0));
                }
                continue;
            }
            let key = event.token().0;
            let Some((stream, have)) = connections.get_mut(key) else {
                continue;
            };
            let lives = match service {
                Service::Swallows => swallow(stream),
                Service::Answers | Service::Spread | Service::Echoes => {
                    reply(stream, have, &answer)
                }
            };
            if !lives {
                connections.remove(key);
            }
        }
    }
}

/// Reads what there is and answers each whole request; false at the end.
fn reply(stream: &mut TcpStream, have: &mut usize, answer: &[u8]) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => {
                *have += read;
                while *have >= REQUEST {
                    *have -= REQUEST;
                    // A closed loop never has more answers in flight than its socket buffer holds.
                    if stream.write_all(answer).is_err() {
                        return false;
                    }
                }
            }
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

/// Throws away what there is, without a copy (tcp(7), MSG_TRUNC), so that the receiver does not hide the proxy; false at the end.
fn swallow(stream: &TcpStream) -> bool {
    thread_local! {
        static NOWHERE: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; MOUTHFUL]);
    }
    NOWHERE.with_borrow_mut(|nowhere| {
        loop {
            match rustix::net::recv(stream.as_fd(), &mut nowhere[..], RecvFlags::TRUNC) {
                Ok((_, 0)) => return false,
                Ok(_) => {}
                Err(error) => return error == rustix::io::Errno::WOULDBLOCK,
            }
        }
    })
}
