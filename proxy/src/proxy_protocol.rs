//! The PROXY protocol, versions 1 and 2: who the client really is, said in front of the first byte. Called by accept (reading)
//! and by connect (writing). Pure: bytes in, bytes out; it never waits, and never allocates when it reads.
//!
//! Source: <https://www.haproxy.org/download/3.3/doc/proxy-protocol.txt>, named "the specification" below.
//!
//! Why our own code and not `proxy-header`: that crate takes `+80`, `080` and lines over 107 bytes, does not look at the byte after
//! `PROXY`, refuses a LOCAL header of an unknown family, leaves the checksum alone, and answers "too short" to garbage until 15 bytes came,
//! where a client that speaks another protocol should be let go at its first byte. It reads everything that we write, in the tests.

mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use portolan_config::address::canonical;
pub use v2::encode as encode_v2;

/// The longest line of version 1, CRLF included (the specification, 2.1).
pub const MAX_V1_LEN: usize = 107;

/// The longest header of version 2 that is read or written. The specification allows 65,551 bytes; real ones have some hundred, and nginx
/// draws its line here, too.
pub const MAX_V2_LEN: usize = 4096;

/// What the first bytes of a connection, or a datagram, are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// They begin a header, and more are needed to know.
    Incomplete,
    /// They hold a header.
    Header {
        /// Its length; what follows is the client's.
        len: usize,
        /// Source and destination of the original connection, IPv4-mapped addresses as the IPv4 addresses that they are.
        /// `None` (LOCAL, UNKNOWN, UNSPEC, UNIX) means the connection's own.
        addresses: Option<(SocketAddr, SocketAddr)>,
        /// The type-length-value vectors of version 2 as they came: their framing is valid, their checksum, if there is one, right.
        tlvs: &'a [u8],
    },
    /// They are no header, whatever may follow. The text says what is wrong.
    Malformed(&'static str),
}

/// Reads a header of either version from the start of `bytes`.
///
/// Every proper prefix of a header is [`Decoded::Incomplete`], the empty one included, and no more than [`MAX_V2_LEN`] bytes ever are.
pub fn decode(bytes: &[u8]) -> Decoded<'_> {
    match bytes.first() {
        None => Decoded::Incomplete,
        Some(b'P') => v1::decode(bytes),
        Some(b'\r') => v2::decode(bytes),
        Some(_) => Decoded::Malformed("neither version begins like this"),
    }
}

/// Appends a version 1 line. Addresses of two families are written as `TCP6`, the IPv4 one mapped.
pub fn encode_v1(source: SocketAddr, destination: SocketAddr, out: &mut Vec<u8>) {
    v1::encode(SameFamily::new(source, destination), out);
}

/// Whether `bytes` and `whole` agree as far as both go.
fn agrees(bytes: &[u8], whole: &[u8]) -> bool {
    bytes
        .iter()
        .zip(whole)
        .all(|(byte, expected)| byte == expected)
}

/// Source and destination in one family, as both versions need them.
#[derive(Clone, Copy, Debug)]
enum SameFamily {
    V4(std::net::SocketAddrV4, std::net::SocketAddrV4),
    V6(std::net::SocketAddrV6, std::net::SocketAddrV6),
}

impl SameFamily {
    fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        match (canonical(source), canonical(destination)) {
            (SocketAddr::V4(source), SocketAddr::V4(destination)) => Self::V4(source, destination),
            (source, destination) => Self::V6(mapped(source), mapped(destination)),
        }
    }
}

fn mapped(address: SocketAddr) -> std::net::SocketAddrV6 {
    match address {
        SocketAddr::V6(v6) => v6,
        SocketAddr::V4(v4) => {
            std::net::SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)
        }
    }
}
