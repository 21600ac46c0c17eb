//! The system calls of the data path that no library wraps. The only place of this crate where `unsafe` may stand.
#![expect(
    unsafe_code,
    reason = "bpf(2), and getsockopt and setsockopt on options that socket2 does not know"
)]

pub(crate) mod bpf;
pub(crate) mod udp;

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// How long ago the peer of a TCP socket last sent or acknowledged something, whichever is more recent; what `TCP_INFO` says
/// (milliseconds; Linux 2.6 and later). An acknowledged keepalive counts.
pub(crate) fn last_heard(socket: BorrowedFd<'_>) -> io::Result<Duration> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is that large, and every bit pattern is a valid tcp_info.
    let info = unsafe {
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
        info.assume_init()
    };
    let millis = info.tcpi_last_data_recv.min(info.tcpi_last_ack_recv);
    Ok(Duration::from_millis(u64::from(millis)))
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

fn switch_on(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, which outlives the call.
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
