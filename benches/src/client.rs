//! Load generators: closed loops, so that no target is given more than it answers. Each returns what it did and how long each took.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream as Blocking};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::endpoint::{ANSWER, REQUEST};

/// What a run did.
pub struct Done {
    /// Operations, or bytes for bulk.
    pub count: u64,
    /// How long it ran.
    pub took: Duration,
    /// Nanoseconds an operation; empty for bulk.
    pub times: Histogram<u64>,
    /// Operations that failed.
    pub failed: u64,
}

/// Keep-alive requests on `connections` connections, one in flight each.
pub fn requests(to: SocketAddr, connections: usize, length: Duration) -> Result<Done> {
    drive(to, connections, length, Mode::KeepAlive)
}

/// Connect, one request, its answer, close; `abreast` at a time.
pub fn connects(to: SocketAddr, abreast: usize, length: Duration) -> Result<Done> {
    drive(to, abreast, length, Mode::Short)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    KeepAlive,
    Short,
}

struct Connection {
    stream: TcpStream,
    have: usize,
    sent: bool,
    began: Instant,
}

fn open(to: SocketAddr, poll: &Poll, key: usize) -> Result<Connection> {
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_nodelay(true)?;
    let both = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(key), both)?;
    Ok(Connection {
        stream,
        have: 0,
        sent: false,
        began: Instant::now(),
    })
}

fn drive(to: SocketAddr, count: usize, length: Duration, mode: Mode) -> Result<Done> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections = Vec::with_capacity(count);
    for key in 0..count {
        connections.push(open(to, &poll, key)?);
    }
    let request = [b'r'; REQUEST];
    let mut buffer = [0; 4096];
    let mut done = Done {
        count: 0,
        took: Duration::ZERO,
        times: Histogram::new(3)?,
        failed: 0,
    };
    let start = Instant::now();
    let end = start + length;
    while Instant::now() < end {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let key = event.token().0;
            let connection = &mut connections[key];
            let due = !connection.sent && event.is_writable();
            if due && connection.stream.write(&request).is_ok() {
                connection.sent = true;
                if mode == Mode::KeepAlive {
                    connection.began = Instant::now();
                }
            }
            if !event.is_readable() {
                continue;
            }
            match receive(connection, &mut buffer) {
                Received::More => {}
                Received::Whole => {
                    done.count += 1;
                    done.times
                        .saturating_record(connection.began.elapsed().as_nanos() as u64);
                    if mode == Mode::Short {
                        connections[key] = open(to, &poll, key)?;
                    } else {
                        connection.have = 0;
                        connection.began = Instant::now();
                        if connection.stream.write(&request).is_err() {
                            done.failed += 1;
                        }
                    }
                }
                Received::Failed => {
                    done.failed += 1;
                    if done.failed > 1000 {
                        bail!("more than 1,000 operations failed");
                    }
                    connections[key] = open(to, &poll, key)?;
                }
            }
        }
    }
    done.took = start.elapsed();
    Ok(done)
}

enum Received {
    More,
    Whole,
    Failed,
}

fn receive(connection: &mut Connection, buffer: &mut [u8]) -> Received {
    loop {
        match connection.stream.read(buffer) {
            Ok(0) => return Received::Failed,
            Ok(read) => {
                connection.have += read;
                if connection.have >= ANSWER {
                    return Received::Whole;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::More,
            Err(_) => return Received::Failed,
        }
    }
}

/// `streams` connections that send as fast as they may, from `threads` threads.
pub fn bulk(to: SocketAddr, streams: usize, length: Duration) -> Result<Done> {
    let start = Instant::now();
    let end = start + length;
    let senders: Vec<_> = (0..streams)
        .map(|_| thread::spawn(move || send(to, end)))
        .collect();
    let mut count = 0;
    for sender in senders {
        count += sender.join().expect("a sender does not panic")?;
    }
    Ok(Done {
        count,
        took: start.elapsed(),
        times: Histogram::new(3)?,
        failed: 0,
    })
}

fn send(to: SocketAddr, end: Instant) -> Result<u64> {
    let mut stream = Blocking::connect(to)?;
    let chunk = vec![b'x'; 256 << 10];
    let mut sent = 0;
    while Instant::now() < end {
        sent += stream.write(&chunk)? as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    // The endpoint closes when it has read all of it: what was counted has arrived.
    let _ = stream.read(&mut [0]);
    Ok(sent)
}

/// Opens `count` connections, makes one request on each, and keeps them open.
pub fn idle(to: SocketAddr, count: usize) -> Result<Vec<Blocking>> {
    let mut kept = Vec::with_capacity(count);
    let mut answer = [0; ANSWER];
    for _ in 0..count {
        let mut stream = Blocking::connect(to)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(&[b'r'; REQUEST])?;
        stream.read_exact(&mut answer)?;
        kept.push(stream);
    }
    Ok(kept)
}
