//! Load generators: closed loops, so that no target is given more than it answers. Each returns what it did and how long each took.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream as Blocking};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use crate::endpoint::{ANSWER, REQUEST};

/// What a run did.
pub struct Done {
    /// Operations, or bytes for bulk.
    pub count: u64,
    /// Operations before the clock ran: the first of every connection.
    pub before: u64,
    /// How long it ran.
    pub took: Duration,
    /// Nanoseconds an operation; empty for bulk.
    pub times: Histogram<u64>,
    /// Operations that failed.
    pub failed: u64,
}

impl Done {
    /// Adds what another run did, after this one.
    fn add(&mut self, other: &Done) -> Result<()> {
        self.count += other.count;
        self.before += other.before;
        self.took += other.took;
        self.failed += other.failed;
        Ok(self.times.add(&other.times)?)
    }
}

/// Keep-alive requests on `connections` connections, one in flight each; all of them anew `rounds` times within the length.
pub fn requests(to: SocketAddr, connections: usize, rounds: u32, length: Duration) -> Result<Done> {
    let mut done = drive(to, connections, length / rounds, Mode::KeepAlive)?;
    for _ in 1..rounds {
        done.add(&drive(to, connections, length / rounds, Mode::KeepAlive)?)?;
    }
    Ok(done)
}

/// Connect, one request, its answer, close; `abreast` at a time.
pub fn connects(to: SocketAddr, abreast: usize, length: Duration) -> Result<Done> {
    drive(to, abreast, length, Mode::Short)
}

/// Of nanoseconds, up to a minute: what is longer is recorded as that.
pub fn times() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000_000, 3)?)
}

/// How long connections may take until all are there.
const WARM: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    KeepAlive,
    Short,
}

/// Where short connections come from, one after the other: there are not enough ports of one address for all that end within a minute.
const SOURCES: u32 = 1024;
const FIRST_SOURCE: u32 = u32::from_be_bytes([127, 30, 0, 1]);

struct Connection {
    stream: TcpStream,
    have: usize,
    sent: bool,
    began: Instant,
}

fn open(to: SocketAddr, poll: &Poll, key: usize, number: u64) -> Result<Connection> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None)?;
    let source = Ipv4Addr::from(FIRST_SOURCE + (number % u64::from(SOURCES)) as u32);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => {
            return Err(error).context("cannot connect");
        }
        Ok(()) | Err(_) => {}
    }
    let mut stream = TcpStream::from_std(socket.into());
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
    let mut opened = 0;
    let mut open = |poll: &Poll, key| {
        opened += 1;
        open(to, poll, key, opened)
    };
    for key in 0..count {
        connections.push(open(&poll, key)?);
    }
    let request = [b'r'; REQUEST];
    let mut buffer = [0; 4096];
    let mut done = Done {
        count: 0,
        before: 0,
        took: Duration::ZERO,
        times: times()?,
        failed: 0,
    };
    let (mut start, mut warm) = (Instant::now(), mode == Mode::Short);
    while !warm || start.elapsed() < length {
        if !warm && (done.count >= count as u64 || start.elapsed() > WARM) {
            // All connections are there, and few have had more than one turn.
            (start, warm) = (Instant::now(), true);
            done.before = std::mem::take(&mut done.count);
            done.times.reset();
        }
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
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
                        connections[key] = open(&poll, key)?;
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
                    connections[key] = open(&poll, key)?;
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
        before: 0,
        took: start.elapsed(),
        times: times()?,
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

#[cfg(test)]
mod tests {
    use super::times;

    #[test]
    fn times_are_told_apart_from_the_first_on() {
        let mut times = times().expect("bounds");
        for nanos in [50_000, 3_000_000, 90_000_000_000] {
            times.saturating_record(nanos);
        }
        let at = |percentile| times.value_at_percentile(percentile);
        assert!((49_000..51_000).contains(&at(1.0)));
        assert!((2_990_000..3_010_000).contains(&at(50.0)));
        assert!(at(100.0) > 59_000_000_000);
    }
}
