//! Clients and the endpoint behind the target, in one thread that never sleeps. All clients are one socket that sends from many addresses
//! of loopback: ten thousand flows cost the generator what one does.

use std::array;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use socket2::{Domain, Socket, Type};

use super::target::ENDPOINT;
use crate::client;

/// Where the clients begin: of each /8 of loopback there are sixteen million.
const FIRST_CLIENT: u32 = u32::from_be_bytes([127, 20, 0, 1]);

/// Room for what is in flight.
const BUFFER: usize = 4 << 20;

/// One datagram with all that may be coalesced to it.
const SLOT: usize = 1 << 16;

/// What is not answered for so long is lost.
const PATIENCE: Duration = Duration::from_millis(200);

/// The beginning of every datagram: the round of its sending, which tells late ones, and the time of it in nanoseconds.
const STAMP: usize = 16;

/// What is sent.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) flows: usize,
    /// Of a datagram.
    pub(super) bytes: usize,
    /// Datagrams sent in one go.
    pub(super) train: usize,
    /// Clients and endpoint receive trains whole, as behind a device that coalesces.
    pub(super) coalesced: bool,
}

/// What a run did.
pub(super) struct Done {
    pub(super) answered: u64,
    pub(super) lost: u64,
    pub(super) took: Duration,
    /// Nanoseconds.
    pub(super) times: Histogram<u64>,
}

/// The generator.
pub(super) struct Generator {
    to: SocketAddr,
    shape: Shape,
    clients: Port,
    endpoint: Port,
    began: Instant,
    train: Vec<u8>,
    next: usize,
    round: u64,
    /// In flight.
    waiting: usize,
    heard: Instant,
    done: Done,
}

impl Generator {
    pub(super) fn new(to: SocketAddr, shape: Shape) -> Result<Self> {
        let now = Instant::now();
        Ok(Self {
            to,
            shape,
            clients: Port::open((Ipv4Addr::UNSPECIFIED, 0).into(), shape.coalesced)?,
            endpoint: Port::open(ENDPOINT.parse()?, shape.coalesced)?,
            began: now,
            train: vec![0; shape.bytes * shape.train],
            next: 0,
            round: 0,
            waiting: 0,
            heard: now,
            done: nothing()?,
        })
    }

    /// One datagram from every flow, `window` in flight.
    pub(super) fn visit_all(&mut self, window: usize) -> Result<Done> {
        self.restart()?;
        let mut left = self.shape.flows;
        let single = self.shape.bytes;
        while left > 0 || self.waiting > 0 {
            while left > 0 && self.waiting < window && self.send(single)? {
                left -= 1;
            }
            self.turn()?;
        }
        self.finish()
    }

    /// As many as get through with `window` in flight.
    pub(super) fn closed(&mut self, window: usize, length: Duration) -> Result<Done> {
        self.restart()?;
        let end = self.began + length;
        while Instant::now() < end {
            let whole = self.train.len();
            while self.waiting + self.shape.train <= window && self.send(whole)? {}
            self.turn()?;
        }
        self.finish()
    }

    /// So many a second.
    pub(super) fn paced(&mut self, rate: u32, length: Duration) -> Result<Done> {
        self.restart()?;
        let (gap, end) = (Duration::from_secs(1) / rate, self.began + length);
        let mut due = self.began;
        while due < end {
            let now = Instant::now();
            while due <= now && due < end {
                let single = self.shape.bytes;
                if !self.send(single)? {
                    self.done.lost += 1;
                }
                due += gap;
            }
            self.turn()?;
        }
        self.finish()
    }

    fn restart(&mut self) -> Result<()> {
        self.round += 1;
        self.waiting = 0;
        self.done = nothing()?;
        self.began = Instant::now();
        self.heard = self.began;
        Ok(())
    }

    /// Waits for what is in flight.
    fn finish(&mut self) -> Result<Done> {
        let took = self.began.elapsed();
        while self.waiting > 0 {
            self.turn()?;
        }
        let mut done = std::mem::replace(&mut self.done, nothing()?);
        done.took = took;
        Ok(done)
    }

    /// The first `len` bytes of a train, from the next flow; false when the kernel has no room.
    fn send(&mut self, len: usize) -> Result<bool> {
        let flow = self.next as u32;
        let at = self.began.elapsed().as_nanos() as u64;
        let datagrams = self.train[..len].chunks_mut(self.shape.bytes);
        for datagram in datagrams {
            datagram[..8].copy_from_slice(&self.round.to_ne_bytes());
            datagram[8..STAMP].copy_from_slice(&at.to_ne_bytes());
        }
        let from = Ipv4Addr::from(FIRST_CLIENT + flow);
        let transmit = Transmit {
            destination: self.to,
            ecn: None,
            contents: &self.train[..len],
            segment_size: (len > self.shape.bytes).then_some(self.shape.bytes),
            src_ip: Some(from.into()),
        };
        if !self.clients.send(&transmit)? {
            return Ok(false);
        }
        self.next = (self.next + 1) % self.shape.flows;
        self.waiting += len / self.shape.bytes;
        Ok(true)
    }

