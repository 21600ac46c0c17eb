//! Single values: every form that is written in files, and round trips.

use std::time::Duration;

use proptest::prelude::*;

use super::super::values::{
    dns_name, endpoint_host, name_server, port_range, prefix, show_size, size,
};
use super::super::{duration, show_duration};
use crate::address::Host;

#[test]
fn durations() {
    let table = [
        ("250ms", 250),
        ("1s", 1_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("1h30m", 5_400_000),
        ("0s", 0),
        ("1m0s500ms", 60_500),
    ];
    for (text, millis) in table {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    let not = [
        "",
        "5",
        "s",
        "1d",
        "1.5s",
        "-1s",
        "1 s",
        "1S",
        "1s1s",
        "1m1h",
        "99999999999999999999s",
        "6000000000h",
        "١s",
    ];
    for text in not {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn sizes() {
    assert_eq!(size("512B"), Ok(512));
    assert_eq!(size("64KiB"), Ok(65_536));
    assert_eq!(size("256MiB"), Ok(268_435_456));
    assert_eq!(size("1TiB"), Ok(1 << 40));
    for text in [
        "",
        "64",
        "64KB",
        "64K",
        "KiB",
        "-1KiB",
        "64 KiB",
        "99999999999TiB",
    ] {
        assert!(size(text).is_err(), "{text}");
    }
}

#[test]
fn endpoints_are_addresses_or_names_with_a_port_or_without() {
    let ip = |text: &str| Host::Ip(text.parse().unwrap());
    let name = |text: &str| Host::Name(text.into());
    let table = [
        ("10.0.1.10", ip("10.0.1.10"), None),
        ("10.0.1.10:80", ip("10.0.1.10"), Some(80)),
        ("2001:db8::1", ip("2001:db8::1"), None),
        ("[2001:db8::1]", ip("2001:db8::1"), None),
        ("[2001:db8::1]:80", ip("2001:db8::1"), Some(80)),
        ("::ffff:10.0.0.1", ip("10.0.0.1"), None),
        ("web", name("web"), None),
        ("Web-2.Internal.:8080", name("web-2.internal"), Some(8080)),
        ("10-0-0-1.pods", name("10-0-0-1.pods"), None),
        ("1.2.3.4.example", name("1.2.3.4.example"), None),
        ("_web._tcp.example", name("_web._tcp.example"), None),
    ];
    for (text, host, port) in table {
        assert_eq!(endpoint_host(text), Ok((host, port)), "{text}");
    }
    let not = [
        "",
        ":80",
        "10.0.0.1:",
        "10.0.0.1:+1",
        "10.0.0.1:65536",
        "10.0.0",
        "web:",
        "web:0",
        "web..internal",
        ".",
        "a b",
        "[::1",
        "[::1]x",
        "[web]:80",
        "::1%eth0",
        "1.2.3.04",
        "*.example",
        "10.0.0.0/8",
        "ff02::1",
        "255.255.255.255",
    ];
    for text in not {
        assert!(endpoint_host(text).is_err(), "{text}");
    }
}

#[test]
fn names_have_the_lengths_of_dns() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
    assert_eq!(dns_name(&longest), Ok(longest.clone()));
    assert!(dns_name(&format!("{longest}a")).is_err());
    assert!(dns_name(&format!("{label}a")).is_err());
}

#[test]
fn name_servers_prefixes_and_ports() {
    assert_eq!(name_server("9.9.9.9"), Ok("9.9.9.9:53".parse().unwrap()));
    assert_eq!(name_server("[::1]:5353"), Ok("[::1]:5353".parse().unwrap()));
    assert!(name_server("9.9.9.9:0").is_err());
    assert_eq!(prefix("10.1.2.3/8"), Ok("10.0.0.0/8".parse().unwrap()));
    assert_eq!(
        prefix("2001:db8::1"),
        Ok("2001:db8::1/128".parse().unwrap())
    );
    assert_eq!(port_range("8000-8100").unwrap().to_string(), "8000-8100");
    assert_eq!(port_range("80").unwrap().to_string(), "80");
    for text in ["", "-", "1-", "-1", "0-5", "1-2-3", "5-4"] {
        assert!(port_range(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn a_duration_survives_being_shown(micros in 0..=u64::MAX / 2) {
        let given = Duration::from_micros(micros);
        prop_assert_eq!(duration(&show_duration(given)), Ok(given));
    }

    #[test]
    fn a_size_survives_being_shown(bytes: u64) {
        prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
    }

    #[test]
    fn no_text_makes_a_value_panic(text in "\\PC{0,40}", near in "[0-9a-z.:\\[\\]/%-]{0,40}") {
        for text in [&text, &near] {
            let _ = duration(text);
            let _ = size(text);
            let _ = name_server(text);
            let _ = prefix(text);
            let _ = port_range(text);
            if let Ok((host, _)) = endpoint_host(text) {
                prop_assert_eq!(endpoint_host(&host.to_string()), Ok((host, None)));
            }
        }
    }
}
