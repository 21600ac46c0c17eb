//! Bulk through a pipe of the kernel: `splice(2)` from the source into it and out of it into the sink, so that the bytes never enter this
//! process. Asked by `pump` for directions that have proved to be bulk; knows sockets and kernel pipes, no flow.
//!
//! A kernel pipe is filled only when it is empty, so that "would block" means one thing on each side: nothing to read here, no room there.
//! And it is held only while bytes are in it, else it is back with the worker's others.

#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;

use mio::net::TcpStream;
use portolan_config::stats::EdgeStats;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with};

use super::pump::Ready;

/// Bytes that a kernel pipe takes. A user without `CAP_SYS_RESOURCE` has 64 MiB of them (`pipe-user-pages-soft`), so that the most
/// pipes of four workers are everybody's to have.
const SIZE: usize = 256 << 10;

/// Most kernel pipes of a worker: so many flows of it may be bulk to slow peers at once before further ones are copied.
pub(crate) const MOST: usize = 64;

/// Wishes for a kernel pipe that go unheard after the system refused one, so that a refusal costs nothing but the gain.
const UNHEARD: u32 = 1024;

/// A pipe of the kernel, and the bytes in it.
#[derive(Debug)]
pub(super) struct KernelPipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl KernelPipe {
    fn open(size: usize) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user over the limit gets pipes of two pages, and is refused here.
        if fcntl_setpipe_size(&write, size)? < size {
            return Err(ErrorKind::QuotaExceeded.into());
        }
        Ok(Self {
            read,
            write,
            held: 0,
        })
    }

    /// Takes from the source what fits. Only to be asked of an empty one.
    pub(super) fn fill(&mut self, source: impl AsFd) -> io::Result<usize> {
        let filled = splice(source, &self.write, SIZE)?;
        self.held += filled;
        Ok(filled)
    }

    /// Gives the sink what it takes; a full sink takes nothing and is no error. An error comes with what was taken before it.
    pub(super) fn drain(
        &mut self,
        sink: &TcpStream,
        ready: &mut Ready,
    ) -> Result<usize, (usize, io::Error)> {
        let before = self.held;
        while ready.writable && self.held > 0 {
            // Exactly what is in it: asked for more, the kernel holds the last segment back in expectation of it (`MSG_MORE`).
            match splice(&self.read, sink, self.held) {
                Ok(0) => return Err((before - self.held, ErrorKind::WriteZero.into())),
                Ok(taken) => self.held -= taken,
                // There is something in it, so it is the sink, whose room will be an event.
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.writable = false,
                Err(error) => return Err((before - self.held, error)),
            }
        }
        Ok(before - self.held)
    }

    /// Takes all bytes out of it. After an error some of them are lost.
    pub(super) fn read_out(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        let mut at = 0;
        while at < bytes.len() {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.read, &mut bytes[at..]))? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => at += read,
            }
        }
        self.held = 0;
        Ok(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }
}

fn splice(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let splice = || rustix::pipe::splice(from, None, to, None, most, SpliceFlags::NONBLOCK);
    Ok(rustix::io::retry_on_intr(splice)?)
}

/// Whether an error says that these bytes cannot be spliced, not that their socket has failed: they can still be copied.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOMEM | libc::ENOSYS | libc::EPERM)
    )
}

/// Splices a byte from a socket to another one.
pub(crate) fn probe() -> io::Result<()> {
    let (from, source) = UnixStream::pair()?;
    let (sink, to) = UnixStream::pair()?;
    let mut pipe = KernelPipe::open(SIZE)?;
    rustix::io::write(&from, b"x")?;
    let filled = pipe.fill(&source)?;
    let drained = splice(&pipe.read, &sink, filled)?;
    let mut byte = [0];
    let read = rustix::io::read(&to, &mut byte)?;
    if (filled, drained, read, byte) == (1, 1, 1, *b"x") {
        Ok(())
    } else {
        Err(io::Error::other("a spliced byte did not arrive"))
    }
}

/// The kernel pipes of a worker.
pub(crate) struct KernelPipes {
    empty: Vec<KernelPipe>,
    /// Those that there are, lent ones included.
    open: usize,
    most: usize,
    size: usize,
    unheard: u32,
    /// Bytes that passed by them, and wishes that came to nothing, since they were last counted.
    spliced: u64,
    fallbacks: u64,
}

impl KernelPipes {
    /// None yet, and at most so many; 0 where nothing is to be spliced.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            empty: Vec::with_capacity(most),
            open: 0,
            most,
            size: SIZE,
            unheard: 0,
            spliced: 0,
            fallbacks: 0,
        }
    }

    /// Whether there is splicing at all.
    pub(super) fn are_wanted(&self) -> bool {
        self.most > 0
    }

    /// An empty one.
    pub(super) fn lend(&mut self) -> Option<KernelPipe> {
        let pipe = self.empty.pop().or_else(|| self.open());
        if pipe.is_none() {
            self.fallbacks += 1;
        }
        pipe
    }

    fn open(&mut self) -> Option<KernelPipe> {
        if self.open >= self.most {
            return None;
        }
        if self.unheard > 0 {
            self.unheard -= 1;
            return None;
        }
        match KernelPipe::open(self.size) {
            Ok(pipe) => {
                self.open += 1;
                Some(pipe)
            }
            Err(error) => {
                tracing::debug!(%error, "no kernel pipe is to be had; bulk is copied");
                self.unheard = UNHEARD;
                None
            }
        }
    }

    /// Takes one back. Bytes in it are of a flow that is over: they must never meet another one's.
    pub(super) fn take_back(&mut self, pipe: KernelPipe) {
        if pipe.is_empty() {
            self.empty.push(pipe);
        } else {
            self.open -= 1;
        }
    }

    pub(super) fn count_spliced(&mut self, bytes: usize) {
        self.spliced += bytes as u64;
    }

    /// The kernel does not splice what it was asked to.
    pub(super) fn count_refusal(&mut self) {
        self.fallbacks += 1;
    }

    /// Moves what was counted to the shared counters.
    pub(crate) fn settle(&mut self, stats: &EdgeStats) {
        let (spliced, fallbacks) = (
            std::mem::take(&mut self.spliced),
            std::mem::take(&mut self.fallbacks),
        );
        if spliced > 0 {
            stats.spliced_bytes.fetch_add(spliced, Relaxed);
        }
        if fallbacks > 0 {
            stats.splice_fallbacks.fetch_add(fallbacks, Relaxed);
        }
    }
}
