//! The `sk_lookup` program, as instructions: what the kernel runs for each connection and each datagram of no connected socket, before
//! it looks for a listening socket itself.
//!
//! ```text
//! key = prefix length, protocol and family, local address, local port
//! at  = ranges[key]                     the longest prefix: a port, or a power of two of ports
//! at  = ranges[key of the wildcard]     where the address has no entry
//! socket = sockets[at]
//! if socket: assign it                  the kernel then chooses within its SO_REUSEPORT group
//! pass                                  without a socket to the ordinary lookup
//! ```
//!
//! An entry whose number is no socket's ([`super::table::LEFT`]) passes to the ordinary lookup: that is how ports are left to others.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::table::KEY;
use crate::sys::bpf::{self, Instruction, Map};

/// Registers.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const CONTEXT: u8 = 6;
const FAMILY: u8 = 7;
const SOCKET: u8 = 7;
const KIND: u8 = 8;
const STACK: u8 = 10;

/// Offsets in `struct bpf_sk_lookup` of linux/bpf.h.
const CONTEXT_FAMILY: i16 = 8;
const CONTEXT_PROTOCOL: i16 = 12;
const CONTEXT_LOCAL_IP4: i16 = 40;
const CONTEXT_LOCAL_IP6: i16 = 44;
const CONTEXT_LOCAL_PORT: i16 = 60;

/// Where the key lies on the stack, and its fields: as [`super::table::key`] writes them.
const AT: i16 = -32;
const AT_KIND: i16 = AT + 4;
const AT_ADDRESS: i16 = AT + 8;
const AT_PORT: i16 = AT + 24;

/// Helpers.
const MAP_LOOKUP_ELEM: i32 = 1;
const SK_RELEASE: i32 = 86;
const SK_ASSIGN: i32 = 124;

/// Go on: with the socket that was assigned, or with the ordinary lookup.
const SK_PASS: i32 = 1;

/// Stand for the maps until they are there.
const RANGES: i32 = -1;
const SOCKETS: i32 = -2;
/// The source "register" of an instruction whose immediate is a map's descriptor.
const MAP: u8 = 1;

#[rustfmt::skip]
const PROGRAM: [Instruction; 54] = [
    copy(CONTEXT, R1),
    load(FAMILY, CONTEXT, CONTEXT_FAMILY),
    load(KIND, CONTEXT, CONTEXT_PROTOCOL),
    operate(0x67, KIND, 16),                             // KIND <<= 16
    instruction(0x4f, KIND, FAMILY, 0, 0),               // KIND |= FAMILY
    // The key.
    instruction(0x62, STACK, 0, AT, (KEY as i32 - 4) * 8),
    store(KIND, AT_KIND),
    clear(AT_ADDRESS),
    clear(AT_ADDRESS + 8),
    instruction(0x62, STACK, 0, AT_PORT, 0),
    load(R1, CONTEXT, CONTEXT_LOCAL_PORT),
    operate(0xdc, R1, 16),                               // to the network's byte order
    instruction(0x6b, STACK, R1, AT_PORT, 0),
    instruction(0x15, FAMILY, 0, 3, libc::AF_INET6),
    load(R1, CONTEXT, CONTEXT_LOCAL_IP4),
    store(R1, AT_ADDRESS),
    go(8),
    load(R1, CONTEXT, CONTEXT_LOCAL_IP6),
    store(R1, AT_ADDRESS),
    load(R1, CONTEXT, CONTEXT_LOCAL_IP6 + 4),
    store(R1, AT_ADDRESS + 4),
    load(R1, CONTEXT, CONTEXT_LOCAL_IP6 + 8),
    store(R1, AT_ADDRESS + 8),
    load(R1, CONTEXT, CONTEXT_LOCAL_IP6 + 12),
    store(R1, AT_ADDRESS + 12),
    // The address's own entry.
    instruction(0x18, R1, MAP, 0, RANGES), SECOND_HALF,
    copy(R2, STACK),
    operate(0x07, R2, AT as i32),
    call(MAP_LOOKUP_ELEM),
    instruction(0x55, R0, 0, 8, 0),
    // The wildcard's.
    clear(AT_ADDRESS),
    clear(AT_ADDRESS + 8),
    instruction(0x18, R1, MAP, 0, RANGES), SECOND_HALF,
    copy(R2, STACK),
    operate(0x07, R2, AT as i32),
    call(MAP_LOOKUP_ELEM),
    instruction(0x15, R0, 0, 15, 0),
    // The socket.
    load(R1, R0, 0),
    store(R1, AT),
    instruction(0x18, R1, MAP, 0, SOCKETS), SECOND_HALF,
    copy(R2, STACK),
    operate(0x07, R2, AT as i32),
    call(MAP_LOOKUP_ELEM),
    instruction(0x15, R0, 0, 7, 0),
    copy(SOCKET, R0),
    copy(R1, CONTEXT),
    copy(R2, SOCKET),
    operate(0xb7, R3, 0),
    call(SK_ASSIGN),
    copy(R1, SOCKET),
    call(SK_RELEASE),
];

/// What both ways of the program end with.
const END: [Instruction; 2] = [operate(0xb7, R0, SK_PASS), instruction(0x95, 0, 0, 0, 0)];

/// The second half of a 64-bit immediate.
const SECOND_HALF: Instruction = instruction(0, 0, 0, 0, 0);

/// Loads the program over its maps.
pub(super) fn loaded(ranges: &Map<KEY, 4>, sockets: &Map<4, 4>) -> io::Result<OwnedFd> {
    let descriptor = |map: BorrowedFd<'_>| map.as_raw_fd();
    let (ranges, sockets) = (descriptor(ranges.as_fd()), descriptor(sockets.as_fd()));
    let instructions: Vec<Instruction> = PROGRAM
        .iter()
        .chain(&END)
        .map(
            |instruction| match (instruction.code, instruction.immediate) {
                (0x18, RANGES) => Instruction {
                    immediate: ranges,
                    ..*instruction
                },
                (0x18, SOCKETS) => Instruction {
                    immediate: sockets,
                    ..*instruction
                },
                _ => *instruction,
            },
        )
        .collect();
    bpf::load_sk_lookup(&instructions, b"portolan_ranges\0")
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    }
}

/// An operation with a constant.
const fn operate(code: u8, to: u8, constant: i32) -> Instruction {
    instruction(code, to, 0, 0, constant)
}

const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

/// Reads a word.
const fn load(to: u8, from: u8, offset: i16) -> Instruction {
    instruction(0x61, to, from, offset, 0)
}

/// Writes a word to the stack.
const fn store(from: u8, offset: i16) -> Instruction {
    instruction(0x63, STACK, from, offset, 0)
}

/// Writes eight zeros to the stack.
const fn clear(offset: i16) -> Instruction {
    instruction(0x7a, STACK, 0, offset, 0)
}

const fn go(offset: i16) -> Instruction {
    instruction(0x05, 0, 0, offset, 0)
}

const fn call(helper: i32) -> Instruction {
    instruction(0x85, 0, 0, 0, helper)
}
