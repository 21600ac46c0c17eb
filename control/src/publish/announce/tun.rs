//! One system call that Rust cannot check: a TUN interface is made by an `ioctl` on `/dev/net/tun` and lives as long as the descriptor, or a
//! copy of it in a successor, is open. Nobody reads from it: it is there to carry addresses.

#![expect(unsafe_code, reason = "TUNSETIFF has no safe wrapper")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// The first part of the kernel's `struct ifreq`, as TUNSETIFF reads it (linux/if.h), padded to its size.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Makes the interface. Needs CAP_NET_ADMIN.
pub(super) fn create(name: &str) -> io::Result<OwnedFd> {
    let tun: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
        rest: [0; 22],
    };
    // The last byte stays zero.
    for (to, from) in request.name[..libc::IFNAMSIZ - 1]
        .iter_mut()
        .zip(name.bytes())
    {
        *to = from;
    }
    // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`, which `request` is, for the time of the call.
    let made = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(tun.into())
}

const _: () = assert!(std::mem::size_of::<Request>() == std::mem::size_of::<libc::ifreq>());
