//! Vectors, strictness, and the properties that accept relies on.

use std::net::{IpAddr, SocketAddr};

use portolan_config::address::canonical;
use portolan_config::model::Protocol;
use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxyHeader};

use super::{Decoded, MAX_V1_LEN, MAX_V2_LEN, decode, encode_v1, encode_v2};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = (block.len() as u16).to_be_bytes();
    [SIGNATURE, &[command, family], &len, block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = (value.len() as u16).to_be_bytes();
    [&[kind], len.as_slice(), value].concat()
}

const V4_BLOCK: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];

fn v4_pair() -> Option<(SocketAddr, SocketAddr)> {
    Some((addr("192.168.0.1:56324"), addr("192.168.0.11:443")))
}

fn header_of(bytes: &[u8]) -> (usize, Option<(SocketAddr, SocketAddr)>, Vec<u8>) {
    match decode(bytes) {
        Decoded::Header {
            len,
            addresses,
            tlvs,
        } => (len, addresses, tlvs.to_vec()),
        other @ (Decoded::Incomplete | Decoded::Malformed(_)) => {
            panic!("{other:?} for {:?}", bytes.escape_ascii().to_string())
        }
    }
}

fn assert_malformed(bytes: &[u8]) {
    let decoded = decode(bytes);
    assert!(
        matches!(decoded, Decoded::Malformed(_)),
        "{decoded:?} for {:?}",
        bytes.escape_ascii().to_string()
    );
}

#[test]
fn v1_examples_of_the_specification_are_read() {
    let request = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nGET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n";
    assert_eq!(header_of(request), (47, v4_pair(), vec![]));

    let longest_v4 = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    let broadcast = addr("255.255.255.255:65535");
    assert_eq!(
        header_of(longest_v4),
        (56, Some((broadcast, broadcast)), vec![])
    );

    let ones = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest_v6 = format!("PROXY TCP6 {ones} {ones} 65535 65535\r\n");
    let all_ones = addr(&format!("[{ones}]:65535"));
    assert_eq!(
        header_of(longest_v6.as_bytes()),
        (104, Some((all_ones, all_ones)), vec![])
    );

    assert_eq!(header_of(b"PROXY UNKNOWN\r\n"), (15, None, vec![]));
    let worst_case = format!("PROXY UNKNOWN {ones} {ones} 65535 65535\r\n");
    assert_eq!(header_of(worst_case.as_bytes()), (MAX_V1_LEN, None, vec![]));
}

#[test]
fn v1_is_read_strictly() {
    for line in [
        "PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.256 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 056324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 00\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 +5632 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 65536\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 \r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        "PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11  56324 443\r\n",
        "PROXY TCP4 ::1 ::1 56324 443\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP6 ::1 fe80::1%eth0 1 2\r\n",
        "PROXY TCP6 1::2::3 ::1 1 2\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\rX",
        "PROXY TCP5 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY  TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXYxTCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY tcp4 192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY UNKNOWN\n",
        "POST / HTTP/1.1\r\n",
    ] {
        assert_malformed(line.as_bytes());
    }
}

#[test]
fn v1_must_end_within_107_bytes() {
    let filled = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16));
    assert_eq!(header_of(filled(107).as_bytes()).0, 107);
    assert_malformed(filled(108).as_bytes());
    assert_eq!(decode(&filled(108).as_bytes()[..106]), Decoded::Incomplete);
    assert_malformed(&filled(108).as_bytes()[..107]);
}

#[test]
fn v2_of_every_family_is_read() {
    let v6_block = [[0x20; 16].as_slice(), &[0xfd; 16], &[0, 80, 1, 187]].concat();
    let v6_pair = Some((
        addr("[2020:2020:2020:2020:2020:2020:2020:2020]:80"),
        addr("[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:443"),
    ));
    for (command, family, block, expected) in [
        (0x21, 0x11, V4_BLOCK.as_slice(), v4_pair()),
        (0x21, 0x12, &V4_BLOCK, v4_pair()),
        (0x21, 0x21, &v6_block, v6_pair),
        (0x21, 0x22, &v6_block, v6_pair),
        (0x21, 0x31, &[b'/'; 216], None),
        (0x21, 0x32, &[b'/'; 216], None),
        (0x21, 0x00, &[], None),
        (0x21, 0x00, &[1, 2, 3, 4, 5], None),
        (0x21, 0x10, &V4_BLOCK, None),
        (0x21, 0x01, &V4_BLOCK, None),
        (0x20, 0x00, &[], None),
        (0x20, 0x11, &V4_BLOCK, None),
        (0x20, 0xff, &[9; 3], None),
    ] {
        let mut bytes = v2(command, family, block);
        let len = bytes.len();
        bytes.extend_from_slice(b"hello");
        assert_eq!(
            header_of(&bytes),
            (len, expected, vec![]),
            "{command:#x} {family:#x}"
        );
    }
}

