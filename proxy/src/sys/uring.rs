//! A ring of io_uring that receives: multishot receives into buffers that the kernel takes from a ring of ours. It knows descriptors
//! and numbers, no flow. Nothing but receiving is done by it, so that no memory but its own buffers is ever the kernel's.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::SockRef;

/// Requests that are handed to the kernel at once.
const REQUESTS: u32 = 1024;

/// Completions that the kernel has room for before it keeps them elsewhere.
const COMPLETIONS: u32 = 4096;

/// Buffers, of all flows of the ring. The kernel takes up no more than some twenty receives before they are looked at.
const BUFFERS: u16 = 256;

/// The size of a buffer: a request or an answer. What is larger is better received otherwise.
pub(crate) const BUFFER: usize = 8 << 10;

const GROUP: u16 = 0;
const PAGE: usize = 4096;

/// `IORING_ENTER_GETEVENTS`.
const GET_EVENTS: u32 = 1;

/// The number of a request whose completion nobody awaits.
const NOBODY: u64 = u64::MAX;

/// How long a reset takes over loopback at most, in milliseconds.
const END_MILLIS: libc::c_int = 2000;

/// What came of a receive.
pub(crate) struct Received {
    /// The number that it was begun with.
    pub(crate) number: u64,
    /// Bytes in [`Ring::bytes`], none at the end of the stream, or why not.
    pub(crate) result: io::Result<usize>,
    /// It goes on by itself.
    pub(crate) more: bool,
    buffer: Option<u16>,
}

/// The ring. One thread's own.
pub(crate) struct Ring {
    // Dropped first: the kernel lets go of the memory below.
    ring: IoUring,
    bell: OwnedFd,
    entries: NonNull<BufRingEntry>,
    buffers: Box<[u8]>,
    tail: u16,
}

