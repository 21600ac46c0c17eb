//! What is wanted, out of configurations.

use std::path::Path;

use super::*;

fn config(toml: &str) -> Config {
    let loaded = portolan_config::file::parse(toml, Path::new("/portolan.toml"));
    loaded.expect("a valid file").config
}

fn shop(addresses: &str, rest: &str) -> Config {
    config(&format!(
        "[[accelerator]]\nname = \"shop\"\naddresses = [{addresses}]\n{rest}\n"
    ))
}

const LISTENER: &str = "[[accelerator.listener]]\nprotocol = \"TCP\"\nports = [443]\n";

fn names(wanted: &BTreeSet<IpNet>) -> Vec<String> {
    wanted.iter().map(ToString::to_string).collect()
}

#[test]
fn addresses_of_accelerators_that_serve_are_wanted_and_loopback_is_not() {
    let config = shop(
        "\"203.0.113.10\", \"2001:db8::10\", \"127.0.0.2\"",
        LISTENER,
    );
    let wanted = wanted(&config, &Ranges::new(), &|_| false);
    assert_eq!(names(&wanted), ["203.0.113.10/32", "2001:db8::10/128"]);
}

#[test]
fn an_accelerator_without_listeners_or_switched_off_is_not_announced() {
    let without = shop("\"203.0.113.10\"", "");
    assert!(wanted(&without, &Ranges::new(), &|_| false).is_empty());
    let off = shop("\"203.0.113.10\"", &format!("enabled = false\n{LISTENER}"));
    assert!(wanted(&off, &Ranges::new(), &|_| false).is_empty());
}

#[test]
fn a_range_that_was_brought_along_goes_as_a_whole_and_when_it_is_advertised() {
    let mut config = shop("\"203.0.113.10\", \"198.51.100.7\"", LISTENER);
    config.accelerators[0].source = Source::Api;
    let before = wanted(&config, &Ranges::new(), &in_range);
    assert_eq!(names(&before), ["198.51.100.7/32"]);
    let after = wanted(&config, &Ranges::from([range()]), &in_range);
    assert_eq!(names(&after), ["198.51.100.7/32", "203.0.113.0/24"]);
}

#[test]
fn a_range_that_the_api_brings_along_takes_no_address_of_the_file_away() {
    let config = shop("\"203.0.113.10\"", LISTENER);
    let before = wanted(&config, &Ranges::new(), &in_range);
    assert_eq!(names(&before), ["203.0.113.10/32"]);
    let after = wanted(&config, &Ranges::from([range()]), &in_range);
    assert_eq!(names(&after), ["203.0.113.0/24", "203.0.113.10/32"]);
}

#[test]
fn addresses_stand_beside_the_range_that_they_are_announced_with() {
    let config = shop("\"203.0.113.10\", \"198.51.100.7\"", LISTENER);
    let hosts = hosts(&config);
    assert_eq!(names(&hosts), ["198.51.100.7/32", "203.0.113.10/32"]);
    let announced = Picture::from([(IpNet::V4(range()), plan::Style::Normal)]);
    let stands = standing(&announced, &hosts);
    assert_eq!(names(&stands), ["203.0.113.0/24", "203.0.113.10/32"]);
    assert!(standing(&Picture::new(), &hosts).is_empty(), "withdrawn");
}

fn range() -> Ipv4Net {
    "203.0.113.0/24".parse().expect("a range")
}

fn in_range(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if range().contains(&ip))
}