#[test]
fn v2_is_read_strictly() {
    for bytes in [
        v2(0x11, 0x11, &V4_BLOCK),
        v2(0x31, 0x11, &V4_BLOCK),
        v2(0x22, 0x11, &V4_BLOCK),
        v2(0x21, 0x13, &V4_BLOCK),
        v2(0x21, 0x41, &V4_BLOCK),
        v2(0x21, 0x11, &V4_BLOCK[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x31, &[0; 215]),
        v2(0x20, 0x00, &vec![0; MAX_V2_LEN]),
        b"\r\n\r\n\0\r\nQUIX\n".to_vec(),
        b"\r\nGET / HTTP/1.1".to_vec(),
    ] {
        assert_malformed(&bytes);
    }
}

#[test]
fn nonsense_is_seen_as_early_as_it_can_be() {
    for first in 0..=u8::MAX {
        let byte = [first];
        let decoded = decode(&byte);
        match first {
            b'P' | b'\r' => assert_eq!(decoded, Decoded::Incomplete),
            _ => assert!(matches!(decoded, Decoded::Malformed(_)), "{first:#x}"),
        }
    }
    assert_malformed(b"PU");
    assert_malformed(b"PROXY TCP4 h");
    assert_malformed(&[SIGNATURE, &[0x11]].concat());
    assert_malformed(&[SIGNATURE, &[0x21, 0x55]].concat());
    // The length alone tells that the addresses will not fit, and that the header will be too long.
    assert_malformed(&[SIGNATURE, &[0x21, 0x11, 0, 11]].concat());
    assert_malformed(&[SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat());
}

#[test]
fn tlvs_are_checked_for_framing_and_handed_on_raw() {
    let tlvs = [
        tlv(0x01, b"h2"),
        tlv(0x04, &[0; 7]),
        tlv(0xea, &[]),
        tlv(0x05, &[7; 128]),
    ]
    .concat();
    let bytes = v2(0x21, 0x11, &[&V4_BLOCK, tlvs.as_slice()].concat());
    assert_eq!(header_of(&bytes), (bytes.len(), v4_pair(), tlvs));

    for broken in [
        vec![1],
        vec![1, 0],
        vec![1, 0, 1],
        tlv(0x05, &[7; 129]),
        tlv(0x03, &[0; 3]),
    ] {
        assert_malformed(&v2(0x21, 0x11, &[&V4_BLOCK, broken.as_slice()].concat()));
    }
}

#[test]
fn the_checksum_is_verified() {
    // The check value of CRC-32C that every catalogue prints.
    assert_eq!(super::v2::crc32c(&[b"1234", b"56789"]), 0xe306_9283);

    let with_checksum = |checksum: [u8; 4]| {
        let tlvs = [tlv(0x01, b"h2"), tlv(0x03, &checksum), tlv(0xea, b"x")].concat();
        v2(0x21, 0x11, &[&V4_BLOCK, tlvs.as_slice()].concat())
    };
    let right = super::v2::crc32c(&[&with_checksum([0; 4])]);
    assert_eq!(header_of(&with_checksum(right.to_be_bytes())).1, v4_pair());
    assert_malformed(&with_checksum((right ^ 1).to_be_bytes()));
}

#[test]
fn headers_are_written_as_the_specification_prints_them() {
    let mut out = Vec::new();
    let (source, destination) = v4_pair().unwrap();
    encode_v1(source, destination, &mut out);
    assert_eq!(out, b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");

    out.clear();
    encode_v2(source, destination, Protocol::Tcp, None, &[], &mut out);
    assert_eq!(out, v2(0x21, 0x11, &V4_BLOCK));

    out.clear();
    encode_v2(
        source,
        destination,
        Protocol::Udp,
        Some(b"id"),
        &[],
        &mut out,
    );
    assert_eq!(
        out,
        v2(0x21, 0x12, &[V4_BLOCK.as_slice(), &tlv(5, b"id")].concat())
    );
}

#[test]
fn two_families_are_written_as_mapped_ipv6_without_dots() {
    let mut out = Vec::new();
    encode_v1(addr("192.0.2.1:1"), addr("[2001:db8::1]:2"), &mut out);
    assert_eq!(out, b"PROXY TCP6 ::ffff:c000:201 2001:db8::1 1 2\r\n");

    // Two mapped addresses are two IPv4 addresses.
    out.clear();
    encode_v1(
        addr("[::ffff:192.0.2.1]:1"),
        addr("[::ffff:192.0.2.2]:2"),
        &mut out,
    );
    assert_eq!(out, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
}

#[test]
fn passed_tlvs_lose_padding_and_checksum_and_keep_their_unique_id() {
    let (source, destination) = v4_pair().unwrap();
    let passed = [
        tlv(3, &[1; 4]),
        tlv(0xe0, b"mine"),
        tlv(4, &[0; 9]),
        tlv(5, b"first hop"),
    ]
    .concat();
    let mut out = Vec::new();
    encode_v2(
        source,
        destination,
        Protocol::Tcp,
        Some(b"second hop"),
        &passed,
        &mut out,
    );
    assert_eq!(
        header_of(&out).2,
        [tlv(0xe0, b"mine"), tlv(5, b"first hop")].concat()
    );

    out.clear();
    encode_v2(
        source,
        destination,
        Protocol::Tcp,
        Some(&[1; 129]),
        &[],
        &mut out,
    );
    assert_eq!(out, v2(0x21, 0x11, &V4_BLOCK));
}

#[test]
fn what_does_not_fit_is_left_out() {
    let (source, destination) = v4_pair().unwrap();
    let passed = [
        tlv(0xe0, &[1; 3000]),
        tlv(0xe1, &[2; 2000]),
        tlv(0xe2, b"small"),
    ]
    .concat();
    let mut out = b"before".to_vec();
    encode_v2(source, destination, Protocol::Tcp, None, &passed, &mut out);
    assert_eq!(
        header_of(&out[6..]).2,
        [tlv(0xe0, &[1; 3000]), tlv(0xe2, b"small")].concat()
    );
}

fn any_addr() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|v4| IpAddr::from(std::net::Ipv4Addr::from(v4).to_ipv6_mapped())),
        any::<u16>().prop_map(|low| IpAddr::from(std::net::Ipv6Addr::from(u128::from(low)))),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

fn any_tlvs() -> impl Strategy<Value = Vec<u8>> {
    let one = (6..=u8::MAX, proptest::collection::vec(any::<u8>(), 0..60));
    proptest::collection::vec(one, 0..6).prop_map(|all| {
        all.iter()
            .flat_map(|(kind, value)| tlv(*kind, value))
            .collect()
    })
}

/// A header of ours, of either version, and what must be read from it.
fn any_header() -> impl Strategy<Value = (Vec<u8>, (SocketAddr, SocketAddr), Vec<u8>)> {
    (any_addr(), any_addr(), any_tlvs(), any::<bool>(), 0..3).prop_map(
        |(source, destination, tlvs, with_id, form)| {
            let mut bytes = Vec::new();
            let mut expected_tlvs = tlvs.clone();
            match form {
                0 => {
                    encode_v1(source, destination, &mut bytes);
                    expected_tlvs.clear();
                }
                form => {
                    let protocol = if form == 1 {
                        Protocol::Tcp
                    } else {
                        Protocol::Udp
                    };
                    let id = with_id.then_some(b"0123456789abcdef".as_slice());
                    encode_v2(source, destination, protocol, id, &tlvs, &mut bytes);
                    if let Some(id) = id {
                        expected_tlvs = [tlv(5, id), tlvs].concat();
                    }
                }
            }
            (
                bytes,
                (canonical(source), canonical(destination)),
                expected_tlvs,
            )
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read((bytes, addresses, tlvs) in any_header(), payload in any::<[u8; 8]>()) {
        let wire = [bytes.as_slice(), &payload].concat();
        prop_assert_eq!(header_of(&wire), (bytes.len(), Some(addresses), tlvs));
    }

    #[test]
    fn what_is_written_is_read_by_others((bytes, addresses, _) in any_header()) {
        let (header, len) = ProxyHeader::parse(&bytes, ParseConfig::default()).unwrap();
        let theirs = header.proxied_address().unwrap();
        prop_assert_eq!(len, bytes.len());
        prop_assert_eq!((canonical(theirs.source), canonical(theirs.destination)), addresses);
    }

    #[test]
    fn every_proper_prefix_is_incomplete((bytes, _, _) in any_header()) {
        for len in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..len]), Decoded::Incomplete, "{} of {}", len, bytes.len());
        }
    }

    #[test]
    fn every_proper_prefix_of_an_unknown_line_is_incomplete(ignored in "( [ -~]{0,80})?") {
        let line = format!("PROXY UNKNOWN{ignored}\r\n");
        prop_assert_eq!(header_of(line.as_bytes()).0, line.len());
        for len in 0..line.len() {
            prop_assert_eq!(decode(&line.as_bytes()[..len]), Decoded::Incomplete);
        }
    }

    /// Nothing panics, a header never claims more than there is, and waiting has an end.
    #[test]
    fn any_bytes_are_judged(
        start in prop_oneof![
            Just(vec![]), Just(b"PROXY ".to_vec()), Just(b"PROXY TCP4 ".to_vec()), Just(b"PROXY TCP6 ".to_vec()),
            Just([SIGNATURE, &[0x21, 0x11, 0, 40]].concat()), Just([SIGNATURE, &[0x20]].concat()), Just(SIGNATURE.to_vec()),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..MAX_V2_LEN + 100),
    ) {
        let bytes = [start, rest].concat();
        match decode(&bytes) {
            Decoded::Incomplete => prop_assert!(bytes.len() < MAX_V2_LEN),
            Decoded::Header { len, tlvs, .. } => prop_assert!(len <= bytes.len().min(MAX_V2_LEN) && tlvs.len() < len),
            Decoded::Malformed(what) => prop_assert!(!what.is_empty()),
        }
    }

    /// A header with one byte changed is read, refused or waited for, and never read as longer than it is.
    #[test]
    fn one_changed_byte_is_judged((mut bytes, _, _) in any_header(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Decoded::Header { len, .. } = decode(&bytes) {
            prop_assert!(len <= bytes.len());
        }
    }
}
