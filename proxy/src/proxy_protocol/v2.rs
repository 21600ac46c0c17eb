//! Version 2: a binary block with type-length-value vectors (TLVs) behind the addresses.

use std::net::{IpAddr, SocketAddr};

use portolan_config::address::canonical;
use portolan_config::model::Protocol;

use super::{Decoded, MAX_V2_LEN, SameFamily, agrees};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_LEN: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const TYPE_CRC32C: u8 = 0x03;
const TYPE_NOOP: u8 = 0x04;
const TYPE_UNIQUE_ID: u8 = 0x05;
/// The specification, 2.2.5.
const MAX_UNIQUE_ID_LEN: usize = 128;

/// Reads a header; its first byte is a carriage return.
pub(super) fn decode(bytes: &[u8]) -> Decoded<'_> {
    if !agrees(bytes, SIGNATURE) {
        return Decoded::Malformed("version 2: wrong signature");
    }
    let command = bytes.get(12).copied();
    if !matches!(command, None | Some(LOCAL | PROXY)) {
        return Decoded::Malformed("version 2: unknown version or command");
    }
    // Of a LOCAL header even the family is to be ignored; everything else must be one that the specification names.
    let shape = match (command, bytes.get(13)) {
        (Some(PROXY), Some(&family)) => match Shape::of(family) {
            Some(shape) => shape,
            None => return Decoded::Malformed("version 2: unknown family or transport"),
        },
        _ => Shape::Skipped,
    };
    let Some(&[high, low]) = bytes.get(14..FIXED_LEN) else {
        return Decoded::Incomplete;
    };
    let rest_len = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_LEN + rest_len > MAX_V2_LEN {
        return Decoded::Malformed("version 2: longer than 4096 bytes");
    }
    if rest_len < shape.addresses_len() {
        return Decoded::Malformed("version 2: too short for its addresses");
    }
    match bytes.get(..FIXED_LEN + rest_len) {
        None => Decoded::Incomplete,
        Some(header) => decode_whole(header, shape),
    }
}

fn decode_whole(header: &[u8], shape: Shape) -> Decoded<'_> {
    let (block, tlvs) = header[FIXED_LEN..].split_at(shape.addresses_len());
    let (addresses, tlvs) = match shape {
        Shape::V4 => (addresses::<4>(block), tlvs),
        Shape::V6 => (addresses::<16>(block), tlvs),
        Shape::Unix => (None, tlvs),
        Shape::Skipped => (None, [].as_slice()),
    };
    let mut value_at = header.len() - tlvs.len();
    for tlv in Tlvs(tlvs) {
        value_at += 3;
        match tlv.and_then(|tlv| check(tlv, value_at, header).map(|()| tlv.value.len())) {
            Ok(len) => value_at += len,
            Err(what) => return Decoded::Malformed(what),
        }
    }
    Decoded::Header {
        len: header.len(),
        addresses,
        tlvs,
    }
}

/// How the block behind the fixed part is laid out.
#[derive(Clone, Copy)]
enum Shape {
    V4,
    V6,
    Unix,
    /// Of unknown layout, and to be ignored as a whole.
    Skipped,
}

impl Shape {
    /// From the byte of family and transport. The transport is the original connection's and need not be the one that
    /// carries the header: a datagram's addresses are as good as a stream's.
    fn of(family: u8) -> Option<Self> {
        match (family >> 4, family & 0x0f) {
            (0, 0..=2) | (1..=3, 0) => Some(Shape::Skipped),
            (1, 1 | 2) => Some(Shape::V4),
            (2, 1 | 2) => Some(Shape::V6),
            (3, 1 | 2) => Some(Shape::Unix),
            _ => None,
        }
    }

    fn addresses_len(self) -> usize {
        match self {
            Shape::V4 => 12,
            Shape::V6 => 36,
            Shape::Unix => 216,
            Shape::Skipped => 0,
        }
    }
}

/// Two addresses of `N` bytes and two ports.
fn addresses<const N: usize>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let address = |ip: &[u8; N], port: &[u8; 2]| {
        canonical(SocketAddr::new(
            IpAddr::from(*ip),
            u16::from_be_bytes(*port),
        ))
    };
    Some((
        address(source, source_port),
        address(destination, destination_port),
    ))
}

