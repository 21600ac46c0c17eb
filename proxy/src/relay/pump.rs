//! One direction of a flow: bytes from a source socket to a sink socket through the worker's shared scratch buffer.
//!
//! A flow has no buffer of its own. Only when the sink takes less than was read is the rest kept, in one chunk, and the source is
//! not read again until the chunk is gone: that is the whole of the backpressure, everything else stays in socket buffers.
//! This is the seam behind which another engine (io_uring, splice) can stand: [`pump`] knows sockets and a [`Pipe`], no flow.

use std::io::{self, ErrorKind};
use std::net::Shutdown;

use mio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags};

/// Bytes that a direction may move before others get their turn.
const TURN_BUDGET: usize = 1 << 20;

/// The scratch buffer of a worker. Large reads are what bulk rate is made of; 512 KiB still fits a second-level cache, and twice that
/// gains nothing more.
pub(crate) const SCRATCH: usize = 512 << 10;

/// Kept bytes of all flows of a worker from which on reads are small, so that many stalled peers cannot take
/// [`SCRATCH`] bytes each.
const KEPT_SOFT_LIMIT: usize = 16 << 20;

/// The read size above [`KEPT_SOFT_LIMIT`].
const SMALL_READ: usize = 16 << 10;

/// A reading that is no small message.
const LARGE: usize = 8 << 10;

/// Empty chunks that a worker keeps for the next slow peer: each grows to what was ever kept in it, [`SCRATCH`] bytes at most.
const SPARE_CHUNKS: usize = 4;

/// What is known of a socket's readiness. Edge-triggered: set by events, cleared by a call that would block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready {
    /// Reading may give something.
    pub(crate) readable: bool,
    /// Writing may take something.
    pub(crate) writable: bool,
    /// The peer has finished or reset: read until that is seen, a short read proves nothing.
    pub(crate) read_closed: bool,
}

/// One direction's state.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    /// Bytes moved into the sink.
    pub(crate) bytes: u64,
    /// Reads that gave something.
    pub(crate) reads: u32,
    /// The source has finished.
    pub(crate) eof: bool,
    /// The sink was told so: the direction is over.
    pub(crate) shut: bool,
    /// Readings are large: this is no exchange of small messages.
    pub(crate) large: bool,
    kept: Option<Box<Kept>>,
}

/// Bytes that were read, or made, and not taken yet.
#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    at: usize,
    /// Bytes at the front that are ours (a PROXY header) and not the source's: passed on, not counted.
    ours: usize,
}

impl Pipe {
    /// Whether bytes wait for the sink.
    pub(crate) fn is_blocked(&self) -> bool {
        self.kept.is_some()
    }
}

