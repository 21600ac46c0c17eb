//! One direction of a flow: bytes from a source socket to a sink socket through the worker's shared scratch buffer.
//!
//! A flow has no buffer of its own. Only when the sink takes less than was read is the rest kept, in one chunk, and the source is
//! not read again until the chunk is gone: that is the whole of the backpressure, everything else stays in socket buffers.
//! A direction that is bulk may go by a pipe of the kernel instead (`splice`): what the sink does not take then stays in that pipe.
//!
//! This is the seam behind which another engine can stand: [`pump`] knows sockets and a [`Pipe`], no flow.

use std::io::{self, ErrorKind};
use std::net::Shutdown;

use mio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags};

use super::splice::{KernelPipe, KernelPipes, is_refusal};

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

/// A reading that bulk is made of: large enough for what is not copied to outweigh the calls that splicing takes more.
const BULK_READING: usize = 32 << 10;

/// Readings of bulk, less those of small messages among them, from which on a direction is spliced, and the most that count: so few
/// small ones end it.
const BULK_READINGS: u8 = 2;
const MOST_READINGS: u8 = 4;

/// Bytes that a direction moves before it is spliced: what is over sooner pays nothing for it.
const BULK_BYTES: u64 = 256 << 10;

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
    /// Readings of bulk, up to [`MOST_READINGS`]; a small one takes one away.
    bulk: u8,
    kept: Option<Box<Kept>>,
}

/// Bytes that were read, or made, and not taken yet.
#[derive(Debug, Default)]
struct Kept {
    /// Where those in front of `bytes` are, if there are such.
    piped: Option<KernelPipe>,
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

    /// One that has proved to be bulk.
    #[cfg(test)]
    pub(super) fn of_bulk() -> Self {
        Self {
            bytes: BULK_BYTES,
            bulk: MOST_READINGS,
            ..Self::default()
        }
    }

    fn count_reading(&mut self, read: usize) {
        self.reads = self.reads.saturating_add(1);
        self.large |= read >= LARGE;
        if read >= BULK_READING {
            self.bulk = (self.bulk + 1).min(MOST_READINGS);
        } else if read < LARGE {
            self.bulk = self.bulk.saturating_sub(1);
        }
    }

    /// Whether this is bulk, as far as it has come.
    fn is_bulk(&self) -> bool {
        self.bulk >= BULK_READINGS && self.bytes >= BULK_BYTES
    }
}

/// What the flows of a worker share: the scratch buffer, the account of kept bytes, and the kernel pipes.
pub(crate) struct Scratch {
    buffer: Box<[u8]>,
    spare: Vec<Vec<u8>>,
    kept: usize,
    pub(crate) pipes: KernelPipes,
}

