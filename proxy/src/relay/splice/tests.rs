//! Directions of bulk between two connections of loopback, driven by readiness alone as a worker drives them: what is spliced arrives, and a
//! kernel pipe with bytes in it is never another flow's.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream as Far};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::net::SendFlags;
use socket2::SockRef;

use super::super::pump::{Pipe, Pumped, Scratch, Way, pump, push};
use super::*;

/// Long enough for any machine, short enough to fail a hung test.
const PATIENCE: Duration = Duration::from_secs(20);

/// More than all queues between two peers hold.
const MUCH: usize = 24 << 20;

/// What a kernel pipe takes at once, and twice as much is within a new connection's window.
const SOME: usize = 24_000;

const SOURCE: Token = Token(0);
const SINK: Token = Token(1);

/// One direction, its two sockets, and what its worker knows of them.
struct Direction {
    poll: Poll,
    source: TcpStream,
    sink: TcpStream,
    source_ready: Ready,
    sink_ready: Ready,
    pipe: Pipe,
    scratch: Scratch,
    spliced: u64,
    fallbacks: u64,
}

/// Two ends of a connection; the second is the edge's.
fn pair() -> (Far, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let far = Far::connect(listener.local_addr().unwrap()).unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    far.set_write_timeout(Some(PATIENCE)).unwrap();
    let (near, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    (far, TcpStream::from_std(near))
}

/// A direction with so many kernel pipes, its client and its endpoint.
fn direction(pipe: Pipe, pipes: usize) -> (Direction, Far, Far) {
    let (client, mut source) = pair();
    let (endpoint, mut sink) = pair();
    let poll = Poll::new().unwrap();
    let both = Interest::READABLE | Interest::WRITABLE;
    let registry = poll.registry();
    registry.register(&mut source, SOURCE, both).unwrap();
    registry.register(&mut sink, SINK, both).unwrap();
    let direction = Direction {
        poll,
        source,
        sink,
        source_ready: Ready::default(),
        sink_ready: Ready::default(),
        pipe,
        scratch: Scratch::new(KernelPipes::new(pipes)),
        spliced: 0,
        fallbacks: 0,
    };
    (direction, client, endpoint)
}

/// A direction of bulk that has just read `bytes`, all that its client had said, into its kernel pipe, of which its sink takes nothing.
fn piped(bytes: &[u8]) -> (Direction, Far, Far) {
    let (mut direction, mut client, endpoint) = direction(Pipe::of_bulk(), 1);
    client.write_all(bytes).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while direction.queued() < bytes.len() {
        assert!(Instant::now() < deadline, "they do not come");
        thread::yield_now();
    }
    (
        direction.source_ready.readable,
        direction.sink_ready.writable,
    ) = (true, false);
    assert!(matches!(direction.pump(), Pumped::Waiting));
    assert!(direction.is_piped() && direction.pipe.is_blocked());
    assert_eq!(direction.queued(), 0);
    (direction, client, endpoint)
}

impl Direction {
    fn pump(&mut self) -> Pumped {
        let pumped = pump(
            &self.source,
            &mut self.source_ready,
            &self.sink,
            &mut self.sink_ready,
            &mut self.pipe,
            &mut self.scratch,
            Way::Open,
        );
        let counted = EdgeStats::default();
        self.scratch.pipes.settle(&counted);
        self.spliced += counted.spliced_bytes.into_inner();
        self.fallbacks += counted.splice_fallbacks.into_inner();
        pumped
    }

    /// Waits for an event: edge-triggered, as a worker hears of them.
    fn hear(&mut self) {
        let mut events = Events::with_capacity(8);
        self.poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty(), "it hangs: {:?}", self.pipe);
        for event in &events {
            let ready = match event.token() {
                SOURCE => &mut self.source_ready,
                _ => &mut self.sink_ready,
            };
            let failed = event.is_error() || event.is_write_closed();
            ready.readable |= event.is_readable() || failed;
            ready.writable |= event.is_writable() || failed;
            ready.read_closed |= event.is_read_closed() || failed;
        }
    }

    /// Goes on, by events, until `done`, or until a socket fails.
    fn run_until(&mut self, done: impl Fn(&Direction) -> bool) -> Option<Pumped> {
        loop {
            match self.pump() {
                Pumped::Again => {}
                Pumped::Waiting if done(self) => return None,
                Pumped::Waiting => self.hear(),
                failed @ (Pumped::SourceFailed(_) | Pumped::SinkFailed(_)) => return Some(failed),
            }
        }
    }

    fn run_to_its_end(&mut self) {
        let failed = self.run_until(|direction| direction.pipe.shut);
        assert!(failed.is_none(), "{failed:?}");
    }

    /// Whether a kernel pipe is lent.
    fn is_piped(&self) -> bool {
        let pipes = &self.scratch.pipes;
        pipes.empty.len() < pipes.open
    }

    /// Bytes that the source has.
    fn queued(&self) -> usize {
        rustix::io::ioctl_fionread(&self.source).unwrap() as usize
    }
}

