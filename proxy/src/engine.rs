//! What the data path receives with, and whether it splices: asked for by the file, tried at start, and never a reason not to serve unless
//! it was demanded.

use std::io;

use portolan_config::model::IoEngine;

use crate::capacity;
use crate::relay::splice;
use crate::sys::uring;

/// Whether io_uring can be used by this process on this kernel (multishot receives into provided buffers, Linux 6.1); why not, if it cannot.
/// Tried, not guessed: a sandbox (seccomp) or `kernel.io_uring_disabled` may forbid what the kernel knows.
pub fn can_use_io_uring() -> io::Result<()> {
    uring::probe()
}

/// Whether this process can splice from socket to socket by a pipe that is large enough; why not, if it cannot. Tried, too.
pub fn can_splice() -> io::Result<()> {
    splice::probe()
}

/// Kernel pipes that each worker may have; none where nothing is to be spliced.
pub(crate) fn pipes_a_worker(asked: bool, workers: usize) -> io::Result<usize> {
    if !asked {
        return Ok(0);
    }
    can_splice().map(|()| capacity::pipes_a_worker(workers))
}

/// Descriptors that the kernel pipes of so many workers take, where bulk is to be spliced.
pub fn splice_descriptors(asked: bool, workers: usize) -> u64 {
    let pipes = pipes_a_worker(asked, workers).unwrap_or(0);
    capacity::descriptors_of(pipes, workers)
}

/// What comes of what is asked for.
pub(crate) fn choose(asked: IoEngine) -> io::Result<IoEngine> {
    match asked {
        IoEngine::Epoll => Ok(IoEngine::Epoll),
        IoEngine::Auto => Ok(can_use_io_uring().map_or(IoEngine::Epoll, |()| IoEngine::Auto)),
        IoEngine::IoUring => match can_use_io_uring() {
            Ok(()) => Ok(IoEngine::IoUring),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("io_uring cannot be used here: {error}"),
            )),
        },
    }
}
