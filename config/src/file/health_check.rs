//! `health_check = { … }` of an endpoint group.

use std::num::NonZeroU8;
use std::time::Duration;

use toml::de::DeValue;

use super::endpoint_group::Read;
use super::keys::Table;
use super::section::Section;
use super::typed::{self, boolean, duration, float, integer, one_of, parsed};
use super::values::{self, ValueError, fault};
use crate::address::Host;
use crate::model::{HealthCheck, HttpProbe, Probe, Protocol, UdpProbe};

/// Below this a probe measures the scheduler rather than the endpoint.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
const MAX_INTERVAL: Duration = Duration::from_secs(3600);
const MIN_TIMEOUT: Duration = Duration::from_millis(10);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// A request line and a header that every HTTP server takes.
const MAX_PATH: usize = 1024;
const MAX_HOST: usize = 255;
const MAX_BODY: usize = 4096;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Udp,
    None,
}

/// Keys that only an HTTP request has.
const HTTP_KEYS: [&str; 4] = ["path", "host", "status", "body"];
const TLS_KEYS: [&str; 2] = ["sni", "verify_tls"];
const UDP_KEYS: [&str; 2] = ["send", "expect"];
/// What fits a datagram on every path without fragments (RFC 8085 §3.2).
const MAX_DATAGRAM: usize = 1232;

pub(super) fn health_check(
    group: &Section<'_>,
    protocol: Option<Protocol>,
    endpoints: &[Read],
) -> Option<HealthCheck> {
    let section = group.child(Table::HealthCheck)?;
    let kinds = &[
        ("TCP", Kind::Tcp),
        ("HTTP", Kind::Http),
        ("HTTPS", Kind::Https),
        ("UDP", Kind::Udp),
        ("NONE", Kind::None),
    ];
    let kind = section.get("protocol", one_of(kinds));
    if protocol == Some(Protocol::Udp) && !section.gives("protocol") {
        group.warn(
            Table::HealthCheck.name(),
            "no answer over UDP is known to ask for, so the endpoints are asked over TCP",
            "set health_check.protocol: \"UDP\" with send and expect, \"TCP\" if they answer there, \"HTTP\" with a port, or \"NONE\"",
        );
    }
    let port = section.optional("port", integer::<u16>(1..=65535));
    let interval = section.get("interval", duration(MIN_INTERVAL..=MAX_INTERVAL));
    let fast_interval = fast_interval(&section, interval);
    let timeout = section.get("timeout", duration(MIN_TIMEOUT..=MAX_TIMEOUT));
    let threshold = section.get("threshold", threshold);
    let healthy = section.optional("healthy_threshold", self::threshold);
    let unhealthy = section.optional("unhealthy_threshold", self::threshold);
    let jitter = section.get("jitter", float(0.0..=1.0));
    let http = http(&section);
    let tls = tls(&section, kind, endpoints);
    let udp = udp(&section);
    if let Some(kind) = kind {
        warn_unasked(&section, kind);
    }
    let (http, (sni, verify_tls), udp) = (http?, tls?, udp?);
    let probe = match kind? {
        Kind::Tcp => Probe::Tcp,
        Kind::None => Probe::None,
        Kind::Http => Probe::Http(http),
        Kind::Https => Probe::Https {
            http,
            sni,
            verify_tls,
        },
        Kind::Udp => Probe::Udp(udp),
    };
    let threshold = threshold?;
    Some(HealthCheck {
        probe,
        port: port?,
        interval: interval?,
        fast_interval: fast_interval?,
        timeout: timeout?,
        healthy_threshold: healthy?.unwrap_or(threshold),
        unhealthy_threshold: unhealthy?.unwrap_or(threshold),
        jitter: jitter?,
    })
}

/// Never slower than the interval: by default it follows a shorter one, and a slower one given is an error.
fn fast_interval(section: &Section<'_>, interval: Option<Duration>) -> Option<Duration> {
    let slowest = interval.unwrap_or(MAX_INTERVAL);
    if section.gives("fast_interval") {
        return section.get("fast_interval", duration(MIN_INTERVAL..=slowest));
    }
    let fast = section.get("fast_interval", duration(MIN_INTERVAL..=MAX_INTERVAL))?;
    Some(fast.min(slowest))
}

fn threshold(value: &DeValue<'_>) -> Result<NonZeroU8, ValueError> {
    let number = integer::<u8>(1..=10)(value)?;
    Ok(NonZeroU8::new(number).unwrap_or(NonZeroU8::MIN))
}

fn http(section: &Section<'_>) -> Option<HttpProbe> {
    let path = section.get("path", request_path);
    let host = section.optional("host", host_header);
    let status = section.get("status", status_range);
    let body = section.optional("body", body);
    Some(HttpProbe {
        path: path?,
        host: host?,
        status: status?,
        body: body?,
    })
}

