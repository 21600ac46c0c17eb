//! Receiving by io_uring, for flows that exchange small messages while many others do. Only receives are done by it: what has come is
//! written at once, as elsewhere, so that no byte of a flow is ever the kernel's to read, and a flow on the ring has nothing in the air
//! but two requests to receive.
//!
//! A flow is on the ring only while all is plain. Whatever else there is (a sink that takes less than it is given, an end, a reading as
//! large as a buffer, which bulk is made of) makes it leave for good: its receives are cancelled, what had come by then is passed on or
//! kept in order, and when the last of both has come back, the event loop has it again. So multishot's lack of backpressure lasts for
//! the moment of a cancellation, and half-closes, retries, handover and timeouts know nothing of the ring.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use portolan_config::flow::EndCause;
use portolan_config::model::IoEngine;

use super::{Turn, endpoint_error, endpoint_takes_nothing};
use crate::flow::{CLIENT, Flow, Phase, Side};
use crate::relay::pump::{Pushed, Scratch, push};
use crate::sys::uring::{self, Received};
use crate::worker::{Handle, RING, Worker};

/// Completions taken in a turn, before accepting and timers get theirs.
const MOST: usize = 2048;

/// Sockets that are ready in a turn from which on a worker has many at once: with fewer, the ring wins nothing.
const CROWD: usize = 48;

/// Readings from the client that make a flow one that goes on.
const GOES_ON: u32 = 4;

/// How long the flows that are about to be handed over are waited for. Cancelling takes microseconds.
const LEAVING: Duration = Duration::from_secs(1);

/// Where a flow stands with the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnRing {
    /// A receive of the client's socket is in the air.
    client: bool,
    /// A receive of the endpoint's socket is.
    endpoint: bool,
    /// It leaves, or has left.
    left: bool,
    /// The endpoint's end came right behind an answer.
    ends_answer: bool,
    /// The ring's turn in which the endpoint has answered last.
    answered: u16,
    /// The error that the endpoint's socket gave instead of taking bytes; 0 is none. To be seen to when the event loop has the flow again.
    refused: u16,
}

impl OnRing {
    /// Whether the ring has it: nobody else may read its sockets then, or bytes would overtake others.
    pub(crate) fn has(self) -> bool {
        self.client || self.endpoint
    }

    /// Whether the endpoint's end came together with an answer, of which the event loop sees no more than the end.
    pub(crate) fn ends_answer(self) -> bool {
        self.ends_answer
    }

    /// Notes what has come of the endpoint in a turn.
    fn note(&mut self, turn: u16, result: &io::Result<usize>) {
        match result {
            Ok(1..) => self.answered = turn,
            Ok(0) => self.ends_answer = self.answered == turn,
            Err(error) if is_none_of_the_socket(error) => {}
            Err(_) => self.ends_answer = self.answered == turn,
        }
    }

    fn receives(&mut self, side: Side) -> &mut bool {
        if side == CLIENT {
            &mut self.client
        } else {
            &mut self.endpoint
        }
    }
}

/// The ring of a worker.
pub(crate) struct Ring {
    ring: uring::Ring,
    /// Every flow that can goes on it, crowd or not.
    always: bool,
    /// Receives in the air.
    receives: usize,
    /// Counts its turns, never 0.
    turn: u16,
}

impl Ring {
    /// To be made by the thread that uses it.
    pub(crate) fn new(engine: IoEngine, registry: &Registry) -> io::Result<Self> {
        let ring = uring::Ring::new()?;
        registry.register(&mut SourceFd(&ring.bell()), RING, Interest::READABLE)?;
        Ok(Self {
            ring,
            always: engine == IoEngine::IoUring,
            receives: 0,
            turn: 1,
        })
    }
}

/// What the ring is to be asked. Never more than two of each a flow.
#[derive(Default)]
pub(crate) struct Requests {
    receives: Vec<(Handle, Side)>,
    cancels: Vec<u64>,
    /// Sockets that were ready in the last turn, on the ring or off it.
    pub(crate) crowd: usize,
}

impl Requests {
    pub(crate) fn is_empty(&self) -> bool {
        self.receives.is_empty() && self.cancels.is_empty()
    }
}

fn number(handle: Handle, side: Side) -> u64 {
    handle.token(side).0 as u64
}

fn socket(flow: &Flow, side: Side) -> Option<RawFd> {
    match side {
        CLIENT => Some(flow.client.as_raw_fd()),
        _ => flow.endpoint.as_ref().map(AsRawFd::as_raw_fd),
    }
}

impl Worker {
    /// Makes the ring, if one is wanted.
    pub(crate) fn open_ring(&mut self) {
        let engine = self.shared.io_engine;
        if engine == IoEngine::Epoll {
            return;
        }
        match Ring::new(engine, self.poll.registry()) {
            Ok(ring) => self.ring = Some(Box::new(ring)),
            // It was possible a moment ago, when it was tried.
            Err(error) => tracing::error!(%error, "a worker goes without io_uring"),
        }
    }