/// Bytes of which no stretch looks like another one.
fn noise(len: usize) -> Vec<u8> {
    let word = |at: u64| at.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let words = 0..(len as u64).div_ceil(8);
    let mut bytes: Vec<u8> = words.flat_map(|at| word(at).to_le_bytes()).collect();
    bytes.truncate(len);
    bytes
}

fn sending(mut client: Far, bytes: Vec<u8>) -> JoinHandle<()> {
    thread::spawn(move || {
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    })
}

fn reading(mut endpoint: Far) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        endpoint.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn reset(peer: Far) {
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

#[test]
fn a_slow_sink_gets_every_byte_and_the_pipe_is_back_at_the_end() {
    let (mut direction, client, endpoint) = direction(Pipe::default(), 1);
    let bytes = noise(MUCH);
    let sender = sending(client, bytes.clone());
    direction.run_until(|direction| direction.pipe.is_blocked());
    let moved = direction.pipe.bytes;
    assert!(matches!(direction.pump(), Pumped::Waiting));
    assert_eq!(direction.pipe.bytes, moved);

    let reader = reading(endpoint);
    direction.run_to_its_end();
    assert!(reader.join().unwrap() == bytes, "other bytes");
    sender.join().unwrap();
    assert_eq!(direction.pipe.bytes, MUCH as u64);
    assert!(direction.spliced > MUCH as u64 / 2, "{}", direction.spliced);
    assert!(!direction.is_piped());
    assert_eq!((direction.scratch.pipes.open, direction.fallbacks), (1, 0));
}

#[test]
fn an_end_waits_for_the_bytes_in_the_pipe() {
    let bytes = noise(SOME);
    let (mut direction, client, endpoint) = piped(&bytes);
    let before = direction.pipe.bytes;
    client.shutdown(Shutdown::Write).unwrap();
    while !direction.source_ready.read_closed {
        direction.hear();
    }
    direction.sink_ready.writable = false;
    assert!(matches!(direction.pump(), Pumped::Waiting));
    assert!(!direction.pipe.eof && !direction.pipe.shut);
    assert_eq!(direction.pipe.bytes, before);

    direction.sink_ready.writable = true;
    let reader = reading(endpoint);
    direction.run_to_its_end();
    assert!(reader.join().unwrap() == bytes, "other bytes");
    assert_eq!(direction.pipe.bytes, before + SOME as u64);
    assert_eq!(direction.spliced, SOME as u64);
}

#[test]
fn a_sink_that_resets_takes_the_pipe_with_it() {
    let (mut direction, _client, endpoint) = piped(&noise(SOME));
    reset(endpoint);
    let failed = direction.run_until(|_| false);
    assert!(matches!(failed, Some(Pumped::SinkFailed(_))), "{failed:?}");
    assert!(direction.pipe.is_blocked());

    direction.scratch.forget(&mut direction.pipe);
    assert_eq!(direction.scratch.pipes.empty.len(), 0);
    assert_eq!(direction.scratch.pipes.open, 0);
    // The next flow gets another one.
    assert!(direction.scratch.pipes.lend().unwrap().is_empty());
}

#[test]
fn a_source_that_resets_is_no_end_and_what_it_said_before_is_passed_on() {
    let bytes = noise(SOME);
    let (mut direction, client, mut endpoint) = piped(&bytes);
    reset(client);
    while !direction.source_ready.read_closed {
        direction.hear();
    }
    direction.sink_ready.writable = true;
    let failed = direction.run_until(|_| false);
    assert!(
        matches!(failed, Some(Pumped::SourceFailed(_))),
        "{failed:?}"
    );
    let mut heard = vec![0; SOME];
    endpoint.read_exact(&mut heard).unwrap();
    assert!(heard == bytes, "other bytes");
    assert!(!direction.pipe.shut && !direction.is_piped());
}

#[test]
fn without_a_pipe_it_is_copied() {
    let lent = |pipes: &mut KernelPipes| pipes.lend();
    let refused = |pipes: &mut KernelPipes| {
        pipes.size = usize::MAX;
        None
    };
    for take in [lent, refused] as [fn(&mut KernelPipes) -> Option<KernelPipe>; 2] {
        let (mut direction, client, endpoint) = direction(Pipe::of_bulk(), 1);
        let _lent = take(&mut direction.scratch.pipes);
        let bytes = noise(MUCH);
        let (sender, reader) = (sending(client, bytes.clone()), reading(endpoint));
        direction.run_to_its_end();
        sender.join().unwrap();
        assert!(reader.join().unwrap() == bytes, "other bytes");
        assert_eq!(direction.spliced, 0);
        assert!(direction.fallbacks > 0);
    }
}

#[test]
fn what_is_handed_over_is_all_that_is_in_the_pipe_and_behind_it() {
    let bytes = noise(SOME);
    let (mut direction, _client, _endpoint) = piped(&bytes);
    let Direction {
        pipe,
        scratch,
        sink,
        sink_ready,
        ..
    } = &mut direction;
    push(sink, sink_ready, pipe, scratch, b"and more");
    let (kept, ours) = scratch.take_kept(pipe).unwrap();
    assert!(kept == [&bytes[..], b"and more"].concat(), "other bytes");
    assert_eq!(ours, 0);
    assert!(!pipe.is_blocked());
    // Empty, so that it may be another flow's.
    assert_eq!((scratch.pipes.open, scratch.pipes.empty.len()), (1, 1));
}

#[test]
fn what_comes_behind_the_pipe_is_passed_on_behind_it() {
    let bytes = noise(SOME);
    let (mut direction, client, endpoint) = piped(&bytes);
    push(
        &direction.sink,
        &mut direction.sink_ready,
        &mut direction.pipe,
        &mut direction.scratch,
        b"and more",
    );
    client.shutdown(Shutdown::Write).unwrap();
    direction.sink_ready.writable = true;
    let reader = reading(endpoint);
    direction.run_to_its_end();
    let expected = [&bytes[..], b"and more"].concat();
    assert!(reader.join().unwrap() == expected, "other bytes");
}

/// A splice stops at an urgent byte, and says that there is nothing more, or that this is the end.
#[test]
fn an_urgent_byte_is_passed_over_as_ever() {
    let (mut direction, mut client, endpoint) = direction(Pipe::of_bulk(), 1);
    let bytes = noise(2 * SOME);
    let (before, after) = bytes.split_at(SOME);
    client.write_all(before).unwrap();
    rustix::net::send(&client, b"!", SendFlags::OOB).unwrap();
    client.write_all(after).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // Both the bytes behind it and the end have come.
    while !direction.source_ready.read_closed {
        direction.hear();
    }
    let reader = reading(endpoint);
    direction.run_to_its_end();
    assert!(reader.join().unwrap() == bytes, "other bytes");
    assert!(direction.spliced > 0);
}

#[test]
fn nothing_small_is_spliced_for_long_and_nothing_before_it_is_bulk() {
    let (mut direction, mut client, endpoint) = direction(Pipe::default(), 1);
    let _reader = reading(endpoint);
    client.write_all(&noise(SOME)).unwrap();
    direction.run_until(|direction| direction.pipe.bytes == SOME as u64);
    assert_eq!(direction.spliced, 0);

    direction.pipe = Pipe::of_bulk();
    for message in 0..16 {
        let goal = direction.pipe.bytes + 100;
        client.write_all(&[message; 100]).unwrap();
        direction.run_until(|direction| direction.pipe.bytes == goal);
    }
    assert!(direction.spliced <= 400, "{}", direction.spliced);
    assert!(!direction.is_piped());
    client.shutdown(Shutdown::Write).unwrap();
    direction.run_to_its_end();
}

#[test]
fn the_kernel_of_these_tests_splices() {
    probe().unwrap();
}
