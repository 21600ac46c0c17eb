//! Version 1: one line of text. Strict, because the specification asks to drop what does not match it exactly.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan_config::address::canonical;

use super::{Decoded, MAX_V1_LEN, SameFamily, agrees};

/// Reads a line; its first byte is `P`.
pub(super) fn decode(bytes: &[u8]) -> Decoded<'_> {
    let mut kind = None;
    for (word, of_kind) in [
        (b"PROXY TCP4 ".as_slice(), Kind::Tcp4),
        (b"PROXY TCP6 ", Kind::Tcp6),
        (b"PROXY UNKNOWN ", Kind::Unknown),
        (b"PROXY UNKNOWN\r\n", Kind::Unknown),
    ] {
        if !agrees(bytes, word) {
            continue;
        }
        if bytes.len() < word.len() {
            return Decoded::Incomplete;
        }
        kind = Some((of_kind, word.len()));
    }
    let Some((kind, start)) = kind else {
        return Decoded::Malformed("version 1: not PROXY followed by TCP4, TCP6 or UNKNOWN");
    };
    let line = &bytes[..bytes.len().min(MAX_V1_LEN)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return without_end(kind, &line[start..], bytes.len());
    };
    let addresses = match kind {
        // The rest of the line is to be ignored, whatever it is.
        Kind::Unknown => None,
        Kind::Tcp4 | Kind::Tcp6 => match addresses(kind, &line[start..end]) {
            Some((source, destination)) => Some((canonical(source), canonical(destination))),
            None => return Decoded::Malformed("version 1: not two addresses and two ports"),
        },
    };
    Decoded::Header {
        len: end + 2,
        addresses,
        tlvs: &[],
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp4,
    Tcp6,
    Unknown,
}

/// A line whose CRLF has not come: wait for it only while it may still.
fn without_end(kind: Kind, rest: &[u8], len: usize) -> Decoded<'static> {
    if len >= MAX_V1_LEN {
        return Decoded::Malformed("version 1: no end of line within 107 bytes");
    }
    let text = rest.strip_suffix(b"\r").unwrap_or(rest);
    let may_follow = |byte: &u8| byte.is_ascii_hexdigit() || b":. ".contains(byte);
    match kind {
        Kind::Tcp4 | Kind::Tcp6 if !text.iter().all(may_follow) => {
            Decoded::Malformed("version 1: a byte that no address or port has")
        }
        Kind::Tcp4 | Kind::Tcp6 | Kind::Unknown => Decoded::Incomplete,
    }
}

fn addresses(kind: Kind, text: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let mut ip = || {
        let word = words.next()?;
        match kind {
            Kind::Tcp4 => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Kind::Tcp6 => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            Kind::Unknown => None,
        }
    };
    let (source, destination) = (ip()?, ip()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    Some((
        SocketAddr::new(source, source_port),
        SocketAddr::new(destination, destination_port),
    ))
}

/// Digits alone and no leading zero: the standard library also takes `+80` and `080`.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = word.len() > 1 && word.starts_with('0');
    (plain && !leading_zero)
        .then(|| word.parse().ok())
        .flatten()
}

/// Appends a line.
pub(super) fn encode(addresses: SameFamily, out: &mut Vec<u8>) {
    let written = match addresses {
        SameFamily::V4(source, destination) => write!(
            out,
            "PROXY TCP4 {} {} {} {}\r\n",
            source.ip(),
            destination.ip(),
            source.port(),
            destination.port()
        ),
        SameFamily::V6(source, destination) => write!(
            out,
            "PROXY TCP6 {} {} {} {}\r\n",
            HexGroups(source.ip()),
            HexGroups(destination.ip()),
            source.port(),
            destination.port()
        ),
    };
    written.expect("writing to a Vec cannot fail");
}

/// An IPv6 address without dots: the specification knows groups of hexadecimal digits only, the standard library writes mapped
/// addresses as `::ffff:192.0.2.1`.
struct HexGroups<'a>(&'a Ipv6Addr);

impl std::fmt::Display for HexGroups<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.0.to_ipv4_mapped(), self.0.segments()) {
            (Some(_), [.., high, low]) => write!(f, "::ffff:{high:x}:{low:x}"),
            (None, _) => write!(f, "{}", self.0),
        }
    }
}
