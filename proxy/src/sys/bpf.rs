//! `bpf(2)`, as much of it as steering by `sk_lookup` needs: maps, one program, one link. No library: the program is a table of
//! some forty instructions ([`crate::ranges`]), and a loader would bring a compiler or a parser for it.
//!
//! Everything made here is a descriptor that is closed on exec and goes with the process; nothing is pinned.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands, kinds and flags of linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const PROG_LOAD: libc::c_long = 5;
const LINK_CREATE: libc::c_long = 28;
const LPM_TRIE: u32 = 11;
const SOCKMAP: u32 = 15;
const NO_PREALLOC: u32 = 1;
const PROG_TYPE_SK_LOOKUP: u32 = 30;
const ATTACH_SK_LOOKUP: u32 = 36;

/// Names in the kernel's lists (`bpftool`).
type Name = [u8; 16];

/// One instruction (`struct bpf_insn`, on a little-endian machine).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// The destination in the lower half, the source in the upper one.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

/// A map with keys of `K` bytes and values of `V` bytes.
pub(crate) struct Map<const K: usize, const V: usize>(OwnedFd);

#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    numa_node: u32,
    name: Name,
}

#[repr(C)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: Name,
    interface: u32,
    attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
}

impl<const K: usize, const V: usize> Map<K, V> {
    /// A trie of the longest prefix; the first four bytes of a key are the length of its prefix in bits.
    pub(crate) fn longest_prefix(name: &Name, max_entries: u32) -> io::Result<Self> {
        Self::create(LPM_TRIE, NO_PREALLOC, name, max_entries)
    }

    fn create(kind: u32, flags: u32, name: &Name, max_entries: u32) -> io::Result<Self> {
        let attributes = MapCreate {
            kind,
            key_size: K as u32,
            value_size: V as u32,
            max_entries,
            flags,
            inner: 0,
            numa_node: 0,
            name: *name,
        };
        // SAFETY: the attributes are this command's, and hold no pointers.
        unsafe { made(bpf(MAP_CREATE, &attributes)) }.map(Self)
    }

    /// Writes an entry, a new one or another value.
    pub(crate) fn put(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        let attributes = MapElement {
            map: raw(self.as_fd()),
            padding: 0,
            key: key.as_ptr() as u64,
            value: value.as_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the kernel reads K bytes of the key and V bytes of the value, as the map was made, and both are that long.
        unsafe { done(bpf(MAP_UPDATE_ELEM, &attributes)) }
    }

    /// Removes an entry.
    pub(crate) fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        let attributes = MapElement {
            map: raw(self.as_fd()),
            padding: 0,
            key: key.as_ptr() as u64,
            value: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads K bytes of the key, as the map was made, and it is that long.
        unsafe { done(bpf(MAP_DELETE_ELEM, &attributes)) }
    }
}

impl Map<4, 4> {
    /// Sockets by number. Values are written as descriptors; a socket that is closed everywhere leaves by itself.
    pub(crate) fn sockets(name: &Name, max_entries: u32) -> io::Result<Self> {
        Self::create(SOCKMAP, 0, name, max_entries)
    }
}

impl<const K: usize, const V: usize> AsFd for Map<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Loads a program that chooses sockets (Linux 5.9). Needs `CAP_BPF` and `CAP_NET_ADMIN`. The kernel checks it: a program that it does not
/// take is an error, never a risk.
pub(crate) fn load_sk_lookup(instructions: &[Instruction], name: &Name) -> io::Result<OwnedFd> {
    let attributes = ProgLoad {
        kind: PROG_TYPE_SK_LOOKUP,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *name,
        interface: 0,
        attach_type: ATTACH_SK_LOOKUP,
    };
    // SAFETY: the kernel reads `count` instructions and the licence's string, which live until the call returns; there is no log.
    unsafe { made(bpf(PROG_LOAD, &attributes)) }
}

/// Attaches a program to a network namespace for as long as the link is held.
pub(crate) fn attach(program: BorrowedFd<'_>, network: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program: raw(program),
        target: raw(network),
        attach_type: ATTACH_SK_LOOKUP,
        flags: 0,
    };
    // SAFETY: the attributes are this command's, and hold no pointers.
    unsafe { made(bpf(LINK_CREATE, &attributes)) }
}

/// # Safety
/// `attributes` are the command's, with trailing fields left out as the kernel allows; pointers in them are good for the call.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> libc::c_long {
    // SAFETY: as the caller promises; the kernel reads `size_of::<T>()` bytes.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    }
}

/// # Safety
/// `result` is of a call that gives a new descriptor.
unsafe fn made(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us, and to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// As the attributes carry it.
fn raw(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd() as u32
}
