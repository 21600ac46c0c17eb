//! Single values from text: durations, sizes, addresses, names. Pure; the command line and the API read theirs here, too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use thiserror::Error;

use crate::address::Host;
use crate::units::PortRange;

/// A value that is not what it should be, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what}; {remedy}")]
pub struct ValueError {
    /// What is wrong, with the value.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

impl ValueError {
    pub(super) fn new(what: String, remedy: String) -> Self {
        ValueError {
            what: printable(&what),
            remedy: printable(&remedy),
        }
    }
}

/// What an operator's terminal takes of a message; the value in it may be anything.
const MAX_MESSAGE: usize = 400;

/// One line without control characters, cut when it is too long to read.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(MAX_MESSAGE));
    for (index, c) in text.chars().enumerate() {
        if index == MAX_MESSAGE {
            shown.push('…');
            break;
        }
        if is_plain(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown
}

/// Neither a control character nor one that turns the text around it (Unicode's bidirectional controls).
fn is_plain(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// Shorthand for the many places that judge a value.
pub(super) fn fault<T>(
    what: impl fmt::Display,
    remedy: impl fmt::Display,
) -> Result<T, ValueError> {
    Err(ValueError::new(what.to_string(), remedy.to_string()))
}

/// Longest first; `show_duration` and `duration` both walk it.
const UNITS: [(&str, u64); 5] = [
    ("h", 3_600_000_000),
    ("m", 60_000_000),
    ("s", 1_000_000),
    ("ms", 1_000),
    ("us", 1),
];

const DURATION_FORM: &str =
    "write numbers with the units h, m, s, ms or us, such as \"250ms\", \"5s\" or \"1h30m\"";

/// A duration such as `250ms`, `1s`, `5m`, `1h` or `1h30m`: whole numbers, each unit once, the longest first.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    let bad = || {
        ValueError::new(
            format!("\"{text}\" is not a duration"),
            DURATION_FORM.into(),
        )
    };
    let mut rest = text;
    let mut micros: u64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len()
            - after
                .trim_start_matches(|c: char| c.is_ascii_alphabetic())
                .len();
        let (unit, after) = after.split_at(letters);
        // The iterator is only ever advanced, so a unit that comes twice or too late is not found.
        let (_, scale) = units.find(|(name, _)| *name == unit).ok_or_else(bad)?;
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(*scale));
        micros = part
            .and_then(|part| micros.checked_add(part))
            .ok_or_else(bad)?;
        rest = after;
    }
    if text.is_empty() {
        return Err(bad());
    }
    Ok(Duration::from_micros(micros))
}

/// The duration as [`duration`] reads it, to the microsecond.
pub fn show_duration(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut shown = String::new();
    for (unit, scale) in UNITS {
        if micros >= scale {
            shown.push_str(&format!("{}{unit}", micros / scale));
            micros %= scale;
        }
    }
    if shown.is_empty() { "0s".into() } else { shown }
}

/// A size in bytes such as `512B`, `64KiB`, `256MiB` or `1GiB`.
pub fn size(text: &str) -> Result<u64, ValueError> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        "TiB" => Some(40),
        _ => None,
    };
    shift
        .and_then(|shift| number.parse::<u64>().ok()?.checked_mul(1 << shift))
        .ok_or_else(|| {
            ValueError::new(
                format!("\"{text}\" is not a size"),
                "write a whole number with B, KiB, MiB, GiB or TiB, such as \"64KiB\"".into(),
            )
        })
}

/// The size as [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let fits = |shift: &u32| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(|(_, shift)| fits(shift)) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

const ENDPOINT_FORM: &str = "write an address or a name, with a port or without, such as \
     \"10.0.1.10\", \"10.0.1.10:80\", \"[2001:db8::1]:80\" or \"web.internal:8080\"";

/// What an endpoint is reached by, and its own port when it names one: `10.0.1.10`, `10.0.1.10:80`, `2001:db8::1`,
/// `[2001:db8::1]:80`, `name`, `name:8080`.
pub fn endpoint_host(text: &str) -> Result<(Host, Option<u16>), ValueError> {
    if text.contains("://") || text.contains('/') {
        return fault(format!("\"{text}\" is not an address"), ENDPOINT_FORM);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok((Host::Ip(reachable(ip)?), None));
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        return bracketed_v6(text, bracketed);
    }
    match text.rsplit_once(':') {
        None => Ok((name_or_v4(text)?, None)),
        Some((host, _)) if host.contains(':') => fault(
            format!("\"{text}\" is not an IPv6 address"),
            "an IPv6 address with a port stands in brackets, such as \"[2001:db8::1]:80\"",
        ),
        Some((host, port_text)) => Ok((name_or_v4(host)?, Some(port(port_text)?))),
    }
}