fn udp(section: &Section<'_>) -> Option<UdpProbe> {
    let send = section.optional("send", datagram);
    let expect = section.optional("expect", datagram);
    Some(UdpProbe {
        send: send?.unwrap_or_default(),
        expect: expect?,
    })
}

/// SNI and whether to verify. Nothing can be verified of an endpoint that has neither a name nor an `sni`.
fn tls(
    section: &Section<'_>,
    kind: Option<Kind>,
    endpoints: &[Read],
) -> Option<(Option<String>, bool)> {
    let sni = section.optional("sni", parsed(values::dns_name));
    let verify = section.optional("verify_tls", boolean);
    let (sni, verify) = (sni?, verify?);
    let nameless = endpoints
        .iter()
        .find(|read| matches!(read.endpoint.host, Host::Ip(_)))
        .filter(|_| sni.is_none() && kind == Some(Kind::Https));
    if let Some(read) = nameless {
        let what = format!("endpoint \"{}\" has no name to verify", read.endpoint.id);
        match verify {
            Some(true) => section.error(
                "verify_tls",
                what,
                "give sni, name the endpoint by a DNS name, or set verify_tls = false",
            ),
            None => section.warn(
                "verify_tls",
                format!("{what}, so certificates are not verified in this group"),
                "give sni to verify them, or set verify_tls = false",
            ),
            Some(false) => {}
        }
    }
    let verify = verify.unwrap_or(nameless.is_none());
    Some((sni, verify))
}

fn warn_unasked(section: &Section<'_>, kind: Kind) {
    let (http, tls, udp) = match kind {
        Kind::Tcp | Kind::None => (true, true, true),
        Kind::Http => (false, true, true),
        Kind::Https => (false, false, true),
        Kind::Udp => (true, true, false),
    };
    let http_keys = HTTP_KEYS.iter().filter(|_| http);
    let tls_keys = TLS_KEYS.iter().filter(|_| tls);
    for name in http_keys.chain(tls_keys).filter(|name| section.gives(name)) {
        section.warn(
            name,
            "a check of this protocol does not ask it",
            "set protocol to \"HTTP\" or \"HTTPS\", or remove the key",
        );
    }
    let udp_keys = UDP_KEYS.iter().filter(|_| udp);
    for name in udp_keys.filter(|name| section.gives(name)) {
        section.warn(
            name,
            "a check of this protocol does not send it",
            "set protocol to \"UDP\", or remove the key",
        );
    }
}

/// Text as it is, or bytes in hexadecimal behind `0x`.
fn datagram(value: &DeValue<'_>) -> Result<Vec<u8>, ValueError> {
    let given = typed::text(value)?;
    let bytes = match given.strip_prefix("0x") {
        None => Some(given.as_bytes().to_vec()),
        Some(digits) => hexadecimal(digits),
    };
    let Some(bytes) = bytes else {
        return fault(
            format!("\"{given}\" is not hexadecimal"),
            "write two digits a byte behind 0x, such as \"0x00ff\", or text without 0x",
        );
    };
    if bytes.len() <= MAX_DATAGRAM {
        return Ok(bytes);
    }
    fault(
        format!("{} bytes do not fit one packet on every path", bytes.len()),
        "give 1232 bytes at most",
    )
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| (0..digits.len()).step_by(2).map(byte).collect())?
}

/// `"200-399"`, `"204"` or `204`.
fn status_range(value: &DeValue<'_>) -> Result<(u16, u16), ValueError> {
    if value.is_integer() {
        let status = integer::<u16>(100..=599)(value)?;
        return Ok((status, status));
    }
    let given = typed::text(value)?;
    let (first, last) = given.split_once('-').unwrap_or((given, given));
    let status = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u16>().ok().filter(|_| digits);
        number.filter(|number| (100..=599).contains(number))
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => fault(
            format!("\"{given}\" is not a range of statuses"),
            "give 100 to 599, such as \"200-399\" or \"204\"",
        ),
    }
}

pub(super) fn request_path(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    let visible = given.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if given.starts_with('/') && visible && given.len() <= MAX_PATH {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not a path to ask for"),
        "write a path such as \"/healthz?full=1\": a leading slash, at most 1024 ASCII characters, others %-encoded",
    )
}

pub(super) fn host_header(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if (1..=MAX_HOST).contains(&given.len()) && given.bytes().all(plain) {
        return Ok(given.to_string());
    }
    fault(
        format!("\"{given}\" is not a host"),
        "write a name or an address, with a port or without, such as \"shop.example.com\"",
    )
}

fn body(value: &DeValue<'_>) -> Result<String, ValueError> {
    let given = typed::text(value)?;
    if (1..=MAX_BODY).contains(&given.len()) {
        return Ok(given.to_string());
    }
    fault(
        format!("{} bytes to look for", given.len()),
        "give 1 to 4096 bytes, or leave the key out",
    )
}
