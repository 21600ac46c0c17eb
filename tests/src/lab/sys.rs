//! What the lab asks of the kernel and no library wraps: a network namespace for one thread, TUN interfaces, and a turn on the processor.
//! Safe to call: what is passed by pointer is made here, for one call.
#![expect(
    unsafe_code,
    reason = "unshare, the ioctls of TUN and the scheduling class"
)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::ioctl::{self, IntegerSetter, Opcode, Setter};
use rustix::thread::UnshareFlags;

// linux/if_tun.h, whose numbers are the same on every architecture with the generic ioctl encoding.
const TUNSETIFF: Opcode = 0x4004_54ca;
const TUNSETOFFLOAD: Opcode = 0x4004_54d0;
const TUNSETCARRIER: Opcode = 0x4004_54e2;
const IFF_TUN: i16 = 0x0001;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;
const TUN_F_CSUM: usize = 0x01;
const TUN_F_TSO: usize = 0x02 | 0x04 | 0x08;
const TUN_F_USO: usize = 0x20 | 0x40;

/// An interface's name has room for 15 bytes and a NUL.
pub(crate) const LONGEST_NAME: usize = 15;

/// `struct ifreq` as `TUNSETIFF` reads it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; LONGEST_NAME + 1],
    flags: i16,
    rest: [u8; 22],
}

/// Gives the calling thread, and what it starts, a network namespace of its own. It vanishes with the last of them.
pub(crate) fn enter_new_network() -> io::Result<()> {
    // SAFETY: unsharing the network leaves the table of descriptors and memory alone, which is what can make unshare unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    Ok(())
}

/// Makes a TUN interface in the calling thread's namespace; it lives as long as the descriptor. Frames carry a `virtio_net_hdr`, so
/// that the kernel may pass segments whole and checksums undone.
pub(crate) fn open_tun(name: &str) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} cannot name an interface"),
        ));
    }
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let tun = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    let mut request = InterfaceRequest {
        name: [0; LONGEST_NAME + 1],
        flags: IFF_TUN | IFF_NO_PI | IFF_VNET_HDR,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads a struct ifreq, and InterfaceRequest has its size and layout.
    unsafe { ioctl::ioctl(&tun, Setter::<TUNSETIFF, InterfaceRequest>::new(request))? };
    Ok(tun)
}

/// Whether the kernel may hand over segments larger than the wire carries.
pub(crate) fn set_offload(tun: BorrowedFd<'_>, whole_segments: bool) -> io::Result<()> {
    let offload = if whole_segments {
        TUN_F_CSUM | TUN_F_TSO | TUN_F_USO
    } else {
        TUN_F_CSUM
    };
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    unsafe { ioctl::ioctl(tun, IntegerSetter::<TUNSETOFFLOAD>::new_usize(offload))? };
    Ok(())
}

/// Light on the fibre, or none.
pub(crate) fn set_carrier(tun: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: TUNSETCARRIER reads an int.
    unsafe { ioctl::ioctl(tun, Setter::<TUNSETCARRIER, c_int>::new(on.into()))? };
    Ok(())
}

/// Lets the calling thread run before ordinary ones. Needs the right; without it delays are as exact as the machine is idle.
pub(crate) fn run_ahead() {
    let parameter = libc::sched_param { sched_priority: 10 };
    // SAFETY: sched_setscheduler reads one sched_param; 0 is the calling thread.
    unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_RR | libc::SCHED_RESET_ON_FORK,
            &raw const parameter,
        );
    }
}

/// The calling thread's network namespace, as a path that other processes can open while the thread lives.
pub(crate) fn network_path() -> std::path::PathBuf {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    format!("/proc/{}/task/{thread}/ns/net", std::process::id()).into()
}

/// Reads a frame; `None` when there is none.
pub(crate) fn read_frame(tun: impl AsFd, buffer: &mut [u8]) -> Option<usize> {
    rustix::io::read(tun, buffer).ok()
}
