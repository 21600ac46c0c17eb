//! Receive buffers of a worker, and the replies that wait in them to be sent together.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::path::Path;
use super::train::Piece;
use crate::sys::udp::{Meta, Receiver};

/// Datagrams that are received at once. More would save little, and trains of them would not stay in the cache.
pub(crate) const SLOTS: usize = 32;

/// The longest datagram with its headers, coalesced ones included; what is longer than a buffer would be cut off.
const SLOT: usize = 1 << 16;

/// From one buffer to the next: not a power of two, so that the beginnings of all of them do not compete for the same cache lines.
const STRIDE: usize = SLOT + 4096 + 192;

/// Buffers and what was received into them. The memory is the system's until it is written to.
#[derive(Default)]
pub(crate) struct Batch {
    memory: Box<[u8]>,
    receiver: Receiver,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; SLOTS * STRIDE].into(),
            receiver: Receiver::new(SLOTS),
        }
    }

    /// Receives into the buffers of `slots`; the result is of the first ones.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        addressed: bool,
        slots: Range<usize>,
    ) -> io::Result<&[Meta]> {
        let (first, count) = (slots.start, slots.len());
        let buffers = self
            .memory
            .chunks_mut(STRIDE)
            .skip(first)
            .take(count)
            .map(|chunk| &mut chunk[..SLOT]);
        self.receiver.receive(socket, addressed, buffers)
    }

    /// The first bytes of a buffer.
    pub(crate) fn bytes(&self, slot: usize, len: usize) -> &[u8] {
        &self.memory[slot * STRIDE..slot * STRIDE + len]
    }
}

/// An answer on its way to a client.
pub(crate) struct Reply {
    /// The entrance that it leaves by.
    pub(crate) entrance: u32,
    pub(crate) to: SocketAddr,
    /// What the client spoke to, where the entrance has many addresses or ports.
    pub(crate) from: Option<SocketAddr>,
    pub(crate) slot: usize,
    pub(crate) len: usize,
    pub(crate) segment: usize,
    pub(crate) ecn: u8,
    pub(crate) path: Rc<Path>,
}

impl Reply {
    pub(super) fn piece(&self) -> Piece {
        Piece {
            len: self.len,
            segment: self.segment,
            ecn: self.ecn,
        }
    }

    pub(crate) fn datagrams(&self) -> u64 {
        match self.segment {
            0 => 1,
            segment => self.len.div_ceil(segment) as u64,
        }
    }
}
