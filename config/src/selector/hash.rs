//! The hashes of the pick, fixed for ever: whoever knows them can say where a client goes, and every PoP says the same.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::units::{EndpointId, Region};

/// The seed of the flow's own hash: `Portolan` in ASCII, big-endian.
pub const SEED: u64 = 0x506f_7274_6f6c_616e;
/// Whether a group's dial takes the flow: `dial` in ASCII.
pub const DIAL_SALT: u64 = 0x6469_616c;
/// The flow's hash within a group: `group` in ASCII.
pub const GROUP_SALT: u64 = 0x67_726f_7570;
/// The hash of an endpoint's id: `endpoint` in ASCII.
pub const ENDPOINT_SALT: u64 = 0x656e_6470_6f69_6e74;
/// Which address of an endpoint: `address` in ASCII.
pub const ADDRESS_SALT: u64 = 0x61_6464_7265_7373;

/// The hash of a flow over its bytes (XXH3, 64 bits): `xxh3(bytes, SEED)`.
pub fn of_flow(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, SEED)
}

/// What a group's dial is compared with: `xxh3(region, flow ^ DIAL_SALT)`.
pub fn for_dial(flow: u64, region: &Region) -> u64 {
    xxh3_64_with_seed(region.as_str().as_bytes(), flow ^ DIAL_SALT)
}

/// What the endpoint of a group is chosen by: `xxh3(region, flow ^ GROUP_SALT)`.
pub fn in_group(flow: u64, region: &Region) -> u64 {
    xxh3_64_with_seed(region.as_str().as_bytes(), flow ^ GROUP_SALT)
}

/// What stands for an endpoint: `xxh3(id, SEED ^ ENDPOINT_SALT)`.
pub fn of_endpoint(id: &EndpointId) -> u64 {
    xxh3_64_with_seed(id.as_str().as_bytes(), SEED ^ ENDPOINT_SALT)
}

/// What an address of an endpoint is chosen by, the highest first: `xxh3(the 16 bytes of the address, flow ^ ADDRESS_SALT)`.
pub fn for_address(flow: u64, ip: IpAddr) -> u64 {
    xxh3_64_with_seed(&address_bytes(ip), flow ^ ADDRESS_SALT)
}

/// An address as 16 bytes; IPv4 as the mapped IPv6 address, so that both spellings of one address are one.
pub fn address_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// The hash of the `probe`-th attempt; 0 is the hash itself: `mix(hash + probe · 0x9e3779b97f4a7c15)`.
pub(super) fn reprobe(hash: u64, probe: u64) -> u64 {
    match probe {
        0 => hash,
        _ => mix(hash.wrapping_add(probe.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
    }
}

/// How much an endpoint wants a flow: the upper 32 bits of `mix(hash ^ id_hash)`.
pub(super) fn wish(id_hash: u64, hash: u64) -> u32 {
    (mix(hash ^ id_hash) >> 32) as u32
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
