//! The system calls of the data path that no library wraps. The only place of this crate where `unsafe` may stand.
#![expect(
    unsafe_code,
    reason = "bpf(2), and getsockopt and setsockopt on options that socket2 does not know"
)]

pub(crate) mod bpf;
pub(crate) mod udp;
pub(crate) mod uring;

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// What `TCP_INFO` says of a socket (Linux 2.6 and later).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpState {
    /// The connection stands, in whichever direction.
    pub(crate) open: bool,
    /// Segments sent and not acknowledged.
    pub(crate) unacked: u32,
    /// How long ago the peer last sent or acknowledged something, whichever is more recent; in milliseconds. An acknowledged
    /// keepalive counts.
    pub(crate) heard: Duration,
    /// Smoothed round trip.
    pub(crate) srtt: Duration,
    /// How much the round trip varies (RFC 6298's RTTVAR).
    pub(crate) variation: Duration,
}

/// Asks the kernel about a TCP socket.
pub(crate) fn tcp_state(socket: BorrowedFd<'_>) -> io::Result<TcpState> {
    let info = tcp_info(socket)?;
    let millis = info.tcpi_last_data_recv.min(info.tcpi_last_ack_recv);
    Ok(TcpState {
        open: info.tcpi_state != TCP_CLOSE,
        unacked: info.tcpi_unacked,
        heard: Duration::from_millis(u64::from(millis)),
        srtt: Duration::from_micros(u64::from(info.tcpi_rtt)),
        variation: Duration::from_micros(u64::from(info.tcpi_rttvar)),
    })
}

/// The state of a TCP socket whose connection is over (`net/tcp_states.h`).
const TCP_CLOSE: u8 = 7;

fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is that large, and every bit pattern is a valid tcp_info.
    unsafe {
        let result = libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        );
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(info.assume_init())
    }
}

/// `IP_BIND_ADDRESS_NO_PORT` (Linux 4.2): a later bind to an address chooses the port at connect, so that one source address has
/// all of its ports toward each endpoint.
pub(crate) fn bind_address_no_port(socket: BorrowedFd<'_>) -> io::Result<()> {
    switch_on(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT)
}

/// `IP_TRANSPARENT`: a firewall's `TPROXY` may bring what was sent to other addresses and ports. Needs `CAP_NET_ADMIN` or `CAP_NET_RAW`.
pub(crate) fn be_transparent(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        switch_on(socket, libc::IPPROTO_IPV6, libc::IPV6_TRANSPARENT)
    } else {
        switch_on(socket, libc::IPPROTO_IP, libc::IP_TRANSPARENT)
    }
}

/// Whether this process may.
pub(crate) fn may_be_transparent() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), None)?;
    be_transparent(socket.as_fd(), false)
}

/// `IP_RECVERR` and `IPV6_RECVERR`: what ICMP says of an established connection is the socket's error at once, not only when its
/// retries are used up; and a socket of UDP hears of hosts and networks that cannot be reached, not only of closed ports.
pub(crate) fn report_icmp(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        switch_on(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    } else {
        switch_on(socket, libc::IPPROTO_IP, libc::IP_RECVERR)
    }
}

fn switch_on(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the options take an int, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Errors taken out of a queue at once: what a burst of ICMP leaves, which its sender's rate limit keeps short.
const QUEUED_ERRORS: usize = 64;

/// Empties the queue that `IP_RECVERR` fills. What stands in it was told by a system call's error already.
pub(crate) fn empty_error_queue(socket: BorrowedFd<'_>) {
    for _ in 0..QUEUED_ERRORS {
        // SAFETY: a message header of zeros has no buffers: the kernel cuts off all of the error and writes to the header alone.
        let taken = unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            libc::recvmsg(
                socket.as_raw_fd(),
                &raw mut message,
                libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
            )
        };
        if taken < 0 {
            return;
        }
    }
}

/// How long the calling thread has been on a CPU (`CLOCK_THREAD_CPUTIME_ID`). A system call.
pub(crate) fn thread_time() -> Duration {
    let mut time = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: `time` is a timespec that is ours to write; all zeroes are one, too.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, time.as_mut_ptr());
        time.assume_init()
    };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// The descriptor limit of this process, soft.
pub(crate) fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit writes one rlimit.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result == 0 { limit.rlim_cur } else { 1024 }
}