    /// Puts a flow on the ring, if it is one for it.
    pub(crate) fn join_ring(&mut self, handle: Handle) {
        let Some(ring) = &self.ring else {
            return;
        };
        let Some(flow) = self.flows.get_mut(handle.key as usize) else {
            return;
        };
        let (forth, back) = (&flow.inbound, &flow.outbound);
        let wanted = if ring.always {
            forth.bytes + back.bytes > 0
        } else {
            let small = !forth.large && !back.large;
            small && self.requests.crowd >= CROWD && forth.reads >= GOES_ON
        };
        let plain = matches!(flow.phase, Phase::Relaying)
            && flow.client_ready.writable
            && flow.endpoint_ready.writable
            && !(forth.is_blocked() || back.is_blocked() || forth.eof || back.eof || flow.queued);
        if !wanted || !plain || flow.on_ring.left || flow.on_ring.has() {
            return;
        }
        let Some(endpoint) = &mut flow.endpoint else {
            return;
        };
        for socket in [&mut flow.client, endpoint] {
            if let Err(error) = self.poll.registry().deregister(socket) {
                tracing::debug!(%error, "a flow's socket was not registered");
            }
        }
        (flow.on_ring.client, flow.on_ring.endpoint) = (true, true);
        self.shared.stats.io_uring_flows.fetch_add(1, Relaxed);
        let sides = [CLIENT, flow.endpoint_side];
        self.requests
            .receives
            .extend(sides.map(|side| (handle, side)));
    }

    /// Takes a flow off the ring; it goes on by the event loop when the last receive has come back.
    fn leave_ring(&mut self, handle: Handle) {
        let flow = &mut self.flows[handle.key as usize];
        if std::mem::replace(&mut flow.on_ring.left, true) {
            return;
        }
        if flow.on_ring.has() {
            self.cancel_receives(handle.key);
        } else {
            self.go_on_without_ring(handle);
        }
    }

    /// Cancels what is in the air of a flow: the kernel holds its sockets open until then, closed by us or not.
    pub(crate) fn cancel_receives(&mut self, key: u32) {
        let handle = self.handle(key);
        let flow = &self.flows[key as usize];
        let both = [
            (CLIENT, flow.on_ring.client),
            (flow.endpoint_side, flow.on_ring.endpoint),
        ];
        let in_the_air = both.into_iter().filter(|(_, receives)| *receives);
        let numbers = in_the_air.map(|(side, _)| number(handle, side));
        self.requests.cancels.extend(numbers);
    }

    fn go_on_without_ring(&mut self, handle: Handle) {
        if self.register_both(handle.key).is_err() {
            return self.end(handle.key, EndCause::Limit);
        }
        let flow = &mut self.flows[handle.key as usize];
        // What came meanwhile is no event any more.
        for ready in [&mut flow.client_ready, &mut flow.endpoint_ready] {
            (ready.readable, ready.writable, ready.read_closed) = (true, true, true);
        }
        flow.told_of_room = true;
        let refused = std::mem::take(&mut flow.on_ring.refused);
        if refused != 0 {
            let error = io::Error::from_raw_os_error(refused.into());
            self.moving(handle, |flow, scratch| {
                endpoint_takes_nothing(flow, scratch, error)
                    .map_or_else(|turn| turn, |_| Turn::Goes)
            });
        }
        if self.flow(handle).is_some() {
            self.relay(handle, None);
        }
    }

    /// Hands in what is wanted, and passes on what has come. True when more may wait.
    pub(crate) fn turn_ring(&mut self) -> bool {
        let Some(mut ring) = self.ring.take() else {
            return false;
        };
        let mut taken = 0;
        ring.turn = ring.turn.checked_add(1).unwrap_or(1);
        loop {
            if let Err(error) = self.hand_in(&mut ring, 0) {
                self.do_without(ring, &error);
                return false;
            }
            taken += self.pass_on_received(&mut ring);
            let more = ring.ring.has_work() || !self.requests.is_empty();
            if !more || taken >= MOST {
                self.requests.crowd = taken;
                self.ring = Some(ring);
                return more;
            }
        }
    }

    /// Receives, then cancellations: none overtakes what it is to cancel. No socket is closed between a request and its handing in, so that
    /// it never means another socket by the same number.
    fn hand_in(&mut self, ring: &mut Ring, least: u32) -> io::Result<()> {
        for (handle, side) in std::mem::take(&mut self.requests.receives) {
            let Some(socket) = self.flow(handle).and_then(|flow| socket(flow, side)) else {
                continue;
            };
            ring.ring.receive(socket, number(handle, side))?;
            ring.receives += 1;
        }
        for number in std::mem::take(&mut self.requests.cancels) {
            ring.ring.cancel(number)?;
        }
        ring.ring.turn(least)
    }