    /// Lets the endpoint answer and the clients hear.
    fn turn(&mut self) -> Result<()> {
        self.endpoint.echo()?;
        let now = Instant::now();
        let at = now.duration_since(self.began).as_nanos() as u64;
        let (round, bytes) = (self.round, self.shape.bytes);
        let (done, mut heard) = (&mut self.done, 0);
        self.clients.receive(|meta, buffer| {
            for datagram in buffer[..meta.len].chunks(meta.stride.max(1)) {
                if datagram.len() == bytes && word(datagram, 0) == round {
                    heard += 1;
                    done.times
                        .saturating_record(at.saturating_sub(word(datagram, 8)));
                }
            }
        })?;
        if heard > 0 {
            self.heard = now;
            self.done.answered += heard as u64;
            self.waiting = self.waiting.saturating_sub(heard);
        } else if self.waiting > 0 && now.duration_since(self.heard) > PATIENCE {
            self.done.lost += self.waiting as u64;
            self.waiting = 0;
            self.heard = now;
            if self.done.answered == 0 && self.done.lost > 1_000 {
                bail!("nobody answers");
            }
        }
        Ok(())
    }
}

fn nothing() -> Result<Done> {
    Ok(Done {
        answered: 0,
        lost: 0,
        took: Duration::ZERO,
        times: client::times()?,
    })
}

fn word(datagram: &[u8], at: usize) -> u64 {
    let bytes = datagram.get(at..at + 8).and_then(|b| b.try_into().ok());
    bytes.map_or(0, u64::from_ne_bytes)
}

/// A socket with its buffers.
struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    memory: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    answer: Vec<u8>,
}

impl Port {
    fn open(address: SocketAddr, coalesced: bool) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_send_buffer_size(BUFFER)?;
        let socket = UdpSocket::from(socket);
        // A state makes the socket that it is made of coalesce, and works with any.
        let state = if coalesced {
            UdpSocketState::new((&socket).into())?
        } else {
            UdpSocketState::new((&UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?).into())?
        };
        Ok(Self {
            socket,
            state,
            memory: vec![0; BATCH_SIZE * SLOT],
            metas: [RecvMeta::default(); BATCH_SIZE],
            answer: Vec::with_capacity(SLOT),
        })
    }

    fn send(&self, transmit: &Transmit<'_>) -> Result<bool> {
        match self.state.try_send((&self.socket).into(), transmit) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            // Told of an earlier datagram: a target that has just ended.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
            Err(error) => Err(error).context("cannot send"),
        }
    }

    /// How many messages there were, and each of them.
    fn receive(&mut self, mut each: impl FnMut(&RecvMeta, &[u8])) -> Result<usize> {
        let mut chunks = self.memory.chunks_mut(SLOT);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let socket = (&self.socket).into();
        let count = match self.state.recv(socket, &mut slices, &mut self.metas) {
            Ok(count) => count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused
                ) =>
            {
                0
            }
            Err(error) => return Err(error).context("cannot receive"),
        };
        for (meta, slice) in self.metas[..count].iter().zip(&slices) {
            each(meta, slice);
        }
        Ok(count)
    }

    /// Sends each datagram back; what came in a row from one sender goes back in one go.
    fn echo(&mut self) -> Result<()> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut count = 0;
        self.receive(|meta, _| {
            metas[count] = *meta;
            count += 1;
        })?;
        let mut slot = 0;
        while slot < count {
            let first = metas[slot];
            let mut behind = slot + 1;
            let alike = |meta: &RecvMeta| {
                meta.addr == first.addr && meta.len == first.len && first.stride == first.len
            };
            while behind < count && alike(&metas[behind]) {
                behind += 1;
            }
            self.answer.clear();
            for (at, meta) in metas.iter().enumerate().take(behind).skip(slot) {
                let datagram = &self.memory[at * SLOT..at * SLOT + meta.len];
                self.answer.extend_from_slice(datagram);
            }
            let whole = self.answer.len() == first.stride;
            let transmit = Transmit {
                destination: first.addr,
                ecn: None,
                contents: &self.answer,
                segment_size: (!whole).then_some(first.stride),
                src_ip: None,
            };
            self.send(&transmit)?;
            slot = behind;
        }
        Ok(())
    }
}