/// What the flows of a worker share: the scratch buffer, and the account of kept bytes.
pub(crate) struct Scratch {
    buffer: Box<[u8]>,
    spare: Vec<Vec<u8>>,
    kept: usize,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; SCRATCH].into(),
            spare: Vec::with_capacity(SPARE_CHUNKS),
            kept: 0,
        }
    }

    /// The buffer, for other reads of the worker (PROXY headers).
    pub(crate) fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    fn read_size(&self) -> usize {
        if self.kept > KEPT_SOFT_LIMIT {
            SMALL_READ
        } else {
            SCRATCH
        }
    }

    /// Keeps what the sink did not take of the buffer's bytes `range`.
    fn keep(&mut self, pipe: &mut Pipe, range: std::ops::Range<usize>) {
        let mut bytes = self.spare.pop().unwrap_or_default();
        // Exactly: doubled, the spare ones of a worker would hold twice as much for good.
        bytes.reserve_exact(range.len());
        bytes.extend_from_slice(&self.buffer[range]);
        self.kept += bytes.len();
        pipe.kept = Some(Box::new(Kept {
            bytes,
            at: 0,
            ours: 0,
        }));
    }

    /// Keeps bytes behind those that are kept already.
    fn keep_more(&mut self, pipe: &mut Pipe, more: &[u8]) {
        self.kept += more.len();
        if let Some(kept) = &mut pipe.kept {
            kept.bytes.extend_from_slice(more);
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(more);
        pipe.kept = Some(Box::new(Kept {
            bytes,
            at: 0,
            ours: 0,
        }));
    }

    /// Puts bytes in front of whatever the source will say: `ours` bytes of a PROXY header, then what was read with the inbound one.
    pub(crate) fn prepend(&mut self, pipe: &mut Pipe, bytes: Vec<u8>, ours: usize) {
        self.forget(pipe);
        if !bytes.is_empty() {
            self.kept += bytes.len();
            pipe.kept = Some(Box::new(Kept { bytes, at: 0, ours }));
        }
    }

    /// Takes the kept bytes out of a pipe, to be handed over: those not taken yet, and how many of them are ours.
    pub(crate) fn take_kept(&mut self, pipe: &mut Pipe) -> (Vec<u8>, usize) {
        let Some(kept) = pipe.kept.take() else {
            return (Vec::new(), 0);
        };
        let rest = kept.bytes[kept.at..].to_vec();
        self.recycle(kept.bytes);
        (rest, kept.ours)
    }

    /// Takes the account of a pipe that ends with kept bytes.
    pub(crate) fn forget(&mut self, pipe: &mut Pipe) {
        if let Some(kept) = pipe.kept.take() {
            self.recycle(kept.bytes);
        }
    }

    fn recycle(&mut self, mut bytes: Vec<u8>) {
        self.kept = self.kept.saturating_sub(bytes.len());
        if self.spare.len() < SPARE_CHUNKS {
            bytes.clear();
            self.spare.push(bytes);
        }
    }
}

/// How the other direction of the flow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It may still move bytes.
    Open,
    /// It is over: both sockets are about to be closed, which ends this direction too.
    Over,
}

impl Way {
    pub(crate) fn of(pipe: &Pipe) -> Self {
        if pipe.shut { Way::Over } else { Way::Open }
    }
}

/// What a call of [`pump`] came to.
#[derive(Debug)]
pub(crate) enum Pumped {
    /// Nothing more to do until an event.
    Waiting,
    /// The turn's budget is used up and there may be more.
    Again,
    /// The source failed (a reset).
    SourceFailed(io::Error),
    /// The sink failed (a reset).
    SinkFailed(io::Error),
}