impl Scratch {
    pub(crate) fn new(pipes: KernelPipes) -> Self {
        Self {
            buffer: vec![0; SCRATCH].into(),
            spare: Vec::with_capacity(SPARE_CHUNKS),
            kept: 0,
            pipes,
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
        self.keep_chunk(pipe, bytes, 0);
    }

    fn keep_chunk(&mut self, pipe: &mut Pipe, bytes: Vec<u8>, ours: usize) {
        self.kept += bytes.len();
        pipe.kept = Some(Box::new(Kept {
            piped: None,
            bytes,
            at: 0,
            ours,
        }));
    }

    /// Leaves the bytes of a direction in the kernel pipe that they are in; takes one back that is empty.
    fn keep_piped(&mut self, pipe: &mut Pipe, piped: KernelPipe) {
        if piped.is_empty() {
            return self.pipes.take_back(piped);
        }
        let piped = Some(piped);
        pipe.kept = Some(Box::new(Kept {
            piped,
            ..Kept::default()
        }));
    }

    /// Takes the bytes of a direction out of its kernel pipe, to the front of its chunk. After an error some of them are lost.
    fn read_out(&mut self, kept: &mut Kept) -> io::Result<()> {
        let Some(mut piped) = kept.piped.take() else {
            return Ok(());
        };
        let read = piped.read_out();
        self.pipes.take_back(piped);
        let mut bytes = read?;
        bytes.extend_from_slice(&kept.bytes[kept.at..]);
        self.kept = self.kept.saturating_sub(kept.bytes.len()) + bytes.len();
        (kept.bytes, kept.at) = (bytes, 0);
        Ok(())
    }

    /// Keeps bytes behind those that are kept already.
    fn keep_more(&mut self, pipe: &mut Pipe, more: &[u8]) {
        if let Some(kept) = &mut pipe.kept {
            self.kept += more.len();
            kept.bytes.extend_from_slice(more);
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(more);
        self.keep_chunk(pipe, bytes, 0);
    }

    /// Puts bytes in front of whatever the source will say: `ours` bytes of a PROXY header, then what was read with the inbound one.
    pub(crate) fn prepend(&mut self, pipe: &mut Pipe, bytes: Vec<u8>, ours: usize) {
        self.forget(pipe);
        if !bytes.is_empty() {
            self.keep_chunk(pipe, bytes, ours);
        }
    }

    /// Takes the kept bytes out of a pipe, to be handed over: those not taken yet, and how many of them are ours. After an error some of
    /// them are lost.
    pub(crate) fn take_kept(&mut self, pipe: &mut Pipe) -> io::Result<(Vec<u8>, usize)> {
        let Some(mut kept) = pipe.kept.take() else {
            return Ok((Vec::new(), 0));
        };
        let read_out = self.read_out(&mut kept);
        let (rest, ours) = (kept.bytes[kept.at..].to_vec(), kept.ours);
        self.recycle(*kept);
        read_out.map(|()| (rest, ours))
    }

    /// Takes the account of a pipe that ends with kept bytes.
    pub(crate) fn forget(&mut self, pipe: &mut Pipe) {
        if let Some(kept) = pipe.kept.take() {
            self.recycle(*kept);
        }
    }

    fn recycle(&mut self, kept: Kept) {
        let Kept {
            piped, mut bytes, ..
        } = kept;
        if let Some(piped) = piped {
            self.pipes.take_back(piped);
        }
        self.kept = self.kept.saturating_sub(bytes.len());
        if self.spare.len() < SPARE_CHUNKS && bytes.capacity() > 0 {
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
        if scratch.pipes.are_wanted() && pipe.is_bulk() {
            match splice_on(source, sink, sink_ready, pipe, scratch) {
                Spliced::Moved(read) => {
                    budget = budget.saturating_sub(read);
                    continue;
                }
                // Its end or a pause: only a reading tells, for a splice stops at urgent data, too.
                Spliced::Nothing => {}
                Spliced::SourceFailed(error) => return Pumped::SourceFailed(error),
                Spliced::SinkFailed(error) => return Pumped::SinkFailed(error),
            }
        }
        let size = scratch.read_size();
        match receive(source, &mut scratch.buffer[..size]) {
            Ok(0) => pipe.eof = true,
            Ok(read) => {
                // A short read has emptied the queue, and the next byte will be an event, unless the end is already in it.
                if read < size && !source_ready.read_closed {
                    source_ready.readable = false;
                }
                pipe.count_reading(read);
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

/// What a splice came to.
enum Spliced {
    /// So many bytes have left the source.
    Moved(usize),
    /// None have: it has none, or it cannot be spliced, or there is no kernel pipe.
    Nothing,
    SourceFailed(io::Error),
    SinkFailed(io::Error),
}

/// Moves as much as a kernel pipe takes. There is nothing kept when this is called.
fn splice_on(
    source: &TcpStream,
    sink: &TcpStream,
    sink_ready: &mut Ready,
    pipe: &mut Pipe,
    scratch: &mut Scratch,
) -> Spliced {
    let Some(mut piped) = scratch.pipes.lend() else {
        return Spliced::Nothing;
    };
    let read = match piped.fill(source) {
        Ok(0) => {
            scratch.pipes.take_back(piped);
            return Spliced::Nothing;
        }
        Ok(read) => read,
        Err(error) => {
            scratch.pipes.take_back(piped);
            if error.kind() == ErrorKind::WouldBlock {
                return Spliced::Nothing;
            }
            if is_refusal(&error) {
                scratch.pipes.count_refusal();
                return Spliced::Nothing;
            }
            return Spliced::SourceFailed(error);
        }
    };
    pipe.count_reading(read);
    let (taken, failed) = outcome(piped.drain(sink, sink_ready));
    pipe.bytes += taken as u64;
    scratch.pipes.count_spliced(taken);
    scratch.keep_piped(pipe, piped);
    match failed {
        // What is in the pipe is looked after as what is kept.
        Some(error) if !is_refusal(&error) => Spliced::SinkFailed(error),
        Some(_) | None => Spliced::Moved(read),
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
        outcome(write(sink, ready, bytes))
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
    let (taken, failed) = outcome(flush_kept(sink, ready, &mut kept, scratch));
    pipe.bytes += taken as u64;
    if kept.piped.is_some() || kept.at < kept.bytes.len() {
        // Still the pipe's, and still in the account.
        pipe.kept = Some(kept);
    } else {
        scratch.recycle(*kept);
    }
    failed.map_or(Ok(()), Err)
}

/// The same; gives how many bytes of the source's it has taken.
fn flush_kept(
    sink: &TcpStream,
    ready: &mut Ready,
    kept: &mut Kept,
    scratch: &mut Scratch,
) -> Result<usize, (usize, io::Error)> {
    let mut spliced = 0;
    if let Some(piped) = &mut kept.piped {
        let (taken, failed) = outcome(piped.drain(sink, ready));
        spliced = taken;
        scratch.pipes.count_spliced(spliced);
        match failed {
            Some(error) if is_refusal(&error) => scratch.pipes.count_refusal(),
            Some(error) => return Err((spliced, error)),
            None if !piped.is_empty() => return Ok(spliced),
            None => {}
        }
        scratch.read_out(kept).map_err(|error| (spliced, error))?;
    }
    let (taken, failed) = outcome(write(sink, ready, &kept.bytes[kept.at..]));
    let ours = taken.min(kept.ours);
    kept.ours -= ours;
    kept.at += taken;
    let taken = spliced + taken - ours;
    failed.map_or(Ok(taken), |error| Err((taken, error)))
}

/// What was taken, and the error that ended it.
fn outcome(result: Result<usize, (usize, io::Error)>) -> (usize, Option<io::Error>) {
    match result {
        Ok(taken) => (taken, None),
        Err((taken, error)) => (taken, Some(error)),
    }
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
