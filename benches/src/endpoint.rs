//! The endpoint of every run: answers fixed-size requests, or swallows what comes. One event loop a thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};

/// Bytes of a request.
pub const REQUEST: usize = 64;

/// Bytes of an answer.
pub const ANSWER: usize = 256;

/// What an endpoint does with a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers each request.
    Answer,
    /// Reads until the end.
    Swallow,
}

const LISTENER: Token = Token(usize::MAX);

/// Starts an endpoint on `threads` threads; it lives as long as the process.
pub fn start(address: SocketAddr, kind: Kind, threads: usize) -> Result<()> {
    for _ in 0..threads {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let listener = TcpListener::from_std(socket.into());
        thread::Builder::new()
            .name("endpoint".into())
            .spawn(move || serve(listener, kind))?;
    }
    Ok(())
}

fn serve(mut listener: TcpListener, kind: Kind) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut connections: Slab<(TcpStream, usize)> = Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 << 10];
    let answer = [b'a'; ANSWER];
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
            if !step(stream, have, kind, &mut buffer, &answer) {
                connections.remove(key);
            }
        }
    }
}

/// Reads what there is and answers each whole request; false at the end.
fn step(
    stream: &mut TcpStream,
    have: &mut usize,
    kind: Kind,
    buffer: &mut [u8],
    answer: &[u8],
) -> bool {
    loop {
        match stream.read(buffer) {
            Ok(0) => return false,
            Ok(read) => {
                if kind == Kind::Answer {
                    *have += read;
                    while *have >= REQUEST {
                        *have -= REQUEST;
                        // A closed loop never has more answers in flight than its socket buffer holds.
                        if stream.write_all(answer).is_err() {
                            return false;
                        }
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
}
