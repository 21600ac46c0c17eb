//! What the data path receives with: asked for by the file, tried at start, and never a reason not to serve unless it was demanded.

use std::io;

use portolan_config::model::IoEngine;

use crate::sys::uring;

/// Whether io_uring can be used by this process on this kernel (multishot receives into provided buffers, Linux 6.1); why not, if it cannot.
/// Tried, not guessed: a sandbox (seccomp) or `kernel.io_uring_disabled` may forbid what the kernel knows.
pub fn can_use_io_uring() -> io::Result<()> {
    uring::probe()
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