impl Ring {
    /// Makes one, and tries whether it can do what is asked of it (Linux 6.1).
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(REQUESTS)?;
        let bell = bell()?;
        ring.submitter().register_eventfd(bell.as_raw_fd())?;
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout()) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let mut made = Self {
            ring,
            bell,
            entries,
            buffers: vec![0; BUFFER * usize::from(BUFFERS)].into(),
            tail: 0,
        };
        // SAFETY: the memory is a page-aligned array of so many entries, and lives until the ring is gone.
        unsafe {
            let submitter = made.ring.submitter();
            submitter.register_buf_ring_with_flags(entries.as_ptr() as u64, BUFFERS, GROUP, 0)?;
        }
        for buffer in 0..BUFFERS {
            made.give(buffer);
        }
        Ok(made)
    }

    /// Becomes readable when something has come, for an event loop that waits for edges: nobody reads it. (The ring itself does not, as
    /// long as completions wait to be asked for.)
    pub(crate) fn bell(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Whether another turn would bring something.
    pub(crate) fn has_work(&mut self) -> bool {
        let requests = self.ring.submission();
        requests.taskrun() || requests.cq_overflow() || !requests.is_empty()
    }

    /// Begins to receive from a socket, again and again until [`Ring::cancel`].
    pub(crate) fn receive(&mut self, socket: RawFd, number: u64) -> io::Result<()> {
        self.push(
            opcode::RecvMulti::new(Fd(socket), GROUP)
                .build()
                .user_data(number),
        )
    }

    /// Ends a receive. What had come by then still comes, and at last a completion that is not to go on.
    pub(crate) fn cancel(&mut self, number: u64) -> io::Result<()> {
        self.push(opcode::AsyncCancel::new(number).build().user_data(NOBODY))
    }

    fn push(&mut self, request: squeue::Entry) -> io::Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit()?;
        }
        // SAFETY: a receive names no memory of this process but the registered buffers, and a cancel none at all.
        unsafe { self.ring.submission().push(&request) }.map_err(io::Error::other)
    }

    /// Hands requests in, and has the kernel bring up what has come; waits for `least`. No request stays behind: by the next turn its
    /// descriptor may be another socket's.
    pub(crate) fn turn(&mut self, least: u32) -> io::Result<()> {
        loop {
            self.ring.submission().sync();
            let requests = self.ring.submission().len();
            // SAFETY: there is no argument.
            let entered = unsafe {
                self.ring.submitter().enter::<libc::sigset_t>(
                    requests as u32,
                    least,
                    GET_EVENTS,
                    None,
                )
            };
            match entered {
                Ok(taken) if taken >= requests => return Ok(()),
                // Short of memory.
                Ok(0) => return Err(io::ErrorKind::OutOfMemory.into()),
                Ok(_) => {}
                // What has come is to be taken first, or waits for the next turn.
                Err(error) if requests == 0 && is_put_off(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes one thing that has come. Its buffer is to be given back.
    pub(crate) fn take(&mut self) -> Option<Received> {
        loop {
            let entry = self.ring.completion().next()?;
            if entry.user_data() != NOBODY {
                let result = match entry.result() {
                    failed @ ..0 => Err(io::Error::from_raw_os_error(-failed)),
                    read => Ok(read as usize),
                };
                return Some(Received {
                    number: entry.user_data(),
                    result,
                    more: cqueue::more(entry.flags()),
                    buffer: cqueue::buffer_select(entry.flags()),
                });
            }
        }
    }

    /// The bytes that have come.
    pub(crate) fn bytes(&self, received: &Received) -> &[u8] {
        match (received.buffer, &received.result) {
            (Some(buffer), Ok(read)) => {
                let at = usize::from(buffer) * BUFFER;
                &self.buffers[at..at + read.min(&BUFFER)]
            }
            _ => &[],
        }
    }

    /// Gives the buffer back.
    pub(crate) fn done(&mut self, received: &Received) {
        if let Some(buffer) = received.buffer {
            self.give(buffer);
        }
    }

    fn give(&mut self, buffer: u16) {
        let at = usize::from(self.tail & (BUFFERS - 1));
        let address = self.buffers[usize::from(buffer) * BUFFER..].as_mut_ptr() as u64;
        // SAFETY: the entry lies within the array, and is not the kernel's until the tail has passed it. The tail lies in the first entry, by
        // the ABI, and is read by the kernel at the same time.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(at);
            entry.set_addr(address);
            entry.set_len(BUFFER as u32);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

/// Whether rings work here, by a ring that has received something and its end: the kernel may be too old, or forbid them to this process.
///
/// Some kernels lose an end that comes right behind bytes (Linux before a68ed2df7213 of 7.0, which was taken back to older ones): both are
/// one wake-up, of which the receive takes the bytes, and nothing ever wakes it again. So that is what is tried.
pub(crate) fn probe() -> io::Result<()> {
    let mut ring = Ring::new()?;
    let (mut far, near) = pair()?;
    ring.receive(near.as_raw_fd(), 0)?;
    ring.turn(0)?;
    far.write_all(b"?")?;
    SockRef::from(&far).set_linger(Some(Duration::ZERO))?;
    drop(far);
    await_end(&near)?;
    ring.turn(1)?;
    let received = ring.take().ok_or(io::ErrorKind::Unsupported)?;
    match &received.result {
        Ok(1) if ring.bytes(&received) == b"?" && received.more => {}
        Ok(_) => return Err(io::ErrorKind::Unsupported.into()),
        Err(_) => return received.result.map(|_| ()),
    }
    ring.done(&received);
    while ring.has_work() {
        ring.turn(0)?;
    }
    let end = ring.take().map(|end| end.result);
    match end {
        Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this kernel loses the end of a stream behind its last bytes",
        )),
    }
}

/// Two ends of a connection. Of TCP, as what is received here is: the fault that is looked for is another one elsewhere.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let far = TcpStream::connect(listener.local_addr()?)?;
    let ours = far.local_addr()?;
    loop {
        let (near, from) = listener.accept()?;
        if from == ours {
            return Ok((far, near));
        }
    }
}

/// Waits until the other end is known to be gone. What came of it stays to be received.
fn await_end(socket: &TcpStream) -> io::Result<()> {
    let mut asked = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLRDHUP,
        revents: 0,
    };
    loop {
        // SAFETY: one entry, which outlives the call.
        match unsafe { libc::poll(&raw mut asked, 1, END_MILLIS) } {
            1 => return Ok(()),
            0 => return Err(io::ErrorKind::TimedOut.into()),
            _ => {}
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn is_put_off(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY))
}

fn bell() -> io::Result<OwnedFd> {
    // SAFETY: there is no memory in it, and the descriptor is nobody else's.
    unsafe {
        match libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The kernel may not write to what is freed.
        let _ = self.ring.submitter().unregister_buf_ring(GROUP);
        // SAFETY: allocated with the same layout, and no longer the kernel's.
        unsafe { dealloc(self.entries.as_ptr().cast(), layout()) };
    }
}

fn layout() -> Layout {
    let size = size_of::<BufRingEntry>() * usize::from(BUFFERS);
    Layout::from_size_align(size, PAGE).expect("a page is a power of two")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a receive that waits while `speak` speaks at the other end and goes.
    fn received(speak: impl FnOnce(&mut TcpStream)) -> Vec<Result<Vec<u8>, io::ErrorKind>> {
        let mut ring = Ring::new().unwrap();
        let (mut far, near) = pair().unwrap();
        ring.receive(near.as_raw_fd(), 0).unwrap();
        ring.turn(0).unwrap();
        speak(&mut far);
        drop(far);
        await_end(&near).unwrap();
        let mut all = Vec::new();
        loop {
            ring.turn(0).unwrap();
            while let Some(received) = ring.take() {
                let bytes = ring.bytes(&received).to_vec();
                ring.done(&received);
                let more = received.more;
                all.push(received.result.map(|_| bytes).map_err(|e| e.kind()));
                if !more {
                    return all;
                }
            }
            assert!(ring.has_work(), "{all:?} and no end");
        }
    }

    #[test]
    fn an_end_right_behind_the_last_bytes_is_received() {
        if let Err(error) = probe() {
            return eprintln!("skipped: no io_uring here: {error}");
        }
        let finished = received(|far| far.write_all(b"bye").unwrap());
        assert_eq!(finished, [Ok(b"bye".to_vec()), Ok(Vec::new())]);
        let reset = received(|far| {
            far.write_all(b"by").unwrap();
            SockRef::from(&*far)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        });
        let error = io::ErrorKind::ConnectionReset;
        assert_eq!(reset, [Ok(b"by".to_vec()), Err(error)]);
    }
}
