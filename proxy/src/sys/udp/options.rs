//! Options of UDP's sockets that no library wraps.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// `UDP_GRO` (Linux 5.0): datagrams of one flow may come coalesced, with their size.
pub(crate) fn coalesce(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, &1i32)
}

/// `IP_PKTINFO`, `IPV6_RECVPKTINFO`: datagrams come with the local address that they were sent to.
pub(crate) fn tell_local_address(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, &1i32)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, &1i32)
    }
}

/// `IP_RECVORIGDSTADDR` (Linux 2.6.38), `IPV6_RECVORIGDSTADDR`: the local address and the port that datagrams were sent to, which need not
/// be the socket's. No rights are needed.
pub(crate) fn tell_original(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVORIGDSTADDR,
            &1i32,
        )
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, &1i32)
    }
}

/// `IP_RECVTOS`, `IPV6_RECVTCLASS`: datagrams come with their congestion marks.
pub(crate) fn tell_ecn(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, &1i32)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, &1i32)
    }
}

/// A receive buffer beyond `net.core.rmem_max`, with `CAP_NET_ADMIN`; without it, up to that.
pub(crate) fn receive_buffer(socket: BorrowedFd<'_>, bytes: i32) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
        .or_else(|_| set(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
}

/// `SO_ATTACH_REUSEPORT_CBPF` (Linux 4.5): the program's result is the index of the group's socket that gets a datagram.
pub(crate) fn steer(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, program)
}

/// `SO_ATTACH_FILTER`: the program's result is how many bytes are kept of a datagram, 0 drops it.
pub(crate) fn filter(socket: BorrowedFd<'_>, program: &[libc::sock_filter]) -> io::Result<()> {
    attach(socket, libc::SO_ATTACH_FILTER, program)
}

/// `SO_DETACH_FILTER`.
pub(crate) fn unfilter(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0i32)
}

fn attach(
    socket: BorrowedFd<'_>,
    option: libc::c_int,
    program: &[libc::sock_filter],
) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as libc::c_ushort,
        // The kernel copies the program and writes nothing.
        filter: program.as_ptr().cast_mut(),
    };
    set(socket, libc::SOL_SOCKET, option, &program)
}

fn set<T>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes of `value`, which every caller makes the option's own structure.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn get<T: Copy>(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    mut value: T,
) -> io::Result<T> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `value`, which is that large; every caller passes integers.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Datagrams that found this socket's receive buffer full, ever (`SO_MEMINFO`, Linux 4.12).
pub(crate) fn dropped(socket: BorrowedFd<'_>) -> io::Result<u32> {
    /// `SK_MEMINFO_DROPS` of linux/sock_diag.h, and the number of values.
    const DROPS: usize = 8;
    let values = get(
        socket,
        libc::SOL_SOCKET,
        libc::SO_MEMINFO,
        [0u32; DROPS + 1],
    )?;
    Ok(values[DROPS])
}

/// The MTU of a connected socket's path, as far as it is known.
pub(crate) fn path_mtu(socket: BorrowedFd<'_>, ipv6: bool) -> io::Result<usize> {
    let (level, option) = if ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU)
    };
    get(socket, level, option, 0i32).map(|mtu| usize::try_from(mtu).unwrap_or(0))
}