    fn pass_on_received(&mut self, ring: &mut Ring) -> usize {
        let mut taken = 0;
        while let Some(received) = ring.ring.take() {
            taken += 1;
            let (handle, side) = Handle::of(Token(received.number as usize));
            if !received.more {
                ring.receives -= 1;
            }
            if let Some(flow) = self.flow(handle) {
                *flow.on_ring.receives(side) &= received.more;
                if side != CLIENT {
                    flow.on_ring.note(ring.turn, &received.result);
                }
            }
            if self.flow(handle).is_some() && matches!(received.result, Ok(1..)) {
                let bytes = ring.ring.bytes(&received);
                self.moving(handle, |flow, scratch| write_on(flow, scratch, side, bytes));
            }
            ring.ring.done(&received);
            self.see_to(handle, side, &received, ring.always);
        }
        taken
    }

    /// What else a completion means, when its bytes have been passed on.
    fn see_to(&mut self, handle: Handle, side: Side, received: &Received, always: bool) {
        let mut leaves = matches!(received.result, Ok(0));
        if let Err(error) = &received.result
            && !is_none_of_the_socket(error)
        {
            leaves = true;
            let error = io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO));
            self.receive_failed(handle, side, error);
        }
        let Some(flow) = self.flow(handle) else {
            return;
        };
        leaves |= flow.inbound.is_blocked() || flow.outbound.is_blocked();
        leaves |= !always && (flow.inbound.large || flow.outbound.large);
        if flow.on_ring.left {
            if !flow.on_ring.has() && !received.more {
                self.go_on_without_ring(handle);
            }
        } else if leaves {
            self.leave_ring(handle);
        } else if !received.more {
            *flow.on_ring.receives(side) = true;
            self.requests.receives.push((handle, side));
        }
    }

    /// A socket failed. Its error is gone with the completion, and a further reading would give a clean end: so it is acted on now. ICMP is
    /// no end, and the flow goes on.
    fn receive_failed(&mut self, handle: Handle, side: Side, error: io::Error) {
        if self.flow(handle).is_none() {
            return;
        }
        self.moving(handle, |flow, _| match &flow.endpoint {
            Some(endpoint) if side != CLIENT => endpoint_error(endpoint, error),
            _ => Turn::Over(EndCause::ClientRst),
        });
    }

    /// Takes every flow off the ring and waits until they are: they are about to be handed over. What had come is passed on, or goes with
    /// them. One that does not come back in time stays here.
    pub(crate) fn empty_ring(&mut self) {
        self.leave_all();
        let deadline = Instant::now() + LEAVING;
        while let Some(mut ring) = self.ring.take() {
            let waits = ring.receives > 0 || !self.requests.is_empty();
            if !waits || Instant::now() > deadline {
                self.ring = Some(ring);
                return;
            }
            // A cancellation that is handed in has come to its end when this returns.
            if let Err(error) = self.hand_in(&mut ring, 0) {
                return self.do_without(ring, &error);
            }
            self.pass_on_received(&mut ring);
            self.ring = Some(ring);
        }
    }

    fn leave_all(&mut self) {
        let on_ring = self.flows.iter().filter(|(_, flow)| flow.on_ring.has());
        let keys: Vec<u32> = on_ring.map(|(key, _)| key as u32).collect();
        for key in keys {
            let handle = self.handle(key);
            self.leave_ring(handle);
        }
    }

    /// The kernel takes no more requests, so that nothing is received any more by a ring whose completions are looked at only when it is
    /// asked: all flows go on by the event loop.
    fn do_without(&mut self, mut ring: Box<Ring>, error: &io::Error) {
        tracing::error!(%error, "io_uring fails; flows go on by epoll");
        self.pass_on_received(&mut ring);
        drop(ring);
        self.requests = Requests::default();
        let on_ring = self.flows.iter().filter(|(_, flow)| flow.on_ring.has());
        let keys: Vec<u32> = on_ring.map(|(key, _)| key as u32).collect();
        for key in keys {
            let handle = self.handle(key);
            let state = &mut self.flows[key as usize].on_ring;
            (state.client, state.endpoint, state.left) = (false, false, true);
            self.go_on_without_ring(handle);
        }
    }
}

/// The buffers had all gone, or the receive was cancelled, or interrupted.
fn is_none_of_the_socket(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOBUFS | libc::ECANCELED | libc::EINTR | libc::EAGAIN)
    )
}

fn write_on(flow: &mut Flow, scratch: &mut Scratch, side: Side, bytes: &[u8]) -> Turn {
    let from_client = side == CLIENT;
    let (sink, ready, pipe) = if from_client {
        let Some(endpoint) = &flow.endpoint else {
            return Turn::Goes;
        };
        (endpoint, &mut flow.endpoint_ready, &mut flow.inbound)
    } else {
        (&flow.client, &mut flow.client_ready, &mut flow.outbound)
    };
    pipe.large |= bytes.len() == uring::BUFFER;
    match push(sink, ready, pipe, scratch, bytes) {
        Pushed::Done => Turn::Goes,
        Pushed::Failed(_) if !from_client => Turn::Over(EndCause::ClientRst),
        // What the endpoint had answered before is read to its end first, which takes a socket that nobody else reads.
        Pushed::Failed(error) => {
            let code = error.raw_os_error().and_then(|code| code.try_into().ok());
            flow.on_ring.refused = code.unwrap_or(libc::EPIPE as u16);
            Turn::Goes
        }
    }
}