fn bracketed_v6(text: &str, bracketed: &str) -> Result<(Host, Option<u16>), ValueError> {
    let parts = bracketed.split_once(']');
    let ip = parts.and_then(|(inner, _)| inner.parse::<Ipv6Addr>().ok());
    let (Some((_, after)), Some(ip)) = (parts, ip) else {
        return fault(format!("\"{text}\" is not an IPv6 address"), ENDPOINT_FORM);
    };
    let host = Host::Ip(reachable(IpAddr::V6(ip))?);
    if after.is_empty() {
        return Ok((host, None));
    }
    match after.strip_prefix(':') {
        Some(port_text) => Ok((host, Some(port(port_text)?))),
        None => fault(format!("\"{text}\" is not an address"), ENDPOINT_FORM),
    }
}

fn name_or_v4(text: &str) -> Result<Host, ValueError> {
    match text.parse::<Ipv4Addr>() {
        Ok(ip) => Ok(Host::Ip(reachable(IpAddr::V4(ip))?)),
        Err(_) => Ok(Host::Name(dns_name(text)?.into())),
    }
}

/// An address that one host can be reached at, in its plain family.
fn reachable(ip: IpAddr) -> Result<IpAddr, ValueError> {
    let ip = ip.to_canonical();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        return fault(
            format!("{ip} is not the address of one host"),
            "write a unicast address",
        );
    }
    Ok(ip)
}

/// A unicast address, without a port or prefix length.
pub(super) fn ip(text: &str) -> Result<IpAddr, ValueError> {
    match text.parse::<IpAddr>() {
        Ok(ip) => reachable(ip),
        Err(_) => fault(
            format!("\"{text}\" is not an IP address"),
            "write an address alone, such as \"203.0.113.10\" or \"2001:db8::10\"",
        ),
    }
}

/// An address and port to listen on; port 0 is one of the system's choice.
pub(super) fn listen(text: &str) -> Result<SocketAddr, ValueError> {
    match text.parse::<SocketAddr>() {
        Ok(addr) if !addr.ip().is_multicast() => Ok(crate::address::canonical(addr)),
        Ok(_) | Err(_) => fault(
            format!("\"{text}\" is not an address and port"),
            "write both, such as \"127.0.0.1:9900\" or \"[::1]:9900\"",
        ),
    }
}

/// A name server, on port 53 when it names none.
pub(super) fn name_server(text: &str) -> Result<SocketAddr, ValueError> {
    let with_port = text.parse::<SocketAddr>().ok().filter(|a| a.port() > 0);
    let alone = || {
        text.parse::<IpAddr>()
            .ok()
            .map(|ip| SocketAddr::new(ip, 53))
    };
    match with_port.or_else(alone) {
        Some(addr) => Ok(SocketAddr::new(reachable(addr.ip())?, addr.port())),
        None => fault(
            format!("\"{text}\" is not the address of a name server"),
            "write an address, or address and port, such as \"127.0.0.1:5353\"",
        ),
    }
}

/// A prefix, or an address as the prefix of itself alone.
pub(super) fn prefix(text: &str) -> Result<IpNet, ValueError> {
    let alone = || text.parse::<IpAddr>().ok().map(IpNet::from);
    match text.parse::<IpNet>().ok().or_else(alone) {
        Some(net) => Ok(net.trunc()),
        None => fault(
            format!("\"{text}\" is not a prefix"),
            "write an address with a length, such as \"10.0.0.0/8\" or \"2001:db8::/32\"",
        ),
    }
}

fn port(text: &str) -> Result<u16, ValueError> {
    match text.parse::<u16>() {
        Ok(port) if port > 0 && !text.starts_with('+') => Ok(port),
        Ok(_) | Err(_) => fault(format!("\"{text}\" is not a port"), "give 1 to 65535"),
    }
}

/// A port or a range of ports: `80`, `8000-8100`.
pub(super) fn port_range(text: &str) -> Result<PortRange, ValueError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first.trim())?, port(last.trim())?);
    PortRange::new(first, last).ok_or_else(|| {
        ValueError::new(
            format!("\"{text}\" ends before it begins"),
            format!("write \"{last}-{first}\""),
        )
    })
}

/// RFC 1035 §2.3.4.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A DNS name, in lower case and without a trailing dot. A last label of digits would be an address written wrong.
pub(super) fn dns_name(text: &str) -> Result<String, ValueError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let bad = |why: &str, remedy: &str| fault(format!("\"{text}\" is not a name: {why}"), remedy);
    if name.is_empty() {
        return fault("it is empty", ENDPOINT_FORM);
    }
    if !name.is_ascii() {
        return bad("it is not ASCII", "write it in its ASCII form (xn--…)");
    }
    if name.len() > MAX_NAME {
        return bad("it is too long", "a DNS name has at most 253 characters");
    }
    if !name.split('.').all(is_label) {
        return bad(
            "a label is empty, too long or holds other characters",
            "labels have 1 to 63 letters, digits, hyphens and underscores, no hyphen at either end",
        );
    }
    let last = name.rsplit('.').next().unwrap_or(&name);
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return bad(
            "its last label is a number",
            "write a whole IPv4 address, each part 0 to 255, or a name that does not end in a number",
        );
    }
    Ok(name)
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}