/// Moves bytes until something would block, the source ends, or the budget is used up.
pub(crate) fn pump(
    source: &TcpStream,
    source_ready: &mut Ready,
    sink: &TcpStream,
    sink_ready: &mut Ready,
    pipe: &mut Pipe,
    scratch: &mut Scratch,
    other_way: Way,
) -> Pumped {
    let mut budget = TURN_BUDGET;
    loop {
        if let Err(error) = flush(sink, sink_ready, pipe, scratch) {
            return Pumped::SinkFailed(error);
        }
        if pipe.is_blocked() {
            return Pumped::Waiting;
        }
        if pipe.eof {
            return finish(sink, pipe, other_way);
        }
        if !source_ready.readable {
            return Pumped::Waiting;
        }
        if budget == 0 {
            return Pumped::Again;
        }
        let size = scratch.read_size();
        match receive(source, &mut scratch.buffer[..size]) {
            Ok(0) => pipe.eof = true,
            Ok(read) => {
                // A short read has emptied the queue, and the next byte will be an event, unless the end is already in it.
                if read < size && !source_ready.read_closed {
                    source_ready.readable = false;
                }
                pipe.reads = pipe.reads.saturating_add(1);
                pipe.large |= read >= LARGE;
                budget = budget.saturating_sub(read);
                match write(sink, sink_ready, &scratch.buffer[..read]) {
                    Ok(taken) => {
                        pipe.bytes += taken as u64;
                        if taken < read {
                            scratch.keep(pipe, taken..read);
                        }
                    }
                    Err((taken, error)) => {
                        // What the sink never had can still be given to another one.
                        pipe.bytes += taken as u64;
                        scratch.keep(pipe, taken..read);
                        return Pumped::SinkFailed(error);
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                source_ready.readable = false;
                return Pumped::Waiting;
            }
            Err(error) => return Pumped::SourceFailed(error),
        }
    }
}

/// What became of bytes that were received otherwise.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// The sink has them, or they are kept for it.
    Done,
    /// The sink has failed, and they are kept.
    Failed(io::Error),
}

/// Gives the sink what was received otherwise, behind what is kept already.
pub(crate) fn push(
    sink: &TcpStream,
    ready: &mut Ready,
    pipe: &mut Pipe,
    scratch: &mut Scratch,
    bytes: &[u8],
) -> Pushed {
    pipe.reads = pipe.reads.saturating_add(1);
    let (taken, failed) = if pipe.is_blocked() {
        (0, None)
    } else {
        match write(sink, ready, bytes) {
            Ok(taken) => (taken, None),
            Err((taken, error)) => (taken, Some(error)),
        }
    };
    pipe.bytes += taken as u64;
    if taken < bytes.len() {
        scratch.keep_more(pipe, &bytes[taken..]);
    }
    failed.map_or(Pushed::Done, Pushed::Failed)
}

/// Passes the end on.
fn finish(sink: &TcpStream, pipe: &mut Pipe, other_way: Way) -> Pumped {
    let first = !std::mem::replace(&mut pipe.shut, true);
    if first && other_way == Way::Open {
        // Half-close, not close: the other direction may still have much to say.
        if let Err(error) = sink.shutdown(Shutdown::Write) {
            return Pumped::SinkFailed(error);
        }
    }
    Pumped::Waiting
}

/// Gives the sink what was kept for it.
fn flush(
    sink: &TcpStream,
    ready: &mut Ready,
    pipe: &mut Pipe,
    scratch: &mut Scratch,
) -> io::Result<()> {
    let Some(mut kept) = pipe.kept.take() else {
        return Ok(());
    };
    let (taken, failed) = match write(sink, ready, &kept.bytes[kept.at..]) {
        Ok(taken) => (taken, None),
        Err((taken, error)) => (taken, Some(error)),
    };
    let ours = taken.min(kept.ours);
    kept.ours -= ours;
    pipe.bytes += (taken - ours) as u64;
    kept.at += taken;
    if let Some(error) = failed {
        // Still the pipe's, and still in the account.
        pipe.kept = Some(kept);
        return Err(error);
    }
    if kept.at < kept.bytes.len() {
        pipe.kept = Some(kept);
    } else {
        scratch.recycle(kept.bytes);
    }
    Ok(())
}

/// Writes as much as the sink takes; a full sink takes nothing and is no error. An error comes with what was taken before it.
fn write(sink: &TcpStream, ready: &mut Ready, bytes: &[u8]) -> Result<usize, (usize, io::Error)> {
    let mut taken = 0;
    while ready.writable && taken < bytes.len() {
        match send(sink, &bytes[taken..]) {
            Ok(0) => return Err((taken, ErrorKind::WriteZero.into())),
            Ok(written) => {
                taken += written;
                // A short write has filled the queue, and room in it will be an event: `tcp_sendmsg` has asked for that.
                ready.writable = taken == bytes.len();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready.writable = false,
            Err(error) => return Err((taken, error)),
        }
    }
    Ok(taken)
}

// The calls themselves, not the C library's, which makes each of them a point where a thread may be cancelled.

fn receive(source: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let receive = || rustix::net::recv(source, &mut *buffer, RecvFlags::empty());
    let (_, read) = rustix::io::retry_on_intr(receive)?;
    Ok(read)
}

fn send(sink: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let send = || rustix::net::send(sink, bytes, SendFlags::NOSIGNAL);
    Ok(rustix::io::retry_on_intr(send)?)
}
