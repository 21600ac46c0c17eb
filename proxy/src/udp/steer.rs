//! Which worker gets a datagram: a classic BPF program over the sender's address and port, so that all datagrams of a flow meet one
//! worker, whatever is reloaded meanwhile. It needs no rights. The kernel runs it at the UDP header of each datagram, fragments put
//! together.
//!
//! The kernel's own hash over the sockets of a group is not enough: it moves flows when a socket joins or leaves. Nor is the hash that the
//! device left on the packet: on loopback and on some devices there is none.

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_MOD,
    BPF_MSH, BPF_MUL, BPF_RET, BPF_RSH, BPF_TAX, BPF_W, BPF_X, BPF_XOR, sock_filter,
};

/// Loads from here on are relative to the network header (`SKF_NET_OFF` of linux/filter.h).
const NETWORK: u32 = 0xfff0_0000;

/// Offsets in an IPv6 header.
const NEXT_HEADER: u32 = 6;
const SOURCE_V6: u32 = 8;
const HEADER_V6: u32 = 40;
/// Of the source in an IPv4 header.
const SOURCE_V4: u32 = 12;

const UDP: u32 = libc::IPPROTO_UDP as u32;

/// The constants of MurmurHash3's finalizer and the golden ratio: every bit of the input changes half of those of the result.
const GOLDEN: u32 = 0x9e37_79b1;
const FIRST: u32 = 0x85eb_ca6b;
const SECOND: u32 = 0xc2b2_ae35;

/// The program that chooses one of `workers`. Nobody who does not know `salt` can tell which.
pub(crate) fn program(ipv6: bool, workers: u32, salt: u32) -> Vec<sock_filter> {
    let mut program = Vec::new();
    if ipv6 {
        // X holds what was folded so far.
        program.push(op(BPF_LD | BPF_W | BPF_ABS, NETWORK + SOURCE_V6));
        for word in 1..4 {
            program.extend(multiply_and_keep());
            program.push(op(BPF_LD | BPF_W | BPF_ABS, NETWORK + SOURCE_V6 + 4 * word));
            program.push(op(BPF_ALU | BPF_XOR | BPF_X, 0));
        }
        program.extend(multiply_and_keep());
        // Behind an extension header the port is not where it is looked for: such a sender is known by its address alone.
        program.push(op(BPF_LD | BPF_B | BPF_ABS, NETWORK + NEXT_HEADER));
        program.push(jump(BPF_JMP | BPF_JEQ | BPF_K, UDP, 0, 1));
        program.push(op(BPF_LD | BPF_H | BPF_ABS, NETWORK + HEADER_V6));
    } else {
        program.push(op(BPF_LD | BPF_W | BPF_ABS, NETWORK + SOURCE_V4));
        program.push(op(BPF_ALU | BPF_MUL | BPF_K, GOLDEN));
        program.push(op(BPF_ST, 0));
        // Options make the header longer; X is its length.
        program.push(op(BPF_LDX | BPF_B | BPF_MSH, NETWORK));
        program.push(op(BPF_LD | BPF_H | BPF_IND, NETWORK));
        program.push(op(BPF_LDX | BPF_MEM | BPF_W, 0));
    }
    program.push(op(BPF_ALU | BPF_XOR | BPF_X, 0));
    program.push(op(BPF_ALU | BPF_XOR | BPF_K, salt));
    for (shift, factor) in [(16, FIRST), (13, SECOND)] {
        program.extend(fold(shift));
        program.push(op(BPF_ALU | BPF_MUL | BPF_K, factor));
    }
    program.extend(fold(16));
    program.push(op(BPF_ALU | BPF_MOD | BPF_K, workers.max(1)));
    program.push(op(BPF_RET | BPF_A, 0));
    program
}

/// The program that keeps nothing.
pub(crate) fn closed() -> [sock_filter; 1] {
    [op(BPF_RET | BPF_K, 0)]
}

/// Not in libc.
const BPF_A: u32 = 0x10;
const BPF_MEM: u32 = 0x60;
const BPF_ST: u32 = 0x02;
const BPF_MISC: u32 = 0x07;

/// A *= golden ratio; X = A.
fn multiply_and_keep() -> [sock_filter; 2] {
    [
        op(BPF_ALU | BPF_MUL | BPF_K, GOLDEN),
        op(BPF_MISC | BPF_TAX, 0),
    ]
}

/// A ^= A >> shift.
fn fold(shift: u32) -> [sock_filter; 3] {
    [
        op(BPF_MISC | BPF_TAX, 0),
        op(BPF_ALU | BPF_RSH | BPF_K, shift),
        op(BPF_ALU | BPF_XOR | BPF_X, 0),
    ]
}

fn op(code: u32, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}