#[derive(Clone, Copy)]
struct Tlv<'a> {
    kind: u8,
    value: &'a [u8],
}

/// Walks TLVs; the first one that overruns its block is an error and the last item.
struct Tlvs<'a>(&'a [u8]);

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, _) = self.0.split_first()?;
        let len = self
            .0
            .get(1..3)
            .map(|len| usize::from(u16::from_be_bytes([len[0], len[1]])));
        let Some((whole, rest)) = len.and_then(|len| self.0.split_at_checked(3 + len)) else {
            self.0 = &[];
            return Some(Err("version 2: a TLV that overruns the header"));
        };
        self.0 = rest;
        Some(Ok(Tlv {
            kind,
            value: &whole[3..],
        }))
    }
}

fn check(tlv: Tlv<'_>, value_at: usize, header: &[u8]) -> Result<(), &'static str> {
    match tlv.kind {
        TYPE_CRC32C => {
            let said = tlv.value.try_into().map(u32::from_be_bytes);
            let said = said.map_err(|_| "version 2: a checksum that is not four bytes")?;
            // The field itself counts as zeros.
            let parts = [&header[..value_at], &[0; 4], &header[value_at + 4..]];
            (crc32c(&parts) == said)
                .then_some(())
                .ok_or("version 2: wrong checksum")
        }
        TYPE_UNIQUE_ID if tlv.value.len() > MAX_UNIQUE_ID_LEN => {
            Err("version 2: a unique id over 128 bytes")
        }
        _ => Ok(()),
    }
}

/// CRC-32C (Castagnoli, reflected), as RFC 4960 appendix B has it.
pub(super) fn crc32c(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().copied().flatten();
    !bytes.fold(!0, |crc, byte| {
        (crc >> 8) ^ CRC32C[usize::from(crc as u8 ^ byte)]
    })
}

const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// Appends a version 2 header.
///
/// Addresses of two families are written as IPv6, the IPv4 one mapped. Of `passed_tlvs` (what [`super::decode`] gave) padding and
/// checksum are left out, the checksum because it was that of another header. A unique id among them is kept and wins over `unique_id`:
/// it exists to be the same on every hop. What would carry the header over [`MAX_V2_LEN`] is left out, as is a `unique_id` over 128 bytes.
pub fn encode(
    source: SocketAddr,
    destination: SocketAddr,
    protocol: Protocol,
    unique_id: Option<&[u8]>,
    passed_tlvs: &[u8],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let transport = match protocol {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
    };
    out.extend_from_slice(SIGNATURE);
    match SameFamily::new(source, destination) {
        SameFamily::V4(source, destination) => {
            out.extend_from_slice(&[PROXY, 0x10 | transport, 0, 0]);
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
        }
        SameFamily::V6(source, destination) => {
            out.extend_from_slice(&[PROXY, 0x20 | transport, 0, 0]);
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());

    let passed = || Tlvs(passed_tlvs).map_while(Result::ok);
    let mut write_tlv = |kind: u8, value: &[u8]| {
        if out.len() - start + 3 + value.len() <= MAX_V2_LEN {
            out.push(kind);
            out.extend_from_slice(&(value.len() as u16).to_be_bytes());
            out.extend_from_slice(value);
        }
    };
    match unique_id {
        Some(id)
            if id.len() <= MAX_UNIQUE_ID_LEN && passed().all(|tlv| tlv.kind != TYPE_UNIQUE_ID) =>
        {
            write_tlv(TYPE_UNIQUE_ID, id);
        }
        _ => {}
    }
    for tlv in passed().filter(|tlv| !matches!(tlv.kind, TYPE_CRC32C | TYPE_NOOP)) {
        write_tlv(tlv.kind, tlv.value);
    }
    let rest_len = (out.len() - start - FIXED_LEN) as u16;
    out[start + 14..start + FIXED_LEN].copy_from_slice(&rest_len.to_be_bytes());
}
